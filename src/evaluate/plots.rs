//! How well a model knows what it does not know, as charts.

use super::chart::{Chart, Mark, Series};
use super::report::Column;
use super::score::Metric;

/// Median of a Rayleigh distribution over its scale: what half of all 2D Gaussian errors
/// stay below.
const MEDIAN_SIGMAS: f64 = 1.177_41;
/// Bins of [`error_by_sigma`] with equally many values.
const BINS: usize = 12;
/// Most dots of one series.
const DOTS: usize = 2000;

/// (predicted σ, error) of all values of a metric that come with one, metres.
fn spreads(column: &Column, metric: Metric) -> Vec<(f64, f64)> {
    let values = column.values.iter().filter(|value| value.metric == metric);
    values.filter_map(|value| Some((f64::from(value.sigma?), value.value))).collect()
}

const SHOWN: [(Metric, &str); 2] =
    [(Metric::PositionMedianM, "described positions"), (Metric::LayoutMedianM, "vision tokens")];

/// Share of errors within so many predicted σ, beside that of a 2D Gaussian.
pub fn calibration(column: &Column) -> Chart {
    let steps: Vec<f64> = (0..=30).map(|k| f64::from(k) * 0.1).collect();
    let ideal = steps.iter().map(|k| (*k, 100.0 * (1.0 - (-0.5 * k * k).exp()))).collect();
    let mut series = vec![Series { name: "2D Gaussian".to_owned(), mark: Mark::Dashed, points: ideal }];
    for (metric, name) in SHOWN {
        let spreads = spreads(column, metric);
        let within = |k: f64| {
            let inside = spreads.iter().filter(|(sigma, error)| *error <= k * sigma).count();
            100.0 * inside as f64 / spreads.len().max(1) as f64
        };
        if !spreads.is_empty() {
            let points = steps.iter().map(|k| (*k, within(*k))).collect();
            series.push(Series { name: name.to_owned(), mark: Mark::Line, points });
        }
    }
    Chart {
        title: format!("Calibration of {}", column.name),
        x: "predicted standard deviations".to_owned(),
        y: "errors within (%)".to_owned(),
        series,
    }
}

/// Median error over predicted σ, in bins of equally many values; the errors of described
/// positions as dots.
pub fn error_by_sigma(column: &Column) -> Chart {
    let mut series = Vec::new();
    let mut largest: f64 = 0.0;
    for (metric, name) in SHOWN {
        let mut spreads = spreads(column, metric);
        if spreads.is_empty() {
            continue;
        }
        spreads.sort_by(|a, b| a.0.total_cmp(&b.0));
        let points: Vec<(f64, f64)> = spreads
            .chunks(spreads.len().div_ceil(BINS))
            .filter_map(|bin| {
                let (sigmas, errors): (Vec<f64>, Vec<f64>) = bin.iter().copied().unzip();
                Some((super::median(&sigmas)?, super::median(&errors)?))
            })
            .collect();
        largest = points.iter().fold(largest, |largest, point| largest.max(point.0));
        if metric == Metric::PositionMedianM {
            let every = spreads.len().div_ceil(DOTS);
            let dots = spreads.iter().copied().step_by(every).collect();
            series.push(Series { name: "one description each".to_owned(), mark: Mark::Dots, points: dots });
        }
        series.push(Series { name: format!("{name}, median"), mark: Mark::Line, points });
    }
    let ideal = vec![(0.0, 0.0), (largest, MEDIAN_SIGMAS * largest)];
    series.push(Series { name: "2D Gaussian".to_owned(), mark: Mark::Dashed, points: ideal });
    Chart {
        title: format!("Error against predicted spread of {}", column.name),
        x: "predicted σ (m)".to_owned(),
        y: "error (m)".to_owned(),
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Value;

    fn column() -> Column {
        let value = |k: u32| Value {
            metric: Metric::PositionMedianM,
            clip: k,
            value: f64::from(k % 4),
            kind: None,
            path_distance: None,
            sigma: Some(1.0),
        };
        Column { name: "m".to_owned(), values: (0..40).map(value).collect() }
    }

    #[test]
    fn calibration_counts_errors_within_their_spread() {
        let chart = calibration(&column());
        assert_eq!(chart.series.len(), 2);
        let at = |k: usize| chart.series[1].points[k].1;
        // Errors are 0, 1, 2 and 3 sigmas, a quarter each.
        assert_eq!((at(0), at(10), at(25), at(30)), (25.0, 50.0, 75.0, 100.0));
        assert!((chart.series[0].points[10].1 - 39.35).abs() < 0.01);
    }

    #[test]
    fn errors_are_binned_by_their_spread() {
        let chart = error_by_sigma(&column());
        assert_eq!(chart.series[0].points.len(), 40);
        assert!(chart.series[1].points.iter().all(|point| point.0 == 1.0));
        let empty = Column { name: "m".to_owned(), values: Vec::new() };
        assert_eq!(error_by_sigma(&empty).series.len(), 1);
    }
}
