//! The decoder over more rows than one pass takes: chunk by chunk, with a look up between layers.

use candle_core::Tensor;

use super::ModelError;
use super::qwen2::{HiddenStates, KvCache, PassOptions, Qwen2};

/// Rows of one chunk: bounds the memory of attention.
pub const PREFILL_CHUNK: usize = 512;

/// Hears how many rows are done: between layers, where the rows of a chunk count by the share of
/// the layers behind them, and with the hidden rows of every finished chunk. An error ends the work.
pub(super) type Told<'a> = &'a mut dyn FnMut(usize, Option<&HiddenStates>) -> Result<(), ModelError>;

/// Continues `cache` by embeddings (1, T, h), `chunk` rows at a time whatever came before, so that
/// every run is the same. Cuts the autograd graph.
///
/// # Errors
/// Those of `told`, and when a computation fails; the cache is of no use then.
pub(super) fn prefill(
    language: &Qwen2,
    embeds: &Tensor,
    cache: &mut KvCache,
    chunk: usize,
    told: Told<'_>,
) -> Result<(), ModelError> {
    let (total, depth) = (embeds.dim(1)?, language.depth().max(1));
    let chunk = chunk.max(1);
    for start in (0..total).step_by(chunk) {
        let rows = chunk.min(total - start);
        let part = embeds.narrow(1, start, rows)?.contiguous()?;
        let mut between = |layer: usize| told(start + rows * layer / depth, None);
        let hidden = language.forward_told(&part, cache, PassOptions::default(), &mut between)?;
        *cache = cache.detach();
        told(start + rows, Some(&hidden))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::{ModelConfig, SeededVariables};

    /// A decoder, and embeddings of `rows` words.
    fn decoder(rows: u32) -> (Qwen2, Tensor) {
        let root = SeededVariables::new(8).builder(DType::F32, &Device::Cpu);
        let decoder = Qwen2::new(&ModelConfig::tiny().language, &root.pp("model"), &root).unwrap();
        let words: Vec<u32> = (0..rows).map(|row| row * 37 % 500).collect();
        let words = Tensor::from_vec(words, (1, rows as usize), &Device::Cpu).unwrap();
        let embeds = decoder.embed(&words).unwrap();
        (decoder, embeds)
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn chunks_of_any_length_give_the_rows_and_keys_of_one_pass() {
        for (rows, chunks) in [(23, vec![1, 5, 7, 22, 23]), (600, vec![PREFILL_CHUNK])] {
            let (decoder, embeds) = decoder(rows);
            let mut whole = KvCache::new();
            let expected = decoder.forward_embeds(&embeds, &mut whole).unwrap();
            for chunk in chunks {
                let (mut cache, mut parts, mut ends) = (KvCache::new(), Vec::new(), Vec::new());
                prefill(&decoder, &embeds, &mut cache, chunk, &mut |done, hidden| {
                    if let Some(hidden) = hidden {
                        parts.push(hidden.last.clone());
                        ends.push(done);
                    }
                    Ok(())
                })
                .unwrap();
                let rows = rows as usize;
                let expected_ends: Vec<usize> =
                    (1..=rows.div_ceil(chunk)).map(|n| rows.min(n * chunk)).collect();
                assert_eq!(ends, expected_ends);
                let found = Tensor::cat(&parts, 1).unwrap();
                assert!(apart(&found, &expected) < 2e-5, "chunks of {chunk}: {}", apart(&found, &expected));
                assert_eq!(cache.len(), rows);
                for layer in 0..decoder.depth() {
                    let ((keys, values), (k, v)) = (cache.layer(layer).unwrap(), whole.layer(layer).unwrap());
                    assert!(apart(keys, k) < 2e-5 && apart(values, v) < 2e-5, "chunks of {chunk}");
                }
            }
        }
    }

    #[test]
    fn it_can_be_stopped_between_layers_and_between_chunks() {
        let (decoder, embeds) = decoder(8);
        let steps = |last: usize| {
            let mut steps = Vec::new();
            let result = prefill(&decoder, &embeds, &mut KvCache::new(), 4, &mut |done, hidden| {
                steps.push((done, hidden.is_some()));
                if steps.len() > last { Err(ModelError::Cancelled) } else { Ok(()) }
            });
            assert_eq!(matches!(result, Err(ModelError::Cancelled)), last < 6);
            steps
        };
        // Two layers, two chunks.
        let all = [(0, false), (2, false), (4, true), (4, false), (6, false), (8, true)];
        for last in 0..=6 {
            assert_eq!(steps(last), all[..all.len().min(last + 1)]);
        }
    }
}
