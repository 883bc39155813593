//! What the paper of Loc3R-VLM leaves open, as a checkpoint decides it: one line for people per
//! choice, with where its value comes from.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::config::{
    Activation, BevAxes, BinCenters, CameraEncoderConfig, CameraPlace, FrameFit, HeadInput, ModelConfig,
    NewlineMode, PoolingMode, Uncertainty,
};
use super::cut3r::{Cut3rConfig, Gravity, InputResize, RopeDtype};
use super::published::canonical_name;
use super::tokenizer::{ORIENTATION_TOKEN, POSITION_TOKEN, TextTokenizer};
use super::weight_files::WeightFiles;

/// Where the value of a choice comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nothing says otherwise.
    Default,
    /// The checkpoint's `config.json`, or what stands for it in a GGUF file.
    Config,
    /// Names or shapes of the tensors.
    Weights,
    /// The checkpoint's `tokenizer.json`.
    Tokenizer,
    /// Made while training; a checkpoint does not hold it.
    Training,
    /// There is one way so far, whatever a checkpoint says.
    Fixed,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Config => "config.json",
            Self::Weights => "weights",
            Self::Tokenizer => "tokenizer.json",
            Self::Training => "not in a checkpoint",
            Self::Fixed => "fixed",
        })
    }
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What is chosen.
    pub name: &'static str,
    /// What was chosen.
    pub value: String,
    /// Who chose.
    pub origin: Origin,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.name, self.value, self.origin)
    }
}

/// All choices of a checkpoint, from its weights, its `config.json` (what it means, and as it is
/// written), and its tokenizer, if that can be used.
pub(super) fn of(
    files: &WeightFiles,
    config: &ModelConfig,
    json: &Value,
    tokenizer: Option<&TextTokenizer>,
) -> Vec<Choice> {
    let ids = tokenizer.map_or_else(
        || "unknown".to_owned(),
        |known| {
            format!("{POSITION_TOKEN} {}, {ORIENTATION_TOKEN} {}", known.position_id, known.orientation_id)
        },
    );
    let facts = Facts {
        f_pos_stored: files.shape("model.f_pos.0.weight").is_some(),
        f_cam_stored: files.shape("model.f_cam.0.weight").is_some(),
        head_names: head_names(files),
        ids,
        ids_stored: tokenizer.is_none_or(|known| !known.lacked_situation_tokens),
    };
    listed(config, json, &facts)
}

/// What other files than `config.json` decide.
struct Facts {
    f_pos_stored: bool,
    f_cam_stored: bool,
    head_names: String,
    ids: String,
    ids_stored: bool,
}

/// How the layers of Loc3R were found among the tensors.
fn head_names(files: &WeightFiles) -> String {
    let heads = ["model.f_cam.0", "model.f_proj", "model.f_pos.0", "model.f_ori.0"];
    let renamed: Vec<String> = heads
        .into_iter()
        .filter_map(|head| {
            let name = format!("{head}.weight");
            let stored = &files.places.get(&name)?.name;
            (canonical_name(stored) != name).then(|| format!("{stored} as {name}"))
        })
        .collect();
    if renamed.is_empty() { "by name".to_owned() } else { format!("by shape: {}", renamed.join(", ")) }
}

fn listed(config: &ModelConfig, json: &Value, facts: &Facts) -> Vec<Choice> {
    let mut list = List { json, choices: Vec::new() };
    if config.locates() {
        map(&mut list, config);
        layers(&mut list, config, facts);
        situation_tokens(&mut list, config, facts);
    } else {
        list.push(
            "layers of Loc3R",
            "none: a base model (loc3r*.safetensors beside it makes it whole)".to_owned(),
            Origin::Weights,
        );
    }
    video(&mut list, config);
    cut3r(&mut list, config);
    let time = if config.prompt.add_time_instruction { "yes" } else { "no" };
    list.add("time sentence", time, &["/prompt/add_time_instruction"], &["/add_time_instruction"]);
    list.push(
        "choices of training",
        "data.targets, joint.weights.heading_sigma_bins, joint.train_projector, warmup of `loc3r train`; situations are never made up"
            .to_owned(),
        Origin::Training,
    );
    list.choices
}

struct List<'a> {
    json: &'a Value,
    choices: Vec<Choice>,
}

