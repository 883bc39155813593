//! A picture of the scene drawn on the CPU, for where there is no window: points,
//! layout with uncertainty, camera path, situation, seen from above and behind the
//! first camera. Anchor space in, PNG out.

use anyhow::{Context as _, anyhow};
use glam::{Vec2, Vec3};
use image::{ExtendedColorType, ImageEncoder as _, RgbImage};

use crate::geometry::{BevBounds, BevPoint, CameraPose, ImageSize, Intrinsics, Orientation};
use crate::qa::SituationEstimate;
use crate::recording::scene_shapes::{ellipse, frustum, rose};
use crate::session::SessionState;

/// Size of the picture.
const SIZE: ImageSize = ImageSize::new(1280, 800);
/// Drawn at this multiple and averaged, for smooth edges.
const OVERSAMPLING: u32 = 2;
/// Horizontal field of view, radians.
const FIELD_OF_VIEW: f32 = 0.8;
/// The view is this far below the horizon, radians.
const PITCH: f32 = -0.75;
/// Turned from the first camera's heading, so that depth shows.
const TURN: f32 = 0.35;
/// Radius of a layout disc, metres.
const DISC_RADIUS: f32 = 0.07;
/// Side of a dense point, metres.
const POINT_SIDE: f32 = 0.025;
/// Nothing nearer than this is drawn, metres.
const NEAR: f32 = 0.05;

const BACKGROUND: [u8; 3] = [18, 20, 26];
const GRID: [u8; 3] = [46, 51, 62];
const GRID_METRE: [u8; 3] = [70, 77, 92];
const PATH: [u8; 3] = [235, 238, 245];
const FRUSTUM: [u8; 3] = [110, 135, 165];
const SITUATION: [u8; 3] = [255, 150, 30];
const ROSE: [u8; 3] = [255, 210, 110];

