//! Real rooms as object boxes with human-written situations: ScanNet rooms of the
//! SQA3D validation split joined with the boxes of VSI-Bench's meta information.
//!
//! One JSON object, a room per key. Boxes and poses lie in the raw scan space: metres,
//! z up, origin at the centre of the mesh's bounding box. Here the floor (the lowest
//! point of all boxes) is moved to z = 0.

use std::collections::BTreeMap;
use std::path::Path;

use glam::{Vec2, Vec3};
use serde::Deserialize;

use super::DatasetError;
use super::sqa3d::ScanPose;
use crate::geometry::{Orientation, OrientedBox};
use crate::qa::{AnswerKey, LabeledQuestion, Question, QuestionKind};

/// Largest accepted coordinate and size, metres.
const MAX_METRES: f64 = 200.0;
/// Smallest side of a box, metres: flat things get this thickness.
const LEAST_SIDE: f32 = 0.02;
/// Cosine above which the axis of a box counts as upright.
const UPRIGHT: f64 = 0.9;

/// One room.
#[derive(Debug, Clone, PartialEq)]
pub struct RealRoom {
    /// ScanNet scene ("scene0518_00").
    pub name: String,
    /// What stands in it.
    pub objects: Vec<RealObject>,
    /// What people wrote about it.
    pub situations: Vec<RealSituation>,
}

/// A labelled box.
#[derive(Debug, Clone, PartialEq)]
pub struct RealObject {
    /// As annotated ("trash bin").
    pub label: String,
    /// Its place, floor at z = 0. Which of its sides is the front is not annotated:
    /// the yaw is that of one of its horizontal axes.
    pub bounds: OrientedBox,
}

/// A described pose with the questions asked there.
#[derive(Debug, Clone, PartialEq)]
pub struct RealSituation {
    /// Where the person stands and faces.
    pub pose: ScanPose,
    /// Question, situation text and answer; their situations in numbers are unknown
    /// until the clip is, see [`ScanPose::situation`].
    pub questions: Vec<LabeledQuestion>,
}

#[derive(Deserialize)]
struct RawRoom {
    objects: Vec<RawObject>,
    situations: Vec<RawSituation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawObject {
    label: String,
    centroid: [f64; 3],
    axes_lengths: [f64; 3],
    normalized_axes: [f64; 9],
    min: [f64; 3],
    max: [f64; 3],
}

#[derive(Deserialize)]
struct RawSituation {
    text: String,
    position: [f64; 2],
    heading_deg_facing: f64,
    qa: Vec<RawQuestion>,
}

#[derive(Deserialize)]
struct RawQuestion {
    question: String,
    answer: String,
}

/// Reads all rooms of a file, in the order of their names.
///
/// # Errors
/// When the file cannot be read, has another format, or holds impossible numbers; the
/// message names the room.
pub fn read_real_rooms(path: &Path) -> Result<Vec<RealRoom>, DatasetError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| DatasetError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
    let reject = |reason: String| DatasetError::Rooms { path: path.to_owned(), reason };
    let rooms: BTreeMap<String, RawRoom> =
        serde_json::from_str(&text).map_err(|error| reject(error.to_string()))?;
    if rooms.is_empty() {
        return Err(reject("it holds no room".to_owned()));
    }
    rooms
        .into_iter()
        .map(|(name, raw)| room(&name, raw).map_err(|reason| reject(format!("room {name}: {reason}"))))
        .collect()
}

fn room(name: &str, raw: RawRoom) -> Result<RealRoom, String> {
    if raw.objects.is_empty() {
        return Err("it has no objects".to_owned());
    }
    let floor = raw.objects.iter().map(|object| object.min[2]).fold(f64::INFINITY, f64::min);
    let objects = raw
        .objects
        .into_iter()
        .enumerate()
        .map(|(index, object)| {
            let bounds = bounds(&object, floor).map_err(|reason| format!("objects[{index}]: {reason}"))?;
            Ok(RealObject { label: object.label.trim().to_lowercase(), bounds })
        })
        .collect::<Result<_, String>>()?;
    let situations = raw
        .situations
        .into_iter()
        .enumerate()
        .map(|(index, raw)| situation(raw).map_err(|reason| format!("situations[{index}]: {reason}")))
        .collect::<Result<_, String>>()?;
    Ok(RealRoom { name: name.to_owned(), objects, situations })
}

