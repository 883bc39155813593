//! `<Pos>`, `<Ori>`, nouns and answers that know what they refer to.
//!
//! Not part of Loc3R-VLM. In the layer behind the one that reads nouns, some attention
//! heads are told which noun says where the person is and which what they look at, and
//! `<Ori>` is asked for the way from the one to the other. A heading follows from two
//! places; a decoder that is told the heading only has to find both, and that they are
//! to be subtracted, at once, and does not. In the same way the nouns of a question look at
//! `<Pos>` and `<Ori>` in the last layer but one and are then asked where their thing lies as
//! the person sees it; in the last layer, the row that an answer is read from looks at them.
//!
//! Shapes: H heads, n rows that are told, R rows that they could see.

use candle_core::{Device, Tensor};
use glam::Vec2;

use super::joint_sample::{MentionTarget, Suffix};
use super::pointing::POINTING_HEADS;
use crate::geometry::BevPoint;
use crate::qa::Situation;

/// Farther from the person than this, the first noun does not say where they are, metres.
const NEAR: f32 = 2.5;
/// Off the heading by less than this, an object is what the person looks at, radians.
const IN_SIGHT: f32 = 0.04;
/// Length of the way for those who look at nothing that is named, metres.
const NOWHERE: f32 = 1.0;

/// A row with the rows it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Referrer {
    /// Its row among all rows of the questions.
    pub row: u32,
    /// Clip of the batch.
    pub clip: usize,
    /// For every head that is told, the token of the same question that it should look at;
    /// of nouns the last one.
    pub meant: [Option<u32>; POINTING_HEADS],
}

/// The nouns before the situation tokens: those of the situation text.
fn told(suffix: &Suffix) -> impl Iterator<Item = &MentionTarget> {
    suffix.mentions.iter().filter(|mention| mention.token < suffix.position)
}

/// The nouns behind the situation tokens: those of the question itself.
pub fn asked(suffix: &Suffix) -> impl Iterator<Item = &MentionTarget> {
    suffix.mentions.iter().filter(|mention| mention.token > suffix.orientation)
}

/// The noun that says where the person is: texts begin with it.
fn anchor(suffix: &Suffix) -> Option<&MentionTarget> {
    let situation = suffix.situation?;
    told(suffix)
        .min_by_key(|mention| mention.token)
        .filter(|mention| mention.position.distance(situation.position) < NEAR)
}

/// The noun that the person faces or turns their back to, and the way to it.
fn target(suffix: &Suffix, situation: &Situation) -> Option<(usize, Vec2)> {
    let ahead = situation.orientation.direction();
    told(suffix)
        .filter_map(|mention| {
            let place = mention.position;
            let way = Vec2::new(place.x - situation.position.x, place.y - situation.position.y);
            let aside = ahead.perp_dot(way.normalize_or_zero()).abs();
            (way.length() > 0.2 && aside < IN_SIGHT).then_some((mention.token, way))
        })
        .min_by(|a, b| a.1.length().total_cmp(&b.1.length()))
}

/// What `<Pos>` should attend to.
pub fn nouns_of_position(suffix: &Suffix) -> [Option<usize>; POINTING_HEADS] {
    [anchor(suffix).map(|mention| mention.token); POINTING_HEADS]
}

/// What `<Ori>` should attend to: where the person is, what they look at.
pub fn nouns_of_orientation(suffix: &Suffix) -> [Option<usize>; POINTING_HEADS] {
    let looked_at = suffix.situation.and_then(|situation| target(suffix, &situation));
    [anchor(suffix).map(|mention| mention.token), looked_at.map(|(token, _)| token)]
}

/// What the row before the answer should attend to: the first of the things that the question
/// names, and the one that is the answer or else the last.
pub fn nouns_of_answer(suffix: &Suffix) -> [Option<usize>; POINTING_HEADS] {
    let tokens = || asked(suffix).map(|mention| mention.token);
    let answer = asked(suffix).find(|mention| mention.answers).map(|mention| mention.token);
    [tokens().min(), answer.or_else(|| tokens().max())]
}

/// The way from the person to what they look at, or one metre ahead, bev axes.
pub fn gaze(suffix: &Suffix, situation: &Situation) -> BevPoint {
    let ahead = situation.orientation.direction();
    let length = target(suffix, situation).map(|(_, way)| way.dot(ahead)).filter(|length| *length > 0.0);
    let way = ahead * length.unwrap_or(NOWHERE);
    BevPoint::new(way.x, way.y)
}

