//! `loc3r evaluate`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{output, places};
use crate::dataset::read_real_rooms;
use crate::evaluate::plots::{calibration, error_by_sigma};
use crate::evaluate::real_rooms::{Unknown, real_clip};
use crate::evaluate::{
    BenchmarkClip, ClipOptions, Metric, ModelPredictor, Prediction, Report, evaluate, held_out,
    prediction_records, prior_questions,
};
use crate::model::device::ComputeDevice;
use crate::synth::QuestionOptions;

/// Measure a model beside its baselines.
///
/// Runs the model over generated rooms that training never sees and prints
/// localisation, answers, layout and camera errors with 95 % intervals, beside what
/// can be had without looking. With --layouts it runs over real rooms instead.
#[derive(Debug, clap::Args)]
pub(super) struct EvaluateArgs {
    /// Checkpoint folder, GGUF file, or name of an installed model [default: $LOC3R_MODEL, or the bundled loc3r-mini]
    #[arg(long, value_name = "FOLDER|GGUF|NAME")]
    model: Option<PathBuf>,
    /// What to run over.
    #[arg(long, value_enum, default_value_t = Benchmark::Rooms)]
    benchmark: Benchmark,
    /// Number of clips; the benchmark has 500.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=500))]
    count: u64,
    /// Real rooms instead: a JSON file of rooms as labelled boxes with situations, questions
    /// and answers in people's own words; a walk through each is rendered.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["benchmark", "count"])]
    layouts: Option<PathBuf>,
    /// Writes charts to a folder: calibration.svg and error_by_sigma.svg.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Writes what was said to every question, beside the truth and what the baselines say, as
    /// JSON lines.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Where to run: auto, cpu, cuda, cuda:N or metal; a device that is missing is an error.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: ComputeDevice,
    /// End with exit code 1 unless a measure reaches a value, as in
    /// `--require acc_1m>=45` or `--require layout_median_m<=0.6`; repeatable.
    #[arg(long, value_name = "MEASURE>=VALUE")]
    require: Vec<Requirement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Benchmark {
    /// Generated rooms of the held-out seeds, in three tiers.
    Rooms,
}

/// A bound on a measure.
#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    key: String,
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
        let keys = Metric::ALL.map(Metric::key);
        if !keys.contains(&key.trim()) {
            return Err(format!("{} is no measure; known are {}", key.trim(), keys.join(", ")));
        }
        let bound = bound.trim().parse().map_err(|_not_a_number| format!("{} is no number", bound.trim()))?;
        Ok(Self { key: key.trim().to_owned(), at_least, bound })
    }
}

impl Requirement {
    /// A sentence when the report misses it.
    fn missed(&self, report: &Report) -> Option<String> {
        let wanted = format!("{} {} {}", self.key, if self.at_least { ">=" } else { "<=" }, self.bound);
        match report.value(&self.key) {
            None => Some(format!("{wanted} was required, but nothing was measured")),
            Some(value) if self.at_least && value < self.bound => {
                Some(format!("{wanted} was required, it is {value:.3}"))
            }
            Some(value) if !self.at_least && value > self.bound => {
                Some(format!("{wanted} was required, it is {value:.3}"))
            }
            Some(_) => None,
        }
    }
}

pub(super) fn run(args: EvaluateArgs) -> anyhow::Result<ExitCode> {
    /// Scenes that the word baselines learn from.
    const PRIOR_SCENES: u64 = 90;
    let folder = places::model_folder(args.model.as_deref())?;
    let mut model = ModelPredictor::load(&folder, args.device)
        .with_context(|| format!("cannot evaluate {}", folder.display()))?;
    let options = model.clip_options(QuestionOptions::default())?;
    let rooms = args.layouts.as_ref().map(|file| read_real_rooms(file)).transpose()?;
    // People wrote the questions about real rooms: there the baselines read what models read.
    let everyday = if rooms.is_some() { QuestionOptions::EVERYDAY } else { options.questions.everyday };
    let questions = QuestionOptions { everyday, ..options.questions };
    let prior = prior_questions(PRIOR_SCENES, &ClipOptions { questions, ..options });
    let bar = progress(rooms.as_ref().map_or(args.count, |rooms| rooms.len() as u64));
    let mut lines = args.predictions.as_deref().map(create).transpose()?;
    let mut listener = |clip: &BenchmarkClip, predictions: &[(String, Prediction)]| {
        bar.inc(1);
        if let Some(lines) = &mut lines {
            for record in prediction_records(clip, predictions) {
                serde_json::to_writer(&mut *lines, &record).map_err(std::io::Error::from)?;
                lines.write_all(b"\n")?;
            }
            lines.flush()?;
        }
        Ok(())
    };
    let report = if let Some(rooms) = &rooms {
        let clips = (0..).zip(rooms).map(|(k, room)| Ok(real_clip(room, k, &options)?));
        let report = evaluate(&mut model, "real rooms", clips, &prior, &mut listener)?;
        Report { unknown: Some(Unknown::of(rooms, &prior)), ..report }
    } else {
        let Benchmark::Rooms = args.benchmark;
        evaluate(&mut model, "rooms", held_out(args.count, &options), &prior, &mut listener)?
    };
    bar.finish_and_clear();
    if let (Some(folder), Some(column)) = (&args.plots, report.columns.first()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, chart) in
            [("calibration", calibration(column)), ("error_by_sigma", error_by_sigma(column))]
        {
            let path = folder.join(format!("{name}.svg"));
            std::fs::write(&path, chart.svg()).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    output::result(&printed(&report, model.notice(), args.json)?);
    let missed: Vec<String> = args.require.iter().filter_map(|r| r.missed(&report)).collect();
    for sentence in &missed {
        output::note(sentence);
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The report as a table or JSON, with what to think of the model's answers.
fn printed(report: &Report, notice: &str, as_json: bool) -> anyhow::Result<String> {
    let name = report.columns.first().map(|column| column.name.as_str()).unwrap_or_default();
    let told = !notice.is_empty();
    if as_json {
        let mut json = report.json();
        if told {
            json["notice"] = notice.into();
        }
        return Ok(serde_json::to_string_pretty(&json)?);
    }
    let table = report.table();
    Ok(if told { format!("{name}: {notice}\n{table}") } else { table })
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

pub(super) fn progress(clips: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(clips), ProgressDrawTarget::stderr_with_hz(2));
    match ProgressStyle::with_template("evaluate {wide_bar} {pos}/{len} clips {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_name_a_measure_and_a_bound() {
        let parsed: Requirement = "acc_1m >= 45".parse().unwrap();
        assert_eq!(parsed, Requirement { key: "acc_1m".to_owned(), at_least: true, bound: 45.0 });
        assert!(!"layout_median_m<=0.6".parse::<Requirement>().unwrap().at_least);
        assert!("acc_9m>=1".parse::<Requirement>().unwrap_err().contains("acc_0_5m"));
        assert!("acc_1m=1".parse::<Requirement>().is_err());
        assert!("acc_1m>=much".parse::<Requirement>().is_err());
    }
}
