//! Charts of a run folder, drawn from its `metrics.jsonl`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::evaluate::chart::{Chart, Mark, Series};
use crate::train::curve::Curve;
use crate::train::{RunDir, TrainEvent};

/// Points of one curve, at most: each is the mean of some steps.
const POINTS: usize = 200;

type Curves = BTreeMap<String, Curve>;

/// Writes `STAGE_loss.svg` (terms of the loss over steps) and, once there was a
/// validation, `STAGE_shares.svg` and `STAGE_errors.svg` for every stage of a run into its folder.
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
            curves.entry(name).or_default().push(step, value);
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
            .partition(|(_, curve)| curve.points().iter().all(|point| point.low >= 0.0 && point.high <= 1.0));
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
        .map(|(name, curve)| Series {
            name: name.replace('_', " "),
            mark: Mark::Line,
            points: curve.thinned(POINTS),
        })
        .collect();
    Chart { title, x: "step".to_owned(), y: y.to_owned(), series }
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
