//! Which frames of the open video are recorded, and in which order: first those
//! the model saw, then the others at no more than ten a second of video.

use std::collections::{HashSet, VecDeque};

use image::codecs::jpeg::JpegEncoder;

use crate::video::{Frame, FrameIndex, FrameSource, VideoError, VideoInfo};

/// Recorded frames per second of video; more only makes the viewer slow.
const MOST_PER_SECOND: f64 = 10.0;
/// Recorded frames per video.
const MOST_FRAMES: usize = 600;
/// Quality of the JPEG pictures, 1 to 100.
const JPEG_QUALITY: u8 = 80;

/// Frames still to be recorded.
pub(super) struct FrameFeed {
    source: Box<dyn FrameSource>,
    due: VecDeque<FrameIndex>,
}

impl FrameFeed {
    /// The frames of the video described by `info`; `sampled` come first.
    pub(super) fn open(info: &VideoInfo, sampled: &[FrameIndex]) -> Result<Self, VideoError> {
        let source = crate::video::open(&info.path)?;
        Ok(Self { source, due: order(info, sampled) })
    }

    /// How many frames are still to come.
    pub(super) fn remaining(&self) -> usize {
        self.due.len()
    }

    /// The next frame; `None` when all are done.
    pub(super) fn next(&mut self) -> Option<Result<Frame, VideoError>> {
        self.due.pop_front().map(|index| self.source.frame(index))
    }
}

fn order(info: &VideoInfo, sampled: &[FrameIndex]) -> VecDeque<FrameIndex> {
    let wanted = (info.duration_secs() * MOST_PER_SECOND).ceil() as usize;
    let count = info.frame_count() as usize;
    let others = wanted.clamp(1, MOST_FRAMES).min(count);
    let spread = (0..others).map(|k| FrameIndex((k * count / others) as u32));
    let mut seen = HashSet::new();
    sampled.iter().copied().chain(spread).filter(|index| seen.insert(*index)).collect()
}

/// JPEG bytes of a frame.
pub(super) fn jpeg(frame: &Frame) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode(
        &frame.rgb,
        frame.size.width,
        frame.size.height,
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ImageSize;

    fn info(frames: u32, fps: f64) -> VideoInfo {
        VideoInfo {
            path: "clip".into(),
            size: ImageSize::new(4, 4),
            pts_secs: (0..frames).map(|k| f64::from(k) / fps).collect(),
            keyframes: vec![],
            rotation_degrees: 0,
            codec: String::new(),
            container: String::new(),
            warnings: vec![],
        }
    }

    #[test]
    fn what_the_model_saw_comes_first_and_nothing_twice() {
        let due = order(&info(30, 30.0), &[FrameIndex(0), FrameIndex(29), FrameIndex(29)]);
        assert_eq!((due[0], due[1]), (FrameIndex(0), FrameIndex(29)));
        assert_eq!(due.iter().collect::<HashSet<_>>().len(), due.len());
        assert!(due.len() <= 12, "{}", due.len());
    }

    #[test]
    fn long_videos_are_thinned_and_single_frames_kept() {
        assert!(order(&info(100_000, 30.0), &[]).len() <= MOST_FRAMES);
        assert_eq!(order(&info(1, 30.0), &[FrameIndex(0)]).len(), 1);
    }
}
