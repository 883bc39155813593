//! Reads frames ahead of who looks at them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam::channel::RecvTimeoutError;

use super::{Frame, FrameIndex, FrameSource, VideoError, VideoInfo};
use crate::worker::{Worker, WorkerSide};

/// Decoded frames that wait to be taken, at most: a few full-size pictures.
const AHEAD: usize = 8;
/// How often a wait for a frame looks whether it was interrupted.
const PATIENCE: Duration = Duration::from_millis(20);

type Answer = Result<Reading, VideoError>;

#[derive(Debug)]
enum Reading {
    Opened(VideoInfo),
    Frame(Frame),
}

/// One video that is decoded on a thread of its own while its frames are used.
#[derive(Debug)]
pub struct FrameReader {
    info: VideoInfo,
    worker: Worker<Vec<FrameIndex>, Answer>,
}

impl FrameReader {
    /// Opens `path` as [`super::open`] does.
    ///
    /// # Errors
    /// Those of [`super::open`], and when there is no thread to be had.
    pub fn open(path: &Path) -> Result<Self, VideoError> {
        let path = path.to_owned();
        let opened = path.clone();
        Self::start(path, move || super::open(&opened))
    }

    fn start(
        path: PathBuf,
        open_source: impl FnOnce() -> Result<Box<dyn FrameSource>, VideoError> + Send + 'static,
    ) -> Result<Self, VideoError> {
        let unreadable = |path: PathBuf, reason: String| VideoError::Unreadable { path, reason };
        let named = path.clone();
        let worker = Worker::start(
            "loc3r-frames",
            1,
            AHEAD,
            move |side| serve(side, open_source()),
            move |message| Err(unreadable(named, format!("the decoder stopped ({message})"))),
        )
        .map_err(|error| unreadable(path.clone(), error.to_string()))?;
        match worker.events().recv() {
            Ok(Ok(Reading::Opened(info))) => Ok(Self { info, worker }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Reading::Frame(_))) | Err(_) => {
                Err(unreadable(path, "the decoder did not say what it opened".to_owned()))
            }
        }
    }

    /// Facts about the video.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Begins to decode `frames` (rising), once for a reader.
    ///
    /// # Errors
    /// When the thread does not take them.
    pub fn read(&self, frames: Vec<FrameIndex>) -> Result<(), VideoError> {
        self.worker.try_send(frames).map_err(|error| VideoError::Unreadable {
            path: self.info.path.clone(),
            reason: format!("the decoder does not start ({error})"),
        })
    }

    /// The next of the frames that [`Self::read`] asked for; `None` once `interrupted` says so.
    ///
    /// # Errors
    /// When it cannot be decoded, or all were given.
    pub fn next(&self, interrupted: &mut dyn FnMut() -> bool) -> Result<Option<Frame>, VideoError> {
        loop {
            if interrupted() {
                return Ok(None);
            }
            match self.worker.events().recv_timeout(PATIENCE) {
                Ok(Ok(Reading::Frame(frame))) => return Ok(Some(frame)),
                Ok(Ok(Reading::Opened(_))) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Disconnected) => {
                    let (path, reason) = (self.info.path.clone(), "the decoder has ended".to_owned());
                    return Err(VideoError::Unreadable { path, reason });
                }
            }
        }
    }
}

