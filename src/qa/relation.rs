//! Where things are, seen from a situation: left, right, clock directions; and
//! the nearest description in words of a pose that has none.
//!
//! Angles are radians counter-clockwise from the heading: positive is to the left.

use std::f32::consts::{FRAC_PI_4, PI, TAU};

use glam::{Vec2, Vec3};

use super::Situation;
use crate::geometry::{AnchorFrame, BevPoint, Orientation, wrap_angle};
use crate::scene::SceneObject;

/// One of four sectors of 90° around a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Within 45° of the heading.
    Front,
    /// Around +90°.
    Left,
    /// Around -90°.
    Right,
    /// More than 135° away from the heading.
    Behind,
}

impl Side {
    /// All sides.
    pub const ALL: [Self; 4] = [Self::Front, Self::Left, Self::Right, Self::Behind];

    /// Angle of its middle, radians from the heading.
    pub fn middle(self) -> f32 {
        match self {
            Self::Front => 0.0,
            Self::Left => 0.5 * PI,
            Self::Right => -0.5 * PI,
            Self::Behind => PI,
        }
    }

    /// As answered in one word: "front", "left", "right", "behind".
    pub fn word(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Left => "left",
            Self::Right => "right",
            Self::Behind => "behind",
        }
    }
}

/// Direction and distance of a point seen by a person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bearing {
    /// Radians from the heading in [-π, π), left positive.
    pub angle: f32,
    /// Metres on the floor plane.
    pub distance: f32,
}

impl Bearing {
    /// How a person at `position` with `heading` sees `target`; all in one space.
    pub fn between(position: Vec2, heading: Orientation, target: Vec2) -> Self {
        let offset = target - position;
        let direction = Orientation::from_direction(offset).unwrap_or(heading);
        Self { angle: wrap_angle(direction.radians() - heading.radians()), distance: offset.length() }
    }

    /// How a person in `situation` sees `target`.
    pub fn of(situation: &Situation, target: BevPoint) -> Self {
        Self::between(situation.position.into(), situation.orientation, target.into())
    }

    /// The 90° sector the point lies in.
    pub fn side(self) -> Side {
        match self.angle.abs() {
            a if a <= FRAC_PI_4 => Side::Front,
            a if a >= 3.0 * FRAC_PI_4 => Side::Behind,
            _ if self.angle > 0.0 => Side::Left,
            _ => Side::Right,
        }
    }

    /// Radians between the point and the middle of `side`.
    pub fn off_side(self, side: Side) -> f32 {
        wrap_angle(self.angle - side.middle()).abs()
    }

    /// Hour on a clock face lying on the floor, 12 straight ahead: 1 to 12.
    pub fn clock(self) -> u8 {
        let hour = (-self.angle / (TAU / 12.0)).round().rem_euclid(12.0) as u8;
        if hour == 0 { 12 } else { hour }
    }
}

/// Farthest an object may be to say where somebody stands, metres.
const NEAR: f32 = 1.5;
/// Farthest an object may be to say where somebody looks, metres.
const IN_VIEW: f32 = 7.0;
/// Widest angle between a heading and an object that is still "facing" it.
const FACING: f32 = 20.0 / 180.0 * PI;

/// The nearest description in words of a pose given in numbers ("I am standing
/// next to the desk facing the window"), among known `objects` of the world space;
/// `None` when no object is within 1.5 m.
pub fn describe(situation: &Situation, objects: &[SceneObject], anchor: &AnchorFrame) -> Option<String> {
    let bev = situation.position;
    let position = anchor.world_from_anchor(Vec3::new(bev.x, bev.y, 0.0)).truncate();
    let heading = anchor.world_orientation(situation.orientation);
    let place = objects
        .iter()
        .map(|object| (object, floor_distance(object, position)))
        .filter(|(_, distance)| *distance <= NEAR)
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let (place, distance) = place?;
    let bearing = |object: &SceneObject| Bearing::between(position, heading, object.bounds.center.truncate());
    let name = |object: &SceneObject| noun(object, objects);
    let ahead = objects
        .iter()
        .filter(|object| object.id != place.id)
        .map(|object| (object, bearing(object)))
        .filter(|(_, b)| b.angle.abs() <= FACING && b.distance <= IN_VIEW)
        .min_by(|a, b| a.1.distance.total_cmp(&b.1.distance));
    let seat = distance <= 0.05 && is_seat(place);
    let start = if seat { "I am sitting on" } else { "I am standing" };
    let at = name(place);
    let seen = bearing(place);
    let words = match ahead {
        Some((object, _)) if seat => format!("{start} {at} facing {}", name(object)),
        None if seat => format!("{start} {at}"),
        _ if seen.angle.abs() <= FACING => format!("{start} in front of {at} facing it"),
        Some((object, _)) => format!("{start} next to {at} facing {}", name(object)),
        None if seen.side() == Side::Behind => format!("{start} with {at} behind me"),
        None if seen.side() == Side::Front => format!("{start} in front of {at}"),
        None => format!("{start} next to {at} on my {}", seen.side().word()),
    };
    Some(words)
}

