//! The default arrangement of the Rerun viewer: scene and video on the left,
//! answer, times and messages on the right.

use rerun::blueprint::{
    Blueprint, BlueprintPanel, ContainerLike, Horizontal, SelectionPanel, Spatial2DView, Spatial3DView,
    TextDocumentView, TextLogView, TimePanel, TimeSeriesView, Vertical,
};

use rerun::external::re_sdk_types::blueprint::components::PanelState;

use super::entity_paths as path;

/// The arrangement.
pub(super) fn blueprint() -> Blueprint {
    let scene = Spatial3DView::new("Scene")
        .with_origin(path::WORLD)
        .with_contents(["$origin/**".to_owned(), format!("- /{}", path::LAYOUT_UNCERTAINTY)]);
    let video = Spatial2DView::new("Video").with_origin(path::VIDEO).with_contents(["$origin"]);
    let map = Spatial3DView::new("Uncertainty").with_origin(path::WORLD).with_contents(
        [path::LAYOUT_UNCERTAINTY, path::CAMERA_PATH, path::SITUATION, path::SITUATION_SIGMA]
            .map(|entity| format!("+ /{entity}")),
    );
    let answer = TextDocumentView::new("Answer").with_origin(path::ANSWER);
    let session = TextDocumentView::new("Session").with_origin(path::SESSION);
    let timing = TimeSeriesView::new("Time per stage (ms)").with_origin(path::TIMING);
    let log = TextLogView::new("Log").with_origin(path::LOG);
    let below: Vec<ContainerLike> = vec![video.into(), map.into()];
    let left: Vec<ContainerLike> = vec![scene.into(), Horizontal::new(below).into()];
    let right: Vec<ContainerLike> = vec![answer.into(), session.into(), timing.into(), log.into()];
    let columns: Vec<ContainerLike> = vec![
        Vertical::new(left).with_row_shares(vec![3.0, 2.0]).into(),
        Vertical::new(right).with_row_shares(vec![3.0, 2.0, 2.0, 1.0]).into(),
    ];
    Blueprint::new(Horizontal::new(columns).with_column_shares(vec![7.0, 3.0]))
        .with_auto_views(false)
        .with_blueprint_panel(BlueprintPanel::new().with_state(PanelState::Collapsed))
        .with_selection_panel(SelectionPanel::new().with_state(PanelState::Collapsed))
        .with_time_panel(TimePanel::new().with_timeline(path::TIMELINE_VIDEO))
}
