//! From a file or a folder to frames with exact indices.
//!
//! "Frame i" is the i-th frame in presentation order, always. Everything that
//! reads pictures goes through [`FrameSource`]: [`open`] gives one for a video
//! file or a folder of images, [`MemorySource`] for frames that are in memory.
//! [`VideoPlayer`] does the decoding on its own thread for interactive use, [`FrameReader`]
//! for reading from the first frame to the last.

#[cfg(feature = "ffmpeg")]
mod cache;
#[cfg(feature = "ffmpeg")]
mod convert;
#[cfg(feature = "ffmpeg")]
mod encode;
#[cfg(feature = "ffmpeg")]
mod file_decoder;
mod image_source;
mod memory;
#[cfg(not(feature = "ffmpeg"))]
mod no_decoder;
#[cfg(feature = "ffmpeg")]
mod packet_index;
mod player;
mod reader;
mod sampling;
#[cfg(feature = "ffmpeg")]
mod video_stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::geometry::ImageSize;

#[cfg(feature = "ffmpeg")]
use file_decoder::open_file;
#[cfg(not(feature = "ffmpeg"))]
use no_decoder::open_file;

#[cfg(feature = "ffmpeg")]
pub use encode::{VideoWriter, WriterSettings};
pub use memory::MemorySource;
#[cfg(not(feature = "ffmpeg"))]
pub use no_decoder::{VideoWriter, WriterSettings};
pub use player::{PlayerCommand, PlayerEvent, VideoPlayer};
pub use reader::FrameReader;
pub use sampling::{FrameSampling, FrameSpacing, frames_to_read};

/// Largest accepted side of a picture in pixels. A frame of 4096 x 4096 takes 50 MB
/// as RGB; 8K material has to be scaled down first, as [`VideoError::TooLarge`] says.
pub const MAX_SIDE: u32 = 4096;

/// Position of a frame in presentation order, 0-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrameIndex(pub u32);

/// One decoded picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Position in presentation order.
    pub index: FrameIndex,
    /// Presentation time in seconds, relative to the first frame.
    pub pts_secs: f64,
    /// Size after rotation to upright.
    pub size: ImageSize,
    /// `height * width * 3` bytes, row-major RGB.
    pub rgb: Arc<[u8]>,
}

/// Facts about a video, known after opening it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoInfo {
    /// The file or folder.
    pub path: PathBuf,
    /// Size of the upright frames.
    pub size: ImageSize,
    /// Presentation time of every frame in seconds, relative to the first.
    pub pts_secs: Vec<f64>,
    /// Indices of the frames at which decoding can start.
    pub keyframes: Vec<FrameIndex>,
    /// Clockwise turn applied to make frames upright: 0, 90, 180 or 270 degrees.
    pub rotation_degrees: u32,
    /// Codec name ("h264"), or "images" for a folder.
    pub codec: String,
    /// Container name ("mov,mp4,..."), or "folder".
    pub container: String,
    /// Things a user should know ("the file ends early"), each one sentence.
    pub warnings: Vec<String>,
}

impl VideoInfo {
    /// Number of frames, at least 1.
    pub fn frame_count(&self) -> u32 {
        self.pts_secs.len() as u32
    }

    /// Mean distance of frames in seconds; 1/30 for a single frame.
    pub fn frame_secs(&self) -> f64 {
        match self.pts_secs.as_slice() {
            [first, .., last] if last > first => (last - first) / (self.pts_secs.len() - 1) as f64,
            _ => 1.0 / 30.0,
        }
    }

    /// From the first frame to the end of the last, seconds.
    pub fn duration_secs(&self) -> f64 {
        self.pts_secs.last().copied().unwrap_or(0.0) + self.frame_secs()
    }

    /// The frame on screen at `secs`: the last one whose time is not later.
    pub fn frame_at(&self, secs: f64) -> FrameIndex {
        let later = self.pts_secs.partition_point(|&pts| pts <= secs + 1e-9);
        FrameIndex(later.saturating_sub(1) as u32)
    }
}

/// Random access to the frames of one video.
pub trait FrameSource {
    /// Facts about the video.
    fn info(&self) -> &VideoInfo;

    /// Decodes exactly the frame at `index`.
    ///
    /// # Errors
    /// When the index is past the end or the picture cannot be decoded.
    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError>;

