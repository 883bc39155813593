//! `config.json` of published models: LLaVA's own (LLaVA-Video, LLaVA-OneVision), and what
//! transformers writes for LLaVA-OneVision.
//!
//! A field that changes what is computed from a video is read, or a value that nothing here
//! computes is refused by name. The object `loc3r` says what no published field does: the
//! choices of Loc3R, under the names of our own `config.json`.

use serde_json::Value;

use super::config::{ModelConfig, NewlineMode, PoolingConfig, PoolingMode, Qwen2Config, SiglipConfig};

/// The class of LLaVA's models on Qwen2.
const LLAVA_QWEN: &str = "LlavaQwenForCausalLM";

/// The vision tower of all these models, by the end of its name.
const TOWER: &str = "siglip-so400m-patch14-384";

/// LLaVA's stride of video, which no field changes.
const STRIDE: usize = 2;

/// Objects of our own `config.json` that published fields say, or training alone.
const NO_CHOICES: [&str; 4] = ["vision", "language", "familiarity", "geometry_cue"];

/// Defaults of transformers' `Qwen2Config`: a field that equals its default is left out.
const QWEN2: Qwen2Config = Qwen2Config {
    vocab_size: 151_936,
    hidden_size: 4096,
    intermediate_size: 22_016,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    rope_theta: 1e4,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: false,
    max_position_embeddings: 32_768,
};

/// Our configuration for a published `config.json`. `stores_output`: whether the folder holds
/// an output layer of its own, which decides where no field says whether it is tied.
///
/// # Errors
/// One sentence: another kind of model, a field that is missing, or a value that is not
/// computed here.
pub(super) fn config_from_published(json: &Value, stores_output: bool) -> Result<ModelConfig, String> {
    let kind = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let classes = json.get("architectures").and_then(Value::as_array);
    let is_qwen = classes.is_some_and(|classes| classes.iter().any(|class| class == LLAVA_QWEN));
    let root = Section { json, at: String::new() };
    if root.field("quantization_config").is_some() {
        return Err("quantization_config: weights quantised so are not read here; take the plain ones, and `loc3r convert --quantize` if they are too large".to_owned());
    }
    let config = match kind {
        "llava_qwen" => llava(&root, stores_output)?,
        // So say the released files of LLaVA-OneVision.
        "llava" if is_qwen => llava(&root, stores_output)?,
        "llava_onevision" => onevision(&root, stores_output)?,
        other => {
            return Err(format!(
                "model_type {other:?} is another network; supported are llava_qwen, llava of the class {LLAVA_QWEN}, llava_onevision and our own config.json"
            ));
        }
    };
    match json.get("loc3r") {
        Some(choices) => with_choices(&config, choices),
        None => Ok(config),
    }
}

/// An object of the file.
struct Section<'a> {
    json: &'a Value,
    /// What stands before its fields in messages.
    at: String,
}

impl<'a> Section<'a> {
    /// An object within this one.
    fn section(&self, name: &str) -> Result<Self, String> {
        let json = self.json.get(name).filter(|json| json.is_object());
        let json = json.ok_or_else(|| format!("{}{name} is missing", self.at))?;
        Ok(Self { json, at: format!("{}{name}.", self.at) })
    }