impl List<'_> {
    fn push(&mut self, name: &'static str, value: String, origin: Origin) {
        self.choices.push(Choice { name, value, origin });
    }

    /// Adds a choice that `config.json` says at one of these places: `own` in our own kind, and
    /// below `loc3r` in a published one, which may also say it in its own words (`published`).
    fn add(&mut self, name: &'static str, value: impl Into<String>, own: &[&str], published: &[&str]) {
        let stated = |pointer: &str| self.json.pointer(pointer).is_some_and(|value| !value.is_null());
        let told = if self.json.get("model_type").is_some() {
            own.iter().any(|pointer| stated(&format!("/loc3r{pointer}")))
                || published.iter().any(|pointer| stated(pointer))
        } else {
            own.iter().any(|pointer| stated(pointer))
        };
        self.push(name, value.into(), if told { Origin::Config } else { Origin::Default });
    }
}

/// The bird's-eye frame and what the heads say about it.
fn map(list: &mut List<'_>, config: &ModelConfig) {
    let heads = &config.heads;
    let axes = match heads.bev_axes {
        BevAxes::RightForward => "x right, y forward; the first camera looks along +90°",
        BevAxes::ForwardLeft => "x forward, y left; the first camera looks along 0°",
    };
    list.add("bird's-eye axes", axes, &["/heads/bev_axes"], &[]);
    let uncertainty = match heads.uncertainty {
        Uncertainty::LogVariance => "heads give ln σ²",
        Uncertainty::SoftplusSigma => "σ = softplus of what heads give",
        Uncertainty::SoftplusVariance => "σ² = softplus of what heads give",
        Uncertainty::ExpSigma => "heads give ln σ",
    };
    list.add("uncertainty", uncertainty, &["/heads/uncertainty"], &[]);
    let bound = format!("ln σ² within ± {}", heads.max_log_variance);
    list.add("bound of the uncertainty", bound, &["/heads/max_log_variance"], &[]);
    // Newlines and camera tokens have no place of their own on the map.
    list.push("rows that tell the layout", "those of patches".to_owned(), Origin::Fixed);
    let input = match heads.input {
        HeadInput::FinalNorm => "hidden states after the final norm",
        HeadInput::LastLayer => "hidden states before the final norm",
    };
    list.add("input of the heads", input, &["/heads/input"], &[]);
    let bins = match heads.bin_centers {
        BinCenters::Half => "centred at -180° + (b + ½)·10°",
        BinCenters::Whole => "centred at -180° + b·10°",
    };
    list.add("heading bins", bins, &["/heads/bin_centers"], &[]);
}

/// How frames become tokens, and their order. Files of transformers mean one way of pooling and
/// of newlines.
fn video(list: &mut List<'_>, config: &ModelConfig) {
    let fit = match config.frame_fit {
        FrameFit::Squash => "squashed",
        FrameFit::Crop => "cut to the largest centred square",
    };
    list.add("frames that are not square", fit, &["/frame_fit"], &[]);
    let (side, stride) = (config.token_grid(), config.pooling.stride);
    let mode = match config.pooling.mode {
        PoolingMode::Bilinear => "bilinear",
        PoolingMode::Average => "average",
        PoolingMode::Max => "maximum",
    };
    list.add(
        "pooling",
        format!("{mode}, by {stride}: {side} x {side} tokens a frame"),
        &["/pooling/mode", "/pooling/stride"],
        &["/mm_spatial_pool_mode", "/text_config"],
    );
    let newline = match config.newline {
        NewlineMode::Grid => "behind every row of a frame",
        NewlineMode::Frame => "behind every frame",
        NewlineMode::OneToken => "one behind the video",
        NewlineMode::NoToken => "none",
    };
    let published = ["/mm_newline_position", "/mm_patch_merge_type", "/text_config"];
    list.add("newlines", newline, &["/newline"], &published);
    let place = match config.camera_place {
        _ if !config.has_camera_tokens() => "there is none",
        CameraPlace::First => "before the patches of its frame",
        CameraPlace::Last => "behind the patches of its frame",
    };
    list.add("camera token", place, &["/camera_place"], &[]);
    let newline = if config.camera_newline { "yes" } else { "no" };
    list.add("newline behind the camera token", newline, &["/camera_newline"], &[]);
}

