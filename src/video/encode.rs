//! Writing clips: H.264 in MP4, 4:2:0, BT.601 limited range, through video-rs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use video_rs::encode::Settings;
use video_rs::{EncoderBuilder, Options};

use ffmpeg_next as ffmpeg;

use super::VideoError;
use crate::geometry::ImageSize;

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

/// Writes one clip frame by frame.
pub struct VideoWriter {
    path: PathBuf,
    encoder: video_rs::Encoder,
    settings: WriterSettings,
    frames: u32,
}

impl VideoWriter {
    /// Creates the file at `path`, replacing an older one.
    ///
    /// # Errors
    /// When the settings are impossible or the file cannot be created.
    pub fn create(path: &Path, settings: WriterSettings) -> Result<Self, VideoError> {
        let refuse = |reason: String| VideoError::Write { path: path.to_owned(), reason };
        let WriterSettings { size, fps, quality } = settings;
        if size.pixels() == 0 || !size.width.is_multiple_of(2) || !size.height.is_multiple_of(2) {
            return Err(refuse(format!("{}x{} pixels; both sides must be even", size.width, size.height)));
        }
        if !(fps.is_finite() && fps > 0.0) {
            return Err(refuse(format!("{fps} frames per second; the rate must be positive")));
        }
        if path.to_str().is_none() {
            return Err(refuse("the path is not valid UTF-8".to_owned()));
        }
        super::file_decoder::start_ffmpeg().map_err(&refuse)?;
        let options: HashMap<String, String> = [
            ("preset", "medium".to_owned()),
            ("crf", quality.min(51).to_string()),
            ("colorspace", "smpte170m".to_owned()),
            ("color_primaries", "bt709".to_owned()),
            ("color_trc", "bt709".to_owned()),
            ("color_range", "tv".to_owned()),
            // The same bytes on every machine, whatever its number of cores.
            ("threads", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let pixels = ffmpeg::format::Pixel::YUV420P;
        let encoder_settings = Settings::preset_h264_custom(
            size.width as usize,
            size.height as usize,
            pixels,
            Options::from(options),
        )
        .with_keyframe_interval((fps.round() as u64).max(1));
        let encoder = EncoderBuilder::new(path, encoder_settings)
            .with_format("mp4")
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { path: path.to_owned(), encoder, settings, frames: 0 })
    }

    /// Appends a frame of `height * width * 3` bytes, row-major RGB.
    ///
    /// # Errors
    /// When the number of bytes is wrong or the disk is full.
    pub fn push(&mut self, rgb: &[u8]) -> Result<(), VideoError> {
        let size = self.settings.size;
        let row = size.width as usize * 3;
        if rgb.len() != size.pixels() * 3 {
            return Err(self.refuse(format!(
                "a frame has {} bytes instead of {}",
                rgb.len(),
                size.pixels() * 3
            )));
        }
        let mut picture = ffmpeg::frame::Video::new(ffmpeg::format::Pixel::RGB24, size.width, size.height);
        let stride = picture.stride(0);
        for (target, source) in picture.data_mut(0).chunks_mut(stride).zip(rgb.chunks_exact(row)) {
            target[..row].copy_from_slice(source);
        }
        picture.set_pts(Some(self.ticks(self.frames)));
        self.encoder.encode_raw(picture).map_err(|error| self.refuse(error.to_string()))?;
        self.frames += 1;
        Ok(())
    }

    /// Writes what the encoder still holds and closes the file.
    ///
    /// # Errors
    /// When no frame was pushed or the disk is full.
    pub fn finish(mut self) -> Result<(), VideoError> {
        if self.frames == 0 {
            return Err(self.refuse("a video needs at least one frame".to_owned()));
        }
        self.encoder.finish().map_err(|error| self.refuse(error.to_string()))
    }

    /// Time of frame `index` in the encoder's time base.
    fn ticks(&self, index: u32) -> i64 {
        let base = self.encoder.time_base();
        let ticks_per_second = f64::from(base.denominator()) / f64::from(base.numerator());
        (f64::from(index) / f64::from(self.settings.fps) * ticks_per_second).round() as i64
    }

    fn refuse(&self, reason: String) -> VideoError {
        VideoError::Write { path: self.path.clone(), reason }
    }
}

impl std::fmt::Debug for VideoWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VideoWriter")
            .field("path", &self.path)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}
