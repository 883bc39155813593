//! One clip as the joint stage uses it: the frozen tower's features, camera poses,
//! layout targets and tokenised questions. Made once per clip, used several times.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use glam::{Vec2, Vec3};
use rayon::prelude::*;

use super::TrainError;
use super::alignment::word_shares;
use super::clip::{Clip, ClipMaker, NO_CLASS, category_names, color_names};
use super::joint_scenes::token_colors;
use super::pixels::pixel_tensor;
use super::pointing::tokens_showing;
use super::tracking::tracked;
use crate::geometry::{BevPoint, Orientation};
use crate::model::odometry::OdometryCamera;
use crate::model::odometry::planar::PlanarPose;
use crate::model::odometry::pose_code::FramePose;
use crate::model::prompt::{FrameTimes, PromptQuestion, PromptText};
use crate::model::tokenizer::TextTokenizer;
use crate::model::{ModelConfig, Network};
use crate::qa::{AnswerKey, Question, Situation};
use crate::synth::SynthQuestion;

/// A noun in the text and the place of what it names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MentionTarget {
    /// Index of the noun's last token among the ids.
    pub token: usize,
    /// Number of the object.
    pub object: usize,
    /// Its centre, bev space of the clip.
    pub position: BevPoint,
    /// Where its front faces, bev axes; `None` for things without a front.
    pub front: Option<Orientation>,
    /// Its colour class; [`NO_CLASS`] where no colour applies.
    pub color: u8,
    /// First token of an answer that names the thing, or its colour.
    pub names: [Option<u32>; 2],
    /// Whether it is the answer, as one of the things that the question names.
    pub answers: bool,
}

/// A question as token ids behind the video.
#[derive(Debug, Clone, PartialEq)]
pub struct Suffix {
    /// Text after the video with the right answer.
    pub ids: Vec<u32>,
    /// Index of the first answer token; the answer reaches to the end.
    pub answer: usize,
    /// Whether the answer names a thing or a colour.
    pub naming: bool,
    /// Index of `<Pos>`.
    pub position: usize,
    /// Index of `<Ori>`.
    pub orientation: usize,
    /// Where the described person is; `None` for questions about the whole room.
    pub situation: Option<Situation>,
    /// The situation in words.
    pub text: Option<String>,
    /// Named objects.
    pub mentions: Vec<MentionTarget>,
}

/// A clip of the joint stage.
#[derive(Debug, Clone)]
pub struct JointSample {
    /// Output of the frozen tower, (F, N, D).
    pub features: Tensor,
    /// True poses.
    pub true_poses: Vec<FramePose>,
    /// Poses of the camera encoder; `None` where the clip was not followed.
    pub estimated_poses: Option<Vec<FramePose>>,
    /// True anchor-space point per pooled token, frame-major; its bev position is the
    /// layout target.
    pub true_points: Vec<Option<Vec3>>,
    /// The same as the camera encoder sees it; empty where the clip was not followed.
    pub estimated_points: Vec<Option<Vec3>>,
    /// Mean colour under each pooled token, frame-major.
    pub colors: Vec<[u8; 3]>,
    /// Height of the first camera above the floor, metres.
    pub first_height: f32,
    /// Share of each word per pooled token, (F n, W); see [`super::alignment`].
    pub words: Tensor,
    /// Pooled tokens that show an object and their shares, by object number.
    pub shown: Vec<Vec<(u32, f32)>>,
    /// Where the front of the object faces that a pooled token shows, frame-major.
    pub fronts: Vec<Option<Orientation>>,
    /// The questions.
    pub suffixes: Vec<Suffix>,
}

/// Makes samples with the frozen parts of the network.
#[derive(Debug, Clone)]
pub struct SampleMaker {
    /// Rooms and pictures.
    pub clips: ClipMaker,
    /// Sizes and prompt.
    pub model: ModelConfig,
    /// Its vision tower is used.
    pub network: Network,
    /// Estimates poses.
    pub camera: OdometryCamera,
    /// Words to ids.
    pub tokenizer: TextTokenizer,
    /// How answers begin that name a thing or a colour.
    pub names: FirstTokens,
    /// Whether pictures are varied.
    pub augment: bool,
}

/// The tokens that answers begin with, by class.
#[derive(Debug, Clone)]
pub struct FirstTokens {
    /// Of all categories and colours.
    names: BTreeSet<String>,
    categories: Vec<Option<u32>>,
    colors: Vec<Option<u32>>,
}

