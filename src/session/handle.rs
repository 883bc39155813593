//! The owner's side of the model thread.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, TryRecvError};

use super::engine::{self, Loader};
use super::kept_videos::HeldBytes;
use super::model_worker::{CancelledThrough, Numbered, serve};
use super::{RequestId, SessionError, SessionEvent, SessionRequest};
use crate::model::FeatureCache;
use crate::worker::{SendError, Worker};

/// Requests that may wait: a person types faster than a model answers, but not by much.
const REQUEST_BOUND: usize = 4;
/// Events that may wait: an answer's tokens while a front is busy drawing.
const EVENT_BOUND: usize = 256;

/// Handle of the model thread. Dropping it cancels what runs and lets the thread end.
pub struct Session {
    worker: Worker<Numbered, SessionEvent>,
    loader: Arc<Loader>,
    held: HeldBytes,
    cancelled: Arc<CancelledThrough>,
    newest: RequestId,
    alive: bool,
    model: Option<SessionRequest>,
    video: Option<SessionRequest>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("newest", &self.newest)
            .field("alive", &self.alive)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Starts the model thread, with nothing loaded. What models see of videos is kept in
    /// `cache` and, as far as there is room, in memory; without a cache every video is read anew.
    ///
    /// # Errors
    /// [`SessionError::Thread`] when the operating system refuses a thread.
    pub fn start(cache: Option<FeatureCache>) -> Result<Self, SessionError> {
        let held = HeldBytes::default();
        let told = held.clone();
        let loader = move |folder: &Path, compute| engine::load(folder, compute, cache.clone(), told.clone());
        Ok(Self { held, ..Self::start_with(Arc::new(loader))? })
    }

    /// Bytes of the videos that the model in use holds, which it gives back when it goes. Without
    /// a model the number means nothing.
    pub fn held_by_videos(&self) -> u64 {
        self.held.get()
    }

    pub(super) fn start_with(loader: Arc<Loader>) -> Result<Self, SessionError> {
        let cancelled = Arc::new(CancelledThrough::default());
        let worker = start_worker(Arc::clone(&loader), Arc::clone(&cancelled))?;
        Ok(Self {
            worker,
            loader,
            held: HeldBytes::default(),
            cancelled,
            newest: RequestId::default(),
            alive: true,
            model: None,
            video: None,
        })
    }

    /// Queues a request without blocking.
    ///
    /// # Errors
    /// [`SendError::Busy`] when four requests wait already, [`SendError::Stopped`] after a crash.
    pub fn request(&mut self, request: SessionRequest) -> Result<RequestId, SendError> {
        if !self.alive {
            return Err(SendError::Stopped);
        }
        let id = self.newest.next();
        self.worker.try_send((id, request.clone()))?;
        self.newest = id;
        match request {
            SessionRequest::LoadModel { .. } => self.model = Some(request),
            SessionRequest::UnloadModel => (self.model, self.video) = (None, None),
            SessionRequest::OpenVideo { .. } => self.video = Some(request),
            SessionRequest::Ask { .. } => {}
        }
        Ok(id)
    }

    /// Cancels the running request and those that wait; each ends with an event.
    pub fn cancel(&self) {
        self.cancelled.raise_to(self.newest);
    }

