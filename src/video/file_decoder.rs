//! Exactly "frame i" of a video file.
//!
//! Opening reads all packets once without decoding ([`PacketIndex`]). A frame is then
//! reached by decoding on from where the decoder stands, or from the nearest key packet
//! before it, until the picture with the wanted time comes out; pictures on the way go to
//! the cache. video-rs opens the file; its own seeking and timestamps are not exact, so
//! packets and pictures are taken from FFmpeg directly.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::{Id as CodecId, threading};
use ffmpeg::frame::Video as Picture;
use ffmpeg::rescale::{Rescale as _, TIME_BASE};
use ffmpeg::{Packet, Rational, Rounding};
use video_rs::{Reader, ReaderBuilder};

use super::cache::FrameCache;
use super::convert::{Converter, Rotation};
use super::packet_index::{PacketFacts, PacketIndex};
use super::{Frame, FrameIndex, FrameSource, VideoError, VideoInfo, out_of_range, too_large};
use crate::geometry::ImageSize;

/// Decoded pixels kept: 109 frames of 640 x 480.
const CACHE_BYTES: usize = 100 << 20;
/// At most this many frames before a wanted one are kept for stepping back.
const KEPT_BEFORE: u32 = 48;
/// A frame at most this far ahead is reached faster by decoding on than by seeking.
const CLOSE_AHEAD: u32 = 8;
/// Broken packets in a row after which a file counts as ended.
const MAX_BROKEN_PACKETS: u32 = 1000;

/// Prepares FFmpeg once per process; its messages reach the user as our errors, not on the terminal.
///
/// # Errors
/// FFmpeg's words when it refuses.
pub(super) fn start_ffmpeg() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        video_rs::init().map_err(|error| error.to_string())?;
        ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
        Ok(())
    };
    STARTED.get_or_init(start).clone()
}

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
                container: stream.reader.input.format().name().to_owned(),
                warnings,
            },
            index: PacketIndex::new(scan.packets),
            stream,
            converter: Converter::new(stored, rotation),
            cache: FrameCache::new(CACHE_BYTES),
            reached: None,
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
        let kept = KEPT_BEFORE.min(self.cache.capacity_in_frames(self.info.size.pixels() * 3) / 2);
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

/// What one pass over all packets found.
struct Scan {
    packets: Vec<PacketFacts>,
    /// Why the end of the file is missing.
    ends_early: Option<String>,
}

/// The demuxer and decoder of one video stream.
struct VideoStream {
    path: PathBuf,
    reader: Reader,
    number: usize,
    time_base: Rational,
    decoder: ffmpeg::decoder::Video,
    /// The first packet after a seek, read to see where it landed.
    pending: Option<Packet>,
    /// All packets have been sent to the decoder.
    drained: bool,
}

impl VideoStream {
    fn open(path: &Path) -> Result<Self, VideoError> {
        let no_video =
            |reason: &str| VideoError::NoVideo { path: path.to_owned(), reason: reason.to_owned() };
        let reader = open_reader(path)?;
        // FFmpeg renders text files as pictures of a terminal.
        if reader.input.format().name() == "tty" {
            return Err(no_video("it is a text file"));
        }
        let attached = ffmpeg::format::stream::Disposition::ATTACHED_PIC;
        let stream = reader
            .input
            .streams()
            .best(ffmpeg::media::Type::Video)
            .filter(|stream| !stream.disposition().contains(attached));
        let Some(stream) = stream else {
            let audio = reader.input.streams().any(|s| s.parameters().medium() == ffmpeg::media::Type::Audio);
            return Err(no_video(if audio { "it holds only sound" } else { "it holds no pictures" }));
        };
        let (number, time_base) = (stream.index(), stream.time_base());
        let decoder = open_decoder(&stream).map_err(|error| {
            no_video(&format!("no decoder for {}: {error}", stream.parameters().id().name()))
        })?;
        Ok(Self { path: path.to_owned(), number, time_base, decoder, reader, pending: None, drained: false })
    }

    fn codec_name(&self) -> String {
        self.decoder.id().name().to_owned()
    }

