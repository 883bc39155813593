//! Scene files: any layout in, pictures and truth out.
//!
//! A scene file is JSON in the world space: z up, metres, floor at z = 0, angles in
//! radians counter-clockwise from +x. What the generator writes can be read again,
//! and it holds all fields of [`crate::scene::SceneTruth`]. A short one by hand:
//!
//! ```json
//! {
//!   "rooms": [{ "bounds": [[0, 0], [4, 3]] }],
//!   "objects": [
//!     { "category": "sofa", "color": "blue",
//!       "bounds": { "center": [0.5, 1.5, 0.4], "size": [0.9, 2.0, 0.8], "yaw": 0 } }
//!   ],
//!   "walk": { "seconds": 10 }
//! }
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `rooms` | each a polygon `[[x, y], ...]` or `{"bounds": [[x0, y0], [x1, y1]]}` |
//! | `finishes` | optional, one per room: `height`, `kind`, and the surfaces `floor`, `wall`, `ceiling` |
//! | `objects` | `category`, `bounds` (`center`, `size` as depth, width, height, `yaw` of the front); optional `id` (its position in the list), `color` (one of [`COLORS`]), `style` (design variant), `on` (id of what it stands on) |
//! | `lighting` | optional, see [`Lighting`] |
//! | `track`, `intrinsics`, `fps` | the camera: `poses` with `position` and `rotation` (quaternion x, y, z, w; camera to world, OpenCV axes) |
//! | `walk` | instead of a track: makes a walk; optional `seed`, `seconds`, `fps`, `size`, `fov_degrees`, `camera_height` |
//!
//! Objects of category "door", "doorway" and "window" cut openings into the wall
//! they stand in. A category that is not in [`CATEGORIES`](super::CATEGORIES) is
//! drawn as a plain box of its size, with a warning.

use std::path::Path;

use glam::{Vec2, Vec3};
use serde::{Deserialize, Serialize};

use super::floor_plan::default_finish;
use super::furniture::build;
use super::material::Material;
use super::palette::{COLORS, color_index};
use super::scene::{Door, Lighting, Room, RoomKind, SynthObject, SynthScene};
use super::{SynthConfig, SynthError, Walk, generate_walk};
use crate::geometry::{ImageSize, Intrinsics, Orientation, OrientedBox};
use crate::scene::{CameraTrack, Category, ObjectId, SceneObject};

/// Largest accepted file, bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Largest accepted numbers of things.
const MAX_ROOMS: usize = 64;
const MAX_CORNERS: usize = 256;
const MAX_OBJECTS: usize = 4096;
const MAX_POSES: usize = 100_000;
/// Largest accepted coordinate and size, metres.
const MAX_COORDINATE: f32 = 1000.0;
const MAX_SIZE: f32 = 100.0;
/// Largest accepted side of a picture, pixels.
const MAX_SIDE: u32 = 4096;

/// A scene file as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SceneFile {
    pub rooms: Vec<RoomOutline>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finishes: Vec<Finish>,
    pub objects: Vec<FileObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lighting: Option<Lighting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intrinsics: Option<Intrinsics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<CameraTrack>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<WalkRequest>,
}

/// Floor outline of a room, metres.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RoomOutline {
    Polygon(Vec<Vec2>),
    Bounds { bounds: [Vec2; 2] },
}

/// Looks of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finish {
    #[serde(default = "usual_height")]
    pub height: f32,
    #[serde(default = "usual_kind")]
    pub kind: RoomKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Material>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<Material>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Material>,
}

fn usual_height() -> f32 {
    2.5
}

fn usual_kind() -> RoomKind {
    RoomKind::Living
}

impl Default for Finish {
    fn default() -> Self {
        Self { height: usual_height(), kind: usual_kind(), floor: None, wall: None, ceiling: None }
    }
}

/// An object as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileObject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    pub category: Category,
    pub bounds: FileBox,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<u32>,
}

/// A box as written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileBox {
    pub center: Vec3,
    pub size: Vec3,
    #[serde(default)]
    pub yaw: f32,
}

/// "Make a walk."
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WalkRequest {
    #[serde(default)]
    pub seed: u64,
    pub seconds: Option<f32>,
    pub fps: Option<f32>,
    pub size: Option<ImageSize>,
    pub fov_degrees: Option<f32>,
    pub camera_height: Option<f32>,
}

/// A scene file, ready to render.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedScene {
    /// The scene.
    pub scene: SynthScene,
    /// The camera of every frame.
    pub walk: Walk,
    /// Things a user should know, each one sentence.
    pub warnings: Vec<String>,
}

