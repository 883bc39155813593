//! Frames that are already in memory, for generated clips and tests.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Frame, FrameIndex, FrameSource, VideoError, VideoInfo, out_of_range, too_large};
use crate::geometry::ImageSize;

/// A [`FrameSource`] over RGB pictures of one size at a constant rate.
#[derive(Debug, Clone)]
pub struct MemorySource {
    info: VideoInfo,
    frames: Vec<Arc<[u8]>>,
}

impl MemorySource {
    /// `frames` are `height * width * 3` bytes each, row-major RGB, shown at `fps` frames
    /// per second. `name` stands for the path in messages.
    ///
    /// # Errors
    /// When there is no frame, one has the wrong number of bytes, the size is zero or
    /// too large, or `fps` is not a positive number.
    pub fn new(
        name: impl Into<PathBuf>,
        size: ImageSize,
        fps: f32,
        frames: Vec<Arc<[u8]>>,
    ) -> Result<Self, VideoError> {
        let path = name.into();
        let bytes = size.pixels() * 3;
        let wrong = frames.iter().position(|frame| frame.len() != bytes);
        let reason = match wrong {
            _ if frames.is_empty() => Some("there are no frames".to_owned()),
            _ if bytes == 0 => Some("the frames have no pixels".to_owned()),
            _ if !(fps.is_finite() && fps > 0.0) => Some(format!("{fps} frames per second is not a rate")),
            Some(index) => {
                Some(format!("frame {index} has {} bytes instead of {bytes}", frames[index].len()))
            }
            None => None,
        };
        if let Some(reason) = reason {
            return Err(VideoError::NoVideo { path, reason });
        }
        if let Some(error) = too_large(&path, size) {
            return Err(error);
        }
        let info = VideoInfo {
            path,
            size,
            pts_secs: (0..frames.len()).map(|index| index as f64 / f64::from(fps)).collect(),
            keyframes: (0..frames.len() as u32).map(FrameIndex).collect(),
            rotation_degrees: 0,
            codec: "images".to_owned(),
            container: "memory".to_owned(),
            warnings: Vec::new(),
        };
        Ok(Self { info, frames })
    }
}

impl FrameSource for MemorySource {
    fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        if let Some(error) = out_of_range(&self.info, index) {
            return Err(error);
        }
        Ok(Frame {
            index,
            pts_secs: self.info.pts_secs[index.0 as usize],
            size: self.info.size,
            rgb: Arc::clone(&self.frames[index.0 as usize]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ImageSize = ImageSize::new(2, 1);

    #[test]
    fn frames_come_back_with_their_times() {
        let frames = (0..3u8).map(|value| Arc::from([value; 6])).collect();
        let mut source = MemorySource::new("clip", SIZE, 10.0, frames).unwrap();
        assert_eq!(source.info().frame_count(), 3);
        let frame = source.frame(FrameIndex(2)).unwrap();
        assert_eq!(frame.rgb[..], [2; 6]);
        assert!((frame.pts_secs - 0.2).abs() < 1e-6);
        let error = source.frame(FrameIndex(3)).unwrap_err();
        assert_eq!(error.to_string(), "frame 3 does not exist: clip has 3 frames");
    }

    #[test]
    fn impossible_clips_are_refused() {
        assert!(MemorySource::new("clip", SIZE, 10.0, Vec::new()).is_err());
        assert!(MemorySource::new("clip", SIZE, 10.0, vec![Arc::from([0; 5])]).is_err());
        assert!(MemorySource::new("clip", SIZE, 0.0, vec![Arc::from([0; 6])]).is_err());
        assert!(MemorySource::new("clip", ImageSize::new(0, 4), 10.0, vec![Arc::from([0; 0])]).is_err());
    }
}