/// Layers whose widths and activations are not stated.
fn layers(list: &mut List<'_>, config: &ModelConfig, facts: &Facts) {
    let activation = |activation| match activation {
        Activation::Gelu => "exact GELU",
        Activation::GeluTanh => "GELU with tanh",
    };
    for (name, width, stored, own) in [
        (
            "hidden width of f_pos and f_ori",
            config.heads.hidden_size,
            facts.f_pos_stored,
            "/heads/hidden_size",
        ),
        ("hidden width of f_cam", config.camera_hidden_size, facts.f_cam_stored, "/camera_hidden_size"),
    ] {
        let value = width.unwrap_or(config.language.hidden_size).to_string();
        if stored {
            list.push(name, value, Origin::Weights);
        } else {
            list.add(name, value, &[own], &[]);
        }
    }
    let heads = activation(config.heads.activation);
    list.add("activation of f_pos and f_ori", heads, &["/heads/activation"], &[]);
    list.add("activation of f_cam", activation(config.camera_activation), &["/camera_activation"], &[]);
    list.push("names of Loc3R's layers", facts.head_names.clone(), Origin::Weights);
}

/// The camera encoder.
fn cut3r(list: &mut List<'_>, config: &ModelConfig) {
    let names = ["gravity", "input of CUT3R", "precision of CUT3R"];
    let Cut3rConfig { image_size: side, resize, encoder_rope, gravity, .. } = match &config.camera {
        CameraEncoderConfig::Cut3r(cut3r) => cut3r,
        CameraEncoderConfig::Odometry(_) => {
            let values = ["levelled depth of the vision tower", "there is no CUT3R", "there is no CUT3R"];
            for (name, value) in names.into_iter().zip(values) {
                list.add(name, value, &["/camera/kind"], &[]);
            }
            return;
        }
        CameraEncoderConfig::None => {
            for name in names {
                list.add(name, "there is no camera encoder", &["/camera/kind"], &[]);
            }
            return;
        }
    };
    let up = match gravity {
        Gravity::MeanCameraUp => "against the mean up of the cameras",
        Gravity::FirstCameraUp => "against the up of the first camera",
    };
    list.add(names[0], up, &["/camera/gravity"], &[]);
    let resize = match resize {
        InputResize::Bilinear => "bilinearly, half-pixel centres",
        InputResize::BilinearCorners => "bilinearly, corners on corners",
    };
    let input = format!("{side} x {side}, from the pixels of the vision tower {resize}");
    list.add(names[1], input, &["/camera/image_size", "/camera/resize"], &[]);
    // Sixteen bits round poses: it computes in f32 whatever the rest is kept in.
    let rope = match encoder_rope {
        RopeDtype::F32 => "f32",
        RopeDtype::F16 => "f32, positions of its encoder in f16",
    };
    list.add(names[2], rope, &["/camera/encoder_rope"], &[]);
}

