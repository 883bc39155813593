//! The widget of the 3D view: shows the picture, turns the pointer into eye
//! movements, and lets the situation arrow be grabbed.

use bevy::ecs::system::SystemParam;
use bevy::prelude::{Res, ResMut};
use bevy_egui::egui::{
    self, Align2, CursorIcon, FontId, Painter, PointerButton, Pos2, Rect, Response, Sense, Ui, pos2, vec2,
};
use glam::Vec2;

use super::labels::{Labels, legend, project, scale_bar};
use super::situation::{self, Handle};
use super::subject::Subject;
use super::{WorldPanelState, WorldScene, grabbable, true_situation};
use crate::qa::Situation;
use crate::viewer::action::ViewerAction;
use crate::viewer::camera_rig::CameraRig;
use crate::viewer::render::WorldPicture;
use crate::viewer::space::View;
use crate::viewer::theme;
use crate::viewer::views::{is_given, shown_question};
use crate::viewer::workbench::{CameraMode, Coloring, Layer, Workbench};

/// Reach of the pointer around cameras and handles, points.
const REACH: f32 = 9.0;

/// Everything the widget of the 3D view needs; a panel calls [`WorldPanel::show`].
#[derive(SystemParam)]
pub struct WorldPanel<'w> {
    rig: ResMut<'w, CameraRig>,
    state: ResMut<'w, WorldPanelState>,
    picture: Res<'w, WorldPicture>,
    scene: Res<'w, WorldScene>,
    subject: Subject<'w>,
    workbench: Res<'w, Workbench>,
}