/// Reads a scene file.
///
/// # Errors
/// When the file cannot be read, is not of the format above, or holds numbers that
/// cannot be rendered; the message names the file and the field.
pub fn read_scene_file(path: &Path) -> Result<LoadedScene, SynthError> {
    let unreadable =
        |error: std::io::Error| SynthError::Unreadable { path: path.to_owned(), reason: error.to_string() };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    let reject = |reason: String| SynthError::BadSceneFile { path: path.to_owned(), reason };
    if size > MAX_BYTES {
        return Err(reject(format!("it has {} MiB, more than the limit of {}", size >> 20, MAX_BYTES >> 20)));
    }
    let loaded = parse_scene_file(&std::fs::read_to_string(path).map_err(unreadable)?, path)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    Ok(loaded)
}

/// Reads the text of a scene file; `path` is named in messages.
///
/// # Errors
/// As [`read_scene_file`].
pub fn parse_scene_file(text: &str, path: &Path) -> Result<LoadedScene, SynthError> {
    let reject = |reason: String| SynthError::BadSceneFile { path: path.to_owned(), reason };
    let file: SceneFile = serde_json::from_str(text).map_err(|error| reject(error.to_string()))?;
    load(file).map_err(reject)
}

/// Writes scene and walk as a scene file.
///
/// # Errors
/// When the file cannot be written.
pub fn write_scene_file(path: &Path, scene: &SynthScene, walk: &Walk) -> Result<(), SynthError> {
    std::fs::write(path, scene_json(scene, walk)).map_err(|error| SynthError::unwritable(path, &error))
}

/// Scene and walk in the format of scene files.
pub fn scene_json(scene: &SynthScene, walk: &Walk) -> String {
    let file = SceneFile {
        rooms: scene.rooms.iter().map(|room| RoomOutline::Polygon(room.polygon.clone())).collect(),
        finishes: scene
            .rooms
            .iter()
            .map(|room| Finish {
                height: room.height,
                kind: room.kind,
                floor: Some(room.floor),
                wall: Some(room.wall),
                ceiling: Some(room.ceiling),
            })
            .collect(),
        objects: scene.objects.iter().map(file_object).collect(),
        lighting: Some(scene.lighting),
        fps: Some(walk.fps),
        intrinsics: Some(walk.intrinsics),
        track: Some(walk.track.clone()),
        walk: None,
    };
    serde_json::to_string(&file).expect("a scene holds only numbers and text, which JSON can express")
}

fn file_object(object: &SynthObject) -> FileObject {
    let bounds = &object.object.bounds;
    FileObject {
        id: Some(object.object.id.0),
        category: object.object.category.clone(),
        bounds: FileBox { center: bounds.center, size: bounds.size, yaw: bounds.yaw.radians() },
        color: object.object.color.clone(),
        style: Some(object.style),
        on: object.support.map(|id| id.0),
    }
}

fn load(file: SceneFile) -> Result<LoadedScene, String> {
    let rooms = load_rooms(&file)?;
    if file.objects.len() > MAX_OBJECTS {
        return Err(format!(
            "`objects` has {} entries, more than the limit of {MAX_OBJECTS}",
            file.objects.len()
        ));
    }
    let mut objects = Vec::with_capacity(file.objects.len());
    for (index, object) in file.objects.iter().enumerate() {
        objects.push(load_object(index, object, file.objects.len())?);
    }
    let lighting = file.lighting.unwrap_or_default();
    check_lighting(&lighting)?;
    let mut scene = SynthScene { seed: 0, rooms, doors: Vec::new(), objects, lighting };
    scene.doors = doors(&scene);
    let walk = load_camera(&file, &scene)?;
    let warnings = unknown_categories(&scene);
    Ok(LoadedScene { scene, walk, warnings })
}

