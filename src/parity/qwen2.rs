//! The language model: one pass, reuse of a prefix, greedy decoding.

use candle_core::{Device, Tensor};

use super::{Fixture, ParityError};
use crate::model::config::Qwen2Config;
use crate::model::qwen2::{KvCache, PassOptions, Qwen2};

/// The configuration at a pointer below `config`.
pub(super) fn config(fixture: &Fixture, at: &str) -> Result<Qwen2Config, ParityError> {
    let size = |name: &str| fixture.size(&format!("{at}{name}"));
    let tied = fixture.fact(&format!("/config/{at}tie_word_embeddings"))?.as_bool();
    Ok(Qwen2Config {
        vocab_size: size("vocab_size")?,
        hidden_size: size("hidden_size")?,
        intermediate_size: size("intermediate_size")?,
        num_hidden_layers: size("num_hidden_layers")?,
        num_attention_heads: size("num_attention_heads")?,
        num_key_value_heads: size("num_key_value_heads")?,
        rope_theta: fixture.number_or(&format!("{at}rope_theta"), 1e6),
        rms_norm_eps: fixture.number_or(&format!("{at}rms_norm_eps"), 1e-6),
        tie_word_embeddings: tied.unwrap_or_default(),
        max_position_embeddings: 32_768,
    })
}

/// Embeddings of token ids, (1, T, h).
pub(super) fn embed(fixture: &Fixture, model: &Qwen2, ids: &[i64]) -> Result<Tensor, ParityError> {
    let ids: Vec<u32> = ids
        .iter()
        .map(|&id| u32::try_from(id).map_err(|_negative| fixture.wrong(format!("{id} is no token id"))))
        .collect::<Result<_, _>>()?;
    Ok(model.embed(&Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu)?)?)
}

pub(super) fn run(fixture: &mut Fixture) -> Result<(), ParityError> {
    fixture.read("io.safetensors")?;
    let weights = fixture.weights()?;
    let model = Qwen2::new(&config(fixture, "")?, &weights.pp("model"), &weights)?;
    let prompt = fixture.ids("input_ids")?;
    let embeds = embed(fixture, &model, &prompt)?;

    for layer in [0, 1] {
        let options = PassOptions { taps: &[layer + 1], ..PassOptions::default() };
        let hidden = model.forward_with(&embeds, &mut KvCache::new(), options)?;
        if let Some(tapped) = hidden.tapped.first() {
            fixture.compare(&format!("ids.layer{layer}_out"), tapped)?;
        }
    }
    let mut cache = KvCache::new();
    let hidden = model.forward_embeds(&embeds, &mut cache)?;
    fixture.compare("ids.last_hidden", &hidden)?;
    fixture.compare("ids.logits", &model.logits(&hidden)?)?;
    if let Some((keys, values)) = cache.layer(0) {
        fixture.compare("ids.layer0_k", keys)?;
        fixture.compare("ids.layer0_v", values)?;
    }
    let logits = greedy(fixture, "greedy_ids", &model, &hidden, &mut cache)?;
    fixture.compare("greedy_logits", &logits)?;

    let mut cache = KvCache::new();
    let hidden = model.forward_embeds(&fixture.tensor("inputs_embeds")?, &mut cache)?;
    fixture.compare("embeds.last_hidden", &hidden)?;
    fixture.compare("embeds.logits", &model.logits(&hidden)?)?;
    let logits = greedy(fixture, "embeds.greedy_ids", &model, &hidden, &mut cache)?;
    fixture.compare("embeds.greedy_logits", &logits)?;
    split(fixture, &model, &embeds)
}

/// The prompt in two passes, the second one on the cache of the first.
fn split(fixture: &mut Fixture, model: &Qwen2, embeds: &Tensor) -> Result<(), ParityError> {
    let rows = embeds.dim(1)?;
    let prefix = fixture.fact("/split_prefix_len")?.as_u64().unwrap_or_default() as usize;
    if prefix == 0 || prefix >= rows {
        return Err(fixture.wrong(format!("split_prefix_len must be 1 to {}", rows - 1)));
    }
    let mut cache = KvCache::new();
    for (name, start, len) in
        [("split.prefix_logits", 0, prefix), ("split.suffix_logits", prefix, rows - prefix)]
    {
        let hidden = model.forward_embeds(&embeds.narrow(1, start, len)?, &mut cache)?;
        fixture.compare(name, &model.logits(&hidden)?)?;
    }
    Ok(())
}

/// Decodes as many tokens as are stored under `name`, compares them, and gives the logits
/// that each was chosen from.
pub(super) fn greedy(
    fixture: &mut Fixture,
    name: &str,
    model: &Qwen2,
    hidden: &Tensor,
    cache: &mut KvCache,
) -> Result<Tensor, ParityError> {
    let mut hidden = hidden.narrow(1, hidden.dim(1)? - 1, 1)?;
    let (mut rows, mut chosen) = (Vec::new(), Vec::new());
    for _ in 0..fixture.ids(name)?.len() {
        let row = model.logits(&hidden)?.flatten_all()?;
        let next = row.argmax(0)?.to_scalar::<u32>()?;
        rows.push(row);
        chosen.push(i64::from(next));
        hidden = model.forward_embeds(&embed(fixture, model, &[i64::from(next)])?, cache)?;
    }
    fixture.compare_ids(name, &chosen)?;
    Ok(Tensor::stack(&rows, 0)?)
}
