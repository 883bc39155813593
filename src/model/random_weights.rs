//! Random weights at any size, as checkpoints and as quantised matrices: what a model takes can
//! be tried before its weights are at hand.
//!
//! Tensors of a checkpoint are drawn while they are written, so that 15 GB need no memory.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use half::{bf16, f16};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, View};

use super::checkpoint::{TOKENIZER_FILE, WEIGHTS_FILE, check_new, write_config};
use super::config::Qwen2Config;
use super::network::{CAMERA_PREFIX, fnv1a};
use super::number_type::blocks;
use super::quantize::Quantization;
use super::quantized::{QuantizedSource, packed_bytes};
use super::qwen2::Qwen2;
use super::tokenizer::TextTokenizer;
use super::{ModelConfig, ModelError, Network, NumberType, camera};

/// Shown beside every answer of such a model.
pub(super) const NOTICE: &str = "random weights";
/// Spread of weights that a layer gives no hint for.
const SPREAD: f32 = 0.02;
/// Numbers drawn from one stream.
const STRETCH: usize = 1 << 16;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomCheckpoint {
    /// Tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes of the weight file.
    pub bytes: u64,
}

/// Writes a checkpoint of random weights, stored as `dtype`, to the new folder `to`. The
/// tokenizer knows a few words. `progress` hears how many tensors of how many are written.
///
/// # Errors
/// When the configuration is impossible, the folder holds a checkpoint already, or a file
/// cannot be written.
pub fn write_random(
    config: &ModelConfig,
    to: &Path,
    dtype: DType,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> std::result::Result<RandomCheckpoint, ModelError> {
    config.validate().map_err(|reason| ModelError::Config { path: config.name.clone().into(), reason })?;
    let failed = |reason: String| ModelError::Write { path: to.to_owned(), reason };
    check_new(to)?;
    let census = Census::default();
    let root = VarBuilder::from_backend(Box::new(census.clone()), DType::F32, Device::Cpu);
    Network::new(config, &root)?;
    drop(camera::build(config, root.pp(CAMERA_PREFIX))?);
    let wanted = census.0.lock().unwrap_or_else(PoisonError::into_inner).clone();

    std::fs::create_dir_all(to).map_err(|error| failed(error.to_string()))?;
    let tokenizer = stand_in_tokenizer(config)?;
    tokenizer.save(&to.join(TOKENIZER_FILE))?;
    let mut config = config.clone();
    NOTICE.clone_into(&mut config.notice);
    config.tokenizer_entries = tokenizer.entries();
    let total = wanted.len();
    let (done, progress) = (Cell::new(0), RefCell::new(progress));
    let tensors = wanted.iter().map(|(name, (shape, init))| {
        let told = || {
            done.set(done.get() + 1);
            (progress.borrow_mut())(done.get(), total);
        };
        (name, Drawn { shape: shape.dims(), init: *init, dtype, seed: seed ^ fnv1a(name), told })
    });
    let (path, partial) = (to.join(WEIGHTS_FILE), to.join(format!("{WEIGHTS_FILE}.partial")));
    safetensors::serialize_to_file(tensors, None, &partial).map_err(|error| failed(error.to_string()))?;
    std::fs::rename(&partial, &path).map_err(|error| failed(error.to_string()))?;
    write_config(to, &config)?;
    let bytes = std::fs::metadata(&path).map_err(|error| failed(error.to_string()))?.len();
    let parameters = wanted.values().map(|(shape, _)| shape.elem_count() as u64).sum();
    Ok(RandomCheckpoint { tensors: total, parameters, bytes })
}

/// Matrices of random numbers in quantised blocks, to measure with: some rows of them, repeated.
#[derive(Debug, Clone, Copy)]
pub struct RandomBlocks(pub Quantization);

impl QuantizedSource for RandomBlocks {
    fn quantized(
        &self,
        name: &str,
        (rows, width): (usize, usize),
        device: &Device,
    ) -> Result<Option<Arc<QTensor>>> {
        let NumberType::Blocks(kind) = self.0.for_rows(width) else { return Ok(None) };
        let drawn = Drawn {
            shape: &[(STRETCH / width).clamp(1, rows), width],
            init: Init::Randn { mean: 0.0, stdev: f64::from(SPREAD) },
            dtype: DType::F32,
            seed: fnv1a(name),
            told: || {},
        };
        let some = Tensor::from_raw_buffer(&drawn.data(), DType::F32, drawn.shape, &Device::Cpu)?;
        let some = QTensor::quantize(&some, kind)?.data()?.into_owned();
        let length = some.len() / drawn.shape[0] * rows;
        let bytes = some.iter().copied().cycle().take(length).collect();
        Ok(Some(Arc::new(blocks(kind, bytes, &[rows, width], device)?)))
    }
}

/// Bytes that the weights of a language model take on the processor in f32, or with matrices
/// quantised and the copies that candle makes of them.
pub fn language_bytes(config: &Qwen2Config, quantization: Option<Quantization>) -> Result<u64> {
    let census = Census::default();
    let root = VarBuilder::from_backend(Box::new(census.clone()), DType::F32, Device::Cpu);
    Qwen2::new(config, &root.pp("model"), &root)?;
    let wanted = census.0.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = |shape: &[usize]| {
        let numbers = match (quantization, shape) {
            (Some(quantization), [_, width]) => quantization.for_rows(*width),
            _ => NumberType::Plain(DType::F32),
        };
        match numbers {
            NumberType::Blocks(kind) => {
                let stored = numbers.bytes(shape).unwrap_or_default() as u64;
                stored + packed_bytes(kind, stored, &Device::Cpu)
            }
            NumberType::Plain(_) => 4 * shape.iter().product::<usize>() as u64,
        }
    };
    Ok(wanted.values().map(|(shape, _)| bytes(shape.dims())).sum())
}

/// A tokenizer that knows a few words and all bytes.
pub(super) fn stand_in_tokenizer(config: &ModelConfig) -> std::result::Result<TextTokenizer, ModelError> {
    let words = "I am standing in the room facing the table. What is on my left? the chair";
    TextTokenizer::train(std::iter::repeat_n(words.to_owned(), 4), config.language.vocab_size.min(512))
}

/// Notes what a network asks for; gives zeros that take no memory.
#[derive(Clone, Default)]
struct Census(Arc<Mutex<BTreeMap<String, (Shape, Init)>>>);

impl SimpleBackend for Census {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.insert(name.to_owned(), (shape.clone(), init));
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} is asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

/// A tensor that is drawn when it is written.
struct Drawn<'a, F> {
    shape: &'a [usize],
    init: Init,
    dtype: DType,
    seed: u64,
    told: F,
}

