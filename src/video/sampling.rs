//! Which frames of a video the model looks at.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{FrameIndex, VideoInfo};

/// A rule that picks frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameSampling {
    /// `frames` indices spread evenly from the first to the last frame, repeated
    /// when the video is shorter (LLaVA-Video's `force_sample`).
    Uniform {
        /// How many.
        frames: NonZeroU32,
    },
    /// Every `step`-th frame.
    Every {
        /// Distance of the picked frames.
        step: NonZeroU32,
    },
    /// At most `max_frames` frames at `fps` per second; spread evenly when there are more.
    Fps {
        /// Frames per second of video.
        fps: f32,
        /// Upper bound.
        max_frames: NonZeroU32,
    },
}

impl FrameSampling {
    /// The picked frames in presentation order.
    pub fn indices(self, video: &VideoInfo) -> Vec<FrameIndex> {
        let count = video.frame_count().max(1);
        match self {
            Self::Uniform { frames } => uniform(count, frames.get()),
            Self::Every { step } => (0..count).step_by(step.get() as usize).map(FrameIndex).collect(),
            Self::Fps { fps, max_frames } => {
                let wanted = (video.duration_secs() * f64::from(fps.max(1e-3))).ceil() as u32;
                uniform(count, wanted.clamp(1, max_frames.get()).min(count))
            }
        }
    }
}

/// NumPy's `linspace(0, count - 1, frames, dtype=int)`, as LLaVA-Video samples.
fn uniform(count: u32, frames: u32) -> Vec<FrameIndex> {
    let last = f64::from(count - 1);
    (0..frames)
        .map(|k| match (k, frames) {
            (_, 1) => 0,
            (k, n) if k + 1 == n => count - 1,
            // Multiplying the step, as NumPy does, decides the rounding at whole numbers.
            (k, n) => (f64::from(k) * (last / f64::from(n - 1))).floor() as u32,
        })
        .map(FrameIndex)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_example() {
        let expected = [
            0, 32, 64, 96, 128, 161, 193, 225, 257, 290, 322, 354, 386, 418, 451, 483, 515, 547, 580, 612,
            644, 676, 708, 741, 773, 805, 837, 870, 902, 934, 966, 999,
        ];
        let got: Vec<u32> = uniform(1000, 32).into_iter().map(|i| i.0).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn short_videos_repeat_frames() {
        let got: Vec<u32> = uniform(2, 4).into_iter().map(|i| i.0).collect();
        assert_eq!(got, [0, 0, 0, 1]);
        assert_eq!(uniform(1, 3), [FrameIndex(0); 3]);
    }
}
