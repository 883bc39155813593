//! What made the weights: kept with them in `config.json`, for people and for nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A training run that the weights went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRun {
    /// What it trained of these weights, in order.
    pub stages: Vec<TrainedStage>,
    /// How it was started and gone on with, in order; the same start only once.
    pub starts: Vec<TrainingStart>,
}

/// A stage of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedStage {
    /// Name ("tower").
    pub name: String,
    /// Optimiser steps done.
    pub steps: u64,
}

/// A start of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingStart {
    /// The command with its arguments as they were given.
    pub command: String,
    /// Seed of initial weights and data.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
    /// Commit of the sources that the program was built from, as they lay there when it was
    /// started; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// "tower 350, camera 20, joint 300 steps".
impl fmt::Display for TrainingRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<String> =
            self.stages.iter().map(|stage| format!("{} {}", stage.name, stage.steps)).collect();
        write!(f, "{} steps", stages.join(", "))
    }
}

/// "loc3r train --out runs/a (seed 1, loc3r 0.1.0, commit 0123456789ab)".
impl fmt::Display for TrainingStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (seed {}, loc3r {}", self.command, self.seed, self.version)?;
        if let Some(commit) = &self.commit {
            write!(f, ", commit {commit}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;

    fn run() -> TrainingRun {
        let stage = |name: &str, steps| TrainedStage { name: name.to_owned(), steps };
        let start = |command: &str, commit: Option<&str>| TrainingStart {
            command: command.to_owned(),
            seed: 3,
            version: "0.1.0".to_owned(),
            commit: commit.map(str::to_owned),
        };
        TrainingRun {
            stages: vec![stage("tower", 350), stage("joint", 300)],
            starts: vec![start("loc3r train --out a", Some("0123")), start("loc3r train --resume", None)],
        }
    }

    #[test]
    fn it_reads_as_a_line_each() {
        let run = run();
        assert_eq!(run.to_string(), "tower 350, joint 300 steps");
        let starts: Vec<String> = run.starts.iter().map(ToString::to_string).collect();
        assert_eq!(
            starts,
            [
                "loc3r train --out a (seed 3, loc3r 0.1.0, commit 0123)",
                "loc3r train --resume (seed 3, loc3r 0.1.0)"
            ]
        );
    }

    #[test]
    fn a_configuration_keeps_it_and_one_of_before_loads() {
        let config = ModelConfig { training: vec![run()], ..ModelConfig::tiny() };
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["training"][0]["stages"][1]["steps"], 300);
        assert_eq!(serde_json::from_value::<ModelConfig>(json).unwrap(), config);
        let json = serde_json::to_value(ModelConfig::tiny()).unwrap();
        assert!(json.get("training").is_none(), "{json}");
        assert_eq!(serde_json::from_value::<ModelConfig>(json).unwrap(), ModelConfig::tiny());
    }
}
