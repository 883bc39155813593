//! The model thread: takes numbered requests, owns network and open video, tells
//! what happens. Cancelling is looked at between the steps that the network reports.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::engine::{Encoded, Engine, Loader, Look};
use super::request::check_question;
use super::{
    AnswerDone, Compute, ModelSight, RequestId, SessionError, SessionEvent, SessionRequest, Stage, Timing,
    TokenCounts,
};
use crate::model::freed_memory;
use crate::model::{Query, ReplyStep, VideoStep};
use crate::qa::{Question, Situation, SituationEstimate};
use crate::scene::{CameraEstimate, Layout};
use crate::video::{FrameIndex, FrameReader, FrameSampling, VideoInfo, frames_to_read};
use crate::worker::WorkerSide;

/// Longest answer in tokens of a model that does not say; answers of the field are phrases.
const MAX_NEW_TOKENS: usize = 64;

/// A request with its number.
pub(super) type Numbered = (RequestId, SessionRequest);

/// Requests up to this number are cancelled.
#[derive(Debug, Default)]
pub(super) struct CancelledThrough(AtomicU64);

impl CancelledThrough {
    /// Cancels `request` and everything before it.
    pub(super) fn raise_to(&self, request: RequestId) {
        self.0.fetch_max(request.0, Ordering::AcqRel);
    }

    fn covers(&self, request: RequestId) -> bool {
        request.0 <= self.0.load(Ordering::Acquire)
    }
}

/// Serves requests until the owner is gone or memory is exhausted.
pub(super) fn serve(
    side: &WorkerSide<Numbered, SessionEvent>,
    cancelled: &CancelledThrough,
    loader: &Loader,
) {
    let mut loaded: Option<Loaded> = None;
    for (request, work) in &side.commands {
        let mut job = Job { side, cancelled, request, stage: first_stage(&work), clock: StageClock::start() };
        if job.is_cancelled() {
            job.tell(SessionEvent::Cancelled { request });
        } else {
            job.tell(SessionEvent::Started { request, question: question_of(&work) });
            let outcome = job.run(work, &mut loaded, loader);
            if job.report(outcome).is_break() {
                return;
            }
        }
        if side.cancel.is_raised() {
            return;
        }
    }
}

struct Loaded {
    engine: Box<dyn Engine>,
    folder: PathBuf,
}

fn first_stage(work: &SessionRequest) -> Stage {
    match work {
        SessionRequest::LoadModel { .. } | SessionRequest::UnloadModel => Stage::LoadModel,
        SessionRequest::OpenVideo { .. } => Stage::DecodeFrames,
        SessionRequest::Ask { .. } => Stage::Prefill,
    }
}

fn question_of(work: &SessionRequest) -> Option<Question> {
    match work {
        SessionRequest::Ask { question, .. } => Some(question.clone()),
        SessionRequest::LoadModel { .. } | SessionRequest::UnloadModel | SessionRequest::OpenVideo { .. } => {
            None
        }
    }
}

/// Adds up where the time goes: a step that just ended gets the time since the one before.
struct StageClock {
    started: Instant,
    mark: Instant,
    timing: Timing,
}

impl StageClock {
    fn start() -> Self {
        let now = Instant::now();
        Self { started: now, mark: now, timing: Timing::default() }
    }

    fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        if let Some(sum) = self.timing.stage_mut(stage) {
            *sum += (now - self.mark).as_secs_f64() * 1e3;
        }
        self.mark = now;
    }

    fn timing(&self) -> Timing {
        Timing { total: self.started.elapsed().as_secs_f64() * 1e3, ..self.timing }
    }
}

/// What is noted while a video is read.
struct Reading {
    /// Whether all camera poses are finite.
    finite: bool,
    /// Frames through the vision tower.
    encoded_frames: u32,
    /// Cameras and tokens of the layout that were told of before they were complete.
    told: (usize, usize),
}

/// One request while it runs.
struct Job<'a> {
    side: &'a WorkerSide<Numbered, SessionEvent>,
    cancelled: &'a CancelledThrough,
    request: RequestId,
    stage: Stage,
    clock: StageClock,
}