/// The scene of `state` as a PNG file.
///
/// # Errors
/// When there is no layout.
pub(super) fn png(state: &SessionState) -> anyhow::Result<Vec<u8>> {
    let picture = draw(state)?;
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(&picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .context("the picture cannot be encoded")?;
    Ok(bytes)
}

fn draw(state: &SessionState) -> anyhow::Result<RgbImage> {
    let layout = state.layout.as_ref().ok_or_else(|| anyhow!("the video has no layout; try again"))?;
    let floor = layout.floor_height;
    let cameras = state.cameras.iter().map(|camera| BevPoint::from(camera.pose.position.truncate()));
    let places = layout.tokens.iter().map(|token| token.position).chain(cameras);
    let nothing = BevBounds { min: BevPoint::default(), max: BevPoint::default() };
    let bounds = BevBounds::around(places).unwrap_or(nothing);
    let mut canvas = Canvas::looking_at(bounds.grown(0.5), floor);
    canvas.grid(bounds.grown(1.0), floor);
    for point in &state.points.points {
        canvas.square(point.position, POINT_SIDE, point.color);
    }
    for token in &layout.tokens {
        let faint = token.color.map(|channel| (u16::from(channel) / 3 + 20) as u8);
        canvas.line(&ellipse(token.position, token.sigma, floor), 1.0, faint);
    }
    for token in &layout.tokens {
        canvas.disc(Vec2::from(token.position).extend(floor), DISC_RADIUS, token.color);
    }
    for camera in state.cameras.iter() {
        canvas.line(&frustum(camera), 1.0, FRUSTUM);
    }
    let path: Vec<[f32; 3]> = state.cameras.iter().map(|camera| camera.pose.position.to_array()).collect();
    canvas.line(&path, 2.5, PATH);
    if let Some(estimate) = state.current_question().and_then(|asked| asked.estimate.as_ref()) {
        canvas.situation(estimate, floor);
    }
    Ok(canvas.finished())
}

/// An oversampled picture with a depth buffer, seen by one camera.
struct Canvas {
    pose: CameraPose,
    intrinsics: Intrinsics,
    pixels: Vec<[u8; 3]>,
    depth: Vec<f32>,
}

impl Canvas {
    /// Looks at the middle of `bounds` from where all of it is visible.
    fn looking_at(bounds: BevBounds, floor: f32) -> Self {
        let size = ImageSize::new(SIZE.width * OVERSAMPLING, SIZE.height * OVERSAMPLING);
        let heading = Orientation::FORWARD.turned(TURN);
        let level = CameraPose::looking(Vec3::ZERO, heading, PITCH, 0.0);
        let radius = (0.5 * bounds.size().length()).max(1.0);
        let half_view = 0.5 * FIELD_OF_VIEW / SIZE.aspect();
        let distance = 0.8 * radius / half_view.sin();
        let target = Vec2::from(bounds.center()).extend(floor + 0.3);
        let pose = CameraPose { position: target - distance * level.forward(), ..level };
        Self {
            pose,
            intrinsics: Intrinsics::from_horizontal_fov(size, FIELD_OF_VIEW),
            pixels: vec![BACKGROUND; size.pixels()],
            depth: vec![f32::INFINITY; size.pixels()],
        }
    }

    /// Pixel position and depth of a point; `None` behind the camera.
    fn project(&self, point: Vec3) -> Option<(Vec2, f32)> {
        let in_camera = self.pose.camera_from_world(point);
        if in_camera.z < NEAR || !in_camera.is_finite() {
            return None;
        }
        Some((self.intrinsics.project(in_camera)?, in_camera.z))
    }

    fn set(&mut self, x: i64, y: i64, depth: f32, color: [u8; 3]) {
        let (width, height) = (i64::from(self.intrinsics.size.width), i64::from(self.intrinsics.size.height));
        if (0..width).contains(&x) && (0..height).contains(&y) {
            let at = (y * width + x) as usize;
            if depth <= self.depth[at] {
                self.depth[at] = depth;
                self.pixels[at] = color;
            }
        }
    }

    /// A filled ellipse as a flat disc on the floor appears.
    fn disc(&mut self, center: Vec3, radius: f32, color: [u8; 3]) {
        let Some((at, depth)) = self.project(center) else { return };
        let across = self.intrinsics.focal.x * radius / depth;
        let along = across * PITCH.sin().abs();
        let (x0, y0) = (at.x.floor() as i64, at.y.floor() as i64);
        let (rx, ry) = ((across.ceil() as i64).min(200), (along.ceil() as i64).min(200));
        for dy in -ry..=ry {
            for dx in -rx..=rx {
                let offset = Vec2::new(dx as f32 / across.max(1.0), dy as f32 / along.max(1.0));
                if offset.length_squared() <= 1.0 {
                    self.set(x0 + dx, y0 + dy, depth, color);
                }
            }
        }
    }

    fn square(&mut self, center: Vec3, side: f32, color: [u8; 3]) {
        let Some((at, depth)) = self.project(center) else { return };
        let half = ((0.5 * self.intrinsics.focal.x * side / depth).round() as i64).clamp(1, 40);
        let (x0, y0) = (at.x.floor() as i64, at.y.floor() as i64);
        for dy in -half..half {
            for dx in -half..half {
                self.set(x0 + dx, y0 + dy, depth, color);
            }
        }
    }

    /// A polyline, `width` final pixels wide; lines win against what lies at the same depth.
    fn line(&mut self, strip: &[[f32; 3]], width: f32, color: [u8; 3]) {
        let half = (0.5 * width * OVERSAMPLING as f32).max(0.5);
        for pair in strip.windows(2) {
            let ends = (self.project(pair[0].into()), self.project(pair[1].into()));
            let (Some((from, near)), Some((to, far))) = ends else { continue };
            let steps = (from.distance(to).ceil() as usize).clamp(1, 8000);
            for step in 0..=steps {
                let t = step as f32 / steps as f32;
                let (at, depth) = (from.lerp(to, t), near + t * (far - near) - 0.02);
                let (low, high) = ((at - half).ceil(), (at + half).floor());
                for y in low.y as i64..=high.y as i64 {
                    for x in low.x as i64..=high.x as i64 {
                        self.set(x, y, depth, color);
                    }
                }
            }
        }
    }

    /// Lines every half metre, brighter every metre.
    fn grid(&mut self, bounds: BevBounds, floor: f32) {
        let z = floor - 0.03;
        let (low, high) = (Vec2::from(bounds.min).floor(), Vec2::from(bounds.max).ceil());
        let lines = |from: f32, to: f32| {
            (0..=((to - from) * 2.0).min(200.0) as i32).map(move |k| (from + 0.5 * k as f32, k))
        };
        for (x, k) in lines(low.x, high.x) {
            let color = if k % 2 == 0 { GRID_METRE } else { GRID };
            self.line(&[[x, low.y, z], [x, high.y, z]], 1.0, color);
        }
        for (y, k) in lines(low.y, high.y) {
            let color = if k % 2 == 0 { GRID_METRE } else { GRID };
            self.line(&[[low.x, y, z], [high.x, y, z]], 1.0, color);
        }
    }

    /// Arrow, sigma ellipse and rose of a situation.
    fn situation(&mut self, estimate: &SituationEstimate, floor: f32) {
        let (position, z) = (estimate.situation.position, floor + 0.12);
        let heading = estimate.situation.orientation;
        let at = |ahead: f32, aside: f32| {
            let side = heading.turned(std::f32::consts::FRAC_PI_2).direction();
            let point = Vec2::from(position) + ahead * heading.direction() + aside * side;
            [point.x, point.y, z]
        };
        self.line(&ellipse(position, estimate.position_sigma, z), 2.0, SITUATION);
        self.line(&rose(position, &estimate.orientation, z), 1.5, ROSE);
        self.line(&[at(0.0, 0.0), at(0.8, 0.0)], 5.0, SITUATION);
        self.line(&[at(0.6, 0.15), at(0.85, 0.0), at(0.6, -0.15)], 5.0, SITUATION);
        self.disc(Vec2::from(position).extend(z), 0.08, SITUATION);
    }

    /// Averages down to the final size.
    fn finished(self) -> RgbImage {
        let width = self.intrinsics.size.width as usize;
        let block = OVERSAMPLING as usize;
        RgbImage::from_fn(SIZE.width, SIZE.height, |x, y| {
            let mut sum = [0u32; 3];
            for dy in 0..block {
                for dx in 0..block {
                    let pixel = self.pixels[(y as usize * block + dy) * width + x as usize * block + dx];
                    for (sum, channel) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(channel);
                    }
                }
            }
            image::Rgb(sum.map(|channel| (channel / (OVERSAMPLING * OVERSAMPLING)) as u8))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::geometry::BevSigma;
    use crate::scene::{Layout, LayoutToken};
    use crate::video::FrameIndex;

    fn token(x: f32, y: f32, color: [u8; 3]) -> LayoutToken {
        LayoutToken {
            frame: FrameIndex(0),
            row: 0,
            column: 0,
            position: BevPoint::new(x, y),
            sigma: BevSigma { x: 0.2, y: 0.2 },
            color,
        }
    }

    fn positions_of(picture: &RgbImage, color: [u8; 3]) -> Vec<(u32, u32)> {
        picture.enumerate_pixels().filter(|(_, _, pixel)| pixel.0 == color).map(|(x, y, _)| (x, y)).collect()
    }

    #[test]
    fn what_is_ahead_is_drawn_above_and_right_stays_right() {
        let tokens =
            vec![token(0.0, 4.0, [250, 0, 0]), token(0.0, 0.5, [0, 250, 0]), token(2.5, 2.0, [0, 0, 250])];
        let layout = Layout { grid: (1, 3), tokens, floor_height: -1.5 };
        let state = SessionState { layout: Some(Arc::new(layout)), ..SessionState::default() };
        let picture = draw(&state).unwrap();
        let middle = |color| {
            let all = positions_of(&picture, color);
            assert!(all.len() > 20, "{color:?} is hardly visible");
            all[all.len() / 2]
        };
        let (far, near, right) = (middle([250, 0, 0]), middle([0, 250, 0]), middle([0, 0, 250]));
        assert!(far.1 < near.1 && right.0 > far.0, "{far:?} {near:?} {right:?}");
    }

    #[test]
    fn wild_predictions_still_give_a_picture() {
        let tokens = vec![token(1e6, -1e6, [1, 2, 3]), token(0.0, 0.0, [4, 5, 6])];
        let layout = Layout { grid: (1, 2), tokens, floor_height: -1.5 };
        let state = SessionState { layout: Some(Arc::new(layout)), ..SessionState::default() };
        assert!(!png(&state).unwrap().is_empty());
    }

    #[test]
    fn without_a_layout_there_is_no_picture() {
        assert!(png(&SessionState::default()).is_err());
    }
}
