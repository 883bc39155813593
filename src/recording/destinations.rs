//! Where a recording goes: a file, a live viewer, or both. Every clip of a session has
//! its own Rerun recording, and all of them share these destinations.
//!
//! The viewer is another program that may stop taking data at any time. It is fed from
//! a thread of its own (`loc3r-rerun`), so that it can delay neither the file nor the
//! end of the recording: once its queue stays full it is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rerun::external::re_log_types::LogMsg;
use rerun::sink::{FileSink, GrpcSink, LogSink, SinkFlushError};

use crate::worker::{SendError, Worker};

/// Messages that may wait for the viewer.
const VIEWER_BOUND: usize = 2048;
/// How long a full queue is waited for before the viewer is given up.
const VIEWER_PATIENCE: Duration = Duration::from_secs(2);

/// File and viewer of one recording session.
pub(super) struct Destinations {
    file: Option<FileSink>,
    viewer: Option<ViewerLine>,
}

impl Destinations {
    /// # Errors
    /// When the operating system refuses a thread for the viewer.
    pub(super) fn new(file: Option<FileSink>, viewer: Option<GrpcSink>) -> std::io::Result<Self> {
        Ok(Self { file, viewer: viewer.map(ViewerLine::start).transpose()? })
    }

    /// Whether there is a file, which goes on without a viewer.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether a viewer was given up.
    pub(super) fn viewer_is_lost(&self) -> bool {
        self.viewer.as_ref().is_some_and(ViewerLine::is_lost)
    }

    /// Waits until the viewer has everything, at most `limit`.
    ///
    /// # Errors
    /// Why it has not.
    pub(super) fn flush_viewer(&self, limit: Duration) -> Result<(), String> {
        self.viewer.as_ref().map_or(Ok(()), |viewer| viewer.flush(limit))
    }
}

/// What a recording stream writes to; flushing it waits for the file only.
pub(super) struct SharedSink(pub Arc<Destinations>);

impl LogSink for SharedSink {
    fn send(&self, message: LogMsg) {
        if let Some(viewer) = &self.0.viewer {
            viewer.send(&message);
        }
        if let Some(file) = &self.0.file {
            file.send(message);
        }
    }

    fn flush_blocking(&self, timeout: Duration) -> Result<(), SinkFlushError> {
        self.0.file.as_ref().map_or(Ok(()), |file| LogSink::flush_blocking(file, timeout))
    }
}

enum ToViewer {
    Message(LogMsg),
    Flush(Duration),
}

/// The thread that feeds the viewer; it answers flushes.
struct ViewerLine {
    worker: Worker<ToViewer, Result<(), String>>,
    lost: AtomicBool,
}

impl ViewerLine {
    fn start(sink: GrpcSink) -> std::io::Result<Self> {
        let worker = Worker::start(
            "loc3r-rerun",
            VIEWER_BOUND,
            1,
            move |side| {
                for command in &side.commands {
                    match command {
                        ToViewer::Message(message) => sink.send(message),
                        ToViewer::Flush(limit) => {
                            let outcome = sink.flush_blocking(limit).map_err(|error| error.to_string());
                            // Whoever asked may have stopped waiting.
                            drop(side.events.try_send(outcome));
                        }
                    }
                }
            },
            |message| Err(format!("the connection ended unexpectedly: {message}")),
        )?;
        Ok(Self { worker, lost: AtomicBool::new(false) })
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn send(&self, message: &LogMsg) {
        if !self.is_lost() && self.queue(|| ToViewer::Message(message.clone()), VIEWER_PATIENCE).is_err() {
            self.lost.store(true, Ordering::Release);
        }
    }

    fn flush(&self, limit: Duration) -> Result<(), String> {
        let silent = || "it does not take data any more".to_owned();
        if self.is_lost() {
            return Err(silent());
        }
        self.queue(|| ToViewer::Flush(limit), limit).map_err(|()| silent())?;
        self.worker.events().recv_timeout(limit).unwrap_or_else(|_| Err(silent()))
    }

    fn queue(&self, command: impl Fn() -> ToViewer, patience: Duration) -> Result<(), ()> {
        let deadline = Instant::now() + patience;
        loop {
            match self.worker.try_send(command()) {
                Ok(()) => return Ok(()),
                Err(SendError::Busy) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(SendError::Busy | SendError::Stopped) => return Err(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngCore as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_viewer_that_takes_nothing_delays_neither_the_file_nor_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rrd");
        // Accepts the connection in the kernel and never says a word.
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("rerun+http://{}/proxy", deaf.local_addr().unwrap());
        let viewer = GrpcSink::new(url.parse().unwrap());
        let both = Arc::new(Destinations::new(Some(FileSink::new(&path).unwrap()), Some(viewer)).unwrap());
        let sinks: Vec<Box<dyn LogSink>> = vec![Box::new(SharedSink(Arc::clone(&both)))];
        let stream = rerun::RecordingStreamBuilder::new("test").set_sinks(sinks).unwrap();
        // More than the system and the protocol take in without an answer; noise, so that it stays so large.
        let mut noise = vec![0; 1 << 20];
        ChaCha8Rng::seed_from_u64(5).fill_bytes(&mut noise);
        for k in 0..16 {
            let picture = rerun::EncodedImage::from_file_contents(noise.clone());
            stream.log_static(format!("picture/{k}"), &picture).unwrap();
        }
        stream.flush_with_timeout(Duration::from_secs(20)).unwrap();
        assert!(both.flush_viewer(Duration::from_millis(300)).is_err());
        drop((stream, both));
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let messages = rerun::external::re_log_encoding::DecoderApp::decode_lazy(file);
        assert!(messages.flatten().count() > 1);
    }
}
