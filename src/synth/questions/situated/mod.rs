//! Questions asked from a situation, in the families of SQA3D.
//!
//! Directions are asked only well inside their 90° sector (35° from its middle),
//! counts only when no member is near the border, comparisons only with a margin.

mod everyday;
mod everyday_looks;
mod families;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Pose, QuestionScene};
use crate::qa::{AnswerKey, Bearing, Side};
use crate::synth::phrasing::{Noun, Referent, Text, is_flat, names, noun_fits, number_word, refer};
use crate::synth::situations::WordedSituation;

/// Half width of a sector in which a direction is certain, radians.
const CERTAIN: f32 = 0.6;
/// From here on an object is certainly outside the sector, radians.
const OUTSIDE: f32 = 0.97;
/// Farthest thing that is still "on my left", metres.
const RANGE: f32 = 4.5;

/// A scene seen from a situation.
pub(in crate::synth) struct View<'a> {
    scene: &'a QuestionScene<'a>,
    pose: Pose,
    seat: Option<usize>,
    /// Objects whose direction the situation text gives away.
    told: &'a [usize],
    bearings: Vec<Bearing>,
    gaps: Vec<f32>,
    here: Vec<bool>,
}

/// A question and its key.
pub(in crate::synth) type Asked = (Text, AnswerKey);

/// `template` with `nouns` in the place of its "{}".
fn asked<const N: usize>(template: &str, nouns: [Noun; N], key: AnswerKey) -> Asked {
    (Text::filled(template, &nouns), key)
}

/// Draws a family, then one of its templates, or, in the share `everyday` of all draws, a
/// question in the manner of people; `None` when this draw has no certain answer.
pub(in crate::synth) fn ask(view: &View<'_>, everyday: f64, rng: &mut ChaCha8Rng) -> Option<Asked> {
    if everyday > 0.0 && rng.random_bool(everyday) {
        return everyday::ask(view, rng);
    }
    match rng.random_range(0..6) {
        0 => families::what(view, rng),
        1 => families::is(view, rng),
        2 => families::how(view, rng),
        3 => families::can(view, rng),
        4 => families::which(view, rng),
        _ => families::other(view, rng),
    }
}

impl<'a> View<'a> {
    /// The scene from the truth of `situation`.
    pub(in crate::synth) fn new(scene: &'a QuestionScene<'a>, situation: &'a WordedSituation) -> Self {
        let pose = situation.pose;
        let all = 0..scene.objects.len();
        Self {
            scene,
            pose,
            seat: situation.seat,
            told: &situation.told,
            bearings: all.clone().map(|i| scene.bearing(&pose, i)).collect(),
            gaps: all.clone().map(|i| scene.gap(pose.position, i)).collect(),
            here: all.map(|i| scene.same_room(pose.position, i)).collect(),
        }
    }

