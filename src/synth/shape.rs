//! Shaped parts: the solids that furniture is built from, and where rays meet them.
//!
//! A part lives in the axes of its object (origin in the middle of the box, +x
//! the front) and is moved to the world space when placed. All lengths in metres.

use glam::{Mat3, Vec3};

use super::material::Material;
use crate::geometry::OrientedBox;

/// A solid that fills the box ±half of its part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// A box with sharp edges.
    Box,
    /// A box whose edges are rounded with this radius, metres.
    Rounded(f32),
    /// An elliptic cylinder along z.
    Cylinder,
    /// A cone along z, cut at the top, whose upper radius is this share of the lower.
    Frustum(f32),
    /// An ellipsoid.
    Ellipsoid,
}

/// A solid with its place and surface.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Which solid.
    pub shape: Shape,
    /// Middle.
    pub center: Vec3,
    /// Half extents along its own axes.
    pub half: Vec3,
    /// Its own axes as columns.
    pub axes: Mat3,
    /// Surface.
    pub material: Material,
}

impl Part {
    /// An upright part.
    pub fn new(shape: Shape, center: Vec3, half: Vec3, material: Material) -> Self {
        Self { shape, center, half: half.max(Vec3::splat(1e-3)), axes: Mat3::IDENTITY, material }
    }

    /// Tilted by `rotation` about its own middle.
    #[must_use]
    pub fn turned(mut self, rotation: Mat3) -> Self {
        self.axes = rotation * self.axes;
        self
    }

    /// From the axes of the object with box `bounds` to the world space.
    #[must_use]
    pub fn placed(&self, bounds: &OrientedBox) -> Self {
        let direction = bounds.yaw.direction();
        let turn = Mat3::from_cols(direction.extend(0.0), direction.perp().extend(0.0), Vec3::Z);
        Self { center: bounds.center + turn * self.center, axes: turn * self.axes, ..*self }
    }

    /// Smallest and largest corner of the axis-parallel box around the part.
    pub fn extent(&self) -> (Vec3, Vec3) {
        let reach = self.axes.x_axis.abs() * self.half.x
            + self.axes.y_axis.abs() * self.half.y
            + self.axes.z_axis.abs() * self.half.z;
        (self.center - reach, self.center + reach)
    }

    /// A world point in the part's axes.
    pub fn local(&self, point: Vec3) -> Vec3 {
        self.axes.transpose() * (point - self.center)
    }

    /// Whether a world point lies inside the solid.
    pub fn contains(&self, point: Vec3) -> bool {
        let q = self.local(point) / self.half;
        let flat = q.truncate().length_squared();
        match self.shape {
            Shape::Box | Shape::Rounded(_) => q.abs().max_element() < 1.0,
            Shape::Cylinder => flat < 1.0 && q.z.abs() < 1.0,
            Shape::Frustum(top) => {
                let radius = 0.5 * (1.0 + top) - 0.5 * (1.0 - top) * q.z;
                flat < radius * radius && q.z.abs() < 1.0
            }
            Shape::Ellipsoid => q.length_squared() < 1.0,
        }
    }

    /// Where the ray `origin + t * direction` enters the solid, if `near < t < far`.
    /// The direction need not have unit length.
    pub fn enter(&self, origin: Vec3, direction: Vec3, near: f32, far: f32) -> Option<f32> {
        let to_local = self.axes.transpose();
        let o = to_local * (origin - self.center);
        let d = to_local * direction;
        let t = match self.shape {
            Shape::Box => slabs(o, d, self.half).map(|(enter, _)| enter),
            Shape::Rounded(radius) => {
                slabs(o, d, self.half).and_then(|span| rounded(o, d, self.half, radius, span))
            }
            Shape::Cylinder => cylinder(o / self.half, d / self.half),
            Shape::Frustum(top) => frustum(o / self.half, d / self.half, top, near),
            Shape::Ellipsoid => sphere(o / self.half, d / self.half),
        }?;
        (t > near && t < far).then_some(t)
    }

