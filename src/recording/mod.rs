//! Our events as Rerun data, in a file (`.rrd`) or a live viewer, or both; the only
//! user of the rerun crate.
//!
//! A [`Recorder`] takes clones of the session's events on its own thread
//! `loc3r-recorder`, which also decodes the video frames to be shown beside them
//! whenever no event waits. A missing or dead viewer and a full disk become
//! messages; nothing here makes the caller wait longer than it asked for.
//!
//! A training run is recorded by the same kind of thread from its own events
//! ([`Recorder::start_training`]).
//!
//! Spaces: everything 3D is in the anchor space (metres, x right, y forward, z up).

pub mod entity_paths;
pub mod scene_shapes;

#[cfg(feature = "rerun")]
mod blueprint;
#[cfg(feature = "rerun")]
mod destinations;
#[cfg(feature = "rerun")]
mod frame_feed;
#[cfg(feature = "rerun")]
mod recorder_thread;
#[cfg(feature = "rerun")]
mod rerun_sink;
#[cfg(feature = "rerun")]
mod training_sink;
#[cfg(feature = "rerun")]
mod training_thread;
#[cfg(feature = "rerun")]
mod viewer_process;
#[cfg(not(feature = "rerun"))]
mod recorder_thread {
    //! Stands in for the real one in builds without Rerun: recorders never start.
    use super::{Record, RecorderEvent, RecordingConfig, RecordingError};
    use crate::worker::WorkerSide;

    pub(super) fn check(_config: &RecordingConfig) -> Result<(), RecordingError> {
        Err(RecordingError::NotBuilt)
    }

    pub(super) fn run(_config: &RecordingConfig, side: &WorkerSide<Record, RecorderEvent>) {
        while let Ok(Record::Event(event)) = side.commands.recv() {
            drop(event);
        }
    }
}
#[cfg(not(feature = "rerun"))]
mod training_thread {
    //! Stands in for the real one in builds without Rerun: recorders never start.
    use super::{Record, RecorderEvent, RecordingConfig, TrainingPlan};
    use crate::worker::WorkerSide;

    pub(super) fn run(
        _config: &RecordingConfig,
        plan: TrainingPlan,
        side: &WorkerSide<Record, RecorderEvent>,
    ) {
        drop(plan);
        while let Ok(Record::Training(event)) = side.commands.recv() {
            drop(event);
        }
    }
}

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;

use crate::session::SessionEvent;
use crate::train::TrainEvent;
use crate::worker::{SendError, Worker};

/// Events that may wait: a whole conversation while a slow disk catches up.
const EVENT_BOUND: usize = 256;
/// Messages that may wait for a front that does not look; there are a handful in all.
const MESSAGE_BOUND: usize = 64;

/// Where a recording goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingConfig {
    /// A Rerun recording file to write.
    pub rrd: Option<PathBuf>,
    /// Start (or connect to) a Rerun viewer.
    pub viewer: bool,
}

impl RecordingConfig {
    /// Whether anything is to be recorded.
    pub fn is_on(&self) -> bool {
        self.viewer || self.rrd.is_some()
    }
}

/// What a recording of a training run begins with.
#[derive(Debug, Clone, Default)]
pub struct TrainingPlan {
    /// Name of the run on screen.
    pub name: String,
    /// Stages in order; each gets curves of its own.
    pub stages: Vec<String>,
    /// Rooms that validations show, at most.
    pub scenes: usize,
    /// What the run told before; it comes first.
    pub history: Vec<TrainEvent>,
}

/// What the recorder tells.
#[derive(Debug, Clone, PartialEq)]
pub enum RecorderEvent {
    /// Recording goes to these places.
    Ready {
        /// For people: "/tmp/a.rrd and the Rerun viewer".
        places: String,
    },
    /// Something a user should know; recording goes on.
    Warning {
        /// One sentence.
        message: String,
    },
    /// Recording stopped.
    Failed {
        /// What, where and what to do.
        message: String,
    },
    /// Everything is written.
    Finished(RecordingSummary),
}

