//! Charts of a run folder, drawn from its `metrics.jsonl`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::evaluate::chart::{Chart, Mark, Series};
use crate::train::curve::Curve;
use crate::train::joint_figures::ESTIMATED;
use crate::train::{RunDir, TrainEvent};

/// Points of one curve, at most: each is the mean of some steps.
const POINTS: usize = 200;

type Curves = BTreeMap<String, Curve>;

/// Writes `STAGE_loss.svg` (terms of the loss over steps) and, once there was a
/// validation, `STAGE_shares.svg` and `STAGE_errors.svg` for every stage of a run into its folder; with
/// estimated cameras they are `STAGE_estimated_shares.svg` and so on.
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
        let chart = chart(format!("Stage {stage}: terms of the loss"), "loss", Mark::Line, curves);
        written.push(write(run.path(), &format!("{stage}_loss.svg"), &chart)?);
    }
    for (stage, curves) in figures {
        let (mut given, mut estimated) = (Curves::new(), Curves::new());
        for (name, curve) in curves {
            match name.strip_prefix(ESTIMATED) {
                Some(name) => estimated.insert(name.to_owned(), curve),
                None => given.insert(name, curve),
            };
        }
        written.extend(draw_figures(run, &stage, "", given)?);
        written.extend(draw_figures(run, &stage, ESTIMATED, estimated)?);
    }
    Ok(written)
}

/// Charts of what validations measured; `cameras` stands before the figures with cameras that the
/// model found itself, and is empty for all others.
fn draw_figures(run: &RunDir, stage: &str, cameras: &str, curves: Curves) -> anyhow::Result<Vec<PathBuf>> {
    let rooms = if cameras.is_empty() { "held-out rooms" } else { "held-out rooms, estimated cameras" };
    // Shares and errors do not share an axis.
    let (errors, shares): (Curves, Curves) = curves.into_iter().partition(|(name, _)| is_error(name));
    let mut written = Vec::new();
    for (kind, label, curves) in [("shares", "share", shares), ("errors", "metres or degrees", errors)] {
        if !curves.is_empty() {
            let chart = chart(format!("Stage {stage}: {rooms}, {kind}"), label, Mark::LineAndDots, curves);
            written.push(write(run.path(), &format!("{stage}_{cameras}{kind}.svg"), &chart)?);
        }
    }
    Ok(written)
}

/// Whether a figure is an error in metres or degrees rather than a share, whatever its value:
/// names end in the unit.
fn is_error(name: &str) -> bool {
    name.ends_with("_m") || name.ends_with("_deg")
}

fn chart(title: String, y: &str, mark: Mark, curves: Curves) -> Chart {
    let series = curves
        .into_iter()
        .map(|(name, curve)| Series { name: name.replace('_', " "), mark, points: curve.thinned(POINTS) })
        .collect();
    Chart { title, x: "step".to_owned(), y: y.to_owned(), series }
}

/// Writes a chart to the file `name` in `folder`, which it gives.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(folder: &Path, name: &str, chart: &Chart) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, chart.svg()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The charts of a run whose stage "tower" told `lines` and stands at `step`: names and texts.
    fn drawn(lines: &[&str], step: u64) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.jsonl"), lines.join("\n")).unwrap();
        let checkpoint = folder.path().join("checkpoints/tower");
        std::fs::create_dir_all(&checkpoint).unwrap();
        let progress = format!(r#"{{"step":{step},"finished":true}}"#);
        std::fs::write(checkpoint.join("progress.json"), progress).unwrap();
        let written = draw_curves(&RunDir::at(folder.path())).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        written.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
    }

    const STEP: &str = r#"{"event":"step","stage":"tower","step":1,"learning_rate":0.1,"metrics":{"loss":3.0,"color":1.0},"secs":1.0,"waited_secs":0.0,"frames":4}"#;

    #[test]
    fn every_stage_gets_its_charts() {
        let validation = r#"{"event":"validation","stage":"tower","step":1,"metrics":{"share_right":0.5,"point_error_m":2.0,"estimated_share_right":0.25}}"#;
        let charts = drawn(&[STEP, validation, r#"{"event":"step","stage":"tow"#], 1);
        let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["tower_loss.svg", "tower_shares.svg", "tower_errors.svg", "tower_estimated_shares.svg"]
        );
        // One step and one validation are dots, not nothing.
        for (name, svg) in &charts {
            assert_eq!(svg.matches("<circle").count(), 1, "{name}: {svg}");
        }
        assert!(charts[0].1.contains("terms of the loss"), "{}", charts[0].1);
    }

    #[test]
    fn figures_are_told_apart_by_their_unit_and_not_by_their_value() {
        // Errors below 1, a share above it.
        let validation = |step: u64| {
            format!(
                r#"{{"event":"validation","stage":"tower","step":{step},"metrics":{{"layout_error_m":0.3,"camera_yaw_error_deg":0.5,"position_acc_0.5m":0.25,"heading_acc_15deg":0.5,"camera_error_per_path":1.5}}}}"#
            )
        };
        let (first, second) = (validation(1), validation(2));
        let charts = drawn(&[STEP, &first, &second], 2);
        let [_, (_, shares), (_, errors)] = &charts[..] else { panic!("{charts:?}") };
        for name in ["position acc 0.5m", "heading acc 15deg", "camera error per path"] {
            assert!(shares.contains(name) && !errors.contains(name), "{name}");
        }
        for name in ["layout error m", "camera yaw error deg"] {
            assert!(errors.contains(name) && !shares.contains(name), "{name}");
        }
        assert_eq!(shares.matches("<circle").count(), 6);
        assert_eq!(errors.matches("<circle").count(), 4);
        assert!(errors.contains("metres or degrees"), "{errors}");
    }
}
