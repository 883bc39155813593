//! What a report has to reach: bounds on single measures, and the bars of the bundled model.

use std::str::FromStr;

use super::baselines::Reading;
use super::report::{Column, Report};
use super::score::Metric;

/// A bound on one measure of the model, written as `acc_1m>=45` or `layout_median_m<=0.6`.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    metric: Metric,
    at_least: bool,
    bound: f64,
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, at_least, bound) = match (text.split_once(">="), text.split_once("<=")) {
            (Some((key, bound)), _) => (key, true, bound),
            (_, Some((key, bound))) => (key, false, bound),
            _ => return Err("write MEASURE>=VALUE or MEASURE<=VALUE".to_owned()),
        };
        let Some(metric) = Metric::ALL.into_iter().find(|metric| metric.key() == key.trim()) else {
            let known = Metric::ALL.map(Metric::key).join(", ");
            return Err(format!("{} is no measure; known are {known}", key.trim()));
        };
        let bound = bound.trim().parse().map_err(|_not_a_number| format!("{} is no number", bound.trim()))?;
        Ok(Self { metric, at_least, bound })
    }
}

impl Requirement {
    /// A sentence when the report misses it.
    pub fn missed(&self, report: &Report) -> Option<String> {
        let key = self.metric.key();
        let wanted = format!("{key} {} {}", if self.at_least { ">=" } else { "<=" }, self.bound);
        match report.value(key) {
            None => Some(format!("{wanted} was required, but nothing was measured")),
            // A value that is no number reaches nothing.
            Some(value)
                if (self.at_least && value >= self.bound) || (!self.at_least && value <= self.bound) =>
            {
                None
            }
            Some(value) => Some(format!("{wanted} was required, it is {value:.3}")),
        }
    }
}