/// What a recording holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordingSummary {
    /// Video frames written.
    pub frames: u32,
    /// Video frames left out because time or space was short.
    pub dropped_frames: u32,
    /// Events lost because the recorder could not keep up.
    pub dropped_events: u32,
    /// What a user should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The build has no Rerun.
    #[error("this build cannot record for Rerun; build with the feature `rerun`")]
    NotBuilt,
    /// The file cannot be written.
    #[error("cannot write the recording {path}: {reason}; choose a folder that exists and has space")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The recorder stopped.
    #[error("{0}")]
    Stopped(String),
    /// The recorder did not end in time.
    #[error("the recording did not finish within {} s; it may lack its end (is the Rerun viewer still answering?)", .0.as_secs())]
    Timeout(Duration),
    /// The operating system refused a thread.
    #[error("the recorder thread cannot be started: {0}; close other programs and try again")]
    Thread(#[from] std::io::Error),
}

/// What the recorder thread is given.
enum Record {
    Event(Box<SessionEvent>),
    Training(Box<TrainEvent>),
    /// Write what waits; the owner gives up after `within`.
    Finish {
        #[cfg_attr(not(feature = "rerun"), expect(dead_code, reason = "only a real recorder has work left"))]
        within: Duration,
    },
}

/// Handle of the recorder thread. Dropping it ends the recording without waiting.
pub struct Recorder {
    worker: Worker<Record, RecorderEvent>,
    dropped_events: u32,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("dropped_events", &self.dropped_events).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts recording. That a viewer is missing is told later by
    /// [`RecorderEvent::Failed`]; looking for it takes a moment.
    ///
    /// # Errors
    /// When the file cannot be created, or this build has no Rerun.
    pub fn start(config: RecordingConfig) -> Result<Self, RecordingError> {
        recorder_thread::check(&config)?;
        let worker = Worker::start(
            "loc3r-recorder",
            EVENT_BOUND,
            MESSAGE_BOUND,
            move |side| recorder_thread::run(&config, side),
            |message| RecorderEvent::Failed { message: format!("recording stopped unexpectedly: {message}") },
        )?;
        Ok(Self { worker, dropped_events: 0 })
    }

    /// Starts recording a training run; see [`Self::start`].
    ///
    /// # Errors
    /// When the file cannot be created, or this build has no Rerun.
    pub fn start_training(config: RecordingConfig, plan: TrainingPlan) -> Result<Self, RecordingError> {
        recorder_thread::check(&config)?;
        let worker = Worker::start(
            "loc3r-recorder",
            EVENT_BOUND,
            MESSAGE_BOUND,
            move |side| training_thread::run(&config, plan, side),
            |message| RecorderEvent::Failed { message: format!("recording stopped unexpectedly: {message}") },
        )?;
        Ok(Self { worker, dropped_events: 0 })
    }

    /// Takes in one event of a training run; never blocks.
    pub fn record_training(&mut self, event: &TrainEvent) {
        if self.worker.try_send(Record::Training(Box::new(event.clone()))) == Err(SendError::Busy) {
            self.dropped_events += 1;
        }
    }

    /// Takes in one event; never blocks. Progress, pieces of answers and what is
    /// provisional are not recorded.
    pub fn record(&mut self, event: &SessionEvent) {
        let passing = matches!(event, SessionEvent::Progress { .. } | SessionEvent::AnswerPiece { .. });
        if passing || event.is_provisional() {
            return;
        }
        if self.worker.try_send(Record::Event(Box::new(event.clone()))) == Err(SendError::Busy) {
            self.dropped_events += 1;
        }
    }

    /// The next message, if there is one.
    pub fn poll(&mut self) -> Option<RecorderEvent> {
        self.worker.events().try_recv().ok()
    }

