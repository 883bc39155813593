//! A batch of the joint stage: clips with packed questions as tensors.
//!
//! Shapes: B clips, F frames, N patches, M pooled tokens of a clip, K questions a
//! clip, L tokens of the longest question, S = B K L rows of all questions.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use glam::Vec3;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::TrainError;
use super::clip::NO_CLASS;
use super::config::{CameraSource, CueSource, JointConfig};
use super::feed::BatchSource;
use super::joint_sample::{JointSample, Suffix, noisy_poses};
use super::loss::IGNORED_LABEL;
use super::pointing::{POINTING_HEADS, Pointer};
use super::pool::ClipPool;
use super::referring::{
    Echoes, Referrer, Strangers, asked, egocentric, gaze, nouns_of_answer, nouns_of_orientation,
    nouns_of_position,
};
use crate::geometry::BevPoint;
use crate::model::geometry_cue::cue_codes;
use crate::model::odometry::pose_code::pose_code;

/// What one step trains on.
#[derive(Debug, Clone)]
pub struct JointBatch {
    /// Tower features (B, F, N, D).
    pub features: Tensor,
    /// Camera tokens (B, F, c); `None` without.
    pub cameras: Option<Tensor>,
    /// Codes of the tokens' points (B, F, n, c); `None` without a geometry cue.
    pub cue: Option<Tensor>,
    /// Layout targets (B, M, 2), 0 where unknown.
    pub layout: Tensor,
    /// 1 where the target is known, (B, M).
    pub layout_known: Tensor,
    /// Where the fronts of the tokens' objects face, unit vectors (B, M, 2), 0 where unknown.
    pub fronts: Tensor,
    /// 1 where the front is known, (B, M).
    pub fronts_known: Tensor,
    /// Share of each word per pooled token, (B M, W).
    pub words: Tensor,
    /// Who is to learn from it, and what.
    pub lesson: Lesson,
    /// Questions behind each clip.
    pub copies: usize,
    /// Token ids (B K, L), padded with 0.
    pub ids: Tensor,
    /// Supervised rows among S.
    pub rows: SuffixRows,
    /// Nouns whose object is seen, clip after clip.
    pub pointers: Vec<Pointer>,
    /// Rows that are told where to look.
    pub referrers: Referrers,
    /// Nouns with persons of other questions.
    pub strangers: Strangers,
    /// Answers with nouns of other questions.
    pub echoes: Echoes,
}

/// Who learns from a batch, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// The projector alone, the words that tokens show.
    Words,
    /// Heads alone, to read what rows hold already.
    Heads,
    /// Everything.
    All,
}

/// Rows with the rows of the same question that they are told to look at, clip after clip.
#[derive(Debug, Clone, Default)]
pub struct Referrers {
    /// Situation tokens and the nouns they mean.
    pub situations: Vec<Referrer>,
    /// Nouns of the question itself and the situation tokens.
    pub nouns: Vec<Referrer>,
    /// Rows before the answer and the nouns of the question.
    pub answers: Vec<Referrer>,
}

/// Rows of the flattened suffixes (S) that carry a target, with the targets.
#[derive(Debug, Clone, Default)]
pub struct SuffixRows {
    /// Rows before each answer token, and that token.
    pub answer: Vec<(u32, i64)>,
    /// The same tokens where the answer names a thing or a colour, elsewhere [`IGNORED_LABEL`].
    pub naming: Vec<i64>,
    /// First answer row of every question (index into `answer`), for whole-answer figures.
    pub answer_starts: Vec<usize>,
    /// `<Pos>` rows and positions in metres.
    pub position: Vec<(u32, BevPoint)>,
    /// `<Ori>` rows and headings in radians.
    pub orientation: Vec<(u32, f64)>,
    /// `<Ori>` rows and the way from the person to what they look at, metres.
    pub gaze: Vec<(u32, BevPoint)>,
    /// Rows of nouns and the places they name.
    pub mentions: Vec<(u32, BevPoint)>,
    /// Rows of nouns in questions and the places they name: right of and ahead of the
    /// person, metres.
    pub egocentric: Vec<(u32, BevPoint)>,
    /// Rows of nouns and unit vectors along the fronts of what they name.
    pub fronts: Vec<(u32, BevPoint)>,
    /// Rows of nouns and the colour classes of what they name.
    pub colors: Vec<(u32, i64)>,
}

/// Builds batches from a pool of samples.
#[derive(Debug)]
pub struct JointSource {
    /// Where samples come from.
    pub pool: ClipPool<JointSample>,
    /// Camera tokens, questions.
    pub joint: JointConfig,
    /// Width of a camera token.
    pub token_dim: usize,
    /// Decides noise and the choice of questions.
    pub seed: u64,
    /// First batches, which teach the projector words.
    pub of_words: u64,
    /// Those behind them, which teach heads.
    pub of_heads: u64,
}

