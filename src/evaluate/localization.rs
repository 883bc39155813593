//! Localisation: how far the answered situation is from the described one.
//!
//! Follows SQA3D's official script: distance on the floor plane, angle between
//! headings, thresholds 0.5 m, 1.0 m, 15° and 30°, all strict.

use serde::{Deserialize, Serialize};

use crate::qa::Situation;

/// Errors of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LocalizationError {
    /// Distance on the floor plane, metres.
    pub distance_m: f64,
    /// Unsigned angle between the headings, degrees in [0, 180].
    pub angle_deg: f64,
}

/// Share of answers below the thresholds, 0 to 1, with medians.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LocalizationScores {
    /// Closer than 0.5 m.
    pub acc_0_5m: f64,
    /// Closer than 1.0 m.
    pub acc_1m: f64,
    /// Less than 15° off.
    pub acc_15deg: f64,
    /// Less than 30° off.
    pub acc_30deg: f64,
    /// Median distance, metres.
    pub median_m: f64,
    /// Median angle, degrees.
    pub median_deg: f64,
}

impl LocalizationError {
    /// Error of `estimate`, both in one space.
    pub fn of(estimate: &Situation, truth: &Situation) -> Self {
        let at = |s: &Situation| [f64::from(s.position.x), f64::from(s.position.y)];
        Self::between(
            (at(estimate), f64::from(estimate.orientation.radians())),
            (at(truth), f64::from(truth.orientation.radians())),
        )
    }

    /// Error between two poses given as (metres, radians).
    pub fn between(estimate: ([f64; 2], f64), truth: ([f64; 2], f64)) -> Self {
        let (a, b) = (estimate.0, truth.0);
        let difference = (estimate.1 - truth.1).rem_euclid(std::f64::consts::TAU);
        Self {
            distance_m: (a[0] - b[0]).hypot(a[1] - b[1]),
            angle_deg: difference.min(std::f64::consts::TAU - difference).to_degrees(),
        }
    }

    /// The best of several guesses, each quantity by itself, as the official script
    /// allows; papers report one guess. `None` without guesses.
    pub fn best(guesses: impl IntoIterator<Item = Self>) -> Option<Self> {
        guesses.into_iter().reduce(|a, b| Self {
            distance_m: a.distance_m.min(b.distance_m),
            angle_deg: a.angle_deg.min(b.angle_deg),
        })
    }
}

impl LocalizationScores {
    /// Scores of a set; `None` when it is empty.
    pub fn of(errors: &[LocalizationError]) -> Option<Self> {
        if errors.is_empty() {
            return None;
        }
        let share = |below: &dyn Fn(&LocalizationError) -> bool| {
            errors.iter().filter(|error| below(error)).count() as f64 / errors.len() as f64
        };
        let distances: Vec<f64> = errors.iter().map(|error| error.distance_m).collect();
        let angles: Vec<f64> = errors.iter().map(|error| error.angle_deg).collect();
        Some(Self {
            acc_0_5m: share(&|e| e.distance_m < 0.5),
            acc_1m: share(&|e| e.distance_m < 1.0),
            acc_15deg: share(&|e| e.angle_deg < 15.0),
            acc_30deg: share(&|e| e.angle_deg < 30.0),
            median_m: super::median(&distances)?,
            median_deg: super::median(&angles)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::golden::{self, numbers};
    use serde_json::Value;

    fn yaw(quaternion: &[f64]) -> f64 {
        2.0 * quaternion[2].atan2(quaternion[3])
    }

    fn error(case: &Value) -> LocalizationError {
        let truth = &case["gt"];
        let at = |key: &str| truth["position"][key].as_f64().unwrap();
        let q = |key: &str| truth["rotation"][key].as_f64().unwrap();
        let truth = ([at("x"), at("y")], yaw(&[q("_x"), q("_y"), q("_z"), q("_w")]));
        let positions = case["pred_positions"].as_array().unwrap();
        let quaternions = case["pred_quaternions_xyzw"].as_array().unwrap();
        LocalizationError::best(positions.iter().zip(quaternions).map(|(position, quaternion)| {
            let p = numbers(position);
            LocalizationError::between(([p[0], p[1]], yaw(&numbers(quaternion))), truth)
        }))
        .unwrap()
    }

    #[test]
    fn errors_and_hits_agree_with_the_reference() {
        let golden = golden::metrics();
        let set = &golden["sqa3d_localisation"];
        let cases = set["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 25);
        let mut errors = Vec::new();
        for case in cases {
            let error = error(case);
            assert!((error.distance_m - case["distance_m"].as_f64().unwrap()).abs() < 1e-9, "{case}");
            assert!((error.angle_deg - case["angle_deg"].as_f64().unwrap()).abs() < 1e-6, "{case}");
            let scores = LocalizationScores::of(&[error]).unwrap();
            agrees(&scores, &case["hits"]);
            errors.push(error);
        }
        agrees(&LocalizationScores::of(&errors).unwrap(), &set["aggregate"]);
    }

    fn agrees(scores: &LocalizationScores, expected: &Value) {
        for (score, key) in [
            (scores.acc_0_5m, "acc@0.5m"),
            (scores.acc_1m, "acc@1.0m"),
            (scores.acc_15deg, "acc@15"),
            (scores.acc_30deg, "acc@30"),
        ] {
            assert!((score - expected[key].as_f64().unwrap()).abs() < 1e-9, "{key} {score}");
        }
    }
}
