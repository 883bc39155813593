//! The benchmark `rooms`: generated scenes of the held-out seeds in three tiers,
//! rendered when they are needed, with exact truth.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use glam::Vec2;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::geometry::{AnchorFrame, BevPoint, CameraPose, ImageSize, Intrinsics};
use crate::scene::{token_points, token_targets};
use crate::synth::{
    HELD_OUT_SEEDS, Quality, QuestionOptions, Renderer, SynthQuestion, SynthScene, Tier, Walk,
    generate_questions, generate_scene, generate_walk,
};
use crate::video::{Frame, FrameIndex, FrameSampling, FrameSpacing, VideoInfo, frames_to_read};

/// What a clip of the benchmark is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipOptions {
    /// Frames that the model looks at.
    pub frames: NonZeroU32,
    /// Side of its square pictures, pixels.
    pub image_size: u32,
    /// How closely the model follows the video between them.
    pub spacing: Option<FrameSpacing>,
    /// Questions about each clip.
    pub questions: QuestionOptions,
}

#[cfg(test)]
impl ClipOptions {
    /// Clips that take next to no time: two frames of 16 pixels.
    pub(super) fn small(questions: QuestionOptions) -> Self {
        Self { frames: NonZeroU32::MIN.saturating_add(1), image_size: 16, spacing: None, questions }
    }
}

/// One clip with questions and truth.
#[derive(Debug, Clone)]
pub struct BenchmarkClip {
    /// The scene's seed.
    pub seed: u64,
    /// How hard it is.
    pub tier: Tier,
    /// Facts about the (never written) video.
    pub info: VideoInfo,
    /// Sampled frames, squashed to squares; empty for baselines that do not look.
    pub frames: Vec<Frame>,
    /// Frames between them for models that follow the video.
    pub between: Vec<Frame>,
    /// Questions; situations in the bev space.
    pub questions: Vec<SynthQuestion>,
    /// True pose of every sampled frame, anchor space.
    pub poses: BTreeMap<FrameIndex, CameraPose>,
    /// Middle of all rooms, bev space.
    pub room_center: BevPoint,
    /// Height of the first camera above the floor, metres.
    pub camera_height: f32,
    /// Width of all directions the camera saw, degrees in [0, 360].
    pub coverage_deg: f32,
    depth: BTreeMap<FrameIndex, Vec<f32>>,
    intrinsics: Intrinsics,
}

impl BenchmarkClip {
    /// Clip `index` of the benchmark.
    pub fn held_out(index: u64, options: &ClipOptions) -> Self {
        Self::generate(HELD_OUT_SEEDS + index, Tier::of(index), options)
    }

    /// The clip of any seed, pictures included.
    pub fn generate(seed: u64, tier: Tier, options: &ClipOptions) -> Self {
        let (scene, walk, questions) = scene_of(seed, tier, options);
        let name = format!("generated room {seed}");
        Self::without_pictures(name, (seed, tier), &scene, &walk, questions, options)
            .with_pictures(&scene, &walk, options)
    }

    /// Questions and answers of a seed, for baselines that learn from words alone.
    pub fn questions_of(seed: u64, tier: Tier, options: &ClipOptions) -> Vec<SynthQuestion> {
        scene_of(seed, tier, options).2
    }

