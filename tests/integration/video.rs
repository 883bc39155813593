//! Exact frames from real files. The clips are made here with the `ffmpeg` program;
//! every source frame carries its number as black and white blocks, so that the
//! pictures themselves say which frame was decoded.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};
use loc3r::geometry::ImageSize;
use loc3r::video::{
    Frame, FrameIndex, FrameSource, PlayerEvent, VideoError, VideoPlayer, VideoWriter, WriterSettings, open,
};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use tempfile::TempDir;

const SIZE: ImageSize = ImageSize::new(160, 96);
const BLOCK: u32 = 20;
const BITS: u32 = 8;
const COUNT: u32 = 60;

/// A picture whose top row of blocks is `number` in binary; the row below is inverted, the
/// rest is grey so that a turned or mirrored picture does not read as a number.
fn numbered(number: u32) -> RgbImage {
    RgbImage::from_fn(SIZE.width, SIZE.height, |x, y| {
        let bit = number >> (x / BLOCK) & 1 == 1;
        let value = match y / BLOCK {
            0 => u8::from(bit) * 255,
            1 => u8::from(!bit) * 255,
            _ => 96 + (number % 40) as u8,
        };
        Rgb([value; 3])
    })
}

/// The number in a decoded picture; panics when there is none.
fn number_in(frame: &Frame) -> u32 {
    assert_eq!(frame.size, SIZE);
    assert_eq!(frame.rgb.len(), SIZE.pixels() * 3);
    let at = |x: u32, y: u32| frame.rgb[((y * SIZE.width + x) * 3 + 1) as usize];
    (0..BITS).fold(0, |number, bit| {
        let (x, y) = (bit * BLOCK + BLOCK / 2, BLOCK / 2);
        let (value, inverse) = (at(x, y), at(x, y + BLOCK));
        assert!(value.abs_diff(inverse) > 128, "frame {} holds no number", frame.index.0);
        number | u32::from(value > 128) << bit
    })
}

/// Runs the ffmpeg program and says whether it succeeded.
fn try_ffmpeg(folder: &Path, arguments: &str) -> bool {
    Command::new("ffmpeg")
        .args(["-y", "-v", "error", "-nostdin"])
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("these tests need the program `ffmpeg`; install it (apt-get install ffmpeg)")
        .status
        .success()
}

fn ffmpeg(folder: &Path, arguments: &str) {
    assert!(try_ffmpeg(folder, arguments), "ffmpeg {arguments}");
}

/// A folder with the numbered pictures.
fn pictures() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..COUNT {
        numbered(number).save(folder.path().join(format!("{number}.png"))).unwrap();
    }
    folder
}

const INPUT: &str = "-framerate 30 -i %d.png";
const H264: &str = "-c:v libx264 -pix_fmt yuv420p -g 12 -sc_threshold 0";

/// Encodes the numbered pictures with `options` to `name`.
fn clip(name: &str, options: &str) -> (TempDir, PathBuf) {
    let folder = pictures();
    ffmpeg(folder.path(), &format!("{INPUT} {options} {name}"));
    let path = folder.path().join(name);
    (folder, path)
}

fn numbers(source: &mut dyn FrameSource, order: &[u32]) -> Vec<u32> {
    order.iter().map(|&index| number_in(&source.frame(FrameIndex(index)).unwrap())).collect()
}

