//! Frames that the model watches as they come, as while a video is decoded: the same is perceived
//! as in a clip that is there as a whole.

use std::ops::ControlFlow;

use candle_core::{DType, Device};
use loc3r::geometry::ImageSize;
use loc3r::model::config::{CameraEncoderConfig, ModelConfig};
use loc3r::model::cut3r::{Cut3rConfig, HeadKind};
use loc3r::model::{Clip, Loc3rModel, ModelError, Perception, VideoStep, Watched, preprocess};
use loc3r::video::{Frame, FrameIndex};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::model::{clip, full_config};

const DEVICE: Device = Device::Cpu;

#[test]
fn frames_watched_as_they_come_are_perceived_as_a_clip_is() {
    let clip = clip(1);
    // A short video repeats frames; a long one has some between them, more than one pass takes.
    let repeated = [0, 0, 2, 3].map(|k: usize| clip.frames[k].clone());
    let short = Clip { frames: repeated.to_vec(), ..clip.clone() };
    let pictures = clip.frames.iter().cycle();
    let between = pictures.zip(1..39).map(|(frame, k)| Frame { index: FrameIndex(k), ..frame.clone() });
    let long = Clip { between: between.filter(|frame| frame.index.0 % 10 != 0).collect(), ..clip.clone() };
    let cases = [
        (full_config(), clip.clone()),
        (full_config(), short.clone()),
        (full_config(), long),
        (ModelConfig::tiny(), short),
    ];
    for (config, clip) in cases {
        let model = Loc3rModel::random(&config, 3, &DEVICE).unwrap();
        let perceived = model.perceive(&clip, &mut |_| ControlFlow::Continue(())).unwrap();
        let side = model.config().vision.image_size as u32;
        let pictures: Vec<(&[u8], ImageSize)> = clip.frames.iter().map(|f| (&*f.rgb, f.size)).collect();
        let squares = preprocess::squares(&pictures, side, config.frame_fit);
        let size = ImageSize::new(side, side);
        let pixels = preprocess::pixels(&squares, size, DType::F32, &DEVICE).unwrap();
        let features = model.network().vision.forward(&pixels).unwrap();
        let apart = (&features - &perceived.features).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 1e-4 && squares.concat() == perceived.sight_rgb);
        let sampled: Vec<FrameIndex> = clip.frames.iter().map(|frame| frame.index).collect();
        let mut watched = Watched::of(&clip.info);
        let mut once = [&clip.frames[..], &clip.between].concat();
        once.sort_by_key(|frame| frame.index);
        once.dedup_by_key(|frame| frame.index);
        for frame in once {
            model.watch(&mut watched, frame).unwrap();
        }
        assert_eq!(model.sight(&mut watched, &sampled).unwrap(), perceived.sight_rgb);
        assert!(model.sight(&mut watched, &[FrameIndex(99)]).unwrap_err().to_string().contains("frame 99"));
        let again = model.perceive_watched(watched, &sampled, &mut |_| ControlFlow::Continue(())).unwrap();
        let numbers = |perception: &Perception| perception.features.flatten_all().unwrap().to_vec1::<f32>();
        assert_eq!(numbers(&again).unwrap(), numbers(&perceived).unwrap());
        assert_eq!((&again.frames, &again.secs), (&sampled, &perceived.secs));
        assert_eq!(again.features.dim(0).unwrap(), clip.frames.len());
        assert!(again.camera.is_none_or(|camera| camera.poses.len() == clip.frames.len()));
    }
}

/// The tiny model with a small CUT3R.
fn cut3r_config() -> ModelConfig {
    let cut3r = Cut3rConfig {
        enc_embed_dim: 16,
        enc_depth: 2,
        enc_num_heads: 2,
        dec_embed_dim: 24,
        dec_depth: 4,
        dec_num_heads: 2,
        state_dec_num_heads: 3,
        state_size: 6,
        local_mem_size: 5,
        heads: Some(HeadKind::Linear),
        image_size: 48,
        ..Cut3rConfig::published()
    };
    ModelConfig { camera: CameraEncoderConfig::Cut3r(cut3r), camera_token_dim: 24, ..ModelConfig::tiny() }
}