/// `place` as the person in `situation` sees it: x to their right, y ahead, metres.
pub fn egocentric(situation: &Situation, place: BevPoint) -> BevPoint {
    let ahead = situation.orientation.direction();
    let way = Vec2::new(place.x - situation.position.x, place.y - situation.position.y);
    BevPoint::new(way.perp_dot(ahead), way.dot(ahead))
}

/// Things beside persons of other questions: looking at somebody, a noun learns to see its
/// thing with their eyes, whoever they are. From the few persons and things that are asked
/// about together it does not.
#[derive(Debug, Clone, Default)]
pub struct Strangers {
    /// Rows of the nouns and where their things lie as their persons see them: right of and
    /// ahead of them, metres.
    pub places: Vec<(u32, BevPoint)>,
    /// Rows of `<Pos>` and `<Ori>` of each noun's person.
    pub persons: [Vec<u32>; POINTING_HEADS],
}

impl Strangers {
    /// Most pairs of a batch.
    const MOST: usize = 2000;

    /// Of the questions `chosen`, padded to `length`: every thing with every other person, evenly
    /// thinned out where these are too many.
    pub fn among(chosen: &[&Suffix], length: usize) -> Self {
        let row = &row_among(length);
        let numbered = || chosen.iter().enumerate();
        let things: Vec<_> =
            numbered().flat_map(|(k, suffix)| asked(suffix).map(move |mention| (k, mention))).collect();
        let persons: Vec<_> =
            numbered().filter_map(|(k, suffix)| Some((k, suffix, suffix.situation?))).collect();
        let mut strangers = Self::default();
        let pairs = pairs(&things, &persons, Self::MOST);
        for ((of_thing, mention), (of_person, suffix, situation)) in pairs {
            if of_thing != of_person {
                strangers.persons[0].push(row(*of_person, suffix.position));
                strangers.persons[1].push(row(*of_person, suffix.orientation));
                let place = egocentric(situation, mention.position);
                strangers.places.push((row(*of_thing, mention.token), place));
            }
        }
        strangers
    }
}

/// Questions for a name beside things of other questions: an answer learns to say the name, or
/// the colour, of whatever it looks at. In a batch only a few answers are names, and these of
/// about sixty things.
#[derive(Debug, Clone, Default)]
pub struct Echoes {
    /// Rows before the answers.
    pub answers: Vec<u32>,
    /// Rows of the nouns that they look at.
    pub nouns: [Vec<u32>; POINTING_HEADS],
    /// First tokens of the answers that these nouns make right.
    pub tokens: Vec<i64>,
}

impl Echoes {
    /// Most pairs of a batch.
    const MOST: usize = 1500;

    /// Of the questions `chosen`, padded to `length`.
    pub fn among(chosen: &[&Suffix], length: usize) -> Self {
        let row = &row_among(length);
        let numbered = || chosen.iter().enumerate();
        let things: Vec<_> = numbered()
            .flat_map(|(k, suffix)| {
                suffix.mentions.iter().map(move |mention| (row(k, mention.token), mention.names))
            })
            .collect();
        // The first noun, and whether a thing is asked for or a colour.
        let askers: Vec<_> = numbered()
            .filter(|(_, suffix)| suffix.naming)
            .filter_map(|(k, suffix)| {
                let first = asked(suffix).next()?;
                let colored = !asked(suffix).any(|mention| mention.answers);
                Some((row(k, suffix.answer.saturating_sub(1)), row(k, first.token), colored))
            })
            .collect();
        let mut echoes = Self::default();
        for ((noun, names), (answer, first, colored)) in pairs(&things, &askers, Self::MOST) {
            if let Some(token) = names[usize::from(*colored)] {
                echoes.answers.push(*answer);
                echoes.nouns[0].push(if *colored { *noun } else { *first });
                echoes.nouns[1].push(*noun);
                echoes.tokens.push(i64::from(token));
            }
        }
        echoes
    }
}

/// The row of a token among those of all questions, each padded to `length`.
fn row_among(length: usize) -> impl Fn(usize, usize) -> u32 {
    move |question, token| (question * length + token) as u32
}

