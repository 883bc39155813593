//! The 3D view: layout, points, cameras, situations and truth as geometry in the
//! anchor space, rebuilt only when what they show changed.

mod cameras;
mod grid;
mod labels;
mod layout;
mod panel;
mod situation;
mod subject;
mod truth;

use std::sync::Arc;

use bevy::image::Image;
use bevy::prelude::{
    App, Assets, IntoScheduleConfigs as _, Res, ResMut, Resource, Startup, Time, UVec2, Update,
};
use bevy_egui::{EguiTextureHandle, EguiUserTextures, egui};
use glam::Vec2;

use super::ViewerSet;
use super::camera_rig::CameraRig;
use super::playback::PlaybackClock;
use super::render::{Geometry, ViewUniform, WorldPicture, target_image};
use super::theme;
use super::views::{is_given, shown_question};
use super::workbench::{Coloring, Layer, Workbench};
use crate::geometry::{BevBounds, BevPoint};
use crate::qa::Situation;
use crate::scene::CameraEstimate;
use situation::{Grip, Handle};
use subject::Subject;

pub use panel::WorldPanel;

/// Height of a person's camera: stands in for the floor until a layout or truth tells it.
const TYPICAL_CAMERA_HEIGHT: f32 = 1.45;

/// What the widget of the 3D view remembers between frames.
#[derive(Debug, Clone, Resource)]
pub(super) struct WorldPanelState {
    texture: egui::TextureId,
    /// Points.
    size: Vec2,
    pixels_per_point: f32,
    hovered: Option<Handle>,
    /// Part of the arrow being dragged, with the foot relative to the pointer.
    dragging: Option<(Handle, Vec2)>,
}

/// What the geometry of the 3D view was built from, and its extent.
#[derive(Debug, Clone, Resource)]
pub(super) struct WorldScene {
    built_from: Option<BuiltFrom>,
    /// Everything that "frame all" fits.
    pub bounds: BevBounds,
    /// Height of the floor in the anchor space.
    pub floor: f32,
    /// The camera of the frame on screen.
    pub current: Option<CameraEstimate>,
    fit_pending: bool,
    /// Size of the view at the last fit, points.
    fitted_size: Vec2,
}

/// What decides the geometry of the scene.
#[derive(Debug, Clone, Copy, PartialEq)]
struct BuiltFrom {
    revision: u64,
    coloring: Coloring,
    truth: usize,
    is_run: bool,
}

impl BuiltFrom {
    /// Whether what is seen now is another thing than `before`, to be fitted into the
    /// view. A room of a run stays the same thing while it is predicted anew.
    fn is_other_than(&self, before: &Self) -> bool {
        let same_place = (self.truth, self.is_run) == (before.truth, before.is_run);
        !same_place || (!self.is_run && self.revision != before.revision)
    }
}

impl Default for WorldScene {
    fn default() -> Self {
        Self {
            built_from: None,
            bounds: BevBounds { min: BevPoint::new(-2.0, -1.0), max: BevPoint::new(2.0, 4.0) },
            floor: -TYPICAL_CAMERA_HEIGHT,
            current: None,
            fit_pending: true,
            fitted_size: Vec2::ZERO,
        }
    }
}

impl WorldScene {
    /// Fits everything into the view at the next frame.
    pub(crate) fn request_fit(&mut self) {
        self.fit_pending = true;
    }
}

pub(super) fn plugin(app: &mut App) {
    app.init_resource::<WorldScene>()
        .add_systems(Startup, create_picture)
        .add_systems(Update, (rebuild_scene, rebuild_moving, move_eye).chain().in_set(ViewerSet::Sync))
        .add_systems(Update, present.in_set(ViewerSet::Present));
}

fn create_picture(world: &mut bevy::prelude::World) {
    let size = UVec2::splat(256);
    let target = world.resource_mut::<Assets<Image>>().add(target_image(size));
    let texture =
        world.resource_mut::<EguiUserTextures>().add_image(EguiTextureHandle::Strong(target.clone()));
    world.insert_resource(WorldPanelState {
        texture,
        size: Vec2::splat(256.0),
        pixels_per_point: 1.0,
        hovered: None,
        dragging: None,
    });
    world.insert_resource(WorldPicture {
        target,
        size,
        allocated: size,
        view: bytemuck::Zeroable::zeroed(),
        background: [theme::BACKGROUND.r(), theme::BACKGROUND.g(), theme::BACKGROUND.b()],
        scene: super::render::Versioned::default(),
        moving: super::render::Versioned::default(),
    });
}