    /// The turn that the container asks for.
    fn rotation(&self, warnings: &mut Vec<String>) -> Rotation {
        let matrix = self.reader.input.stream(self.number).and_then(|stream| {
            let kind = ffmpeg::packet::side_data::Type::DisplayMatrix;
            stream.side_data().find(|data| data.kind() == kind).map(|data| data.data().to_vec())
        });
        let (rotation, inexact) = Rotation::from_display_matrix(&matrix.unwrap_or_default());
        if inexact {
            warnings.push(
                "the file asks for mirrored or slanted pictures; they are only turned by quarters".to_owned(),
            );
        }
        rotation
    }

    fn warn_about_pixels(&self, warnings: &mut Vec<String>) {
        use ffmpeg::util::color::TransferCharacteristic as Transfer;

        let aspect = self.decoder.aspect_ratio();
        if aspect.numerator() > 0 && aspect.numerator() != aspect.denominator() {
            warnings.push(format!(
                "pixels are not square ({}:{}); frames are used as stored",
                aspect.numerator(),
                aspect.denominator()
            ));
        }
        if matches!(
            self.decoder.color_transfer_characteristic(),
            Transfer::SMPTE2084 | Transfer::ARIB_STD_B67
        ) {
            warnings.push("high dynamic range is shown without tone mapping; colours look pale".to_owned());
        }
    }

    /// Reads all packets without decoding.
    fn scan(&mut self) -> Scan {
        let hidden_possible = self.decoder.id() == CodecId::VP8;
        let mut packets = Vec::new();
        let mut end_secs: HashMap<usize, f64> = HashMap::new();
        let mut damage = None;
        loop {
            let packet = match self.read_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => {
                    damage = Some(format!("reading stops with \"{error}\""));
                    break;
                }
            };
            let Some(pts) = packet.pts().or_else(|| packet.dts()) else { continue };
            self.note_end(&packet, pts, &mut end_secs);
            if packet.stream() != self.number {
                continue;
            }
            if packet.is_corrupt() {
                damage = Some("its last picture is incomplete".to_owned());
            }
            let invisible = hidden_possible
                && packet.data().is_some_and(|data| data.first().is_some_and(|b| b & 0x10 == 0));
            let shown = !packet.is_corrupt() && !invisible && !is_cut_off(&packet);
            packets.push(PacketFacts { pts, key: packet.is_key(), shown });
        }
        let end = end_secs.values().copied().fold(0.0, f64::max);
        let ends_early = damage.or_else(|| self.missing(packets.len(), end));
        Scan { packets, ends_early }
    }

    /// Notes the latest end of any stream, seconds from the start of the container's clock.
    fn note_end(&self, packet: &Packet, pts: i64, ends: &mut HashMap<usize, f64>) {
        let Some(stream) = self.reader.input.stream(packet.stream()) else { return };
        let start = if stream.start_time() == ffmpeg::ffi::AV_NOPTS_VALUE { 0 } else { stream.start_time() };
        let secs = (pts - start + packet.duration()) as f64 * f64::from(stream.time_base());
        let end = ends.entry(packet.stream()).or_insert(secs);
        *end = end.max(secs);
    }

    /// What the container announces but does not hold.
    fn missing(&self, packets: usize, end_secs: f64) -> Option<String> {
        let announced = self.reader.input.stream(self.number).map_or(0, |stream| stream.frames());
        if announced > packets as i64 {
            return Some(format!("{packets} of {announced} frames are there"));
        }
        let name = self.reader.input.format().name().to_owned();
        let states_duration = name.contains("mp4") || name.contains("matroska");
        let duration = self.reader.input.duration() as f64 / f64::from(ffmpeg::ffi::AV_TIME_BASE);
        (states_duration && duration - end_secs > 0.5 + 0.01 * duration)
            .then(|| format!("{end_secs:.1} of {duration:.1} seconds are there"))
    }

    /// The next packet of any stream, `None` at the end of the file.
    fn read_packet(&mut self) -> Result<Option<Packet>, ffmpeg::Error> {
        if let Some(packet) = self.pending.take() {
            return Ok(Some(packet));
        }
        let mut broken = 0;
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut self.reader.input) {
                Ok(()) => return Ok(Some(packet)),
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(ffmpeg::Error::InvalidData) if broken < MAX_BROKEN_PACKETS => broken += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn read_own_packet(&mut self) -> Result<Option<Packet>, ffmpeg::Error> {
        loop {
            match self.read_packet()? {
                Some(packet) if packet.stream() != self.number => {}
                other => return Ok(other),
            }
        }
    }

    /// The next picture in order of presentation, `None` at the end of the file.
    fn next_picture(&mut self) -> Result<Option<Picture>, ffmpeg::Error> {
        loop {
            let mut picture = Picture::empty();
            match self.decoder.receive_frame(&mut picture) {
                Ok(()) => return Ok(Some(picture)),
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(_) if self.drained => return Ok(None),
                // More packets are wanted, or a packet was damaged: both mean to go on.
                Err(error) => tracing::trace!(%error, "no picture yet"),
            }
            match self.read_own_packet() {
                Ok(Some(packet)) => {
                    if let Err(error) = self.decoder.send_packet(&packet) {
                        tracing::debug!(%error, "a packet cannot be decoded");
                    }
                }
                // A read error at the end of a damaged file: what is in the decoder still counts.
                Ok(None) | Err(_) => {
                    self.decoder.send_eof()?;
                    self.drained = true;
                }
            }
        }
    }

    /// Goes to the key packet at time `entry`, or to the start of the file.
    ///
    /// # Errors
    /// When the demuxer refuses or lands behind it.
    fn seek(&mut self, entry: Option<i64>, index: &PacketIndex) -> Result<(), ffmpeg::Error> {
        self.pending = None;
        self.drained = false;
        let Some(entry) = entry else { return self.restart() };
        let micros = entry.rescale_with(self.time_base, TIME_BASE, Rounding::Down);
        // An upper bound alone makes libavformat look backwards.
        self.reader.input.seek(micros, ..micros)?;
        self.decoder.flush();
        let first = self.read_own_packet()?.ok_or(ffmpeg::Error::Eof)?;
        let landed = first.pts().or_else(|| first.dts()).and_then(|pts| index.position(pts));
        self.pending = Some(first);
        if landed.is_none() || landed > index.position(entry) {
            return Err(ffmpeg::Error::InvalidData);
        }
        Ok(())
    }

    /// Opens the file again: works for every container.
    fn restart(&mut self) -> Result<(), ffmpeg::Error> {
        self.reader = open_reader(&self.path).map_err(|_error| ffmpeg::Error::StreamNotFound)?;
        self.decoder.flush();
        Ok(())
    }
}

