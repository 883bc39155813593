//! Which held-out room of a run is on screen, at which validation, with which described
//! situation; in the place of a clip's timeline.

use bevy_egui::egui::{Label, RichText, Slider, TextStyle, Ui};

use crate::train::{SceneSituation, SceneSnapshot};
use crate::viewer::action::ViewerAction;
use crate::viewer::run_watch::FollowedRun;
use crate::viewer::theme;

/// Draws the bar; `situation` is the one on screen (index into the room's).
pub(in crate::viewer) fn rooms_ui(
    ui: &mut Ui,
    run: &FollowedRun,
    situation: Option<usize>,
    actions: &mut Vec<ViewerAction>,
) {
    let (Some(snapshot), Some(room)) = (&run.snapshot, run.shown()) else {
        ui.label(theme::weak(match &run.problem {
            Some(problem) => problem.as_str(),
            None => "No held-out room to show yet: they come with the first validation of the joint stage.",
        }));
        return;
    };
    ui.horizontal(|ui| {
        ui.label(RichText::new("Held-out room").strong());
        for k in 0..snapshot.scenes.len() {
            let button = ui.selectable_label(k == run.room, format!(" {} ", k + 1));
            if button.on_hover_text("Next and previous: ] and [").clicked() {
                actions.push(ViewerAction::ShowRoom(k));
            }
        }
        if let Some(error) = room.median_error() {
            ui.label(RichText::new(format!("layout {error:.2} m off")).color(theme::PREDICTED))
                .on_hover_text("Median distance of a token from where it truly lies");
        }
        ui.separator();
        validations(ui, run, snapshot, actions);
    });
    ui.horizontal(|ui| {
        let count = room.situations.len();
        let Some(at) = situation.filter(|&at| at < count) else {
            ui.label(theme::weak("Nobody described a situation in this room."));
            return;
        };
        ui.label(RichText::new("Situation").strong());
        if ui.button("◀").clicked() {
            actions.push(ViewerAction::ShowSituation((at + count - 1) % count));
        }
        ui.label(format!("{} of {count}", at + 1));
        if ui.button("▶").clicked() {
            actions.push(ViewerAction::ShowSituation((at + 1) % count));
        }
        let described = &room.situations[at];
        ui.label(RichText::new(miss(described)).color(theme::PREDICTED));
        let text = RichText::new(format!("“{}”", described.text)).text_style(TextStyle::Small);
        ui.add(Label::new(text).truncate()).on_hover_text(&described.text);
    });
}

/// The steps whose rooms are kept.
fn validations(ui: &mut Ui, run: &FollowedRun, snapshot: &SceneSnapshot, actions: &mut Vec<ViewerAction>) {
    let steps = run.report.as_ref().map_or(&[][..], |report| &report.story.snapshots);
    ui.label(format!("after step {}", snapshot.step));
    if steps.len() > 1 {
        let mut at = steps.iter().position(|&step| step == snapshot.step).unwrap_or(steps.len() - 1);
        let slider = Slider::new(&mut at, 0..=steps.len() - 1).show_value(false);
        if ui.add(slider).on_hover_text("Earlier and later: Page Up and Page Down").changed() {
            actions.push(ViewerAction::ShowValidation(Some(steps[at])));
        }
        let newest = ui.selectable_label(run.pinned.is_none(), "newest");
        if newest.on_hover_text("Go on with every validation").clicked() {
            actions.push(ViewerAction::ShowValidation(None));
        }
    }
}

/// How far the model's reading is from what is described.
fn miss(situation: &SceneSituation) -> String {
    let (found, truth) = (situation.estimate.situation, situation.truth);
    let metres = found.position.distance(truth.position);
    let degrees = found.orientation.distance(truth.orientation).to_degrees();
    format!("{metres:.1} m and {degrees:.0}° off")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable as _;

    use super::*;
    use crate::train::follow::{RunPhase, RunReport, RunStory};
    use crate::train::scenes::tests::scene;

    fn followed() -> FollowedRun {
        let mut run = FollowedRun::new(Path::new("run"));
        let mut rooms = vec![scene(1), scene(2)];
        let second = rooms[0].situations[0].clone();
        rooms[0].situations.push(second);
        run.show(Arc::new(SceneSnapshot { stage: "joint".to_owned(), step: 20, scenes: rooms }));
        let story = RunStory { snapshots: vec![10, 20], ..RunStory::default() };
        let report =
            RunReport { story: Arc::new(story), phase: RunPhase::Running, quiet: Duration::default() };
        run.report = Some(report);
        run
    }

    fn bar(run: FollowedRun) -> Harness<'static, Vec<ViewerAction>> {
        let mut bar = Harness::new_ui_state(
            move |ui, actions: &mut Vec<ViewerAction>| rooms_ui(ui, &run, Some(1), actions),
            Vec::new(),
        );
        bar.set_size(bevy_egui::egui::vec2(1200.0, 100.0));
        bar.run();
        bar
    }

    #[test]
    fn rooms_situations_and_validations_are_chosen() {
        let mut bar = bar(followed());
        assert!(bar.query_by_label("layout 0.50 m off").is_some());
        assert!(bar.query_by_label("after step 20").is_some());
        for label in [" 2 ", "▶", "newest"] {
            bar.get_by_label(label).click();
            bar.run();
        }
        let wanted =
            [ViewerAction::ShowRoom(1), ViewerAction::ShowSituation(0), ViewerAction::ShowValidation(None)];
        assert_eq!(bar.state().as_slice(), wanted);
    }

    #[test]
    fn a_run_without_rooms_says_when_they_come() {
        let bar = bar(FollowedRun::new(Path::new("run")));
        assert!(bar.query_by_label_contains("first validation").is_some());
    }
}
