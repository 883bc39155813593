//! The training run that the app follows: the thread `loc3r-run` reads its folder, the
//! held-out room on screen looks to the 3D view like a clip with its conversation.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bevy::prelude::{ResMut, Resource};
use crossbeam::channel::RecvTimeoutError;

use super::workbench::{ClipTruth, Workbench};
use crate::qa::{AnswerKey, LabeledQuestion, Question, QuestionKind};
use crate::scene::PointCloud;
use crate::session::{RequestId, SessionEvent, SessionState, Timing};
use crate::train::follow::{RunFollower, RunReport};
use crate::train::{SceneSnapshot, ValidationScene};
use crate::worker::{Worker, WorkerSide};

/// Between two looks at the folder.
const POLL: Duration = Duration::from_millis(500);
/// Wishes that may wait; a newer one supersedes them.
const WISH_BOUND: usize = 8;
/// News that may wait while the window is not drawn.
const NEWS_BOUND: usize = 4;

/// The validation whose rooms are to be shown, by its step; `None` is always the newest.
type Wish = Option<u64>;

enum News {
    Report(Box<RunReport>),
    Rooms(Result<Arc<SceneSnapshot>, String>),
    Ended(String),
}

/// What is known of a run and what of it is on screen.
#[derive(Debug, Clone)]
pub struct FollowedRun {
    /// Its folder.
    pub path: PathBuf,
    /// What it told; `None` until the first look.
    pub report: Option<RunReport>,
    /// When the report came.
    pub received: Instant,
    /// The rooms of the validation on screen.
    pub snapshot: Option<Arc<SceneSnapshot>>,
    /// Step of the validation that somebody chose; `None` follows the newest.
    pub pinned: Option<u64>,
    /// The room on screen (index into the snapshot's).
    pub room: usize,
    /// The stage whose curves somebody chose; `None` follows the one in training.
    pub stage: Option<String>,
    /// Why rooms cannot be shown, or following ended.
    pub problem: Option<String>,
    /// The room on screen as if it were a conversation: layout, cameras, situations.
    pub(crate) session: SessionState,
    /// The truth of the room on screen.
    pub(crate) truth: Arc<ClipTruth>,
}

impl FollowedRun {
    /// A run before the first look at it.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            report: None,
            received: Instant::now(),
            snapshot: None,
            pinned: None,
            room: 0,
            stage: None,
            problem: None,
            session: SessionState::default(),
            truth: Arc::default(),
        }
    }

    /// Whether all that was written so far is on screen.
    pub(crate) fn is_read(&self) -> bool {
        self.report.as_ref().is_some_and(|report| {
            let story = &report.story;
            let read = story.stages.is_empty() || story.read > 0.999;
            read && (story.snapshots.is_empty() || self.snapshot.is_some())
        })
    }

    /// The room on screen.
    pub fn shown(&self) -> Option<&ValidationScene> {
        self.snapshot.as_ref()?.scenes.get(self.room)
    }

    /// The validation that is `by` later than the one on screen; `None` beyond the last.
    pub(crate) fn validation(&self, by: i32) -> Option<u64> {
        let steps = &self.report.as_ref()?.story.snapshots;
        let shown = self.snapshot.as_ref()?.step;
        let at = steps.iter().position(|&step| step == shown)? as i32 + by;
        steps.get(at.max(0) as usize).copied()
    }

    /// Shows the rooms of a validation, the same room as before.
    pub(crate) fn show(&mut self, snapshot: Arc<SceneSnapshot>) {
        let before = self.shown().map(|room| room.seed);
        self.room = self.room.min(snapshot.scenes.len().saturating_sub(1));
        self.snapshot = Some(snapshot);
        self.problem = None;
        let Some(room) = self.shown().cloned() else { return };
        if before != Some(room.seed) || self.truth.scene.is_none() {
            self.truth = Arc::new(truth_of(&room));
        }
        self.session = session_of(&room, self.session.scene_revision);
    }

    /// Shows another room of the same validation.
    pub(crate) fn choose_room(&mut self, room: usize) {
        if let Some(snapshot) = self.snapshot.take() {
            self.room = room.min(snapshot.scenes.len().saturating_sub(1));
            self.truth = Arc::default();
            self.show(snapshot);
        }
    }
}