/// Frame i holds `expected[i]`: forwards, backwards and in random order.
fn assert_exact(path: &Path, expected: &[u32]) {
    let mut source = open(path).unwrap();
    assert_eq!(source.info().frame_count() as usize, expected.len(), "{:?}", source.info());
    let forwards: Vec<u32> = (0..expected.len() as u32).collect();
    assert_eq!(numbers(source.as_mut(), &forwards), expected);
    let mut orders = vec![forwards.iter().rev().copied().collect::<Vec<u32>>()];
    for seed in 0..3 {
        let mut order = forwards.clone();
        order.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        orders.push(order);
    }
    for order in orders {
        let wanted: Vec<u32> = order.iter().map(|&index| expected[index as usize]).collect();
        // A new decoder, so that nothing comes from the cache of the pass before.
        assert_eq!(numbers(open(path).unwrap().as_mut(), &order), wanted, "in the order {order:?}");
    }
    // Read through in order, as a model does: what lies between is not kept.
    let thirds: Vec<u32> = forwards.iter().copied().step_by(3).collect();
    let wanted: Vec<u32> = thirds.iter().map(|&index| expected[index as usize]).collect();
    let mut reader = open(path).unwrap();
    reader.read_in_order();
    assert_eq!(numbers(reader.as_mut(), &thirds), wanted);
    let past = FrameIndex(expected.len() as u32);
    assert!(matches!(source.frame(past), Err(VideoError::OutOfRange { .. })));
}

fn all() -> Vec<u32> {
    (0..COUNT).collect()
}

#[test]
fn h264_with_b_frames() {
    let (_folder, path) = clip("clip.mp4", &format!("{H264} -bf 3"));
    assert_exact(&path, &all());
    let source = open(&path).unwrap();
    let info = source.info();
    assert_eq!((info.codec.as_str(), info.rotation_degrees), ("h264", 0));
    assert!(info.warnings.is_empty(), "{:?}", info.warnings);
    assert_eq!(info.keyframes, [0, 12, 24, 36, 48].map(FrameIndex));
    assert!((info.duration_secs() - 2.0).abs() < 1e-6);
}

#[test]
fn open_groups_of_pictures() {
    let (_folder, path) = clip("clip.mp4", &format!("{H264} -bf 3 -x264-params open-gop=1:b-adapt=0"));
    assert_exact(&path, &all());
}

#[test]
fn matroska_with_millisecond_clock() {
    let (_folder, path) = clip("clip.mkv", &format!("{H264} -bf 2"));
    assert_exact(&path, &all());
}

#[test]
fn transport_stream_and_mpeg4_and_vp8() {
    let (_folder, path) = clip("clip.ts", &format!("{H264} -bf 2"));
    assert_exact(&path, &all());
    let (_folder, path) = clip("clip.mp4", "-c:v mpeg4 -q:v 2 -bf 2 -g 10");
    assert_exact(&path, &all());
    let (_folder, path) = clip("clip.webm", "-c:v libvpx -b:v 2M -auto-alt-ref 1 -lag-in-frames 16 -g 20");
    assert_exact(&path, &all());
}

#[test]
fn variable_frame_rate() {
    let (_folder, path) =
        clip("clip.mp4", &format!("-vf select='lt(n,20)+not(mod(n,5))' -vsync vfr {H264} -bf 2"));
    let expected: Vec<u32> = (0..COUNT).filter(|n| *n < 20 || n % 5 == 0).collect();
    assert_exact(&path, &expected);
    let source = open(&path).unwrap();
    for (pts, number) in source.info().pts_secs.iter().zip(&expected) {
        assert!((pts - f64::from(*number) / 30.0).abs() < 2e-3, "frame {number} at {pts}");
    }
    assert_eq!(source.info().frame_at(1.0), FrameIndex(22));
    assert_eq!(source.info().frame_at(1.1), FrameIndex(22));
}

#[test]
fn non_zero_start() {
    for name in ["clip.mkv", "clip.ts", "clip.mp4"] {
        let (_folder, path) = clip(name, &format!("{H264} -bf 2 -output_ts_offset 7.5"));
        assert_exact(&path, &all());
        assert!(open(&path).unwrap().info().pts_secs[0].abs() < 1e-9);
    }
}

