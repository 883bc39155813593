//! Exactly "frame i" of a video file.
//!
//! Opening reads all packets once without decoding ([`PacketIndex`]). A frame is then
//! reached by decoding on from where the decoder stands, or from the nearest key packet
//! before it, until the picture with the wanted time comes out; pictures on the way go to
//! the cache. [`VideoStream`] reads packets and pictures.

use std::collections::HashSet;
use std::path::Path;

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::Id as CodecId;
use ffmpeg::frame::Video as Picture;

use super::cache::FrameCache;
use super::convert::Converter;
use super::packet_index::PacketIndex;
use super::video_stream::{VideoStream, start_ffmpeg, time_of};
use super::{Frame, FrameIndex, FrameSource, VideoError, VideoInfo, out_of_range, too_large};
use crate::geometry::ImageSize;

/// Decoded pixels kept: 109 frames of 640 x 480.
const CACHE_BYTES: usize = 100 << 20;
/// At most this many frames before a wanted one are kept for stepping back.
const KEPT_BEFORE: u32 = 48;
/// A frame at most this far ahead is reached faster by decoding on than by seeking.
const CLOSE_AHEAD: u32 = 8;

/// Opens a video file and indexes its frames.
///
/// # Errors
/// When it holds no video that can be decoded, or too large pictures.
pub(super) fn open_file(path: &Path) -> Result<Box<dyn FrameSource>, VideoError> {
    Ok(Box::new(FileDecoder::open(path)?))
}

/// How a run of the decoder ended.
enum Run {
    Reached(Frame),
    Interrupted,
    /// The wanted picture did not come out.
    Missed,
}

struct FileDecoder {
    info: VideoInfo,
    stream: VideoStream,
    index: PacketIndex,
    converter: Converter,
    cache: FrameCache,
    /// Time of the picture that came out last; `None` when the next frame needs a seek.
    reached: Option<i64>,
    /// Whether pictures on the way to a frame are kept.
    keeps_passed: bool,
    /// Pictures with an earlier time may refer to pictures that were not decoded.
    trusted_from: i64,
}

impl FileDecoder {
    fn open(path: &Path) -> Result<Self, VideoError> {
        let no_video = |reason: String| VideoError::NoVideo { path: path.to_owned(), reason };
        start_ffmpeg().map_err(no_video)?;
        let mut stream = VideoStream::open(path)?;
        let stored = ImageSize::new(stream.decoder.width(), stream.decoder.height());
        if stored.pixels() == 0 {
            return Err(no_video("its video stream does not say how large the pictures are".to_owned()));
        }
        if let Some(error) = too_large(path, stored) {
            return Err(error);
        }
        let mut warnings = Vec::new();
        let rotation = stream.rotation(&mut warnings);
        stream.warn_about_pixels(&mut warnings);
        let scan = stream.scan();
        if scan.packets.is_empty() {
            return Err(no_video("its video stream has no packets with times".to_owned()));
        }
        let mut decoder = Self {
            info: VideoInfo {
                path: path.to_owned(),
                size: rotation.upright(stored),
                pts_secs: Vec::new(),
                keyframes: Vec::new(),
                rotation_degrees: rotation.degrees(),
                codec: stream.codec_name(),
                container: stream.container_name(),
                warnings,
            },
            index: PacketIndex::new(scan.packets),
            stream,
            converter: Converter::new(stored, rotation),
            cache: FrameCache::new(CACHE_BYTES),
            reached: None,
            keeps_passed: true,
            trusted_from: i64::MIN,
        };
        decoder.drop_leading_frames();
        if let Some(reason) = scan.ends_early {
            decoder.drop_undecodable_tail(&reason);
        }
        decoder.finish_index().map_err(no_video)?;
        Ok(decoder)
    }

