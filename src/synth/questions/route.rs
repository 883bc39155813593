//! VSI-Bench's route planning: which turns lead a robot from thing to thing.

use glam::Vec2;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{QuestionScene, category, multiple_choice, pick, single_objects};
use crate::geometry::Orientation;
use crate::qa::{LabeledQuestion, QuestionKind};

/// Draws per question.
const TRIES: usize = 40;
const TURNS: [&str; 3] = ["Turn Back", "Turn Left", "Turn Right"];

/// A route over one way point with two turns to fill in.
pub(super) fn plan(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<LabeledQuestion> {
    let pool = single_objects(scene);
    for _ in 0..TRIES {
        let [start, facing, way, goal] = pick(&pool, rng)?;
        let at = |object: usize| scene.center(object);
        let same_room = [facing, way, goal].into_iter().all(|object| scene.same_room(at(start), object));
        if !same_room || !walkable(scene, start, way) || !walkable(scene, way, goal) {
            continue;
        }
        let first = turn(at(facing) - at(start), at(way) - at(start));
        let second = turn(at(way) - at(start), at(goal) - at(way));
        let (Some(first), Some(second)) = (first, second) else { continue };
        let right = format!("{first}, {second}");
        let mut others: Vec<String> = TURNS
            .iter()
            .flat_map(|a| TURNS.iter().map(move |b| format!("{a}, {b}")))
            .filter(|choice| *choice != right)
            .collect();
        others.shuffle(rng);
        let choices = std::iter::once(right).chain(others.into_iter().take(3)).collect();
        let [start, facing, way, goal] = [start, facing, way, goal].map(|object| category(scene, object));
        let text = format!(
            "You are a robot beginning at the {start} facing the {facing}. You want to navigate to the {goal}. You will perform the following actions (Note: for each [please fill in], choose either 'turn back,' 'turn left,' or 'turn right.'): 1. [please fill in] 2. Go forward until the {way}. 3. [please fill in] 4. Go forward until the {goal}. You have reached the final destination."
        );
        return Some(multiple_choice(QuestionKind::RoutePlanning, text, choices, rng));
    }
    None
}

/// The turn from one walking direction to another; `None` when it is none of the
/// three by 15° or more.
fn turn(from: Vec2, to: Vec2) -> Option<&'static str> {
    let (from, to) = (Orientation::from_direction(from)?, Orientation::from_direction(to)?);
    let degrees = crate::geometry::wrap_angle(to.radians() - from.radians()).to_degrees();
    match degrees {
        d if d.abs() >= 150.0 => Some("Turn Back"),
        d if (45.0..=120.0).contains(&d) => Some("Turn Left"),
        d if (-120.0..=-45.0).contains(&d) => Some("Turn Right"),
        _ => None,
    }
}

/// Whether somebody can walk straight from one object to another: every point of
/// the way that is not beside either of them is free.
fn walkable(scene: &QuestionScene<'_>, from: usize, to: usize) -> bool {
    const STEP: f32 = 0.1;
    const BESIDE: f32 = 0.45;
    let (a, b) = (scene.center(from), scene.center(to));
    let steps = (a.distance(b) / STEP).ceil().max(1.0) as usize;
    a.distance(b) > 1.0
        && (0..=steps).map(|i| a.lerp(b, i as f32 / steps as f32)).all(|point| {
            scene.gap(point, from) < BESIDE || scene.gap(point, to) < BESIDE || (scene.free)(point)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::PI;

    #[test]
    fn turns_follow_the_change_of_heading() {
        assert_eq!(turn(Vec2::Y, Vec2::NEG_X), Some("Turn Left"));
        assert_eq!(turn(Vec2::Y, Vec2::X), Some("Turn Right"));
        assert_eq!(turn(Vec2::Y, Vec2::NEG_Y), Some("Turn Back"));
        assert_eq!(turn(Vec2::Y, Vec2::new(0.2, 1.0)), None);
        assert_eq!(turn(Vec2::from_angle(0.9 * PI), Vec2::from_angle(-0.6 * PI)), Some("Turn Left"));
    }
}