/// Rebuilds what depends on the clip, the layout and the colouring.
fn rebuild_scene(
    subject: Subject,
    workbench: Res<Workbench>,
    mut scene: ResMut<WorldScene>,
    mut picture: ResMut<WorldPicture>,
) {
    let session = subject.session();
    let key = BuiltFrom {
        revision: session.scene_revision,
        coloring: workbench.coloring,
        truth: Arc::as_ptr(&workbench.truth) as usize,
        is_run: subject.is_run(),
    };
    let before = scene.built_from.replace(key);
    if before == Some(key) {
        return;
    }
    let truth = workbench.truth.scene.as_ref();
    let seen = scene.bounds;
    if let Some(bounds) = extent(session, truth) {
        scene.bounds = bounds;
    }
    // While a video is being read the view follows only what would leave it.
    let stays_in_view =
        session.layout.is_none() && seen.contains(scene.bounds.min) && seen.contains(scene.bounds.max);
    let true_floor = truth
        .and_then(|truth| truth.objects.iter().map(|object| object.bounds.bottom()).min_by(f32::total_cmp));
    let layout_floor = session.shown_layout().map(|layout| layout.floor_height);
    scene.floor = layout_floor.or(true_floor).unwrap_or(-TYPICAL_CAMERA_HEIGHT);

    let mut geometry = Geometry::default();
    grid::add_grid(&mut geometry, scene.bounds, scene.floor);
    if let Some(truth) = truth {
        truth::add_truth(&mut geometry, truth, scene.floor);
    }
    if let Some(room) = subject.room() {
        layout::add_true_layout(&mut geometry, room);
    }
    if let Some(layout) = session.shown_layout() {
        layout::add_layout(&mut geometry, layout, workbench.coloring);
    }
    layout::add_points(&mut geometry, &session.points);
    cameras::add_cameras(&mut geometry, session.shown_cameras());
    tracing::debug!(instances = geometry.len(), "rebuilt the 3D scene");
    picture.scene.set(geometry);
    if before.is_none_or(|before| key.is_other_than(&before) && !stays_in_view) {
        scene.fit_pending = true;
    }
}

/// Everything worth seeing: cameras, rooms, and the layout without its farthest tokens.
fn extent(
    session: &crate::session::SessionState,
    truth: Option<&crate::scene::SceneTruth>,
) -> Option<BevBounds> {
    /// Share of the tokens left out at each side.
    const STRAY: f32 = 0.02;
    let cameras =
        session.shown_cameras().iter().map(|camera| BevPoint::from(camera.pose.position.truncate()));
    let rooms = truth.into_iter().flat_map(|truth| truth.rooms.iter().flatten()).copied().map(BevPoint::from);
    let tokens =
        session.shown_layout().into_iter().flat_map(|layout| &layout.tokens).map(|token| token.position);
    let (mut xs, mut ys): (Vec<f32>, Vec<f32>) =
        tokens.filter(|p| p.x.is_finite() && p.y.is_finite()).map(|p| (p.x, p.y)).unzip();
    xs.sort_by(f32::total_cmp);
    ys.sort_by(f32::total_cmp);
    let skip = (xs.len() as f32 * STRAY) as usize;
    let corners = (!xs.is_empty()).then(|| {
        let last = xs.len() - 1 - skip;
        [BevPoint::new(xs[skip], ys[skip]), BevPoint::new(xs[last], ys[last])]
    });
    BevBounds::around(cameras.chain(rooms).chain(corners.into_iter().flatten()))
}

