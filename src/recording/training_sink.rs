//! From training events to Rerun archetypes, and the arrangement that shows them.
//!
//! Curves and rooms lie on the timeline `step`; stages have entities of their own. Rooms
//! are maps seen from above: Rerun's second axis points down the screen, so that a point
//! (x, y) of the bev space is logged as (x, -y).

use std::collections::BTreeSet;
use std::time::Duration;

use rerun::blueprint::{
    Blueprint, BlueprintPanel, ContainerLike, Grid, Horizontal, SelectionPanel, Spatial2DView, Tabs,
    TextLogView, TimePanel, TimeSeriesView, Vertical,
};
use rerun::external::re_sdk_types::blueprint::components::{PanelState, PlayState};
use rerun::{RecordingStream, RecordingStreamError};

use super::entity_paths as path;
use crate::geometry::BevPoint;
use crate::qa::Situation;
use crate::train::{Metrics, SceneSnapshot, StageKind, TrainEvent, ValidationScene};

type Logged = Result<(), RecordingStreamError>;

const PREDICTED: [u8; 3] = [255, 176, 64];
const TRUE: [u8; 3] = [92, 214, 142];
const ERROR: [u8; 4] = [200, 200, 210, 60];
const CAMERA: [u8; 3] = [92, 170, 255];
const ROOM: [u8; 3] = [150, 158, 172];
const OBJECT: [u8; 3] = [84, 92, 108];
/// Radius of a predicted token, metres.
const TOKEN_RADIUS: f32 = 0.05;
/// Length of an arrow, metres.
const ARROW_LENGTH: f32 = 0.5;

/// Writes a run into one recording stream.
pub(super) struct TrainingSink {
    stream: RecordingStream,
    /// Curves that have their name.
    named: BTreeSet<String>,
    /// Rooms whose walls and furniture are written.
    furnished: BTreeSet<usize>,
}

impl TrainingSink {
    pub(super) fn new(stream: RecordingStream, name: &str) -> Result<Self, RecordingStreamError> {
        stream.send_recording_name(name)?;
        Ok(Self { stream, named: BTreeSet::new(), furnished: BTreeSet::new() })
    }

    /// Writes one event.
    pub(super) fn take(&mut self, event: &TrainEvent) -> Logged {
        let (stage, step) = event.moment();
        self.stream.reset_time();
        self.stream.set_time_sequence(path::TIMELINE_STEP, step as i64);
        match event {
            TrainEvent::Step { learning_rate, metrics, secs, .. } => {
                self.step(stage, *learning_rate, metrics, *secs)
            }
            TrainEvent::Validation { metrics, .. } => metrics.iter().try_for_each(|(name, &value)| {
                let points = rerun::SeriesPoints::new().with_marker_sizes([3.0]);
                self.curve(&path::figure(stage, name), name, value, Some(&points))
            }),
            TrainEvent::Scenes(snapshot) => self.scenes(snapshot),
            TrainEvent::StageStarted { steps, parameters, .. } => self.message(&format!(
                "stage {stage}: {steps} steps, {:.2} M parameters trained",
                *parameters as f64 / 1e6
            )),
            TrainEvent::Saved { .. } => self.message(&format!("stage {stage}: saved at step {step}")),
            TrainEvent::StageFinished { secs, .. } => {
                self.message(&format!("stage {stage}: {step} steps done in {secs:.0} s"))
            }
            TrainEvent::Stopped { .. } => self.message(&format!("stage {stage}: stopped at step {step}")),
        }
    }

    /// Waits until everything is written, at most `limit`.
    pub(super) fn close(self, limit: Duration) -> Result<(), String> {
        self.stream.flush_with_timeout(limit).map_err(|error| error.to_string())
    }

    fn step(&mut self, stage: &str, learning_rate: f64, metrics: &Metrics, secs: f64) -> Logged {
        for (name, &value) in metrics {
            let entity = match name.as_str() {
                "gradient_norm" => path::pace(stage, name),
                _ => path::loss_term(stage, name),
            };
            self.curve(&entity, name, value, None)?;
        }
        self.curve(&path::pace(stage, "learning_rate"), "learning rate", learning_rate, None)?;
        let per_second = 1.0 / secs.max(1e-9);
        self.curve(&path::pace(stage, "steps_per_second"), "steps per second", per_second, None)
    }

    /// A value of a curve; the first also names the curve.
    fn curve(
        &mut self,
        entity: &str,
        name: &str,
        value: f64,
        points: Option<&rerun::SeriesPoints>,
    ) -> Logged {
        if self.named.insert(entity.to_owned()) {
            self.stream.log_static(entity, &rerun::SeriesLines::new().with_names([name]))?;
            if let Some(points) = points {
                self.stream.log_static(entity, points)?;
            }
        }
        self.stream.log(entity, &rerun::Scalars::new([value]))
    }

    fn message(&self, text: &str) -> Logged {
        self.stream.log(path::LOG, &rerun::TextLog::new(text).with_level(rerun::TextLogLevel::INFO))
    }

