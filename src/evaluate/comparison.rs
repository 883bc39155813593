//! Several models on one benchmark, side by side.

use super::report::{Column, Grouping, Report, cell, markdown};
use super::score::{Metric, Value};

/// Metrics that are broken down, with the groupings that say something about them.
const BROKEN_DOWN: [(Metric, &[Grouping]); 4] = [
    (Metric::Acc1m, &[Grouping::Tier, Grouping::PathDistance, Grouping::Coverage, Grouping::CameraHeight]),
    (Metric::ExactMatch, &[Grouping::QuestionType, Grouping::Tier, Grouping::Coverage]),
    (Metric::ChoiceAccuracy, &[Grouping::QuestionType, Grouping::Tier]),
    (Metric::MeanRelativeAccuracy, &[Grouping::QuestionType, Grouping::Tier]),
];

impl Report {
    /// Markdown: a row per model with 95 % intervals, then one table per metric and
    /// breakdown.
    pub fn comparison(&self) -> String {
        let measured = |metric: &Metric| {
            self.columns.iter().any(|column| column.values.iter().any(|value| value.metric == *metric))
        };
        let metrics: Vec<Metric> = Metric::ALL.into_iter().filter(measured).collect();
        let mut rows = vec![head("model", metrics.iter().map(|metric| metric.label().to_owned()))];
        for column in &self.columns {
            let cells = metrics.iter().map(|metric| cell(column.score(*metric, |_| true).as_ref(), true));
            rows.push(head(&column.name, cells));
        }
        let mut text = markdown(&rows);
        for (metric, groupings) in BROKEN_DOWN.into_iter().filter(|(metric, _)| measured(metric)) {
            for &grouping in groupings {
                text.push_str(&format!("\n{} by {}:\n\n", metric.label(), grouping.key().replace('_', " ")));
                text.push_str(&markdown(&self.broken_down(metric, grouping)));
            }
        }
        text
    }

    fn broken_down(&self, metric: Metric, grouping: Grouping) -> Vec<Vec<String>> {
        let score = |column: &Column, group: &str| {
            let keep = |value: &Value| grouping.of(&self.clips, value).as_deref() == Some(group);
            column.score(metric, keep)
        };
        let groups: Vec<String> = self
            .groups(grouping)
            .into_iter()
            .filter(|group| self.columns.iter().any(|column| score(column, group).is_some()))
            .collect();
        let mut rows = vec![head("model", groups.iter().cloned())];
        for column in &self.columns {
            rows.push(head(
                &column.name,
                groups.iter().map(|group| cell(score(column, group).as_ref(), true)),
            ));
        }
        rows
    }
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
        Value { metric, clip, value, kind: Some(QuestionKind::Is), path_distance: None, sigma: None }
    }

    #[test]
    fn models_stand_side_by_side() {
        let column = |name: &str, hit: f64| Column {
            name: name.to_owned(),
            values: vec![value(Metric::ExactMatch, 0, hit), value(Metric::ExactMatch, 1, 0.0)],
        };
        let facts = |tier| ClipFacts { tier, camera_height: 1.5, coverage_deg: 90.0 };
        let report = Report {
            benchmark: "rooms".to_owned(),
            columns: vec![column("plain", 0.0), column("full", 100.0)],
            clips: vec![facts(Tier::SparseRoom), facts(Tier::SeveralRooms)],
            questions: 2,
            unknown: None,
        };
        let text = report.comparison();
        assert!(text.contains("| full  | 50.00 [0.00, 100.00]"), "{text}");
        // By tier: right in the sparse room, wrong in the others.
        assert!(text.contains("| full  | 0.00 [0.00, 0.00] | 100.00 [100.00, 100.00] |"), "{text}");
        assert!(!text.contains("Acc@1.0 m"), "{text}");
    }
}
