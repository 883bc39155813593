//! What an ablation says: tables over all seeds and for each, differences between the models and
//! what they make of the claim, charts, costs, and how it was made.

use std::path::Path;

use anyhow::Context as _;

use super::{Extent, Outcome, Variant, learning};
use crate::cli::command_line::this_command;
use crate::cli::evaluate::draw;
use crate::evaluate::{Column, Pair, Report};
use crate::train::TrainConfig;

/// A finished model: which, of what seed, and what it came to.
pub(super) type Finished = (Variant, u64, Outcome);

/// Differences that are told: what each part adds to language, and how the objectives compare with
/// geometry at the input.
const DIFFERENCES: [(Variant, Variant); 12] = [
    (Variant::Full, Variant::Language),
    (Variant::Both, Variant::Language),
    (Variant::Situation, Variant::Language),
    (Variant::Layout, Variant::Language),
    (Variant::TrueGeometry, Variant::Language),
    (Variant::EstimatedGeometry, Variant::Language),
    (Variant::Situation, Variant::TrueGeometry),
    (Variant::Both, Variant::TrueGeometry),
    (Variant::Full, Variant::TrueGeometry),
    (Variant::Both, Variant::EstimatedGeometry),
    (Variant::Full, Variant::EstimatedGeometry),
    (Variant::Full, Variant::Both),
];

/// Differences that the claim is about.
const CLAIM: [(Variant, Variant); 6] = [
    (Variant::Both, Variant::TrueGeometry),
    (Variant::Both, Variant::EstimatedGeometry),
    (Variant::Full, Variant::TrueGeometry),
    (Variant::Full, Variant::EstimatedGeometry),
    (Variant::Both, Variant::Language),
    (Variant::Full, Variant::Language),
];

/// Writes `README.md` and its charts about all finished `runs` to the folder `out`; gives its
/// beginning, up to the claim. `given` are the settings that the command was given.
///
/// # Errors
/// When a file cannot be written or the settings cannot be told.
pub(super) fn write(
    given: &TrainConfig,
    out: &Path,
    extent: Extent,
    runs: &[Finished],
) -> anyhow::Result<String> {
    let report = combined(runs);
    let beginning = [
        opening(given, extent, runs, &report),
        format!("\n{}", report.summary()),
        format!("\nEach seed by itself:\n\n{}", by_seed(runs).summary()),
        claim(&report),
    ]
    .concat();
    let rest = [
        format!("\n## By family, scene and viewpoint\n{}", report.by_group()),
        report.differences_by_group(&named(&CLAIM)),
        learning::draw(out, runs)?,
        charts(out, &report)?,
        costs(runs),
        making(given)?,
    ]
    .concat();
    let path = out.join("README.md");
    std::fs::write(&path, format!("{beginning}{rest}"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(beginning)
}

/// What all `runs` came to, one column a model. All seeds are measured on the same scenes: values of
/// a scene keep its number, so that those of all seeds count as one in intervals.
fn combined(runs: &[Finished]) -> Report {
    let finished = Variant::ALL.into_iter().filter(|variant| seeds_of(*variant, runs) > 0);
    let columns = finished.map(|variant| {
        let own = runs.iter().filter(|run| run.0 == variant);
        column(variant.name().to_owned(), own)
    });
    reported(runs, columns.collect())
}

fn seeds_of(variant: Variant, runs: &[Finished]) -> u64 {
    runs.iter().filter(|run| run.0 == variant).count() as u64
}

/// What each of `runs` came to, one column each.
fn by_seed(runs: &[Finished]) -> Report {
    let columns = Variant::ALL.into_iter().flat_map(|variant| {
        let own = runs.iter().filter(move |run| run.0 == variant);
        own.map(move |run| column(format!("{}, seed {}", variant.name(), run.1), std::iter::once(run)))
    });
    reported(runs, columns.collect())
}

fn column<'a>(name: String, runs: impl Iterator<Item = &'a Finished>) -> Column {
    Column { name, values: runs.flat_map(|(_, _, outcome)| outcome.values.iter().copied()).collect() }
}

fn reported(runs: &[Finished], columns: Vec<Column>) -> Report {
    let (clips, questions) =
        runs.first().map(|(_, _, first)| (first.clips.clone(), first.questions)).unwrap_or_default();
    Report { benchmark: "rooms".to_owned(), columns, clips, questions, unknown: None }
}

fn opening(given: &TrainConfig, extent: Extent, runs: &[Finished], report: &Report) -> String {
    format!(
        "# Ablation\n\nEach model: {} joint steps of {} clips with {} questions, after {} that all share and \
         that teach nothing of space; {} seeds, all measured on the same {} held-out clips ({} questions). In \
         brackets 95 % intervals over clips, the answers of all seeds about a clip together: they tell how figures \
         move with other rooms; how they move with another training, the rows of the seeds tell.{}\n",
        given.joint.steps,
        given.joint.clips * given.micro_batches,
        given.joint.situations,
        extent.common_steps,
        extent.seeds,
        extent.clips,
        report.questions,
        unfinished(extent.seeds, runs),
    )
}

/// Which models lack seeds that were asked for.
fn unfinished(seeds: u64, runs: &[Finished]) -> String {
    let lacking: Vec<String> = Variant::ALL
        .into_iter()
        .map(|variant| (variant.name(), seeds_of(variant, runs)))
        .filter(|(_, finished)| *finished < seeds)
        .map(|(name, finished)| format!("{name} has {finished}"))
        .collect();
    if lacking.is_empty() {
        return String::new();
    }
    format!(" Not all are finished; of {seeds} seeds, {}.", lacking.join(", "))
}

fn named(pairs: &[(Variant, Variant)]) -> Vec<Pair<'static>> {
    pairs.iter().map(|(first, second)| (first.name(), second.name())).collect()
}

