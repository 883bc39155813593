//! The recorder thread: events first, video frames while none waits.

use std::fs::OpenOptions;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;
use rerun::sink::{FileSink, LogSink};

use super::blueprint::blueprint;
use super::destinations::{Destinations, SharedSink};
use super::frame_feed::{FrameFeed, jpeg};
use super::rerun_sink::RerunSink;
use super::viewer_process;
use super::{Record, RecorderEvent, RecordingConfig, RecordingError, RecordingSummary};
use crate::session::SessionEvent;
use crate::worker::WorkerSide;

/// Rerun restricts these names; it is the same for every recording.
const APPLICATION: &str = "loc3r";
/// Time to write when nobody waits for the end.
pub(super) const ABANDONED_LIMIT: Duration = Duration::from_secs(2);
/// Time for a clip to be on disk when the next one begins.
const CLIP_LIMIT: Duration = Duration::from_secs(10);

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
    destinations: Arc<Destinations>,
    sink: Option<RerunSink>,
    feed: Option<FrameFeed>,
    summary: RecordingSummary,
    told_of_viewer: bool,
}

impl<'a> Recording<'a> {
    fn begin(config: &'a RecordingConfig, side: &WorkerSide<Record, RecorderEvent>) -> Result<Self, String> {
        let (destinations, places) = open_destinations(config, side)?;
        let sink = open_sink(config, &destinations)?;
        drop(side.events.send(RecorderEvent::Ready { places }));
        Ok(Self {
            config,
            destinations,
            sink: Some(sink),
            feed: None,
            summary: RecordingSummary::default(),
            told_of_viewer: false,
        })
    }

    fn serve(&mut self, side: &WorkerSide<Record, RecorderEvent>) -> Result<RecordingSummary, String> {
        loop {
            // With frames to do, only a glance at the queue.
            let patience = if self.feed.is_some() { Duration::ZERO } else { Duration::from_hours(1) };
            match side.commands.recv_timeout(patience) {
                Ok(Record::Event(event)) => self.take(&event, side)?,
                // Another recorder's; see `training_thread`.
                Ok(Record::Training(_)) => {}
                Ok(Record::Finish { within }) => {
                    // Half for the frames that are left, a quarter each for file and viewer.
                    self.feed_until(Instant::now() + within / 2, side)?;
                    return self.close(within / 4);
                }
                Err(RecvTimeoutError::Timeout) => self.feed_one(side)?,
                Err(RecvTimeoutError::Disconnected) => return self.close(ABANDONED_LIMIT),
            }
            self.look_at_viewer(side)?;
        }
    }

    fn sink(&mut self) -> Result<&mut RerunSink, String> {
        self.sink.as_mut().ok_or_else(|| "the recording is closed".to_owned())
    }