#[test]
fn edit_list_cuts_the_start_off() {
    let (folder, _) = clip("whole.mp4", &format!("{H264} -bf 2"));
    // Copying from the middle of a group keeps its start in the file, marked as not shown.
    ffmpeg(folder.path(), "-ss 0.5 -i whole.mp4 -c copy cut.mp4");
    let path = folder.path().join("cut.mp4");
    let first = number_in(&open(&path).unwrap().frame(FrameIndex(0)).unwrap());
    assert!((14..=16).contains(&first), "starts at {first}");
    assert_exact(&path, &(first..COUNT).collect::<Vec<u32>>());
}

#[test]
fn rotation_makes_frames_upright() {
    for (degrees, filter) in [(90, "transpose=cclock"), (180, "hflip,vflip"), (270, "transpose=clock")] {
        let (folder, _) = clip("stored.mp4", &format!("-vf {filter} {H264}"));
        // From FFmpeg 6 on an option, before that a tag; both count counter-clockwise.
        let by_option = format!("-display_rotation:v:0 -{degrees} -i stored.mp4 -c copy turned.mp4");
        if !try_ffmpeg(folder.path(), &by_option) {
            ffmpeg(
                folder.path(),
                &format!("-i stored.mp4 -c copy -metadata:s:v:0 rotate={} turned.mp4", 360 - degrees),
            );
        }
        let path = folder.path().join("turned.mp4");
        let source = open(&path).unwrap();
        assert_eq!((source.info().rotation_degrees, source.info().size), (degrees, SIZE));
        assert_exact(&path, &all());
    }
}

#[test]
fn truncated_tail() {
    for (name, options) in [("clip.mp4", "-movflags +faststart"), ("clip.mkv", "")] {
        let (_folder, path) = clip(name, &format!("{H264} -bf 2 -qp 18 {options}"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() * 6 / 10]).unwrap();
        let mut source = open(&path).unwrap();
        let info = source.info().clone();
        assert!(info.frame_count() > 5 && info.frame_count() < COUNT, "{} frames", info.frame_count());
        assert!(info.warnings.iter().any(|warning| warning.contains("ends early")), "{:?}", info.warnings);
        // What is promised can be decoded, and is in order.
        let order: Vec<u32> = (0..info.frame_count()).collect();
        let got = numbers(source.as_mut(), &order);
        assert!(got.is_sorted(), "{got:?}");
        assert_eq!(got[..5], [0, 1, 2, 3, 4]);
    }
}

#[test]
fn clip_that_starts_inside_an_open_group() {
    let (folder, _) = clip("whole.ts", &format!("{H264} -bf 3 -x264-params open-gop=1:b-adapt=0"));
    let whole = open(&folder.path().join("whole.ts")).unwrap();
    let key = whole.info().keyframes[2].0;
    // Cut the transport stream at packet boundaries until only the tail is left.
    let bytes = std::fs::read(folder.path().join("whole.ts")).unwrap();
    let cut = bytes.len() / 188 / 3 * 188;
    let path = folder.path().join("tail.ts");
    std::fs::write(&path, &bytes[cut..]).unwrap();
    let mut source = open(&path).unwrap();
    let count = source.info().frame_count();
    let got = numbers(source.as_mut(), &(0..count).collect::<Vec<u32>>());
    assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "{got:?} around key {key}");
    assert_eq!(got.last(), Some(&(COUNT - 1)));
    assert_exact(&path, &got);
}

#[test]
fn one_frame() {
    let (_folder, path) = clip("clip.mp4", &format!("-frames:v 1 {H264}"));
    assert_exact(&path, &[0]);
    assert!(open(&path).unwrap().info().duration_secs() > 0.0);
}

#[test]
fn folder_of_pictures() {
    let folder = pictures();
    assert_exact(folder.path(), &all());
}

/// The message of opening a file that must be refused.
fn refusal(path: &Path) -> String {
    match open(path) {
        Ok(source) => panic!("{} was accepted: {:?}", path.display(), source.info()),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(&path.file_name().unwrap().to_string_lossy()[..]), "{message}");
            message
        }
    }
}

