//! The frames that vision tower and camera encoder look at.

use super::ModelError;
use super::exchange::Clip;
use crate::video::{Frame, FrameIndex};

/// M frames in order, among them the F sampled ones.
#[derive(Debug)]
pub(super) struct Footage<'a> {
    /// The M frames.
    pub frames: Vec<&'a Frame>,
    /// Where the F sampled frames are among them.
    pub sampled: Vec<usize>,
}

impl<'a> Footage<'a> {
    /// The sampled frames alone, or each frame of the clip once when it has frames between.
    pub(super) fn of(clip: &'a Clip) -> Self {
        if clip.between.is_empty() {
            return Self { frames: clip.frames.iter().collect(), sampled: (0..clip.frames.len()).collect() };
        }
        // Sampled frames first: of two frames of one number the sampled one is kept.
        let mut frames: Vec<&Frame> = clip.frames.iter().chain(&clip.between).collect();
        frames.sort_by_key(|frame| frame.index);
        frames.dedup_by_key(|frame| frame.index);
        let place = |index: FrameIndex| frames.partition_point(|frame| frame.index < index);
        let sampled = clip.frames.iter().map(|frame| place(frame.index)).collect();
        Self { frames, sampled }
    }

    /// Presentation times, seconds.
    pub(super) fn secs(&self) -> Vec<f64> {
        self.frames.iter().map(|frame| frame.pts_secs).collect()
    }
}

/// The first sampled frame of a clip whose frames hold the bytes that their sizes promise.
pub(super) fn check_clip(clip: &Clip) -> Result<&Frame, ModelError> {
    let fail = |reason: String| ModelError::Clip { path: clip.info.path.clone(), reason };
    for frame in clip.frames.iter().chain(&clip.between) {
        if frame.size.pixels() == 0 || frame.rgb.len() != 3 * frame.size.pixels() {
            let reason = format!(
                "frame {} has {} bytes for {}x{} pixels",
                frame.index.0,
                frame.rgb.len(),
                frame.size.width,
                frame.size.height
            );
            return Err(fail(reason));
        }
    }
    clip.frames.first().ok_or_else(|| fail("no frame was sampled".to_owned()))
}
