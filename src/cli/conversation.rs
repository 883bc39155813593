//! A session driven from the command line: one request at a time, progress on
//! standard error, everything recorded, Ctrl-C cancels.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::output::Progress;
use super::{output, places};
use crate::model::FeatureCache;
use crate::qa::Question;
use crate::recording::{Recorder, RecorderEvent, RecordingConfig};
use crate::session::{
    AskedQuestion, Compute, ComputeDevice, ModelInfo, Precision, RequestId, Session, SessionEvent,
    SessionLog, SessionRequest, SessionState,
};

/// How often Ctrl-C is looked at while the model works.
const GLANCE: Duration = Duration::from_millis(50);
/// Longest wait for the recording to begin; starting a viewer takes seconds.
pub(super) const RECORDER_START: Duration = Duration::from_secs(40);
/// Longest wait for the recording to be complete.
const RECORDER_END: Duration = Duration::from_secs(40);

/// Which model runs where.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArgs {
    /// Checkpoint folder, GGUF file, or name of an installed model (see `loc3r models`)
    /// [default: $LOC3R_MODEL, or the bundled loc3r-mini]
    #[arg(long, value_name = "FOLDER|GGUF|NAME")]
    pub model: Option<PathBuf>,
    /// Where it runs: auto, cpu, cuda, cuda:N or metal; a device that is missing is an error
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: ComputeDevice,
    /// Numbers it computes with: auto, f32, f16 or bf16, which need half the memory
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub precision: Precision,
    /// Read videos anew, and keep nothing of them, on disk (see `loc3r cache`) or in memory
    #[arg(long)]
    pub no_cache: bool,
}

impl ModelArgs {
    /// Where and how precisely the model computes.
    pub(super) fn compute(&self) -> Compute {
        Compute { device: self.device, precision: self.precision }
    }

    /// Where to keep what the model sees of videos.
    pub(super) fn cache(&self) -> anyhow::Result<Option<FeatureCache>> {
        if self.no_cache { Ok(None) } else { places::feature_cache() }
    }
}

/// Where the session is recorded.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Recording")]
pub(super) struct RecordingArgs {
    /// Write everything to a Rerun recording
    #[arg(long, value_name = "FILE")]
    pub rrd: Option<PathBuf>,
    /// Show everything in a live Rerun viewer
    #[arg(long)]
    pub rerun: bool,
}

impl RecordingArgs {
    pub(super) fn config(&self) -> RecordingConfig {
        RecordingConfig { rrd: self.rrd.clone(), viewer: self.rerun }
    }
}

/// A running session with a loaded model.
pub(super) struct Conversation {
    session: Session,
    state: SessionState,
    recorder: Option<Recorder>,
    log: Option<SessionLog>,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
}

impl Conversation {
    /// Starts recording, the model thread, and loads the model.
    pub(super) fn start(
        model: &ModelArgs,
        recording: RecordingConfig,
        log: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let folder = places::model_folder(model.model.as_deref())?;
        let log = log.map(SessionLog::create).transpose()?;
        let recorder = start_recorder(recording)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        ctrlc::set_handler(move || flag.store(true, Ordering::Release))
            .context("Ctrl-C cannot be caught on this system")?;
        let mut conversation = Self {
            session: Session::start(model.cache()?)?,
            state: SessionState::default(),
            recorder,
            log,
            progress: Progress::default(),
            interrupted,
        };
        conversation.run(SessionRequest::LoadModel { folder, compute: model.compute() })?;
        Ok(conversation)
    }

    /// Reads a video; afterwards the state has its layout.
    pub(super) fn open_video(&mut self, path: &Path) -> anyhow::Result<()> {
        self.run(SessionRequest::OpenVideo { path: path.to_owned() })
    }

    /// Asks; gives the question with its answer.
    pub(super) fn ask(&mut self, question: Question) -> anyhow::Result<&AskedQuestion> {
        self.run(SessionRequest::Ask { question, placed: None })?;
        self.state.current_question().ok_or_else(|| anyhow!("the question got no answer; try again"))
    }

    /// What is known.
    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    fn clip_name(&self) -> String {
        self.state.video.as_ref().map_or_else(String::new, |video| video.path.display().to_string())
    }

    /// The loaded model.
    pub(super) fn model(&self) -> anyhow::Result<&ModelInfo> {
        self.state.model.as_ref().ok_or_else(|| anyhow!("no model is loaded"))
    }

    /// Completes the recording.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.recorder.map_or(Ok(()), end_recorder)
    }

    fn run(&mut self, request: SessionRequest) -> anyhow::Result<()> {
        let id = self.session.request(request)?;
        let mut cancelled = false;
        let outcome = loop {
            if self.interrupted.load(Ordering::Acquire) && !cancelled {
                cancelled = true;
                self.session.cancel();
            }
            let Some(event) = self.session.recv_timeout(GLANCE) else { continue };
            let end = outcome_of(&event, id);
            self.take(event)?;
            if let Some(outcome) = end {
                break outcome;
            }
        };
        self.progress.clear();
        outcome
    }

    fn take(&mut self, event: SessionEvent) -> anyhow::Result<()> {
        if let SessionEvent::Progress { stage, done, total, .. } = &event {
            self.progress.show(*stage, *done, *total);
        }
        if let SessionEvent::ClipWarning { message, .. } = &event {
            self.progress.clear();
            output::note(&format!("warning: {}: {message}", self.clip_name()));
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(&event)
        {
            output::note(&error.to_string());
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&event);
            while let Some(message) = recorder.poll() {
                match message {
                    RecorderEvent::Warning { message } => output::note(&message),
                    RecorderEvent::Failed { message } => bail!(message),
                    RecorderEvent::Ready { .. } | RecorderEvent::Finished(_) => {}
                }
            }
        }
        self.state.apply(event);
        Ok(())
    }
}

/// How a request ended, if `event` ends it.
fn outcome_of(event: &SessionEvent, id: RequestId) -> Option<anyhow::Result<()>> {
    match event {
        SessionEvent::Crashed { message } => Some(Err(anyhow!(message.clone()))),
        _ if event.request() != Some(id) => None,
        SessionEvent::ModelLoaded { .. }
        | SessionEvent::LayoutReady { .. }
        | SessionEvent::AnswerReady { .. } => Some(Ok(())),
        SessionEvent::Failed { message, .. } => Some(Err(anyhow!(message.clone()))),
        SessionEvent::Cancelled { .. } => Some(Err(anyhow!("cancelled"))),
        _ => None,
    }
}

/// Completes a recording and says what it lacks.
pub(super) fn end_recorder(recorder: Recorder) -> anyhow::Result<()> {
    let summary = recorder.finish(RECORDER_END)?;
    for warning in &summary.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if summary.dropped_frames + summary.dropped_events > 0 {
        output::note(&format!(
            "the recording lacks {} video frames and {} events: there was no time to write them",
            summary.dropped_frames, summary.dropped_events
        ));
    }
    Ok(())
}

fn start_recorder(config: RecordingConfig) -> anyhow::Result<Option<Recorder>> {
    if !config.is_on() {
        return Ok(None);
    }
    let mut recorder = Recorder::start(config)?;
    for message in recorder.wait_until_ready(RECORDER_START)? {
        output::note(&message);
    }
    Ok(Some(recorder))
}