/// The upright box: the annotated one where one of its axes is vertical, else the one
/// along the scan's axes.
fn bounds(object: &RawObject, floor: f64) -> Result<OrientedBox, String> {
    let numbers =
        [&object.centroid[..], &object.axes_lengths, &object.normalized_axes, &object.min, &object.max];
    if numbers.into_iter().flatten().any(|number| !number.is_finite() || number.abs() > MAX_METRES) {
        return Err("its box holds a number that cannot be".to_owned());
    }
    let axis = |k: usize| &object.normalized_axes[3 * k..3 * k + 3];
    let upright = (0..3).find(|&k| axis(k)[2].abs() > UPRIGHT);
    let (center, size, yaw) = if let Some(up) = upright {
        let (a, b) = ((up + 1) % 3, (up + 2) % 3);
        let size = [object.axes_lengths[a], object.axes_lengths[b], object.axes_lengths[up]];
        (object.centroid, size, axis(a)[1].atan2(axis(a)[0]))
    } else {
        let (low, high) = (object.min, object.max);
        let center = std::array::from_fn(|k| 0.5 * (low[k] + high[k]));
        (center, std::array::from_fn(|k| high[k] - low[k]), 0.0)
    };
    let [x, y, z] = center;
    Ok(OrientedBox {
        center: Vec3::new(x as f32, y as f32, (z - floor) as f32),
        size: Vec3::from_array(size.map(|side| side as f32)).max(Vec3::splat(LEAST_SIDE)),
        yaw: Orientation::from_radians(yaw as f32),
    })
}

fn situation(raw: RawSituation) -> Result<RealSituation, String> {
    let [x, y] = raw.position;
    if ![x, y, raw.heading_deg_facing].iter().all(|number| number.is_finite() && number.abs() < 1e4) {
        return Err("its pose is no number".to_owned());
    }
    let questions = raw
        .qa
        .into_iter()
        .map(|qa| LabeledQuestion {
            question: Question {
                kind: QuestionKind::of_sqa3d(&qa.question),
                text: qa.question,
                situation_text: Some(raw.text.clone()),
                choices: Vec::new(),
            },
            key: AnswerKey::Text(vec![qa.answer]),
            situation: None,
        })
        .collect();
    let pose = ScanPose {
        position: Vec2::new(x as f32, y as f32),
        heading: Orientation::from_degrees(raw.heading_deg_facing as f32),
    };
    Ok(RealSituation { pose, questions })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = r#"{"scene0000_00": {"split": "val", "room_size_m2": 9.0,
        "objects": [
          {"label": "Sofa", "centroid": [1.0, 0.0, -0.5], "axesLengths": [0.8, 2.0, 0.9],
           "normalizedAxes": [0,0,1, 0,1,0, 1,0,0], "min": [0.5,-1,-0.9], "max": [1.5,1,-0.1]},
          {"label": "chair", "centroid": [0, 0, 0], "axesLengths": [0.5, 0.5, 0.5],
           "normalizedAxes": [0.6,0,0.8, 0,1,0, -0.8,0,0.6], "min": [-0.3,-0.2,-0.7], "max": [0.3,0.4,0.3]}],
        "situations": [{"text": "I sit on the sofa.", "alternatives": [], "position": [1.0, 0.25],
          "quat_xyzw": [0,0,0,1], "heading_deg_facing": -90.0,
          "qa": [{"question_id": 1, "question": "What is on my left?", "answer": "chair"}]}]}}"#;

    fn read(text: &str) -> Result<Vec<RealRoom>, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rooms.json");
        std::fs::write(&path, text).unwrap();
        read_real_rooms(&path)
    }

    #[test]
    fn boxes_stand_upright_on_the_floor() {
        let room = read(ROOM).unwrap().remove(0);
        let sofa = &room.objects[0];
        assert_eq!(sofa.label, "sofa");
        assert!((sofa.bounds.center.z - 0.4).abs() < 1e-6, "{:?}", sofa.bounds);
        // The first axis is the vertical one: the second and third span the floor.
        assert_eq!(sofa.bounds.size, Vec3::new(2.0, 0.9, 0.8));
        assert!(sofa.bounds.yaw.distance(Orientation::from_degrees(90.0)) < 1e-6);
        // No axis of the chair is upright: its extent along the scan's axes counts.
        assert!((room.objects[1].bounds.size - Vec3::new(0.6, 0.6, 1.0)).length() < 1e-6);
        assert!((room.objects[1].bounds.center - Vec3::new(0.0, 0.1, 0.7)).length() < 1e-6);
    }

    #[test]
    fn situations_keep_their_words_and_poses() {
        let situation = read(ROOM).unwrap().remove(0).situations.remove(0);
        assert_eq!(situation.pose.position, Vec2::new(1.0, 0.25));
        let question = &situation.questions[0];
        assert_eq!(question.question.situation_text.as_deref(), Some("I sit on the sofa."));
        assert_eq!(question.key, AnswerKey::Text(vec!["chair".to_owned()]));
    }

    #[test]
    fn faults_name_the_room() {
        let error = read(&ROOM.replace("[1.0, 0.25]", "[1e9, 0.25]")).unwrap_err().to_string();
        assert!(error.contains("scene0000_00") && error.contains("situations[0]"), "{error}");
        let error = read(&ROOM.replace("0.8, 2.0, 0.9", "0.8, 2e7, 0.9")).unwrap_err().to_string();
        assert!(error.contains("objects[0]"), "{error}");
        assert!(read("{}").unwrap_err().to_string().contains("no room"));
        assert!(read("[1]").unwrap_err().to_string().contains("rooms.json"));
    }
}