    /// Frames stored after the first key packet but shown before it refer to pictures that
    /// the file does not hold, except where the codec says otherwise (HEVC's RADL).
    fn drop_leading_frames(&mut self) {
        let Some(first_key) = self.index.first_key() else { return };
        if self.index.frames().first().is_none_or(|&first| first >= first_key) {
            return;
        }
        let produced = match self.stream.decoder.id() {
            CodecId::H264 => HashSet::new(),
            _ => self.times_produced(None, Some(first_key)),
        };
        let dropped = self.index.retain(|pts| pts >= first_key || produced.contains(&pts));
        if dropped > 0 {
            self.info.warnings.push(format!(
                "{dropped} frames before the first key frame cannot be decoded and are left out"
            ));
        }
    }

    /// Decodes the last two groups of pictures and keeps what comes out.
    fn drop_undecodable_tail(&mut self, reason: &str) {
        let Some(last) = self.index.frames().len().checked_sub(1) else { return };
        let entry = self.index.entries(FrameIndex(last as u32)).take(2).last();
        let produced = self.times_produced(entry, None);
        let dropped = self.index.retain(|pts| entry.is_some_and(|key| pts < key) || produced.contains(&pts));
        let mut warning = format!("the file ends early: {reason}");
        if dropped > 0 {
            warning.push_str(&format!("; {dropped} damaged frames at the end are left out"));
        }
        self.info.warnings.push(warning);
    }

    /// Fills in the times and proves that the first frame can be decoded.
    fn finish_index(&mut self) -> Result<(), String> {
        let undecodable = "none of its pictures can be decoded";
        self.fill_info();
        if self.info.pts_secs.is_empty() {
            return Err(undecodable.to_owned());
        }
        if self.frame(FrameIndex(0)).is_err() {
            let until = self.index.entries(FrameIndex(0)).next();
            let produced = self.times_produced(None, None);
            tracing::debug!(?until, frames = produced.len(), "first frame missing, whole file decoded");
            let dropped = self.index.retain(|pts| produced.contains(&pts));
            self.info.warnings.push(format!("{dropped} frames cannot be decoded and are left out"));
            self.fill_info();
            if self.info.pts_secs.is_empty() {
                return Err(undecodable.to_owned());
            }
        }
        Ok(())
    }

    fn fill_info(&mut self) {
        let frames = self.index.frames();
        let start = frames.first().copied().unwrap_or(0);
        let tick = f64::from(self.stream.time_base);
        self.info.pts_secs = frames.iter().map(|pts| (pts - start) as f64 * tick).collect();
        self.info.keyframes = self.index.keyframes();
    }

    /// Times of the pictures that come out from the key packet at `entry` (`None`: the
    /// start of the file) up to the time `until`.
    fn times_produced(&mut self, entry: Option<i64>, until: Option<i64>) -> HashSet<i64> {
        let mut times = HashSet::new();
        self.reached = None;
        if self.stream.seek(entry, &self.index).is_err() {
            return times;
        }
        while let Ok(Some(picture)) = self.stream.next_picture() {
            if let Some(pts) = time_of(&picture) {
                times.insert(pts);
                if until.is_some_and(|until| pts >= until) {
                    break;
                }
            }
        }
        times
    }