fn claim(report: &Report) -> String {
    format!(
        "\n## The claim\n\nThat supervising layout and situation beats geometry at the input, and that the gain \
         holds over viewpoints and scenes. Differences of answers on the same clips, in points:\n\n{}\nAll \
         differences (of the layout error less is better; - where one of the two has no such head):\n\n{}",
        report.verdicts(&named(&CLAIM)),
        report.differences(&named(&DIFFERENCES)),
    )
}

/// Draws how well the models that say where somebody is know their errors, and links the charts.
fn charts(out: &Path, report: &Report) -> anyhow::Result<String> {
    let mut text = "\n## Calibration\n\n".to_owned();
    for variant in Variant::ALL.into_iter().filter(|variant| variant.learns_situation()) {
        let Some(column) = report.columns.iter().find(|column| column.name == variant.name()) else {
            continue;
        };
        let [calibration, errors] = draw(out, &format!("_{}", variant.folder()), column)?;
        text.push_str(&format!(
            "![calibration of {name}]({calibration}) ![error by predicted spread of {name}]({errors})\n",
            name = variant.name()
        ));
    }
    Ok(text)
}

fn costs(runs: &[Finished]) -> String {
    let mut text = "\n## Cost\n\n| model | seed | training (s) | reading a clip (s) | answering (s) |\n\
                    |---|---|---|---|---|\n"
        .to_owned();
    for (variant, seed, outcome) in runs {
        text.push_str(&format!(
            "| {} | {seed} | {:.0} | {:.2} | {:.3} |\n",
            variant.name(),
            outcome.train_secs,
            outcome.encode_secs,
            outcome.answer_secs
        ));
    }
    text
}

