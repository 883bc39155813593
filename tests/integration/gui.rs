//! The app itself, on a virtual display with a software graphics driver: opens a
//! clip, asks, waits for the answer, takes a picture, ends with exit code 0.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loc3r::geometry::{
    BevPoint, BevSigma, CameraPose, ImageSize, Intrinsics, ORIENTATION_BINS, Orientation,
    OrientationHistogram,
};
use loc3r::qa::{Question, QuestionKind, Situation, SituationEstimate};
use loc3r::scene::{CameraEstimate, CameraTrack, Layout, LayoutToken, PointCloud, SceneTruth};
use loc3r::session::{
    AnswerDone, ModelInfo, ModelSight, RequestId, SessionEvent, SessionLog, Timing, TokenCounts,
};
use loc3r::train::{RunDir, SceneSnapshot, TrainConfig, TrainEvent, ValidationScene};
use loc3r::video::{FrameIndex, VideoInfo};

/// Longest time the app may take in all.
const PATIENCE: Duration = Duration::from_mins(4);
const SIZE: ImageSize = ImageSize::new(160, 120);
const FRAMES: u32 = 12;

/// A display for the app: the one that is there, or an Xvfb of our own.
struct Display {
    name: String,
    server: Option<Child>,
}

impl Display {
    fn open() -> Self {
        if let Ok(name) = std::env::var("DISPLAY") {
            return Self { name, server: None };
        }
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1440x900x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs Xvfb: install it (Debian: apt-get install xvfb) or set DISPLAY");
        // Xvfb writes the number of the display it has found free.
        let mut number = String::new();
        let mut output = std::io::BufReader::new(server.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut number).unwrap();
        assert!(!number.trim().is_empty(), "Xvfb did not start");
        Self { name: format!(":{}", number.trim()), server: Some(server) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

/// Runs the app with a script; returns its exit code and what it logged.
fn run_app(folder: &Path, script: &str, args: &[&str]) -> (Option<i32>, String) {
    let display = Display::open();
    let script_file = folder.join("script.jsonl");
    std::fs::write(&script_file, script).unwrap();
    let log = folder.join("app.log");
    let log_file = std::fs::File::create(&log).unwrap();
    let mut app = Command::new(env!("CARGO_BIN_EXE_loc3r"))
        .env("LOC3R_CACHE", "off")
        .arg("view")
        .arg("--script")
        .arg(&script_file)
        .args(args)
        .env("DISPLAY", &display.name)
        .env("WGPU_BACKEND", "vulkan")
        .env_remove("WAYLAND_DISPLAY")
        .env("XDG_RUNTIME_DIR", folder)
        .stdout(Stdio::null())
        .stderr(log_file)
        .spawn()
        .unwrap();
    let started = Instant::now();
    let code = loop {
        if let Some(status) = app.try_wait().unwrap() {
            break status.code();
        }
        if started.elapsed() > PATIENCE {
            app.kill().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    (code, std::fs::read_to_string(&log).unwrap())
}

/// A folder of pictures is a clip that needs no video encoder.
fn write_clip(folder: &Path) -> PathBuf {
    let clip = folder.join("clip");
    std::fs::create_dir(&clip).unwrap();
    for index in 0..FRAMES {
        let picture = image::RgbImage::from_fn(SIZE.width, SIZE.height, |x, y| {
            image::Rgb([(x + index * 9) as u8, (y * 2) as u8, 120])
        });
        picture.save(clip.join(format!("{index:03}.png"))).unwrap();
    }
    clip
}

/// What a session with a model would have told.
#[expect(clippy::too_many_lines, reason = "a list of events")]
fn write_session(folder: &Path, clip: &Path) -> PathBuf {
    let request = RequestId(1);
    let asked = RequestId(2);
    let camera = |frame: u32| CameraEstimate {
        frame: FrameIndex(frame),
        pose: CameraPose::looking(
            glam::Vec3::new(0.1 * frame as f32, 0.0, 0.0),
            Orientation::FORWARD,
            -0.2,
            0.0,
        ),
        intrinsics: Intrinsics::from_horizontal_fov(SIZE, 1.2),
    };
    let token = |k: u32| LayoutToken {
        frame: FrameIndex(k % 4),
        row: (k / 4 % 4) as u16,
        column: (k / 16) as u16,
        position: BevPoint::new((k % 13) as f32 * 0.3 - 2.0, (k % 7) as f32 * 0.5),
        sigma: BevSigma { x: 0.2, y: 0.1 + 0.01 * k as f32 },
        color: [(k * 4) as u8, 160, 90],
    };
    let situation = Situation { position: BevPoint::new(0.5, 1.0), orientation: Orientation::FORWARD };
    let question = Question {
        kind: QuestionKind::What,
        text: "What is behind me?".to_owned(),
        situation_text: Some("I am standing in the room".to_owned()),
        choices: Vec::new(),
    };
    let events = [
        SessionEvent::ModelLoaded {
            request,
            model: ModelInfo {
                name: "test".to_owned(),
                folder: folder.to_path_buf(),
                device: "CPU, 1 thread".to_owned(),
                parameters: 1,
                frames: 4,
                image_size: 64,
                notice: String::new(),
                card: String::new(),
            },
        },
        SessionEvent::VideoOpened {
            request,
            info: VideoInfo {
                path: clip.to_path_buf(),
                size: SIZE,
                pts_secs: (0..FRAMES).map(|i| f64::from(i) / 30.0).collect(),
                keyframes: vec![FrameIndex(0)],
                rotation_degrees: 0,
                codec: "images".to_owned(),
                container: "folder".to_owned(),
                warnings: Vec::new(),
            },
            sight: ModelSight {
                frames: (0..4).map(FrameIndex).collect(),
                size: ImageSize::new(64, 64),
                rgb: Vec::new(),
                tokens_per_frame: 16,
                prefix_tokens: 80,
            },
        },
        SessionEvent::CamerasReady {
            request,
            cameras: (0..4).map(camera).collect(),
            points: PointCloud::default(),
        },
        SessionEvent::LayoutReady {
            request,
            layout: Layout { grid: (4, 4), tokens: (0..64).map(token).collect(), floor_height: -1.4 },
            timing: Timing::default(),
            encoded_frames: 4,
            reused_tokens: 0,
        },
        SessionEvent::Started { request: asked, question: Some(question) },
        SessionEvent::SituationReady {
            request: asked,
            estimate: SituationEstimate {
                situation,
                position_sigma: BevSigma { x: 0.3, y: 0.2 },
                orientation: OrientationHistogram(vec![1.0 / ORIENTATION_BINS as f32; ORIENTATION_BINS]),
                concentration: 0.0,
            },
        },
        SessionEvent::AnswerReady {
            request: asked,
            answer: AnswerDone {
                text: "a red chair".to_owned(),
                confidence: 0.9,
                prompt: "prompt".to_owned(),
                tokens: TokenCounts { prompt: 100, reused: 80, generated: 4 },
                timing: Timing::default(),
            },
        },
    ];
    let path = folder.join("clip.session.jsonl");
    let mut log = SessionLog::create(&path).unwrap();
    for event in &events {
        log.append(event).unwrap();
    }
    path
}

/// Number of different colours on a coarse raster of a picture.
fn colours(path: &Path) -> usize {
    let picture = image::open(path).unwrap().to_rgb8();
    let raster = picture.enumerate_pixels().filter(|(x, y, _)| x % 5 == 0 && y % 5 == 0);
    raster.map(|(_, _, pixel)| pixel.0).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn shows_clip_layout_and_answer() {
    let folder = tempfile::tempdir().unwrap();
    let clip = write_clip(folder.path());
    let session = write_session(folder.path(), &clip);
    let (orbit, map) = (folder.path().join("orbit.png"), folder.path().join("map.png"));
    let script = format!(
        "{{\"open_video\": {clip:?}}}\n{{\"wait_for\": \"video\"}}\n{{\"wait_for\": \"answer\"}}\n\
         {{\"expect_answer\": \"Chair\"}}\n{{\"step\": 3}}\n{{\"wait_for\": \"video\"}}\n{{\"screenshot\": {orbit:?}}}\n\
         {{\"set_camera_mode\": \"top\"}}\n{{\"set_layer_visible\": [\"layout\", false]}}\n\
         {{\"place_situation\": {{\"position\": {{\"x\": 1.0, \"y\": 1.0}}, \"orientation\": 0.5}}}}\n\
         {{\"screenshot\": {map:?}}}\n\"quit\"\n"
    );
    let (code, log) = run_app(folder.path(), &script, &["--replay", session.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{log}");
    assert!(colours(&orbit) > 300, "the picture is nearly blank: {} colours", colours(&orbit));
    assert_ne!(std::fs::read(&orbit).unwrap(), std::fs::read(&map).unwrap());
}

/// A run that was stopped, with one held-out room.
fn write_run(folder: &Path) -> PathBuf {
    let config = TrainConfig::preset("tiny").unwrap();
    let run = RunDir::create(&folder.join("run"), &config).unwrap();
    let stage = || "joint".to_owned();
    let pose = |k: u32| {
        CameraPose::looking(glam::Vec3::new(0.2 * k as f32, 0.0, 0.0), Orientation::FORWARD, -0.2, 0.0)
    };
    let cameras: Vec<CameraPose> = (0..8).map(pose).collect();
    let token = |k: u32| [(k % 13) as f32 * 0.3 - 2.0, (k % 7) as f32 * 0.5, 0.2, 0.3];
    let room = ValidationScene {
        seed: 8_000_000,
        grid: (4, 4),
        floor_height: -1.4,
        predicted: (0..128).map(token).collect(),
        targets: (0..128).map(|k| Some([token(k)[0] + 0.4, token(k)[1] - 0.2])).collect(),
        colors: (0..128).map(|k| [2 * k as u8, 160, 90]).collect(),
        cameras: cameras.clone(),
        truth: SceneTruth {
            objects: Vec::new(),
            rooms: vec![[(-3.0, -1.0), (3.0, -1.0), (3.0, 5.0), (-3.0, 5.0)].map(glam::Vec2::from).to_vec()],
            track: CameraTrack { poses: cameras },
            intrinsics: Intrinsics::from_horizontal_fov(SIZE, 1.2),
        },
        situations: Vec::new(),
    };
    let mut events = vec![TrainEvent::StageStarted { stage: stage(), step: 0, steps: 100, parameters: 9 }];
    events.extend((1..=60).map(|step| TrainEvent::Step {
        stage: stage(),
        step,
        learning_rate: 1e-3,
        metrics: [("loss".to_owned(), 4.0 / step as f64), ("layout".to_owned(), 1.0)].into(),
        secs: 0.1,
        waited_secs: 0.0,
        frames: 8,
    }));
    events.push(TrainEvent::Scenes(SceneSnapshot { stage: stage(), step: 60, scenes: vec![room] }));
    events.push(TrainEvent::Stopped { stage: stage(), step: 60 });
    for event in &events {
        run.log(event).unwrap();
    }
    run.path().to_path_buf()
}

#[test]
fn follows_a_training_run_and_survives_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let run = write_run(folder.path());
    let (orbit, alone) = (folder.path().join("orbit.png"), folder.path().join("alone.png"));
    let script = format!(
        "{{\"wait_for\": \"run\"}}\n{{\"screenshot\": {orbit:?}}}\n\
         {{\"set_layer_visible\": [\"true_layout\", false]}}\n\
         {{\"step_validation\": -1}}\n{{\"step_room\": 1}}\n{{\"screenshot\": {alone:?}}}\n\"quit\"\n"
    );
    let (code, log) = run_app(folder.path(), &script, &[run.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{log}");
    assert!(colours(&orbit) > 200, "the picture is nearly blank: {} colours", colours(&orbit));
    assert_ne!(std::fs::read(&orbit).unwrap(), std::fs::read(&alone).unwrap());
}

#[test]
fn a_missing_clip_and_a_wrong_script_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (code, log) =
        run_app(folder.path(), "{\"open_video\": \"no-such-clip.mp4\"}\n{\"wait_for\": \"video\"}\n", &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("no-such-clip.mp4"), "{log}");
    let (code, log) = run_app(folder.path(), "\"dance\"\n", &[]);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("line 1"), "{log}");
}