impl FirstTokens {
    /// Of all category and colour names.
    pub fn new(tokenizer: &TextTokenizer) -> Result<Self, TrainError> {
        let first = |name: String| {
            let ids = tokenizer.encode(&name);
            ids.map(|ids| ids.first().copied())
                .map_err(|error| TrainError::Data { reason: error.to_string() })
        };
        Ok(Self {
            names: category_names().into_iter().chain(color_names()).collect(),
            categories: category_names().into_iter().map(first).collect::<Result<_, _>>()?,
            colors: color_names().into_iter().map(first).collect::<Result<_, _>>()?,
        })
    }

    /// Of a thing's category and of its colour, where it has one.
    fn of(&self, category: u8, color: u8) -> [Option<u32>; 2] {
        [(&self.categories, category), (&self.colors, color)].map(|(tokens, class)| {
            let named = tokens.get(usize::from(class)).filter(|_| class != NO_CLASS);
            named.copied().flatten()
        })
    }
}

impl SampleMaker {
    /// The sample of a scene seed.
    pub fn make(&self, seed: u64) -> Result<JointSample, TrainError> {
        self.make_of(self.clips, seed)
    }

    /// The sample of a scene seed with another choice of rooms.
    pub fn make_of(&self, clips: ClipMaker, seed: u64) -> Result<JointSample, TrainError> {
        let clip = clips.make(seed);
        let device = self.network.device();
        let pictures: Vec<&[u8]> = clip.views.iter().map(|view| view.rgb.as_slice()).collect();
        let side = self.model.vision.image_size;
        let pixels = pixel_tensor(&pictures, side, self.augment.then_some(seed), device)?;
        let features = self.network.vision.forward(&pixels)?.detach();
        let found = tracked(&clip, &self.network, &self.camera)?;
        let grid = self.clips.pooled_grid;
        let words: Vec<f32> = clip.views.iter().flat_map(|view| word_shares(view, grid)).collect();
        let tokens = clip.views.len() * grid * grid;
        let shape = (tokens, words.len() / tokens.max(1));
        let words = Tensor::from_vec(words, shape, device)?;
        let shown = tokens_showing(&clip.views, grid, clip.objects.len());
        Ok(JointSample {
            features,
            true_poses: true_poses(&clip),
            true_points: clip.views.iter().flat_map(|view| view.token_points.iter().copied()).collect(),
            estimated_points: found.as_ref().map(|found| found.token_points(grid)).unwrap_or_default(),
            estimated_poses: found.map(|found| found.poses),
            colors: clip.views.iter().flat_map(|view| token_colors(view, grid)).collect(),
            first_height: clip.views.first().map_or(0.0, |view| view.view[0]),
            words,
            fronts: fronts_shown(&shown, &clip.fronts, tokens),
            shown,
            suffixes: self.suffixes(&clip)?,
        })
    }

    /// How held-out rooms are filmed: the camera is followed where the model has camera tokens.
    pub fn held_out_clips(&self) -> ClipMaker {
        let followed = self.model.has_camera_tokens().then(|| self.camera.config().spacing);
        ClipMaker { spacing: followed.or(self.clips.spacing), ..self.clips }
    }

    /// The samples of held-out rooms: pictures as they are.
    pub fn held_out(&self, seeds: Range<u64>) -> Result<Vec<Arc<JointSample>>, TrainError> {
        let maker = Self { augment: false, clips: self.held_out_clips(), ..self.clone() };
        seeds.into_par_iter().map(|seed| maker.make(seed).map(Arc::new)).collect()
    }