    /// The next event, if there is one.
    pub fn poll(&mut self) -> Option<SessionEvent> {
        match self.worker.events().try_recv() {
            Ok(event) => Some(self.noted(event)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.ended(),
        }
    }

    /// The next event, waiting for it at most `timeout`; for jobs without a window.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<SessionEvent> {
        match self.worker.events().recv_timeout(timeout) {
            Ok(event) => Some(self.noted(event)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => self.ended(),
        }
    }

    /// Whether requests can be sent; false after [`SessionEvent::Crashed`].
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    /// Starts a new model thread in place of the old one, and loads the same model
    /// and video again. Events of the old thread are dropped.
    ///
    /// # Errors
    /// [`SessionError::Thread`] when the operating system refuses a thread.
    pub fn restart(&mut self) -> Result<(), SessionError> {
        self.cancel();
        self.worker = start_worker(Arc::clone(&self.loader), Arc::clone(&self.cancelled))?;
        self.alive = true;
        for request in [self.model.clone(), self.video.clone()].into_iter().flatten() {
            if let Err(error) = self.request(request) {
                tracing::warn!("the restarted model thread refused a request: {error}");
            }
        }
        Ok(())
    }

    fn noted(&mut self, event: SessionEvent) -> SessionEvent {
        if matches!(event, SessionEvent::Crashed { .. }) {
            self.alive = false;
        }
        event
    }

    /// The thread is gone: says so once if it did not do so itself.
    fn ended(&mut self) -> Option<SessionEvent> {
        let was_alive = std::mem::replace(&mut self.alive, false);
        was_alive.then(|| SessionEvent::Crashed {
            message: "the model thread ended without a word; restart the model".to_owned(),
        })
    }
}

fn start_worker(
    loader: Arc<Loader>,
    cancelled: Arc<CancelledThrough>,
) -> Result<Worker<Numbered, SessionEvent>, SessionError> {
    let worker = Worker::start(
        "loc3r-model",
        REQUEST_BOUND,
        EVENT_BOUND,
        move |side| serve(side, &cancelled, loader.as_ref()),
        |message| SessionEvent::Crashed {
            message: format!("the model stopped unexpectedly ({message}); restart the model"),
        },
    )?;
    Ok(worker)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::ops::ControlFlow;
    use std::path::PathBuf;
    use std::time::Instant;

    use super::*;
    use crate::geometry::{
        BevPoint, BevSigma, CameraPose, ImageSize, Intrinsics, Orientation, OrientationHistogram,
    };
    use crate::model::{ModelError, Query, Reply, ReplyStep, VideoStep};
    use crate::qa::{Question, QuestionKind, Situation, SituationEstimate};
    use crate::scene::{CameraEstimate, Layout, LayoutToken, PointCloud};
    use crate::session::engine::{Encoded, Engine, Look, ReplyObserver, VideoObserver};
    use crate::session::{Activity, ComputeDevice, ModelInfo, ModelSight, SessionState, Stage};
    use crate::video::{Frame, FrameIndex, FrameSpacing};

    /// Plays a part: the question's text says what happens.
    struct Actor {
        watched: usize,
        /// Whether cameras are known as soon as their frames are there.
        follows: bool,
        has_video: bool,
        positions: f32,
    }

    fn cancelled() -> SessionError {
        ModelError::Cancelled.into()
    }

    fn broken(reason: &str) -> SessionError {
        ModelError::Query { reason: reason.to_owned() }.into()
    }

    fn camera() -> CameraEstimate {
        let intrinsics = Intrinsics::from_horizontal_fov(ImageSize::new(4, 3), 1.0);
        CameraEstimate { frame: FrameIndex(0), pose: CameraPose::IDENTITY, intrinsics }
    }

    fn first_tokens() -> Layout {
        let token = LayoutToken {
            frame: FrameIndex(0),
            row: 0,
            column: 0,
            position: BevPoint::new(0.0, 1.0),
            sigma: BevSigma { x: 0.1, y: 0.1 },
            color: [0; 3],
        };
        Layout { tokens: vec![token], ..Layout::default() }
    }

    impl Engine for Actor {
        fn frames(&self) -> NonZeroU32 {
            NonZeroU32::new(3).unwrap()
        }

        fn spacing(&self) -> Option<FrameSpacing> {
            Some(FrameSpacing { longest_secs: 0.1, most_frames: 6 })
        }

        fn longest_answer(&self) -> Option<usize> {
            Some(7)
        }

        fn watch(&mut self, look: &Look<'_>, frame: Frame) -> Result<(), SessionError> {
            assert_eq!(frame.index, look.wanted[self.watched]);
            self.watched += 1;
            Ok(())
        }

        fn follow(&mut self, look: &Look<'_>, observe: VideoObserver<'_>) -> Result<(), SessionError> {
            let (done, total) = (self.watched, look.wanted.len());
            let cameras = vec![camera(); if self.follows { done } else { 0 }];
            let flow = observe(VideoStep::Camera { done, total, so_far: &cameras });
            if flow.is_break() { Err(cancelled()) } else { Ok(()) }
        }

        fn sight(&mut self, look: &Look<'_>) -> Result<ModelSight, SessionError> {
            assert_eq!(self.watched, look.wanted.len());
            Ok(ModelSight {
                frames: look.sampled.to_vec(),
                size: ImageSize::new(1, 1),
                rgb: vec![0; 3 * look.sampled.len()],
                tokens_per_frame: 1,
                prefix_tokens: 3,
            })
        }

        fn look_away(&mut self) {
            self.watched = 0;
        }

        fn recall(&mut self, _look: &Look<'_>) -> Option<ModelSight> {
            None
        }

        fn set_aside(&mut self) {
            self.has_video = false;
        }

        fn encode(&mut self, _look: &Look<'_>, observe: VideoObserver<'_>) -> Result<Encoded, SessionError> {
            let points = PointCloud::default();
            let (camera, layout) = (camera(), first_tokens());
            for step in [
                VideoStep::Vision { done: 1, total: 1 },
                VideoStep::Camera { done: 1, total: 2, so_far: &[camera] },
                VideoStep::Camera { done: 2, total: 2, so_far: &[camera] },
                VideoStep::Cameras(&[], &points),
                VideoStep::Prefill { done: 1, total: 2, so_far: &layout },
                VideoStep::Prefill { done: 2, total: 2, so_far: &layout },
            ] {
                if observe(step).is_break() {
                    return Err(cancelled());
                }
            }
            self.look_away();
            self.has_video = true;
            Ok(Encoded { layout: Layout::default(), reused_tokens: 0 })
        }

        fn ask(&mut self, query: &Query, observe: ReplyObserver<'_>) -> Result<Reply, SessionError> {
            if !self.has_video {
                return Err(SessionError::NoVideo);
            }
            let estimate = SituationEstimate {
                situation: Situation {
                    position: BevPoint::new(self.positions, 2.0),
                    orientation: Orientation::FORWARD,
                },
                position_sigma: BevSigma { x: 0.1, y: 0.1 },
                orientation: OrientationHistogram(vec![1.0 / 36.0; 36]),
                concentration: 0.0,
            };
            assert_eq!(query.max_new_tokens, 7);
            let mut flow = observe(ReplyStep::Prefill { done: 7, total: 7 });
            if flow.is_continue() {
                flow = observe(ReplyStep::Situation(&estimate));
            }
            match query.question.as_str() {
                "panic" => panic!("the ceiling fell"),
                "hungry" => return Err(broken("DriverError(CUDA_ERROR_OUT_OF_MEMORY)")),
                "endless" => {
                    while flow.is_continue() {
                        std::thread::sleep(Duration::from_millis(5));
                        flow = observe(ReplyStep::Piece("."));
                    }
                }
                _ => flow = observe(ReplyStep::Piece("red")),
            }
            if flow == ControlFlow::Break(()) {
                return Err(cancelled());
            }
            Ok(Reply {
                estimate: Some(estimate),
                text: "red".to_owned(),
                confidence: 0.9,
                prompt: query.question.clone(),
                prompt_tokens: 10,
                reused_tokens: 3,
                generated_tokens: 1,
                prefill_ms: 1.0,
                generate_ms: 2.0,
            })
        }

        fn close_video(&mut self) {
            self.has_video = false;
        }
    }

    struct Stage1 {
        session: Session,
        state: SessionState,
        folder: tempfile::TempDir,
    }

    /// A session whose checkpoint folder "nan" gives a network with broken weights.
    fn stage() -> Stage1 {
        let loader = |folder: &Path, _device| -> Result<(Box<dyn Engine>, ModelInfo), SessionError> {
            let positions = match folder.to_str() {
                Some("missing") => return Err(broken("no config.json in missing")),
                Some("nan") => f32::NAN,
                _ => 1.0,
            };
            let info = ModelInfo {
                name: "actor".to_owned(),
                folder: folder.to_owned(),
                device: "CPU".to_owned(),
                parameters: 0,
                frames: 3,
                image_size: 1,
                notice: String::new(),
                card: String::new(),
            };
            let follows = folder.to_str() == Some("recurrent");
            Ok((Box::new(Actor { watched: 0, follows, has_video: false, positions }), info))
        };
        let folder = tempfile::tempdir().unwrap();
        for number in 0..3 {
            image::RgbImage::new(4, 4).save(folder.path().join(format!("{number}.png"))).unwrap();
        }
        Stage1 {
            session: Session::start_with(Arc::new(loader)).unwrap(),
            state: SessionState::default(),
            folder,
        }
    }

    impl Stage1 {
        fn load(&mut self, folder: &str) {
            let folder = PathBuf::from(folder);
            self.session
                .request(SessionRequest::LoadModel { folder, compute: ComputeDevice::Cpu.into() })
                .unwrap();
        }

        fn open(&mut self) {
            let path = self.folder.path().to_owned();
            self.session.request(SessionRequest::OpenVideo { path }).unwrap();
        }

        fn ask(&mut self, text: &str) -> Result<RequestId, SendError> {
            let question = Question {
                kind: QuestionKind::Other,
                text: text.to_owned(),
                situation_text: None,
                choices: vec![],
            };
            self.session.request(SessionRequest::Ask { question, placed: None })
        }

        /// Feeds events to the state until `done` holds; gives the names of the events.
        fn until(&mut self, done: impl Fn(&SessionState, &SessionEvent) -> bool) -> Vec<String> {
            let mut names = Vec::new();
            loop {
                let event = self.session.recv_timeout(Duration::from_secs(20)).expect("an event within 20 s");
                let name = format!("{event:?}");
                names.push(name.split([' ', '{']).next().unwrap().to_owned());
                self.state.apply(event.clone());
                if done(&self.state, &event) {
                    return names;
                }
            }
        }

        fn until_idle(&mut self, request: u64) -> Vec<String> {
            self.until(|state, _| state.activity == Activity::Idle && state.newest.0 >= request)
        }

        fn failure(&self) -> String {
            self.state.status.as_ref().expect("a status").text.clone()
        }
    }

    #[test]
    fn a_conversation_tells_its_facts_in_order() {
        let mut stage = stage();
        stage.load("model");
        stage.open();
        stage.ask("colour").unwrap();
        let mut names = stage.until_idle(3);
        names.retain(|name| name != "Progress");
        assert_eq!(
            names,
            [
                "Started",
                "ModelLoaded",
                "Started",
                "VideoOpened",
                "CamerasSoFar",
                "CamerasReady",
                "LayoutSoFar",
                "LayoutReady",
                "Started",
                "SituationReady",
                "AnswerPiece",
                "AnswerReady"
            ]
        );
        let answer = stage.state.current_question().unwrap().answer.as_ref().unwrap();
        assert_eq!((answer.text.as_str(), answer.tokens.reused, answer.timing.generate), ("red", 3, 2.0));
        assert!(stage.state.video_timing.unwrap().total >= stage.state.video_timing.unwrap().decode);
    }

    #[test]
    fn cameras_are_told_while_the_video_is_still_being_read() {
        let mut stage = stage();
        stage.load("recurrent");
        stage.open();
        let names = stage.until(|state, event| {
            let told = state.shown_cameras().len();
            assert!(told == 0 || state.video.is_none() || told == 3, "{told} when open");
            matches!(event, SessionEvent::CamerasReady { .. })
        });
        let kept = |name: &&str| matches!(*name, "CamerasSoFar" | "VideoOpened" | "CamerasReady");
        let told: Vec<&str> = names.iter().map(String::as_str).filter(kept).collect();
        assert_eq!(told, ["CamerasSoFar", "CamerasSoFar", "CamerasSoFar", "VideoOpened", "CamerasReady"]);
    }

    #[test]
    fn cancelling_takes_less_than_a_quarter_second_and_voids_what_waits() {
        let mut stage = stage();
        stage.load("model");
        stage.open();
        stage.ask("endless").unwrap();
        stage.until(|_, event| matches!(event, SessionEvent::AnswerPiece { .. }));
        stage.ask("never").unwrap();
        let clicked = Instant::now();
        stage.session.cancel();
        stage.until(|_, event| matches!(event, SessionEvent::Cancelled { request } if request.0 == 3));
        assert!(clicked.elapsed() < Duration::from_millis(250));
        stage.until(|_, event| matches!(event, SessionEvent::Cancelled { request } if request.0 == 4));
        stage.ask("colour").unwrap();
        stage.until_idle(5);
        assert!(stage.state.current_question().unwrap().answer.is_some());
    }

    #[test]
    fn a_fifth_waiting_request_finds_the_queue_full() {
        let mut stage = stage();
        stage.load("model");
        stage.open();
        stage.ask("endless").unwrap();
        stage.until(|_, event| matches!(event, SessionEvent::AnswerPiece { .. }));
        for _ in 0..4 {
            stage.ask("colour").unwrap();
        }
        assert_eq!(stage.ask("colour"), Err(SendError::Busy));
    }

    #[test]
    fn a_panic_becomes_an_event_and_restarting_brings_model_and_video_back() {
        for (question, expected) in [("panic", "the ceiling fell"), ("hungry", "out of memory")] {
            let mut stage = stage();
            stage.load("model");
            stage.open();
            stage.ask(question).unwrap();
            stage.until(|_, event| matches!(event, SessionEvent::Crashed { .. }));
            assert!(
                stage.failure().contains(expected) && stage.failure().contains("restart"),
                "{}",
                stage.failure()
            );
            assert!(!stage.session.is_alive());
            assert_eq!(stage.ask("colour"), Err(SendError::Stopped));
            stage.session.restart().unwrap();
            stage.ask("colour").unwrap();
            stage.until_idle(6);
            assert!(stage.state.model.is_some() && stage.state.layout.is_some());
            assert!(stage.state.current_question().unwrap().answer.is_some());
        }
    }

    #[test]
    fn failures_say_what_to_do_and_leave_the_thread_alive() {
        let mut stage = stage();
        stage.ask("colour").unwrap();
        stage.until_idle(1);
        assert!(stage.failure().contains("load one first"), "{}", stage.failure());
        stage.load("missing");
        stage.until_idle(2);
        assert!(stage.failure().contains("config.json"), "{}", stage.failure());
        stage.load("model");
        stage.ask("colour").unwrap();
        stage.until_idle(4);
        assert!(stage.failure().contains("no video"), "{}", stage.failure());
        stage.session.request(SessionRequest::OpenVideo { path: "/nowhere/clip.mp4".into() }).unwrap();
        stage.until_idle(5);
        assert!(stage.failure().contains("/nowhere/clip.mp4"), "{}", stage.failure());
        assert!(stage.session.is_alive());
    }

    #[test]
    fn frames_of_a_video_that_cannot_be_read_are_forgotten() {
        let mut stage = stage();
        stage.load("model");
        let torn = tempfile::tempdir().unwrap();
        for number in 0..3 {
            let path = torn.path().join(format!("{number}.png"));
            image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 7])).save(&path).unwrap();
            if number == 2 {
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            }
        }
        stage.session.request(SessionRequest::OpenVideo { path: torn.path().to_owned() }).unwrap();
        stage.until_idle(2);
        assert!(stage.failure().contains("frame 2"), "{}", stage.failure());
        stage.open();
        stage.until_idle(3);
        assert!(stage.state.layout.is_some() && stage.session.is_alive());
    }

    #[test]
    fn numbers_that_are_not_finite_are_an_error_naming_the_checkpoint() {
        let mut stage = stage();
        stage.load("nan");
        stage.open();
        stage.ask("colour").unwrap();
        stage.until_idle(3);
        assert!(
            stage.failure().contains("not finite") && stage.failure().contains("nan"),
            "{}",
            stage.failure()
        );
    }

    #[test]
    fn a_situation_placed_nowhere_is_refused() {
        let mut stage = stage();
        stage.load("model");
        stage.open();
        let question = Question {
            kind: QuestionKind::Other,
            text: "x".to_owned(),
            situation_text: None,
            choices: vec![],
        };
        let placed =
            Some(Situation { position: BevPoint::new(f32::NAN, 0.0), orientation: Orientation::FORWARD });
        stage.session.request(SessionRequest::Ask { question, placed }).unwrap();
        stage.until(|_, event| matches!(event, SessionEvent::Failed { stage: Stage::Prefill, .. }));
        assert!(stage.failure().contains("finite"), "{}", stage.failure());
    }
}
