//! The result of an evaluation as a table and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::bootstrap::{Interval, interval, paired_interval};
use super::real_rooms::Unknown;
use super::score::{ClipFacts, Metric, Value};

/// Seed of the intervals.
const INTERVAL_SEED: u64 = 95;

/// All values of one predictor.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Who answered.
    pub name: String,
    /// What it scored.
    pub values: Vec<Value>,
}

/// Values of a model and its baselines on one benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Name of the benchmark.
    pub benchmark: String,
    /// The model first, then baselines.
    pub columns: Vec<Column>,
    /// The clips in order.
    pub clips: Vec<ClipFacts>,
    /// Number of questions asked.
    pub questions: usize,
    /// What no generated room or text has; `None` for generated rooms.
    pub unknown: Option<Unknown>,
}

/// One number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean or median, see [`Metric::statistic`].
    pub value: f64,
    /// 95 % interval over clips.
    pub interval: Interval,
    /// Number of values.
    pub count: usize,
}

impl Column {
    /// A metric over the values that `keep` accepts; `None` without any.
    pub fn score(&self, metric: Metric, keep: impl Fn(&Value) -> bool) -> Option<Score> {
        let groups: Vec<Vec<f64>> = self.by_clip(metric, keep).into_values().collect();
        let pooled: Vec<f64> = groups.iter().flatten().copied().collect();
        Some(Score {
            value: metric.statistic().of(&pooled)?,
            interval: interval(&groups, metric.statistic(), INTERVAL_SEED)?,
            count: pooled.len(),
        })
    }

    /// How much larger a metric is here than in `other`, over the values that `keep` accepts of the
    /// clips that both have some of; the interval is that of the difference. `None` without such
    /// clips.
    pub fn difference(&self, other: &Self, metric: Metric, keep: impl Fn(&Value) -> bool) -> Option<Score> {
        let mut others = other.by_clip(metric, &keep);
        let pairs: Vec<(Vec<f64>, Vec<f64>)> = self
            .by_clip(metric, &keep)
            .into_iter()
            .filter_map(|(clip, values)| Some((values, others.remove(&clip)?)))
            .collect();
        let (mine, theirs): (Vec<Vec<f64>>, Vec<Vec<f64>>) = pairs.iter().cloned().unzip();
        let (mine, theirs) = (mine.concat(), theirs.concat());
        Some(Score {
            value: metric.statistic().of(&mine)? - metric.statistic().of(&theirs)?,
            interval: paired_interval(&pairs, metric.statistic(), INTERVAL_SEED)?,
            count: mine.len(),
        })
    }

    /// Values of a metric that `keep` accepts, per clip.
    fn by_clip(&self, metric: Metric, keep: impl Fn(&Value) -> bool) -> BTreeMap<u32, Vec<f64>> {
        let mut groups: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for value in self.values.iter().filter(|value| value.metric == metric && keep(value)) {
            groups.entry(value.clip).or_default().push(value.value);
        }
        groups
    }

    /// Acc@1.0 m of the fifth of the answers with the largest spread, and of the
    /// rest; `None` when positions come without a spread.
    pub fn spread_tells(&self) -> Option<(f64, f64)> {
        let mut hits: Vec<(f32, f64)> = self
            .values
            .iter()
            .filter(|value| value.metric == Metric::Acc1m)
            .filter_map(|value| Some((value.sigma?, value.value)))
            .collect();
        hits.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (uncertain, certain) = hits.split_at(hits.len().div_ceil(5).min(hits.len()));
        let mean = |hits: &[(f32, f64)]| {
            (!hits.is_empty()).then(|| hits.iter().map(|(_, hit)| hit).sum::<f64>() / hits.len() as f64)
        };
        Some((mean(uncertain)?, mean(certain)?))
    }
}

impl Report {
    /// The value of a metric of the model by its JSON key.
    pub fn value(&self, key: &str) -> Option<f64> {
        let metric = Metric::ALL.into_iter().find(|metric| metric.key() == key)?;
        self.columns.first()?.score(metric, |_| true).map(|score| score.value)
    }