    /// Waits until the recording has begun; gives its places and warnings.
    ///
    /// # Errors
    /// [`RecordingError::Stopped`] with the reason, or [`RecordingError::Timeout`].
    pub fn wait_until_ready(&mut self, timeout: Duration) -> Result<Vec<String>, RecordingError> {
        let deadline = Instant::now() + timeout;
        let mut messages = Vec::new();
        loop {
            match self.worker.events().recv_deadline(deadline) {
                Ok(RecorderEvent::Ready { places }) => {
                    messages.push(format!("recording to {places}"));
                    return Ok(messages);
                }
                Ok(RecorderEvent::Warning { message }) => messages.push(message),
                Ok(RecorderEvent::Failed { message }) => return Err(RecordingError::Stopped(message)),
                Ok(RecorderEvent::Finished(_)) => {
                    return Err(RecordingError::Stopped("the recording ended early".to_owned()));
                }
                Err(error) => return Err(silence(error, timeout)),
            }
        }
    }

    /// Writes what waits and ends the recording, within `timeout`.
    ///
    /// # Errors
    /// [`RecordingError::Stopped`] with the reason, or [`RecordingError::Timeout`].
    pub fn finish(self, timeout: Duration) -> Result<RecordingSummary, RecordingError> {
        let deadline = Instant::now() + timeout;
        while self.worker.try_send(Record::Finish { within: timeout }) == Err(SendError::Busy) {
            if Instant::now() > deadline {
                return Err(RecordingError::Timeout(timeout));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut warnings = Vec::new();
        loop {
            match self.worker.events().recv_deadline(deadline) {
                Ok(RecorderEvent::Finished(summary)) => {
                    warnings.extend(summary.warnings);
                    return Ok(RecordingSummary { dropped_events: self.dropped_events, warnings, ..summary });
                }
                Ok(RecorderEvent::Failed { message }) => return Err(RecordingError::Stopped(message)),
                Ok(RecorderEvent::Warning { message }) => warnings.push(message),
                Ok(RecorderEvent::Ready { .. }) => {}
                Err(error) => return Err(silence(error, timeout)),
            }
        }
    }
}

/// The file of a recording that was preceded by `before` others: `a.rrd`, `a-2.rrd`, …
pub fn numbered(path: &Path, before: u32) -> PathBuf {
    if before == 0 {
        return path.to_path_buf();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{ending}", before + 1))
}

/// `path`, or the first of its numbered neighbours that does not exist: what was
/// recorded before is kept.
pub fn free_file(path: &Path) -> PathBuf {
    (0..u32::MAX)
        .map(|before| numbered(path, before))
        .find(|file| !file.exists())
        .unwrap_or_else(|| path.into())
}

/// Why no message came.
fn silence(error: RecvTimeoutError, timeout: Duration) -> RecordingError {
    match error {
        RecvTimeoutError::Timeout => RecordingError::Timeout(timeout),
        RecvTimeoutError::Disconnected => RecordingError::Stopped("the recording ended early".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_recording_never_takes_the_place_of_the_first() {
        let files = [0, 1, 2].map(|before| numbered(Path::new("out/walk.rrd"), before));
        assert_eq!(files, ["out/walk.rrd", "out/walk-2.rrd", "out/walk-3.rrd"].map(PathBuf::from));
        assert_eq!(numbered(Path::new("walk"), 1), PathBuf::from("walk-2"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rrd");
        for expected in ["a.rrd", "a-2.rrd", "a-3.rrd"] {
            let free = free_file(&path);
            assert_eq!(free, folder.path().join(expected));
            std::fs::write(free, "").unwrap();
        }
    }

    #[cfg(not(feature = "rerun"))]
    #[test]
    fn a_build_without_rerun_says_so() {
        let config = RecordingConfig { rrd: Some("a.rrd".into()), viewer: false };
        assert!(matches!(Recorder::start(config), Err(RecordingError::NotBuilt)));
    }
}