#[test]
fn files_that_are_no_video_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    ffmpeg(folder.path(), "-f lavfi -i sine=duration=1 sound.mp4");
    assert!(refusal(&file("sound.mp4")).contains("only sound"));
    for name in ["text.mp4", "text.txt"] {
        std::fs::write(file(name), "This is not a film.\n".repeat(100)).unwrap();
        refusal(&file(name));
    }
    std::fs::write(file("empty.mp4"), "").unwrap();
    assert!(refusal(&file("empty.mp4")).contains("empty"));
    assert!(refusal(&file("missing.mp4")).contains("cannot open"));
    std::fs::create_dir(file("bare")).unwrap();
    assert!(refusal(&file("bare")).contains("no .png"));
    let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(file("noise.mp4"), noise).unwrap();
    refusal(&file("noise.mp4"));
    // The index of an MP4 file stands at its end; without it nothing can be read.
    ffmpeg(folder.path(), "-f lavfi -i testsrc=duration=1:size=64x64 -c:v libx264 whole.mp4");
    let bytes = std::fs::read(file("whole.mp4")).unwrap();
    std::fs::write(file("headless.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(refusal(&file("headless.mp4")).contains("incomplete"));
    // A playlist names other files and addresses; neither is opened.
    std::fs::write(file("list.m3u8"), "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
        .unwrap();
    refusal(&file("list.m3u8"));
    ffmpeg(folder.path(), "-f lavfi -i color=size=4224x64:rate=1:duration=1 -c:v mpeg4 large.mp4");
    assert!(refusal(&file("large.mp4")).contains("scale=1280"));
}

#[test]
fn written_clips_read_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written.mp4");
    let settings = WriterSettings { size: SIZE, fps: 25.0, quality: 23 };
    let mut writer = VideoWriter::create(&path, settings).unwrap();
    for number in 0..COUNT {
        writer.push(&numbered(number)).unwrap();
    }
    assert!(writer.push(&[0; 5]).is_err());
    writer.finish().unwrap();
    assert_exact(&path, &all());
    let source = open(&path).unwrap();
    assert!((source.info().duration_secs() - 2.4).abs() < 1e-3);
    let odd = WriterSettings { size: ImageSize::new(33, 32), ..settings };
    assert!(VideoWriter::create(&path, odd).unwrap_err().to_string().contains("even"));
    let nowhere = folder.path().join("no/such/folder/clip.mp4");
    assert!(VideoWriter::create(&nowhere, settings).is_err());
}

#[test]
fn colours_survive_writing_and_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("colours.mp4");
    for (size, colour) in [(SIZE, [200, 40, 60]), (ImageSize::new(1280, 720), [30, 160, 220])] {
        let mut writer = VideoWriter::create(&path, WriterSettings { size, fps: 30.0, quality: 12 }).unwrap();
        writer.push(&colour.repeat(size.pixels())).unwrap();
        writer.finish().unwrap();
        let frame = open(&path).unwrap().frame(FrameIndex(0)).unwrap();
        let got = &frame.rgb[..3];
        assert!(got.iter().zip(colour).all(|(&g, w)| g.abs_diff(w) <= 4), "{got:?} is not {colour:?}");
    }
}

#[test]
fn the_player_shows_the_exact_frame_of_the_last_request() {
    let (_folder, path) = clip("clip.mp4", &format!("{H264} -bf 3"));
    let mut player = VideoPlayer::open(&path).unwrap();
    for index in [55, 3, 40, 12, 33] {
        player.show(FrameIndex(index));
    }
    let last = player.show(FrameIndex(29));
    let exact = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        player.poll()
    })
    .take(20_000)
    .flatten()
    .find_map(|event| match event {
        PlayerEvent::Frame { frame, generation, exact: true } => Some((number_in(&frame), generation)),
        PlayerEvent::Failed(text) => panic!("{text}"),
        _ => None,
    });
    assert_eq!(exact, Some((29, last)));
}