    /// A field that is there; null is as good as none.
    fn field(&self, name: &str) -> Option<&'a Value> {
        self.json.get(name).filter(|value| !value.is_null())
    }

    /// A field that is there, as what `read` makes of it.
    fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.field(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| format!("{}{name} is {value}, it must be {what}", self.at))
    }

    fn size(&self, name: &str) -> Result<Option<usize>, String> {
        self.read(name, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    /// A size that LLaVA always states.
    fn stated_size(&self, name: &str) -> Result<usize, String> {
        self.size(name)?.ok_or_else(|| format!("{}{name} is missing", self.at))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, String> {
        self.read(name, "a number", Value::as_f64)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        self.read(name, "true or false", Value::as_bool)
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.read(name, "a text", Value::as_str)
    }

    /// Refuses all values of a field but the one that is computed.
    fn only(&self, name: &str, computed: impl Into<Value>, remedy: &str) -> Result<(), String> {
        let computed = computed.into();
        match self.field(name) {
            Some(value) if *value != computed => {
                Err(format!("{}{name} is {value}, but only {computed} is computed here; {remedy}", self.at))
            }
            _ => Ok(()),
        }
    }

    fn unknown(&self, name: &str, value: &str, known: &str) -> String {
        format!("{}{name} {value:?} is not known; known are {known}", self.at)
    }
}

/// Remedy for networks that are built otherwise.
const OTHER_WEIGHTS: &str = "take another checkpoint";

/// LLaVA's own file. How single pictures are cut (`image_aspect_ratio` and its relatives) says
/// nothing of video frames, which are always squashed; how frames are drawn (`force_sample`) is
/// an argument of LLaVA's programs, and the paper spreads 32 evenly.
fn llava(root: &Section<'_>, stores_output: bool) -> Result<ModelConfig, String> {
    check_llava(root)?;
    let mut language = Qwen2Config {
        vocab_size: root.stated_size("vocab_size")?,
        hidden_size: root.stated_size("hidden_size")?,
        intermediate_size: root.stated_size("intermediate_size")?,
        num_hidden_layers: root.stated_size("num_hidden_layers")?,
        num_attention_heads: root.stated_size("num_attention_heads")?,
        num_key_value_heads: root.stated_size("num_key_value_heads")?,
        max_position_embeddings: root.stated_size("max_position_embeddings")?,
        ..decoder(root, root.flag("tie_word_embeddings")?, stores_output)?
    };
    // LLaVA cuts longer sequences off; here they are refused.
    if let Some(longest) = root.size("tokenizer_model_max_length")? {
        language.max_position_embeddings = language.max_position_embeddings.min(longest);
    }
    let mut config = ModelConfig {
        name: name(root, "loc3r-vlm")?,
        newline: newline(root)?,
        pooling: PoolingConfig { mode: pooling_mode(root)?, stride: STRIDE },
        language,
        ..ModelConfig::llava_video_7b()
    };
    if let Some(told) = root.flag("add_time_instruction")? {
        config.prompt.add_time_instruction = told;
    }
    Ok(config)
}

/// Refuses what LLaVA would compute and this program does not, and values that LLaVA itself
/// passes over: who wrote them expects other numbers than LLaVA's.
fn check_llava(root: &Section<'_>) -> Result<(), String> {
    let tower = root.text("mm_vision_tower")?.unwrap_or(TOWER);
    if !tower.trim_end_matches('/').ends_with(TOWER) {
        return Err(format!(
            "mm_vision_tower is {tower:?}, but only google/{TOWER} is computed here; {OTHER_WEIGHTS}"
        ));
    }
    root.only(
        "mm_vision_select_layer",
        -2,
        "LLaVA leaves out the last layer of this tower whatever stands here: write -2",
    )?;
    root.only(
        "mm_vision_select_feature",
        "patch",
        "this tower has no other features, and LLaVA takes these whatever stands here: write \"patch\"",
    )?;
    root.only(
        "mm_spatial_pool_stride",
        STRIDE,
        "LLaVA pools video by 2 whatever stands here: write 2, and say loc3r.pooling.stride for another",
    )?;
    let width = SiglipConfig::so400m().hidden_size;
    root.only("mm_hidden_size", width, OTHER_WEIGHTS)?;
    root.only("mm_projector_type", "mlp2x_gelu", OTHER_WEIGHTS)?;
    root.only("mm_resampler_type", Value::Null, OTHER_WEIGHTS)?;
    root.only("add_faster_video", false, "frames of two speeds were trained in: take another checkpoint")?;
    root.only("mm_use_im_start_end", false, OTHER_WEIGHTS)
}

fn newline(root: &Section<'_>) -> Result<NewlineMode, String> {
    let position = match root.text("mm_newline_position")? {
        Some("grid") => NewlineMode::Grid,
        Some("frame") => NewlineMode::Frame,
        Some("no_token") => NewlineMode::NoToken,
        Some("one_token") | None => NewlineMode::OneToken,
        Some(other) => {
            return Err(root.unknown("mm_newline_position", other, "grid, frame, one_token, no_token"));
        }
    };
    match root.text("mm_patch_merge_type")? {
        // Every published file states it; without, the vector that they all have is used.
        Some("spatial_unpad") | None => Ok(position),
        Some("flat") => Ok(NewlineMode::NoToken),
        Some("spatial") if matches!(position, NewlineMode::OneToken | NewlineMode::NoToken) => {
            Ok(NewlineMode::NoToken)
        }
        Some("spatial") => Err("mm_patch_merge_type \"spatial\" has no newline vector, but mm_newline_position wants one; write \"spatial_unpad\" if the weights hold model.image_newline".to_owned()),
        Some(other) => Err(root.unknown("mm_patch_merge_type", other, "spatial_unpad, spatial, flat")),
    }
}

fn pooling_mode(root: &Section<'_>) -> Result<PoolingMode, String> {
    match root.text("mm_spatial_pool_mode")? {
        Some("average") => Ok(PoolingMode::Average),
        Some("max") => Ok(PoolingMode::Max),
        Some("bilinear") | None => Ok(PoolingMode::Bilinear),
        Some(other) => Err(root.unknown("mm_spatial_pool_mode", other, "bilinear, average, max")),
    }
}

/// What transformers writes: `text_config` and `vision_config` within. It pools video
/// bilinearly by 2 and puts one newline behind it.
fn onevision(root: &Section<'_>, stores_output: bool) -> Result<ModelConfig, String> {
    root.only("projector_hidden_act", "gelu", OTHER_WEIGHTS)?;
    root.only("multimodal_projector_bias", true, OTHER_WEIGHTS)?;
    root.only(
        "vision_feature_select_strategy",
        "full",
        "this tower has no class token to leave out: write \"full\"",
    )?;
    root.only("use_image_newline_parameter", true, OTHER_WEIGHTS)?;
    let (text, vision) = (root.section("text_config")?, root.section("vision_config")?);
    text.only("model_type", "qwen2", OTHER_WEIGHTS)?;
    // The decoder's own word counts, as it does in transformers.
    let tied = text.flag("tie_word_embeddings")?.or(root.flag("tie_word_embeddings")?);
    let size = |name: &str, default: usize| Ok::<_, String>(text.size(name)?.unwrap_or(default));
    let language = Qwen2Config {
        vocab_size: size("vocab_size", QWEN2.vocab_size)?,
        hidden_size: size("hidden_size", QWEN2.hidden_size)?,
        intermediate_size: size("intermediate_size", QWEN2.intermediate_size)?,
        num_hidden_layers: size("num_hidden_layers", QWEN2.num_hidden_layers)?,
        num_attention_heads: size("num_attention_heads", QWEN2.num_attention_heads)?,
        num_key_value_heads: size("num_key_value_heads", QWEN2.num_key_value_heads)?,
        max_position_embeddings: size("max_position_embeddings", QWEN2.max_position_embeddings)?,
        ..decoder(&text, tied, stores_output)?
    };
    Ok(ModelConfig {
        name: name(root, "llava-onevision")?,
        vision: tower(root, &vision)?,
        newline: NewlineMode::OneToken,
        pooling: PoolingConfig { mode: PoolingMode::Bilinear, stride: STRIDE },
        language,
        ..ModelConfig::llava_video_7b()
    })
}

/// The vision tower as transformers describes it; defaults of its `SiglipVisionConfig`.
fn tower(root: &Section<'_>, vision: &Section<'_>) -> Result<SiglipConfig, String> {
    vision.only("model_type", "siglip_vision_model", OTHER_WEIGHTS)?;
    vision.only("hidden_act", "gelu_pytorch_tanh", OTHER_WEIGHTS)?;
    vision.only("num_channels", 3, OTHER_WEIGHTS)?;
    let size = |name: &str, default: usize| Ok::<_, String>(vision.size(name)?.unwrap_or(default));
    let one_layer = |value: &Value| i32::try_from(value.as_i64()?).ok().filter(|&layer| layer < 0);
    Ok(SiglipConfig {
        hidden_size: size("hidden_size", 768)?,
        num_hidden_layers: size("num_hidden_layers", 12)?,
        select_layer: root
            .read("vision_feature_layer", "one layer, counted from the end (-1)", one_layer)?
            .unwrap_or(-1),
        num_attention_heads: size("num_attention_heads", 12)?,
        intermediate_size: size("intermediate_size", 3072)?,
        image_size: size("image_size", 224)?,
        patch_size: size("patch_size", 16)?,
        layer_norm_eps: vision.number("layer_norm_eps")?.unwrap_or(1e-6),
    })
}

/// What both kinds of files say of the decoder in the same way; sizes are transformers'
/// defaults. `tied`: what the file says of its output layer.
fn decoder(section: &Section<'_>, tied: Option<bool>, stores_output: bool) -> Result<Qwen2Config, String> {
    section.only("hidden_act", "silu", OTHER_WEIGHTS)?;
    section.only(
        "use_sliding_window",
        false,
        "every token looks at all before it here: take another checkpoint",
    )?;
    Ok(Qwen2Config {
        rope_theta: rope_theta(section)?,
        rms_norm_eps: section.number("rms_norm_eps")?.unwrap_or(QWEN2.rms_norm_eps),
        tie_word_embeddings: tied.unwrap_or(!stores_output),
        ..QWEN2
    })
}

/// Base of the rotary embedding, a field of its own or, since transformers 5, in
/// `rope_parameters`.
fn rope_theta(section: &Section<'_>) -> Result<f64, String> {
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = section.field(name) else { continue };
        let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str);
        if kind != Some("default") {
            return Err(format!(
                "{}{name} is {rope}, but only plain rotary positions are computed here; {OTHER_WEIGHTS}",
                section.at
            ));
        }
    }
    let within = section.field("rope_parameters").and_then(|rope| rope.get("rope_theta")?.as_f64());
    Ok(section.number("rope_theta")?.or(within).unwrap_or(QWEN2.rope_theta))
}

