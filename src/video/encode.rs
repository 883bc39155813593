//! Writing clips: H.264 in MP4, 4:2:0, BT.601 limited range, index at the front.
//!
//! video-rs's encoder writes packets without a duration, so that players cut off the
//! last frame; this one goes to FFmpeg directly.

use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;

use ffmpeg::format::Pixel;
use ffmpeg::frame::Video as Picture;
use ffmpeg::software::scaling;
use ffmpeg::util::color;
use ffmpeg::{Dictionary, Rational};

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

/// Ticks per second of the clip's clock: whole for all usual frame rates.
const TICKS_PER_SECOND: i32 = 90_000;

/// Writes one clip frame by frame.
pub struct VideoWriter {
    path: PathBuf,
    output: ffmpeg::format::context::Output,
    encoder: ffmpeg::encoder::video::Encoder,
    scaler: scaling::Context,
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
        let ImageSize { width, height } = settings.size;
        if settings.size.pixels() == 0 || !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            return Err(refuse(format!("the size is {width}x{height}, but both sides must be even")));
        }
        if !(settings.fps.is_finite() && settings.fps > 0.0) {
            return Err(refuse(format!("{} frames per second is not a rate", settings.fps)));
        }
        let Some(text) = path.to_str() else {
            return Err(refuse("FFmpeg needs a path in UTF-8; choose another name".to_owned()));
        };
        super::video_stream::start_ffmpeg().map_err(refuse)?;
        let opened = open_output(text, settings).map_err(|error| refuse(error.to_string()))?;
        let (output, encoder, scaler) = opened;
        Ok(Self { path: path.to_owned(), output, encoder, scaler, settings, frames: 0 })
    }

    /// Appends a frame of `height * width * 3` bytes, row-major RGB.
    ///
    /// # Errors
    /// When the number of bytes is wrong or the disk is full.
    pub fn push(&mut self, rgb: &[u8]) -> Result<(), VideoError> {
        let expected = self.settings.size.pixels() * 3;
        if rgb.len() != expected {
            return Err(self.refuse(format!("a frame has {} bytes instead of {expected}", rgb.len())));
        }
        self.encode(rgb).map_err(|error| self.refuse(error.to_string()))
    }

    /// Writes what the encoder still holds and closes the file.
    ///
    /// # Errors
    /// When no frame was pushed or the disk is full.
    pub fn finish(mut self) -> Result<(), VideoError> {
        if self.frames == 0 {
            return Err(self.refuse("a video needs at least one frame".to_owned()));
        }
        self.close().map_err(|error| self.refuse(error.to_string()))
    }

    fn encode(&mut self, rgb: &[u8]) -> Result<(), ffmpeg::Error> {
        let ImageSize { width, height } = self.settings.size;
        let mut picture = Picture::new(Pixel::RGB24, width, height);
        let (stride, row) = (picture.stride(0), width as usize * 3);
        for (target, source) in picture.data_mut(0).chunks_mut(stride).zip(rgb.chunks_exact(row)) {
            target[..row].copy_from_slice(source);
        }
        let mut yuv = Picture::empty();
        self.scaler.run(&picture, &mut yuv)?;
        yuv.set_pts(Some(self.ticks(i64::from(self.frames))));
        self.encoder.send_frame(&yuv)?;
        self.frames += 1;
        self.write_packets()
    }

    fn close(&mut self) -> Result<(), ffmpeg::Error> {
        self.encoder.send_eof()?;
        self.write_packets()?;
        self.output.write_trailer()
    }

    /// Writes all packets that the encoder has ready.
    fn write_packets(&mut self) -> Result<(), ffmpeg::Error> {
        let frame_ticks = self.ticks(1);
        let target = self.output.stream(0).map_or(clock(), |stream| stream.time_base());
        let mut packet = ffmpeg::Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(ffmpeg::Error::Eof) => return Ok(()),
                Err(ffmpeg::Error::Other { errno }) if errno == ffmpeg::error::EAGAIN => return Ok(()),
                Err(error) => return Err(error),
            }
            packet.set_stream(0);
            // Without a duration the last frame would be cut off by the edit list.
            packet.set_duration(frame_ticks);
            packet.rescale_ts(clock(), target);
            packet.write_interleaved(&mut self.output)?;
        }
    }

    /// Time of frame `index` on the clip's clock.
    fn ticks(&self, index: i64) -> i64 {
        (index as f64 * f64::from(TICKS_PER_SECOND) / f64::from(self.settings.fps)).round() as i64
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

fn clock() -> Rational {
    Rational(1, TICKS_PER_SECOND)
}

type Opened = (ffmpeg::format::context::Output, ffmpeg::encoder::video::Encoder, scaling::Context);

fn open_output(path: &str, settings: WriterSettings) -> Result<Opened, ffmpeg::Error> {
    let ImageSize { width, height } = settings.size;
    let mut output = ffmpeg::format::output_as(&format!("file:{path}"), "mp4")?;
    let codec = ffmpeg::encoder::find_by_name("libx264").ok_or(ffmpeg::Error::EncoderNotFound)?;
    let mut encoder = ffmpeg::codec::Context::new_with_codec(codec).encoder().video()?;
    encoder.set_width(width);
    encoder.set_height(height);
    encoder.set_format(Pixel::YUV420P);
    encoder.set_time_base(clock());
    encoder.set_frame_rate(Some(Rational((f64::from(settings.fps) * 1000.0).round() as i32, 1000)));
    // A key frame every second keeps random access cheap.
    encoder.set_gop((settings.fps.round() as u32).max(1));
    encoder.set_colorspace(color::Space::SMPTE170M);
    encoder.set_color_range(color::Range::MPEG);
    // MP4 keeps the codec's headers once, outside the packets.
    encoder.set_flags(ffmpeg::codec::Flags::GLOBAL_HEADER);
    let mut options = Dictionary::new();
    options.set("preset", "medium");
    options.set("crf", &settings.quality.min(51).to_string());
    // The same bytes on every machine, whatever its number of cores.
    options.set("threads", "1");
    let encoder = encoder.open_with(options)?;
    let mut stream = output.add_stream(codec)?;
    stream.set_parameters(&encoder);
    stream.set_time_base(clock());
    let mut header = Dictionary::new();
    header.set("movflags", "+faststart");
    output.write_header_with(header)?;
    let flags = scaling::Flags::BILINEAR | scaling::Flags::ACCURATE_RND;
    let scaler = scaling::Context::get(Pixel::RGB24, width, height, Pixel::YUV420P, width, height, flags)?;
    Ok((output, encoder, scaler))
}