    /// A Markdown table: a row per metric, the model first, baselines beside it, then
    /// the model's answers by type of question, tier and viewpoint.
    pub fn table(&self) -> String {
        let mut text = format!(
            "Benchmark {}: {} clips, {} questions; 95 % intervals over clips in brackets.\n\n",
            self.benchmark,
            self.clips.len(),
            self.questions
        );
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let mut rows = vec![std::iter::once("measure").chain(names).map(str::to_owned).collect::<Vec<_>>()];
        for metric in Metric::ALL {
            let scores: Vec<Option<Score>> =
                self.columns.iter().map(|column| column.score(metric, |_| true)).collect();
            if scores.iter().any(Option::is_some) {
                let cells = scores.iter().enumerate().map(|(i, score)| cell(score.as_ref(), i == 0));
                rows.push(std::iter::once(metric.label().to_owned()).chain(cells).collect());
            }
        }
        text.push_str(&markdown(&rows));
        if let Some((uncertain, certain)) = self.columns.first().and_then(Column::spread_tells) {
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "\nAcc@1.0 m of the fifth of the answers with the largest σ: {uncertain:.1} %, of the rest: {certain:.1} %."
            );
        }
        for (title, groups) in self.breakdowns() {
            let mut rows = vec![vec![
                title.to_owned(),
                "values".to_owned(),
                "Acc@1.0 m".to_owned(),
                "Acc@30°".to_owned(),
                "exact match".to_owned(),
                "multiple choice".to_owned(),
                "numbers (MRA)".to_owned(),
            ]];
            for (name, scores) in groups {
                let count = scores.iter().flatten().map(|score| score.count).max().unwrap_or(0);
                let cells = scores.iter().map(|score| cell(score.as_ref(), true));
                rows.push([name, count.to_string()].into_iter().chain(cells).collect());
            }
            text.push('\n');
            text.push_str(&markdown(&rows));
        }
        if let Some(Unknown { categories, words }) = &self.unknown {
            let list =
                |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            // Writing to a String cannot fail.
            _ = write!(
                text,
                "\nCategories that generated rooms do not have: {}.\n\n{} words that generated texts do not have: {}.\n",
                list(categories),
                words.len(),
                list(words)
            );
        }
        text
    }

    /// The same as JSON; the model's metrics stand at the top level.
    pub fn json(&self) -> Json {
        let mut top = Map::new();
        top.insert("benchmark".to_owned(), json!(self.benchmark));
        top.insert("model".to_owned(), json!(self.columns.first().map(|column| &column.name)));
        top.insert("clips".to_owned(), json!(self.clips.len()));
        top.insert("questions".to_owned(), json!(self.questions));
        let Some((model, baselines)) = self.columns.split_first() else { return Json::Object(top) };
        let mut intervals = Map::new();
        for metric in Metric::ALL {
            let score = model.score(metric, |_| true);
            top.insert(metric.key().to_owned(), json!(score.map(|score| round(score.value))));
            if let Some(score) = score {
                intervals.insert(metric.key().to_owned(), json!(bounds(score.interval)));
            }
        }
        top.insert("intervals".to_owned(), Json::Object(intervals));
        if let Some((uncertain, certain)) = model.spread_tells() {
            let spread = json!({
                "acc_1m_largest_sigma_fifth": round(uncertain),
                "acc_1m_rest": round(certain),
            });
            top.insert("calibration".to_owned(), spread);
        }
        let named = baselines.iter().map(|column| (column.name.clone(), column_json(column))).collect();
        top.insert("baselines".to_owned(), Json::Object(named));
        for (title, groups) in self.breakdowns() {
            let groups = groups
                .into_iter()
                .map(|(name, scores)| {
                    let keys = BROKEN_DOWN.iter().map(|metric| metric.key());
                    let scores = keys.zip(&scores).filter_map(|(key, score)| {
                        let score = (*score)?;
                        let told = json!({
                            "value": round(score.value),
                            "interval": bounds(score.interval),
                            "count": score.count,
                        });
                        Some((key.to_owned(), told))
                    });
                    (name, Json::Object(scores.collect()))
                })
                .collect();
            top.insert(title.to_owned(), Json::Object(groups));
        }
        if let Some(unknown) = &self.unknown {
            top.insert("unknown_categories".to_owned(), json!(unknown.categories));
            top.insert("unknown_words".to_owned(), json!(unknown.words));
        }
        Json::Object(top)
    }

    /// Per breakdown its groups with the model's scores on them.
    fn breakdowns(&self) -> Vec<(&'static str, Vec<(String, Vec<Option<Score>>)>)> {
        let Some(model) = self.columns.first() else { return Vec::new() };
        Grouping::ALL.map(|grouping| (grouping.key(), self.grouped(model, grouping))).to_vec()
    }

    fn grouped(&self, column: &Column, grouping: Grouping) -> Vec<(String, Vec<Option<Score>>)> {
        let names = self.groups(grouping);
        let scored = names.into_iter().map(|name| {
            let keep = |value: &Value| grouping.of(&self.clips, value).as_deref() == Some(&name);
            let scores: Vec<Option<Score>> =
                BROKEN_DOWN.iter().map(|metric| column.score(*metric, keep)).collect();
            (name, scores)
        });
        scored.filter(|(_, scores)| scores.iter().any(Option::is_some)).collect()
    }

    /// Names of the groups that the values of any column fall into, sorted.
    pub fn groups(&self, grouping: Grouping) -> Vec<String> {
        let values = self.columns.iter().flat_map(|column| &column.values);
        let names: BTreeSet<String> = values
            .filter(|value| BROKEN_DOWN.contains(&value.metric))
            .filter_map(|value| grouping.of(&self.clips, value))
            .collect();
        names.into_iter().collect()
    }
}