    fn scenes(&mut self, snapshot: &SceneSnapshot) -> Logged {
        for (k, scene) in snapshot.scenes.iter().enumerate() {
            if self.furnished.insert(k) {
                self.furnish(k, scene)?;
            }
            self.tokens(k, scene)?;
            let cameras = scene.cameras.iter().map(|pose| on_map(pose.position.truncate().into()));
            let line = rerun::LineStrips2D::new([cameras.collect::<Vec<_>>()])
                .with_colors([CAMERA])
                .with_radii([0.02]);
            self.stream.log(path::scene_part(k, "camera_path"), &line)?;
            let found = scene.situations.iter().map(|situation| situation.estimate.situation);
            self.arrows(&path::scene_part(k, "situations/predicted"), found, PREDICTED)?;
            let truths = scene.situations.iter().map(|situation| situation.truth);
            self.arrows(&path::scene_part(k, "situations/true"), truths, TRUE)?;
        }
        Ok(())
    }

    /// Walls and footprints, which no step changes.
    fn furnish(&self, k: usize, scene: &ValidationScene) -> Logged {
        let closed = |corners: Vec<BevPoint>| -> Vec<[f32; 2]> {
            corners.iter().chain(corners.first()).copied().map(on_map).collect()
        };
        let rooms = scene.truth.rooms.iter().map(|room| closed(room.iter().map(|&p| p.into()).collect()));
        let rooms = rerun::LineStrips2D::new(rooms).with_colors([ROOM]).with_radii([0.03]);
        self.stream.log_static(path::scene_part(k, "rooms"), &rooms)?;
        let objects = scene.truth.objects.iter().map(|object| {
            closed(object.bounds.corners().iter().take(4).map(|corner| corner.truncate().into()).collect())
        });
        let objects = rerun::LineStrips2D::new(objects).with_colors([OBJECT]).with_radii([0.01]);
        self.stream.log_static(path::scene_part(k, "objects"), &objects)
    }

    fn tokens(&self, k: usize, scene: &ValidationScene) -> Logged {
        let errors = scene.pairs().map(|(found, truth)| [on_map(truth), on_map(found)]);
        let errors = rerun::LineStrips2D::new(errors).with_colors([ERROR]).with_radii([0.005]);
        self.stream.log(path::scene_part(k, "errors"), &errors)?;
        let truths = scene.pairs().map(|(_, truth)| on_map(truth));
        let truths = rerun::Points2D::new(truths).with_colors([TRUE]).with_radii([0.6 * TOKEN_RADIUS]);
        self.stream.log(path::scene_part(k, "true_tokens"), &truths)?;
        let found = scene.predicted.iter().map(|&[x, y, ..]| on_map(BevPoint::new(x, y)));
        let found = rerun::Points2D::new(found)
            .with_colors([PREDICTED])
            .with_radii([TOKEN_RADIUS])
            .with_draw_order(40.0);
        self.stream.log(path::scene_part(k, "predicted_tokens"), &found)
    }

    fn arrows(
        &self,
        entity: &str,
        situations: impl Iterator<Item = Situation> + Clone,
        color: [u8; 3],
    ) -> Logged {
        let vectors = situations.clone().map(|situation| {
            let direction = situation.orientation.direction() * ARROW_LENGTH;
            on_map(direction.into())
        });
        let arrows = rerun::Arrows2D::from_vectors(vectors)
            .with_origins(situations.map(|situation| on_map(situation.position)))
            .with_colors([color])
            .with_radii([0.03])
            .with_draw_order(50.0);
        self.stream.log(entity, &arrows)
    }
}

fn on_map(point: BevPoint) -> [f32; 2] {
    [point.x, -point.y]
}

/// The arrangement: a tab with the curves of each stage on the left, the rooms as maps on
/// the right.
pub(super) fn blueprint(stages: &[String], scenes: usize) -> Blueprint {
    let tabs: Vec<ContainerLike> = stages.iter().map(|stage| curves(stage).into()).collect();
    let log = TextLogView::new("Log").with_origin(path::LOG);
    let left: Vec<ContainerLike> = vec![Tabs::new(tabs).into(), log.into()];
    let left = Vertical::new(left).with_row_shares(vec![6.0, 1.0]);
    let mut columns: Vec<ContainerLike> = vec![left.into()];
    if scenes > 0 {
        let maps: Vec<ContainerLike> = (0..scenes).map(|k| map(k).into()).collect();
        columns.push(Grid::new(maps).with_grid_columns(if scenes > 1 { 2 } else { 1 }).into());
    }
    Blueprint::new(Horizontal::new(columns))
        .with_auto_views(false)
        .with_blueprint_panel(BlueprintPanel::new().with_state(PanelState::Collapsed))
        .with_selection_panel(SelectionPanel::new().with_state(PanelState::Collapsed))
        .with_time_panel(
            TimePanel::new()
                .with_state(PanelState::Collapsed)
                .with_timeline(path::TIMELINE_STEP)
                .with_play_state(PlayState::Following),
        )
}

