//! SQA3D (arXiv 2210.07474): situated questions on ScanNet rooms.
//!
//! Two files per split, joined on `question_id`: questions with situations, and
//! annotations with answers and poses. Positions lie in the raw (not axis aligned)
//! scan space with the origin at the centre of the mesh's bounding box; a person
//! faces the *negative* x axis turned by the quaternion, whose `_w` may be negative.

use std::collections::BTreeMap;
use std::path::Path;

use glam::{Vec2, Vec3};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::DatasetError;
use crate::geometry::{AnchorFrame, Orientation};
use crate::qa::{AnswerKey, LabeledQuestion, Question, QuestionKind, Situation};

/// A pose in the raw scan space, relative to the centre of the mesh's bounding box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanPose {
    /// Metres.
    pub position: Vec2,
    /// Where the person faces.
    pub heading: Orientation,
}

impl ScanPose {
    /// The pose in the bev space of a clip whose `anchor` is in the raw scan space;
    /// `box_center` is the centre of the bounding box of the scan's mesh.
    pub fn situation(&self, box_center: Vec3, anchor: &AnchorFrame) -> Situation {
        let in_scan = (self.position + box_center.truncate()).extend(box_center.z);
        Situation {
            position: anchor.bev_from_world(in_scan),
            orientation: anchor.bev_orientation(self.heading),
        }
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Sqa3dSample {
    /// Official number.
    pub question_id: u64,
    /// ScanNet scene ("scene0000_00").
    pub scene: String,
    /// Question, situation text and answer. Its situation in numbers is unknown
    /// until the clip is, see [`ScanPose::situation`].
    pub labeled: LabeledQuestion,
    /// Other ways to say the same situation.
    pub alternative_situations: Vec<String>,
    /// Where the described person stands.
    pub pose: ScanPose,
}

/// A question that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Official number.
    pub question_id: u64,
    /// Why.
    pub reason: String,
}

/// What came out of two files.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sqa3dImport {
    /// Usable questions in the order of the file.
    pub samples: Vec<Sqa3dSample>,
    /// The others.
    pub skipped: Vec<Skipped>,
}

#[derive(Deserialize)]
struct QuestionFile {
    questions: Vec<RawQuestion>,
}

#[derive(Deserialize)]
struct RawQuestion {
    scene_id: String,
    situation: String,
    #[serde(default)]
    alternative_situation: Vec<String>,
    question: String,
    question_id: u64,
}

#[derive(Deserialize)]
struct AnnotationFile {
    annotations: Vec<RawAnnotation>,
}

#[derive(Deserialize)]
struct RawAnnotation {
    scene_id: String,
    question_id: u64,
    answers: Vec<RawAnswer>,
    rotation: RawRotation,
    position: RawPosition,
}

#[derive(Deserialize)]
struct RawAnswer {
    answer: String,
}

/// Read by key: the order differs between files and documentation.
#[derive(Deserialize)]
struct RawRotation {
    #[serde(rename = "_x")]
    x: f64,
    #[serde(rename = "_y")]
    y: f64,
    #[serde(rename = "_z")]
    z: f64,
    #[serde(rename = "_w")]
    w: f64,
}

#[derive(Deserialize)]
struct RawPosition {
    x: f64,
    y: f64,
}

/// Reads a split from its question and annotation file
/// (`v1_balanced_questions_*` and `v1_balanced_sqa_annotations_*`).
///
/// # Errors
/// When a file cannot be read, has another format, or no question is usable.
pub fn read_sqa3d(questions: &Path, annotations: &Path) -> Result<Sqa3dImport, DatasetError> {
    let asked: QuestionFile = read_json(questions)?;
    let answered: AnnotationFile = read_json(annotations)?;
    let by_id: BTreeMap<u64, RawAnnotation> =
        answered.annotations.into_iter().map(|annotation| (annotation.question_id, annotation)).collect();
    let mut import = Sqa3dImport::default();
    for question in asked.questions {
        let question_id = question.question_id;
        match sample(question, by_id.get(&question_id)) {
            Ok(sample) => import.samples.push(sample),
            Err(reason) => import.skipped.push(Skipped { question_id, reason }),
        }
    }
    if import.samples.is_empty() {
        return Err(DatasetError::NothingUsable {
            path: questions.to_owned(),
            skipped: import.skipped.len(),
            reason: import.skipped.first().map_or_else(|| "it is empty".to_owned(), |s| s.reason.clone()),
        });
    }
    Ok(import)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, DatasetError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| DatasetError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
    serde_json::from_str(&text)
        .map_err(|error| DatasetError::Format { path: path.to_owned(), reason: error.to_string() })
}

fn sample(question: RawQuestion, annotation: Option<&RawAnnotation>) -> Result<Sqa3dSample, String> {
    let annotation = annotation.ok_or("it has no annotation")?;
    if annotation.scene_id != question.scene_id {
        return Err(format!("scene {} is annotated as {}", question.scene_id, annotation.scene_id));
    }
    let answers: Vec<String> = annotation.answers.iter().map(|answer| answer.answer.clone()).collect();
    if answers.is_empty() {
        return Err("it has no answer".to_owned());
    }
    Ok(Sqa3dSample {
        question_id: question.question_id,
        scene: question.scene_id,
        labeled: LabeledQuestion {
            question: Question {
                kind: QuestionKind::of_sqa3d(&question.question),
                text: question.question,
                situation_text: Some(question.situation),
                choices: Vec::new(),
            },
            key: AnswerKey::Text(answers),
            situation: None,
        },
        alternative_situations: question.alternative_situation,
        pose: pose(&annotation.position, &annotation.rotation)?,
    })
}

