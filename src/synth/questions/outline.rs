//! What people call the outline of a thing: round, oval, square, rectangular.

use crate::synth::{Shape, SynthObject};

/// Longer over shorter side of a square or a circle, at most.
const EVEN: f32 = 1.06;
/// Longer over shorter side of a rectangle or an oval, at least.
const LONG: f32 = 1.3;
/// Metres that an outline may stand back behind the box.
const WITHIN: f32 = 0.02;

/// The word for the outline of a table, desk or rug from above, or of a clock; `None` for
/// other things and where the word is not certain.
pub(super) fn of(object: &SynthObject) -> Option<&'static str> {
    match object.object.category.as_str() {
        "clock" if object.is_known => return Some("round"),
        "table" | "coffee table" | "desk" | "rug" => {}
        _ => return None,
    }
    let size = object.object.bounds.size.truncate();
    let part = object.parts.iter().find(|part| {
        let behind = 0.5 * size - part.half.truncate();
        behind.abs().max_element() < WITHIN
    })?;
    let longer = size.max_element() / size.min_element();
    match part.shape {
        Shape::Cylinder if longer < EVEN => Some("round"),
        Shape::Cylinder if longer > LONG => Some("oval"),
        Shape::Box | Shape::Rounded(_) if longer < EVEN => Some("square"),
        Shape::Box | Shape::Rounded(_) if longer > LONG => Some("rectangular"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use glam::Vec3;

    use super::*;
    use crate::geometry::{Orientation, OrientedBox};
    use crate::scene::{Category, ObjectId, SceneObject};
    use crate::synth::furniture::build;

    fn built(category: &str, size: Vec3, style: u32) -> SynthObject {
        let made = build(category, size, Some("brown"), style);
        let bounds = OrientedBox { center: Vec3::ZERO, size, yaw: Orientation::from_degrees(30.0) };
        let color = Some(made.color);
        SynthObject {
            object: SceneObject { id: ObjectId(0), category: Category::new(category), bounds, color },
            style,
            parts: made.parts,
            support: None,
            is_known: made.is_known,
        }
    }

    fn outlines(category: &str, size: Vec3) -> BTreeSet<Option<&'static str>> {
        (0..60).map(|style| of(&built(category, size, style))).collect()
    }

    #[test]
    fn tables_are_called_by_their_top() {
        let long = outlines("table", Vec3::new(0.9, 1.6, 0.75));
        assert_eq!(long, BTreeSet::from([Some("oval"), Some("rectangular")]));
        let even = outlines("table", Vec3::new(1.0, 1.0, 0.75));
        assert_eq!(even, BTreeSet::from([Some("round"), Some("square")]));
        // Hardly longer than wide: no word is certain.
        assert_eq!(outlines("table", Vec3::new(1.0, 1.15, 0.75)), BTreeSet::from([None]));
        assert_eq!(outlines("desk", Vec3::new(0.7, 1.4, 0.75)), BTreeSet::from([Some("rectangular")]));
    }

    #[test]
    fn things_without_a_plain_outline_have_none() {
        for category in ["sofa", "plant", "chair", "harp"] {
            assert_eq!(outlines(category, Vec3::splat(0.8)), BTreeSet::from([None]), "{category}");
        }
        assert_eq!(of(&built("clock", Vec3::new(0.05, 0.3, 0.3), 3)), Some("round"));
    }
}
