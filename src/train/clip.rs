//! Rendered training clips with the truth that the stages need: per view the
//! picture, per cell its category, colour and levelled point, per frame the pose.
//!
//! Cells: the grid of `2 * grid` x `2 * grid` squares of a picture, raster order
//! (see [`crate::model::odometry::dense_head`]).

use glam::{Vec2, Vec3};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::config::DataConfig;
use crate::geometry::{AnchorFrame, BevPoint, CameraPose, ImageSize, Intrinsics, Orientation, wrap_angle};
use crate::model::ModelConfig;
use crate::model::odometry::planar::PlanarPose;
use crate::scene::{CameraTrack, SceneObject, SceneTruth, pooled_cell};
use crate::synth::{
    self, FIRST_OBJECT, Quality, QuestionOptions, RenderedView, Renderer, SynthConfig, SynthQuestion,
    SynthScene, Tier, Walk, generate_questions, surface,
};
use crate::video::{FrameIndex, FrameSpacing};

/// Class 0 of categories and colours: nothing was hit, or no colour applies.
pub const NO_CLASS: u8 = 0;
/// Cells that show no object.
pub const NO_OBJECT: u16 = u16::MAX;
/// Names of the surfaces, classes 0 to 3 of the categories.
const SURFACES: [&str; 4] = ["none", "wall", "floor", "ceiling"];

/// Names of the category classes.
pub fn category_names() -> Vec<String> {
    SURFACES.iter().chain(synth::CATEGORIES).map(|&name| name.to_owned()).collect()
}

/// Names of the colour classes.
pub fn color_names() -> Vec<String> {
    std::iter::once(&"none").chain(synth::COLORS).map(|&name| name.to_owned()).collect()
}

/// Whether a category class is an object (not a surface).
pub fn is_object(category: u8) -> bool {
    usize::from(category) >= SURFACES.len()
}

/// One picture with its truth.
#[derive(Debug, Clone)]
pub struct ClipView {
    /// Row-major RGB of the square picture.
    pub rgb: Vec<u8>,
    /// Category class per cell.
    pub category: Vec<u8>,
    /// Colour class per cell; [`NO_CLASS`] on surfaces.
    pub color: Vec<u8>,
    /// Number of the object per cell ([`Clip::objects`]); [`NO_OBJECT`] on surfaces.
    pub object: Vec<u16>,
    /// Per cell: right and forward of the camera, height above the floor, metres;
    /// not finite where nothing was hit.
    pub point: Vec<Vec3>,
    /// Levelled motion from this view to the first one of the clip.
    pub planar: PlanarPose,
    /// Camera height (m), pitch, roll (radians), ln(fx / width), ln(fy / height).
    pub view: [f32; 5],
    /// Anchor-space point per token of the pooled grid; its bev position is the layout target.
    pub token_points: Vec<Option<Vec3>>,
}

/// The walk as a camera encoder follows it: closely spaced pictures, the views among them.
#[derive(Debug, Clone)]
pub struct ClipFootage {
    /// Row-major RGB of the square pictures.
    pub rgb: Vec<Vec<u8>>,
    /// Seconds since the walk began.
    pub secs: Vec<f64>,
    /// Which pictures are the views.
    pub sampled: Vec<usize>,
    /// Width over height of the video before it was squashed.
    pub aspect: f32,
}

/// Views of one walk through one scene.
#[derive(Debug, Clone, Default)]
pub struct Clip {
    /// In order of time.
    pub views: Vec<ClipView>,
    /// Questions about the walk, bev space of the first view; empty unless asked for.
    pub questions: Vec<SynthQuestion>,
    /// Centres of the scene's objects in the bev space, by object number.
    pub objects: Vec<BevPoint>,
    /// Where their fronts face, bev axes; `None` for things without a front.
    pub fronts: Vec<Option<Orientation>>,
    /// Their category classes.
    pub categories: Vec<u8>,
    /// Their colour classes; [`NO_CLASS`] where no colour applies.
    pub colors: Vec<u8>,
    /// Category names that mean one object only, with its number.
    pub named_alone: Vec<(String, usize)>,
    /// Pictures between the views; `None` unless asked for.
    pub footage: Option<ClipFootage>,
}