fn serve(side: &WorkerSide<Vec<FrameIndex>, Answer>, opened: Result<Box<dyn FrameSource>, VideoError>) {
    let answer = opened.map(|mut source| {
        source.read_in_order();
        (Reading::Opened(source.info().clone()), source)
    });
    let mut source = match answer {
        Ok((opened, source)) => {
            // Nobody listens any more: the queue of commands is closed too.
            drop(side.events.send(Ok(opened)));
            source
        }
        Err(error) => return drop(side.events.send(Err(error))),
    };
    for index in side.commands.iter().flatten() {
        let frame = match source.frame_unless(index, &mut || side.cancel.is_raised()) {
            Ok(Some(frame)) => Ok(Reading::Frame(frame)),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let last = frame.is_err();
        if side.events.send(frame).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::geometry::ImageSize;
    use crate::video::MemorySource;

    /// A video of `frames` that counts what is decoded; frame 20 is damaged.
    struct Counted {
        inner: MemorySource,
        decoded: Arc<AtomicUsize>,
    }

    impl FrameSource for Counted {
        fn info(&self) -> &VideoInfo {
            self.inner.info()
        }

        fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
            self.decoded.fetch_add(1, Ordering::SeqCst);
            match index.0 {
                20 => Err(VideoError::Damaged {
                    path: self.info().path.clone(),
                    index,
                    reason: "torn".to_owned(),
                }),
                _ => self.inner.frame(index),
            }
        }
    }

    fn reader(frames: usize) -> (FrameReader, Arc<AtomicUsize>) {
        let decoded = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&decoded);
        let open = move || {
            let size = ImageSize::new(1, 1);
            let pictures = (0..frames).map(|k| vec![k as u8; 3].into()).collect();
            let inner = MemorySource::new("memory", size, 30.0, pictures)?;
            Ok(Box::new(Counted { inner, decoded: counter }) as Box<dyn FrameSource>)
        };
        (FrameReader::start("memory".into(), open).unwrap(), decoded)
    }

    #[test]
    fn frames_come_in_order_and_no_more_are_decoded_than_may_wait() {
        let (reader, decoded) = reader(64);
        assert_eq!(reader.info().frame_count(), 64);
        reader.read((0..60).step_by(3).map(FrameIndex).collect()).unwrap();
        let first = reader.next(&mut || false).unwrap().unwrap();
        assert_eq!((first.index, first.rgb[0]), (FrameIndex(0), 0));
        // One more than may wait is decoded and held.
        while decoded.load(Ordering::SeqCst) < 1 + AHEAD {
            std::thread::yield_now();
        }
        std::thread::sleep(PATIENCE);
        assert!(decoded.load(Ordering::SeqCst) <= 2 + AHEAD);
        for index in (3..60).step_by(3) {
            assert_eq!(reader.next(&mut || false).unwrap().unwrap().index, FrameIndex(index));
        }
    }

    #[test]
    fn a_wait_can_be_interrupted_and_a_damaged_frame_is_named() {
        let (reader, _) = reader(64);
        // Nothing was asked for: the wait ends when it is interrupted, not when a frame comes.
        let mut looks = 0;
        let frame = reader.next(&mut || {
            looks += 1;
            looks == 3
        });
        assert!(frame.unwrap().is_none());
        reader.read(vec![FrameIndex(19), FrameIndex(20)]).unwrap();
        assert_eq!(reader.next(&mut || false).unwrap().unwrap().index, FrameIndex(19));
        let error = reader.next(&mut || false).unwrap_err().to_string();
        assert!(error.contains("frame 20") && error.contains("torn"), "{error}");
    }

    #[test]
    fn a_reader_that_is_dropped_ends_its_thread() {
        let (reader, decoded) = reader(64);
        reader.read((0..60).step_by(3).map(FrameIndex).collect()).unwrap();
        while decoded.load(Ordering::SeqCst) < 1 + AHEAD {
            std::thread::yield_now();
        }
        drop(reader);
        // The thread holds the other counter until its source is dropped.
        while Arc::strong_count(&decoded) > 1 {
            std::thread::yield_now();
        }
        assert!(decoded.load(Ordering::SeqCst) <= 2 + AHEAD);
    }

    #[test]
    fn what_cannot_be_opened_says_so() {
        let error = FrameReader::open(Path::new("/nowhere/clip.mp4")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/clip.mp4"), "{error}");
        let panics = || -> Result<Box<dyn FrameSource>, VideoError> { panic!("no codec") };
        let error = FrameReader::start("clip.mp4".into(), panics).unwrap_err().to_string();
        assert!(error.contains("clip.mp4") && error.contains("no codec"), "{error}");
    }
}