impl Job<'_> {
    fn is_cancelled(&self) -> bool {
        self.side.cancel.is_raised() || self.cancelled.covers(self.request)
    }

    fn tell(&self, event: SessionEvent) {
        // Nobody listens any more: the flag is up and the next look at it ends the thread.
        drop(self.side.events.send(event));
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Ends a step of `stage` and says so.
    fn step(&mut self, stage: Stage, done: usize, total: usize) -> ControlFlow<()> {
        self.clock.lap(stage);
        self.stage = stage;
        let (done, total) = (done as u32, total as u32);
        self.tell(SessionEvent::Progress { request: self.request, stage, done, total });
        self.flow()
    }

    fn run(
        &mut self,
        work: SessionRequest,
        loaded: &mut Option<Loaded>,
        loader: &Loader,
    ) -> Result<(), SessionError> {
        match work {
            SessionRequest::LoadModel { folder, compute } => self.load(folder, compute, loaded, loader),
            SessionRequest::UnloadModel => {
                *loaded = None;
                freed_memory::give_back();
                self.tell(SessionEvent::ModelUnloaded { request: self.request });
                Ok(())
            }
            SessionRequest::OpenVideo { path } => self.open(&path, loaded.as_mut()),
            SessionRequest::Ask { question, placed } => self.ask(question, placed, loaded.as_mut()),
        }
    }

    /// Turns the end of a request into an event; `Break` when the thread must end.
    fn report(&self, outcome: Result<(), SessionError>) -> ControlFlow<()> {
        let request = self.request;
        let Err(error) = outcome else { return ControlFlow::Continue(()) };
        let message = error.to_string();
        if is_out_of_memory(&message) {
            let message = format!(
                "the model ran out of memory ({message}); close other programs, choose a smaller model or --device cpu, then restart the model"
            );
            self.tell(SessionEvent::Crashed { message });
            return ControlFlow::Break(());
        }
        if self.is_cancelled() {
            self.tell(SessionEvent::Cancelled { request });
        } else {
            tracing::warn!(request = request.0, stage = ?self.stage, "{message}");
            self.tell(SessionEvent::Failed { request, stage: self.stage, message });
        }
        ControlFlow::Continue(())
    }

    fn load(
        &mut self,
        folder: PathBuf,
        compute: Compute,
        loaded: &mut Option<Loaded>,
        loader: &Loader,
    ) -> Result<(), SessionError> {
        // Two models may not fit: the old one goes first.
        let had_one = loaded.take().is_some();
        if had_one {
            freed_memory::give_back();
        }
        let (engine, model) = loader(&folder, compute).inspect_err(|_failure| {
            if had_one {
                self.tell(SessionEvent::ModelUnloaded { request: self.request });
            }
        })?;
        *loaded = Some(Loaded { engine, folder });
        self.tell(SessionEvent::ModelLoaded { request: self.request, model });
        Ok(())
    }

    fn open(&mut self, path: &Path, loaded: Option<&mut Loaded>) -> Result<(), SessionError> {
        let Loaded { engine, folder } = loaded.ok_or(SessionError::NoModel)?;
        let reader = FrameReader::open(path)?;
        let mut info = reader.info().clone();
        let sampled = FrameSampling::Uniform { frames: engine.frames() }.indices(&info);
        let wanted = frames_to_read(engine.spacing(), &info.pts_secs, &sampled);
        if engine.spacing().is_some() {
            info.warnings.extend(far_apart(&info, &wanted));
        }
        let look = Look { info: &info, sampled: &sampled, wanted: &wanted };
        let mut reading = Reading { finite: true, encoded_frames: 0, told: (0, 0) };
        let Some(sight) = self.sight(&reader, &look, engine.as_mut(), &mut reading)? else {
            self.tell(SessionEvent::Cancelled { request: self.request });
            return Ok(());
        };
        engine.set_aside();
        self.tell_opened(&info, sight);
        let encoded = engine.encode(&look, &mut |step| self.watch(step, &mut reading));
        if !reading.finite {
            return Err(SessionError::NotFinite { what: "camera pose", folder: folder.clone() });
        }
        let Encoded { layout, reused_tokens } = encoded?;
        if !is_finite_layout(&layout) {
            engine.close_video();
            return Err(SessionError::NotFinite { what: "layout", folder: folder.clone() });
        }
        self.clock.lap(Stage::Prefill);
        let (request, timing) = (self.request, self.clock.timing());
        let encoded_frames = reading.encoded_frames;
        self.tell(SessionEvent::LayoutReady { request, layout, timing, encoded_frames, reused_tokens });
        Ok(())
    }

    /// Tells of a step of reading a video.
    fn watch(&mut self, step: VideoStep<'_>, reading: &mut Reading) -> ControlFlow<()> {
        let request = self.request;
        match step {
            VideoStep::Vision { done, total } => {
                reading.encoded_frames = done as u32;
                return self.step(Stage::Vision, done, total);
            }
            VideoStep::Camera { done, total, so_far } => {
                if so_far.len() > reading.told.0 && so_far.iter().all(is_finite_camera) {
                    reading.told.0 = so_far.len();
                    self.tell(SessionEvent::CamerasSoFar { request, cameras: so_far.to_vec() });
                }
                return self.step(Stage::Camera, done, total);
            }
            VideoStep::Prefill { done, total, so_far } => {
                if so_far.tokens.len() > reading.told.1 && done < total && is_finite_layout(so_far) {
                    reading.told.1 = so_far.tokens.len();
                    self.tell(SessionEvent::LayoutSoFar { request, layout: so_far.clone() });
                }
                return self.step(Stage::Prefill, done, total);
            }
            VideoStep::Strangeness(strangeness) if strangeness > 1.0 => {
                self.tell(SessionEvent::ClipWarning { request, message: unlike(strangeness) });
            }
            VideoStep::Strangeness(_) => {}
            VideoStep::Warning(message) => {
                self.tell(SessionEvent::ClipWarning { request, message: message.to_owned() });
            }
            VideoStep::Cameras(cameras, points) => {
                self.clock.lap(Stage::Camera);
                reading.finite = cameras.iter().all(is_finite_camera);
                if !reading.finite {
                    return ControlFlow::Break(());
                }
                let (cameras, points) = (cameras.to_vec(), points.clone());
                self.tell(SessionEvent::CamerasReady { request, cameras, points });
            }
        }
        self.flow()
    }

    fn tell_opened(&self, info: &VideoInfo, sight: ModelSight) {
        self.tell(SessionEvent::VideoOpened { request: self.request, info: info.clone(), sight });
    }

    /// What the engine sees, from memory or from the video; `None` when cancelled.
    fn sight(
        &mut self,
        reader: &FrameReader,
        look: &Look<'_>,
        engine: &mut dyn Engine,
        reading: &mut Reading,
    ) -> Result<Option<ModelSight>, SessionError> {
        if let Some(sight) = engine.recall(look) {
            return Ok(Some(sight));
        }
        let read = self.read(reader, look, engine, reading);
        if !matches!(read, Ok(Some(_))) {
            engine.look_away();
        }
        read
    }

    /// Shows the engine all wanted frames while the next ones are decoded; `None` when cancelled.
    fn read(
        &mut self,
        reader: &FrameReader,
        look: &Look<'_>,
        engine: &mut dyn Engine,
        reading: &mut Reading,
    ) -> Result<Option<ModelSight>, SessionError> {
        reader.read(look.wanted.to_vec())?;
        for done in 1..=look.wanted.len() {
            let Some(frame) = reader.next(&mut || self.is_cancelled())? else { return Ok(None) };
            if self.step(Stage::DecodeFrames, done, look.wanted.len()).is_break() {
                return Ok(None);
            }
            self.stage = Stage::Vision;
            engine.watch(look, frame)?;
            self.clock.lap(Stage::Vision);
            engine.follow(look, &mut |step| self.watch(step, reading))?;
        }
        let sight = engine.sight(look)?;
        self.clock.lap(Stage::Vision);
        Ok(Some(sight))
    }

    fn ask(
        &mut self,
        question: Question,
        placed: Option<Situation>,
        loaded: Option<&mut Loaded>,
    ) -> Result<(), SessionError> {
        let Loaded { engine, folder } = loaded.ok_or(SessionError::NoModel)?;
        check_question(&question)?;
        if placed.is_some_and(|placed| !is_finite_situation(&placed)) {
            return Err(SessionError::BadPlacement);
        }
        let longest = engine.longest_answer().unwrap_or(MAX_NEW_TOKENS);
        let query = Query {
            situation: question.situation_text.filter(|text| !text.trim().is_empty()),
            question: question.text.trim().to_owned(),
            choices: question.choices,
            placed,
            max_new_tokens: longest,
        };
        let mut finite = true;
        let mut pieces = 0;
        let reply = engine.ask(&query, &mut |step| match step {
            ReplyStep::Prefill { done, total } => self.step(Stage::Prefill, done, total),
            ReplyStep::Situation(estimate) => {
                finite = is_finite_estimate(estimate);
                if !finite {
                    return ControlFlow::Break(());
                }
                self.tell(SessionEvent::SituationReady { request: self.request, estimate: estimate.clone() });
                self.flow()
            }
            ReplyStep::Piece(piece) => {
                pieces += 1;
                if piece.is_empty() {
                    return self.flow();
                }
                self.tell(SessionEvent::AnswerPiece { request: self.request, piece: piece.to_owned() });
                self.step(Stage::Generate, pieces, longest)
            }
        });
        if !finite {
            return Err(SessionError::NotFinite { what: "situation", folder: folder.clone() });
        }
        let reply = reply?;
        let timing = Timing {
            prefill: reply.prefill_ms,
            generate: reply.generate_ms,
            total: self.clock.timing().total,
            ..Timing::default()
        };
        let answer = AnswerDone {
            text: reply.text,
            confidence: if reply.confidence.is_finite() { reply.confidence } else { 0.0 },
            prompt: reply.prompt,
            tokens: TokenCounts {
                prompt: reply.prompt_tokens,
                reused: reply.reused_tokens,
                generated: reply.generated_tokens,
            },
            timing,
        };
        self.tell(SessionEvent::AnswerReady { request: self.request, answer });
        Ok(())
    }
}

