//! Places of a picture that can be found again: the corner measure of Shi and
//! Tomasi, "Good Features to Track" (CVPR 1994).

use glam::Vec2;

use super::pyramid::Plane;

/// Corners weaker than this share of the strongest are not used.
const QUALITY: f32 = 0.003;
/// Least distance between corners, pixels.
const DISTANCE: f32 = 5.0;
/// Distance from the edge, pixels.
const MARGIN: usize = 3;
/// Half the side of the window of the measure, pixels.
const RADIUS: i32 = 2;

/// The `most` strongest corners that keep their distance from each other and from `taken`.
pub fn corners(picture: &Plane, taken: &[Vec2], most: usize) -> Vec<Vec2> {
    let (width, height) = (picture.width(), picture.height());
    if most == 0 || width <= 2 * MARGIN || height <= 2 * MARGIN {
        return Vec::new();
    }
    let strength = strengths(picture);
    let strongest = strength.iter().copied().fold(0.0, f32::max);
    let is_peak = |x: usize, y: usize| {
        let here = strength[y * width + x];
        (y - 1..=y + 1).all(|v| (x - 1..=x + 1).all(|u| strength[v * width + u] <= here))
    };
    let mut found: Vec<(f32, Vec2)> = Vec::new();
    for y in MARGIN..height - MARGIN {
        for x in MARGIN..width - MARGIN {
            let here = strength[y * width + x];
            if here > QUALITY * strongest && is_peak(x, y) {
                found.push((here, Vec2::new(x as f32, y as f32)));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut chosen: Vec<Vec2> = Vec::new();
    for (_, corner) in found {
        let is_free = |others: &[Vec2]| others.iter().all(|other| other.distance(corner) >= DISTANCE);
        if is_free(taken) && is_free(&chosen) {
            chosen.push(corner);
            if chosen.len() == most {
                break;
            }
        }
    }
    chosen
}

/// Smaller eigenvalue of the summed gradient products around every pixel.
fn strengths(picture: &Plane) -> Vec<f32> {
    let (width, height) = (picture.width() as i32, picture.height() as i32);
    let products: Vec<[f32; 3]> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| {
            let dx = 0.5 * (picture.at(x + 1, y) - picture.at(x - 1, y));
            let dy = 0.5 * (picture.at(x, y + 1) - picture.at(x, y - 1));
            [dx * dx, dx * dy, dy * dy]
        })
        .collect();
    let across = window_sums(&products, width, height, (1, 0));
    window_sums(&across, width, height, (0, 1)).into_iter().map(smaller_eigenvalue).collect()
}

/// Smaller eigenvalue of the symmetric matrix (xx, xy; xy, yy): how much structure the
/// weakest direction of a window has.
pub fn smaller_eigenvalue([xx, xy, yy]: [f32; 3]) -> f32 {
    0.5 * (xx + yy - ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt())
}

/// Sums over the window along one direction.
fn window_sums(products: &[[f32; 3]], width: i32, height: i32, (dx, dy): (i32, i32)) -> Vec<[f32; 3]> {
    let at = |x: i32, y: i32| products[(y.clamp(0, height - 1) * width + x.clamp(0, width - 1)) as usize];
    (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| {
            (-RADIUS..=RADIUS).fold([0.0; 3], |mut sum, k| {
                let term = at(x + k * dx, y + k * dy);
                (0..3).for_each(|i| sum[i] += term[i]);
                sum
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright rectangle on black: four corners.
    fn rectangle() -> Plane {
        let inside = |i: usize| (10..30).contains(&(i % 40)) && (12..25).contains(&(i / 40));
        Plane::new(40, (0..1600).map(|i| if inside(i) { 200.0 } else { 0.0 }).collect())
    }

    #[test]
    fn a_rectangle_has_four_corners() {
        let found = corners(&rectangle(), &[], 50);
        assert_eq!(found.len(), 4, "{found:?}");
        for corner in [Vec2::new(9.5, 11.5), Vec2::new(29.5, 24.5)] {
            assert!(found.iter().any(|place| (*place - corner).abs().max_element() <= 2.0), "{found:?}");
        }
        assert_eq!(corners(&rectangle(), &[Vec2::new(10.0, 12.0)], 50).len(), 3);
        assert_eq!(corners(&rectangle(), &[], 2).len(), 2);
    }

    #[test]
    fn a_blank_picture_has_none() {
        assert!(corners(&Plane::new(32, vec![7.0; 1024]), &[], 10).is_empty());
        assert!(corners(&Plane::new(4, vec![7.0; 16]), &[], 10).is_empty());
    }
}
