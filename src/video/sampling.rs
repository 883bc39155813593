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

/// How closely a video is followed between sampled frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameSpacing {
    /// Longest time between neighbours, seconds.
    pub longest_secs: f64,
    /// Upper bound on frames; neighbours are farther apart where it is reached.
    pub most_frames: u32,
}

impl FrameSpacing {
    /// Frames farther apart than this have too little in common to be followed, seconds.
    const FARTHEST_SECS: f64 = 1.0;

    /// `sampled` (rising) and frames between them, each once; `pts_secs` are the
    /// presentation times of all frames. Videos too long to be followed within the
    /// bound get no frames between.
    pub fn fill(&self, pts_secs: &[f64], sampled: &[FrameIndex]) -> Vec<FrameIndex> {
        let mut keys = sampled.to_vec();
        keys.dedup();
        let secs = |index: FrameIndex| pts_secs.get(index.0 as usize).copied().unwrap_or(0.0);
        let span = match &keys[..] {
            [first, .., last] => secs(*last) - secs(*first),
            _ => 0.0,
        };
        // Every sampled frame may need one more than its share.
        let room = self.most_frames.saturating_sub(keys.len() as u32).max(1);
        let spacing = self.longest_secs.max(span / f64::from(room)).max(1e-6);
        if spacing > Self::FARTHEST_SECS {
            return keys;
        }
        let mut filled = Vec::new();
        for pair in keys.windows(2) {
            let between = pair[1].0 - pair[0].0;
            let wanted = ((secs(pair[1]) - secs(pair[0])) / spacing - 1e-6).ceil().max(1.0);
            let parts = (wanted as u32).min(between);
            filled.extend((0..parts).map(|k| {
                FrameIndex(pair[0].0 + (u64::from(between) * u64::from(k) / u64::from(parts)) as u32)
            }));
        }
        filled.extend(keys.last());
        filled
    }
}

/// The frames to read for a look at `sampled` (rising): each once, and those between
/// where a `spacing` asks for them.
pub fn frames_to_read(
    spacing: Option<FrameSpacing>,
    pts_secs: &[f64],
    sampled: &[FrameIndex],
) -> Vec<FrameIndex> {
    spacing.map_or_else(
        || {
            let mut once = sampled.to_vec();
            once.dedup();
            once
        },
        |spacing| spacing.fill(pts_secs, sampled),
    )
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

    fn times(frames: u32) -> Vec<f64> {
        (0..frames).map(|k| f64::from(k) / 30.0).collect()
    }

    #[test]
    fn gaps_are_filled_up_to_the_spacing_and_the_bound() {
        let spacing = FrameSpacing { longest_secs: 0.1, most_frames: 100 };
        let sampled = [0, 0, 10, 12].map(FrameIndex);
        let filled: Vec<u32> = spacing.fill(&times(30), &sampled).into_iter().map(|i| i.0).collect();
        assert_eq!(filled, [0, 2, 5, 7, 10, 12]);
        let long = spacing.fill(&times(2000), &uniform(2000, 16));
        assert!(long.len() <= 100 && long.len() > 80, "{}", long.len());
        assert!(uniform(2000, 16).iter().all(|index| long.contains(index)));
        assert!(long.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(spacing.fill(&times(9000), &uniform(9000, 16)), uniform(9000, 16));
        assert_eq!(spacing.fill(&times(1), &[FrameIndex(0); 3]), [FrameIndex(0)]);
    }

    #[test]
    fn short_videos_repeat_frames() {
        let got: Vec<u32> = uniform(2, 4).into_iter().map(|i| i.0).collect();
        assert_eq!(got, [0, 0, 0, 1]);
        assert_eq!(uniform(1, 3), [FrameIndex(0); 3]);
    }
}