impl WorldPanel<'_> {
    /// Fills the rest of `ui` with the 3D view.
    pub fn show(&mut self, ui: &mut Ui, actions: &mut Vec<ViewerAction>) -> Response {
        let (rect, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
        self.state.size = Vec2::new(rect.width().max(1.0), rect.height().max(1.0));
        self.state.pixels_per_point = ui.ctx().pixels_per_point();
        let used = self.picture.size.as_vec2() / self.picture.allocated.as_vec2();
        let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(used.x, used.y));
        let painter = ui.painter_at(rect);
        painter.image(self.state.texture, rect, uv, egui::Color32::WHITE);

        let view = self.rig.view(self.state.size);
        let pointer = response.hover_pos().or_else(|| response.interact_pointer_pos());
        let local = |position: Pos2| Vec2::new(position.x - rect.left(), position.y - rect.top());
        if let Some(pointer) = pointer {
            self.drag_arrow(&response, &view, local(pointer), actions);
            self.click_camera(&response, &view, rect, pointer, actions);
            self.zoom(ui, &response, &view, local(pointer));
        } else {
            self.state.hovered = None;
        }
        if self.state.dragging.is_none() {
            self.move_eye(ui, &response);
        }
        if response.double_clicked() {
            actions.push(ViewerAction::FrameAll);
        }
        self.paint_labels(&painter, &view, rect);
        self.ask_from_here(ui, &view, rect, actions);
        response
    }

    fn move_eye(&mut self, ui: &Ui, response: &Response) {
        let delta = response.drag_delta();
        let movement = Vec2::new(delta.x, delta.y);
        let pans = response.dragged_by(PointerButton::Secondary)
            || response.dragged_by(PointerButton::Middle)
            || (response.dragged_by(PointerButton::Primary) && ui.input(|input| input.modifiers.shift))
            || (response.dragged_by(PointerButton::Primary) && self.workbench.camera_mode == CameraMode::Top);
        let height = self.state.size.y;
        if pans {
            self.rig.pan(movement, height);
        } else if response.dragged_by(PointerButton::Primary) {
            self.rig.turn(movement);
        }
    }

    fn zoom(&mut self, ui: &Ui, response: &Response, view: &View, pointer: Vec2) {
        if !response.hovered() {
            return;
        }
        let factor = ui.input(|input| input.zoom_delta() * (input.smooth_scroll_delta.y * 0.004).exp());
        if (factor - 1.0).abs() > 1e-4 {
            self.rig.zoom(factor, view.on_plane(pointer, view.eye.target.z));
        }
    }

    fn drag_arrow(
        &mut self,
        response: &Response,
        view: &View,
        pointer: Vec2,
        actions: &mut Vec<ViewerAction>,
    ) {
        let situation = grabbable(&self.workbench, self.subject.session())
            .filter(|_| self.workbench.layers.contains(Layer::Situation) && !self.subject.is_run());
        let (Some(situation), Some(floor)) = (situation, view.on_plane(pointer, self.scene.floor)) else {
            self.state.hovered = None;
            self.state.dragging = None;
            return;
        };
        let point = floor.truncate();
        let metres = REACH * view.eye.position().distance(floor) / view.points_per_metre();
        let hovered = situation::handle_at(&situation, point, metres * 0.6);
        if self.state.hovered != hovered {
            self.state.hovered = hovered;
        }
        if response.drag_started_by(PointerButton::Primary) {
            // A drag is told some points after the press: what lay under the press counts.
            let origin = response.ctx.input(|input| input.pointer.press_origin());
            let pressed = origin
                .and_then(|origin| {
                    let local = origin - response.rect.min;
                    view.on_plane(Vec2::new(local.x, local.y), self.scene.floor)
                })
                .map_or(point, glam::Vec3::truncate);
            self.state.dragging = situation::grabbed(&situation, pressed, metres * 0.6);
        }
        if let Some((handle, grip)) = self.state.dragging {
            let moved = situation::dragged(&situation, handle, point, grip);
            if moved != situation {
                actions.push(ViewerAction::PlaceSituation(moved));
            }
            if response.drag_stopped() {
                self.state.dragging = None;
            }
        }
        let grabbing = self.state.dragging.is_some();
        match self.state.dragging.map(|(handle, _)| handle).or(hovered) {
            Some(Handle::Foot) => {
                response.ctx.set_cursor_icon(if grabbing { CursorIcon::Grabbing } else { CursorIcon::Grab });
            }
            Some(Handle::Ring) => response.ctx.set_cursor_icon(CursorIcon::Alias),
            None => {}
        }
    }

    fn click_camera(
        &self,
        response: &Response,
        view: &View,
        rect: Rect,
        pointer: Pos2,
        actions: &mut Vec<ViewerAction>,
    ) {
        if !self.workbench.layers.contains(Layer::Frusta)
            || self.subject.is_run()
            || self.state.hovered.is_some()
            || response.dragged()
        {
            return;
        }
        let cameras = self.subject.session().shown_cameras().iter();
        let near = cameras
            .filter_map(|camera| {
                let screen = project(view, rect.min, camera.pose.position)?;
                Some((screen.distance(pointer), screen, camera.frame))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((distance, screen, frame)) = near
            && distance < REACH
        {
            response.ctx.set_cursor_icon(CursorIcon::PointingHand);
            let painter = response.ctx.layer_painter(response.layer_id).with_clip_rect(rect);
            painter.circle_stroke(screen, 6.0, egui::Stroke::new(2.0, theme::TEXT));
            let text = format!("frame {}", frame.0 + 1);
            painter.text(
                screen + vec2(12.0, 0.0),
                Align2::LEFT_CENTER,
                text,
                FontId::proportional(12.0),
                theme::TEXT,
            );
            if response.clicked() {
                actions.push(ViewerAction::SeekTo(frame));
            }
        }
    }

    fn paint_labels(&self, painter: &Painter, view: &View, rect: Rect) {
        if self.workbench.layers.contains(Layer::Grid) {
            scale_bar(painter, view, rect);
        }
        self.paint_legend(painter, rect);
        if !self.workbench.layers.contains(Layer::Labels) {
            return;
        }
        let mut labels = Labels::default();
        let session = self.subject.session();
        let question = shown_question(session, &self.workbench);
        let estimate = question.and_then(|asked| asked.estimate.as_ref());
        let mut arrow = |situation: &Situation, text: &str, color| {
            if let Some(position) = self.above_ring(view, rect, situation) {
                labels.add(painter, position, text, color, 12.0);
            }
        };
        if let Some(placed) =
            self.workbench.placed.filter(|_| self.workbench.layers.contains(Layer::Situation))
        {
            arrow(&placed, "placed by hand", theme::PLACED);
        }
        if let Some(estimate) = estimate.filter(|_| self.workbench.layers.contains(Layer::Situation)) {
            if is_given(estimate) {
                arrow(&estimate.situation, "asked from here", theme::PLACED);
            } else {
                let text = format!("model, ±{:.1} m", estimate.position_sigma.rms());
                arrow(&estimate.situation, &text, theme::PREDICTED);
            }
        }
        if let Some(truth) = true_situation(&self.workbench, question.map(|asked| &asked.question))
            .filter(|_| self.workbench.layers.contains(Layer::TrueSituation))
        {
            arrow(&truth, "true", theme::TRUE);
        }
        if let Some(truth) = &self.workbench.truth.scene
            && self.workbench.layers.contains(Layer::TrueObjects)
        {
            labels.add_objects(painter, view, rect.min, truth);
        }
    }

    /// Above the ring of an arrow on the screen, where its label hides nothing.
    fn above_ring(&self, view: &View, rect: Rect, situation: &Situation) -> Option<Pos2> {
        let ends = self.ring_on_screen(view, rect, situation)?;
        Some(pos2(ends.center().x, ends.top() - 11.0))
    }

    /// The rectangle on the screen around the ring of an arrow.
    fn ring_on_screen(&self, view: &View, rect: Rect, situation: &Situation) -> Option<Rect> {
        let points: Option<Vec<Pos2>> = (0..8)
            .map(|k| {
                let turn = Vec2::from_angle(std::f32::consts::TAU * k as f32 / 8.0);
                let point = Vec2::from(situation.position) + turn * situation::RING_RADIUS;
                project(view, rect.min, point.extend(self.scene.floor))
            })
            .collect();
        points.map(|points| Rect::from_points(&points))
    }

    /// What the colours mean, for what is on screen.
    fn paint_legend(&self, painter: &Painter, rect: Rect) {
        let workbench = &self.workbench;
        let session = self.subject.session();
        let shows = |layer| workbench.layers.contains(layer);
        let question = shown_question(session, workbench);
        let estimate = question.and_then(|asked| asked.estimate.as_ref());
        let truth = workbench.truth.scene.is_some();
        let given = workbench.placed.is_some() || estimate.is_some_and(is_given);
        let mut entries = Vec::new();
        let run = self.subject.is_run();
        if shows(Layer::Path) && !session.shown_cameras().is_empty() {
            let text = if run { "camera, as the model is given it" } else { "camera, as the model sees it" };
            entries.push((theme::CAMERA, text));
        }
        if run && shows(Layer::TrueLayout) {
            entries.push((theme::TRUE, "where tokens truly lie, joined to where they are predicted"));
        }
        if shows(Layer::Situation) && estimate.is_some_and(|estimate| !is_given(estimate)) {
            let text =
                if run { "where the model puts the described person" } else { "where the model puts you" };
            entries.push((theme::PREDICTED, text));
        }
        if shows(Layer::Situation) && given {
            entries.push((theme::PLACED, "where you put yourself"));
        }
        if shows(Layer::TrueSituation) && truth {
            entries.push((theme::TRUE, "truth"));
        }
        if shows(Layer::TrueObjects) && truth {
            entries.push((theme::TEXT_WEAK, "true rooms and objects (outlined)"));
        }
        let tokens = workbench.coloring == Coloring::Uncertainty
            && session.shown_layout().is_some_and(|layout| !layout.tokens.is_empty());
        legend(painter, rect, &entries, tokens);
    }

    /// Buttons beside an arrow that was placed by hand.
    fn ask_from_here(&self, ui: &mut Ui, view: &View, rect: Rect, actions: &mut Vec<ViewerAction>) {
        let Some(placed) = self.workbench.placed.filter(|_| self.state.dragging.is_none()) else { return };
        let Some(ring) = self.ring_on_screen(view, rect, &placed) else { return };
        let size = vec2(190.0, 30.0);
        let below = ring.center_bottom() + vec2(-size.x * 0.5, 8.0);
        let corner = below.clamp(rect.min, (rect.max - size).max(rect.min));
        let area = Rect::from_min_size(corner, size);
        let mut child = ui.new_child(egui::UiBuilder::new().max_rect(area));
        child.horizontal(|ui| {
            if ui.button("Ask from here").clicked() {
                actions.push(ViewerAction::AskFromHere);
            }
            if ui.button("Reset").clicked() {
                actions.push(ViewerAction::ClearPlaced);
            }
        });
    }
}
