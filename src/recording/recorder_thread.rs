//! The recorder thread: events first, video frames while none waits.

use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;
use rerun::sink::{FileSink, LogSink};

use super::blueprint::blueprint;
use super::frame_feed::{FrameFeed, jpeg};
use super::rerun_sink::RerunSink;
use super::viewer_process;
use super::{Record, RecorderEvent, RecordingConfig, RecordingError, RecordingSummary};
use crate::session::SessionEvent;
use crate::worker::WorkerSide;

/// Rerun restricts these names; it is the same for every recording.
const APPLICATION: &str = "loc3r";
/// Time for the remaining video frames once the session is over.
const FRAMES_LIMIT: Duration = Duration::from_secs(20);
/// Time for everything to be on disk or in the viewer.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);
/// The same when nobody waits for the end.
const ABANDONED_FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Fails early when the file cannot be written.
pub(super) fn check(config: &RecordingConfig) -> Result<(), RecordingError> {
    let Some(path) = &config.rrd else { return Ok(()) };
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map(drop).map_err(|error| RecordingError::File { path: path.clone(), reason: error.to_string() })
}

/// Records until told to finish, or until the owner is gone.
pub(super) fn run(config: &RecordingConfig, side: &WorkerSide<Record, RecorderEvent>) {
    let outcome = Recording::begin(config, side).and_then(|mut recording| recording.serve(side));
    let event = match outcome {
        Ok(summary) => RecorderEvent::Finished(summary),
        Err(message) => RecorderEvent::Failed { message },
    };
    // The owner may be gone already.
    drop(side.events.send(event));
}

struct Recording<'a> {
    config: &'a RecordingConfig,
    sink: Option<RerunSink>,
    feed: Option<FrameFeed>,
    summary: RecordingSummary,
}

impl<'a> Recording<'a> {
    fn begin(config: &'a RecordingConfig, side: &WorkerSide<Record, RecorderEvent>) -> Result<Self, String> {
        let mut sinks: Vec<Box<dyn LogSink>> = Vec::new();
        let mut places = Vec::new();
        if let Some(path) = &config.rrd {
            let sink = FileSink::new(path).map_err(|error| {
                let reason = error.to_string();
                RecordingError::File { path: path.clone(), reason }.to_string()
            })?;
            sinks.push(Box::new(sink));
            places.push(path.display().to_string());
        }
        if config.viewer {
            let (sink, warning) = viewer_process::connect()?;
            sinks.push(Box::new(sink));
            places.push("the Rerun viewer".to_owned());
            if let Some(message) = warning {
                drop(side.events.send(RecorderEvent::Warning { message }));
            }
        }
        let stream = rerun::RecordingStreamBuilder::new(APPLICATION)
            .with_blueprint(blueprint())
            .set_sinks(sinks)
            .map_err(|error| format!("Rerun cannot start recording: {error}"))?;
        let sink = RerunSink::new(stream).map_err(|error| failed(config, &error.to_string()))?;
        drop(side.events.send(RecorderEvent::Ready { places: places.join(" and ") }));
        Ok(Self { config, sink: Some(sink), feed: None, summary: RecordingSummary::default() })
    }

    fn serve(&mut self, side: &WorkerSide<Record, RecorderEvent>) -> Result<RecordingSummary, String> {
        loop {
            // With frames to do, only a glance at the queue.
            let patience = if self.feed.is_some() { Duration::ZERO } else { Duration::from_secs(3600) };
            match side.commands.recv_timeout(patience) {
                Ok(Record::Event(event)) => self.take(&event, side)?,
                Ok(Record::Finish) => {
                    self.feed_until(Instant::now() + FRAMES_LIMIT, side)?;
                    return self.close(FLUSH_LIMIT);
                }
                Err(RecvTimeoutError::Timeout) => self.feed_one(side)?,
                Err(RecvTimeoutError::Disconnected) => return self.close(ABANDONED_FLUSH_LIMIT),
            }
        }
    }

    fn sink(&mut self) -> Result<&mut RerunSink, String> {
        self.sink.as_mut().ok_or_else(|| "the recording is closed".to_owned())
    }

    fn take(&mut self, event: &SessionEvent, side: &WorkerSide<Record, RecorderEvent>) -> Result<(), String> {
        if let SessionEvent::VideoOpened { info, sight, .. } = event {
            self.drop_feed();
            match FrameFeed::open(info, &sight.frames) {
                Ok(feed) => self.feed = Some(feed),
                Err(error) => self.warn(side, format!("the recording has no pictures: {error}")),
            }
        }
        let config = self.config;
        self.sink()?.take(event).map_err(|error| failed(config, &error.to_string()))
    }

    fn feed_one(&mut self, side: &WorkerSide<Record, RecorderEvent>) -> Result<(), String> {
        match self.feed.as_mut().and_then(FrameFeed::next) {
            Some(Ok(frame)) => {
                let config = self.config;
                match jpeg(&frame) {
                    Ok(bytes) => {
                        self.summary.frames += 1;
                        self.sink()?.frame(&frame, bytes).map_err(|error| failed(config, &error.to_string()))
                    }
                    Err(error) => {
                        self.summary.dropped_frames += 1;
                        self.warn(side, format!("frame {} is not recorded: {error}", frame.index.0));
                        Ok(())
                    }
                }
            }
            Some(Err(error)) => {
                self.drop_feed();
                self.warn(side, format!("the recording lacks pictures: {error}"));
                Ok(())
            }
            None => {
                self.feed = None;
                Ok(())
            }
        }
    }

    fn feed_until(
        &mut self,
        deadline: Instant,
        side: &WorkerSide<Record, RecorderEvent>,
    ) -> Result<(), String> {
        while self.feed.is_some() && Instant::now() < deadline && !side.cancel.is_raised() {
            self.feed_one(side)?;
        }
        self.drop_feed();
        Ok(())
    }

    /// Gives up on the frames that are left, and counts them.
    fn drop_feed(&mut self) {
        if let Some(feed) = self.feed.take() {
            self.summary.dropped_frames += feed.remaining() as u32;
        }
    }

    fn warn(&self, side: &WorkerSide<Record, RecorderEvent>, message: String) {
        drop(side.events.try_send(RecorderEvent::Warning { message }));
    }

    fn close(&mut self, limit: Duration) -> Result<RecordingSummary, String> {
        self.drop_feed();
        if let Some(sink) = self.sink.take() {
            sink.close(limit).map_err(|reason| failed(self.config, &reason))?;
        }
        Ok(self.summary)
    }
}

fn failed(config: &RecordingConfig, reason: &str) -> String {
    match (&config.rrd, config.viewer) {
        (Some(path), false) => {
            format!("the recording {} is incomplete: {reason}; is the disk full?", path.display())
        }
        (Some(path), true) => format!(
            "the recording {} or the Rerun viewer failed: {reason}; is the disk full, or the viewer closed?",
            path.display()
        ),
        (None, _) => format!("the Rerun viewer no longer takes data: {reason}; was it closed?"),
    }
}