fn load_rooms(file: &SceneFile) -> Result<Vec<Room>, String> {
    let count = file.rooms.len();
    if count == 0 || count > MAX_ROOMS {
        return Err(format!("`rooms` has {count} entries; give 1 to {MAX_ROOMS}"));
    }
    if !file.finishes.is_empty() && file.finishes.len() != count {
        return Err(format!(
            "`finishes` has {} entries for {count} rooms; give one for each room or leave it out",
            file.finishes.len()
        ));
    }
    (0..count)
        .map(|i| {
            let finish = file.finishes.get(i).cloned().unwrap_or_default();
            in_range(finish.height, 1.8, 20.0, &format!("finishes[{i}].height"))?;
            let (floor, wall, ceiling) = default_finish(finish.kind, i as u64);
            let surface = |given: Option<Material>, usual: Material, name: &str| match given {
                Some(m) if !m.is_valid() => Err(format!(
                    "`finishes[{i}].{name}` holds colours outside 0 to 1 or a scale that is not positive"
                )),
                given => Ok(given.unwrap_or(usual)),
            };
            Ok(Room {
                polygon: load_outline(&file.rooms[i], &format!("rooms[{i}]"))?,
                height: finish.height,
                kind: finish.kind,
                floor: surface(finish.floor, floor, "floor")?,
                wall: surface(finish.wall, wall, "wall")?,
                ceiling: surface(finish.ceiling, ceiling, "ceiling")?,
            })
        })
        .collect()
}

fn load_outline(outline: &RoomOutline, field: &str) -> Result<Vec<Vec2>, String> {
    let mut polygon = match outline {
        RoomOutline::Polygon(points) => points.clone(),
        RoomOutline::Bounds { bounds: [a, b] } => {
            let (low, high) = (a.min(*b), a.max(*b));
            vec![low, Vec2::new(high.x, low.y), high, Vec2::new(low.x, high.y)]
        }
    };
    if !(3..=MAX_CORNERS).contains(&polygon.len()) {
        return Err(format!("`{field}` has {} corners; give 3 to {MAX_CORNERS}", polygon.len()));
    }
    for p in &polygon {
        in_range(p.abs().max_element(), 0.0, MAX_COORDINATE, field)?;
    }
    let count = polygon.len();
    let area = 0.5 * (0..count).map(|i| polygon[i].perp_dot(polygon[(i + 1) % count])).sum::<f32>();
    if area.abs() < 0.25 {
        return Err(format!(
            "`{field}` has a floor of {:.3} square metres; rooms need at least 0.25",
            area.abs()
        ));
    }
    if (0..count).any(|i| (i + 1..count).any(|j| edges_cross(&polygon, i, j))) {
        return Err(format!("the outline of `{field}` crosses itself; give its corners in order"));
    }
    if area < 0.0 {
        polygon.reverse();
    }
    Ok(polygon)
}

