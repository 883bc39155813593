//! Arrangement of the window: builds what each panel sees and collects their actions.
//!
//! ```text
//! ┌ top bar ──────────────────────────────────────┐
//! │ video        │ layers row                     │
//! │──────────────│ 3D view                        │
//! │ question     │                                │
//! ├ timeline ─────────────────────────────────────┤
//! └ status bar ───────────────────────────────────┘
//! ```
//!
//! While a training run is followed, its panel takes the left column and the choice of
//! held-out rooms the place of the timeline.

mod chart;
mod help;
mod layers;
mod model_card;
mod question;
mod rooms;
mod sight;
mod status;
mod timeline;
mod top_bar;
mod training;

use bevy::ecs::system::SystemParam;
use bevy::prelude::{App, IntoScheduleConfigs as _, Local, MessageWriter, Real, Res, ResMut, Result, Time};
use bevy::render::renderer::RenderAdapterInfo;
use bevy_egui::egui::{
    Align, Align2, Button, CentralPanel, Context, FontId, Frame, LayerId, Layout, Panel, RichText, Stroke,
    StrokeKind, TextStyle, Ui, UiBuilder, vec2,
};
use bevy_egui::{EguiContexts, EguiPrimaryContextPass};

use super::action::ViewerAction;
use super::bridge::Conversation;
use super::playback::PlaybackClock;
use super::run_watch::RunWatch;
use super::theme;
use super::video_view::VideoPanel;
use super::views::{
    FramePace, LayersView, QuestionView, SightView, StatusView, TimelineView, shown_index, shown_question,
};
use super::workbench::{Drafts, Workbench};
use super::world_view::WorldPanel;
use crate::session::Severity;

pub(in crate::viewer) use help::help_ui;
pub(in crate::viewer) use layers::layers_ui;
pub(in crate::viewer) use question::question_ui;
pub(in crate::viewer) use rooms::rooms_ui;
pub(in crate::viewer) use sight::sight_ui;
pub(in crate::viewer) use status::{problem_ui, status_ui};
pub(in crate::viewer) use timeline::timeline_ui;
pub(in crate::viewer) use top_bar::{TopBarView, top_bar_ui};
pub(in crate::viewer) use training::training_ui;

pub(super) fn plugin(app: &mut App) {
    app.add_systems(EguiPrimaryContextPass, (set_style, panels).chain().after(super::before_panels));
}

/// What the panels read.
#[derive(SystemParam)]
struct Desk<'w> {
    conversation: Res<'w, Conversation>,
    workbench: Res<'w, Workbench>,
    watch: Res<'w, RunWatch>,
    clock: Res<'w, PlaybackClock>,
    drafts: ResMut<'w, Drafts>,
    time: Res<'w, Time<Real>>,
    adapter: Option<Res<'w, RenderAdapterInfo>>,
}

/// Figures that change slowly.
#[derive(Debug, Default)]
struct Meter {
    read_at: f64,
    memory_bytes: Option<u64>,
    frames: u32,
    last: f64,
    slowest: f64,
    pace: Option<FramePace>,
}

/// Once the window has its context.
fn set_style(mut contexts: EguiContexts, mut is_set: Local<bool>) -> Result {
    let ctx = contexts.ctx_mut()?;
    if !std::mem::replace(&mut *is_set, true) {
        theme::apply(ctx);
    }
    Ok(())
}

fn panels(
    mut contexts: EguiContexts,
    mut world: WorldPanel,
    mut video: VideoPanel,
    mut desk: Desk,
    mut meter: Local<Meter>,
    mut actions: MessageWriter<ViewerAction>,
) -> Result {
    let ctx = contexts.ctx_mut()?.clone();
    meter.update(desk.time.elapsed_secs_f64(), desk.clock.is_playing());
    let mut wanted = Vec::new();
    let window = UiBuilder::new().layer_id(LayerId::background()).max_rect(ctx.viewport_rect());
    let mut ui = Ui::new(ctx.clone(), "window".into(), window);
    bars(&mut ui, &mut desk, &meter, &mut wanted);
    Panel::left("left").default_size(theme::LEFT_WIDTH).size_range(360.0..=760.0).frame(Frame::new()).show(
        &mut ui,
        |ui| {
            if let Some(run) = &desk.watch.run {
                CentralPanel::default()
                    .frame(theme::panel_frame())
                    .show(ui, |ui| training_ui(ui, run, &mut wanted));
                return;
            }
            let height = (ui.available_width() * 0.75).min(ui.available_height() * 0.55);
            Panel::top("video").exact_size(height).frame(Frame::new().fill(theme::BACKGROUND)).show(
                ui,
                |ui| {
                    video.show(ui, &mut wanted);
                },
            );
            CentralPanel::default().frame(theme::panel_frame()).show(ui, |ui| {
                let Desk { conversation, workbench, drafts, .. } = &mut desk;
                let view = QuestionView { session: &conversation.0, workbench, drafts };
                question_ui(ui, view, &mut wanted);
            });
        },
    );
    CentralPanel::default().frame(Frame::new().fill(theme::BACKGROUND)).show(&mut ui, |ui| {
        Panel::top("layers").frame(theme::panel_frame()).show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                let run = desk.watch.run.as_ref();
                let session = run.map_or(&desk.conversation.0, |run| &run.session);
                let view = LayersView { workbench: &desk.workbench, session, run: run.is_some() };
                layers_ui(ui, view, &mut wanted);
            });
        });
        let status = desk.conversation.0.status.as_ref();
        if let Some(problem) = status.filter(|status| status.severity != Severity::Notice) {
            let frame = theme::card_frame().corner_radius(0.0);
            Panel::top("problem").frame(frame).show(ui, |ui| problem_ui(ui, problem, &mut wanted));
        }
        if desk.workbench.clip.is_none() {
            welcome(ui, &mut wanted);
        } else if desk.watch.run.as_ref().is_some_and(|run| run.snapshot.is_none()) {
            no_room(ui);
        } else {
            world.show(ui, &mut wanted);
        }
    });
    on_top(&ctx, &desk, &mut wanted);
    actions.write_batch(wanted);
    Ok(())
}

