//! Real rooms, annotated as boxes, as clips: boxes become a scene file, a walk is made
//! through it, people's own words ask. Nothing of it is ever trained on.

use std::collections::BTreeSet;

use glam::Vec2;
use serde_json::json;

use super::{BenchmarkClip, ClipOptions, Tier};
use crate::dataset::{RealObject, RealRoom};
use crate::geometry::{AnchorFrame, CameraPose, Orientation};
use crate::qa::Question;
use crate::scene::Category;
use crate::synth::{LoadedScene, SynthError, SynthQuestion, category_called, parse_scene_file};

/// Walls stand this far outside of all boxes and described positions, metres.
const MARGIN: f32 = 0.25;
/// Rooms with more objects count as cluttered.
const SPARSE: usize = 13;
/// Length (seconds) and frame rate of a walk through a real room.
const WALK_SECS: f32 = 20.0;
const WALK_FPS: f32 = 12.0;

/// What a model trained on generated rooms cannot know of real ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unknown {
    /// Labels of objects that the generator does not furnish with, drawn as plain boxes.
    pub categories: BTreeSet<String>,
    /// Words of situations and questions that no generated text has.
    pub words: BTreeSet<String>,
}

impl Unknown {
    /// Over all `rooms`, for who knows the words of `generated` questions.
    pub fn of(rooms: &[RealRoom], generated: &[SynthQuestion]) -> Self {
        let known: BTreeSet<String> =
            generated.iter().flat_map(|question| words_of(&question.labeled.question)).collect();
        let labels = rooms.iter().flat_map(|room| &room.objects).map(|object| &object.label);
        let asked = rooms.iter().flat_map(|room| &room.situations).flat_map(|s| &s.questions);
        Self {
            categories: labels.filter(|label| category_called(label).is_none()).cloned().collect(),
            words: asked
                .flat_map(|labeled| words_of(&labeled.question))
                .filter(|word| !known.contains(word))
                .collect(),
        }
    }
}

