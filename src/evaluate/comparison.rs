//! Several models on one benchmark, side by side, and how far they are apart.

use std::collections::BTreeSet;

use super::report::{Column, Grouping, Report, Score, cell, markdown};
use super::score::{Metric, Value};

/// What says how hard a scene is and where it is seen from.
const VIEWS: [Grouping; 4] =
    [Grouping::Tier, Grouping::Coverage, Grouping::CameraHeight, Grouping::PathDistance];

/// Metrics that are broken down, with the groupings that say something about them.
const BROKEN_DOWN: [(Metric, &[Grouping]); 5] = [
    (Metric::Acc1m, &VIEWS),
    (Metric::Acc30deg, &VIEWS),
    (Metric::ExactMatch, &Grouping::ALL),
    (Metric::ChoiceAccuracy, &Grouping::ALL),
    (Metric::MeanRelativeAccuracy, &Grouping::ALL),
];

/// Metrics whose differences are shown; of the last one less is better.
const COMPARED: [Metric; 6] = [
    Metric::ExactMatch,
    Metric::ChoiceAccuracy,
    Metric::MeanRelativeAccuracy,
    Metric::Acc1m,
    Metric::Acc30deg,
    Metric::LayoutMedianM,
];

/// Metrics of [`COMPARED`] that every model has: those of answers.
const ANSWERS: [Metric; 3] = [Metric::ExactMatch, Metric::ChoiceAccuracy, Metric::MeanRelativeAccuracy];

/// Clips that a bin needs for a verdict: the interval over one or two of them says nothing.
const FEWEST_CLIPS: usize = 5;

/// Names of two columns, the second to be taken from the first.
pub type Pair<'a> = (&'a str, &'a str);

impl Report {
    /// Markdown: one table per metric and breakdown, a row per model with 95 % intervals.
    pub fn by_group(&self) -> String {
        let mut text = String::new();
        for (metric, groupings) in BROKEN_DOWN.into_iter().filter(|(metric, _)| self.measured(*metric)) {
            for &grouping in groupings {
                let groups = self.groups_of(metric, grouping);
                if !groups.is_empty() {
                    text.push_str(&format!("\n{} by {}:\n\n", metric.label(), title(grouping)));
                    text.push_str(&markdown(&self.broken_down(metric, grouping, &groups)));
                }
            }
        }
        text
    }

    /// Markdown: a row per model with 95 % intervals.
    pub fn summary(&self) -> String {
        let metrics: Vec<Metric> = Metric::ALL
            .into_iter()
            .filter(|metric| self.measured(*metric) && !metric.is_strangeness())
            .collect();
        let mut rows = vec![head("model", metrics.iter().map(|metric| metric.label().to_owned()))];
        for column in &self.columns {
            let cells = metrics.iter().map(|metric| cell(column.score(*metric, |_| true).as_ref(), true));
            rows.push(head(&column.name, cells));
        }
        markdown(&rows)
    }