/// Which views of a walk make a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ViewChoice {
    /// `views` frames, neighbours `gap` seconds apart, from somewhere in the walk.
    Burst {
        /// How many.
        views: usize,
        /// Shortest and longest distance of neighbours, seconds.
        gap: (f32, f32),
    },
    /// `views` frames spread evenly over the whole walk, as the model samples videos.
    Spread {
        /// How many.
        views: usize,
    },
}

/// Side length of small rooms, metres.
const SMALL_ROOM: (f32, f32) = (2.4, 5.0);

/// Makes clips.
#[derive(Debug, Clone, Copy)]
pub struct ClipMaker {
    /// Rooms and pictures.
    pub data: DataConfig,
    /// Side of the square picture, pixels.
    pub image_size: u32,
    /// Side of the grid of vision tokens.
    pub grid: usize,
    /// Side of the pooled grid.
    pub pooled_grid: usize,
    /// Which views.
    pub choice: ViewChoice,
    /// How closely the walk is rendered between the views; `None` for the views alone.
    pub spacing: Option<FrameSpacing>,
    /// Number of situated questions.
    pub questions: usize,
    /// Rooms and wordings of the benchmark `rooms` instead of those of training.
    pub as_benchmark: bool,
    /// How far rooms have grown, from 0 (one sparse room, a short walk) to 1 (the whole range).
    pub growth: f32,
}

/// Pictures a second of walks that are followed between the views.
const FOLLOWED_FPS: f32 = 12.0;

impl ClipMaker {
    /// Pictures as `model` sees them, no footage between the views and no questions.
    pub fn new(model: &ModelConfig, data: DataConfig, choice: ViewChoice) -> Self {
        Self {
            data,
            image_size: model.vision.image_size as u32,
            grid: model.vision.grid(),
            pooled_grid: model.token_grid(),
            choice,
            spacing: None,
            questions: 0,
            as_benchmark: false,
            growth: 1.0,
        }
    }

    /// The same with rooms as they are when `made` of `growing` steps are done.
    #[must_use]
    pub fn grown(self, made: u64, growing: u64) -> Self {
        let growth = if growing == 0 { 1.0 } else { (made as f32 / growing as f32).min(1.0) };
        Self { growth, ..self }
    }

    /// The clip of a scene seed.
    pub fn make(&self, seed: u64) -> Clip {
        let (scene, walk, frames, mut rng) = self.plan(seed);
        self.render(&scene, &walk, &frames, &mut rng)
    }

    /// What is true about the clip of a scene seed, without rendering it: world space,
    /// one pose a view.
    pub fn truth(&self, seed: u64) -> SceneTruth {
        let (scene, walk, frames, _) = self.plan(seed);
        SceneTruth {
            objects: scene.objects().cloned().collect(),
            rooms: scene.rooms.iter().map(|room| room.polygon.clone()).collect(),
            track: CameraTrack { poses: frames.iter().map(|&frame| walk.track.poses[frame]).collect() },
            intrinsics: walk.intrinsics,
        }
    }