/// Horizontal distance from a point to the footprint of an object, metres.
fn floor_distance(object: &SceneObject, point: Vec2) -> f32 {
    object.bounds.distance_to_point(point.extend(object.bounds.center.z))
}

fn is_seat(object: &SceneObject) -> bool {
    ["sofa", "couch", "chair", "bed", "stool", "bench", "toilet", "ottoman"]
        .iter()
        .any(|seat| object.category.as_str().ends_with(seat))
}

/// "the sofa", or "the grey sofa" when there are several.
fn noun(object: &SceneObject, objects: &[SceneObject]) -> String {
    let alone = objects.iter().filter(|other| other.category == object.category).count() == 1;
    match &object.color {
        Some(color) if !alone => format!("the {color} {}", object.category.as_str()),
        _ => format!("the {}", object.category.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{CameraPose, OrientedBox};
    use crate::scene::{Category, ObjectId};
    use proptest::prelude::*;

    fn facing_north() -> Situation {
        Situation { position: BevPoint::new(0.0, 0.0), orientation: Orientation::from_degrees(90.0) }
    }

    #[test]
    fn sides_and_hours_of_a_person_facing_north() {
        let see = |x: f32, y: f32| Bearing::of(&facing_north(), BevPoint::new(x, y));
        assert_eq!(see(0.0, 2.0).side(), Side::Front);
        assert_eq!(see(-2.0, 0.2).side(), Side::Left);
        assert_eq!(see(2.0, 0.2).side(), Side::Right);
        assert_eq!(see(0.3, -2.0).side(), Side::Behind);
        assert_eq!(see(0.0, 1.0).clock(), 12);
        assert_eq!(see(1.0, 0.0).clock(), 3);
        assert_eq!(see(0.0, -1.0).clock(), 6);
        assert_eq!(see(-1.0, 0.0).clock(), 9);
        assert_eq!(see(0.5, 0.866).clock(), 1);
        assert!((see(3.0, 4.0).distance - 5.0).abs() < 1e-5);
    }

    proptest! {
        #[test]
        fn turning_left_moves_things_to_the_right(x in -5.0f32..5.0, y in -5.0f32..5.0, turn in 0.1f32..3.0) {
            prop_assume!(x.hypot(y) > 0.1);
            let heading = Orientation::from_degrees(20.0);
            let before = Bearing::between(Vec2::ZERO, heading, Vec2::new(x, y));
            let after = Bearing::between(Vec2::ZERO, heading.turned(turn), Vec2::new(x, y));
            prop_assert!((wrap_angle(before.angle - after.angle - turn)).abs() < 1e-3);
        }

        #[test]
        fn the_side_is_the_nearest_one(angle in -3.1f32..3.1) {
            let bearing = Bearing { angle, distance: 1.0 };
            let nearest = Side::ALL.into_iter().min_by(|a, b| bearing.off_side(*a).total_cmp(&bearing.off_side(*b)));
            prop_assert!((bearing.off_side(bearing.side()) - bearing.off_side(nearest.unwrap())).abs() < 1e-4);
        }
    }

    fn object(id: u32, category: &str, x: f32, y: f32) -> SceneObject {
        SceneObject {
            id: ObjectId(id),
            category: Category::new(category),
            bounds: OrientedBox {
                center: Vec3::new(x, y, 0.4),
                size: Vec3::splat(0.8),
                yaw: Orientation::from_degrees(0.0),
            },
            color: Some(if id.is_multiple_of(2) { "grey" } else { "red" }.to_owned()),
        }
    }

    /// World and bev axes agree.
    fn anchor() -> AnchorFrame {
        let pose = CameraPose::looking(Vec3::ZERO, Orientation::FORWARD, 0.0, 0.0);
        AnchorFrame::from_first_camera(&pose)
    }

    #[test]
    fn a_pose_is_described_by_what_is_near_and_ahead() {
        let objects = [object(0, "desk", -1.0, 0.0), object(1, "window", 0.0, 3.0)];
        let words = describe(&facing_north(), &objects, &anchor());
        assert_eq!(words.as_deref(), Some("I am standing next to the desk facing the window"));
        let words = describe(&facing_north(), &objects[..1], &anchor());
        assert_eq!(words.as_deref(), Some("I am standing next to the desk on my left"));
        assert_eq!(describe(&facing_north(), &objects[1..], &anchor()), None);
    }

    #[test]
    fn seats_are_sat_on_and_twins_told_apart_by_colour() {
        let objects = [object(0, "sofa", 0.0, 0.0), object(1, "sofa", 0.0, 4.0)];
        let words = describe(&facing_north(), &objects, &anchor());
        assert_eq!(words.as_deref(), Some("I am sitting on the grey sofa facing the red sofa"));
    }
}
