//! VSI-Bench's relative directions: standing by one thing, facing a second, where
//! is a third?
//!
//! Rules of VLM-3R's templates: single objects only, pairwise 0.3 to 5 m apart,
//! at most two of the eight corners of the third box outside the answer's sector,
//! its centre at least 10° inside.

use glam::Vec2;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{QuestionScene, category, coin, multiple_choice, pick, single_objects};
use crate::geometry::Orientation;
use crate::qa::{Bearing, LabeledQuestion, QuestionKind};

/// Draws per question.
const TRIES: usize = 30;
/// Distance of a centre from the border of its sector, radians.
const MARGIN: f32 = 10.0 / 180.0 * std::f32::consts::PI;

/// Left or right.
pub(super) fn easy(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    let wanted = if coin(rng) { "left" } else { "right" };
    let [stand, face, query] = find(scene, rng, sided, wanted)?;
    let text = format!(
        "If I am standing by the {stand} and facing the {face}, is the {query} to the left or the right of the {face}?"
    );
    Some(choose(QuestionKind::ObjectRelDirectionEasy, text, wanted, &["left", "right"], rng))
}

/// Left, right or back.
pub(super) fn medium(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    let wanted = ["left", "right", "back"][rng.random_range(0..3)];
    let sector = |degrees: f32| if degrees.abs() >= 135.0 { "back" } else { sided(degrees) };
    let [stand, face, query] = find(scene, rng, sector, wanted)?;
    let text = format!(
        "If I am standing by the {stand} and facing the {face}, is the {query} to my left, right, or back? An object is to my back if I would have to turn at least 135 degrees in order to face it."
    );
    Some(choose(QuestionKind::ObjectRelDirectionMedium, text, wanted, &["left", "right", "back"], rng))
}

/// One of four quadrants.
pub(super) fn hard(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    const QUADRANTS: [&str; 4] = ["front-left", "front-right", "back-left", "back-right"];
    let wanted = QUADRANTS[rng.random_range(0..4)];
    let sector = |degrees: f32| match (degrees.abs() < 90.0, degrees > 0.0) {
        (true, true) => "front-left",
        (true, false) => "front-right",
        (false, true) => "back-left",
        (false, false) => "back-right",
    };
    let [stand, face, query] = find(scene, rng, sector, wanted)?;
    let text = format!(
        "If I am standing by the {stand} and facing the {face}, is the {query} to my front-left, front-right, back-left, or back-right? The directions refer to the quadrants of a Cartesian plane (if I am standing at the origin and facing along the positive y-axis)."
    );
    Some(choose(QuestionKind::ObjectRelDirectionHard, text, wanted, &QUADRANTS, rng))
}

/// Left of or right of somebody: what is almost ahead or behind is neither.
fn sided(degrees: f32) -> &'static str {
    match degrees {
        d if d.abs() < 15.0 || d.abs() > 165.0 => "neither",
        d if d > 0.0 => "left",
        _ => "right",
    }
}

/// Names of three objects, the third in direction `wanted`.
fn find(
    scene: &QuestionScene<'_>,
    rng: &mut ChaCha8Rng,
    sector: impl Fn(f32) -> &'static str,
    wanted: &str,
) -> Option<[String; 3]> {
    let pool = single_objects(scene);
    for _ in 0..TRIES {
        let triple: [usize; 3] = pick(&pool, rng)?;
        let [stand, face, query] = triple;
        let apart = |a: usize, b: usize| {
            (0.3..=5.0).contains(&scene.objects[a].bounds.distance(&scene.objects[b].bounds))
        };
        if !apart(stand, face) || !apart(face, query) || !apart(stand, query) {
            continue;
        }
        let origin = scene.center(stand);
        let Some(heading) = Orientation::from_direction(scene.center(face) - origin) else { continue };
        let angle = |point: Vec2| Bearing::between(origin, heading, point).angle;
        let center = angle(scene.center(query));
        let is = |radians: f32| sector(crate::geometry::wrap_angle(radians).to_degrees()) == wanted;
        let outside = scene.objects[query].bounds.footprint().into_iter().filter(|c| !is(angle(*c))).count();
        // A footprint corner is two corners of the box.
        if is(center) && is(center + MARGIN) && is(center - MARGIN) && outside <= 1 {
            return Some(triple.map(|i| category(scene, i)));
        }
    }
    None
}

fn choose(
    kind: QuestionKind,
    text: String,
    wanted: &str,
    all: &[&str],
    rng: &mut ChaCha8Rng,
) -> LabeledQuestion {
    let others = all.iter().filter(|word| **word != wanted);
    let choices = std::iter::once(&wanted).chain(others).map(|word| (*word).to_owned()).collect();
    multiple_choice(kind, text, choices, rng)
}
