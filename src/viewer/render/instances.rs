//! What the 3D view is made of: marks, points and lines in the anchor space (metres),
//! laid out as the shaders read them.

use bytemuck::{Pod, Zeroable};
use glam::{Vec2, Vec3};

use crate::viewer::workbench::Layer;

/// sRGB with alpha, 0 to 255.
pub(crate) type Rgba = [u8; 4];

/// A flat mark: the image of `[-1, 1]²` under `center + x·u + y·v` (`marks.wgsl`).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Mark {
    center: [f32; 3],
    shape: f32,
    u: [f32; 3],
    inner: f32,
    v: [f32; 3],
    certainty: f32,
    color: Rgba,
    layer: u32,
}

impl Mark {
    const RING: f32 = 0.0;
    const TRIANGLE: f32 = 1.0;

    /// A disc or ellipse lying flat at `center`, half axes along x and y in metres.
    pub fn ellipse(layer: Layer, center: Vec3, half_axes: Vec2, color: Rgba) -> Self {
        Self {
            center: center.into(),
            shape: Self::RING,
            u: [half_axes.x, 0.0, 0.0],
            inner: 0.0,
            v: [0.0, half_axes.y, 0.0],
            certainty: 1.0,
            color,
            layer: layer.bit(),
        }
    }

    /// A triangle with the corners `a`, `b`, `c`.
    pub fn triangle(layer: Layer, [a, b, c]: [Vec3; 3], color: Rgba) -> Self {
        // The shader's triangle has the corners -u-v, u-v and v.
        let base = (a + b) * 0.5;
        Self {
            center: ((base + c) * 0.5).into(),
            shape: Self::TRIANGLE,
            u: ((b - a) * 0.5).into(),
            inner: 0.0,
            v: ((c - base) * 0.5).into(),
            certainty: 1.0,
            color,
            layer: layer.bit(),
        }
    }

    /// Only its outline: a ring from `inner` (share of the radius) to the edge.
    #[must_use]
    pub fn ring(self, inner: f32) -> Self {
        Self { inner, ..self }
    }

    /// Hidden when the filter is above `certainty` (0 to 1).
    #[must_use]
    pub fn with_certainty(self, certainty: f32) -> Self {
        Self { certainty, ..self }
    }
}

/// A round point that faces the camera (`points.wgsl`).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Point {
    /// Anchor space, metres.
    pub position: [f32; 3],
    /// Metres.
    pub radius: f32,
    /// Colour.
    pub color: Rgba,
    /// 0 to 1; hidden when the filter is above it.
    pub certainty: f32,
    /// Layer bit.
    pub layer: u32,
}

/// A segment with a width in interface points (`lines.wgsl`).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Line {
    start: [f32; 3],
    width: f32,
    end: [f32; 3],
    certainty: f32,
    start_color: Rgba,
    end_color: Rgba,
    layer: u32,
}

impl Line {
    /// A segment of one colour.
    pub fn new(layer: Layer, [start, end]: [Vec3; 2], width: f32, color: Rgba) -> Self {
        Self::fading(layer, [start, end], width, [color, color])
    }

    /// A segment whose colour changes from start to end.
    pub fn fading(layer: Layer, [start, end]: [Vec3; 2], width: f32, colors: [Rgba; 2]) -> Self {
        Self {
            start: start.into(),
            width,
            end: end.into(),
            certainty: 1.0,
            start_color: colors[0],
            end_color: colors[1],
            layer: layer.bit(),
        }
    }
}

/// Instances in drawing order: what lies on the floor, then what stands in space,
/// then what must stay visible in front of everything.
#[derive(Debug, Clone, Default)]
pub struct Geometry {
    /// Under everything.
    pub floor_lines: Vec<Line>,
    /// On the floor, blended in order.
    pub floor_marks: Vec<Mark>,
    /// Hide each other by depth.
    pub points: Vec<Point>,
    /// Hidden by points in front of them.
    pub lines: Vec<Line>,
    /// Never hidden.
    pub front_marks: Vec<Mark>,
    /// Never hidden, above the marks.
    pub front_lines: Vec<Line>,
}

impl Geometry {
    /// Number of instances.
    pub fn len(&self) -> usize {
        self.floor_lines.len()
            + self.floor_marks.len()
            + self.points.len()
            + self.lines.len()
            + self.front_marks.len()
            + self.front_lines.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle_maps_the_shader_corners_to_its_own() {
        let corners = [Vec3::new(0.0, 0.0, 1.0), Vec3::new(2.0, 0.0, 1.0), Vec3::new(1.0, 3.0, 2.0)];
        let mark = Mark::triangle(Layer::Situation, corners, [255; 4]);
        let at = |x: f32, y: f32| Vec3::from(mark.center) + Vec3::from(mark.u) * x + Vec3::from(mark.v) * y;
        assert!(at(-1.0, -1.0).distance(corners[0]) < 1e-6);
        assert!(at(1.0, -1.0).distance(corners[1]) < 1e-6);
        assert!(at(0.0, 1.0).distance(corners[2]) < 1e-6);
    }

    #[test]
    fn instances_have_the_sizes_that_the_pipelines_declare() {
        assert_eq!(size_of::<Mark>(), 56);
        assert_eq!(size_of::<Point>(), 28);
        assert_eq!(size_of::<Line>(), 44);
    }
}