/// `<Pos>` and `<Ori>` in the prompt.
fn situation_tokens(list: &mut List<'_>, config: &ModelConfig, facts: &Facts) {
    let prompt = &config.prompt;
    let origin = if facts.ids_stored { Origin::Tokenizer } else { Origin::Default };
    list.push("ids of the situation tokens", facts.ids.clone(), origin);
    list.add(
        "text around the situation tokens",
        format!(
            "situation, {:?}, {POSITION_TOKEN}{ORIENTATION_TOKEN}, {:?}, question",
            prompt.before_tokens, prompt.after_tokens
        ),
        &["/prompt/before_tokens", "/prompt/after_tokens"],
        &[],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> Facts {
        Facts {
            f_pos_stored: false,
            f_cam_stored: false,
            head_names: "by name".to_owned(),
            ids: "<Pos> 7, <Ori> 8".to_owned(),
            ids_stored: false,
        }
    }

    fn choice(config: &ModelConfig, json: &Value, name: &str) -> Choice {
        let all = listed(config, json, &facts());
        all.into_iter().find(|choice| choice.name == name).unwrap_or_else(|| panic!("{name} is not listed"))
    }

    fn cut3r_of(config: &mut ModelConfig) -> &mut Cut3rConfig {
        match &mut config.camera {
            CameraEncoderConfig::Cut3r(cut3r) => cut3r,
            other => panic!("{other:?}"),
        }
    }

    /// Every choice, and a change of the configuration that it must show.
    const CHANGES: [(&str, fn(&mut ModelConfig)); 22] = [
        ("bird's-eye axes", |config| config.heads.bev_axes = BevAxes::ForwardLeft),
        ("uncertainty", |config| config.heads.uncertainty = Uncertainty::ExpSigma),
        ("bound of the uncertainty", |config| config.heads.max_log_variance = 4.5),
        ("input of the heads", |config| config.heads.input = HeadInput::LastLayer),
        ("heading bins", |config| config.heads.bin_centers = BinCenters::Whole),
        ("frames that are not square", |config| config.frame_fit = FrameFit::Crop),
        ("pooling", |config| config.pooling.mode = PoolingMode::Average),
        ("pooling", |config| config.pooling.stride = 3),
        ("newlines", |config| config.newline = NewlineMode::OneToken),
        ("camera token", |config| config.camera_place = CameraPlace::Last),
        ("newline behind the camera token", |config| config.camera_newline = true),
        ("hidden width of f_pos and f_ori", |config| config.heads.hidden_size = Some(99)),
        ("hidden width of f_cam", |config| config.camera_hidden_size = Some(99)),
        ("activation of f_pos and f_ori", |config| config.heads.activation = Activation::GeluTanh),
        ("activation of f_cam", |config| config.camera_activation = Activation::GeluTanh),
        ("gravity", |config| cut3r_of(config).gravity = Gravity::FirstCameraUp),
        ("input of CUT3R", |config| cut3r_of(config).image_size = 224),
        ("input of CUT3R", |config| cut3r_of(config).resize = InputResize::BilinearCorners),
        ("precision of CUT3R", |config| cut3r_of(config).encoder_rope = RopeDtype::F16),
        ("text around the situation tokens", |config| config.prompt.before_tokens.clear()),
        ("text around the situation tokens", |config| config.prompt.after_tokens = "\n".to_owned()),
        ("time sentence", |config| config.prompt.add_time_instruction = false),
    ];

    #[test]
    fn a_changed_value_shows_where_it_belongs_and_nowhere_else() {
        let plain = ModelConfig::llava_video_7b();
        let before = listed(&plain, &json!({}), &facts());
        for (name, change) in CHANGES {
            let mut config = plain.clone();
            change(&mut config);
            let after = listed(&config, &json!({}), &facts());
            let shown: Vec<&str> =
                before.iter().zip(&after).filter(|(old, new)| old != new).map(|(_, new)| new.name).collect();
            assert_eq!(shown, [name]);
        }
        // What other files say, and what none can change.
        let elsewhere = ["names of Loc3R's layers", "ids of the situation tokens"];
        let changeable = CHANGES.map(|(name, _)| name);
        for choice in &before {
            let known = changeable.contains(&choice.name) || elsewhere.contains(&choice.name);
            assert!(known || matches!(choice.origin, Origin::Training | Origin::Fixed), "{choice}");
        }
    }

    #[test]
    fn every_value_says_who_chose_it() {
        let config = ModelConfig::llava_video_7b();
        let ours = serde_json::to_value(&config).unwrap();
        for (name, _) in CHANGES.iter().filter(|(name, _)| !name.starts_with("hidden width")) {
            assert_eq!(choice(&config, &json!({}), name).origin, Origin::Default, "{name}");
            // Our own files say everything.
            assert_eq!(choice(&config, &ours, name).origin, Origin::Config, "{name}");
        }
        let origin = |json: Value, name: &str| choice(&config, &json, name).origin;
        let published = json!({"model_type": "llava_qwen", "mm_newline_position": "grid"});
        assert_eq!(origin(published.clone(), "newlines"), Origin::Config);
        assert_eq!(origin(published, "pooling"), Origin::Default);
        // A file that says nothing of the place may still say that there is none.
        let flat = json!({"model_type": "llava_qwen", "mm_patch_merge_type": "flat"});
        assert_eq!(origin(flat, "newlines"), Origin::Config);
        let published = json!({"model_type": "llava_qwen", "loc3r": {"heads": {"bin_centers": "half"}}});
        assert_eq!(origin(published.clone(), "heading bins"), Origin::Config);
        assert_eq!(origin(published, "uncertainty"), Origin::Default);
        let stored = Facts { f_pos_stored: true, ids_stored: true, ..facts() };
        let told = listed(&config, &json!({}), &stored);
        let origin_of =
            |name: &str| told.iter().find(|choice| choice.name == name).map(|choice| choice.origin);
        assert_eq!(origin_of("hidden width of f_pos and f_ori"), Some(Origin::Weights));
        assert_eq!(origin_of("hidden width of f_cam"), Some(Origin::Default));
        assert_eq!(origin_of("ids of the situation tokens"), Some(Origin::Tokenizer));
    }

    #[test]
    fn models_without_cut3r_say_so() {
        let config = ModelConfig::tiny();
        assert_eq!(choice(&config, &json!({}), "input of CUT3R").value, "there is no camera encoder");
        assert_eq!(choice(&config, &json!({}), "camera token").value, "there is none");
        let line = choice(&config, &json!({}), "heading bins").to_string();
        assert_eq!(line, "heading bins: centred at -180° + (b + ½)·10° (default)");
    }
}