impl JointSource {
    fn lesson(&self, step: u64) -> Lesson {
        match step {
            step if step < self.of_words => Lesson::Words,
            step if step < self.of_words + self.of_heads => Lesson::Heads,
            _ => Lesson::All,
        }
    }
}

impl BatchSource for JointSource {
    type Batch = JointBatch;

    fn batch(&mut self, step: u64) -> Result<JointBatch, TrainError> {
        let samples = self.pool.clips(step)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ step.wrapping_mul(0xd134_2543_de82_ef95));
        let batch = joint_batch(&samples, &self.joint, self.token_dim, Some(&mut rng))?;
        Ok(JointBatch { lesson: self.lesson(step), ..batch })
    }
}

/// The batch of some samples; without a generator, poses have no noise and the
/// first questions are taken.
pub fn joint_batch(
    samples: &[Arc<JointSample>],
    joint: &JointConfig,
    token_dim: usize,
    mut rng: Option<&mut ChaCha8Rng>,
) -> candle_core::Result<JointBatch> {
    let device = match samples.first() {
        Some(sample) => sample.features.device(),
        None => &Device::Cpu,
    };
    let features: Vec<&Tensor> = samples.iter().map(|sample| &sample.features).collect();
    let cameras = match joint.camera {
        CameraSource::None => None,
        source => {
            let tokens = samples
                .iter()
                .map(|sample| camera_tokens(sample, source, joint, token_dim, rng.as_deref_mut()))
                .collect::<candle_core::Result<Vec<_>>>()?;
            Some(Tensor::stack(&tokens, 0)?)
        }
    };
    let count = samples.len();
    let tokens = samples.first().map_or(0, |sample| sample.true_points.len());
    let points = samples.iter().flat_map(|sample| &sample.true_points);
    let known: Vec<f32> = points.clone().map(|point| f32::from(u8::from(point.is_some()))).collect();
    let layout: Vec<f32> =
        points.flat_map(|point| point.map_or([0.0; 2], |point| [point.x, point.y])).collect();
    let fronts = samples.iter().flat_map(|sample| &sample.fronts);
    let fronts_known: Vec<f32> = fronts.clone().map(|front| f32::from(u8::from(front.is_some()))).collect();
    let fronts: Vec<f32> =
        fronts.flat_map(|front| front.map_or([0.0; 2], |front| front.direction().to_array())).collect();
    let chosen: Vec<&Suffix> = samples
        .iter()
        .flat_map(|sample| choose(&sample.suffixes, joint.situations, rng.as_deref_mut()))
        .collect();
    let (ids, rows) = suffix_rows(&chosen, device)?;
    let copies = chosen.len() / count.max(1);
    let pointers = pointers(samples, &chosen, copies, ids.dim(1)?);
    let referrers = referrers(&chosen, copies, ids.dim(1)?);
    let strangers = Strangers::among(&chosen, ids.dim(1)?);
    let echoes = Echoes::among(&chosen, ids.dim(1)?);
    let cue = geometry_cue(samples, joint.geometry_cue)?;
    let words: Vec<&Tensor> = samples.iter().map(|sample| &sample.words).collect();
    Ok(JointBatch {
        features: Tensor::stack(&features, 0)?,
        cameras,
        cue,
        layout: Tensor::from_vec(layout, (count, tokens, 2), device)?,
        layout_known: Tensor::from_vec(known, (count, tokens), device)?,
        fronts: Tensor::from_vec(fronts, (count, tokens, 2), device)?,
        fronts_known: Tensor::from_vec(fronts_known, (count, tokens), device)?,
        words: Tensor::cat(&words, 0)?,
        lesson: Lesson::All,
        copies,
        ids,
        rows,
        pointers,
        referrers,
        strangers,
        echoes,
    })
}

/// Codes of the tokens' points from the source that is wanted.
fn geometry_cue(samples: &[Arc<JointSample>], source: CueSource) -> candle_core::Result<Option<Tensor>> {
    let of_sample: fn(&JointSample) -> &[Option<Vec3>] = match source {
        CueSource::None => return Ok(None),
        CueSource::Truth => |sample| &sample.true_points,
        CueSource::Estimated => |sample| &sample.estimated_points,
    };
    let frames = samples.first().map_or(0, |sample| sample.true_poses.len());
    let points: Vec<Option<Vec3>> = samples.iter().flat_map(|sample| of_sample(sample)).copied().collect();
    let tokens = points.len() / (samples.len() * frames).max(1);
    if tokens == 0 {
        candle_core::bail!("the camera was not followed through this clip: its points are not known");
    }
    cue_codes(&points, (samples.len(), frames, tokens), samples[0].features.device()).map(Some)
}