fn edges_cross(polygon: &[Vec2], i: usize, j: usize) -> bool {
    let count = polygon.len();
    if i == j || (i + 1) % count == j || (j + 1) % count == i {
        return false;
    }
    let (a, b, c, d) = (polygon[i], polygon[(i + 1) % count], polygon[j], polygon[(j + 1) % count]);
    let side = |p: Vec2, q: Vec2, r: Vec2| (q - p).perp_dot(r - p);
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

fn load_object(index: usize, object: &FileObject, count: usize) -> Result<SynthObject, String> {
    let field = format!("objects[{index}]");
    if object.id.is_some_and(|id| id as usize != index) {
        return Err(format!("`{field}.id` must be its position in the list, {index}; or leave it out"));
    }
    let name = object.category.as_str().trim();
    if name.is_empty() || name.len() > 64 {
        return Err(format!("`{field}.category` must be a word or two, for example \"chair\""));
    }
    let FileBox { center, size, yaw } = object.bounds;
    in_range(center.abs().max_element(), 0.0, MAX_COORDINATE, &format!("{field}.bounds.center"))?;
    in_range(size.min_element(), 0.001, MAX_SIZE, &format!("{field}.bounds.size"))?;
    in_range(size.max_element(), 0.001, MAX_SIZE, &format!("{field}.bounds.size"))?;
    in_range(yaw, -100.0, 100.0, &format!("{field}.bounds.yaw"))?;
    if !center.is_finite() || !size.is_finite() {
        return Err(format!("`{field}.bounds` holds a number that is not finite"));
    }
    if let Some(color) = object.color.as_deref().filter(|color| color_index(color).is_none()) {
        return Err(format!("`{field}.color` is {color:?}; known colours are {}", COLORS.join(", ")));
    }
    if object.on.is_some_and(|on| on as usize >= count || on as usize == index) {
        return Err(format!("`{field}.on` must be the id of another object of the list"));
    }
    let category = Category::new(name);
    let style = object.style.unwrap_or(index as u32);
    let built = build(category.as_str(), size, object.color.as_deref(), style);
    let bounds = OrientedBox { center, size, yaw: Orientation::from_radians(yaw) };
    let color = Some(built.color);
    Ok(SynthObject {
        object: SceneObject { id: ObjectId(index as u32), category, bounds, color },
        style,
        parts: built.parts,
        support: object.on.map(ObjectId),
        is_known: built.is_known,
    })
}

fn check_lighting(lighting: &Lighting) -> Result<(), String> {
    in_range(lighting.sun_azimuth, -720.0, 720.0, "lighting.sun_azimuth")?;
    in_range(lighting.sun_elevation, -90.0, 90.0, "lighting.sun_elevation")?;
    in_range(lighting.warmth, 0.0, 1.0, "lighting.warmth")?;
    for (value, name) in [
        (lighting.sun, "sun"),
        (lighting.sky, "sky"),
        (lighting.lamps, "lamps"),
        (lighting.exposure, "exposure"),
    ] {
        in_range(value, 0.0, 100.0, &format!("lighting.{name}"))?;
    }
    Ok(())
}

/// Doors and doorways with the rooms on both sides.
fn doors(scene: &SynthScene) -> Vec<Door> {
    scene
        .objects()
        .filter(|object| matches!(object.category.as_str(), "door" | "doorway"))
        .filter_map(|object| {
            let reach = object.bounds.yaw.direction() * (object.bounds.size.x * 0.5 + 0.3);
            let middle = object.bounds.center.truncate();
            let (front, back) = (scene.room_of(middle + reach), scene.room_of(middle - reach));
            let first = front.or(back)?;
            let second = back.filter(|&room| room != first);
            Some(Door { object: object.id, rooms: (first, second) })
        })
        .collect()
}

fn load_camera(file: &SceneFile, scene: &SynthScene) -> Result<Walk, String> {
    match (&file.track, &file.walk) {
        (Some(_), Some(_)) => Err("it has both `track` and `walk`; give one of them".to_owned()),
        (None, None) => {
            Err("it has no camera; add `\"walk\": {}` to make a walk, or give `track` and `intrinsics`"
                .to_owned())
        }
        (None, Some(request)) => load_walk(request, scene),
        (Some(track), None) => {
            let intrinsics = file.intrinsics.ok_or("`track` needs `intrinsics` beside it")?;
            check_intrinsics(&intrinsics)?;
            let fps = file.fps.unwrap_or(30.0);
            in_range(fps, 0.1, 240.0, "fps")?;
            if track.poses.is_empty() || track.poses.len() > MAX_POSES {
                return Err(format!(
                    "`track.poses` has {} entries; give 1 to {MAX_POSES}",
                    track.poses.len()
                ));
            }
            let mut track = track.clone();
            for (i, pose) in track.poses.iter_mut().enumerate() {
                let field = format!("track.poses[{i}]");
                in_range(
                    pose.position.abs().max_element(),
                    0.0,
                    MAX_COORDINATE,
                    &format!("{field}.position"),
                )?;
                in_range(pose.rotation.length(), 0.9, 1.1, &format!("length of {field}.rotation"))?;
                if !pose.rotation.is_normalized() {
                    pose.rotation = pose.rotation.normalize();
                }
            }
            Ok(Walk { fps, intrinsics, track })
        }
    }
}

fn check_intrinsics(intrinsics: &Intrinsics) -> Result<(), String> {
    check_picture_size(intrinsics.size, "intrinsics.size")?;
    in_range(intrinsics.focal.min_element(), 1.0, 1e6, "intrinsics.focal")?;
    in_range(intrinsics.focal.max_element(), 1.0, 1e6, "intrinsics.focal")?;
    in_range(intrinsics.principal.abs().max_element(), 0.0, 1e6, "intrinsics.principal")
}

fn check_picture_size(size: ImageSize, field: &str) -> Result<(), String> {
    if size.width == 0 || size.height == 0 || size.width.max(size.height) > MAX_SIDE {
        return Err(format!(
            "`{field}` is {}x{}; sides must be 1 to {MAX_SIDE} pixels",
            size.width, size.height
        ));
    }
    Ok(())
}

fn load_walk(request: &WalkRequest, scene: &SynthScene) -> Result<Walk, String> {
    let mut config = SynthConfig::showcase();
    if let Some(seconds) = request.seconds {
        in_range(seconds, 0.1, 600.0, "walk.seconds")?;
        config.seconds = (seconds, seconds);
    }
    if let Some(fps) = request.fps {
        in_range(fps, 0.1, 240.0, "walk.fps")?;
        config.fps = fps;
    }
    if let Some(size) = request.size {
        check_picture_size(size, "walk.size")?;
        config.video_size = size;
    }
    if let Some(fov) = request.fov_degrees {
        in_range(fov, 10.0, 150.0, "walk.fov_degrees")?;
        config.fov_degrees = (fov, fov);
    }
    if let Some(height) = request.camera_height {
        in_range(height, 0.1, 10.0, "walk.camera_height")?;
        config.camera_height = (height, height);
    }
    Ok(generate_walk(scene, request.seed, &config))
}

fn unknown_categories(scene: &SynthScene) -> Vec<String> {
    let mut names: Vec<&str> = scene
        .objects
        .iter()
        .filter(|object| !object.is_known)
        .map(|object| object.object.category.as_str())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    if count == 0 {
        return Vec::new();
    }
    let verb = if count == 1 { "object is" } else { "objects are" };
    vec![format!("{count} {verb} drawn as plain boxes, their categories are unknown: {}", names.join(", "))]
}

fn in_range(value: f32, low: f32, high: f32, field: &str) -> Result<(), String> {
    // Written so that NaN fails.
    if value >= low && value <= high {
        Ok(())
    } else {
        Err(format!("`{field}` is {value}; it must lie between {low} and {high}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::generate_scene;

    fn load_text(text: &str) -> Result<LoadedScene, String> {
        serde_json::from_str(text).map_err(|error| error.to_string()).and_then(load)
    }

    const SMALL: &str = r#"{
        "rooms": [{ "bounds": [[0, 0], [4, 3]] }],
        "objects": [{ "category": "Sofa", "color": "blue",
                      "bounds": { "center": [0.5, 1.5, 0.4], "size": [0.9, 2.0, 0.8], "yaw": 0 } }],
        "walk": { "seconds": 1, "fps": 5 }
    }"#;

    #[test]
    fn a_file_written_by_hand_is_read() {
        let loaded = load_text(SMALL).unwrap();
        assert_eq!(loaded.scene.rooms.len(), 1);
        assert_eq!(loaded.scene.objects[0].object.category.as_str(), "sofa");
        assert_eq!(loaded.walk.track.poses.len(), 5);
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn generated_scenes_survive_a_round_trip() {
        let config = SynthConfig { seconds: (2.0, 3.0), ..SynthConfig::training() };
        for seed in 0..12 {
            let scene = generate_scene(seed, &config);
            let walk = generate_walk(&scene, seed, &config);
            let text = scene_json(&scene, &walk);
            let loaded = load_text(&text).unwrap();
            assert_eq!(SynthScene { seed, ..loaded.scene.clone() }, scene, "seed {seed}");
            assert_eq!(loaded.walk, walk);
            assert_eq!(scene_json(&loaded.scene, &loaded.walk), text);
            let truth: crate::scene::SceneTruth = serde_json::from_str(&text).unwrap();
            assert_eq!(truth.objects.len(), scene.objects.len());
        }
    }

    #[test]
    fn unknown_categories_are_counted_in_a_warning() {
        let loaded = load_text(&SMALL.replace("Sofa", "spaceship")).unwrap();
        assert!(loaded.warnings[0].contains("1 object is") && loaded.warnings[0].contains("spaceship"));
    }

    #[test]
    fn bad_files_are_refused_with_the_field() {
        let cases = [
            ("[0.9, 2.0, 0.8]", "[0.9, 0, 0.8]", "objects[0].bounds.size"),
            ("[0.9, 2.0, 0.8]", "[0.9, 1e39, 0.8]", "objects[0].bounds.size"),
            ("[0.9, 2.0, 0.8]", "[0.9, null, 0.8]", "null"),
            ("[0.5, 1.5, 0.4]", "[5e9, 1.5, 0.4]", "objects[0].bounds.center"),
            ("\"blue\"", "\"bluish\"", "objects[0].color"),
            ("[4, 3]", "[0, 3]", "rooms[0]"),
            ("\"walk\": { \"seconds\": 1, \"fps\": 5 }", "\"fps\": 3", "no camera"),
            ("\"seconds\": 1", "\"seconds\": -1", "walk.seconds"),
            ("\"yaw\": 0", "\"yaw\": 0, \"roll\": 1", "roll"),
            ("[{ \"bounds\": [[0, 0], [4, 3]] }]", "[[[0,0],[2,2],[2,0],[0,2]]]", "rooms[0]"),
            ("\"category\": \"Sofa\"", "\"id\": 4, \"category\": \"Sofa\"", "objects[0].id"),
        ];
        for (from, to, expected) in cases {
            assert!(SMALL.contains(from), "{from}");
            let message = load_text(&SMALL.replace(from, to)).unwrap_err();
            assert!(message.contains(expected), "{to}: {message}");
        }
    }
}