    /// Decodes until the picture of frame `index` comes out.
    fn run_to(
        &mut self,
        index: FrameIndex,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<Run, ffmpeg::Error> {
        let wanted = self.index.pts(index);
        let room = self.cache.capacity_in_frames(self.info.size.pixels() * 3) / 2;
        let kept = if self.keeps_passed { KEPT_BEFORE.min(room) } else { 0 };
        while !interrupted() {
            let Some(picture) = self.stream.next_picture()? else {
                self.reached = None;
                return Ok(Run::Missed);
            };
            let Some(pts) = time_of(&picture).filter(|&pts| pts >= self.trusted_from) else { continue };
            self.reached = Some(pts);
            let Some(at) = self.index.frame_at(pts) else { continue };
            if at > index {
                return Ok(Run::Missed);
            }
            if at.0 + kept >= index.0 {
                let frame = self.convert(at, &picture)?;
                self.cache.insert(frame.clone());
                if pts == wanted {
                    return Ok(Run::Reached(frame));
                }
            }
        }
        Ok(Run::Interrupted)
    }

    fn convert(&mut self, index: FrameIndex, picture: &Picture) -> Result<Frame, ffmpeg::Error> {
        Ok(Frame {
            index,
            pts_secs: self.info.pts_secs[index.0 as usize],
            size: self.info.size,
            rgb: self.converter.rgb(picture)?.into(),
        })
    }

    /// Whether decoding on reaches the frame sooner than a seek.
    fn continues_to(&self, index: FrameIndex) -> bool {
        let wanted = self.index.pts(index);
        let Some(reached) = self.reached.filter(|&reached| reached < wanted) else { return false };
        let close = self.index.frame_at(reached).is_some_and(|at| index.0 - at.0 <= CLOSE_AHEAD);
        close || self.index.entries(index).next().is_none_or(|entry| entry <= reached)
    }

    /// Places to start from, best first; `None` is the start of the file.
    fn entries(&self, index: FrameIndex) -> Vec<Option<i64>> {
        self.index.entries(index).take(3).map(Some).chain([None]).collect()
    }

    fn enter(&mut self, entry: Option<i64>) -> Result<(), ffmpeg::Error> {
        self.reached = None;
        self.stream.seek(entry, &self.index)?;
        self.trusted_from = entry.unwrap_or(i64::MIN);
        // Anything before the first picture: decoding on is right from here.
        self.reached = Some(self.trusted_from.saturating_sub(1));
        Ok(())
    }
}

impl FrameSource for FileDecoder {
    fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn read_in_order(&mut self) {
        self.keeps_passed = false;
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        match self.frame_unless(index, &mut || false)? {
            Some(frame) => Ok(frame),
            None => Err(self.damaged(index, "the decoder was interrupted")),
        }
    }

    fn frame_unless(
        &mut self,
        index: FrameIndex,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Frame>, VideoError> {
        if let Some(error) = out_of_range(&self.info, index) {
            return Err(error);
        }
        if let Some(frame) = self.cache.get(index) {
            return Ok(Some(frame.clone()));
        }
        let mut reason = "no picture with its time comes out of the decoder".to_owned();
        let mut outcome =
            if self.continues_to(index) { self.run_to(index, interrupted) } else { Ok(Run::Missed) };
        let mut entries = self.entries(index).into_iter();
        loop {
            match outcome {
                Ok(Run::Reached(frame)) => return Ok(Some(frame)),
                Ok(Run::Interrupted) => return Ok(None),
                Ok(Run::Missed) => {}
                Err(error) => {
                    self.reached = None;
                    reason = error.to_string();
                }
            }
            let Some(entry) = entries.next() else { return Err(self.damaged(index, &reason)) };
            outcome = self.enter(entry).and_then(|()| self.run_to(index, interrupted));
        }
    }

    fn preview(&mut self, index: FrameIndex) -> Option<Frame> {
        if index.0 >= self.info.frame_count() || self.cache.get(index).is_some() {
            return None;
        }
        let reached = self.reached.and_then(|pts| self.index.frame_at(pts));
        if reached.is_some_and(|at| at < index && index.0 - at.0 <= CLOSE_AHEAD) {
            return None;
        }
        let key = self.index.entries(index).next().and_then(|pts| self.index.frame_at(pts))?;
        if let Some(near) = self.cache.nearest(index)
            && near.index.0.abs_diff(index.0) <= index.0 - key.0
        {
            return Some(near.clone());
        }
        (key != index).then(|| self.frame(key).ok()).flatten()
    }
}

impl FileDecoder {
    fn damaged(&self, index: FrameIndex, reason: &str) -> VideoError {
        VideoError::Damaged { path: self.info.path.clone(), index, reason: reason.to_owned() }
    }
}