fn name(root: &Section<'_>, default: &str) -> Result<String, String> {
    Ok(root.text("_name_or_path")?.filter(|name| !name.is_empty()).unwrap_or(default).to_owned())
}

/// `config` with the fields of the object `loc3r` in place of its own.
fn with_choices(config: &ModelConfig, choices: &Value) -> Result<ModelConfig, String> {
    let Some(fields) = choices.as_object() else {
        return Err("loc3r must be an object".to_owned());
    };
    if let Some(name) = NO_CHOICES.into_iter().find(|name| fields.contains_key(*name)) {
        return Err(format!(
            "loc3r.{name} is no choice of Loc3R; leave it out and change the published fields"
        ));
    }
    let wrong = |error: serde_json::Error| format!("loc3r: {error}");
    let mut merged = serde_json::to_value(config).map_err(wrong)?;
    merge(&mut merged, choices);
    serde_json::from_value(merged).map_err(wrong)
}

/// Puts `choice` in place of `value`, objects field by field; one of another `kind` replaces the
/// whole.
fn merge(value: &mut Value, choice: &Value) {
    let is_other_kind = choice.get("kind").is_some_and(|kind| value.get("kind") != Some(kind));
    match (value, choice) {
        (Value::Object(fields), Value::Object(choices)) if !is_other_kind => {
            for (name, choice) in choices {
                merge(fields.entry(name.as_str()).or_insert(Value::Null), choice);
            }
        }
        (value, choice) => *value = choice.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{BinCenters, CameraEncoderConfig};
    use crate::model::cut3r::Gravity;
    use serde_json::json;

    /// LLaVA-Video-7B-Qwen2, as far as model-spec 2.5 knows its file.
    fn llava_video() -> Value {
        json!({
            "architectures": ["LlavaQwenForCausalLM"], "model_type": "llava_qwen", "vocab_size": 152_064,
            "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_act": "silu",
            "rope_scaling": null, "rope_theta": 1e6, "rms_norm_eps": 1e-6, "sliding_window": 131_072,
            "use_sliding_window": false, "tie_word_embeddings": false, "max_position_embeddings": 32768,
            "tokenizer_model_max_length": 32768, "torch_dtype": "bfloat16",
            "mm_vision_tower": "google/siglip-so400m-patch14-384", "mm_hidden_size": 1152,
            "mm_projector_type": "mlp2x_gelu", "mm_resampler_type": null, "mm_vision_select_layer": -2,
            "mm_vision_select_feature": "patch", "mm_patch_merge_type": "spatial_unpad",
            "mm_newline_position": "grid", "mm_spatial_pool_mode": "bilinear", "mm_spatial_pool_stride": 2,
            "mm_use_im_start_end": false, "mm_use_im_patch_token": false, "use_mm_proj": true,
            "image_aspect_ratio": "anyres_max_9", "image_grid_pinpoints": [[384, 384], [384, 768]],
            "add_time_instruction": true, "force_sample": true, "add_faster_video": false,
            "faster_token_stride": 10,
        })
    }

    /// llava-onevision-qwen2-0.5b-ov-hf: what equals a default of transformers is left out.
    fn onevision() -> Value {
        json!({
            "architectures": ["LlavaOnevisionForConditionalGeneration"], "model_type": "llava_onevision",
            "image_grid_pinpoints": [[384, 384], [384, 768]], "image_token_index": 151_646,
            "video_token_index": 151_647, "projector_hidden_act": "gelu", "tie_word_embeddings": false,
            "torch_dtype": "float16", "use_image_newline_parameter": true,
            "vision_aspect_ratio": "anyres_max_9", "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "text_config": {
                "_name_or_path": "Qwen/Qwen2-0.5B-Instruct", "architectures": ["Qwen2ForCausalLM"],
                "bos_token_id": 151_643, "eos_token_id": 151_645, "hidden_size": 896,
                "intermediate_size": 4864, "max_window_layers": 24, "model_type": "qwen2",
                "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
                "rope_theta": 1e6, "tie_word_embeddings": true, "vocab_size": 152_000,
            },
            "vision_config": {
                "hidden_size": 1152, "image_size": 384, "intermediate_size": 4304,
                "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 26,
                "patch_size": 14, "vision_use_head": false,
            },
        })
    }

    fn with(mut json: Value, at: &str, value: Value) -> Value {
        match at.rsplit_once('/') {
            Some((section, name)) => json.pointer_mut(section).unwrap()[name] = value,
            None => json[at] = value,
        }
        json
    }

    fn read(json: &Value) -> ModelConfig {
        let config = config_from_published(json, true).unwrap();
        config.validate().unwrap();
        config
    }

    fn refused(json: &Value) -> String {
        config_from_published(json, true).unwrap_err()
    }

    #[test]
    fn the_published_config_is_understood() {
        let json = json!({
            "model_type": "llava_qwen", "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "rope_theta": 1e6,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "max_position_embeddings": 32768,
            "mm_newline_position": "grid", "mm_spatial_pool_mode": "average", "add_time_instruction": false,
        });
        let config = read(&json);
        assert_eq!(config.language, Qwen2Config::published_7b());
        assert_eq!((config.newline, config.pooling.mode), (NewlineMode::Grid, PoolingMode::Average));
        assert!(!config.prompt.add_time_instruction);
        assert!(refused(&json!({"model_type": "llama"})).contains("llama"));
        assert!(refused(&json!({"model_type": "llava_qwen"})).contains("vocab_size"));
    }

    #[test]
    fn the_whole_file_of_llava_video_is_our_preset() {
        let expected = ModelConfig { name: "loc3r-vlm".to_owned(), ..ModelConfig::llava_video_7b() };
        assert_eq!(read(&llava_video()), expected);
        // Released files of LLaVA-OneVision call the same class llava.
        assert_eq!(read(&with(llava_video(), "model_type", json!("llava"))), expected);
        let other = with(llava_video(), "model_type", json!("llava"));
        assert!(refused(&with(other, "architectures", json!(["LlavaLlamaForCausalLM"]))).contains("llava"));
    }

    #[test]
    fn what_transformers_writes_for_onevision_is_understood() {
        let config = read(&onevision());
        let preset = ModelConfig::onevision_05b();
        assert_eq!(config.language, Qwen2Config { vocab_size: 152_000, ..preset.language.clone() });
        // The last layer is gone from these files.
        assert_eq!((config.vision.num_hidden_layers, config.vision.layers()), (26, 26));
        let same = SiglipConfig { num_hidden_layers: 27, select_layer: -2, ..config.vision.clone() };
        assert_eq!(same, preset.vision);
        assert_eq!(
            config,
            ModelConfig {
                name: "llava-onevision".to_owned(),
                vision: config.vision.clone(),
                newline: NewlineMode::OneToken,
                language: config.language.clone(),
                ..preset
            }
        );
        let message = refused(&with(onevision(), "model_type", json!("llava_next_video")));
        assert!(message.contains("llava_next_video") && message.contains("llava_onevision"), "{message}");
        let message = refused(&with(onevision(), "text_config", Value::Null));
        assert!(message.contains("text_config is missing"), "{message}");
    }

    #[test]
    fn fields_that_transformers_leaves_out_have_its_defaults() {
        let json = json!({"model_type": "llava_onevision", "text_config": {}, "vision_config": {}});
        let config = config_from_published(&json, true).unwrap();
        assert_eq!(config.language, QWEN2);
        assert_eq!((config.vision.hidden_size, config.vision.grid(), config.vision.layers()), (768, 14, 12));
        // transformers 5 keeps the base of the rotary embedding in an object.
        let rope = json!({"rope_type": "default", "rope_theta": 5e5});
        let json = with(json, "/text_config/rope_parameters", rope);
        assert_eq!(config_from_published(&json, true).unwrap().language.rope_theta, 5e5);
    }

    #[test]
    fn output_layers_are_tied_as_told_and_else_as_stored() {
        let tied = |json: &Value, stores_output| {
            config_from_published(json, stores_output).unwrap().language.tie_word_embeddings
        };
        let untold = with(llava_video(), "tie_word_embeddings", Value::Null);
        assert!(!tied(&untold, true) && tied(&untold, false));
        for told in [true, false] {
            let told_so = with(llava_video(), "tie_word_embeddings", json!(told));
            assert_eq!((tied(&told_so, true), tied(&told_so, false)), (told, told));
        }
        // The decoder's own word before that of the whole.
        assert!(tied(&onevision(), true));
        let json = with(onevision(), "/text_config/tie_word_embeddings", Value::Null);
        assert!(!tied(&json, false));
        assert!(tied(&with(json, "tie_word_embeddings", Value::Null), false));
    }

    #[test]
    fn values_that_are_not_computed_are_refused_by_name() {
        for (at, value) in [
            ("mm_vision_tower", json!("openai/clip-vit-large-patch14-336")),
            ("mm_hidden_size", json!(1024)),
            ("mm_projector_type", json!("linear")),
            ("mm_resampler_type", json!("spatial_pool")),
            ("mm_vision_select_layer", json!(-1)),
            ("mm_vision_select_feature", json!("cls_patch")),
            ("mm_spatial_pool_stride", json!(4)),
            ("mm_spatial_pool_mode", json!("median")),
            ("mm_newline_position", json!("column")),
            ("mm_patch_merge_type", json!("spatial_maxpool2x2")),
            ("add_faster_video", json!(true)),
            ("mm_use_im_start_end", json!(true)),
            ("hidden_act", json!("gelu")),
            ("use_sliding_window", json!(true)),
            ("rope_scaling", json!({"type": "linear", "factor": 2.0})),
            ("rope_theta", json!("large")),
            ("quantization_config", json!({"quant_method": "awq"})),
        ] {
            let message = refused(&with(llava_video(), at, value));
            assert!(message.contains(at), "{at}: {message}");
        }
        for (at, value) in [
            ("projector_hidden_act", json!("relu")),
            ("multimodal_projector_bias", json!(false)),
            ("vision_feature_layer", json!([-2, -1])),
            ("vision_feature_select_strategy", json!("default")),
            ("/text_config/model_type", json!("llama")),
            ("/text_config/hidden_act", json!("gelu")),
            ("/text_config/hidden_size", json!(-896)),
            ("/vision_config/model_type", json!("clip_vision_model")),
            ("/vision_config/hidden_act", json!("quick_gelu")),
        ] {
            let message = refused(&with(onevision(), at, value));
            let name = at.trim_start_matches('/').replace('/', ".");
            assert!(message.contains(&name), "{name}: {message}");
        }
    }

    #[test]
    fn newlines_are_where_llava_puts_them() {
        let newline = |merge: &str, position: &str| {
            let json = with(llava_video(), "mm_patch_merge_type", json!(merge));
            config_from_published(&with(json, "mm_newline_position", json!(position)), true)
                .map(|config| config.newline)
        };
        assert_eq!(newline("spatial_unpad", "frame"), Ok(NewlineMode::Frame));
        assert_eq!(newline("flat", "grid"), Ok(NewlineMode::NoToken));
        assert_eq!(newline("spatial", "one_token"), Ok(NewlineMode::NoToken));
        assert!(newline("spatial", "grid").unwrap_err().contains("mm_patch_merge_type"));
        let json = with(llava_video(), "mm_newline_position", Value::Null);
        assert_eq!(read(&json).newline, NewlineMode::OneToken);
    }

    #[test]
    fn sequences_are_no_longer_than_the_shorter_limit() {
        let json = with(llava_video(), "tokenizer_model_max_length", json!(8192));
        assert_eq!(read(&json).language.max_position_embeddings, 8192);
    }

    #[test]
    fn the_object_loc3r_sets_choices_and_nothing_else() {
        let choose = |choices: Value| with(llava_video(), "loc3r", choices);
        let config = read(&choose(json!({
            "newline": "frame", "camera_place": "last", "heads": {"bin_centers": "whole", "hidden_size": 512},
            "camera": {"gravity": "first_camera_up"}, "prompt": {"open_hint": ""}, "pooling": {"stride": 3},
        })));
        let mut expected = ModelConfig { name: "loc3r-vlm".to_owned(), ..ModelConfig::llava_video_7b() };
        expected.newline = NewlineMode::Frame;
        expected.camera_place = crate::model::config::CameraPlace::Last;
        expected.heads.bin_centers = BinCenters::Whole;
        expected.heads.hidden_size = Some(512);
        expected.prompt.open_hint = String::new();
        expected.pooling.stride = 3;
        let CameraEncoderConfig::Cut3r(cut3r) = &mut expected.camera else { panic!("no CUT3R") };
        cut3r.gravity = Gravity::FirstCameraUp;
        assert_eq!(config, expected);

        let without = read(&choose(json!({"camera": {"kind": "none"}, "camera_token_dim": 0})));
        assert_eq!((without.camera.clone(), without.camera_token_dim), (CameraEncoderConfig::None, 0));

        for (choices, name) in [
            (json!({"bin_centres": "whole"}), "bin_centres"),
            (json!({"heads": {"clamp": 3}}), "clamp"),
            (json!({"camera": {"up": "mean"}}), "`up`"),
            (json!({"heads": {"bin_centers": "third"}}), "third"),
            (json!({"language": {"hidden_size": 8}}), "loc3r.language"),
            (json!(3), "loc3r"),
        ] {
            let message = refused(&choose(choices));
            assert!(message.contains("loc3r") && message.contains(name), "{name}: {message}");
        }
    }
}
