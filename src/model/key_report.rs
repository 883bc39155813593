//! What became of every tensor of a checkpoint, and what keeps it from being loaded.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ModelError, NumberType, network};

/// Names listed of each kind of problem before "and n more".
const LISTED: usize = 5;

/// Loc3R's own layers without which nothing is located.
const HEADS: [(&str, &str); 3] =
    [("model.f_proj.", "f_proj"), ("model.f_pos.", "f_pos"), ("model.f_ori.", "f_ori")];
/// The layer that takes camera tokens in.
const CAMERA_LAYER: (&str, &str) = ("model.f_cam.", "f_cam");
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
        let path = location.to_owned();
        if let Some(reason) = self.base_model() {
            return Some(ModelError::BaseModel { path, reason });
        }
        self.problem().map(|reason| ModelError::Weights { path, reason })
    }

    /// What a model lacks that is whole but for the parts that locate: LLaVA-Video and
    /// OneVision as they are published. `None` for any other.
    fn base_model(&self) -> Option<String> {
        let optional = |name: &str| {
            let mut layers = HEADS.iter().chain([&CAMERA_LAYER]);
            name.starts_with(network::CAMERA_PREFIX) || layers.any(|(prefix, _)| name.starts_with(prefix))
        };
        let is_whole = self.problems().iter().skip(1).all(|(_, names)| names.is_empty())
            && self.missing.iter().all(|name| optional(name));
        let has_head = HEADS
            .iter()
            .any(|(prefix, _)| !self.misses(prefix) || self.used.iter().any(|name| name.starts_with(prefix)));
        if !is_whole || has_head {
            return None;
        }
        let layers = [CAMERA_LAYER].into_iter().chain(HEADS).filter(|(prefix, _)| self.misses(prefix));
        let layers: Vec<&str> = layers.map(|(_, layer)| layer).collect();
        let (lacks, file) = if self.misses(CUT3R_TENSORS) {
            (" and the camera encoder CUT3R", format!(", and put {CUT3R_FILE} beside them"))
        } else {
            ("", String::new())
        };
        Some(format!(
            "it has words but no places, for it lacks Loc3R's own layers ({}){lacks}; take weights that were trained with these layers, such as those of Loc3R-VLM{file}",
            layers.join(", ")
        ))
    }

    fn misses(&self, prefix: &str) -> bool {
        self.missing.iter().any(|name| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const HEADS_MISSING: [&str; 4] =
        ["model.f_cam.0.weight", "model.f_proj.weight", "model.f_pos.0.weight", "model.f_ori.0.weight"];

    #[test]
    fn only_what_is_whole_but_for_the_heads_is_a_base_model() {
        let base = KeyReport {
            used: names(&["model.norm.weight"]),
            missing: names(&HEADS_MISSING),
            ..KeyReport::default()
        };
        let told = base.base_model().unwrap();
        assert!(told.contains("(f_cam, f_proj, f_pos, f_ori)") && !told.contains("CUT3R"), "{told}");
        let mut bare = base.clone();
        bare.missing.push("camera_encoder.enc_blocks.0.attn.qkv.weight".to_owned());
        let told = bare.base_model().unwrap();
        assert!(told.contains("CUT3R") && told.contains("cut3r_512_dpt_4_64.pth"), "{told}");

        let others: [fn(&mut KeyReport); 5] = [
            |report| report.missing.push("model.norm.bias".to_owned()),
            |report| report.missing.retain(|name| !name.starts_with("model.f_pos.")),
            |report| report.used.push("model.f_ori.2.weight".to_owned()),
            |report| report.unexpected.push("adapter.weight in model.safetensors".to_owned()),
            |report| report.missing.clear(),
        ];
        for change in others {
            let mut other = base.clone();
            change(&mut other);
            assert_eq!(other.base_model(), None, "{other:?}");
        }
    }

    #[test]
    fn a_long_list_is_cut_and_says_where_the_rest_is() {
        let missing: Vec<String> = (0..9).map(|layer| format!("model.layers.{layer}.bias")).collect();
        let told = KeyReport { missing, ..KeyReport::default() }.problem().unwrap();
        assert!(told.contains("model.layers.4.bias and 4 more") && !told.contains("layers.5"), "{told}");
        assert!(told.contains("inspect FOLDER --tensors"), "{told}");
        assert_eq!(KeyReport::default().problem(), None);
    }
}
