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
    /// Stage times of the open video.
    pub video_timing: Option<Timing>,
    /// Questions of the open video, oldest first.
    pub questions: Vec<AskedQuestion>,
    /// What is running.
    pub activity: Activity,
    /// Last message for the status bar.
    pub status: Option<StatusMessage>,
    /// Grows with every applied event that changed cameras, points or layout.
    pub scene_revision: u64,
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
            video_timing: None,
            questions: Vec::new(),
            activity: Activity::Idle,
            status: None,
            scene_revision: 0,
        }
    }
}

impl SessionState {
    /// Takes in one event.
    pub fn apply(&mut self, event: SessionEvent) {
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
            SessionEvent::VideoOpened { info, sight, .. } => {
                self.close_video();
                self.video = Some(Arc::new(info));
                self.sight = Some(Arc::new(sight));
            }
            SessionEvent::CamerasReady { cameras, points, .. } => {
                self.cameras = Arc::new(cameras);
                self.points = Arc::new(points);
                self.scene_revision += 1;
            }
            SessionEvent::LayoutReady { layout, timing, .. } => {
                self.layout = Some(Arc::new(layout));
                self.video_timing = Some(timing);
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
                self.stop(request, Severity::Notice, "cancelled".to_owned())
            }
            SessionEvent::Failed { request, message, .. } => self.stop(request, Severity::Problem, message),
            SessionEvent::Crashed { message } => {
                self.model = None;
                self.activity = Activity::Idle;
                self.status = Some(StatusMessage { severity: Severity::Crash, text: message });
            }
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

    /// The newest question.
    pub fn current_question(&self) -> Option<&AskedQuestion> {
        self.questions.last()
    }

    fn start(&mut self, request: RequestId, question: Option<Question>) {
        self.status = None;
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
    }

    fn close_video(&mut self) {
        let revision = self.scene_revision + 1;
        let (model, activity) = (self.model.take(), self.activity.clone());
        *self = Self { model, activity, scene_revision: revision, ..Self::default() };
    }

    fn with_question(&mut self, request: RequestId, change: impl FnOnce(&mut AskedQuestion)) {
        if let Some(asked) = self.questions.iter_mut().rev().find(|asked| asked.request == request) {
            change(asked);
        }
    }
}