    /// The clip of a walk through a scene, for baselines that do not look.
    pub(super) fn without_pictures(
        name: String,
        (seed, tier): (u64, Tier),
        scene: &SynthScene,
        walk: &Walk,
        questions: Vec<SynthQuestion>,
        options: &ClipOptions,
    ) -> Self {
        let first = walk.track.poses.first().copied().unwrap_or(CameraPose::IDENTITY);
        let anchor = AnchorFrame::from_first_camera(&first);
        let info = VideoInfo {
            path: PathBuf::from(name),
            size: walk.intrinsics.size,
            pts_secs: (0..walk.track.poses.len()).map(|i| i as f64 / f64::from(walk.fps)).collect(),
            keyframes: vec![FrameIndex(0)],
            rotation_degrees: 0,
            codec: "rendered".to_owned(),
            container: "none".to_owned(),
            warnings: Vec::new(),
        };
        let sampled = (FrameSampling::Uniform { frames: options.frames }).indices(&info);
        let pose_of = |index: FrameIndex| walk.track.poses.get(index.0 as usize).copied();
        let poses: BTreeMap<FrameIndex, CameraPose> = sampled
            .into_iter()
            .filter_map(|index| Some((index, anchor.anchor_pose(&pose_of(index)?))))
            .collect();
        let corners = || scene.rooms.iter().flat_map(|room| room.polygon.iter().copied());
        let (low, high) =
            corners().fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(a, b), p| (a.min(p), b.max(p)));
        Self {
            seed,
            tier,
            info,
            frames: Vec::new(),
            between: Vec::new(),
            questions,
            room_center: anchor.bev_from_world(((low + high) * 0.5).extend(0.0)),
            camera_height: first.position.z,
            coverage_deg: coverage(&poses, walk.intrinsics.horizontal_fov()),
            poses,
            depth: BTreeMap::new(),
            intrinsics: walk.intrinsics,
        }
    }

    /// The same with the pictures of its walk.
    pub(super) fn with_pictures(mut self, scene: &SynthScene, walk: &Walk, options: &ClipOptions) -> Self {
        let size = ImageSize::new(options.image_size, options.image_size);
        let intrinsics = walk.intrinsics.resized(size);
        let renderer = Renderer::new(scene);
        let sampled = (FrameSampling::Uniform { frames: options.frames }).indices(&self.info);
        for index in frames_to_read(options.spacing, &self.info.pts_secs, &sampled) {
            let Some(pose) = walk.track.poses.get(index.0 as usize) else { continue };
            let view = renderer.render(pose, &intrinsics, Quality::Fast);
            let pts_secs = self.info.pts_secs.get(index.0 as usize).copied().unwrap_or(0.0);
            let frame = Frame { index, pts_secs, size, rgb: view.rgb.into() };
            match sampled.iter().filter(|sampled| **sampled == index).count() {
                0 => self.between.push(frame),
                times => {
                    self.frames.extend(std::iter::repeat_n(frame, times));
                    self.depth.insert(index, view.depth);
                }
            }
        }
        self.intrinsics = intrinsics;
        self
    }

    /// True bev positions per frame and cell of a token grid (rows, columns).
    pub fn layout_targets(&self, grid: (usize, usize)) -> BTreeMap<FrameIndex, Vec<Option<BevPoint>>> {
        self.depth
            .iter()
            .filter_map(|(frame, depth)| {
                let pose = self.poses.get(frame)?;
                let size = self.intrinsics.size;
                Some((*frame, token_targets(depth, size, &self.intrinsics, pose, grid)))
            })
            .collect()
    }

    /// True anchor-space points of all sampled frames' tokens, frame-major.
    pub fn token_points(&self, grid: (usize, usize)) -> Vec<Option<glam::Vec3>> {
        self.frames
            .iter()
            .flat_map(|frame| match (self.depth.get(&frame.index), self.poses.get(&frame.index)) {
                (Some(depth), Some(pose)) => {
                    token_points(depth, self.intrinsics.size, &self.intrinsics, pose, grid)
                }
                _ => vec![None; grid.0 * grid.1],
            })
            .collect()
    }

    /// Distance from a point to the nearest sampled camera, metres; infinite without cameras.
    pub fn distance_to_path(&self, point: BevPoint) -> f32 {
        self.poses
            .values()
            .map(|pose| BevPoint::from(pose.position.truncate()).distance(point))
            .fold(f32::INFINITY, f32::min)
    }
}

/// Scene, walk and questions of a seed.
fn scene_of(seed: u64, tier: Tier, options: &ClipOptions) -> (SynthScene, Walk, Vec<SynthQuestion>) {
    let config = tier.config();
    let scene = generate_scene(seed, &config);
    let walk = generate_walk(&scene, seed, &config);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5155_4553);
    let questions = generate_questions(&scene, &walk, &mut rng, &options.questions);
    (scene, walk, questions)
}