/// The nouns of `chosen`, `copies` questions a clip padded to `length`, with the tokens
/// that show what they name.
fn pointers(samples: &[Arc<JointSample>], chosen: &[&Suffix], copies: usize, length: usize) -> Vec<Pointer> {
    let mut pointers = Vec::new();
    for (k, suffix) in chosen.iter().enumerate() {
        let clip = k / copies.max(1);
        for mention in &suffix.mentions {
            let tokens = samples.get(clip).and_then(|sample| sample.shown.get(mention.object));
            if let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) {
                let row = (k * length + mention.token) as u32;
                pointers.push(Pointer { row, clip, tokens: tokens.clone() });
            }
        }
    }
    pointers
}

/// Who looks at what in `chosen`, `copies` questions a clip padded to `length`.
fn referrers(chosen: &[&Suffix], copies: usize, length: usize) -> Referrers {
    let mut referrers = Referrers::default();
    for (k, suffix) in chosen.iter().enumerate() {
        let referrer = |at: usize, meant: [Option<usize>; POINTING_HEADS]| {
            let meant = meant.map(|at| at.map(|at| at as u32));
            let row = (k * length + at) as u32;
            meant.iter().any(Option::is_some).then_some(Referrer { row, clip: k / copies.max(1), meant })
        };
        referrers.situations.extend(referrer(suffix.position, nouns_of_position(suffix)));
        referrers.situations.extend(referrer(suffix.orientation, nouns_of_orientation(suffix)));
        if suffix.situation.is_some() {
            let person = [Some(suffix.position), Some(suffix.orientation)];
            referrers.nouns.extend(asked(suffix).filter_map(|mention| referrer(mention.token, person)));
        }
        referrers.answers.extend(referrer(suffix.answer.saturating_sub(1), nouns_of_answer(suffix)));
    }
    referrers
}

fn camera_tokens(
    sample: &JointSample,
    source: CameraSource,
    joint: &JointConfig,
    width: usize,
    rng: Option<&mut ChaCha8Rng>,
) -> candle_core::Result<Tensor> {
    let mut poses = match (source, &sample.estimated_poses) {
        (CameraSource::Truth, _) => sample.true_poses.clone(),
        (_, Some(estimated)) => estimated.clone(),
        (_, None) => candle_core::bail!("the camera was not followed through this clip"),
    };
    let mut blank = false;
    if let Some(rng) = rng {
        if source == CameraSource::Truth {
            poses = noisy_poses(&poses, joint.pose_noise, &mut || normal(rng));
        }
        blank = rng.random_bool(joint.camera_dropout);
    }
    let codes: Vec<f32> =
        poses.iter().flat_map(|pose| if blank { vec![0.0; width] } else { pose_code(pose, width) }).collect();
    Tensor::from_vec(codes, (poses.len(), width), sample.features.device())
}

/// `count` questions; some come twice when there are fewer.
fn choose<'a>(suffixes: &'a [Suffix], count: usize, rng: Option<&mut ChaCha8Rng>) -> Vec<&'a Suffix> {
    let start = rng.map_or(0, |rng| rng.random_range(0..suffixes.len().max(1)));
    (0..count).filter_map(|k| suffixes.get((start + k) % suffixes.len().max(1))).collect()
}

fn suffix_rows(suffixes: &[&Suffix], device: &Device) -> candle_core::Result<(Tensor, SuffixRows)> {
    let length = suffixes.iter().map(|suffix| suffix.ids.len()).max().unwrap_or(1);
    let mut ids = vec![0u32; suffixes.len() * length];
    let mut rows = SuffixRows::default();
    for (k, suffix) in suffixes.iter().enumerate() {
        let first = k * length;
        ids[first..first + suffix.ids.len()].copy_from_slice(&suffix.ids);
        rows.answer_starts.push(rows.answer.len());
        for at in suffix.answer..suffix.ids.len() {
            let token = i64::from(suffix.ids[at]);
            rows.answer.push(((first + at - 1) as u32, token));
            rows.naming.push(if suffix.naming { token } else { IGNORED_LABEL });
        }
        if let Some(situation) = suffix.situation {
            rows.position.push(((first + suffix.position) as u32, situation.position));
            let heading = f64::from(situation.orientation.radians());
            rows.orientation.push(((first + suffix.orientation) as u32, heading));
            rows.gaze.push(((first + suffix.orientation) as u32, gaze(suffix, &situation)));
            rows.egocentric.extend(
                asked(suffix).map(|mention| {
                    ((first + mention.token) as u32, egocentric(&situation, mention.position))
                }),
            );
        }
        rows.fronts.extend(suffix.mentions.iter().filter_map(|mention| {
            let front = mention.front?.direction();
            Some(((first + mention.token) as u32, BevPoint::new(front.x, front.y)))
        }));
        let colored = suffix.mentions.iter().filter(|mention| mention.color != NO_CLASS);
        rows.colors.extend(colored.map(|mention| ((first + mention.token) as u32, i64::from(mention.color))));
        rows.mentions
            .extend(suffix.mentions.iter().map(|mention| ((first + mention.token) as u32, mention.position)));
    }
    Ok((Tensor::from_vec(ids, (suffixes.len(), length), device)?, rows))
}