/// What scores are broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Type of the question.
    QuestionType,
    /// How hard the scene is.
    Tier,
    /// Height of the first camera.
    CameraHeight,
    /// Width of all directions seen.
    Coverage,
    /// Distance from the described position to the camera path.
    PathDistance,
}

impl Grouping {
    /// All of them in the order of tables.
    pub const ALL: [Self; 5] =
        [Self::QuestionType, Self::Tier, Self::CameraHeight, Self::Coverage, Self::PathDistance];

    /// Name in JSON and as the head of a table.
    pub fn key(self) -> &'static str {
        match self {
            Self::QuestionType => "question_types",
            Self::Tier => "tiers",
            Self::CameraHeight => "camera_height",
            Self::Coverage => "coverage",
            Self::PathDistance => "distance_to_path",
        }
    }

    /// The group of a value; `None` for values that this does not apply to.
    pub fn of(self, clips: &[ClipFacts], value: &Value) -> Option<String> {
        let facts = clips.get(value.clip as usize);
        match self {
            Self::QuestionType => value.kind.map(|kind| name_of(&kind)),
            Self::Tier => facts.map(|facts| name_of(&facts.tier)),
            Self::CameraHeight => {
                facts.map(|f| bin(f.camera_height, [1.4, 1.6], ["below 1.4 m", "1.4-1.6 m", "above 1.6 m"]))
            }
            Self::Coverage => {
                facts.map(|f| bin(f.coverage_deg, [180.0, 300.0], ["below 180°", "180-300°", "above 300°"]))
            }
            Self::PathDistance => {
                value.path_distance.map(|d| bin(d, [0.5, 1.5], ["below 0.5 m", "0.5-1.5 m", "above 1.5 m"]))
            }
        }
    }
}

/// Metrics shown in breakdowns.
const BROKEN_DOWN: [Metric; 5] = [
    Metric::Acc1m,
    Metric::Acc30deg,
    Metric::ExactMatch,
    Metric::ChoiceAccuracy,
    Metric::MeanRelativeAccuracy,
];

fn name_of(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Json::String(name)) => name,
        _ => "unknown".to_owned(),
    }
}

fn bin(value: f32, borders: [f32; 2], names: [&str; 3]) -> String {
    names[borders.iter().filter(|border| value >= **border).count()].to_owned()
}

fn column_json(column: &Column) -> Json {
    let scores = Metric::ALL.into_iter().filter_map(|metric| {
        let score = column.score(metric, |_| true)?;
        Some((metric.key().to_owned(), json!(round(score.value))))
    });
    Json::Object(scores.collect())
}

/// An interval in JSON: its ends.
fn bounds(interval: Interval) -> [f64; 2] {
    [round(interval.low), round(interval.high)]
}

/// Rounded to what an evaluation can tell.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

