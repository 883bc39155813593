//! A curve of bounded size: however long a run, it is kept as at most a thousand points,
//! each the mean and the extremes of the values it stands for.

/// Points kept, at most; more than a screen has columns for a chart.
const MOST_POINTS: usize = 1024;

/// Neighbouring values of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Step of the first value.
    pub first: u64,
    /// Step of the last value.
    pub last: u64,
    /// Mean value.
    pub mean: f64,
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
    /// Number of values.
    pub count: u64,
}

/// Values over steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curve {
    points: Vec<CurvePoint>,
    /// A point takes 2 to this power values.
    doublings: u32,
    newest: Option<(u64, f64)>,
}

impl Curve {
    /// Adds a value; steps rise.
    pub fn push(&mut self, step: u64, value: f64) {
        self.newest = Some((step, value));
        let full = 1 << self.doublings;
        match self.points.last_mut() {
            Some(point) if point.count < full => {
                let count = point.count + 1;
                point.mean += (value - point.mean) / count as f64;
                (point.last, point.count) = (step, count);
                (point.low, point.high) = (point.low.min(value), point.high.max(value));
            }
            _ => self.points.push(CurvePoint {
                first: step,
                last: step,
                mean: value,
                low: value,
                high: value,
                count: 1,
            }),
        }
        if self.points.len() > MOST_POINTS {
            self.points = self.points.chunks(2).map(merged).collect();
            self.doublings += 1;
        }
    }

    /// Forgets what came after `step`: a run that goes on takes these steps again.
    pub fn forget_after(&mut self, step: u64) {
        self.points.retain(|point| point.first <= step);
        if self.newest.is_some_and(|(newest, _)| newest > step) {
            self.newest = self.points.last().map(|point| (point.last.min(step), point.mean));
        }
    }

    /// In order of steps.
    pub fn points(&self) -> &[CurvePoint] {
        &self.points
    }

    /// At most `most` places of means: step and value.
    pub fn thinned(&self, most: usize) -> Vec<(f64, f64)> {
        let place = |point: CurvePoint| (0.5 * (point.first + point.last) as f64, point.mean);
        let together = self.points.len().div_ceil(most.max(1)).max(1);
        self.points.chunks(together).map(|points| place(merged(points))).collect()
    }

    /// The last step and its value.
    pub fn newest(&self) -> Option<(u64, f64)> {
        self.newest
    }
}

fn merged(points: &[CurvePoint]) -> CurvePoint {
    let mut whole = points[0];
    for point in &points[1..] {
        let count = whole.count + point.count;
        whole.mean += (point.mean - whole.mean) * point.count as f64 / count as f64;
        (whole.last, whole.count) = (point.last, count);
        (whole.low, whole.high) = (whole.low.min(point.low), whole.high.max(point.high));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_stays_small_and_keeps_mean_and_extremes() {
        let mut curve = Curve::default();
        for step in 1..=100_000u64 {
            curve.push(step, if step == 54_321 { 50.0 } else { step as f64 * 1e-5 });
        }
        let points = curve.points();
        assert!((MOST_POINTS / 2..=MOST_POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), 100_000);
        assert_eq!((points[0].first, points.last().unwrap().last), (1, 100_000));
        assert!(points.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
        // A single spike survives however often its neighbours are merged.
        let highest = points.iter().max_by(|a, b| a.high.total_cmp(&b.high)).unwrap();
        assert!(highest.high == 50.0 && (highest.first..=highest.last).contains(&54_321));
        assert!((points[0].mean - 0.5e-5 * (points[0].first + points[0].last) as f64).abs() < 1e-9);
        assert_eq!(curve.newest(), Some((100_000, 1.0)));
    }

    #[test]
    fn a_thinned_curve_keeps_its_means() {
        let mut curve = Curve::default();
        (1..=1000).for_each(|step| curve.push(step, 2.0 * step as f64));
        let thin = curve.thinned(200);
        assert_eq!((thin.len(), thin[0], thin[199]), (200, (3.0, 6.0), (998.0, 1996.0)));
        assert_eq!(Curve::default().thinned(200), []);
    }

    #[test]
    fn steps_that_are_taken_again_take_the_place_of_the_old_ones() {
        let mut curve = Curve::default();
        for step in 1..=10 {
            curve.push(step, 1.0);
        }
        curve.forget_after(6);
        assert_eq!(curve.newest(), Some((6, 1.0)));
        curve.push(7, 3.0);
        let steps: Vec<u64> = curve.points().iter().map(|point| point.last).collect();
        assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(curve.newest(), Some((7, 3.0)));
    }
}
