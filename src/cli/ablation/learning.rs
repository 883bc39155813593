//! How the models of an ablation learn, side by side: figures on held-out rooms over the steps.

use std::collections::BTreeMap;
use std::path::Path;

use super::report::Finished;
use super::{Variant, run_folder};
use crate::cli::curves::write;
use crate::evaluate::chart::{Chart, Mark, Series};
use crate::train::{RunDir, TrainEvent};

/// A figure of validations, how it is called and measured, and who learns it.
struct Figure {
    metric: &'static str,
    title: &'static str,
    unit: &'static str,
    learned: fn(Variant) -> bool,
}

const FIGURES: [Figure; 4] = [
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
        told.push((*variant, validations(&RunDir::at(&run_folder(out, *variant, *seed)))?));
    }
    let mut text = "\n## Learning\n\nOn held-out rooms with the cameras of training, over the steps of each \
                    model by itself; means of its seeds.\n\n"
        .to_owned();
    for figure in &FIGURES {
        let learned = Variant::ALL.into_iter().filter(|variant| (figure.learned)(*variant));
        let series = learned
            .map(|variant| {
                let own = told.iter().filter(|(of, _)| *of == variant);
                let points = means(own.flat_map(|(_, validations)| validations), figure.metric);
                Series { name: variant.name().to_owned(), mark: Mark::LineAndDots, points }
            })
            .filter(|series| !series.points.is_empty())
            .collect();
        let chart =
            Chart { title: figure.title.to_owned(), x: "step".to_owned(), y: figure.unit.to_owned(), series };
        let file = format!("learning_{}.svg", figure.metric);
        write(out, &file, &chart)?;
        text.push_str(&format!("![{}]({file})\n", figure.title));
    }
    Ok(text)
}

/// What a validation measured after a step.
type Validation = (u64, BTreeMap<String, f64>);

fn validations(run: &RunDir) -> anyhow::Result<Vec<Validation>> {
    let measured = |event| match event {
        TrainEvent::Validation { step, metrics, .. } => Some((step, metrics)),
        _ => None,
    };
    Ok(run.history()?.into_iter().filter_map(measured).collect())
}

/// The mean of a figure after every step that it was measured at.
fn means<'a>(validations: impl Iterator<Item = &'a Validation>, metric: &str) -> Vec<(f64, f64)> {
    let mut by_step = BTreeMap::<u64, (f64, f64)>::new();
    for (step, metrics) in validations {
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
        let validation = |step: u64, value: f64| (step, BTreeMap::from([("x".to_owned(), value)]));
        let both = [validation(10, 1.0), validation(20, 2.0), validation(10, 3.0)];
        assert_eq!(means(both.iter(), "x"), [(10.0, 2.0), (20.0, 2.0)]);
        assert_eq!(means(both.iter(), "y"), []);
    }
}