#[test]
fn cut3r_goes_on_while_frames_come_and_gives_what_it_gives_at_the_end() {
    let model = Loc3rModel::random(&cut3r_config(), 3, &DEVICE).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut clip = clip(1);
    let frame = clip.frames[0].clone();
    clip.frames = (0..13)
        .map(|index| Frame {
            index: FrameIndex(3 * index),
            rgb: frame.rgb.iter().map(|_| rng.random()).collect(),
            ..frame.clone()
        })
        .collect();
    let once: Vec<FrameIndex> = clip.frames.iter().map(|frame| frame.index).collect();
    // The third frame is sampled twice.
    let twice = [&once[..3], &once[2..]].concat();
    for sampled in [once, twice] {
        let camera_of = |perception: Perception| {
            let camera = perception.camera.unwrap();
            let tokens = camera.tokens.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (tokens, camera.poses, camera.points, camera.floor_height)
        };
        // `early` frames are looked at one by one, without waiting for a pass of the tower.
        let watched = |follow: bool, early: usize| {
            let (mut watched, mut known) = (Watched::of(&clip.info), 0);
            for (at, frame) in clip.frames.iter().enumerate() {
                model.watch(&mut watched, frame.clone()).unwrap();
                if at < early {
                    model.sight(&mut watched, &[frame.index]).unwrap();
                }
                if follow {
                    model
                        .follow(&mut watched, &sampled, &mut |step| {
                            if let VideoStep::Camera { so_far, total, .. } = step {
                                assert_eq!(total, sampled.len());
                                known = so_far.len();
                            }
                            ControlFlow::Continue(())
                        })
                        .unwrap();
                }
            }
            let mut told = known;
            let mut observe = |step: VideoStep<'_>| {
                if let VideoStep::Camera { so_far, .. } = step {
                    assert!(so_far.len() >= told, "{} after {told}", so_far.len());
                    told = so_far.len();
                }
                ControlFlow::Continue(())
            };
            let perception = model.perceive_watched(watched, &sampled, &mut observe).unwrap();
            assert_eq!(told, sampled.len());
            (known, camera_of(perception))
        };
        let (known, at_the_end) = watched(false, 0);
        assert_eq!((known, at_the_end.1.len()), (0, sampled.len()));
        let (known, as_they_come) = watched(true, 0);
        // Two passes of the tower would be 16 frames: the first one's were decoded before the last came.
        assert_eq!(known, 8);
        assert_eq!(as_they_come, at_the_end);
        let (known, one_by_one) = watched(true, 13);
        assert_eq!(known, 12);
        assert_eq!(one_by_one, at_the_end);
    }
    let at_once = model.perceive(&clip, &mut |_| ControlFlow::Continue(())).unwrap().camera.unwrap();
    assert_eq!(at_once.poses.len(), 13);
}

#[test]
fn cut3r_can_be_stopped_while_frames_come() {
    let model = Loc3rModel::random(&cut3r_config(), 3, &DEVICE).unwrap();
    let clip = clip(1);
    let sampled: Vec<FrameIndex> = clip.frames.iter().map(|frame| frame.index).collect();
    let mut watched = Watched::of(&clip.info);
    for frame in &clip.frames {
        model.watch(&mut watched, frame.clone()).unwrap();
    }
    model.sight(&mut watched, &sampled).unwrap();
    let mut steps = 0;
    let stopped = model.follow(&mut watched, &sampled, &mut |_| {
        steps += 1;
        if steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(ModelError::Cancelled)) && steps == 2);
}

#[test]
fn frames_out_of_order_or_of_the_wrong_size_are_refused() {
    let model = Loc3rModel::random(&full_config(), 3, &DEVICE).unwrap();
    let clip = clip(1);
    let mut watched = Watched::of(&clip.info);
    model.watch(&mut watched, clip.frames[1].clone()).unwrap();
    let late = model.watch(&mut watched, clip.frames[0].clone()).unwrap_err().to_string();
    assert!(late.contains("too late"), "{late}");
    let cut = Frame { rgb: vec![0; 5].into(), ..clip.frames[2].clone() };
    let cut = model.watch(&mut watched, cut).unwrap_err().to_string();
    assert!(cut.contains("5 bytes"), "{cut}");
}
