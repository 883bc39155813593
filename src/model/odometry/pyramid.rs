//! Grey pictures at halved sizes, and patches of them between the pixels.
//!
//! Coordinates are pixel indices: the centre of the first pixel is (0, 0).

use glam::Vec2;

/// A grey picture, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Plane {
    /// A picture of `width` columns; rows that are not complete are left out.
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        Self { width, height: values.len() / width.max(1), values }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixel at a place; places outside have the value of the nearest pixel.
    pub fn at(&self, x: i32, y: i32) -> f32 {
        let x = x.clamp(0, self.width as i32 - 1) as usize;
        let y = y.clamp(0, self.height as i32 - 1) as usize;
        self.values[y * self.width + x]
    }

    /// Whether a square of `radius` pixels around `center` lies in the picture.
    pub fn holds(&self, center: Vec2, radius: f32) -> bool {
        let far = Vec2::new(self.width as f32, self.height as f32) - 1.0 - radius;
        center.cmpge(Vec2::splat(radius)).all() && center.cmple(far).all()
    }

    /// Bilinear samples on a square of `SIDE` x `SIDE` unit steps around `center`.
    pub fn patch<const SIDE: usize>(&self, center: Vec2) -> [[f32; SIDE]; SIDE] {
        let corner = center - (SIDE / 2) as f32;
        let base = corner.floor();
        let (x0, y0) = (base.x as i32, base.y as i32);
        let part = corner - base;
        let inside = x0 >= 0
            && y0 >= 0
            && x0 + (SIDE as i32) < self.width as i32
            && y0 + (SIDE as i32) < self.height as i32;
        let mut patch = [[0.0; SIDE]; SIDE];
        if inside {
            let (x0, y0) = (x0 as usize, y0 as usize);
            for (row, out) in patch.iter_mut().enumerate() {
                let start = (y0 + row) * self.width + x0;
                let upper = &self.values[start..=start + SIDE];
                let lower = &self.values[start + self.width..=start + self.width + SIDE];
                blend(upper, lower, part, out);
            }
        } else {
            for (row, out) in patch.iter_mut().enumerate() {
                let y = y0 + row as i32;
                for (column, value) in out.iter_mut().enumerate() {
                    let x = x0 + column as i32;
                    let upper = self.at(x, y) * (1.0 - part.x) + self.at(x + 1, y) * part.x;
                    let lower = self.at(x, y + 1) * (1.0 - part.x) + self.at(x + 1, y + 1) * part.x;
                    *value = upper * (1.0 - part.y) + lower * part.y;
                }
            }
        }
        patch
    }

    /// Half the size, smoothed with (1, 4, 6, 4, 1) / 16 before.
    #[must_use]
    pub fn halved(&self) -> Self {
        const KERNEL: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let sum = |sample: &dyn Fn(i32) -> f32| -> f32 {
            (-2..=2).zip(KERNEL).map(|(offset, weight)| weight * sample(offset)).sum()
        };
        let mut across = Vec::with_capacity(width * self.height);
        for y in 0..self.height as i32 {
            across.extend((0..width as i32).map(|x| sum(&|offset| self.at(2 * x + offset, y))));
        }
        let across = Self::new(width, across);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height as i32 {
            values.extend((0..width as i32).map(|x| sum(&|offset| across.at(x, 2 * y + offset))));
        }
        Self::new(width, values)
    }
}

fn blend(upper: &[f32], lower: &[f32], part: Vec2, out: &mut [f32]) {
    let (w00, w01) = ((1.0 - part.x) * (1.0 - part.y), part.x * (1.0 - part.y));
    let (w10, w11) = ((1.0 - part.x) * part.y, part.x * part.y);
    let (upper_next, lower_next) = (&upper[1..], &lower[1..]);
    for (k, value) in out.iter_mut().enumerate() {
        *value = w00 * upper[k] + w01 * upper_next[k] + w10 * lower[k] + w11 * lower_next[k];
    }
}

/// A picture and its halves.
#[derive(Debug, Clone, PartialEq)]
pub struct Pyramid {
    levels: Vec<Plane>,
}

impl Pyramid {
    /// Smallest side of the topmost level, pixels.
    const LEAST_SIDE: usize = 16;

    /// All levels of a picture.
    pub fn new(picture: Plane) -> Self {
        let mut levels = vec![picture];
        while let Some(last) = levels.last()
            && last.width.min(last.height) >= 2 * Self::LEAST_SIDE
        {
            levels.push(last.halved());
        }
        Self { levels }
    }

    /// Finest first.
    pub fn levels(&self) -> &[Plane] {
        &self.levels
    }

    /// The picture itself.
    pub fn picture(&self) -> &Plane {
        &self.levels[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Plane {
        Plane::new(
            width,
            (0..width * height).map(|i| (i % width) as f32 + 10.0 * (i / width) as f32).collect(),
        )
    }

    #[test]
    fn patches_are_exact_on_a_ramp_and_continue_past_the_edge() {
        let plane = ramp(16, 16);
        let patch = plane.patch::<3>(Vec2::new(5.25, 7.5));
        assert!((patch[1][1] - 80.25).abs() < 1e-4 && (patch[2][0] - 89.25).abs() < 1e-4);
        let corner = plane.patch::<3>(Vec2::ZERO);
        assert_eq!(corner[0], [0.0, 0.0, 1.0]);
    }

    #[test]
    fn halving_keeps_a_ramp_where_it_was() {
        let half = ramp(64, 64).halved();
        assert_eq!((half.width(), half.height()), (32, 32));
        assert!((half.at(10, 10) - 220.0).abs() < 1e-3);
        assert_eq!(Pyramid::new(ramp(128, 128)).levels().len(), 4);
        assert_eq!(Pyramid::new(ramp(8, 8)).levels().len(), 1);
    }
}
