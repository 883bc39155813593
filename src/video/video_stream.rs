//! The demuxer and decoder of the one video stream of a file: packets, pictures and
//! seeks to key packets.
//!
//! video-rs opens the file; its own seeking and timestamps are not exact, so packets and
//! pictures are taken from FFmpeg directly. Times are in ticks of the stream.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ffmpeg_next as ffmpeg;

use ffmpeg::codec::{Id as CodecId, threading};
use ffmpeg::frame::Video as Picture;
use ffmpeg::rescale::{Rescale as _, TIME_BASE};
use ffmpeg::{Packet, Rational, Rounding};
use video_rs::{Reader, ReaderBuilder};

use super::VideoError;
use super::convert::Rotation;
use super::packet_index::{PacketFacts, PacketIndex};

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

/// What one pass over all packets found.
pub(super) struct Scan {
    pub packets: Vec<PacketFacts>,
    /// Why the end of the file is missing.
    pub ends_early: Option<String>,
}

/// The demuxer and decoder of one video stream.
pub(super) struct VideoStream {
    path: PathBuf,
    reader: Reader,
    number: usize,
    pub time_base: Rational,
    pub decoder: ffmpeg::decoder::Video,
    /// The first packet after a seek, read to see where it landed.
    pending: Option<Packet>,
    /// All packets have been sent to the decoder.
    drained: bool,
}

impl VideoStream {
    pub(super) fn open(path: &Path) -> Result<Self, VideoError> {
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

    pub(super) fn codec_name(&self) -> String {
        self.decoder.id().name().to_owned()
    }

    /// Name of the container.
    pub(super) fn container_name(&self) -> String {
        self.reader.input.format().name().to_owned()
    }

    /// The turn that the container asks for.
    pub(super) fn rotation(&self, warnings: &mut Vec<String>) -> Rotation {
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

    pub(super) fn warn_about_pixels(&self, warnings: &mut Vec<String>) {
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
    pub(super) fn scan(&mut self) -> Scan {
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
        let name = self.container_name();
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
    pub(super) fn next_picture(&mut self) -> Result<Option<Picture>, ffmpeg::Error> {
        loop {
            let mut picture = Picture::empty();
            match self.decoder.receive_frame(&mut picture) {
                Ok(()) => return Ok(Some(picture)),
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(_) if self.drained => return Ok(None),
                // More packets are wanted, or a packet was damaged: both mean to go on.
                Err(error) => tracing::trace!(%error, "no picture yet"),
            }
            // A read error at the end of a damaged file: what is in the decoder still counts.
            if let Ok(Some(packet)) = self.read_own_packet() {
                if let Err(error) = self.decoder.send_packet(&packet) {
                    tracing::debug!(%error, "a packet cannot be decoded");
                }
            } else {
                self.decoder.send_eof()?;
                self.drained = true;
            }
        }
    }

    /// Goes to the key packet at time `entry`, or to the start of the file.
    ///
    /// # Errors
    /// When the demuxer refuses or lands behind it.
    pub(super) fn seek(&mut self, entry: Option<i64>, index: &PacketIndex) -> Result<(), ffmpeg::Error> {
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
pub(super) fn time_of(picture: &Picture) -> Option<i64> {
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
