//! Charts of a run folder, drawn from its `metrics.jsonl`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::evaluate::chart::{Chart, Mark, Series};
use crate::train::{RunDir, TrainEvent};

/// Points of one curve, at most: each is the mean of some steps.
const POINTS: usize = 200;

type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// Writes `STAGE_loss.svg` (terms of the loss over steps) and, once there was a
/// validation, `STAGE_validation.svg` for every stage of a run into its folder.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn draw_curves(run: &RunDir) -> anyhow::Result<Vec<PathBuf>> {
    let (mut losses, mut figures) = (BTreeMap::<String, Curves>::new(), BTreeMap::<String, Curves>::new());
    for event in run.history()? {
        let (curves, stage, step, metrics) = match event {
            TrainEvent::Step { stage, step, metrics, .. } => (&mut losses, stage, step, metrics),
            TrainEvent::Validation { stage, step, metrics } => (&mut figures, stage, step, metrics),
            _ => continue,
        };
        let curves = curves.entry(stage).or_default();
        for (name, value) in metrics.into_iter().filter(|(name, _)| name != "gradient_norm") {
            curves.entry(name).or_default().push((step as f64, value));
        }
    }
    let mut written = Vec::new();
    for (stage, mut curves) in losses {
        curves.remove("loss");
        let chart = chart(format!("Stage {stage}: terms of the loss"), "loss", curves);
        written.push(write(run.path(), &format!("{stage}_loss.svg"), &chart)?);
    }
    for (stage, curves) in figures {
        // Shares and errors do not share an axis.
        let (shares, errors): (Curves, Curves) = curves
            .into_iter()
            .partition(|(_, points)| points.iter().all(|point| (0.0..=1.0).contains(&point.1)));
        for (kind, label, curves) in [("shares", "share", shares), ("errors", "metres or degrees", errors)] {
            if !curves.is_empty() {
                let chart = chart(format!("Stage {stage}: held-out rooms, {kind}"), label, curves);
                written.push(write(run.path(), &format!("{stage}_{kind}.svg"), &chart)?);
            }
        }
    }
    Ok(written)
}

fn chart(title: String, y: &str, curves: Curves) -> Chart {
    let series = curves
        .into_iter()
        .map(|(name, points)| Series {
            name: name.replace('_', " "),
            mark: Mark::Line,
            points: thinned(&points),
        })
        .collect();
    Chart { title, x: "step".to_owned(), y: y.to_owned(), series }
}

/// Means of neighbouring points, so that few are left.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |chunk: &[(f64, f64)]| {
        let count = chunk.len() as f64;
        let sum = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

fn write(folder: &Path, name: &str, chart: &Chart) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, chart.svg()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_by_means() {
        let points: Vec<(f64, f64)> = (0..1000).map(|k| (f64::from(k), 2.0)).collect();
        let thin = thinned(&points);
        assert_eq!((thin.len(), thin[0]), (200, (2.0, 2.0)));
        assert_eq!(thinned(&points[..3]).len(), 3);
        assert!(thinned(&[]).is_empty());
    }

    #[test]
    fn every_stage_gets_its_charts() {
        let folder = tempfile::tempdir().unwrap();
        let lines = [
            r#"{"event":"step","stage":"tower","step":1,"learning_rate":0.1,"metrics":{"loss":3.0,"color":1.0},"secs":1.0,"waited_secs":0.0,"frames":4}"#,
            r#"{"event":"validation","stage":"tower","step":1,"metrics":{"share_right":0.5,"point_error_m":2.0}}"#,
            r#"{"event":"step","stage":"tow"#,
        ];
        std::fs::write(folder.path().join("metrics.jsonl"), lines.join("\n")).unwrap();
        let checkpoint = folder.path().join("checkpoints/tower");
        std::fs::create_dir_all(&checkpoint).unwrap();
        std::fs::write(checkpoint.join("progress.json"), r#"{"step":1,"finished":true}"#).unwrap();
        let written = draw_curves(&RunDir::at(folder.path())).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["tower_loss.svg", "tower_shares.svg", "tower_errors.svg"]);
        let svg = std::fs::read_to_string(&written[0]).unwrap();
        assert!(svg.contains("terms of the loss"), "{svg}");
    }
}