/// Top bar, status bar and timeline.
fn bars(ui: &mut Ui, desk: &mut Desk, meter: &Meter, wanted: &mut Vec<ViewerAction>) {
    Panel::top("top").frame(theme::panel_frame()).show(ui, |ui| {
        let Desk { workbench, drafts, .. } = desk;
        top_bar_ui(ui, TopBarView { workbench, drafts }, wanted);
    });
    Panel::bottom("status").frame(theme::panel_frame()).show(ui, |ui| {
        let adapter = desk
            .adapter
            .as_ref()
            .map_or_else(String::new, |info| format!("{} ({})", info.name, info.backend));
        let view = StatusView {
            session: &desk.conversation.0,
            workbench: &desk.workbench,
            memory_bytes: meter.memory_bytes,
            pace: meter.pace,
            adapter: &adapter,
        };
        status_ui(ui, view, wanted);
    });
    Panel::bottom("timeline").exact_size(theme::TIMELINE_HEIGHT).frame(theme::panel_frame()).show(ui, |ui| {
        match &desk.watch.run {
            Some(run) => rooms_ui(ui, run, shown_index(&run.session, &desk.workbench), wanted),
            None => {
                timeline_ui(ui, TimelineView { session: &desk.conversation.0, clock: &desk.clock }, wanted);
            }
        }
    });
}

/// Instead of the 3D view while nothing is open.
fn welcome(ui: &mut Ui, wanted: &mut Vec<ViewerAction>) {
    ui.with_layout(Layout::top_down(Align::Center), |ui| {
        ui.add_space(ui.available_height() * 0.36);
        ui.label(RichText::new("Open a video of a place").text_style(TextStyle::Heading));
        ui.label(theme::weak(
            "loc3r draws its layout from above, follows the camera and answers where things are.",
        ));
        ui.add_space(theme::GAP);
        let open = Button::new(RichText::new("Open video …").strong())
            .fill(theme::ACCENT)
            .min_size(vec2(150.0, 36.0));
        if ui.add(open).clicked() {
            wanted.push(ViewerAction::ShowOpenDialog);
        }
        ui.label(theme::weak("or drop a file or a folder of images here"));
    });
}

/// Instead of the 3D view while a run has no held-out room to show.
fn no_room(ui: &mut Ui) {
    ui.with_layout(Layout::top_down(Align::Center), |ui| {
        ui.add_space(ui.available_height() * 0.4);
        ui.label(RichText::new("No rooms to show yet").text_style(TextStyle::Heading));
        ui.label(theme::weak(
            "At every validation the joint stage shows some held-out rooms: what it predicts over what is true.",
        ));
        ui.label(theme::weak("Other stages, and runs of earlier versions, have curves only."));
    });
}

/// Windows over the panels, and the hint while a file is held over the window.
fn on_top(ctx: &Context, desk: &Desk, wanted: &mut Vec<ViewerAction>) {
    let session = &desk.conversation.0;
    if desk.workbench.sight_open {
        let question = shown_question(session, &desk.workbench);
        sight_ui(ctx, &SightView { session, question }, wanted);
    }
    if desk.workbench.help_open {
        help_ui(ctx, wanted);
    }
    if desk.workbench.drop_hover {
        let painter = ctx.debug_painter();
        let rect = ctx.viewport_rect().shrink(12.0);
        painter.rect_filled(rect, 12.0, theme::BACKGROUND.gamma_multiply(0.8));
        painter.rect_stroke(rect, 12.0, Stroke::new(3.0, theme::ACCENT), StrokeKind::Inside);
        let font = FontId::proportional(28.0);
        painter.text(rect.center(), Align2::CENTER_CENTER, "Drop to open", font, theme::TEXT);
    }
}

impl Meter {
    /// Counts this pass; reads memory and pace once a second. Without playback the
    /// window is drawn as rarely as possible, so that its pace says nothing.
    fn update(&mut self, now: f64, playing: bool) {
        self.frames += 1;
        self.slowest = self.slowest.max(now - self.last);
        self.last = now;
        let elapsed = now - self.read_at;
        if elapsed >= 1.0 {
            let per_second = (f64::from(self.frames) / elapsed) as f32;
            let slowest_ms = (self.slowest * 1e3) as f32;
            self.pace = playing.then_some(FramePace { per_second, slowest_ms });
            if playing {
                tracing::debug!(per_second, slowest_ms, "pace");
            }
            (self.frames, self.slowest, self.read_at) = (0, 0.0, now);
            self.memory_bytes = resident_bytes();
        }
    }
}

/// Memory of this process where the system tells (Linux).
fn resident_bytes() -> Option<u64> {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

#[cfg(test)]
mod tests;