impl<F: Fn()> View for Drawn<'_, F> {
    fn dtype(&self) -> Dtype {
        self.dtype.into()
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let Self { init, dtype, seed, .. } = *self;
        let size = dtype.size_in_bytes();
        let mut bytes = vec![0; self.data_len()];
        bytes.par_chunks_mut(STRETCH * size).enumerate().for_each(|(stretch, bytes)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stretch as u64);
            for slot in bytes.chunks_exact_mut(size) {
                let value = draw(init, &mut rng);
                match dtype {
                    DType::F16 => slot.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
                    DType::BF16 => slot.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
                    _ => slot.copy_from_slice(&value.to_le_bytes()),
                }
            }
        });
        (self.told)();
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size_in_bytes()
    }
}

/// One number; normal distributions become uniform ones of the same spread.
fn draw(init: Init, rng: &mut ChaCha8Rng) -> f32 {
    let mut even =
        |middle: f32, spread: f32| middle + spread * 3f32.sqrt() * (2.0 * rng.random::<f32>() - 1.0);
    match init {
        Init::Const(value) => value as f32,
        Init::Uniform { lo, up } => even((lo + up) as f32 / 2.0, (up - lo) as f32 / 12f32.sqrt()),
        Init::Randn { mean, stdev } => even(mean as f32, stdev as f32),
        Init::Kaiming { .. } => even(0.0, SPREAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Loc3rModel;

    #[test]
    fn what_was_written_loads_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let config = ModelConfig::tiny();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let to = folder.path().join(dtype.as_str());
            let mut told = Vec::new();
            let written =
                write_random(&config, &to, dtype, 7, &mut |done, total| told.push((done, total))).unwrap();
            assert_eq!(told.last(), Some(&(written.tensors, written.tensors)));
            let model = Loc3rModel::load(&to, &Device::Cpu).unwrap();
            assert_eq!(model.parameters(), written.parameters);
            assert_eq!(model.config().notice, "random weights");
            let again = write_random(&config, &to, dtype, 7, &mut |_, _| {}).unwrap_err().to_string();
            assert!(again.contains("already"), "{again}");
        }
    }

    #[test]
    fn quantised_matrices_are_finite_and_as_large_as_they_are_counted() {
        let config = Qwen2Config { hidden_size: 256, intermediate_size: 512, ..ModelConfig::tiny().language };
        let root = crate::model::SeededVariables::new(1);
        let dense = root.builder(DType::F32, &Device::Cpu);
        let source = RandomBlocks(Quantization::Q4K);
        let weights = crate::model::quantized::Weights::with_quantized(&dense, &source);
        let decoder = Qwen2::from_weights(&config, &weights.pp("model"), &weights).unwrap();
        let row = decoder.embed(&Tensor::new(&[[7u32, 8]], &Device::Cpu).unwrap()).unwrap();
        let hidden = decoder.forward_embeds(&row, &mut crate::model::qwen2::KvCache::new()).unwrap();
        let values = decoder.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|value| value.is_finite()) && values.iter().any(|&value| value != 0.0));
        let matrix = source.quantized("some", (300, 256), &Device::Cpu).unwrap().unwrap();
        assert_eq!(matrix.storage_size_in_bytes(), 300 * 144);
        let whole = language_bytes(&config, None).unwrap();
        let quantized = language_bytes(&config, Some(Quantization::Q4K)).unwrap();
        assert!(quantized > whole / 8 && quantized < whole / 2, "{quantized} of {whole}");
    }

    #[test]
    fn a_seed_gives_the_same_weights_of_the_wanted_spread() {
        let tensor = |seed| {
            let init = Init::Randn { mean: 1.0, stdev: 0.5 };
            let drawn = Drawn { shape: &[3, STRETCH], init, dtype: DType::F32, seed, told: || {} };
            let bytes = drawn.data().into_owned();
            let (values, _) = bytes.as_chunks::<4>();
            values.iter().map(|value| f32::from_le_bytes(*value)).collect::<Vec<f32>>()
        };
        let values = tensor(1);
        assert_eq!(values, tensor(1));
        assert_ne!(values, tensor(2));
        assert_ne!(values[..STRETCH], values[STRETCH..2 * STRETCH]);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt();
        assert!((mean - 1.0).abs() < 0.01 && (spread - 0.5).abs() < 0.01, "{mean} {spread}");
    }
}