/// Words of situation and question in lower case, without numbers.
fn words_of(question: &Question) -> Vec<String> {
    [question.situation_text.as_deref().unwrap_or_default(), &question.text]
        .into_iter()
        .flat_map(|text| text.split(|letter: char| !letter.is_alphabetic()))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The room as a scene file: one rectangular room around everything, objects under the
/// generator's names, a walk whose seed comes from the room's name.
pub fn scene_file(room: &RealRoom) -> String {
    let points = room.objects.iter().flat_map(|object| object.bounds.footprint());
    let points = points.chain(room.situations.iter().map(|situation| situation.pose.position));
    let (low, high) = points.fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(a, b), p| (a.min(p), b.max(p)));
    let (low, high) = (low - MARGIN, high + MARGIN);
    let middle = 0.5 * (low + high);
    let objects: Vec<_> = room.objects.iter().map(|object| object_json(object, middle)).collect();
    let tall = room.objects.iter().map(|object| object.bounds.top()).fold(2.5, f32::max);
    let seed = room.name.bytes().fold(0u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let scene = json!({
        "rooms": [{ "bounds": [low, high] }],
        "finishes": [{ "height": tall + 0.1 }],
        "objects": objects,
        "walk": { "seed": seed, "seconds": WALK_SECS, "fps": WALK_FPS },
    });
    // A line for every number, for those who change it.
    format!("{scene:#}\n")
}

/// The object with its front turned to the middle of the room: sides, not fronts, are
/// annotated, and furniture stands with its back to the wall.
fn object_json(object: &RealObject, middle: Vec2) -> serde_json::Value {
    let bounds = &object.bounds;
    let name = category_called(&object.label).unwrap_or(&object.label);
    let lengthwise = matches!(name, "bed" | "toilet");
    let along_x = (bounds.size.x > bounds.size.y) == lengthwise;
    let (axis, depth, width) = if along_x {
        (bounds.yaw, bounds.size.x, bounds.size.y)
    } else {
        (bounds.yaw.turned(std::f32::consts::FRAC_PI_2), bounds.size.y, bounds.size.x)
    };
    let inward = axis.direction().dot(middle - bounds.center.truncate()) >= 0.0;
    let front: Orientation = if inward { axis } else { axis.turned(std::f32::consts::PI) };
    json!({
        "category": Category::new(name),
        "bounds": { "center": bounds.center, "size": [depth, width, bounds.size.z], "yaw": front.radians() },
    })
}

/// The room as a clip of an evaluation, number `index`.
///
/// # Errors
/// When the boxes make no scene.
pub fn real_clip(room: &RealRoom, index: u64, options: &ClipOptions) -> Result<BenchmarkClip, SynthError> {
    let LoadedScene { scene, walk, .. } = parse_scene_file(&scene_file(room), room.name.as_ref())?;
    let first = walk.track.poses.first().copied().unwrap_or(CameraPose::IDENTITY);
    let anchor = AnchorFrame::from_first_camera(&first);
    let questions = room
        .situations
        .iter()
        .flat_map(|situation| situation.questions.iter().map(move |question| (situation, question)))
        .map(|(situation, question)| {
            let mut labeled = question.clone();
            labeled.situation = Some(situation.pose.situation(glam::Vec3::ZERO, &anchor));
            labeled.into()
        })
        .collect();
    let tier = if room.objects.len() > SPARSE { Tier::ClutteredRoom } else { Tier::SparseRoom };
    let clip =
        BenchmarkClip::without_pictures(room.name.clone(), (index, tier), &scene, &walk, questions, options);
    Ok(clip.with_pictures(&scene, &walk, options))
}

#[cfg(test)]
mod tests {
    use glam::Vec3;

    use super::*;
    use crate::dataset::{RealSituation, ScanPose};
    use crate::geometry::OrientedBox;
    use crate::qa::{AnswerKey, LabeledQuestion, QuestionKind};
    use crate::synth::QuestionOptions;

    fn object(label: &str, center: Vec3, size: Vec3) -> RealObject {
        let bounds = OrientedBox { center, size, yaw: Orientation::from_degrees(0.0) };
        RealObject { label: label.to_owned(), bounds }
    }

    fn room() -> RealRoom {
        let question = Question {
            kind: QuestionKind::What,
            text: "What is the pomegranate on?".to_owned(),
            situation_text: Some("I sit on the bed.".to_owned()),
            choices: Vec::new(),
        };
        let labeled =
            LabeledQuestion { question, key: AnswerKey::Text(vec!["table".to_owned()]), situation: None };
        RealRoom {
            name: "scene0000_00".to_owned(),
            objects: vec![
                object("trash bin", Vec3::new(0.3, 2.0, 0.2), Vec3::new(0.3, 0.3, 0.4)),
                object("bed", Vec3::new(3.5, 2.0, 0.3), Vec3::new(1.4, 2.0, 0.6)),
                object("guitar", Vec3::new(2.0, 0.2, 0.5), Vec3::new(0.3, 0.2, 1.0)),
            ],
            situations: vec![RealSituation {
                pose: ScanPose { position: Vec2::new(3.5, 2.0), heading: Orientation::from_degrees(180.0) },
                questions: vec![labeled],
            }],
        }
    }

    #[test]
    fn a_room_becomes_a_scene_under_known_names_with_fronts_inward() {
        let room = room();
        let loaded = parse_scene_file(&scene_file(&room), "scene0000_00".as_ref()).unwrap();
        let objects: Vec<_> = loaded.scene.objects().collect();
        assert_eq!(objects[0].category.as_str(), "bin");
        // A bed is longer than wide, its foot end points into the room.
        assert_eq!(objects[1].bounds.size, Vec3::new(2.0, 1.4, 0.6));
        assert!(objects[1].bounds.yaw.direction().dot(Vec2::NEG_Y) > 0.9);
        assert!(loaded.warnings[0].contains("guitar"), "{:?}", loaded.warnings);
        assert!(loaded.walk.track.poses.len() > 100);
    }

    #[test]
    fn the_pose_moves_with_the_first_camera() {
        let options = ClipOptions::small(QuestionOptions::default());
        let room = room();
        let clip = real_clip(&room, 0, &options).unwrap();
        assert_eq!((clip.frames.len(), clip.tier), (2, Tier::SparseRoom));
        let walk = parse_scene_file(&scene_file(&room), "x".as_ref()).unwrap().walk;
        let camera = walk.track.poses[0];
        let truth = clip.questions[0].labeled.situation.unwrap();
        let reach = camera.position.truncate().distance(Vec2::new(3.5, 2.0));
        assert!((truth.position.x.hypot(truth.position.y) - reach).abs() < 1e-4);
    }

    #[test]
    fn unknown_words_and_things_are_named() {
        let mut known = room();
        known.situations[0].questions[0].question.text = "What is the table on?".to_owned();
        let labeled = known.situations[0].questions[0].clone();
        let generated = [labeled.into()];
        let unknown = Unknown::of(&[room()], &generated);
        assert_eq!(unknown.words.into_iter().collect::<Vec<_>>(), ["pomegranate"]);
        assert_eq!(unknown.categories.into_iter().collect::<Vec<_>>(), ["guitar"]);
    }
}
