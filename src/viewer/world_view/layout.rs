//! Layout tokens as discs on the floor with their sigma ellipses, and the dense points.

use glam::Vec2;

use crate::scene::{Layout, LayoutToken, PointCloud};
use crate::train::ValidationScene;
use crate::viewer::render::{Geometry, Line, Mark, Point, Rgba};
use crate::viewer::theme;
use crate::viewer::workbench::{Coloring, Layer};

/// Radius of a token disc, metres.
const TOKEN_RADIUS: f32 = 0.045;
/// Radius of the disc where a token truly lies, metres.
const TRUE_RADIUS: f32 = 0.025;
/// Radius of a dense point, metres.
const POINT_RADIUS: f32 = 0.012;
/// Height of tokens above the floor plane, so that they never flicker with the grid.
const LIFT: f32 = 0.004;

/// Adds the layout: uncertain tokens first, so that certain ones lie on top.
pub(super) fn add_layout(geometry: &mut Geometry, layout: &Layout, coloring: Coloring) {
    let spreads: Vec<f32> = layout.tokens.iter().map(|token| token.sigma.rms()).collect();
    let certainty = certainty_ranks(&spreads, |a, b| b.total_cmp(a));
    let mut order: Vec<usize> = (0..layout.tokens.len()).collect();
    order.sort_by(|&a, &b| certainty[a].total_cmp(&certainty[b]));
    let height = layout.floor_height + LIFT;
    for &index in &order {
        let token = &layout.tokens[index];
        let center = Vec2::from(token.position).extend(height);
        let sigma = Vec2::new(token.sigma.x, token.sigma.y);
        let [r, g, b, _] = token_color(token, certainty[index], coloring);
        let ellipse =
            Mark::ellipse(Layer::Sigmas, center, sigma, [r, g, b, 9]).with_certainty(certainty[index]);
        let outline = Mark::ellipse(Layer::Sigmas, center, sigma, [r, g, b, 46]).ring(0.97);
        geometry.floor_marks.push(ellipse);
        geometry.floor_marks.push(outline.with_certainty(certainty[index]));
    }
    for &index in &order {
        let token = &layout.tokens[index];
        let center = Vec2::from(token.position).extend(height);
        let color = token_color(token, certainty[index], coloring);
        geometry.floor_marks.push(
            Mark::ellipse(Layer::Layout, center, Vec2::splat(TOKEN_RADIUS), color)
                .with_certainty(certainty[index]),
        );
    }
}

/// Adds where the tokens of a held-out room truly lie, each joined to where it was
/// predicted.
pub(super) fn add_true_layout(geometry: &mut Geometry, room: &ValidationScene) {
    let height = room.floor_height + LIFT;
    let [r, g, b, _] = theme::TRUE.to_array();
    for (found, truth) in room.pairs() {
        let ends = [truth, found].map(|point| Vec2::from(point).extend(height));
        geometry.floor_lines.push(Line::fading(
            Layer::TrueLayout,
            ends,
            1.0,
            [[r, g, b, 120], [r, g, b, 24]],
        ));
    }
    for (_, truth) in room.pairs() {
        let center = Vec2::from(truth).extend(height);
        let half_axes = Vec2::splat(TRUE_RADIUS);
        geometry.floor_marks.push(Mark::ellipse(Layer::TrueLayout, center, half_axes, [r, g, b, 200]));
    }
}

/// Adds the dense points of the camera encoder.
pub(super) fn add_points(geometry: &mut Geometry, cloud: &PointCloud) {
    let confidences: Vec<f32> = cloud.points.iter().map(|point| point.confidence).collect();
    let certainty = certainty_ranks(&confidences, f32::total_cmp);
    geometry.points.extend(cloud.points.iter().zip(certainty).map(|(point, certainty)| Point {
        position: point.position.into(),
        radius: POINT_RADIUS,
        color: [point.color[0], point.color[1], point.color[2], 255],
        certainty,
        layer: Layer::Points.bit(),
    }));
}

fn token_color(token: &LayoutToken, certainty: f32, coloring: Coloring) -> Rgba {
    match coloring {
        Coloring::Image => [token.color[0], token.color[1], token.color[2], 235],
        Coloring::Uncertainty => {
            let [r, g, b, _] = theme::uncertainty(1.0 - certainty).to_array();
            [r, g, b, 235]
        }
    }
}

/// Each value's rank as a share in (0, 1], 1 for the greatest in `order`: a filter at
/// 0.3 then hides three tenths, whatever the distribution.
fn certainty_ranks(values: &[f32], order: impl Fn(&f32, &f32) -> std::cmp::Ordering) -> Vec<f32> {
    let mut indices: Vec<u32> = (0..values.len() as u32).collect();
    indices.sort_by(|&a, &b| order(&values[a as usize], &values[b as usize]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, index) in (1u32..).zip(indices) {
        ranks[index as usize] = rank as f32 / values.len() as f32;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_shares() {
        let ranks = certainty_ranks(&[5.0, 1.0, 3.0, 2.0], f32::total_cmp);
        assert_eq!(ranks, [1.0, 0.25, 0.75, 0.5]);
    }

    #[test]
    fn true_positions_are_joined_to_the_predicted_ones() {
        let mut geometry = Geometry::default();
        add_true_layout(&mut geometry, &crate::train::scenes::tests::scene(1));
        // Four tokens, one of which shows nothing that has a place.
        assert_eq!((geometry.floor_marks.len(), geometry.floor_lines.len()), (3, 3));
    }

    #[test]
    fn a_layout_becomes_one_disc_and_an_ellipse_per_token() {
        let token = LayoutToken {
            frame: crate::video::FrameIndex(0),
            row: 0,
            column: 0,
            position: crate::geometry::BevPoint::new(1.0, 2.0),
            sigma: crate::geometry::BevSigma { x: 0.2, y: 0.4 },
            color: [1, 2, 3],
        };
        let layout = Layout { grid: (1, 1), tokens: vec![token; 3], floor_height: -1.5 };
        let mut geometry = Geometry::default();
        add_layout(&mut geometry, &layout, Coloring::Image);
        assert_eq!(geometry.floor_marks.len(), 9);
    }
}
