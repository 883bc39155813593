//! The state of a conversation: changed by [`SessionState::apply`] and nowhere else.

use std::sync::Arc;

use super::{AnswerDone, ModelInfo, ModelSight, RequestId, SessionEvent, Stage, Timing};
use crate::qa::{Question, SituationEstimate};
use crate::scene::{CameraEstimate, Layout, PointCloud};
use crate::video::VideoInfo;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Notice,
    /// Something did not work.
    Problem,
    /// The model thread is gone and must be restarted.
    Crash,
}

/// A message for the status bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusMessage {
    /// How much it matters.
    pub severity: Severity,
    /// One or two sentences.
    pub text: String,
}

/// What the model thread is busy with.
#[derive(Debug, Clone, PartialEq)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// A request is running.
    Running {
        /// Which.
        request: RequestId,
        /// Where it is.
        stage: Stage,
        /// Steps done of this stage.
        done: u32,
        /// Steps of this stage.
        total: u32,
    },
    /// The user cancelled; the thread has not confirmed yet.
    Cancelling {
        /// Which.
        request: RequestId,
    },
}

/// A question of this conversation with what came back so far.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedQuestion {
    /// Its request.
    pub request: RequestId,
    /// What was asked.
    pub question: Question,
    /// The reading of the situation, once there.
    pub estimate: Option<SituationEstimate>,
    /// The answer so far.
    pub partial: String,
    /// The complete answer, once there.
    pub answer: Option<AnswerDone>,
    /// Why there is no answer, if so.
    pub failure: Option<String>,
}

/// Cameras and layout of a video that is still being read; cameras may come before its frames
/// are all there, while another video is still the open one.
#[derive(Debug, Clone, Default)]
pub struct SoFar {
    cameras: Arc<Vec<CameraEstimate>>,
    layout: Option<Arc<Layout>>,
}

/// Everything the fronts show of a conversation.
#[derive(Debug, Clone)]
pub struct SessionState {
    /// The model in use.
    pub model: Option<ModelInfo>,
    /// The open video.
    pub video: Option<Arc<VideoInfo>>,
    /// What the model sees of it.
    pub sight: Option<Arc<ModelSight>>,
    /// Camera poses of the sampled frames.
    pub cameras: Arc<Vec<CameraEstimate>>,
    /// Dense points.
    pub points: Arc<PointCloud>,
    /// The layout, once there.
    pub layout: Option<Arc<Layout>>,
    /// What is known of cameras and layout while they are not complete.
    pub so_far: SoFar,
    /// Stage times of the open video.
    pub video_timing: Option<Timing>,
    /// Frames of the open video that went through the vision tower; 0 when they had been
    /// seen before.
    pub encoded_frames: u32,
    /// Tokens of the open video whose keys and values were still in memory when it was opened;
    /// 0 when they were computed.
    pub reused_tokens: usize,
    /// Questions of the open video, oldest first.
    pub questions: Vec<AskedQuestion>,
    /// What is running.
    pub activity: Activity,
    /// Last message for the status bar.
    pub status: Option<StatusMessage>,
    /// Grows with every applied event that changed cameras, points or layout.
    pub scene_revision: u64,
    /// The newest request that was heard of; events of older ones are void.
    pub newest: RequestId,
}

impl Default for SessionState {
    fn default() -> Self {
        Self {
            model: None,
            video: None,
            sight: None,
            cameras: Arc::default(),
            points: Arc::default(),
            layout: None,
            so_far: SoFar::default(),
            video_timing: None,
            encoded_frames: 0,
            reused_tokens: 0,
            questions: Vec::new(),
            activity: Activity::Idle,
            status: None,
            scene_revision: 0,
            newest: RequestId::default(),
        }
    }
}

