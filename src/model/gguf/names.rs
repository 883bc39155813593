//! What llama.cpp calls the tensors and numbers of a Qwen2 decoder. It turns no rows of
//! queries and keys around for this architecture, as it does for others.

use super::{ARCHITECTURE, GgufFile, Value};
use crate::model::config::Qwen2Config;

/// Key of our `config.json`.
pub(in crate::model) const CONFIG_KEY: &str = "loc3r.config";
/// Key of `tokenizer.json`.
pub(in crate::model) const TOKENIZER_KEY: &str = "loc3r.tokenizer";
/// Key of `generation_config.json`, where there was one.
pub(in crate::model) const GENERATION_KEY: &str = "loc3r.generation";
/// The architecture of files that hold a whole model, and of llama.cpp's.
const ARCHITECTURES: [&str; 2] = ["loc3r", "qwen2"];

/// llama.cpp's name of a part and ours, without number of the layer and `.weight`.
const OUTSIDE: [(&str, &str); 3] =
    [("token_embd.", "model.embed_tokens."), ("output_norm.", "model.norm."), ("output.", "lm_head.")];
/// The same within a layer.
const INSIDE: [(&str, &str); 9] = [
    ("attn_norm.", "input_layernorm."),
    ("ffn_norm.", "post_attention_layernorm."),
    ("attn_q.", "self_attn.q_proj."),
    ("attn_k.", "self_attn.k_proj."),
    ("attn_v.", "self_attn.v_proj."),
    ("attn_output.", "self_attn.o_proj."),
    ("ffn_gate.", "mlp.gate_proj."),
    ("ffn_up.", "mlp.up_proj."),
    ("ffn_down.", "mlp.down_proj."),
];
/// What the names of a layer begin with.
const LAYERS: (&str, &str) = ("blk.", "model.layers.");

/// The network's name of a tensor that llama.cpp names; `None` for other names.
pub(in crate::model) fn network_name(name: &str) -> Option<String> {
    translated(name, LAYERS, |&(theirs, ours)| (theirs, ours))
}

/// llama.cpp's name of a tensor of the network; `None` outside the decoder.
pub(in crate::model) fn gguf_name(name: &str) -> Option<String> {
    translated(name, (LAYERS.1, LAYERS.0), |&(theirs, ours)| (ours, theirs))
}

fn translated(
    name: &str,
    (layers, new_layers): (&str, &str),
    order: impl Fn(&'static (&'static str, &'static str)) -> (&'static str, &'static str),
) -> Option<String> {
    let replaced = |name: &str, table: &'static [(&'static str, &'static str)]| {
        table
            .iter()
            .map(&order)
            .find_map(|(old, new)| name.strip_prefix(old).map(|rest| format!("{new}{rest}")))
    };
    match name.strip_prefix(layers) {
        Some(rest) => {
            let (layer, rest) = rest.split_once('.')?;
            layer.parse::<usize>().ok()?;
            Some(format!("{new_layers}{layer}.{}", replaced(rest, &INSIDE)?))
        }
        None => replaced(name, &OUTSIDE),
    }
}

/// Whether a tensor of the network belongs to the decoder, which a GGUF file brings whole.
pub(in crate::model) fn is_language(name: &str) -> bool {
    ["model.layers.", "model.embed_tokens.", "model.norm.", "lm_head."]
        .iter()
        .any(|part| name.starts_with(part))
}

/// Whether the decoder keeps this tensor of the network in blocks.
pub(in crate::model) fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2 && is_language(name) && name.ends_with(".weight")
}

/// The metadata that tells of a decoder.
pub(in crate::model) fn metadata(config: &Qwen2Config) -> Vec<(&'static str, Value)> {
    let whole = |size: usize| Value::Whole(size as u64);
    vec![
        (ARCHITECTURE, Value::Text(ARCHITECTURES[0].to_owned())),
        ("general.quantization_version", Value::Whole(2)),
        ("qwen2.context_length", whole(config.max_position_embeddings)),
        ("qwen2.embedding_length", whole(config.hidden_size)),
        ("qwen2.block_count", whole(config.num_hidden_layers)),
        ("qwen2.feed_forward_length", whole(config.intermediate_size)),
        ("qwen2.attention.head_count", whole(config.num_attention_heads)),
        ("qwen2.attention.head_count_kv", whole(config.num_key_value_heads)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::Real(config.rms_norm_eps)),
        ("qwen2.rope.freq_base", Value::Real(config.rope_theta)),
    ]
}

/// What shapes do not tell: whether the file's decoder computes as the configuration says.
///
/// # Errors
/// One sentence that names the value.
pub(in crate::model) fn check_decoder(file: &GgufFile, config: &Qwen2Config) -> Result<(), String> {
    let architecture = file.text(ARCHITECTURE).unwrap_or_default();
    if !ARCHITECTURES.contains(&architecture) {
        return Err(format!(
            "{ARCHITECTURE} is {architecture:?}; only the language part of the checkpoint's own kind, \"qwen2\", can be taken"
        ));
    }
    if let Some(Value::Whole(parts @ 2..)) = file.value("split.count") {
        return Err(format!("it is one of {parts} parts; join them with llama-gguf-split --merge"));
    }
    if let Some(scaling) = file.text("qwen2.rope.scaling.type").filter(|&scaling| scaling != "none") {
        return Err(format!("qwen2.rope.scaling.type is {scaling:?}, which this program does not compute"));
    }
    // The context may be cut; quantising changes none of the others.
    let told = metadata(config)
        .into_iter()
        .filter(|(key, _)| key.starts_with("qwen2.") && *key != "qwen2.context_length");
    for (key, wanted) in told {
        let Some(found) = file.value(key) else { continue };
        let is_same = match (found, &wanted) {
            (Value::Real(found), Value::Real(wanted)) => (found / wanted - 1.0).abs() < 1e-5,
            (found, wanted) => found == wanted,
        };
        if !is_same {
            return Err(format!("{key} is {found}, config.json says {wanted}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_llama_cpp_are_those_of_the_network_and_back() {
        for (theirs, ours) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output_norm.weight", "model.norm.weight"),
            ("output.weight", "lm_head.weight"),
            ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
            ("blk.27.attn_q.bias", "model.layers.27.self_attn.q_proj.bias"),
            ("blk.3.attn_output.weight", "model.layers.3.self_attn.o_proj.weight"),
            ("blk.11.ffn_down.weight", "model.layers.11.mlp.down_proj.weight"),
        ] {
            assert_eq!(network_name(theirs).as_deref(), Some(ours));
            assert_eq!(gguf_name(ours).as_deref(), Some(theirs));
        }
        for unknown in
            ["blk.x.attn_q.weight", "blk.1.ffn_gate_exps.weight", "rope_freqs.weight", "model.norm.weight"]
        {
            assert_eq!(network_name(unknown), None, "{unknown}");
        }
        assert_eq!(gguf_name("model.f_cam.0.weight"), None);
    }
}