    fn take(&mut self, event: &SessionEvent, side: &WorkerSide<Record, RecorderEvent>) -> Result<(), String> {
        if let SessionEvent::VideoOpened { info, sight, .. } = event {
            self.drop_feed();
            self.begin_clip()?;
            match FrameFeed::open(info, &sight.frames) {
                Ok(feed) => self.feed = Some(feed),
                Err(error) => warn(side, format!("the recording has no pictures: {error}")),
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
                        warn(side, format!("frame {} is not recorded: {error}", frame.index.0));
                        Ok(())
                    }
                }
            }
            Some(Err(error)) => {
                self.drop_feed();
                warn(side, format!("the recording lacks pictures: {error}"));
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

    /// A clip after the first gets a recording of its own: what holds for a whole clip
    /// is static, and would replace that of the clip before.
    fn begin_clip(&mut self) -> Result<(), String> {
        if !self.sink()?.has_clip() {
            return Ok(());
        }
        let mut next = open_sink(self.config, &self.destinations)?;
        if let Some(before) = self.sink.take() {
            next.continue_from(&before).map_err(|error| failed(self.config, &error.to_string()))?;
            before.close(CLIP_LIMIT).map_err(|reason| failed(self.config, &reason))?;
        }
        self.sink = Some(next);
        Ok(())
    }

    /// A viewer that is gone ends the recording only when there is no file.
    fn look_at_viewer(&mut self, side: &WorkerSide<Record, RecorderEvent>) -> Result<(), String> {
        if self.told_of_viewer || !self.destinations.viewer_is_lost() {
            return Ok(());
        }
        self.told_of_viewer = true;
        let message = "the Rerun viewer no longer takes data; was it closed?";
        if !self.destinations.has_file() {
            return Err(message.to_owned());
        }
        warn(side, format!("{message} The file goes on"));
        Ok(())
    }

    /// Writes everything; `limit` holds for the file and again for the viewer.
    fn close(&mut self, limit: Duration) -> Result<RecordingSummary, String> {
        self.drop_feed();
        if let Some(sink) = self.sink.take() {
            sink.close(limit).map_err(|reason| failed(self.config, &reason))?;
        }
        let mut summary = std::mem::take(&mut self.summary);
        if let Err(reason) = self.destinations.flush_viewer(limit) {
            let message = format!("the Rerun viewer did not get everything: {reason}");
            if !self.destinations.has_file() {
                return Err(message);
            }
            if !self.told_of_viewer {
                summary.warnings.push(message);
            }
        }
        Ok(summary)
    }
}

/// File and viewer as wanted, and their names for people.
pub(super) fn open_destinations(
    config: &RecordingConfig,
    side: &WorkerSide<Record, RecorderEvent>,
) -> Result<(Arc<Destinations>, String), String> {
    let mut places = Vec::new();
    let mut file = None;
    if let Some(path) = &config.rrd {
        file = Some(FileSink::new(path).map_err(|error| {
            let reason = error.to_string();
            RecordingError::File { path: path.clone(), reason }.to_string()
        })?);
        places.push(path.display().to_string());
    }
    let mut viewer = None;
    if config.viewer {
        let warning = match viewer_process::connect() {
            Ok((sink, warning)) => {
                viewer = Some(sink);
                places.push("the Rerun viewer".to_owned());
                warning
            }
            Err(reason) if file.is_some() => Some(format!("recording to the file only: {reason}")),
            Err(reason) => return Err(reason),
        };
        if let Some(message) = warning {
            drop(side.events.send(RecorderEvent::Warning { message }));
        }
    }
    let destinations =
        Destinations::new(file, viewer).map_err(|error| RecordingError::Thread(error).to_string())?;
    Ok((Arc::new(destinations), places.join(" and ")))
}

/// A new recording in the shared destinations.
fn open_sink(config: &RecordingConfig, destinations: &Arc<Destinations>) -> Result<RerunSink, String> {
    let stream = open_stream(destinations, blueprint())?;
    RerunSink::new(stream).map_err(|error| failed(config, &error.to_string()))
}

/// A new stream into the shared destinations.
pub(super) fn open_stream(
    destinations: &Arc<Destinations>,
    blueprint: rerun::blueprint::Blueprint,
) -> Result<rerun::RecordingStream, String> {
    let sinks: Vec<Box<dyn LogSink>> = vec![Box::new(SharedSink(Arc::clone(destinations)))];
    rerun::RecordingStreamBuilder::new(APPLICATION)
        .with_blueprint(blueprint)
        .set_sinks(sinks)
        .map_err(|error| format!("Rerun cannot start recording: {error}"))
}

pub(super) fn failed(config: &RecordingConfig, reason: &str) -> String {
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

/// Nobody needs to listen.
fn warn(side: &WorkerSide<Record, RecorderEvent>, message: String) {
    drop(side.events.try_send(RecorderEvent::Warning { message }));
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rerun::external::re_log_encoding::DecoderApp;
    use rerun::external::re_log_types::LogMsg;

    use super::super::{Recorder, entity_paths};
    use super::*;
    use crate::geometry::ImageSize;
    use crate::scene::Layout;
    use crate::session::{ModelSight, RequestId, Timing};
    use crate::video::VideoInfo;

    fn clip_events(number: u64) -> [SessionEvent; 2] {
        let request = RequestId(number);
        let info = VideoInfo {
            path: format!("clip-{number}").into(),
            size: ImageSize::new(4, 4),
            pts_secs: vec![0.0],
            keyframes: Vec::new(),
            rotation_degrees: 0,
            codec: String::new(),
            container: String::new(),
            warnings: Vec::new(),
        };
        let sight = ModelSight {
            frames: Vec::new(),
            size: ImageSize::new(1, 1),
            rgb: Vec::new(),
            tokens_per_frame: 1,
            prefix_tokens: 1,
        };
        [
            SessionEvent::VideoOpened { request, info, sight },
            SessionEvent::LayoutReady {
                request,
                layout: Layout::default(),
                timing: Timing::default(),
                encoded_frames: 0,
                reused_tokens: 0,
            },
        ]
    }

    #[test]
    fn every_clip_of_a_session_has_a_recording_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rrd");
        let config = RecordingConfig { rrd: Some(path.clone()), viewer: false };
        let mut recorder = Recorder::start(config).unwrap();
        for event in [1, 2].into_iter().flat_map(clip_events) {
            recorder.record(&event);
        }
        recorder.finish(Duration::from_mins(1)).unwrap();

        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for message in DecoderApp::decode_lazy(file) {
            if let LogMsg::ArrowMsg(store, chunk) = message.unwrap()
                && store.is_recording()
            {
                let chunk = rerun::log::Chunk::from_arrow_msg(&chunk).unwrap();
                let entity = chunk.entity_path().to_string();
                paths.entry(store.recording_id().to_string()).or_default().insert(entity);
            }
        }
        assert_eq!(paths.len(), 2);
        for entities in paths.values() {
            assert!(entities.contains(&format!("/{}", entity_paths::LAYOUT)), "{entities:?}");
        }
    }
}
