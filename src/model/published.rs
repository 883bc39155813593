//! Published checkpoints: LLaVA's own tensor names, those of transformers, and layers of
//! Loc3R under names that nobody knows beforehand.

use std::collections::BTreeMap;

use super::config::ModelConfig;
use super::network::TRAINING_ONLY_PREFIX;

/// Prefixes of transformers' conversions and what the network calls them; the first
/// match counts.
const RENAMED: [(&str, &str); 15] = [
    ("model.vision_tower.vision_tower.", "model.vision_tower.vision_tower."),
    ("model.vision_tower.vision_model.", "model.vision_tower.vision_tower.vision_model."),
    ("vision_tower.vision_model.", "model.vision_tower.vision_tower.vision_model."),
    ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("image_newline", "model.image_newline"),
    ("f_cam.", "model.f_cam."),
    ("f_proj.", "model.f_proj."),
    ("f_pos.", "model.f_pos."),
    ("f_ori.", "model.f_ori."),
];

/// The network's name of a tensor of a published file.
pub(super) fn canonical_name(name: &str) -> String {
    RENAMED
        .iter()
        .find_map(|(theirs, ours)| name.strip_prefix(theirs).map(|rest| format!("{ours}{rest}")))
        .unwrap_or_else(|| name.to_owned())
}

/// Tensors that files hold and the network has no use for.
pub(super) fn is_ignored(name: &str, config: &ModelConfig) -> bool {
    let vision = "model.vision_tower.vision_tower.vision_model.";
    if let Some(rest) = name.strip_prefix(vision) {
        let deleted_layer = rest
            .strip_prefix("encoder.layers.")
            .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok())
            .is_some_and(|layer| layer >= config.vision.layers() && layer < config.vision.num_hidden_layers);
        return deleted_layer || rest.starts_with("post_layernorm.") || rest.starts_with("head.");
    }
    if let Some(rest) = name.strip_prefix("camera_encoder.") {
        // Ray maps are another input of CUT3R, masks belong to its training; files of its DPT
        // heads hold some tensors twice, and a unit that is never called.
        let unused = ["patch_embed_ray_map.", "enc_blocks_ray_map.", "enc_norm_ray_map.", "masked_"];
        let twice = (1..5).any(|layer| rest.contains(&format!(".scratch.layer{layer}_rn.")));
        let uncalled = rest.contains(".scratch.refinenet4.resConfUnit1.");
        return twice || uncalled || unused.iter().any(|part| rest.starts_with(part));
    }
    let tied_output = name == "lm_head.weight" && config.language.tie_word_embeddings;
    let unused_newline = name == "model.image_newline" && !config.has_newline();
    tied_output
        || unused_newline
        || name.starts_with(TRAINING_ONLY_PREFIX)
        || name.ends_with("rotary_emb.inv_freq")
        || name.ends_with("position_ids")
}

/// Parts of the network whose published names are not known beforehand.
const HEADS: [&str; 4] = ["model.f_cam", "model.f_proj", "model.f_pos", "model.f_ori"];

/// Parts whose names are.
const KNOWN: [&str; 8] = [
    "model.layers.",
    "model.embed_tokens.",
    "model.norm.",
    "model.vision_tower.",
    "model.mm_projector.",
    "model.image_newline",
    "lm_head.",
    "camera_encoder.",
];

/// Recognises Loc3R's own layers by their shapes: two linear layers from the camera
/// token to the language width are `f_cam`, one from the language width to 4 is
/// `f_proj`, two to 4 are `f_pos`, two to 36 are `f_ori`. `shapes`: all tensors by
/// canonical name. Gives (name in the file, name of the network) of tensors to rename;
/// nothing where two candidates fit.
pub(super) fn heads_by_shape(
    shapes: &BTreeMap<String, Vec<usize>>,
    width: usize,
    camera_token_dim: usize,
) -> Vec<(String, String)> {
    if HEADS.iter().any(|head| shapes.keys().any(|name| name.starts_with(head))) {
        return Vec::new();
    }
    let mut parts: BTreeMap<&'static str, Vec<Vec<String>>> = BTreeMap::new();
    for modules in unknown_modules(shapes) {
        let shape = |at: usize| shapes[&format!("{}.weight", modules[at])].as_slice();
        let kind = match modules.len() {
            1 if shape(0) == [4, width] => "model.f_proj",
            2 if shape(0)[1] == camera_token_dim && shape(1)[0] == width && camera_token_dim != width => {
                "model.f_cam"
            }
            2 if shape(0)[1] == width && shape(1)[0] == 4 => "model.f_pos",
            2 if shape(0)[1] == width && shape(1)[0] == 36 => "model.f_ori",
            _ => continue,
        };
        parts.entry(kind).or_default().push(modules);
    }
    let mut renamed = Vec::new();
    for (kind, candidates) in parts {
        let [modules] = candidates.as_slice() else { continue };
        let names = match modules.len() {
            1 => vec![kind.to_owned()],
            _ => vec![format!("{kind}.0"), format!("{kind}.2")],
        };
        for (module, name) in modules.iter().zip(names) {
            for part in ["weight", "bias"] {
                let old = format!("{module}.{part}");
                if shapes.contains_key(&old) {
                    renamed.push((old, format!("{name}.{part}")));
                }
            }
        }
    }
    renamed
}

