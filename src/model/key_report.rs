//! What became of every tensor of a checkpoint, and what keeps it from being loaded.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ModelError, NumberType};

/// Names listed of each kind of problem before "and n more".
const LISTED: usize = 5;

/// What CUT3R's tensors, and no other camera encoder's, begin with.
const CUT3R_TENSORS: &str = "camera_encoder.enc_blocks.";
/// The file that CUT3R is published as.
const CUT3R_FILE: &str = "cut3r_512_dpt_4_64.pth";

/// What became of every tensor. Names are those of the network; where the file had
/// another one it stands in brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Loaded.
    pub used: Vec<String>,
    /// Known, but not needed (the vision tower's last layer and post norm, what only training
    /// reads): "name in file".
    pub ignored: Vec<String>,
    /// Needed, but not there.
    pub missing: Vec<String>,
    /// There, but not known: "name in file".
    pub unexpected: Vec<String>,
    /// "name is (2, 3) in file, the model needs (3, 2)".
    pub wrong_shape: Vec<String>,
    /// Holding NaN or infinity: "name in file". Empty where no tensor was read.
    pub not_finite: Vec<String>,
    /// How the loaded ones are stored, and where.
    pub stored: BTreeMap<String, StoredAs>,
    /// Number of weights loaded.
    pub parameters: u64,
}

/// How a tensor is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAs {
    /// Type of its numbers.
    pub numbers: NumberType,
    /// Bytes in the file.
    pub bytes: u64,
    /// Name of the file.
    pub file: String,
}

impl KeyReport {
    /// What is wrong, by kind, in the order in which it is told.
    pub fn problems(&self) -> [(&'static str, &[String]); 4] {
        [
            ("missing", &self.missing),
            ("wrong shape", &self.wrong_shape),
            ("not finite (NaN or infinity)", &self.not_finite),
            ("unexpected", &self.unexpected),
        ]
    }

    /// One sentence per kind of problem; `None` when all is well.
    pub fn problem(&self) -> Option<String> {
        let list = |names: &[String]| {
            let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
            if names.len() > LISTED { format!("{shown} and {} more", names.len() - LISTED) } else { shown }
        };
        let kinds = self.problems().into_iter().filter(|(_, names)| !names.is_empty());
        let mut found: Vec<String> = kinds.map(|(kind, names)| format!("{kind}: {}", list(names))).collect();
        if found.is_empty() {
            return None;
        }
        if self.misses(CUT3R_TENSORS) {
            found.push(format!("put CUT3R's own file, {CUT3R_FILE}, into the folder"));
        }
        if self.problems().iter().any(|(_, names)| names.len() > LISTED) {
            found.push("`loc3r inspect FOLDER --tensors` lists all".to_owned());
        }
        Some(found.join("; "))
    }

    /// The error that keeps such a checkpoint, whose weights are at `location`, from being
    /// loaded; `None` when all is well.
    pub(super) fn refusal(&self, location: &Path) -> Option<ModelError> {
        self.problem().map(|reason| ModelError::Weights { path: location.to_owned(), reason })
    }

    fn misses(&self, prefix: &str) -> bool {
        self.missing.iter().any(|name| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_where_the_rest_is() {
        let missing: Vec<String> = (0..9).map(|layer| format!("model.layers.{layer}.bias")).collect();
        let told = KeyReport { missing, ..KeyReport::default() }.problem().unwrap();
        assert!(told.contains("model.layers.4.bias and 4 more") && !told.contains("layers.5"), "{told}");
        assert!(told.contains("inspect FOLDER --tensors"), "{told}");
        assert_eq!(KeyReport::default().problem(), None);
    }
}