/// Where geometry at the input comes from, the command, and the settings.
fn making(given: &TrainConfig) -> anyhow::Result<String> {
    Ok(format!(
        "\n## How it was made\n\nGeometry at the input is the 3D point of every vision token, embedded and added \
         to it, in training as in measuring. \"True\" points come from depth and poses of the renderer. \
         \"Estimated\" ones come from the camera encoder of the models trained here, visual odometry on the depth \
         that the vision tower learned; they are not estimates of CUT3R.\n\n```sh\n{}\n```\n\nSettings of \
         the full model; the others lack a part of them:\n\n```toml\n{}```\n",
        this_command(),
        given.to_toml()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{ClipFacts, Metric, Tier, Value};

    fn finished(variant: Variant, seed: u64, hits: [f64; 2]) -> Finished {
        let value = |clip: u32, value: f64| Value {
            metric: Metric::ExactMatch,
            clip,
            value,
            kind: None,
            path_distance: None,
            sigma: None,
        };
        let facts = ClipFacts { tier: Tier::SparseRoom, camera_height: 1.5, coverage_deg: 90.0 };
        let outcome = Outcome {
            values: vec![value(0, hits[0]), value(1, hits[1])],
            clips: vec![facts; 2],
            questions: 2,
            train_secs: 1.0,
            encode_secs: 1.0,
            answer_secs: 1.0,
        };
        (variant, seed, outcome)
    }

    fn runs() -> Vec<Finished> {
        vec![
            finished(Variant::Language, 0, [0.0, 40.0]),
            finished(Variant::Full, 0, [20.0, 80.0]),
            finished(Variant::Language, 1, [0.0, 60.0]),
            finished(Variant::Full, 1, [20.0, 80.0]),
        ]
    }

    #[test]
    fn all_seeds_of_a_scene_count_as_one() {
        let report = combined(&runs());
        assert_eq!((report.clips.len(), report.questions), (2, 2));
        let language = report.columns[0].score(Metric::ExactMatch, |_| true).unwrap();
        // Two scenes: a draw holds the one, the other, or both, whatever the seeds said.
        assert_eq!((language.value, language.count), (25.0, 4));
        assert_eq!((language.interval.low, language.interval.high), (0.0, 50.0));
        let seeds = by_seed(&runs()).summary();
        assert!(
            seeds.contains("| language only, seed 1 ") && seeds.contains(" 30.00 [0.00, 60.00]"),
            "{seeds}"
        );
    }

    #[test]
    fn what_is_not_finished_is_told_and_left_out() {
        let runs = runs();
        assert_eq!(combined(&runs).columns.len(), 2);
        let text = unfinished(2, &runs[..3]);
        assert!(text.contains("of 2 seeds, ") && text.contains("+ camera token (full) has 1"), "{text}");
        assert!(text.contains("+ both has 0") && !text.contains("language only"), "{text}");
    }

    #[test]
    fn the_text_has_claim_charts_and_making() {
        let folder = tempfile::tempdir().unwrap();
        let given = TrainConfig::preset("mini").unwrap();
        let extent = Extent { seeds: 2, clips: 2, common_steps: 5, device: "cpu".parse().unwrap() };
        let beginning = write(&given, folder.path(), extent, &runs()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("README.md")).unwrap();
        assert!(text.starts_with(&beginning) && beginning.contains("## The claim"), "{text}");
        // 20 points in the one scene, 30 in the other.
        let row = "| + camera token (full), minus language only";
        let row = text.lines().find(|line| line.starts_with(row)).unwrap();
        assert!(row.contains("| +25.00 [+20.00, +30.00] |"), "{text}");
        assert!(
            text.contains("- + camera token (full) against language only, exact match (%): +25.00"),
            "{text}"
        );
        for chart in ["calibration_full.svg", "error_by_sigma_full.svg", "learning_layout_error_m.svg"] {
            assert!(text.contains(&format!("({chart})")) && folder.path().join(chart).exists(), "{chart}");
        }
        // Neither of those that say nothing of a situation nor of those that are not finished.
        for chart in ["calibration_language.svg", "calibration_situation.svg"] {
            assert!(!folder.path().join(chart).exists(), "{chart}");
        }
        assert!(
            text.contains("not estimates of CUT3R") && text.contains(&given.to_toml().unwrap()),
            "{text}"
        );
    }
}