pub(super) fn cell(score: Option<&Score>, with_interval: bool) -> String {
    match score {
        None => "-".to_owned(),
        Some(score) if with_interval => {
            format!("{:.2} [{:.2}, {:.2}]", score.value, score.interval.low, score.interval.high)
        }
        Some(score) => format!("{:.2}", score.value),
    }
}

/// Rows of cells as an aligned Markdown table; the first row is the head.
pub(super) fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Tier;
    use crate::qa::QuestionKind;

    fn value(metric: Metric, clip: u32, value: f64, sigma: f32) -> Value {
        Value {
            metric,
            clip,
            value,
            kind: Some(QuestionKind::Is),
            path_distance: Some(1.0),
            sigma: Some(sigma),
        }
    }

    fn report() -> Report {
        let hits = |clip| {
            let sure = value(Metric::Acc1m, clip, 100.0, 0.2);
            [sure, sure, sure, sure, value(Metric::Acc1m, clip, 0.0, 2.0)]
        };
        let model = Column { name: "loc3r-mini".to_owned(), values: (0..4).flat_map(hits).collect() };
        let blind = Column {
            name: "room centre".to_owned(),
            values: vec![value(Metric::Acc1m, 0, 0.0, 1.0), value(Metric::Acc1m, 1, 100.0, 1.0)],
        };
        let facts = ClipFacts { tier: Tier::SparseRoom, camera_height: 1.5, coverage_deg: 200.0 };
        Report {
            benchmark: "rooms".to_owned(),
            columns: vec![model, blind],
            clips: vec![facts; 4],
            questions: 20,
            unknown: None,
        }
    }

    #[test]
    fn json_has_the_metrics_at_its_top() {
        let json = report().json();
        assert_eq!(json["acc_1m"], 80.0);
        assert_eq!(json["acc_0_5m"], Json::Null);
        assert_eq!(json["baselines"]["room centre"]["acc_1m"], 50.0);
        assert_eq!(json["tiers"]["sparse_room"]["acc_1m"]["count"], 20);
        assert_eq!(json["camera_height"]["1.4-1.6 m"]["acc_1m"]["value"], 80.0);
        assert_eq!(json["camera_height"]["1.4-1.6 m"]["acc_1m"]["interval"], json!([80.0, 80.0]));
        for key in [
            "acc_0_5m",
            "acc_1m",
            "acc_15deg",
            "acc_30deg",
            "exact_match",
            "mean_relative_accuracy",
            "layout_median_m",
            "camera_position_pct",
            "camera_rotation_deg",
            "within_1_sigma",
            "within_2_sigma",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn the_largest_spreads_are_the_misses() {
        assert_eq!(report().columns[0].spread_tells(), Some((0.0, 100.0)));
    }

    #[test]
    fn the_table_shows_baselines_beside_the_model() {
        let table = report().table();
        assert!(table.contains("| Acc@1.0 m (%) | 80.00 [80.00, 80.00] | 50.00"), "{table}");
        assert!(table.contains("sparse_room"), "{table}");
    }

    #[test]
    fn groups_have_intervals_in_the_table() {
        let table = report().table();
        let row = table.lines().find(|line| line.starts_with("| sparse_room")).unwrap();
        assert!(row.contains("| 20     | 80.00 [80.00, 80.00] |"), "{table}");
    }

    #[test]
    fn a_difference_is_that_of_the_clips_both_have() {
        let report = report();
        let (model, blind) = (&report.columns[0], &report.columns[1]);
        // Of four clips the baseline has two, one hit and one miss.
        let difference = model.difference(blind, Metric::Acc1m, |_| true).unwrap();
        assert_eq!((difference.value, difference.count), (30.0, 10));
        assert_eq!(difference.interval, Interval { low: -20.0, high: 80.0 });
        let same = model.difference(model, Metric::Acc1m, |_| true).unwrap();
        assert_eq!((same.value, same.interval), (0.0, Interval { low: 0.0, high: 0.0 }));
        assert_eq!(model.difference(blind, Metric::Acc30deg, |_| true), None);
    }

    #[test]
    fn values_are_found_by_key() {
        assert_eq!(report().value("acc_1m"), Some(80.0));
        assert_eq!(report().value("acc_2m"), None);
    }
}