/// How good a measure of the bundled model has to be.
#[derive(Debug, Clone, Copy)]
enum Bar {
    AtLeast(f64),
    AtMost(f64),
    /// At most so many points (the second) away from the first.
    Near(f64, f64),
    /// So many points above the best of these baselines.
    Above(&'static [Reading], f64),
}

/// The bars on the benchmark `rooms`, of what is measured without a clock: percent, metres and
/// degrees. Of 2D Gaussian errors 39.35 % lie within one σ and 86.47 % within two.
const BARS: [(Metric, Bar); 11] = [
    (Metric::Acc05m, Bar::AtLeast(20.0)),
    (Metric::Acc1m, Bar::AtLeast(45.0)),
    (Metric::Acc15deg, Bar::AtLeast(20.0)),
    (Metric::Acc30deg, Bar::AtLeast(40.0)),
    (Metric::ExactMatch, Bar::Above(&[Reading::Words], 8.0)),
    // Either of them is a constant, for a question's type or for its words.
    (Metric::MeanRelativeAccuracy, Bar::Above(&[Reading::Type, Reading::Words], 10.0)),
    (Metric::LayoutMedianM, Bar::AtMost(0.6)),
    (Metric::CameraPositionPct, Bar::AtMost(12.0)),
    (Metric::CameraRotationDeg, Bar::AtMost(10.0)),
    (Metric::Within1Sigma, Bar::Near(39.35, 10.0)),
    (Metric::Within2Sigma, Bar::Near(86.47, 10.0)),
];

/// Acc@1.0 m of the fifth of the answers with the largest σ lies below the rest by so many points.
const SPREAD_TELLS: f64 = 10.0;

/// A sentence for each bar of the bundled model on the benchmark `rooms` that `report` misses, or
/// that it says nothing about.
pub fn missed_bars(report: &Report) -> Vec<String> {
    let mut missed: Vec<String> =
        BARS.iter().filter_map(|(metric, bar)| missed_bar(report, *metric, *bar)).collect();
    match report.columns.first().and_then(Column::spread_tells) {
        Some((uncertain, certain)) if certain - uncertain >= SPREAD_TELLS => {}
        Some((uncertain, certain)) => missed.push(format!(
            "acc_1m of the fifth of the answers with the largest sigma must lie {SPREAD_TELLS} points below the \
             rest, it is {uncertain:.3} to {certain:.3}"
        )),
        None => missed.push(
            "acc_1m of the answers with the largest sigma must lie below the rest, but was not measured"
                .to_owned(),
        ),
    }
    missed
}

fn missed_bar(report: &Report, metric: Metric, bar: Bar) -> Option<String> {
    let key = metric.key();
    let told = |wanted: &str, value: f64| Some(format!("{key} must be {wanted}, it is {value:.3}"));
    let Some(value) = report.value(key) else {
        return Some(format!("{key} has a bar to reach, but was not measured"));
    };
    // Comparisons are such that a value that is no number misses its bar.
    match bar {
        Bar::AtLeast(bound) if value >= bound => None,
        Bar::AtLeast(bound) => told(&format!("at least {bound}"), value),
        Bar::AtMost(bound) if value <= bound => None,
        Bar::AtMost(bound) => told(&format!("at most {bound}"), value),
        Bar::Near(ideal, by) if (value - ideal).abs() <= by => None,
        Bar::Near(ideal, by) => told(&format!("within {by} points of {ideal}"), value),
        Bar::Above(readings, points) => match best(report, metric, readings) {
            Some(baseline) if value >= baseline + points => None,
            Some(baseline) => told(&format!("{points} points above {baseline:.3} of a baseline"), value),
            None => Some(format!("{key} must be {points} points above a baseline that was not measured")),
        },
    }
}

/// The best score of the baselines that read so much.
fn best(report: &Report, metric: Metric, readings: &[Reading]) -> Option<f64> {
    let of = |reading: &Reading| {
        let column = report.columns.iter().find(|column| column.name == reading.name())?;
        Some(column.score(metric, |_| true)?.value)
    };
    readings.iter().filter_map(of).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{ClipFacts, Tier, Value};

    fn value(metric: Metric, value: f64, sigma: Option<f32>) -> Value {
        Value { metric, clip: 0, value, kind: None, path_distance: None, sigma }
    }

    /// A model just at all bars, beside baselines of 40 and 30; `change` may spoil it.
    fn report(change: impl Fn(&mut Value)) -> Report {
        let hits = |metric, percent: u32| {
            (0..100).map(move |k| value(metric, if k < percent { 100.0 } else { 0.0 }, None))
        };
        let mut model: Vec<Value> = [
            (Metric::Acc05m, 20),
            (Metric::Acc15deg, 20),
            (Metric::Acc30deg, 40),
            (Metric::ExactMatch, 48),
            (Metric::MeanRelativeAccuracy, 50),
            (Metric::Within1Sigma, 30),
            (Metric::Within2Sigma, 77),
        ]
        .into_iter()
        .flat_map(|(metric, percent)| hits(metric, percent))
        .collect();
        // The 20 least certain answers: 7 of them right, 38 of the other 80.
        model.extend((0..20).map(|k| value(Metric::Acc1m, if k < 7 { 100.0 } else { 0.0 }, Some(2.0))));
        model.extend((0..80).map(|k| value(Metric::Acc1m, if k < 38 { 100.0 } else { 0.0 }, Some(0.2))));
        let errors = [
            (Metric::LayoutMedianM, 0.6),
            (Metric::CameraPositionPct, 12.0),
            (Metric::CameraRotationDeg, 10.0),
        ];
        model.extend(errors.map(|(metric, error)| value(metric, error, None)));
        model.iter_mut().for_each(change);
        let baseline = |reading: Reading, exact, number| Column {
            name: reading.name().to_owned(),
            values: hits(Metric::ExactMatch, exact)
                .chain(hits(Metric::MeanRelativeAccuracy, number))
                .collect(),
        };
        Report {
            benchmark: "rooms".to_owned(),
            columns: vec![
                Column { name: "model".to_owned(), values: model },
                baseline(Reading::Words, 40, 40),
                baseline(Reading::Type, 45, 30),
            ],
            clips: vec![ClipFacts { tier: Tier::SparseRoom, camera_height: 1.5, coverage_deg: 90.0 }],
            questions: 100,
            unknown: None,
        }
    }

    #[test]
    fn requirements_name_a_measure_and_a_bound() {
        let parsed: Requirement = "acc_1m >= 45".parse().unwrap();
        assert_eq!(parsed, Requirement { metric: Metric::Acc1m, at_least: true, bound: 45.0 });
        assert!(!"layout_median_m<=0.6".parse::<Requirement>().unwrap().at_least);
        assert!("acc_9m>=1".parse::<Requirement>().unwrap_err().contains("acc_0_5m"));
        assert!("acc_1m=1".parse::<Requirement>().is_err());
        assert!("acc_1m>=much".parse::<Requirement>().is_err());
    }

    #[test]
    fn a_requirement_is_reached_or_told() {
        let report = report(|_| {});
        let missed = |text: &str| text.parse::<Requirement>().unwrap().missed(&report);
        assert_eq!(missed("acc_1m>=45"), None);
        assert_eq!(missed("acc_1m>=46").unwrap(), "acc_1m >= 46 was required, it is 45.000");
        assert_eq!(
            missed("layout_median_m<=0.5").unwrap(),
            "layout_median_m <= 0.5 was required, it is 0.600"
        );
        assert!(missed("choice_accuracy>=1").unwrap().contains("nothing was measured"));
    }

    #[test]
    fn a_model_at_all_bars_misses_none() {
        assert_eq!(missed_bars(&report(|_| {})), [""; 0]);
    }

    #[test]
    fn every_bar_is_named_when_it_is_missed() {
        for (metric, bar) in BARS {
            let worse = |value: &mut Value| {
                if value.metric == metric {
                    value.value = if matches!(bar, Bar::AtMost(_)) { 1000.0 } else { 0.0 };
                }
            };
            let missed = missed_bars(&report(worse));
            let named = format!("{} must be ", metric.key());
            assert!(missed.iter().any(|sentence| sentence.starts_with(&named)), "{metric:?}: {missed:?}");
            // Nothing right leaves nothing that a spread could tell.
            assert_eq!(missed.len(), if metric == Metric::Acc1m { 2 } else { 1 }, "{missed:?}");
        }
        let all = missed_bars(&report(|value| {
            if value.metric == Metric::Within2Sigma {
                value.value = 100.0;
            }
        }));
        assert!(all[0].starts_with("within_2_sigma must be within 10 points of 86.47"), "{all:?}");
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn an_even_spread_and_what_was_not_measured_miss_their_bars() {
        let missed = missed_bars(&report(|value| value.sigma = value.sigma.map(|sigma| 1.0 / sigma)));
        assert!(missed[0].contains("largest sigma") && missed.len() == 1, "{missed:?}");
        let blind = Report { columns: Vec::new(), ..report(|_| {}) };
        assert_eq!(missed_bars(&blind).len(), BARS.len() + 1);
    }
}