fn curves(stage: &str) -> Vertical {
    let (training, validation) =
        (format!("{}/{stage}", path::TRAINING), format!("{}/{stage}", path::VALIDATION));
    let view = |name: &str, origin: String| -> ContainerLike {
        TimeSeriesView::new(name).with_origin(origin).into()
    };
    let pace: Vec<ContainerLike> = vec![
        view("Learning rate", format!("{training}/learning_rate")),
        view("Steps per second", format!("{training}/steps_per_second")),
        view("Gradient norm", format!("{training}/gradient_norm")),
    ];
    let mut figures: Vec<ContainerLike> = vec![
        view("Errors on held-out rooms (m)", format!("{validation}/metres")),
        view("Shares on held-out rooms", format!("{validation}/shares")),
    ];
    if stage == StageKind::Camera.name() {
        figures.insert(1, view("Errors on held-out rooms (°)", format!("{validation}/degrees")));
    }
    let rows: Vec<ContainerLike> = vec![
        view("Loss terms", format!("{training}/terms")),
        Horizontal::new(figures).into(),
        Horizontal::new(pace).into(),
    ];
    Vertical::new(rows).with_name(stage).with_row_shares(vec![3.0, 3.0, 2.0])
}

fn map(scene: usize) -> Spatial2DView {
    let origin = format!("{}/{scene}", path::SCENES);
    Spatial2DView::new(format!("Held-out room {}: predicted over true", scene + 1)).with_origin(origin)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rerun::external::re_log_encoding::DecoderApp;
    use rerun::external::re_log_types::LogMsg;

    use super::super::{Recorder, RecordingConfig, TrainingPlan};
    use super::*;
    use crate::train::scenes::tests::scene;

    fn step(step: u64) -> TrainEvent {
        TrainEvent::Step {
            stage: "joint".to_owned(),
            step,
            learning_rate: 1e-3,
            metrics: Metrics::from([("loss".to_owned(), 2.0), ("gradient_norm".to_owned(), 1.0)]),
            secs: 0.5,
            waited_secs: 0.0,
            frames: 8,
        }
    }

    /// Rows of every entity of the recording in `file`.
    fn rows(file: &std::path::Path) -> BTreeMap<String, usize> {
        let file = std::io::BufReader::new(std::fs::File::open(file).unwrap());
        let mut rows = BTreeMap::new();
        for message in DecoderApp::decode_lazy(file) {
            if let LogMsg::ArrowMsg(store, chunk) = message.unwrap()
                && store.is_recording()
            {
                let chunk = rerun::log::Chunk::from_arrow_msg(&chunk).unwrap();
                *rows.entry(chunk.entity_path().to_string()).or_default() += chunk.num_rows();
            }
        }
        rows
    }

    #[test]
    fn a_run_becomes_curves_and_maps_with_what_came_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.rrd");
        let config = RecordingConfig { rrd: Some(file.clone()), viewer: false };
        let plan = TrainingPlan {
            name: "run".to_owned(),
            stages: vec!["joint".to_owned()],
            scenes: 2,
            history: vec![step(1), step(2)],
        };
        let mut recorder = Recorder::start_training(config, plan).unwrap();
        let stage = || "joint".to_owned();
        let figures = Metrics::from([("layout_error_m".to_owned(), 1.0), ("answer_exact".to_owned(), 0.1)]);
        for event in [
            step(3),
            TrainEvent::Scenes(SceneSnapshot { stage: stage(), step: 3, scenes: vec![scene(1), scene(2)] }),
            TrainEvent::Validation { stage: stage(), step: 3, metrics: figures },
            TrainEvent::Scenes(SceneSnapshot { stage: stage(), step: 4, scenes: vec![scene(1), scene(2)] }),
        ] {
            recorder.record_training(&event);
        }
        recorder.finish(Duration::from_mins(1)).unwrap();
        let rows = rows(&file);
        // The name of a curve is one row more than its values.
        for entity in ["terms/loss", "learning_rate", "steps_per_second", "gradient_norm"] {
            assert_eq!(rows.get(&format!("/training/joint/{entity}")), Some(&4), "{entity}: {rows:?}");
        }
        assert!(rows.contains_key("/validation/joint/metres/layout_error_m"), "{rows:?}");
        assert!(rows.contains_key("/validation/joint/shares/answer_exact"), "{rows:?}");
        for scene in 0..2 {
            for part in ["predicted_tokens", "true_tokens", "situations/predicted", "camera_path"] {
                assert_eq!(rows.get(&format!("/scenes/{scene}/{part}")), Some(&2), "{part}: {rows:?}");
            }
            assert_eq!(rows.get(&format!("/scenes/{scene}/rooms")), Some(&1), "{rows:?}");
        }
    }

    #[test]
    fn the_map_has_forward_at_the_top() {
        assert_eq!(on_map(BevPoint::new(1.0, 2.0)), [1.0, -2.0]);
    }
}
