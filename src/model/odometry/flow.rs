//! Follows places from one picture to the next: Lucas and Kanade (IJCAI 1981) from
//! coarse to fine, forth and back.

use glam::{Mat2, Vec2};
use rayon::prelude::*;

use super::corners::smaller_eigenvalue;
use super::pyramid::{Plane, Pyramid};

/// Side of the window that is compared, pixels.
const WINDOW: usize = 9;
/// The window with a margin for gradients.
const MARGINED: usize = WINDOW + 2;
/// Steps on each level.
const STEPS: usize = 12;
/// A step below this length ends the search, pixels.
const SMALL_STEP: f32 = 0.02;
/// Windows with less structure cannot be followed: smaller eigenvalue of the mean
/// gradient products, grey levels² per pixel².
const LEAST_STRUCTURE: f32 = 0.1;
/// Going there and back may end this far from the start, pixels.
const RETURN_ERROR: f32 = 0.7;

/// Where the places of `from` are in `to`; `None` where they are lost. `guesses` say
/// where to look first.
pub fn follow(from: &Pyramid, to: &Pyramid, places: &[Vec2], guesses: &[Vec2]) -> Vec<Option<Vec2>> {
    places
        .par_iter()
        .zip(guesses)
        .with_min_len(16)
        .map(|(&place, &guess)| {
            let there = search(from, to, place, guess)?;
            let back = search(to, from, there, place)?;
            let seen = to.picture().holds(there, 1.0);
            (seen && (back - place).abs().max_element() < RETURN_ERROR).then_some(there)
        })
        .collect()
}

fn search(from: &Pyramid, to: &Pyramid, place: Vec2, guess: Vec2) -> Option<Vec2> {
    let mut shift = guess - place;
    for (level, (from, to)) in from.levels().iter().zip(to.levels()).enumerate().rev() {
        let scale = 1.0 / (1 << level) as f32;
        shift = refine(from, to, place * scale, shift * scale)? / scale;
    }
    let there = place + shift;
    there.is_finite().then_some(there)
}

/// Newton steps on the squared difference of the windows.
fn refine(from: &Plane, to: &Plane, place: Vec2, mut shift: Vec2) -> Option<Vec2> {
    let template = from.patch::<MARGINED>(place);
    let mut gradients = [[Vec2::ZERO; WINDOW]; WINDOW];
    let mut structure = [0.0f32; 3];
    for (y, row) in gradients.iter_mut().enumerate() {
        for (x, gradient) in row.iter_mut().enumerate() {
            let across = template[y + 1][x + 2] - template[y + 1][x];
            let down = template[y + 2][x + 1] - template[y][x + 1];
            *gradient = 0.5 * Vec2::new(across, down);
            structure[0] += gradient.x * gradient.x;
            structure[1] += gradient.x * gradient.y;
            structure[2] += gradient.y * gradient.y;
        }
    }
    let [xx, xy, yy] = structure;
    if smaller_eigenvalue(structure) < LEAST_STRUCTURE * (WINDOW * WINDOW) as f32 {
        return None;
    }
    let inverse = Mat2::from_cols(Vec2::new(xx, xy), Vec2::new(xy, yy)).inverse();
    let reach = to.width().max(to.height()) as f32;
    for _ in 0..STEPS {
        let seen = to.patch::<WINDOW>(place + shift);
        let mut slope = Vec2::ZERO;
        for y in 0..WINDOW {
            for x in 0..WINDOW {
                slope += gradients[y][x] * (template[y + 1][x + 1] - seen[y][x]);
            }
        }
        let step = inverse * slope;
        shift += step;
        if !shift.is_finite() || shift.length() > reach {
            return None;
        }
        if step.length() < SMALL_STEP {
            break;
        }
    }
    Some(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth pattern, moved by `shift` pixels.
    fn picture(shift: Vec2) -> Pyramid {
        let value = |i: usize| {
            let at = Vec2::new((i % 96) as f32, (i / 96) as f32) - shift;
            let waves = (at.x * 0.31).sin() + (at.y * 0.27).cos() + ((at.x + at.y) * 0.13).sin() * 2.0;
            100.0 + 30.0 * waves + 20.0 * (at.x * 0.05).cos() * (at.y * 0.06).sin()
        };
        Pyramid::new(Plane::new(96, (0..96 * 96).map(value).collect()))
    }

    #[test]
    fn a_shift_is_found_to_a_tenth_of_a_pixel() {
        let shift = Vec2::new(6.3, -3.8);
        let places: Vec<Vec2> =
            (0..9).map(|k| Vec2::new(30.0 + 15.0 * (k % 3) as f32, 30.0 + 15.0 * (k / 3) as f32)).collect();
        let found = follow(&picture(Vec2::ZERO), &picture(shift), &places, &places);
        for (place, found) in places.iter().zip(found) {
            let error = (found.expect("followed") - *place - shift).length();
            assert!(error < 0.1, "{place}: {error}");
        }
    }

    #[test]
    fn blank_walls_and_what_left_the_picture_are_lost() {
        let blank = Pyramid::new(Plane::new(96, vec![50.0; 96 * 96]));
        let place = [Vec2::splat(48.0)];
        assert_eq!(follow(&blank, &blank, &place, &place), [None]);
        let edge = [Vec2::new(92.0, 48.0)];
        assert_eq!(follow(&picture(Vec2::ZERO), &picture(Vec2::new(8.0, 0.0)), &edge, &edge), [None]);
    }
}