impl SessionState {
    /// Takes in one event. Events of a request older than the newest are ignored:
    /// they come from a thread that was replaced.
    pub fn apply(&mut self, event: SessionEvent) {
        if let Some(request) = event.request() {
            if request < self.newest {
                return;
            }
            self.newest = request;
        }
        match event {
            SessionEvent::Started { request, question } => self.start(request, question),
            SessionEvent::Progress { request, stage, done, total } => {
                if !matches!(self.activity, Activity::Cancelling { .. }) {
                    self.activity = Activity::Running { request, stage, done, total };
                }
            }
            SessionEvent::ModelLoaded { model, .. } => {
                self.close_video();
                self.model = Some(model);
                self.activity = Activity::Idle;
            }
            SessionEvent::ModelUnloaded { .. } => {
                self.close_video();
                self.model = None;
                self.activity = Activity::Idle;
            }
            SessionEvent::VideoOpened { info, sight, .. } => {
                // Cameras may be known before the last frames are read.
                let so_far = std::mem::take(&mut self.so_far);
                self.close_video();
                self.so_far = so_far;
                self.video = Some(Arc::new(info));
                self.sight = Some(Arc::new(sight));
            }
            SessionEvent::ClipWarning { message, .. } => {
                if let Some(video) = &mut self.video {
                    Arc::make_mut(video).warnings.push(message);
                }
            }
            SessionEvent::CamerasSoFar { cameras, .. } => {
                self.so_far.cameras = Arc::new(cameras);
                self.scene_revision += 1;
            }
            SessionEvent::LayoutSoFar { layout, .. } => {
                self.so_far.layout = Some(Arc::new(layout));
                self.scene_revision += 1;
            }
            SessionEvent::CamerasReady { cameras, points, .. } => {
                self.cameras = Arc::new(cameras);
                self.points = Arc::new(points);
                self.scene_revision += 1;
            }
            SessionEvent::LayoutReady { layout, timing, encoded_frames, reused_tokens, .. } => {
                self.layout = Some(Arc::new(layout));
                self.so_far = SoFar::default();
                self.video_timing = Some(timing);
                (self.encoded_frames, self.reused_tokens) = (encoded_frames, reused_tokens);
                self.scene_revision += 1;
                self.activity = Activity::Idle;
            }
            SessionEvent::SituationReady { request, estimate } => {
                self.with_question(request, |asked| asked.estimate = Some(estimate));
            }
            SessionEvent::AnswerPiece { request, piece } => {
                self.with_question(request, |asked| asked.partial.push_str(&piece));
            }
            SessionEvent::AnswerReady { request, answer } => {
                self.with_question(request, |asked| asked.answer = Some(answer));
                self.activity = Activity::Idle;
            }
            SessionEvent::Cancelled { request } => {
                self.stop(request, Severity::Notice, "cancelled".to_owned());
            }
            SessionEvent::Failed { request, message, .. } => self.stop(request, Severity::Problem, message),
            SessionEvent::Crashed { message } => self.crash(message),
        }
    }

    /// Notes that the user cancelled the running request.
    pub fn cancelling(&mut self) {
        if let Activity::Running { request, .. } = self.activity {
            self.activity = Activity::Cancelling { request };
        }
    }

    /// Whether a request is running or being cancelled.
    pub fn is_busy(&self) -> bool {
        self.activity != Activity::Idle
    }

    /// The cameras, or those of the first frames while the video is being read.
    pub fn shown_cameras(&self) -> &Arc<Vec<CameraEstimate>> {
        if self.cameras.is_empty() { &self.so_far.cameras } else { &self.cameras }
    }