    /// Outward unit normal at a point of the surface; both in the part's axes.
    pub fn local_normal(&self, p: Vec3) -> Vec3 {
        let q = p / self.half;
        match self.shape {
            Shape::Box => face_normal(q),
            Shape::Rounded(radius) => {
                let core = (self.half - Vec3::splat(radius.min(self.half.min_element()))).max(Vec3::ZERO);
                let beyond = p - p.clamp(-core, core);
                if beyond.length_squared() > 1e-10 { beyond.normalize() } else { face_normal(q) }
            }
            Shape::Cylinder | Shape::Frustum(_) if q.z.abs() > 0.999 => Vec3::Z * q.z.signum(),
            Shape::Cylinder => (Vec3::new(q.x, q.y, 0.0) / self.half).normalize_or(Vec3::X),
            Shape::Frustum(top) => {
                let (middle, slope) = (0.5 * (1.0 + top), 0.5 * (1.0 - top));
                let gradient = Vec3::new(q.x, q.y, slope * (middle - slope * q.z));
                (gradient / self.half).normalize_or(Vec3::X)
            }
            Shape::Ellipsoid => (q / self.half).normalize_or(Vec3::Z),
        }
    }
}

fn face_normal(q: Vec3) -> Vec3 {
    let a = q.abs();
    if a.x >= a.y && a.x >= a.z {
        Vec3::X * q.x.signum()
    } else if a.y >= a.z {
        Vec3::Y * q.y.signum()
    } else {
        Vec3::Z * q.z.signum()
    }
}

/// Entry and exit of a ray through the box ±half.
fn slabs(o: Vec3, d: Vec3, half: Vec3) -> Option<(f32, f32)> {
    let inverse = d.recip();
    let (a, b) = ((-half - o) * inverse, (half - o) * inverse);
    let enter = a.min(b).max_element();
    let exit = a.max(b).min_element();
    (enter <= exit && exit > 0.0).then_some((enter, exit))
}

/// Sphere-traces the rounded box between entry and exit of its box.
fn rounded(o: Vec3, d: Vec3, half: Vec3, radius: f32, (enter, exit): (f32, f32)) -> Option<f32> {
    let radius = radius.min(half.min_element());
    let core = half - Vec3::splat(radius);
    let speed = d.length().recip();
    let mut t = enter;
    for _ in 0..24 {
        let p = o + d * t;
        let distance = (p.abs() - core).max(Vec3::ZERO).length() - radius;
        if distance < 4e-4 {
            return Some(t);
        }
        t += distance * speed;
        if t > exit {
            return None;
        }
    }
    None
}

fn sphere(o: Vec3, d: Vec3) -> Option<f32> {
    let (a, b, c) = (d.length_squared(), o.dot(d), o.length_squared() - 1.0);
    let root = b * b - a * c;
    (root >= 0.0).then(|| (-b - root.sqrt()) / a)
}

fn cylinder(o: Vec3, d: Vec3) -> Option<f32> {
    let (flat_o, flat_d) = (o.truncate(), d.truncate());
    let (a, b, c) = (flat_d.length_squared(), flat_o.dot(flat_d), flat_o.length_squared() - 1.0);
    let root = b * b - a * c;
    if root < 0.0 {
        return None;
    }
    let (side_in, side_out) = if a > 1e-12 {
        ((-b - root.sqrt()) / a, (-b + root.sqrt()) / a)
    } else if c <= 0.0 {
        (f32::NEG_INFINITY, f32::INFINITY)
    } else {
        return None;
    };
    let inverse = 1.0 / d.z;
    let (low, high) = ((-1.0 - o.z) * inverse, (1.0 - o.z) * inverse);
    let enter = side_in.max(low.min(high));
    (enter <= side_out.min(low.max(high))).then_some(enter)
}