    fn suffixes(&self, clip: &Clip) -> Result<Vec<Suffix>, TrainError> {
        let mut suffixes = clip
            .questions
            .iter()
            .filter_map(|question| self.suffix(question, clip).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if suffixes.is_empty() {
            // A clip without questions still supervises the layout.
            suffixes.push(Suffix {
                ids: vec![self.tokenizer.position_id, self.tokenizer.orientation_id],
                answer: 2,
                naming: false,
                position: 0,
                orientation: 1,
                situation: None,
                text: None,
                mentions: Vec::new(),
            });
        }
        Ok(suffixes)
    }

    /// `None` when the tokenizer does not keep the situation tokens apart.
    fn suffix(&self, question: &SynthQuestion, clip: &Clip) -> Result<Option<Suffix>, TrainError> {
        let asked = &question.labeled.question;
        let tail = prompt_of(&self.model, asked).tail;
        let encode = |text: &str| {
            self.tokenizer.encode(text).map_err(|error| TrainError::Data { reason: error.to_string() })
        };
        let mut ids = encode(&tail)?;
        let answer = ids.len();
        let index_of = |id: u32| ids.iter().position(|&token| token == id);
        let (Some(position), Some(orientation)) =
            (index_of(self.tokenizer.position_id), index_of(self.tokenizer.orientation_id))
        else {
            return Ok(None);
        };
        let mut mentions = Vec::new();
        for (end, object) in named(&tail, question, &clip.named_alone) {
            if let (Some(text), Some(&position)) = (tail.get(..end), clip.objects.get(object)) {
                let token = encode(text)?.len().saturating_sub(1);
                let front = clip.fronts.get(object).copied().flatten();
                let color = clip.colors.get(object).copied().unwrap_or(NO_CLASS);
                let answers = token > orientation && is_among(text, &question.labeled.key);
                let category = clip.categories.get(object).copied().unwrap_or(NO_CLASS);
                let names = self.names.of(category, color);
                mentions.push(MentionTarget { token, object, position, front, color, names, answers });
            }
        }
        if mentions.iter().filter(|mention| mention.answers).count() > 1 {
            // "The chair or the desk chair?": the words do not tell which.
            for mention in &mut mentions {
                mention.answers = false;
            }
        }
        let words = question.labeled.key.words(asked);
        let naming = self.names.names.contains(&words);
        ids.extend(encode(&PromptText::completion(&words))?);
        let situation = question.labeled.situation;
        let text = asked.situation_text.clone();
        Ok(Some(Suffix { ids, answer, naming, position, orientation, situation, text, mentions }))
    }
}

/// Whether `text` ends with one of the accepted answers.
fn is_among(text: &str, key: &AnswerKey) -> bool {
    let text = text.to_lowercase();
    matches!(key, AnswerKey::Text(accepted) if accepted.iter().any(|name| text.ends_with(&name.to_lowercase())))
}

/// Where the text behind the video names an object: the byte behind the noun, and the
/// object's number. In a situation and its question that is known; elsewhere a category
/// name counts that means one object only.
fn named(tail: &str, question: &SynthQuestion, alone: &[(String, usize)]) -> Vec<(usize, usize)> {
    let asked = &question.labeled.question;
    let situation = asked.situation_text.as_deref().map(str::trim);
    let mut named: Vec<(usize, usize)> = Vec::new();
    let mut taken: Vec<Range<usize>> = Vec::new();
    for (text, mentions) in
        [(situation, &question.mentions), (Some(asked.text.as_str()), &question.asked_about)]
    {
        if let Some((text, start)) = text.and_then(|text| Some((text, tail.find(text)?))) {
            named.extend(mentions.iter().map(|mention| (start + mention.end, mention.object.0 as usize)));
            taken.extend((!mentions.is_empty()).then(|| start..start + text.len()));
        }
    }
    let mut longest_first: Vec<&(String, usize)> = alone.iter().collect();
    longest_first.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, object) in longest_first {
        for (at, _) in tail.match_indices(name.as_str()) {
            let end = at + name.len();
            let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            let within = letter(tail[..at].chars().next_back()) || letter(tail[end..].chars().next());
            if !within && taken.iter().all(|range| end <= range.start || at >= range.end) {
                taken.push(at..end);
                named.push((end, *object));
            }
        }
    }
    named
}

/// Share of a token that an object must fill to lend it its front.
const MOST: f32 = 0.5;

/// The front of what each of `tokens` mostly shows; `shown` and `fronts` by object number.
fn fronts_shown(
    shown: &[Vec<(u32, f32)>],
    fronts: &[Option<Orientation>],
    tokens: usize,
) -> Vec<Option<Orientation>> {
    let mut known = vec![None; tokens];
    for (over, front) in shown.iter().zip(fronts) {
        for (token, _) in over.iter().filter(|(_, share)| *share >= MOST) {
            if let Some(slot) = known.get_mut(*token as usize) {
                *slot = *front;
            }
        }
    }
    known
}

/// The prompt of a question.
pub fn prompt_of(model: &ModelConfig, question: &Question) -> PromptText {
    let times = FrameTimes { duration_secs: 0.0, frame_secs: Vec::new() };
    let words = PromptQuestion {
        situation: question.situation_text.as_deref(),
        question: &question.text,
        choices: &question.choices,
    };
    PromptText::new(&model.prompt, &times, words)
}

fn true_poses(clip: &Clip) -> Vec<FramePose> {
    let first_height = clip.views.first().map_or(0.0, |view| view.view[0]);
    clip.views
        .iter()
        .map(|view| FramePose {
            planar: view.planar,
            height: view.view[0] - first_height,
            pitch: view.view[1],
            roll: view.view[2],
            log_focal: [view.view[3], view.view[4]],
            support: 20.0,
        })
        .collect()
}

/// Errors of tilt (radians) and focal length (ln) of an estimate, standard deviations.
const TILT_NOISE: f32 = 0.03;
const FOCAL_NOISE: f32 = 0.03;