fn pose(position: &RawPosition, rotation: &RawRotation) -> Result<ScanPose, String> {
    const UPRIGHT: f64 = 1e-3;
    let (RawRotation { x, y, z, w }, RawPosition { x: px, y: py }) = (rotation, position);
    let finite = [x, y, z, w, px, py].into_iter().all(|number| number.is_finite());
    if !finite || z.hypot(*w) < UPRIGHT {
        return Err("its pose is no number".to_owned());
    }
    if x.hypot(*y) > UPRIGHT {
        return Err("its rotation is not about the vertical axis".to_owned());
    }
    let yaw = 2.0 * z.atan2(*w) + std::f64::consts::PI;
    // Wrapped in f64: 2 atan2 reaches 2 pi when `_w` is negative.
    let yaw = yaw.rem_euclid(std::f64::consts::TAU);
    Ok(ScanPose {
        position: Vec2::new(*px as f32, *py as f32),
        heading: Orientation::from_radians(yaw as f32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::CameraPose;

    const QUESTIONS: &str = r#"{"info": {}, "questions": [
        {"scene_id": "scene9000_00", "situation": "I face the sink.", "alternative_situation": ["I wash my hands."],
         "question": "What is on my left?", "question_id": 220602000001},
        {"scene_id": "scene9000_00", "situation": "I sit.", "question": "Can I see it?", "question_id": 220602000002},
        {"scene_id": "scene9001_00", "situation": "I stand.", "question": "Is it red?", "question_id": 220602000003}]}"#;

    const ANNOTATIONS: &str = r#"{"annotations": [
        {"scene_id": "scene9000_00", "question_type": "N/A", "answer_type": "other", "question_id": 220602000002,
         "answers": [{"answer": "yes", "answer_confidence": "yes", "answer_id": 1}],
         "rotation": {"_w": -0.7071068, "_x": 0, "_y": 0, "_z": 0.7071068}, "position": {"x": 1, "y": -2, "z": 0.1}},
        {"scene_id": "scene9000_00", "question_id": 220602000001,
         "answers": [{"answer": "towel", "answer_confidence": "yes", "answer_id": 1}],
         "rotation": {"_x": 0, "_y": 0, "_z": 0.0, "_w": 1.0}, "position": {"x": 0.5, "y": 0.25, "z": 0}},
        {"scene_id": "scene9001_00", "question_id": 220602000003, "answers": [{"answer": "no"}],
         "rotation": {"_x": 0.5, "_y": 0.5, "_z": 0.5, "_w": 0.5}, "position": {"x": 0, "y": 0, "z": 0}}]}"#;

    fn import(questions: &str, annotations: &str) -> Result<Sqa3dImport, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        let (q, a) = (folder.path().join("q.json"), folder.path().join("a.json"));
        std::fs::write(&q, questions).unwrap();
        std::fs::write(&a, annotations).unwrap();
        read_sqa3d(&q, &a)
    }

    #[test]
    fn questions_join_their_annotations() {
        let import = import(QUESTIONS, ANNOTATIONS).unwrap();
        let first = &import.samples[0];
        assert_eq!(first.labeled.key, AnswerKey::Text(vec!["towel".to_owned()]));
        assert_eq!(first.labeled.question.kind, QuestionKind::What);
        assert_eq!(first.alternative_situations, ["I wash my hands."]);
        assert_eq!(import.samples.len(), 2);
        assert_eq!(import.skipped[0].question_id, 220_602_000_003);
        assert!(import.skipped[0].reason.contains("vertical"));
    }

    #[test]
    fn an_unturned_person_faces_minus_x() {
        let import = import(QUESTIONS, ANNOTATIONS).unwrap();
        assert!(import.samples[0].pose.heading.distance(Orientation::from_degrees(180.0)) < 1e-5);
        // (z, w) = (√½, -√½) is a turn by -90°, whatever the sign of the quaternion.
        assert!(import.samples[1].pose.heading.distance(Orientation::from_degrees(90.0)) < 1e-5);
    }

    #[test]
    fn poses_move_into_the_bev_space_of_a_clip() {
        let pose = ScanPose { position: Vec2::new(0.5, 0.25), heading: Orientation::from_degrees(180.0) };
        let camera = CameraPose::looking(Vec3::new(3.0, 2.0, 1.5), Orientation::from_degrees(0.0), 0.0, 0.0);
        let anchor = AnchorFrame::from_first_camera(&camera);
        let situation = pose.situation(Vec3::new(3.5, 2.75, 1.2), &anchor);
        // One metre ahead and one to the left of the camera, facing it.
        assert!((situation.position.x + 1.0).abs() < 1e-5);
        assert!((situation.position.y - 1.0).abs() < 1e-5);
        assert!((situation.orientation.degrees() + 90.0).abs() < 1e-3);
    }

    #[test]
    fn faults_name_the_file_and_the_reason() {
        let error = import("[]", ANNOTATIONS).unwrap_err().to_string();
        assert!(error.contains("q.json") && error.contains("SQA3D format"), "{error}");
        let error = import(QUESTIONS, r#"{"annotations": []}"#).unwrap_err().to_string();
        assert!(error.contains("3 skipped") && error.contains("no annotation"), "{error}");
        let error = read_sqa3d(Path::new("/nowhere/q.json"), Path::new("a.json")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/q.json"), "{error}");
    }
}