    /// What stands when a video is read: a base model gives no layout.
    pub fn product(&self) -> &'static str {
        let is_empty = self.layout.as_ref().is_none_or(|layout| layout.tokens.is_empty());
        if is_empty { "video read" } else { "layout" }
    }

    /// The layout, or that of the first tokens while the video is being read.
    pub fn shown_layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref().or(self.so_far.layout.as_ref())
    }

    /// The newest question.
    pub fn current_question(&self) -> Option<&AskedQuestion> {
        self.questions.last()
    }

    fn start(&mut self, request: RequestId, question: Option<Question>) {
        self.status = None;
        self.give_up_so_far();
        let stage = if question.is_some() { Stage::Prefill } else { Stage::DecodeFrames };
        self.activity = Activity::Running { request, stage, done: 0, total: 0 };
        if let Some(question) = question {
            self.questions.push(AskedQuestion {
                request,
                question,
                estimate: None,
                partial: String::new(),
                answer: None,
                failure: None,
            });
        }
    }

    fn stop(&mut self, request: RequestId, severity: Severity, text: String) {
        self.with_question(request, |asked| asked.failure = Some(text.clone()));
        self.status = Some(StatusMessage { severity, text });
        self.activity = Activity::Idle;
        self.give_up_so_far();
    }

    /// Drops what is incomplete. A question that ends badly does not touch the scene.
    pub(crate) fn give_up_so_far(&mut self) {
        let SoFar { cameras, layout } = std::mem::take(&mut self.so_far);
        if !cameras.is_empty() || layout.is_some() {
            self.scene_revision += 1;
        }
    }

    fn crash(&mut self, message: String) {
        let newest = self.newest;
        self.with_question(newest, |asked| {
            if asked.answer.is_none() {
                asked.failure = Some(message.clone());
            }
        });
        self.model = None;
        self.give_up_so_far();
        self.activity = Activity::Idle;
        self.status = Some(StatusMessage { severity: Severity::Crash, text: message });
    }

    fn close_video(&mut self) {
        let revision = self.scene_revision + 1;
        let (model, activity, newest) = (self.model.take(), self.activity.clone(), self.newest);
        *self = Self { model, activity, newest, scene_revision: revision, ..Self::default() };
    }

    fn with_question(&mut self, request: RequestId, change: impl FnOnce(&mut AskedQuestion)) {
        if let Some(asked) = self.questions.iter_mut().rev().find(|asked| asked.request == request) {
            change(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scenarios: one word per event, then the state in one line.

    use std::fmt::Write as _;
    use std::path::PathBuf;

    use super::*;
    use crate::geometry::{CameraPose, ImageSize, Intrinsics};
    use crate::qa::QuestionKind;
    use crate::session::{TokenCounts, event};
    use crate::video::FrameIndex;

    /// `start:N ask:N progress:N model:N video:N path:N cameras:N grow:N layout:N:KEPT piece:N:TEXT
    /// answer:N:TEXT cancelled:N failed:N crash`, and `cancelling` for the user's click.
    fn after(scenario: &str) -> SessionState {
        let mut state = SessionState::default();
        for word in scenario.split_whitespace() {
            if word == "cancelling" {
                state.cancelling();
            } else {
                state.apply(event_of(word));
            }
        }
        state
    }

    fn event_of(word: &str) -> SessionEvent {
        let mut parts = word.split(':');
        let name = parts.next().unwrap();
        let request = RequestId(parts.next().map_or(0, |number| number.parse().unwrap()));
        let text = parts.next().unwrap_or_default().to_owned();
        match name {
            "start" => SessionEvent::Started { request, question: None },
            "ask" => SessionEvent::Started { request, question: Some(question()) },
            "progress" => SessionEvent::Progress { request, stage: Stage::Vision, done: 1, total: 4 },
            "model" => SessionEvent::ModelLoaded { request, model: model() },
            "video" => SessionEvent::VideoOpened { request, info: info(), sight: sight() },
            "grow" => SessionEvent::LayoutSoFar { request, layout: Layout::default() },
            "path" => SessionEvent::CamerasSoFar { request, cameras: vec![camera()] },
            "cameras" => {
                SessionEvent::CamerasReady { request, cameras: vec![], points: PointCloud::default() }
            }
            "layout" => SessionEvent::LayoutReady {
                request,
                layout: Layout::default(),
                timing: Timing::default(),
                encoded_frames: 0,
                reused_tokens: text.len(),
            },
            "piece" => SessionEvent::AnswerPiece { request, piece: text },
            "answer" => SessionEvent::AnswerReady { request, answer: answer(text) },
            "cancelled" => SessionEvent::Cancelled { request },
            "failed" => SessionEvent::Failed { request, stage: Stage::Vision, message: "no luck".to_owned() },
            "crash" => SessionEvent::Crashed { message: "boom".to_owned() },
            other => panic!("unknown word {other}"),
        }
    }

    fn question() -> Question {
        Question { kind: QuestionKind::What, text: "What?".to_owned(), situation_text: None, choices: vec![] }
    }

    fn model() -> ModelInfo {
        ModelInfo {
            name: "tiny".to_owned(),
            folder: PathBuf::new(),
            device: "CPU".to_owned(),
            parameters: 1,
            frames: 4,
            image_size: 32,
            notice: String::new(),
            card: String::new(),
        }
    }

    fn camera() -> CameraEstimate {
        let intrinsics = Intrinsics::from_horizontal_fov(ImageSize::new(2, 2), 1.0);
        CameraEstimate { frame: FrameIndex(0), pose: CameraPose::IDENTITY, intrinsics }
    }

    fn info() -> VideoInfo {
        VideoInfo {
            path: PathBuf::new(),
            size: ImageSize::new(2, 2),
            pts_secs: vec![0.0],
            keyframes: vec![],
            rotation_degrees: 0,
            codec: String::new(),
            container: String::new(),
            warnings: vec![],
        }
    }

    fn sight() -> event::ModelSight {
        event::ModelSight {
            frames: vec![FrameIndex(0)],
            size: ImageSize::new(1, 1),
            rgb: vec![0; 3],
            tokens_per_frame: 1,
            prefix_tokens: 1,
        }
    }

    fn answer(text: String) -> AnswerDone {
        AnswerDone {
            text,
            confidence: 1.0,
            prompt: String::new(),
            tokens: TokenCounts::default(),
            timing: Timing::default(),
        }
    }

    /// `activity | model video layout | questions | status`.
    fn summary(state: &SessionState) -> String {
        let mut line = match &state.activity {
            Activity::Idle => "idle".to_owned(),
            Activity::Running { request, stage, done, total } => {
                format!("running {} {stage:?} {done}/{total}", request.0)
            }
            Activity::Cancelling { request } => format!("cancelling {}", request.0),
        };
        line.push_str(" |");
        for (name, there) in [
            ("model", state.model.is_some()),
            ("video", state.video.is_some()),
            ("layout", state.layout.is_some()),
        ] {
            if there {
                write!(line, " {name}").unwrap();
            }
        }
        for asked in &state.questions {
            let end = match (&asked.answer, &asked.failure) {
                (Some(answer), _) => format!("={}", answer.text),
                (None, Some(failure)) => format!("!{failure}"),
                (None, None) => String::new(),
            };
            write!(line, " | {}:{}{end}", asked.request.0, asked.partial).unwrap();
        }
        if let Some(status) = &state.status {
            write!(line, " | {:?} {}", status.severity, status.text).unwrap();
        }
        line
    }

    #[test]
    fn scenarios() {
        let opened = "start:1 model:1 start:2 video:2 cameras:2 layout:2";
        for (scenario, expected) in [
            ("", "idle |"),
            ("start:1", "running 1 DecodeFrames 0/0 |"),
            ("start:1 model:1", "idle | model"),
            ("start:1 model:1 start:2 progress:2 video:2", "running 2 Vision 1/4 | model video"),
            (opened, "idle | model video layout"),
            (
                &format!("{opened} ask:3 piece:3:re piece:3:d"),
                "running 3 Prefill 0/0 | model video layout | 3:red",
            ),
            (&format!("{opened} ask:3 piece:3:red answer:3:red"), "idle | model video layout | 3:red=red"),
            (&format!("{opened} ask:3 failed:3"), "idle | model video layout | 3:!no luck | Problem no luck"),
            // A new video closes the old one and its questions.
            (
                &format!("{opened} ask:3 answer:3:x start:4 video:4"),
                "running 4 DecodeFrames 0/0 | model video",
            ),
            // A new model closes the video.
            (&format!("{opened} start:3 model:3"), "idle | model"),
            // A video that does not open leaves the old one.
            (&format!("{opened} start:3 failed:3"), "idle | model video layout | Problem no luck"),
        ] {
            assert_eq!(summary(&after(scenario)), expected, "{scenario}");
        }
    }

    #[test]
    fn what_is_known_so_far_is_shown_until_it_is_complete_or_given_up() {
        let growing = "start:1 model:1 start:2 video:2 grow:2";
        let state = after(growing);
        assert!(state.layout.is_none() && state.shown_layout().is_some());
        assert!(after(&format!("{growing} cameras:2 layout:2")).so_far.layout.is_none());
        for end in ["cancelled:2", "failed:2", "crash", "start:3 video:3"] {
            let given_up = after(&format!("{growing} {end}"));
            assert!(given_up.shown_layout().is_none(), "{end}");
            assert!(given_up.scene_revision > state.scene_revision, "{end}");
        }
    }

    #[test]
    fn cameras_told_while_frames_are_read_stay_when_the_video_is_open() {
        let reading = "start:1 model:1 start:2 path:2";
        let cameras = |scenario: &str| after(scenario).shown_cameras().len();
        assert_eq!(cameras(reading), 1);
        assert_eq!(cameras(&format!("{reading} video:2")), 1);
        assert_eq!(cameras(&format!("{reading} video:2 cameras:2 layout:2")), 0);
        for end in ["cancelled:2", "failed:2", "crash", "start:3 video:3"] {
            assert_eq!(cameras(&format!("{reading} {end}")), 0, "{end}");
        }
    }

    #[test]
    fn a_video_that_was_kept_says_so_until_another_is_opened() {
        let again = "start:1 model:1 start:2 video:2 layout:2:xxx";
        assert_eq!(after(again).reused_tokens, 3);
        assert_eq!(after(&format!("{again} start:3 video:3")).reused_tokens, 0);
        assert_eq!(after(&format!("{again} start:3 video:3 layout:3")).reused_tokens, 0);
    }

    #[test]
    fn a_question_that_ends_badly_leaves_the_scene_alone() {
        let opened = "start:1 model:1 start:2 video:2 cameras:2 layout:2 ask:3";
        let before = after(opened).scene_revision;
        for end in ["cancelled:3", "failed:3", "crash"] {
            assert_eq!(after(&format!("{opened} {end}")).scene_revision, before, "{end}");
        }
    }

    #[test]
    fn cancelling_is_shown_until_the_thread_confirms() {
        let opened = "start:1 model:1 start:2 video:2 layout:2";
        for (scenario, expected) in [
            ("cancelling", "idle | model video layout"),
            ("ask:3 cancelling", "cancelling 3 | model video layout | 3:"),
            ("ask:3 cancelling progress:3", "cancelling 3 | model video layout | 3:"),
            ("ask:3 cancelling cancelled:3", "idle | model video layout | 3:!cancelled | Notice cancelled"),
            // The answer was faster.
            ("ask:3 cancelling answer:3:red", "idle | model video layout | 3:=red"),
        ] {
            assert_eq!(summary(&after(&format!("{opened} {scenario}"))), expected, "{scenario}");
        }
    }

    #[test]
    fn events_of_older_requests_are_void() {
        for (scenario, expected) in [
            ("start:5 model:5 model:4", "idle | model"),
            ("start:5 start:4", "running 5 DecodeFrames 0/0 |"),
            ("ask:6 piece:6:a piece:5:b answer:5:b", "running 6 Prefill 0/0 | | 6:a"),
            ("ask:6 cancelled:5 failed:4", "running 6 Prefill 0/0 | | 6:"),
        ] {
            assert_eq!(summary(&after(scenario)), expected, "{scenario}");
        }
    }

    #[test]
    fn what_is_odd_about_a_clip_is_kept_until_another_is_opened() {
        let mut state = SessionState::default();
        let request = RequestId(1);
        state.apply(SessionEvent::VideoOpened { request, info: info(), sight: sight() });
        let message = "it looks unlike a room".to_owned();
        state.apply(SessionEvent::ClipWarning { request, message: message.clone() });
        assert_eq!(state.video.as_ref().unwrap().warnings, [message]);
        state.apply(SessionEvent::VideoOpened { request: RequestId(2), info: info(), sight: sight() });
        assert!(state.video.as_ref().unwrap().warnings.is_empty());
    }

    #[test]
    fn a_crash_ends_the_question_and_a_restart_brings_everything_back() {
        let crashed = "start:1 model:1 start:2 video:2 layout:2 ask:3 piece:3:re crash";
        assert_eq!(summary(&after(crashed)), "idle | video layout | 3:re!boom | Crash boom");
        let restarted = format!("{crashed} start:4 model:4 start:5 video:5 layout:5");
        assert_eq!(summary(&after(&restarted)), "idle | model video layout");
    }
}