    /// Like [`FrameSource::frame`], but gives up with `None` as soon as
    /// `interrupted` says so; it is asked between steps of the decoder.
    ///
    /// # Errors
    /// Those of [`FrameSource::frame`].
    fn frame_unless(
        &mut self,
        index: FrameIndex,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Frame>, VideoError> {
        if interrupted() { Ok(None) } else { self.frame(index).map(Some) }
    }

    /// From now on frames are asked for in rising order: those in between need not be kept
    /// for stepping back.
    fn read_in_order(&mut self) {}

    /// A frame near `index` to show while the exact one is decoded; `None` when the
    /// exact one is as cheap.
    fn preview(&mut self, index: FrameIndex) -> Option<Frame> {
        let _ = index;
        None
    }
}

/// Opens a video file, a folder of PNG or JPEG images (in natural order of their
/// names, 30 frames a second), or a single such image. Only local files are opened.
///
/// # Errors
/// When `path` cannot be read, holds no picture, or pictures larger than [`MAX_SIDE`].
pub fn open(path: &Path) -> Result<Box<dyn FrameSource>, VideoError> {
    let unreadable = |reason: String| VideoError::Unreadable { path: path.to_owned(), reason };
    let meta = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if meta.is_dir() {
        return Ok(Box::new(image_source::ImageSource::open_folder(path)?));
    }
    if !meta.is_file() {
        return Err(unreadable("it is neither a file nor a folder".to_owned()));
    }
    std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    if meta.len() == 0 {
        return Err(VideoError::NoVideo { path: path.to_owned(), reason: "the file is empty".to_owned() });
    }
    if image_source::is_image(path) {
        return Ok(Box::new(image_source::ImageSource::open_image(path)?));
    }
    open_file(path)
}

/// The error for an index past the end, `None` when `info` has that frame.
fn out_of_range(info: &VideoInfo, index: FrameIndex) -> Option<VideoError> {
    (index.0 >= info.frame_count()).then(|| VideoError::OutOfRange {
        path: info.path.clone(),
        index,
        count: info.frame_count(),
    })
}

/// The error for pictures that are too large, `None` when `size` is accepted.
fn too_large(path: &Path, size: ImageSize) -> Option<VideoError> {
    (size.width.max(size.height) > MAX_SIDE).then(|| VideoError::TooLarge {
        path: path.to_owned(),
        size,
        limit: MAX_SIDE,
    })
}

/// What can go wrong with a video; every message names the file and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// The path does not exist or cannot be read.
    #[error("cannot open {path}: {reason}; check the path and its permissions")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The file is there but holds no picture we can decode.
    #[error(
        "{path} has no readable video: {reason}; accepted are files that FFmpeg decodes and folders of PNG or JPEG images"
    )]
    NoVideo {
        /// The file or folder.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The pictures are larger than we accept.
    #[error("{path} is {}x{} pixels, more than the limit of {limit} pixels a side; scale it down first (ffmpeg -i IN -vf scale=1280:-2 OUT)", size.width, size.height)]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// Size found.
        size: ImageSize,
        /// Largest accepted side.
        limit: u32,
    },
    /// The images of a folder differ in size.
    #[error(
        "{path} is {}x{} pixels, but {first} is {}x{}; all images of a folder must have the same size",
        size.width, size.height, first_size.width, first_size.height
    )]
    MixedSizes {
        /// The odd one.
        path: PathBuf,
        /// Its size.
        size: ImageSize,
        /// The first image.
        first: PathBuf,
        /// Its size.
        first_size: ImageSize,
    },
    /// An index past the end.
    #[error("frame {} does not exist: {path} has {count} frames", index.0)]
    OutOfRange {
        /// The file or folder.
        path: PathBuf,
        /// Asked for.
        index: FrameIndex,
        /// Number of frames.
        count: u32,
    },
    /// A frame could not be decoded.
    #[error("frame {} of {path} cannot be decoded: {reason}; the file may be damaged, try to re-encode it (ffmpeg -i IN OUT.mp4)", index.0)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Asked for.
        index: FrameIndex,
        /// The decoder's words.
        reason: String,
    },
    /// Writing a video failed.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// This build cannot read video files.
    #[error(
        "{path} is a video file, but this build has no video decoder; build with the feature `ffmpeg`, or pass a folder of images"
    )]
    NoDecoder {
        /// The file.
        path: PathBuf,
    },
}
