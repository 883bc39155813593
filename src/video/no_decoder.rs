//! What a build without the feature `ffmpeg` says about video files.

use std::path::{Path, PathBuf};

use super::{FrameSource, VideoError};
use crate::geometry::ImageSize;

/// # Errors
/// Always [`VideoError::NoDecoder`].
pub(super) fn open_file(path: &Path) -> Result<Box<dyn FrameSource>, VideoError> {
    Err(VideoError::NoDecoder { path: path.to_owned() })
}

/// How a clip is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WriterSettings {
    /// Size of the frames; both sides even.
    pub size: ImageSize,
    /// Frames per second.
    pub fps: f32,
    /// x264's constant rate factor: 18 is nearly perfect, 28 is small.
    pub quality: u8,
}

/// Stands for the encoder that this build does not have: it cannot be created.
#[derive(Debug)]
pub struct VideoWriter {
    path: PathBuf,
}

impl VideoWriter {
    /// # Errors
    /// Always: this build cannot write video files.
    pub fn create(path: &Path, _settings: WriterSettings) -> Result<Self, VideoError> {
        Err(cannot_write(path))
    }

    /// # Errors
    /// Always: this build cannot write video files.
    pub fn push(&mut self, _rgb: &[u8]) -> Result<(), VideoError> {
        Err(cannot_write(&self.path))
    }

    /// # Errors
    /// Always: this build cannot write video files.
    pub fn finish(self) -> Result<(), VideoError> {
        Err(cannot_write(&self.path))
    }
}

fn cannot_write(path: &Path) -> VideoError {
    let reason = "this build has no video encoder; build with the feature `ffmpeg`".to_owned();
    VideoError::Write { path: path.to_owned(), reason }
}