    /// Room, walk, frames of the views, and the generator after them.
    fn plan(&self, seed: u64) -> (SynthScene, Walk, Vec<usize>, ChaCha8Rng) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x636c_6970);
        let all = SynthConfig::training();
        let upto = |low: f32, high: f32| low + self.growth * (high - low);
        let count = |(low, high): (u32, u32)| (low, upto(low as f32, high as f32).round() as u32);
        let mut config = SynthConfig {
            rooms: count(all.rooms),
            objects: count(all.objects),
            seconds: (self.data.seconds.0, upto(self.data.seconds.0, self.data.seconds.1)),
            fov_degrees: self.data.fov_degrees,
            symmetric: self.data.symmetric,
            video_size: video_size(&mut rng),
            ..all
        };
        if self.as_benchmark {
            config = Tier::of(seed).config();
        } else if self.data.small > 0.0 && rng.random_bool(self.data.small) {
            config = SynthConfig { rooms: (1, 1), room_side: SMALL_ROOM, ..config };
        }
        if self.spacing.is_some() {
            config.fps = FOLLOWED_FPS;
        }
        let scene = synth::generate_scene(seed, &config);
        let walk = synth::generate_walk(&scene, seed, &config);
        let frames = self.choice.frames(&walk, &mut rng);
        (scene, walk, frames, rng)
    }

    fn render(&self, scene: &SynthScene, walk: &Walk, frames: &[usize], rng: &mut ChaCha8Rng) -> Clip {
        let renderer = Renderer::new(scene);
        let square = ImageSize::new(self.image_size, self.image_size);
        let intrinsics = walk.intrinsics.resized(square);
        let Some(anchor) = frames.first().map(|&f| AnchorFrame::from_first_camera(&walk.track.poses[f]))
        else {
            return Clip::default();
        };
        let classes = ObjectClasses::of(scene);
        let views = frames
            .iter()
            .map(|&f| {
                let pose = walk.track.poses[f];
                let rendered = renderer.render(&pose, &intrinsics, Quality::Fast);
                self.view(rendered, &pose, &anchor, &intrinsics, &classes)
            })
            .collect();
        let all: Vec<SceneObject> = scene.objects().cloned().collect();
        let objects = all.iter().map(|object| anchor.bev_from_world(object.bounds.center)).collect();
        let first_camera = anchor.world_from_anchor(Vec3::ZERO);
        let fronts = all.iter().map(|object| synth::front(object, first_camera));
        let fronts = fronts.map(|front| front.map(|front| anchor.bev_orientation(front))).collect();
        let questions = match self.questions {
            0 => Vec::new(),
            count => {
                let plain = QuestionOptions { everyday: 0.0, ..question_options(count) };
                let DataConfig { everyday, fleeting, strange, .. } = self.data;
                let of_training = QuestionOptions { everyday, fleeting, strange, ..plain };
                let options = if self.as_benchmark { plain } else { of_training };
                generate_questions(scene, walk, rng, &options)
            }
        };
        let footage = self.spacing.map(|spacing| footage(&renderer, walk, &intrinsics, spacing, frames));
        let (categories, colors) = classes.0.iter().copied().unzip();
        Clip {
            views,
            questions,
            objects,
            fronts,
            categories,
            colors,
            named_alone: synth::named_alone(&all),
            footage,
        }
    }

    fn view(
        &self,
        rendered: RenderedView,
        pose: &CameraPose,
        anchor: &AnchorFrame,
        intrinsics: &Intrinsics,
        classes: &ObjectClasses,
    ) -> ClipView {
        let level = AnchorFrame::from_first_camera(pose);
        let camera_height = pose.position.z;
        let in_anchor = anchor.anchor_pose(pose);
        let side = 2 * self.grid;
        let cells = CellReader { rendered: &rendered, pose, level: &level, intrinsics, camera_height, side };
        let (ids, point): (Vec<u16>, Vec<Vec3>) = (0..side * side).map(|cell| cells.read(cell)).unzip();
        let (category, color) = ids.iter().map(|&id| classes.of_id(id)).unzip();
        let object = ids.iter().map(|id| id.checked_sub(FIRST_OBJECT).unwrap_or(NO_OBJECT)).collect();
        let size = intrinsics.size;
        let grid = (self.pooled_grid, self.pooled_grid);
        let token_points = self.data.targets.points(&rendered.depth, size, intrinsics, &in_anchor, grid);
        let yaw = wrap_angle(in_anchor.heading().radians() - std::f32::consts::FRAC_PI_2);
        ClipView {
            rgb: rendered.rgb,
            category,
            color,
            object,
            point,
            planar: PlanarPose { shift: in_anchor.position.truncate(), yaw },
            view: [
                camera_height,
                pose.pitch(),
                roll(pose),
                (intrinsics.focal.x / size.width as f32).ln(),
                (intrinsics.focal.y / size.height as f32).ln(),
            ],
            token_points,
        }
    }
}

fn footage(
    renderer: &Renderer,
    walk: &Walk,
    intrinsics: &Intrinsics,
    spacing: FrameSpacing,
    frames: &[usize],
) -> ClipFootage {
    let all: Vec<f64> = (0..walk.track.poses.len()).map(|k| k as f64 / f64::from(walk.fps)).collect();
    let views: Vec<FrameIndex> = frames.iter().map(|&frame| FrameIndex(frame as u32)).collect();
    let filled = spacing.fill(&all, &views);
    let pose_of = |index: &FrameIndex| &walk.track.poses[index.0 as usize];
    let size = walk.intrinsics.size;
    ClipFootage {
        rgb: filled.iter().map(|at| renderer.render(pose_of(at), intrinsics, Quality::Fast).rgb).collect(),
        secs: filled.iter().map(|at| all[at.0 as usize]).collect(),
        sampled: views.iter().map(|view| filled.partition_point(|at| at < view)).collect(),
        aspect: size.width as f32 / size.height as f32,
    }
}