/// Linear layers outside the known parts: pairs that share a parent, and single ones.
fn unknown_modules(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<Vec<String>> {
    let mut parents: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, shape) in shapes {
        let Some(module) = name.strip_suffix(".weight") else { continue };
        if shape.len() != 2 || KNOWN.iter().any(|known| name.starts_with(known)) {
            continue;
        }
        let parent = module.rsplit_once('.').map_or("", |(parent, _)| parent);
        parents.entry(parent).or_default().push(module.to_owned());
    }
    parents
        .into_values()
        .flat_map(|modules| match modules.len() {
            2 => vec![modules],
            _ => modules.into_iter().map(|module| vec![module]).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::NewlineMode;

    #[test]
    fn heads_are_recognised_by_their_shapes() {
        let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut add = |name: &str, shape: [usize; 2]| {
            shapes.insert(format!("{name}.weight"), shape.to_vec());
            shapes.insert(format!("{name}.bias"), vec![shape[0]]);
        };
        add("model.pose_projector.0", [64, 768]);
        add("model.pose_projector.2", [64, 64]);
        add("model.bev", [4, 64]);
        add("position.fc1", [32, 64]);
        add("position.fc2", [4, 32]);
        add("model.heading.0", [64, 64]);
        add("model.heading.2", [36, 64]);
        add("model.layers.0.mlp.up_proj", [4, 64]);
        let renamed: BTreeMap<String, String> = heads_by_shape(&shapes, 64, 768).into_iter().collect();
        let expected = [
            ("model.pose_projector.0", "model.f_cam.0"),
            ("model.pose_projector.2", "model.f_cam.2"),
            ("model.bev", "model.f_proj"),
            ("position.fc1", "model.f_pos.0"),
            ("position.fc2", "model.f_pos.2"),
            ("model.heading.0", "model.f_ori.0"),
            ("model.heading.2", "model.f_ori.2"),
        ];
        assert_eq!(renamed.len(), 2 * expected.len());
        for (old, new) in expected {
            assert_eq!(renamed[&format!("{old}.weight")], format!("{new}.weight"));
            assert_eq!(renamed[&format!("{old}.bias")], format!("{new}.bias"));
        }
        shapes.insert("model.second_bev.weight".to_owned(), vec![4, 64]);
        assert!(!heads_by_shape(&shapes, 64, 768).iter().any(|(_, new)| new.starts_with("model.f_proj")));
    }

    #[test]
    fn names_of_every_conversion_meet() {
        let tower = "model.vision_tower.vision_tower.vision_model.post_layernorm.bias";
        for name in [
            "vision_tower.vision_model.post_layernorm.bias",
            "model.vision_tower.vision_model.post_layernorm.bias",
            tower,
        ] {
            assert_eq!(canonical_name(name), tower);
        }
        for name in
            ["language_model.model.norm.weight", "model.language_model.norm.weight", "model.norm.weight"]
        {
            assert_eq!(canonical_name(name), "model.norm.weight");
        }
        assert_eq!(canonical_name("multi_modal_projector.linear_2.bias"), "model.mm_projector.2.bias");
        assert_eq!(canonical_name("language_model.lm_head.weight"), "lm_head.weight");
        assert_eq!(canonical_name("image_newline"), "model.image_newline");
    }

    #[test]
    fn only_known_leftovers_are_ignored() {
        let config = ModelConfig::llava_video_7b();
        let layer =
            |n| format!("model.vision_tower.vision_tower.vision_model.encoder.layers.{n}.mlp.fc1.bias");
        assert!(is_ignored(&layer(26), &config));
        assert!(!is_ignored(&layer(25), &config) && !is_ignored(&layer(27), &config));
        assert!(!is_ignored("lm_head.weight", &config));
        assert!(!is_ignored("model.image_newline", &config));
        let without = ModelConfig { newline: NewlineMode::NoToken, ..config.clone() };
        assert!(is_ignored("model.image_newline", &without));
        assert!(!is_ignored("model.layers.0.extra", &config));
        assert!(is_ignored("training.mention.weight", &config));
    }
}