/// Rebuilds the camera on screen and the situations.
fn rebuild_moving(
    subject: Subject,
    workbench: Res<Workbench>,
    clock: Res<PlaybackClock>,
    panel: Res<WorldPanelState>,
    mut scene: ResMut<WorldScene>,
    mut picture: ResMut<WorldPicture>,
    mut shown: bevy::prelude::Local<Option<(f64, Option<Handle>)>>,
) {
    use bevy::prelude::DetectChanges as _;
    let moment = (clock.position_secs(), panel.dragging.map(|(handle, _)| handle).or(panel.hovered));
    if shown.replace(moment) == Some(moment) && !subject.is_changed() && !workbench.is_changed() {
        return;
    }
    let session = subject.session();
    let mut geometry = Geometry::default();
    scene.current = clock
        .video()
        .and_then(|video| cameras::camera_at(session.shown_cameras(), video, clock.position_secs()));
    if let Some(camera) = &scene.current {
        cameras::add_current_camera(&mut geometry, camera, scene.floor);
    }
    let question = shown_question(session, &workbench);
    let estimate = question.and_then(|asked| asked.estimate.as_ref());
    if let Some(truth) = true_situation(&workbench, question.map(|asked| &asked.question)) {
        situation::add_arrow(
            &mut geometry,
            Layer::TrueSituation,
            &truth,
            scene.floor,
            theme::TRUE,
            Grip::Fixed,
        );
    }
    if let Some(estimate) = estimate.filter(|estimate| !is_given(estimate)) {
        situation::add_estimate(&mut geometry, estimate, scene.floor, theme::PREDICTED);
    }
    let grip = if subject.is_run() { Grip::Fixed } else { Grip::Free(moment.1) };
    let mut arrow = |situation: &Situation, color, grip| {
        situation::add_arrow(&mut geometry, Layer::Situation, situation, scene.floor, color, grip);
    };
    match (workbench.placed, estimate) {
        (Some(placed), estimate) => {
            if let Some(estimate) = estimate.filter(|estimate| !is_given(estimate)) {
                arrow(&estimate.situation, theme::PREDICTED.gamma_multiply(0.6), Grip::Fixed);
            }
            arrow(&placed, theme::PLACED, grip);
        }
        (None, Some(estimate)) => {
            let color = if is_given(estimate) { theme::PLACED } else { theme::PREDICTED };
            arrow(&estimate.situation, color, grip);
        }
        (None, None) => {}
    }
    picture.moving.set(geometry);
}

/// The true situation of a question, when the clip's own questions tell it.
fn true_situation(workbench: &Workbench, question: Option<&crate::qa::Question>) -> Option<Situation> {
    let question = question?;
    let same_place = |candidate: &&crate::qa::LabeledQuestion| {
        candidate.question.situation_text.is_some()
            && candidate.question.situation_text == question.situation_text
    };
    workbench.truth.questions.iter().find(same_place).and_then(|labeled| labeled.situation)
}

/// The situation that can be grabbed: the placed one, else the model's reading.
fn grabbable(workbench: &Workbench, session: &crate::session::SessionState) -> Option<Situation> {
    workbench
        .placed
        .or_else(|| shown_question(session, workbench)?.estimate.as_ref().map(|estimate| estimate.situation))
}

fn move_eye(
    time: Res<Time>,
    mut rig: ResMut<CameraRig>,
    mut scene: ResMut<WorldScene>,
    panel: Res<WorldPanelState>,
    pace: Res<super::window::Pace>,
) {
    let resized = scene.fitted_size != panel.size && !rig.is_touched();
    if std::mem::take(&mut scene.fit_pending) || resized {
        scene.fitted_size = panel.size;
        rig.frame(scene.bounds, scene.floor, panel.size.x / panel.size.y.max(1.0));
    }
    if let Some(camera) = &scene.current {
        rig.follow(&camera.pose);
    }
    if pace.is_scripted() {
        rig.jump();
    } else if rig.glide(time.delta_secs()) {
        pace.keep_drawing();
    }
}

/// Hands camera and filters to the GPU.
fn present(
    rig: Res<CameraRig>,
    workbench: Res<Workbench>,
    panel: Res<WorldPanelState>,
    mut picture: ResMut<WorldPicture>,
    mut images: ResMut<Assets<Image>>,
) {
    let view = rig.view(panel.size);
    let pixels = panel.size * panel.pixels_per_point;
    picture.fit(&mut images, UVec2::new(pixels.x.round() as u32, pixels.y.round() as u32));
    picture.view = ViewUniform {
        clip_from_anchor: view.clip_from_anchor().to_cols_array_2d(),
        viewport: picture.size.as_vec2().into(),
        pixels_per_metre: view.points_per_metre() * panel.pixels_per_point,
        min_certainty: workbench.confidence,
        layers: workbench.layers.0,
        pixels_per_point: panel.pixels_per_point,
        padding: [0; 2],
    };
}