/// About `count` questions: a third about the room, the rest one for each situation.
pub fn question_options(count: usize) -> QuestionOptions {
    let room_questions = count / 3;
    QuestionOptions {
        situations: count - room_questions,
        questions_per_situation: 1,
        wordings: 1,
        room_questions,
        typo_rate: 0.05,
        everyday: QuestionOptions::EVERYDAY,
        fleeting: 0.0,
        strange: 0.0,
    }
}

impl ViewChoice {
    fn frames(self, walk: &Walk, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let count = walk.track.poses.len();
        match self {
            Self::Spread { views } => {
                (0..views).map(|k| k * count.saturating_sub(1) / views.saturating_sub(1).max(1)).collect()
            }
            Self::Burst { views, gap } => {
                let gaps: Vec<usize> = (1..views)
                    .map(|_| ((rng.random_range(gap.0..=gap.1) * walk.fps).round() as usize).max(1))
                    .collect();
                let span: usize = gaps.iter().sum();
                let mut frame = rng.random_range(0..count.saturating_sub(span).max(1));
                let mut frames = vec![frame];
                for gap in gaps {
                    frame = (frame + gap).min(count - 1);
                    frames.push(frame);
                }
                frames
            }
        }
    }
}

/// A common video shape; pictures are squashed to a square later.
fn video_size(rng: &mut ChaCha8Rng) -> ImageSize {
    const SIZES: [(u32, u32); 5] = [(640, 480), (640, 480), (854, 480), (720, 480), (480, 480)];
    let (width, height) = SIZES[rng.random_range(0..SIZES.len())];
    ImageSize::new(width, height)
}

/// Turn about the viewing direction, radians, clockwise seen from behind.
fn roll(pose: &CameraPose) -> f32 {
    let level = CameraPose::looking(pose.position, pose.heading(), pose.pitch(), 0.0);
    let right = level.camera_from_world(pose.position + pose.right());
    right.y.atan2(right.x)
}

/// Category and colour class of every object id.
struct ObjectClasses(Vec<(u8, u8)>);

impl ObjectClasses {
    fn of(scene: &SynthScene) -> Self {
        let class =
            |index: Option<usize>, offset: usize| index.map_or(NO_CLASS, |index| (index + offset) as u8);
        Self(
            scene
                .objects()
                .map(|object| {
                    let category = class(synth::category_index(&object.category), SURFACES.len());
                    let color = class(object.color.as_deref().and_then(synth::color_index), 1);
                    (category, color)
                })
                .collect(),
        )
    }

    fn of_id(&self, id: u16) -> (u8, u8) {
        match id {
            surface::NONE => (0, NO_CLASS),
            surface::WALL => (1, NO_CLASS),
            surface::FLOOR => (2, NO_CLASS),
            surface::CEILING => (3, NO_CLASS),
            id => id
                .checked_sub(FIRST_OBJECT)
                .and_then(|k| self.0.get(usize::from(k)))
                .copied()
                .unwrap_or((NO_CLASS, NO_CLASS)),
        }
    }
}

/// Reads the pixels of a cell: the most frequent id and the mean point of its pixels.
struct CellReader<'a> {
    rendered: &'a RenderedView,
    pose: &'a CameraPose,
    level: &'a AnchorFrame,
    intrinsics: &'a Intrinsics,
    camera_height: f32,
    side: usize,
}

