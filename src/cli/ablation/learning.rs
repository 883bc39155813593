//! How the models of an ablation learn, side by side: the loss they share and figures on held-out
//! rooms over the steps.

use std::collections::BTreeMap;
use std::path::Path;

use super::report::Finished;
use super::{Variant, run_folder};
use crate::cli::curves::write;
use crate::evaluate::chart::{Chart, Mark, Series};
use crate::train::{RunDir, TrainEvent};

/// Steps whose losses make one point of a curve.
const STEPS_A_POINT: u64 = 20;

/// A figure of steps or validations, how it is called and measured, and who learns it.
struct Figure {
    metric: &'static str,
    title: &'static str,
    unit: &'static str,
    learned: fn(Variant) -> bool,
}

const FIGURES: [Figure; 5] = [
    Figure {
        metric: "answer",
        title: "loss of answers, on rooms of the training",
        unit: "nats a token",
        learned: |_| true,
    },
    Figure { metric: "answer_exact", title: "exact answers", unit: "share", learned: |_| true },
    Figure {
        metric: "attention_on_object",
        title: "attention of nouns on their object",
        unit: "share",
        learned: |_| true,
    },
    Figure {
        metric: "layout_error_m",
        title: "median layout error",
        unit: "metres",
        learned: Variant::learns_layout,
    },
    Figure {
        metric: "position_error_m",
        title: "median position error",
        unit: "metres",
        learned: Variant::learns_situation,
    },
];

/// Writes `learning_FIGURE.svg` into `out`, a curve a model, the mean of its seeds; gives links to
/// them.
///
/// # Errors
/// When a run in `out` cannot be read or a chart not written.
pub(super) fn draw(out: &Path, runs: &[Finished]) -> anyhow::Result<String> {
    let mut told = Vec::new();
    for (variant, seed, _) in runs {
        told.push((*variant, measured(&RunDir::at(&run_folder(out, *variant, *seed)))?));
    }
    let mut text = "\n## Learning\n\nWhere nothing else is said, on held-out rooms with the cameras of \
                    training; over the steps of each model by itself, means of its seeds.\n\n"
        .to_owned();
    for figure in &FIGURES {
        let series = Variant::ALL.map(|variant| {
            let own = told.iter().filter(|(of, _)| *of == variant && (figure.learned)(variant));
            let points = means(own.flat_map(|(_, measured)| measured), figure.metric);
            Series { name: variant.name().to_owned(), mark: Mark::LineAndDots, points }
        });
        let chart = Chart {
            title: figure.title.to_owned(),
            x: "step".to_owned(),
            y: figure.unit.to_owned(),
            series: series.into(),
        };
        let file = format!("learning_{}.svg", figure.metric);
        write(out, &file, &chart)?;
        text.push_str(&format!("![{}]({file})\n", figure.title));
    }
    Ok(text)
}

/// What was measured up to a step.
type Measured = (u64, BTreeMap<String, f64>);

fn measured(run: &RunDir) -> anyhow::Result<Vec<Measured>> {
    let measured = |event| match event {
        TrainEvent::Step { step, metrics, .. } => Some((step.next_multiple_of(STEPS_A_POINT), metrics)),
        TrainEvent::Validation { step, metrics, .. } => Some((step, metrics)),
        _ => None,
    };
    Ok(run.history()?.into_iter().filter_map(measured).collect())
}

/// The mean of a figure at every step that it was measured at.
fn means<'a>(measured: impl Iterator<Item = &'a Measured>, metric: &str) -> Vec<(f64, f64)> {
    let mut by_step = BTreeMap::<u64, (f64, f64)>::new();
    for (step, metrics) in measured {
        if let Some(value) = metrics.get(metric) {
            let (sum, count) = by_step.entry(*step).or_default();
            *sum += value;
            *count += 1.0;
        }
    }
    by_step.into_iter().map(|(step, (sum, count))| (step as f64, sum / count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_a_model_make_one_curve() {
        let measured = |step: u64, value: f64| (step, BTreeMap::from([("x".to_owned(), value)]));
        let both = [measured(10, 1.0), measured(20, 2.0), measured(10, 3.0)];
        assert_eq!(means(both.iter(), "x"), [(10.0, 2.0), (20.0, 2.0)]);
        assert_eq!(means(both.iter(), "y"), []);
    }

    #[test]
    fn losses_of_some_steps_make_a_point_and_validations_one_each() {
        let folder = tempfile::tempdir().unwrap();
        let step = |step: u64, answer: f64| {
            format!(
                r#"{{"event":"step","stage":"joint","step":{step},"learning_rate":0.1,"metrics":{{"answer":{answer}}},"secs":1.0,"waited_secs":0.0,"frames":4}}"#
            )
        };
        let validation = r#"{"event":"validation","stage":"joint","step":5,"metrics":{"answer_exact":0.5}}"#;
        let lines = [step(1, 4.0), validation.to_owned(), step(20, 2.0), step(21, 1.0)].join("\n");
        std::fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
        let checkpoint = folder.path().join("checkpoints/joint");
        std::fs::create_dir_all(&checkpoint).unwrap();
        std::fs::write(checkpoint.join("progress.json"), r#"{"step":21,"finished":true}"#).unwrap();
        let told = measured(&RunDir::at(folder.path())).unwrap();
        assert_eq!(means(told.iter(), "answer"), [(20.0, 3.0), (40.0, 1.0)]);
        assert_eq!(means(told.iter(), "answer_exact"), [(5.0, 0.5)]);
    }
}