fn frustum(o: Vec3, d: Vec3, top: f32, near: f32) -> Option<f32> {
    let (middle, slope) = (0.5 * (1.0 + top), 0.5 * (1.0 - top));
    let radius = middle - slope * o.z;
    let a = d.x * d.x + d.y * d.y - slope * slope * d.z * d.z;
    let b = o.x * d.x + o.y * d.y + radius * slope * d.z;
    let c = o.x * o.x + o.y * o.y - radius * radius;
    let mut best = f32::INFINITY;
    let root = b * b - a * c;
    if root >= 0.0 && a.abs() > 1e-12 {
        for t in [(-b - root.sqrt()) / a, (-b + root.sqrt()) / a] {
            if t > near && t < best && (o.z + d.z * t).abs() <= 1.0 {
                best = t;
            }
        }
    }
    for (z, limit) in [(-1.0, 1.0), (1.0, top)] {
        let t = (z - o.z) / d.z;
        if t > near && t < best && (o + d * t).truncate().length_squared() <= limit * limit {
            best = t;
        }
    }
    best.is_finite().then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Orientation;
    use proptest::prelude::*;

    fn part(shape: Shape) -> Part {
        Part::new(shape, Vec3::new(3.0, 0.0, 0.0), Vec3::new(0.5, 0.4, 0.3), Material::plain(Vec3::ONE))
    }

    #[test]
    fn a_ray_through_the_middle_meets_the_near_side() {
        for shape in [Shape::Box, Shape::Rounded(0.1), Shape::Cylinder, Shape::Frustum(1.0), Shape::Ellipsoid]
        {
            let t = part(shape).enter(Vec3::ZERO, Vec3::X, 1e-4, 100.0).unwrap();
            assert!((t - 2.5).abs() < 2e-3, "{shape:?} {t}");
            assert!(part(shape).enter(Vec3::new(0.0, 0.41, 0.0), Vec3::X, 1e-4, 100.0).is_none());
            assert!(part(shape).enter(Vec3::ZERO, -Vec3::X, 1e-4, 100.0).is_none());
        }
    }

    #[test]
    fn rounding_takes_the_corners_away() {
        let corner_ray = Vec3::new(0.0, 0.395, 0.295);
        assert!(part(Shape::Box).enter(corner_ray, Vec3::X, 0.0, 100.0).is_some());
        assert!(part(Shape::Rounded(0.1)).enter(corner_ray, Vec3::X, 0.0, 100.0).is_none());
    }

    #[test]
    fn a_placed_part_follows_the_yaw_of_its_object() {
        let bounds = OrientedBox {
            center: Vec3::new(1.0, 2.0, 0.5),
            size: Vec3::ONE,
            yaw: Orientation::from_degrees(90.0),
        };
        let front = Part::new(Shape::Box, Vec3::X, Vec3::ONE, Material::plain(Vec3::ONE)).placed(&bounds);
        assert!(front.center.distance(Vec3::new(1.0, 3.0, 0.5)) < 1e-5);
    }

    proptest! {
        #[test]
        fn hits_lie_on_the_solid_and_face_the_ray(y in -0.6f32..0.6, z in -0.5f32..0.5, dy in -0.3f32..0.3, dz in -0.3f32..0.3, which in 0usize..5) {
            let shape = [Shape::Box, Shape::Rounded(0.12), Shape::Cylinder, Shape::Frustum(0.4), Shape::Ellipsoid][which];
            let part = part(shape);
            let (origin, direction) = (Vec3::new(0.0, y, z), Vec3::new(1.0, dy, dz));
            if let Some(t) = part.enter(origin, direction, 1e-4, 100.0) {
                let p = part.local(origin + direction * t);
                prop_assert!((p.abs() - part.half).max_element() < 2e-3, "{:?} {}", shape, p);
                prop_assert!(part.local_normal(p).dot(direction) < 0.05, "{:?} {}", shape, p);
            }
        }
    }
}