impl CellReader<'_> {
    fn read(&self, cell: usize) -> (u16, Vec3) {
        let (width, height) = (self.rendered.size.width as usize, self.rendered.size.height as usize);
        let (row, column) = (cell / self.side, cell % self.side);
        let rows = row * height / self.side..(row + 1) * height / self.side;
        let columns = column * width / self.side..(column + 1) * width / self.side;
        let pixels: Vec<usize> = rows.flat_map(|v| columns.clone().map(move |u| v * width + u)).collect();
        let mut counts: Vec<(u16, usize)> = Vec::new();
        for &pixel in &pixels {
            let id = self.rendered.ids[pixel];
            match counts.iter_mut().find(|(known, _)| *known == id) {
                Some((_, count)) => *count += 1,
                None => counts.push((id, 1)),
            }
        }
        let id = counts.iter().max_by_key(|(_, count)| *count).map_or(surface::NONE, |(id, _)| *id);
        let (mut sum, mut count) = (Vec3::ZERO, 0.0);
        for &pixel in pixels.iter().filter(|&&pixel| self.rendered.ids[pixel] == id) {
            let depth = self.rendered.depth[pixel];
            if depth.is_finite() && depth > 0.0 {
                let uv = Vec2::new((pixel % width) as f32 + 0.5, (pixel / width) as f32 + 0.5);
                sum += self
                    .level
                    .anchor_from_world(self.pose.world_from_camera(self.intrinsics.unproject(uv, depth)));
                count += 1.0;
            }
        }
        if count == 0.0 {
            return (id, Vec3::NAN);
        }
        (id, sum / count + Vec3::Z * self.camera_height)
    }
}

impl ClipView {
    /// The view in a mirror: left and right exchanged. Poses of a mirrored clip fit together.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        let side = (self.category.len() as f64).sqrt().round() as usize;
        let width = ((self.rgb.len() / 3) as f64).sqrt().round() as usize;
        let flip = |values: &[u8]| mirror(values, side);
        let rgb = self
            .rgb
            .chunks_exact(3 * width)
            .flat_map(|row| row.chunks_exact(3).rev().flatten().copied())
            .collect();
        let [height, pitch, roll, fx, fy] = self.view;
        Self {
            rgb,
            category: flip(&self.category),
            color: flip(&self.color),
            object: mirror(&self.object, side),
            point: mirror(&self.point, side).into_iter().map(|p| Vec3::new(-p.x, p.y, p.z)).collect(),
            planar: PlanarPose {
                shift: Vec2::new(-self.planar.shift.x, self.planar.shift.y),
                yaw: -self.planar.yaw,
            },
            view: [height, pitch, -roll, fx, fy],
            token_points: mirror(&self.token_points, self.token_points.len().isqrt())
                .into_iter()
                .map(|point| point.map(|p| Vec3::new(-p.x, p.y, p.z)))
                .collect(),
        }
    }
}

/// The token of the pooled grid over each cell of a view, in order of the `cells`, and
/// the share of a token that one cell is.
pub fn tokens_over_cells(cells: usize, pooled_grid: usize) -> (impl Iterator<Item = usize>, f32) {
    let side = cells.isqrt();
    let token = move |cell| pooled_cell(cell, side, pooled_grid);
    ((0..cells).map(token), (pooled_grid * pooled_grid) as f32 / cells.max(1) as f32)
}

fn mirror<T: Copy>(values: &[T], side: usize) -> Vec<T> {
    values.chunks_exact(side.max(1)).flat_map(|row| row.iter().rev().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::TargetRule;

    #[test]
    fn rooms_grow_in_number_and_fill_up() {
        let data = DataConfig {
            seconds: (4.0, 20.0),
            fov_degrees: (60.0, 61.0),
            augment: false,
            symmetric: 0.0,
            small: 0.0,
            everyday: 0.4,
            fleeting: 0.0,
            strange: 0.0,
            targets: TargetRule::default(),
        };
        let maker = ClipMaker::new(&ModelConfig::tiny(), data, ViewChoice::Spread { views: 3 });
        let totals = |made| {
            let truths = (0..30).map(|seed| maker.grown(made, 100).truth(seed));
            truths.fold((0, 0), |sum, truth| (sum.0 + truth.rooms.len(), sum.1 + truth.objects.len()))
        };
        let (first, half, last) = (totals(0), totals(50), totals(100));
        assert_eq!(first.0, 30);
        assert!(first.0 < half.0 && half.0 < last.0, "{first:?} {half:?} {last:?}");
        assert!(first.1 < half.1 && half.1 < last.1, "{first:?} {half:?} {last:?}");
        assert_eq!(last, totals(1000));
    }
}