/// Everything of `these` with everything of `those`, evenly thinned out where that is more than
/// `most`. Each begins one further along `those` than the one before: thinning out would else
/// leave some of them out altogether.
fn pairs<'a, A, B>(these: &'a [A], those: &'a [B], most: usize) -> impl Iterator<Item = (&'a A, &'a B)> {
    let step = (these.len() * those.len()).div_ceil(most).max(1);
    let beginning_at = |first: usize| those.iter().cycle().skip(first).take(those.len());
    these
        .iter()
        .enumerate()
        .flat_map(move |(k, this)| beginning_at(k % those.len().max(1)).map(move |that| (this, that)))
        .step_by(step)
}

/// What the attention of `referrers` over `rows` rows, `prefix` of which come before the
/// question, should be, (H, n, rows); nothing where no token is meant.
pub fn wanted_rows(
    referrers: &[Referrer],
    prefix: usize,
    rows: usize,
    device: &Device,
) -> candle_core::Result<Tensor> {
    let mut wanted = vec![0f32; POINTING_HEADS * referrers.len() * rows];
    for (head, of_head) in wanted.chunks_mut((referrers.len() * rows).max(1)).enumerate() {
        for (referrer, wanted) in referrers.iter().zip(of_head.chunks_mut(rows.max(1))) {
            if let Some(slot) = referrer.meant[head].and_then(|at| wanted.get_mut(prefix + at as usize)) {
                *slot = 1.0;
            }
        }
    }
    Tensor::from_vec(wanted, (POINTING_HEADS, referrers.len(), rows), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Orientation;

    #[test]
    fn where_pairs_are_thinned_out_nobody_is_left_out() {
        let numbers: Vec<usize> = (0..6).collect();
        // Every third pair, among six: without turning on, always the same two of them.
        let found: Vec<_> = pairs(&numbers, &numbers, 12).collect();
        assert_eq!(found.len(), 12);
        for number in &numbers {
            assert!(found.iter().any(|(this, _)| *this == number), "{found:?}");
            assert!(found.iter().any(|(_, that)| *that == number), "{found:?}");
        }
        assert_eq!(pairs(&numbers, &numbers, 36).count(), 36);
        assert_eq!(pairs(&numbers, &[] as &[usize], 36).count(), 0);
    }

    fn mention(token: usize, x: f32, y: f32) -> MentionTarget {
        MentionTarget {
            token,
            object: token,
            position: BevPoint::new(x, y),
            front: None,
            color: 0,
            names: [None; 2],
            answers: false,
        }
    }

    fn suffix(mentions: Vec<MentionTarget>, degrees: f32) -> Suffix {
        let orientation = Orientation::from_degrees(degrees);
        Suffix {
            ids: Vec::new(),
            answer: 0,
            naming: false,
            position: 10,
            orientation: 11,
            situation: Some(Situation { position: BevPoint::new(1.0, 1.0), orientation }),
            text: None,
            mentions,
        }
    }

    fn way(suffix: &Suffix) -> (f32, f32) {
        let point = gaze(suffix, &suffix.situation.unwrap());
        (point.x, point.y)
    }

    #[test]
    fn the_first_noun_is_the_place_and_the_one_ahead_the_target() {
        let ahead = Orientation::from_degrees(0.0).direction() * 3.0;
        let seen = mention(6, 1.0 + ahead.x, 1.0 + ahead.y);
        let suffix =
            suffix(vec![mention(3, 1.0, 1.0), seen, mention(8, 1.0, 3.0), mention(12, 1.0, 1.1)], 0.0);
        assert_eq!(nouns_of_position(&suffix), [Some(3), Some(3)]);
        assert_eq!(nouns_of_answer(&suffix), [Some(12), Some(12)]);
        let answering = MentionTarget { answers: true, ..mention(14, 0.0, 0.0) };
        let mentions = vec![mention(12, 1.0, 1.1), answering, mention(16, 2.0, 2.0)];
        assert_eq!(nouns_of_answer(&Suffix { mentions, ..suffix.clone() }), [Some(12), Some(14)]);
        assert_eq!(nouns_of_orientation(&suffix)[0], Some(3));
        assert_eq!(nouns_of_orientation(&suffix)[1], Some(6));
        let (x, y) = way(&suffix);
        assert!((x - ahead.x).abs() < 1e-5 && (y - ahead.y).abs() < 1e-5);
    }

    #[test]
    fn a_thing_ahead_and_to_the_right_has_positive_coordinates() {
        let situation = suffix(Vec::new(), 0.0).situation.unwrap();
        let ahead = situation.orientation.direction();
        // Clockwise from above.
        let right = Vec2::new(ahead.y, -ahead.x);
        let place = Vec2::new(1.0, 1.0) + ahead * 3.0 + right * 2.0;
        let seen = egocentric(&situation, BevPoint::new(place.x, place.y));
        assert!((seen.x - 2.0).abs() < 1e-5 && (seen.y - 3.0).abs() < 1e-5, "{seen:?}");
        let bearing = crate::qa::Bearing::of(&situation, BevPoint::new(place.x, place.y));
        assert!(bearing.angle < 0.0, "right is clockwise: {bearing:?}");
    }

    #[test]
    fn strangers_see_the_things_of_others_with_their_own_eyes() {
        let of = |degrees, mentions| suffix(mentions, degrees);
        let first = of(90.0, vec![mention(12, 1.0, 3.0)]);
        let second = of(0.0, vec![mention(5, 0.0, 0.0), mention(13, 1.0, 1.0), mention(14, 2.0, 1.0)]);
        let nobody = Suffix { situation: None, ..of(0.0, vec![mention(15, 1.0, 0.0)]) };
        let strangers = Strangers::among(&[&first, &second, &nobody], 20);
        // The first's thing, two of the second, that of nobody with both persons.
        let nouns: Vec<u32> = strangers.places.iter().map(|(row, _)| *row).collect();
        assert_eq!(nouns, [12, 33, 34, 55, 55]);
        assert_eq!(strangers.persons, [vec![30, 10, 10, 30, 10], vec![31, 11, 11, 31, 11]]);
        let (_, place) = strangers.places[0];
        let expected = egocentric(&second.situation.unwrap(), BevPoint::new(1.0, 3.0));
        assert_eq!(place, expected);
        assert_ne!(place, egocentric(&first.situation.unwrap(), BevPoint::new(1.0, 3.0)));
    }

    #[test]
    fn an_answer_echoes_the_name_or_the_colour_of_any_noun() {
        let named =
            |token, thing, color| MentionTarget { names: [Some(thing), color], ..mention(token, 1.0, 1.0) };
        let answering = MentionTarget { answers: true, ..named(13, 71, None) };
        let of = |naming, mentions| Suffix { naming, answer: 17, ..suffix(mentions, 0.0) };
        let which = of(true, vec![named(12, 70, Some(80)), answering]);
        let what_color = of(true, vec![named(14, 72, Some(81))]);
        let plain = of(false, vec![named(15, 73, None)]);
        let echoes = Echoes::among(&[&which, &what_color, &plain], 20);
        // Four nouns for the thing that is nearer, two of them with a colour for the other.
        let said: Vec<_> = echoes.answers.iter().zip(&echoes.nouns[1]).zip(&echoes.tokens).collect();
        let expected = [(16, 12, 70), (36, 12, 80), (16, 13, 71), (16, 34, 72), (36, 34, 81), (16, 55, 73)];
        assert_eq!(said, expected.each_ref().map(|(answer, noun, token)| ((answer, noun), token)));
        assert_eq!(echoes.nouns[0], [12, 12, 12, 12, 34, 12]);
    }

    #[test]
    fn a_back_turned_to_a_thing_looks_one_metre_the_other_way() {
        let ahead = Orientation::from_degrees(90.0).direction();
        let suffix = suffix(vec![mention(3, 1.0 - 2.0 * ahead.x, 1.0 - 2.0 * ahead.y)], 90.0);
        assert_eq!(nouns_of_orientation(&suffix), [Some(3), Some(3)]);
        let (x, y) = way(&suffix);
        assert!((x - ahead.x).abs() < 1e-5 && (y - ahead.y).abs() < 1e-5);
    }

    #[test]
    fn a_far_first_noun_is_no_place_and_attention_wants_what_is_meant() {
        let far = suffix(vec![mention(3, 6.0, 1.0)], 137.0);
        assert_eq!(nouns_of_position(&far), [None, None]);
        assert_eq!(nouns_of_answer(&far), [None, None]);
        let referrers = [Referrer { row: 9, clip: 0, meant: [Some(1), None] }];
        let wanted = wanted_rows(&referrers, 2, 5, &Device::Cpu).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(wanted, [[[0.0, 0.0, 0.0, 1.0, 0.0]], [[0.0; 5]]]);
    }
}