/// A standard normal number (Box-Muller).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * rng.random_range(f32::MIN_POSITIVE..1.0f32).ln()).sqrt();
    radius * rng.random_range(0.0..std::f32::consts::TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Orientation;
    use crate::qa::Situation;
    use crate::train::joint_sample::MentionTarget;

    #[test]
    fn rows_point_at_the_right_tokens() {
        let short = Suffix {
            ids: vec![5, 1, 2, 9, 8],
            answer: 3,
            naming: true,
            position: 1,
            orientation: 2,
            situation: Some(Situation {
                position: BevPoint::new(1.0, 2.0),
                orientation: Orientation::from_radians(0.5),
            }),
            text: None,
            mentions: vec![MentionTarget {
                token: 0,
                object: 0,
                position: BevPoint::new(3.0, 4.0),
                front: None,
                color: 5,
                names: [None; 2],
                answers: false,
            }],
        };
        let long = Suffix {
            ids: vec![5, 1, 2, 9, 8, 7],
            naming: false,
            situation: None,
            mentions: Vec::new(),
            ..short.clone()
        };
        let (ids, rows) = suffix_rows(&[&short, &long], &Device::Cpu).unwrap();
        assert_eq!(ids.dims(), [2, 6]);
        // Row 2 predicts token 9, row 3 token 8; the second question starts at row 6.
        assert_eq!(rows.answer, [(2, 9), (3, 8), (8, 9), (9, 8), (10, 7)]);
        assert_eq!(rows.naming, [9, 8, IGNORED_LABEL, IGNORED_LABEL, IGNORED_LABEL]);
        assert_eq!(rows.answer_starts, [0, 2]);
        assert_eq!(rows.position, [(1, BevPoint::new(1.0, 2.0))]);
        assert_eq!(rows.mentions, [(0, BevPoint::new(3.0, 4.0))]);
        assert_eq!(rows.colors, [(0, 5)]);
        assert!(rows.egocentric.is_empty());
    }

    #[test]
    fn nouns_of_a_question_look_at_the_person_and_answers_at_the_nouns() {
        let ahead = Orientation::from_radians(0.5);
        let at = |metres: f32| {
            let way = ahead.direction() * metres;
            BevPoint::new(1.0 + way.x, 2.0 + way.y)
        };
        let mention = |token, metres| MentionTarget {
            token,
            object: 0,
            position: at(metres),
            front: None,
            color: 0,
            names: [None; 2],
            answers: false,
        };
        let asking = Suffix {
            ids: vec![5, 1, 2, 9, 8, 7, 6],
            answer: 5,
            naming: false,
            position: 1,
            orientation: 2,
            situation: Some(Situation { position: BevPoint::new(1.0, 2.0), orientation: ahead }),
            text: None,
            mentions: vec![mention(0, 1.0), mention(3, 2.0), mention(4, -3.0)],
        };
        let whole_room = Suffix { situation: None, ..asking.clone() };
        let chosen = [&asking, &asking, &whole_room];
        let (ids, rows) = suffix_rows(&chosen, &Device::Cpu).unwrap();
        let places: Vec<(u32, [i32; 2])> = rows
            .egocentric
            .iter()
            .map(|(row, place)| (*row, [place.x.round() as i32, place.y.round() as i32]))
            .collect();
        assert_eq!(places, [(3, [0, 2]), (4, [0, -3]), (10, [0, 2]), (11, [0, -3])]);

        let told = referrers(&chosen, 2, ids.dim(1).unwrap());
        let of = |referrers: &[Referrer]| -> Vec<_> {
            referrers.iter().map(|referrer| (referrer.row, referrer.clip, referrer.meant)).collect()
        };
        let person = [Some(1), Some(2)];
        assert_eq!(of(&told.nouns), [(3, 0, person), (4, 0, person), (10, 0, person), (11, 0, person)]);
        let asked = [Some(3), Some(4)];
        assert_eq!(of(&told.answers), [(4, 0, asked), (11, 0, asked), (18, 1, asked)]);
        // Both nouns of the situation tokens are the first one: it is near and ahead.
        assert_eq!(of(&told.situations)[..2], [(1, 0, [Some(0), Some(0)]), (2, 0, [Some(0), Some(0)])]);
    }
}