/// Width of the union of all horizontal fields of view, degrees.
fn coverage(poses: &BTreeMap<FrameIndex, CameraPose>, fov: f32) -> f32 {
    let seen = (0..360).filter(|degree| {
        let direction = crate::geometry::Orientation::from_degrees(*degree as f32);
        poses.values().any(|pose| pose.heading().distance(direction) <= 0.5 * fov)
    });
    seen.count() as f32
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;
    use crate::evaluate::baselines::Oracle;
    use crate::evaluate::{ClipFacts, Grouping, Metric, Predictor as _, Value, values_of};

    fn options() -> ClipOptions {
        ClipOptions {
            frames: NonZeroU32::new(3).unwrap(),
            image_size: 32,
            spacing: None,
            questions: QuestionOptions { situations: 3, room_questions: 3, ..QuestionOptions::default() },
        }
    }

    #[test]
    fn clips_repeat_and_carry_their_truth() {
        let clip = BenchmarkClip::held_out(1, &options());
        assert_eq!(clip.tier, Tier::ClutteredRoom);
        assert_eq!(clip.seed, HELD_OUT_SEEDS + 1);
        assert_eq!(clip.frames.len(), 3);
        assert_eq!(clip.questions, BenchmarkClip::held_out(1, &options()).questions);
        assert!(!clip.questions.is_empty());
        let targets = clip.layout_targets((4, 4));
        let known = targets.values().flatten().flatten().count();
        assert!(known > 30, "{known} of 48 cells");
        // The first camera is the origin of the bev space and looks forward.
        let first = clip.poses.values().next().unwrap();
        assert!(first.position.length() < 1e-4);
        assert!((first.heading().degrees() - 90.0).abs() < 0.1);
    }

    /// Clip `index` of the benchmark as the bundled model samples it, without pictures; with
    /// questions only where it is `asked`, since these look at the scene.
    fn unpictured(index: u64, asked: bool) -> BenchmarkClip {
        let options = ClipOptions {
            frames: NonZeroU32::new(32).unwrap(),
            questions: QuestionOptions::default(),
            ..options()
        };
        let (seed, tier) = (HELD_OUT_SEEDS + index, Tier::of(index));
        let config = tier.config();
        let scene = generate_scene(seed, &config);
        let walk = generate_walk(&scene, seed, &config);
        let questions = if asked { BenchmarkClip::questions_of(seed, tier, &options) } else { Vec::new() };
        BenchmarkClip::without_pictures(String::new(), (seed, tier), &scene, &walk, questions, &options)
    }

    /// Each of `names` is the group of at least ten of `groups`, and there is no other one.
    fn all_populated(grouping: Grouping, names: &[&str], groups: impl Iterator<Item = Option<String>>) {
        let mut counts: BTreeMap<String, usize> = names.iter().map(|name| ((*name).to_owned(), 0)).collect();
        for group in groups {
            *counts.entry(group.unwrap()).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count >= 10), "{}: {counts:?}", grouping.key());
        assert_eq!(counts.len(), names.len(), "{}: {counts:?}", grouping.key());
    }

    #[test]
    fn the_benchmark_has_clips_of_every_tier_and_viewpoint() {
        let clips: Vec<ClipFacts> =
            (0..500u64).into_par_iter().map(|index| ClipFacts::of(&unpictured(index, false))).collect();
        for (grouping, names) in [
            (Grouping::Tier, ["sparse_room", "cluttered_room", "several_rooms"]),
            (Grouping::Coverage, ["below 180°", "180-300°", "above 300°"]),
            (Grouping::CameraHeight, ["below 1.4 m", "1.4-1.6 m", "above 1.6 m"]),
        ] {
            let group = |clip: u32| {
                let (metric, value, kind) = (Metric::ExactMatch, 0.0, None);
                grouping.of(&clips, &Value { metric, clip, value, kind, path_distance: None, sigma: None })
            };
            all_populated(grouping, &names, (0..500).map(group));
        }
    }

    #[test]
    fn the_benchmark_has_situations_at_every_distance_and_answers_of_every_kind() {
        let values: Vec<Value> = (0..60u64)
            .into_par_iter()
            .flat_map_iter(|index| {
                let clip = unpictured(index, true);
                let said = Oracle.predict(&clip).unwrap();
                values_of(index as u32, &clip, &said)
            })
            .collect();
        let of = |metric| values.iter().filter(move |value: &&Value| value.metric == metric);
        let grouping = Grouping::PathDistance;
        let names = ["below 0.5 m", "0.5-1.5 m", "above 1.5 m"];
        all_populated(grouping, &names, of(Metric::Acc1m).map(|value| grouping.of(&[], value)));
        for metric in [Metric::ExactMatch, Metric::ChoiceAccuracy, Metric::MeanRelativeAccuracy] {
            assert!(of(metric).count() >= 50, "{metric:?}: {}", of(metric).count());
        }
    }

    #[test]
    fn a_full_turn_covers_everything() {
        let looking = |i: u32| {
            let heading = crate::geometry::Orientation::from_degrees(i as f32 * 45.0);
            (FrameIndex(i), CameraPose::looking(glam::Vec3::ZERO, heading, 0.0, 0.0))
        };
        assert_eq!(coverage(&(0..8).map(looking).collect(), 1.0), 360.0);
        assert!((coverage(&(0..1).map(looking).collect(), 1.0) - 57.0).abs() < 2.0);
    }
}