    /// Objects of the room that can be asked about: seen, not sat on, not flat.
    fn askable(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.scene.objects.len()).filter(|&i| self.standing_out(i) && self.scene.seen(i))
    }

    /// Objects of the room that could be an answer, seen or not.
    fn standing_out(&self, object: usize) -> bool {
        self.here[object]
            && Some(object) != self.seat
            && self.gaps[object] > 0.05
            && !is_flat(&self.scene.objects[object].category)
    }

    /// Objects whose direction is worth asking: nothing gives it away.
    fn untold(&self) -> impl Iterator<Item = usize> + '_ {
        self.askable().filter(|i| !self.told.contains(i))
    }

    /// Whether the object is certainly on `side`.
    fn certainly(&self, object: usize, side: Side) -> bool {
        self.bearings[object].off_side(side) <= CERTAIN
    }

    /// The side an object is certainly on.
    fn side(&self, object: usize) -> Option<Side> {
        Side::ALL.into_iter().find(|side| self.certainly(object, *side))
    }

    /// A name that fits this object only, in the whole scene.
    fn unique_name(&self, object: usize, rng: &mut ChaCha8Rng) -> Option<Referent> {
        [false, true]
            .into_iter()
            .map(|colored| refer(&self.scene.objects, object, colored, rng))
            .find(|referent| referent.matches == [object])
    }

    /// A random one of `objects` that has a unique name.
    fn named_one(
        &self,
        objects: impl Iterator<Item = usize>,
        rng: &mut ChaCha8Rng,
    ) -> Option<(usize, Referent)> {
        let object = self.choose(objects, rng)?;
        Some((object, self.unique_name(object, rng)?))
    }

    /// A random one of `objects`; where there are any that the scene prefers, one of these.
    fn choose(&self, objects: impl Iterator<Item = usize>, rng: &mut ChaCha8Rng) -> Option<usize> {
        let all: Vec<usize> = objects.collect();
        let preferred: Vec<usize> = all.iter().copied().filter(|&i| self.scene.prefers(i)).collect();
        let pool = if preferred.is_empty() { all } else { preferred };
        pool.choose(rng).copied()
    }

    /// The nearest thing on `side` after turning left by `turned` radians; `None`
    /// when another thing is about as near, or the nearest is not in the walk.
    fn nearest(&self, side: Side, turned: f32) -> Option<usize> {
        const CLEARLY: f32 = 0.35;
        let off = |i: usize| {
            let seen = Bearing { angle: self.bearings[i].angle - turned, ..self.bearings[i] };
            seen.off_side(side)
        };
        let mut around: Vec<usize> = (0..self.gaps.len())
            .filter(|&i| self.standing_out(i) && off(i) < OUTSIDE && self.gaps[i] < RANGE)
            .collect();
        around.sort_by(|a, b| self.gaps[*a].total_cmp(&self.gaps[*b]));
        let nearest = *around.first()?;
        let same = |i: usize| self.scene.objects[i].category == self.scene.objects[nearest].category;
        let rival = around.iter().copied().find(|&i| !same(i));
        let clear = rival.is_none_or(|rival| self.gaps[rival] > self.gaps[nearest] + CLEARLY);
        (clear && off(nearest) <= CERTAIN && self.scene.seen(nearest)).then_some(nearest)
    }

    /// Nouns that mean one category only, with all members in this room, all of
    /// them in the walk.
    fn countable(&self) -> Vec<(&'a str, Vec<usize>)> {
        let mut found: Vec<(&str, Vec<usize>)> = Vec::new();
        for object in &self.scene.objects {
            let Some(noun) = names(&object.category).into_iter().next() else { continue };
            if found.iter().any(|(other, _)| *other == noun) || is_flat(&object.category) {
                continue;
            }
            let members: Vec<usize> = (0..self.scene.objects.len())
                .filter(|&i| noun_fits(noun, &self.scene.objects[i]) && self.here[i])
                .collect();
            let alike = |i: &usize| self.scene.objects[*i].category == object.category;
            if !members.is_empty() && members.iter().all(|i| alike(i) && self.scene.seen(*i)) {
                found.push((noun, members));
            }
        }
        found
    }

    /// `words` that mean `members`.
    fn noun_of(&self, words: &str, members: &[usize]) -> Noun {
        match members {
            [object] => Noun::of(words.to_owned(), &self.scene.objects[*object]),
            _ => Noun::of_nothing(words),
        }
    }

    /// How many of `members` are on `side`; `None` when one is near the border.
    fn count_on(&self, members: &[usize], side: Side) -> Option<usize> {
        let mut count = 0;
        for &i in members {
            let off = self.bearings[i].off_side(side);
            if Some(i) == self.seat || (off > CERTAIN && off < OUTSIDE) || self.gaps[i] < 0.05 {
                return None;
            }
            count += usize::from(off <= CERTAIN);
        }
        Some(count)
    }

    /// Whether nothing stands between the eyes and the centre of an object.
    fn unobstructed(&self, object: usize) -> bool {
        let eyes = self.pose.position.extend(if self.seat.is_some() { 1.15 } else { 1.55 });
        let target = self.scene.objects[object].bounds.center;
        (1..40).map(|step| eyes.lerp(target, step as f32 / 40.0)).all(|point| {
            let blocks = |(i, other): (usize, &crate::scene::SceneObject)| {
                i != object && Some(i) != self.seat && other.bounds.contains(point)
            };
            !self.scene.objects.iter().enumerate().any(blocks)
        })
    }

    /// All names of an object as accepted answers, the plain one first.
    fn answer(&self, object: usize) -> AnswerKey {
        let category = &self.scene.objects[object].category;
        let mut accepted = vec![category.as_str().to_owned()];
        for name in names(category) {
            if !accepted.iter().any(|old| old.eq_ignore_ascii_case(name)) {
                accepted.push(name.to_owned());
            }
        }
        AnswerKey::Text(accepted)
    }
}

/// A key of the given texts; the first is the canonical one.
fn key(accepted: &[&str]) -> AnswerKey {
    AnswerKey::Text(accepted.iter().map(|text| (*text).to_owned()).collect())
}

fn yes_no(yes: bool) -> AnswerKey {
    key(if yes { &["yes"] } else { &["no"] })
}

/// A count as a word.
fn count_key(count: usize) -> AnswerKey {
    AnswerKey::Text(vec![number_word(count)])
}

/// The answer to "where is it".
fn side_key(side: Side) -> AnswerKey {
    match side {
        Side::Left => key(&["left", "on my left", "to my left"]),
        Side::Right => key(&["right", "on my right", "to my right"]),
        Side::Behind => key(&["behind", "behind me", "backward"]),
        Side::Front => key(&["front", "in front", "in front of me", "forward"]),
    }
}

/// "on my left", said one way or another.
fn side_words(side: Side, rng: &mut ChaCha8Rng) -> &'static str {
    let ways: &[&str] = match side {
        Side::Left => &["on my left", "to my left", "on my left side", "to the left of me"],
        Side::Right => &["on my right", "to my right", "on my right side", "to the right of me"],
        Side::Behind => &["behind me", "behind me", "at my back"],
        Side::Front => &["in front of me", "in front of me", "ahead of me"],
    };
    ways.choose(rng).copied().unwrap_or("in front of me")
}

fn random_side(rng: &mut ChaCha8Rng) -> Side {
    Side::ALL[rng.random_range(0..4)]
}

fn left_or_right(rng: &mut ChaCha8Rng) -> Side {
    if rng.random_bool(0.5) { Side::Left } else { Side::Right }
}