    /// Markdown: a row per pair with the differences of what both have, on the same clips. Pairs that
    /// name no column are left out.
    pub fn differences(&self, pairs: &[Pair<'_>]) -> String {
        let metrics: Vec<Metric> = COMPARED.into_iter().filter(|metric| self.measured(*metric)).collect();
        let mut rows = vec![head("difference", metrics.iter().map(|metric| metric.label().to_owned()))];
        for (name, a, b) in self.called_pairs(pairs) {
            let cells = metrics.iter().map(|metric| signed(a.difference(b, *metric, |_| true).as_ref()));
            rows.push(head(&name, cells));
        }
        markdown(&rows)
    }

    /// Markdown: [`Self::differences`] of the answers by family, scene and viewpoint, a table each.
    pub fn differences_by_group(&self, pairs: &[Pair<'_>]) -> String {
        let pairs = self.called_pairs(pairs);
        let mut text = String::new();
        for metric in ANSWERS.into_iter().filter(|metric| self.measured(*metric)) {
            for grouping in Grouping::ALL {
                let groups = self.groups_of(metric, grouping);
                if groups.is_empty() {
                    continue;
                }
                let mut rows = vec![head("difference", groups.iter().cloned())];
                for (name, a, b) in &pairs {
                    let cells = groups.iter().map(|group| {
                        signed(a.difference(b, metric, |value| self.falls(grouping, group, value)).as_ref())
                    });
                    rows.push(head(name, cells));
                }
                text.push_str(&format!("\nDifference in {} by {}:\n\n", metric.label(), title(grouping)));
                text.push_str(&markdown(&rows));
            }
        }
        text
    }

    /// A Markdown list: whether answers of the first of each pair are better than those of the
    /// second, and in how many of the tiers and viewpoint bins that hold five clips or more. Pairs
    /// that name no column are left out.
    pub fn verdicts(&self, pairs: &[Pair<'_>]) -> String {
        let mut text = String::new();
        for (first, second) in pairs {
            let (Some(a), Some(b)) = (self.called(first), self.called(second)) else { continue };
            for metric in ANSWERS {
                let Some(all) = a.difference(b, metric, |_| true) else { continue };
                let groups: Vec<Score> = VIEWS
                    .iter()
                    .flat_map(|view| self.groups_of(metric, *view).into_iter().map(move |name| (*view, name)))
                    .filter(|(view, name)| self.clips_in(a, metric, *view, name) >= FEWEST_CLIPS)
                    .filter_map(|(view, name)| {
                        a.difference(b, metric, |value| self.falls(view, &name, value))
                    })
                    .collect();
                let count = |wanted: Verdict| groups.iter().filter(|g| Verdict::of(g) == wanted).count();
                text.push_str(&format!(
                    "- {first} against {second}, {}: {}: {}; of {} tiers and viewpoint bins better in {}, \
                     worse in {}.\n",
                    metric.label(),
                    signed(Some(&all)),
                    Verdict::of(&all).words(),
                    groups.len(),
                    count(Verdict::Better),
                    count(Verdict::Worse),
                ));
            }
        }
        text
    }

    fn measured(&self, metric: Metric) -> bool {
        self.columns.iter().any(|column| column.values.iter().any(|value| value.metric == metric))
    }

    fn called(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns of each pair with a name for their difference.
    fn called_pairs(&self, pairs: &[Pair<'_>]) -> Vec<(String, &Column, &Column)> {
        let found = |(a, b): &Pair<'_>| Some((format!("{a}, minus {b}"), self.called(a)?, self.called(b)?));
        pairs.iter().filter_map(found).collect()
    }

    fn falls(&self, grouping: Grouping, group: &str, value: &Value) -> bool {
        grouping.of(&self.clips, value).as_deref() == Some(group)
    }

    /// Of how many clips a column has values of a metric in a group.
    fn clips_in(&self, column: &Column, metric: Metric, grouping: Grouping, group: &str) -> usize {
        let values = column.values.iter().filter(|value| value.metric == metric);
        let clips = values.filter(|value| self.falls(grouping, group, value)).map(|value| value.clip);
        clips.collect::<BTreeSet<_>>().len()
    }

    /// Groups in which some column has values of a metric.
    fn groups_of(&self, metric: Metric, grouping: Grouping) -> Vec<String> {
        let some = |group: &str, column: &Column| {
            column.values.iter().any(|value| value.metric == metric && self.falls(grouping, group, value))
        };
        let groups = self.groups(grouping).into_iter();
        groups.filter(|group| self.columns.iter().any(|column| some(group, column))).collect()
    }

    fn broken_down(&self, metric: Metric, grouping: Grouping, groups: &[String]) -> Vec<Vec<String>> {
        let mut rows = vec![head("model", groups.iter().cloned())];
        for column in &self.columns {
            let score = |group: &String| column.score(metric, |value| self.falls(grouping, group, value));
            rows.push(head(&column.name, groups.iter().map(|group| cell(score(group).as_ref(), true))));
        }
        rows
    }
}

/// What the interval of a difference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    Open,
}

impl Verdict {
    fn of(difference: &Score) -> Self {
        match difference.interval {
            interval if interval.low > 0.0 => Self::Better,
            interval if interval.high < 0.0 => Self::Worse,
            _ => Self::Open,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Open => "not told apart (the interval holds 0)",
        }
    }
}

/// A difference with its sign and interval.
fn signed(difference: Option<&Score>) -> String {
    difference.map_or_else(
        || "-".to_owned(),
        |score| format!("{:+.2} [{:+.2}, {:+.2}]", score.value, score.interval.low, score.interval.high),
    )
}

fn title(grouping: Grouping) -> String {
    grouping.key().replace('_', " ")
}

fn head(first: &str, rest: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{ClipFacts, Tier};
    use crate::qa::QuestionKind;

    fn value(metric: Metric, clip: u32, value: f64) -> Value {
        Value { metric, clip, value, kind: Some(QuestionKind::Is), path_distance: Some(0.2), sigma: None }
    }

    fn report(columns: Vec<Column>) -> Report {
        let clips = columns.first().map_or(0, |column| column.values.len());
        let facts = |tier| ClipFacts { tier, camera_height: 1.5, coverage_deg: 90.0 };
        Report {
            benchmark: "rooms".to_owned(),
            columns,
            clips: [vec![facts(Tier::SparseRoom); clips / 2], vec![facts(Tier::SeveralRooms); clips / 2]]
                .concat(),
            questions: clips,
            unknown: None,
        }
    }

    /// As many clips of one sparse room as of several rooms, with the value `sparse` and `several`.
    fn tiers(name: &str, metric: Metric, each: usize, [sparse, several]: [f64; 2]) -> Column {
        let values = [vec![sparse; each], vec![several; each]].concat();
        let values = (0..).zip(values).map(|(clip, of)| value(metric, clip, of)).collect();
        Column { name: name.to_owned(), values }
    }

    fn column(name: &str, metric: Metric, sparse: f64, several: f64) -> Column {
        tiers(name, metric, 1, [sparse, several])
    }

    #[test]
    fn models_stand_side_by_side() {
        let report = report(vec![
            column("plain", Metric::ExactMatch, 0.0, 0.0),
            column("full", Metric::ExactMatch, 100.0, 0.0),
        ]);
        let text = report.summary() + &report.by_group();
        assert!(text.contains("| full  | 50.00 [0.00, 100.00]"), "{text}");
        // By tier: right in the sparse room, wrong in the others.
        assert!(text.contains("| full  | 0.00 [0.00, 0.00] | 100.00 [100.00, 100.00] |"), "{text}");
        assert!(!text.contains("Acc@1.0 m"), "{text}");
        assert!(text.contains("exact match (%) by distance to path:"), "{text}");
    }

    #[test]
    fn headings_are_broken_down_by_viewpoint() {
        let text = report(vec![column("full", Metric::Acc30deg, 100.0, 0.0)]).by_group();
        for view in ["tiers", "coverage", "camera height", "distance to path"] {
            assert!(text.contains(&format!("Acc@30° (%) by {view}:")), "{view} is missing in\n{text}");
        }
    }

    #[test]
    fn differences_are_told_with_their_interval_and_verdict() {
        let report = report(vec![
            column("plain", Metric::ExactMatch, 20.0, 60.0),
            column("full", Metric::ExactMatch, 30.0, 70.0),
            column("even", Metric::ExactMatch, 10.0, 70.0),
        ]);
        let text = report.differences(&[("full", "plain"), ("full", "nobody")]);
        assert!(text.contains("| full, minus plain | +10.00 [+10.00, +10.00] |"), "{text}");
        assert!(!text.contains("nobody") && !text.contains("Acc@1.0 m"), "{text}");
        let by_group = report.differences_by_group(&[("full", "plain")]);
        assert!(
            by_group.contains("\nDifference in exact match (%) by tiers:\n\n| difference "),
            "{by_group}"
        );
        // The first clip is the sparse room, the second has several: names are sorted.
        let row = "| full, minus plain | +10.00 [+10.00, +10.00] | +10.00 [+10.00, +10.00] |";
        assert!(by_group.contains(row), "{by_group}");
    }

    #[test]
    fn verdicts_need_an_interval_beside_zero_and_bins_enough_clips() {
        let of = |each: usize| {
            let column = |name, values| tiers(name, Metric::ExactMatch, each, values);
            let columns = vec![
                column("plain", [20.0, 60.0]),
                column("full", [30.0, 70.0]),
                column("even", [10.0, 70.0]),
            ];
            report(columns).verdicts(&[("full", "plain"), ("plain", "full"), ("even", "plain")])
        };
        let text = of(FEWEST_CLIPS);
        let lines: Vec<&str> = text.lines().collect();
        // Two tiers, one bin each of coverage, height and distance.
        let better =
            "+10.00 [+10.00, +10.00]: better; of 5 tiers and viewpoint bins better in 5, worse in 0.";
        assert!(lines[0].ends_with(better), "{text}");
        assert!(
            lines[1].ends_with(": worse; of 5 tiers and viewpoint bins better in 0, worse in 5."),
            "{text}"
        );
        assert!(lines[2].contains(": +0.00 [-6.00, +6.00]: not told apart"), "{text}");
        assert!(lines[2].ends_with("better in 1, worse in 1."), "{text}");
        assert!(of(1).contains("+0.00 [-10.00, +10.00]: not told apart"), "{}", of(1));
        // A clip less in each tier: only the bins that hold both are left.
        let text = of(FEWEST_CLIPS - 1);
        assert!(text.contains("of 3 tiers and viewpoint bins better in 3, worse in 0."), "{text}");
    }
}