/// `poses` with the errors of an estimate: those of position and heading grow along
/// the clip (`shift` metres and `yaw` radians at the end, standard deviations), the
/// focal length is wrong for the whole clip, the tilt a little in every frame.
pub fn noisy_poses(
    poses: &[FramePose],
    (shift, yaw): (f32, f32),
    normal: &mut dyn FnMut() -> f32,
) -> Vec<FramePose> {
    let step = 1.0 / (poses.len().max(1) as f32).sqrt();
    let mut drift = PlanarPose::IDENTITY;
    let focal = FOCAL_NOISE * normal();
    poses
        .iter()
        .enumerate()
        .map(|(k, pose)| {
            if k > 0 {
                drift.shift += Vec2::new(normal(), normal()) * (shift * step);
                drift.yaw += normal() * yaw * step;
            }
            let planar =
                PlanarPose { shift: pose.planar.shift + drift.shift, yaw: pose.planar.yaw + drift.yaw };
            let support = pose.support * (0.8 * normal()).exp();
            FramePose {
                planar,
                height: pose.height + 0.03 * normal(),
                pitch: pose.pitch + TILT_NOISE * normal(),
                roll: pose.roll + TILT_NOISE * normal(),
                log_focal: pose.log_focal.map(|log| log + focal),
                support,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qa::{AnswerKey, LabeledQuestion, QuestionKind};
    use crate::scene::ObjectId;
    use crate::synth::Mention;

    #[test]
    fn a_noun_is_the_answer_whatever_its_adjective() {
        let key = AnswerKey::Text(vec!["sofa".to_owned(), "couch".to_owned()]);
        assert!(is_among("Which is closer, the red Couch", &key));
        assert!(!is_among("Which is closer, the couch or the lamp", &key));
        assert!(!is_among("How many lamps", &AnswerKey::Number(2.0)));
    }

    #[test]
    fn things_without_a_colour_are_called_by_their_category_alone() {
        let names = FirstTokens {
            names: BTreeSet::new(),
            categories: vec![Some(1), Some(7)],
            colors: vec![Some(2), Some(9)],
        };
        assert_eq!(names.of(1, 1), [Some(7), Some(9)]);
        assert_eq!(names.of(1, NO_CLASS), [Some(7), None]);
        assert_eq!(names.of(3, 1), [None, Some(9)]);
    }

    #[test]
    fn nouns_of_the_question_count_where_they_mean_one_object() {
        let question = Question {
            kind: QuestionKind::What,
            text: "Is the table near the coffee table or the tables?".to_owned(),
            situation_text: Some("I sit at the table.".to_owned()),
            choices: Vec::new(),
        };
        let labeled = LabeledQuestion { question, key: AnswerKey::Choice(0), situation: None };
        let mention = Mention { start: 13, end: 18, object: ObjectId(7) };
        let question = SynthQuestion { mentions: vec![mention], ..labeled.into() };
        let tail = "I sit at the table. Is the table near the coffee table or the tables?";
        let alone = [("table".to_owned(), 1), ("coffee table".to_owned(), 2)];
        let found = named(tail, &question, &alone);
        let words = |(end, object): &(usize, usize)| (&tail[..*end], *object);
        assert_eq!(
            found.iter().map(words).collect::<Vec<_>>(),
            [
                ("I sit at the table", 7),
                ("I sit at the table. Is the table near the coffee table", 2),
                ("I sit at the table. Is the table", 1),
            ]
        );
    }

    #[test]
    fn nouns_that_a_question_marks_are_taken_as_they_are() {
        let question = Question {
            kind: QuestionKind::Is,
            text: "Is the couch behind the table?".to_owned(),
            situation_text: None,
            choices: Vec::new(),
        };
        let labeled = LabeledQuestion { question, key: AnswerKey::Choice(0), situation: None };
        let mention = Mention { start: 7, end: 12, object: ObjectId(3) };
        let question = SynthQuestion { asked_about: vec![mention], ..labeled.into() };
        let found = named("Go. Is the couch behind the table?", &question, &[("table".to_owned(), 1)]);
        assert_eq!(found, [(16, 3)]);
    }

    #[test]
    fn noise_leaves_the_first_frame_and_grows() {
        let pose = FramePose { support: 1.0, ..FramePose::START };
        let noisy = noisy_poses(&[pose; 9], (0.3, 0.1), &mut || 1.0);
        assert_eq!(noisy[0].planar, PlanarPose::IDENTITY);
        assert!((noisy[8].planar.shift.x - 0.8).abs() < 1e-5);
        assert!(noisy[4].planar.yaw < noisy[8].planar.yaw);
    }
}
