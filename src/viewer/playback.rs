//! [`PlaybackClock`]: which frame should be on screen now.
//!
//! The clock runs in seconds of the video's own timestamps; frames come from the
//! player thread and may lag behind, the clock never waits for them.

use std::sync::Arc;

use bevy::prelude::Resource;

use crate::video::{FrameIndex, VideoInfo};

/// Slowest and fastest playback.
pub const RATE_RANGE: std::ops::RangeInclusive<f32> = 0.25..=4.0;

/// Position in the open video.
#[derive(Debug, Clone, Default, Resource)]
pub struct PlaybackClock {
    video: Option<Arc<VideoInfo>>,
    position: f64,
    playing: bool,
    rate: f32,
    looping: bool,
    revision: u64,
}

impl PlaybackClock {
    /// A clock at the start of `video`, playing if `playing`.
    pub fn open(&mut self, video: Arc<VideoInfo>, playing: bool) {
        *self = Self {
            playing: playing && video.frame_count() > 1,
            video: Some(video),
            position: 0.0,
            rate: self.rate(),
            looping: self.looping,
            revision: self.revision + 1,
        };
    }

    /// Forgets the video.
    pub fn close(&mut self) {
        self.video = None;
        self.position = 0.0;
        self.playing = false;
        self.revision += 1;
    }

    /// Grows whenever the clock jumps, starts, stops or changes its pace; the plain
    /// passing of time leaves it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Facts about the video; `None` before one is open.
    pub fn video(&self) -> Option<&Arc<VideoInfo>> {
        self.video.as_ref()
    }

    /// Seconds from the first frame.
    pub fn position_secs(&self) -> f64 {
        self.position
    }

    /// The frame that belongs on screen.
    pub fn frame(&self) -> FrameIndex {
        self.video.as_ref().map_or(FrameIndex(0), |video| video.frame_at(self.position))
    }

    /// Whether time runs.
    pub fn is_playing(&self) -> bool {
        self.playing
    }

    /// Playback speed.
    pub fn rate(&self) -> f32 {
        if self.rate > 0.0 { self.rate } else { 1.0 }
    }

    /// Whether it starts again at the end.
    pub fn is_looping(&self) -> bool {
        self.looping
    }

    /// Sets the speed within [`RATE_RANGE`].
    pub fn set_rate(&mut self, rate: f32) {
        if rate.is_finite() {
            self.rate = rate.clamp(*RATE_RANGE.start(), *RATE_RANGE.end());
            self.revision += 1;
        }
    }

    /// Starts again at the end, or stops there.
    pub fn set_looping(&mut self, looping: bool) {
        self.looping = looping;
        self.revision += 1;
    }

    /// Pauses or plays; at the end it plays from the start.
    pub fn toggle(&mut self) {
        let Some(video) = &self.video else { return };
        if !self.playing && self.frame().0 + 1 >= video.frame_count() {
            self.position = 0.0;
        }
        self.playing = !self.playing && video.frame_count() > 1;
        self.revision += 1;
    }

    /// Goes to the start of a frame; indices past the end go to the last frame.
    pub fn seek(&mut self, index: FrameIndex) {
        if let Some(video) = &self.video {
            let last = video.frame_count().saturating_sub(1);
            self.position = video.pts_secs.get(index.0.min(last) as usize).copied().unwrap_or(0.0);
            self.revision += 1;
        }
    }

    /// Pauses and moves by `frames`, stopping at the ends.
    pub fn step(&mut self, frames: i32) {
        self.playing = false;
        self.seek(FrameIndex(self.frame().0.saturating_add_signed(frames)));
    }

    /// Lets `elapsed` seconds of real time pass.
    pub fn advance(&mut self, elapsed: f64) {
        let Some(video) = self.video.clone().filter(|_| self.playing) else { return };
        self.position += elapsed * f64::from(self.rate());
        let duration = video.duration_secs();
        if self.position < duration {
            return;
        }
        if self.looping {
            self.position %= duration;
        } else {
            self.playing = false;
            self.position = video.pts_secs.last().copied().unwrap_or(0.0);
            self.revision += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ImageSize;

    fn clock(pts_secs: &[f64]) -> PlaybackClock {
        let info = VideoInfo {
            path: "clip.mp4".into(),
            size: ImageSize::new(4, 4),
            pts_secs: pts_secs.to_vec(),
            keyframes: vec![FrameIndex(0)],
            rotation_degrees: 0,
            codec: "h264".to_owned(),
            container: "mov".to_owned(),
            warnings: Vec::new(),
        };
        let mut clock = PlaybackClock::default();
        clock.open(Arc::new(info), true);
        clock
    }

    #[test]
    fn follows_the_timestamps_of_a_variable_rate_video() {
        let mut clock = clock(&[0.0, 0.1, 0.5, 0.6]);
        clock.advance(0.3);
        assert_eq!(clock.frame(), FrameIndex(1));
        clock.advance(0.25);
        assert_eq!(clock.frame(), FrameIndex(2));
    }

    #[test]
    fn stops_on_the_last_frame_and_plays_again_from_the_start() {
        let mut clock = clock(&[0.0, 0.1, 0.2]);
        clock.advance(9.0);
        assert!(!clock.is_playing());
        assert_eq!(clock.frame(), FrameIndex(2));
        clock.toggle();
        assert!(clock.is_playing());
        assert_eq!(clock.frame(), FrameIndex(0));
    }

    #[test]
    fn loops_when_asked() {
        let mut clock = clock(&[0.0, 0.1, 0.2]);
        clock.set_looping(true);
        clock.advance(0.35);
        assert!(clock.is_playing());
        assert_eq!(clock.frame(), FrameIndex(0));
    }

    #[test]
    fn steps_stop_at_the_ends_and_pause() {
        let mut clock = clock(&[0.0, 0.1, 0.2]);
        clock.step(-1);
        assert_eq!(clock.frame(), FrameIndex(0));
        clock.step(7);
        assert_eq!(clock.frame(), FrameIndex(2));
        assert!(!clock.is_playing());
    }

    #[test]
    fn rate_is_clamped_and_never_zero() {
        let mut clock = clock(&[0.0, 1.0]);
        clock.set_rate(100.0);
        assert!((clock.rate() - 4.0).abs() < 1e-6);
        clock.set_rate(0.0);
        assert!((clock.rate() - 0.25).abs() < 1e-6);
        clock.set_rate(f32::NAN);
        assert!((clock.rate() - 0.25).abs() < 1e-6);
    }
}
