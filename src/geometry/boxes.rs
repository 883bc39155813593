//! Upright boxes: objects on a floor, turned about the vertical axis.

use glam::{Vec2, Vec3};
use serde::{Deserialize, Serialize};

use super::Orientation;

/// A box in a z-up world, turned about z only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OrientedBox {
    /// Centre, metres.
    pub center: Vec3,
    /// Full extents along its own axes (x, y, z), metres.
    pub size: Vec3,
    /// Heading of its own +x axis.
    pub yaw: Orientation,
}

impl OrientedBox {
    /// Its own x and y axes on the floor plane.
    pub fn axes(&self) -> [Vec2; 2] {
        let x = self.yaw.direction();
        [x, x.perp()]
    }

    /// The four corners of its footprint, counter-clockwise.
    pub fn footprint(&self) -> [Vec2; 4] {
        let [x, y] = self.axes();
        let (hx, hy) = (x * self.size.x * 0.5, y * self.size.y * 0.5);
        let c = self.center.truncate();
        [c - hx - hy, c + hx - hy, c + hx + hy, c - hx + hy]
    }

    /// The eight corners: footprint at the bottom, then at the top.
    pub fn corners(&self) -> [Vec3; 8] {
        let (low, high) = (self.bottom(), self.top());
        let f = self.footprint();
        std::array::from_fn(|i| f[i % 4].extend(if i < 4 { low } else { high }))
    }

    /// Height of its underside, metres.
    pub fn bottom(&self) -> f32 {
        self.center.z - self.size.z * 0.5
    }

    /// Height of its top, metres.
    pub fn top(&self) -> f32 {
        self.center.z + self.size.z * 0.5
    }

    /// A world point in the box's own axes, relative to its centre.
    pub fn local(&self, point: Vec3) -> Vec3 {
        let [x, y] = self.axes();
        let d = point - self.center;
        Vec3::new(d.truncate().dot(x), d.truncate().dot(y), d.z)
    }

    /// Whether the point lies inside or on the surface.
    pub fn contains(&self, point: Vec3) -> bool {
        self.local(point).abs().cmple(self.size * 0.5).all()
    }

    /// Distance from a point to the box, 0 inside, metres.
    pub fn distance_to_point(&self, point: Vec3) -> f32 {
        (self.local(point).abs() - self.size * 0.5).max(Vec3::ZERO).length()
    }

    /// Whether the footprints overlap when both are grown by half of `clearance` metres.
    pub fn footprint_overlaps(&self, other: &Self, clearance: f32) -> bool {
        let gap = |axis: Vec2| {
            let interval = |b: &Self| {
                let [x, y] = b.axes();
                let reach = 0.5 * (b.size.x * x.dot(axis).abs() + b.size.y * y.dot(axis).abs());
                let middle = b.center.truncate().dot(axis);
                (middle - reach, middle + reach)
            };
            let (a, b) = (interval(self), interval(other));
            (b.0 - a.1).max(a.0 - b.1)
        };
        self.axes().into_iter().chain(other.axes()).all(|axis| gap(axis) < clearance)
    }

    /// Shortest distance between the surfaces of two boxes, 0 when they touch, metres.
    pub fn distance(&self, other: &Self) -> f32 {
        let vertical = (other.bottom() - self.top()).max(self.bottom() - other.top()).max(0.0);
        let horizontal =
            if self.footprint_overlaps(other, 0.0) { 0.0 } else { self.footprint_distance(other) };
        horizontal.hypot(vertical)
    }

    fn footprint_distance(&self, other: &Self) -> f32 {
        let to_edges = |points: [Vec2; 4], polygon: [Vec2; 4]| {
            points
                .into_iter()
                .flat_map(|p| (0..4).map(move |i| segment_distance(p, polygon[i], polygon[(i + 1) % 4])))
                .fold(f32::INFINITY, f32::min)
        };
        let (a, b) = (self.footprint(), other.footprint());
        to_edges(a, b).min(to_edges(b, a))
    }
}

fn segment_distance(p: Vec2, a: Vec2, b: Vec2) -> f32 {
    let along = b - a;
    let t = ((p - a).dot(along) / along.length_squared().max(1e-12)).clamp(0.0, 1.0);
    p.distance(a + along * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit_box(x: f32, y: f32, degrees: f32) -> OrientedBox {
        OrientedBox { center: Vec3::new(x, y, 0.5), size: Vec3::ONE, yaw: Orientation::from_degrees(degrees) }
    }

    #[test]
    fn distance_between_faces_and_corners() {
        assert!((unit_box(0.0, 0.0, 0.0).distance(&unit_box(3.0, 0.0, 0.0)) - 2.0).abs() < 1e-5);
        let diagonal = unit_box(0.0, 0.0, 0.0).distance(&unit_box(2.0, 2.0, 0.0));
        assert!((diagonal - 2f32.sqrt()).abs() < 1e-5);
        assert_eq!(unit_box(0.0, 0.0, 0.0).distance(&unit_box(0.5, 0.0, 45.0)), 0.0);
    }

    #[test]
    fn turned_boxes_overlap_only_where_they_do() {
        // A square on its corner reaches 0.707 m, so a gap of 1.3 m centre to centre is clear.
        assert!(!unit_box(0.0, 0.0, 0.0).footprint_overlaps(&unit_box(1.3, 0.0, 45.0), 0.0));
        assert!(unit_box(0.0, 0.0, 0.0).footprint_overlaps(&unit_box(1.3, 0.0, 45.0), 0.2));
        assert!(unit_box(0.0, 0.0, 0.0).footprint_overlaps(&unit_box(1.1, 0.0, 45.0), 0.0));
    }

    #[test]
    fn contains_respects_the_yaw() {
        let long = OrientedBox {
            center: Vec3::ZERO,
            size: Vec3::new(4.0, 1.0, 1.0),
            yaw: Orientation::from_degrees(90.0),
        };
        assert!(long.contains(Vec3::new(0.0, 1.9, 0.0)));
        assert!(!long.contains(Vec3::new(1.9, 0.0, 0.0)));
    }
}