fn is_out_of_memory(message: &str) -> bool {
    let lower = message.to_lowercase();
    lower.contains("out of memory") || lower.contains("out_of_memory")
}

/// Says so when the followed frames are too far apart for a reliable camera path.
fn far_apart(info: &VideoInfo, followed: &[FrameIndex]) -> Option<String> {
    /// Neighbours up to this far apart show mostly the same, seconds.
    const RELIABLE_SECS: f64 = 0.3;
    let secs = |index: &FrameIndex| info.pts_secs.get(index.0 as usize).copied().unwrap_or(0.0);
    let widest = followed.windows(2).map(|pair| secs(&pair[1]) - secs(&pair[0])).fold(0.0, f64::max);
    (widest > RELIABLE_SECS).then(|| {
        format!(
            "the camera is followed in steps of up to {widest:.1} s, so fast turns may be lost; cut the video into shorter parts for a reliable path"
        )
    })
}

/// How a clip is judged that looks unlike the training data.
fn unlike(strangeness: f32) -> String {
    format!(
        "it looks unlike what this model was trained on ({strangeness:.1} times the limit of the held-out rooms); expect worse layouts and answers"
    )
}

fn is_finite_camera(camera: &CameraEstimate) -> bool {
    camera.pose.position.is_finite()
        && camera.pose.rotation.is_finite()
        && camera.intrinsics.focal.is_finite()
}

fn is_finite_layout(layout: &Layout) -> bool {
    layout.floor_height.is_finite()
        && layout.tokens.iter().all(|token| {
            [token.position.x, token.position.y, token.sigma.x, token.sigma.y].into_iter().all(f32::is_finite)
        })
}

fn is_finite_situation(situation: &Situation) -> bool {
    [situation.position.x, situation.position.y, situation.orientation.radians()]
        .into_iter()
        .all(f32::is_finite)
}

fn is_finite_estimate(estimate: &SituationEstimate) -> bool {
    is_finite_situation(&estimate.situation)
        && [estimate.position_sigma.x, estimate.position_sigma.y, estimate.concentration]
            .into_iter()
            .chain(estimate.orientation.0.iter().copied())
            .all(f32::is_finite)
}