/// What is true of a room, with its situations as questions without an answer.
fn truth_of(room: &ValidationScene) -> ClipTruth {
    let questions = room.situations.iter().map(|situation| LabeledQuestion {
        question: described(&situation.text),
        key: AnswerKey::Text(Vec::new()),
        situation: Some(situation.truth),
    });
    ClipTruth { scene: Some(room.truth.clone()), questions: questions.collect() }
}

/// What a model would have told about the room.
fn session_of(room: &ValidationScene, revision: u64) -> SessionState {
    let mut session = SessionState { scene_revision: revision, ..SessionState::default() };
    let request = RequestId::default();
    session.apply(SessionEvent::CamerasReady {
        request,
        cameras: room.camera_estimates(),
        points: PointCloud::default(),
    });
    session.apply(SessionEvent::LayoutReady {
        request,
        layout: room.layout(),
        timing: Timing::default(),
        encoded_frames: 0,
        reused_tokens: 0,
    });
    for (number, situation) in (1..).zip(&room.situations) {
        let request = RequestId(number);
        session.apply(SessionEvent::Started { request, question: Some(described(&situation.text)) });
        session.apply(SessionEvent::SituationReady { request, estimate: situation.estimate.clone() });
    }
    session
}

fn described(text: &str) -> Question {
    Question {
        kind: QuestionKind::What,
        text: String::new(),
        situation_text: Some(text.to_owned()),
        choices: Vec::new(),
    }
}

/// The run being followed, if one is.
#[derive(Debug, Default, Resource)]
pub(super) struct RunWatch {
    worker: Option<Worker<Wish, News>>,
    /// What is known of it.
    pub run: Option<FollowedRun>,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Report(_) => "Report",
            Self::Rooms(_) => "Rooms",
            Self::Ended(_) => "Ended",
        })
    }
}

impl RunWatch {
    /// Follows the run in `path`; the one before is left.
    pub(crate) fn follow(&mut self, path: &Path) {
        let mut run = FollowedRun::new(path);
        let folder = path.to_owned();
        let worker = Worker::start(
            "loc3r-run",
            WISH_BOUND,
            NEWS_BOUND,
            move |side| follow(&folder, side),
            |message| News::Ended(format!("following the run ended unexpectedly: {message}; open it again")),
        );
        match worker {
            Ok(worker) => self.worker = Some(worker),
            Err(error) => {
                self.worker = None;
                run.problem = Some(format!(
                    "cannot start the thread that reads the run: {error}; close other programs"
                ));
            }
        }
        self.run = Some(run);
    }

    /// Leaves the run.
    pub(crate) fn leave(&mut self) {
        *self = Self::default();
    }

    /// Shows the rooms of the validation at `step`, or follows the newest again.
    pub(crate) fn pin(&mut self, step: Option<u64>) {
        if let (Some(run), Some(worker)) = (&mut self.run, &self.worker)
            && worker.try_send(step).is_ok()
        {
            run.pinned = step;
        }
    }
}

/// Takes what the thread found; once a frame.
pub(super) fn receive_run(mut watch: ResMut<RunWatch>, mut workbench: ResMut<Workbench>) {
    use bevy::prelude::DetectChangesMut as _;
    let RunWatch { worker, run } = watch.bypass_change_detection();
    let (Some(worker), Some(run)) = (worker, run) else { return };
    let mut changed = false;
    while let Ok(news) = worker.events().try_recv() {
        changed = true;
        match news {
            News::Report(report) => {
                run.report = Some(*report);
                run.received = Instant::now();
            }
            News::Rooms(Ok(snapshot)) => {
                run.show(snapshot);
                if !Arc::ptr_eq(&workbench.truth, &run.truth) {
                    workbench.truth = Arc::clone(&run.truth);
                    workbench.selected_question = None;
                }
            }
            News::Rooms(Err(problem)) | News::Ended(problem) => run.problem = Some(problem),
        }
    }
    if changed {
        watch.set_changed();
    }
}