/// Opens a local file and nothing else: no network, no list of other files.
fn open_reader(path: &Path) -> Result<Reader, VideoError> {
    let unreadable = |reason: String| VideoError::Unreadable { path: path.to_owned(), reason };
    let Some(text) = path.to_str() else {
        return Err(unreadable("FFmpeg needs a path in UTF-8; rename the file".to_owned()));
    };
    let options = HashMap::from([("protocol_whitelist".to_owned(), "file".to_owned())]);
    ReaderBuilder::new(PathBuf::from(format!("file:{text}"))).with_options(&options.into()).build().map_err(
        |error| match error {
            video_rs::Error::BackendError(ffmpeg::Error::InvalidData) => VideoError::NoVideo {
                path: path.to_owned(),
                reason: "it is damaged, incomplete or not a video".to_owned(),
            },
            other => unreadable(other.to_string()),
        },
    )
}

fn open_decoder(stream: &ffmpeg::Stream<'_>) -> Result<ffmpeg::decoder::Video, ffmpeg::Error> {
    let mut context = ffmpeg::codec::Context::from_parameters(stream.parameters())?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    context.set_threading(threading::Config {
        count: threads,
        ..threading::Config::kind(threading::Type::Frame)
    });
    context.decoder().video()
}

/// Presentation time of a picture, as [`PacketIndex`] counts it.
fn time_of(picture: &Picture) -> Option<i64> {
    picture.pts().or_else(|| picture.timestamp())
}

/// Whether an edit list cuts the packet off: decoded for reference, not shown.
#[expect(unsafe_code, reason = "ffmpeg-next does not name the discard flag")]
fn is_cut_off(packet: &Packet) -> bool {
    use ffmpeg::packet::Ref as _;
    // SAFETY: the packet is alive and was filled by av_read_frame.
    let flags = unsafe { (*packet.as_ptr()).flags };
    flags & ffmpeg::ffi::AV_PKT_FLAG_DISCARD != 0
}