/// Looks at the folder until the owner is gone.
fn follow(path: &Path, side: &WorkerSide<Wish, News>) {
    let mut follower = RunFollower::new(path);
    let mut pinned: Wish = None;
    let mut told = None;
    let mut shown: Option<(u64, Option<SystemTime>)> = None;
    loop {
        let outcome = follower.look();
        let problem = outcome.as_ref().err().map(String::as_str);
        let phase = follower.phase(problem);
        let mut news = Vec::new();
        if outcome == Ok(true) || told.as_ref() != Some(&phase) {
            told = Some(phase);
            news.push(News::Report(Box::new(follower.report(problem))));
        }
        let wanted = pinned.or_else(|| follower.snapshots().last().copied());
        let wanted = wanted.map(|step| (step, follower.scenes_written(step)));
        if let Some((step, _)) = wanted.filter(|_| wanted != shown && problem.is_none()) {
            shown = wanted;
            news.push(News::Rooms(follower.scenes(step).map(Arc::new)));
        }
        for news in news {
            if side.events.send(news).is_err() {
                return;
            }
        }
        let patience = if outcome == Ok(true) && follower.has_more() { Duration::ZERO } else { POLL };
        match side.commands.recv_timeout(patience) {
            Ok(wish) => pinned = wish,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
pub(in crate::viewer) mod tests {
    use super::*;
    use crate::train::scenes::tests::scene;
    use crate::train::{RunDir, TrainConfig, TrainEvent};

    /// A run in `folder` with one step and the rooms of two validations.
    fn run(folder: &Path) -> RunDir {
        let run = RunDir::create(&folder.join("run"), &TrainConfig::preset("tiny").unwrap()).unwrap();
        let stage = || "joint".to_owned();
        run.log(&TrainEvent::StageStarted { stage: stage(), step: 0, steps: 9, parameters: 1 }).unwrap();
        for step in [3, 6] {
            let mut rooms = vec![scene(1), scene(2)];
            rooms[0].predicted[0][0] = step as f32;
            run.log(&TrainEvent::Scenes(SceneSnapshot { stage: stage(), step, scenes: rooms })).unwrap();
        }
        run
    }

    /// Follows until `done`.
    fn wait(watch: &mut RunWatch, done: impl Fn(&FollowedRun) -> bool) {
        let mut app = bevy::prelude::App::new();
        app.insert_resource(std::mem::take(watch)).init_resource::<Workbench>();
        app.add_systems(bevy::prelude::Update, receive_run);
        let started = Instant::now();
        loop {
            app.update();
            let now = app.world().resource::<RunWatch>().run.as_ref().unwrap();
            if done(now) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{now:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        *watch = app.world_mut().remove_resource().unwrap();
    }

    fn step_of(run: &FollowedRun) -> Option<u64> {
        run.snapshot.as_ref().map(|snapshot| snapshot.step)
    }

    #[test]
    fn the_newest_rooms_are_shown_and_older_ones_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let dir = run(folder.path());
        let mut watch = RunWatch::default();
        watch.follow(dir.path());
        wait(&mut watch, |run| step_of(run) == Some(6));
        watch.pin(Some(3));
        wait(&mut watch, |run| step_of(run) == Some(3));
        let stage = "joint".to_owned();
        dir.log(&TrainEvent::Scenes(SceneSnapshot { stage, step: 9, scenes: vec![scene(1)] })).unwrap();
        wait(&mut watch, |run| run.report.as_ref().is_some_and(|report| report.story.snapshots == [3, 6, 9]));
        assert_eq!(step_of(watch.run.as_ref().unwrap()), Some(3));
        watch.pin(None);
        wait(&mut watch, |run| step_of(run) == Some(9));
    }

    #[test]
    fn a_room_looks_like_a_clip_with_its_situations() {
        let mut run = FollowedRun::new(Path::new("run"));
        let snapshot = |x| {
            let mut rooms = vec![scene(1), scene(2)];
            rooms[0].predicted[0][0] = x;
            Arc::new(SceneSnapshot { stage: "joint".to_owned(), step: 1, scenes: rooms })
        };
        run.show(snapshot(1.0));
        let (truth, revision) = (Arc::clone(&run.truth), run.session.scene_revision);
        assert_eq!(run.session.questions.len(), 1);
        assert_eq!(run.truth.questions[0].situation, Some(scene(1).situations[0].truth));
        run.show(snapshot(4.0));
        // The same room: its truth stays, its layout is drawn anew.
        assert!(Arc::ptr_eq(&truth, &run.truth) && run.session.scene_revision > revision);
        assert_eq!(run.session.layout.as_ref().unwrap().tokens[0].position.x, 4.0);
        run.choose_room(7);
        assert_eq!(run.shown().unwrap().seed, 2);
        assert!(!Arc::ptr_eq(&truth, &run.truth));
    }
}
