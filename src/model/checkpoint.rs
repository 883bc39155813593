//! Checkpoints: folders of `config.json`, `tokenizer.json` and weights (`weight_files`), or
//! one GGUF file with all of it. Every tensor is accounted for; nothing loads half.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize as _;
use serde_json::Value;

use super::base_model;
use super::bounded_file::{self, LARGEST_CONFIG};
use super::checkpoint_source::CheckpointSource;
use super::choices::{self, Choice};
use super::config::ModelConfig;
use super::generation_settings::GenerationSettings;
use super::gguf::{self, names};
pub use super::key_report::{KeyReport, StoredAs};
use super::memory_plan::{Alternative, Hardware, MemoryPlan, free_memory, shortage};
use super::published_config::config_from_published;
use super::quantize::Quantization;
use super::quantized::Weights;
use super::tokenizer::TextTokenizer;
use super::tokenizer_parts::{VOCABULARY_FILE, assembled};
use super::weight_files::{self, WeightFiles};
use super::{ModelError, Network, NumberType, camera, network};

/// File names inside a checkpoint folder.
pub const CONFIG_FILE: &str = "config.json";
/// See [`CONFIG_FILE`].
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// See [`CONFIG_FILE`].
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// See [`CONFIG_FILE`]; it need not be there.
pub const GENERATION_FILE: &str = "generation_config.json";

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// Sizes and choices.
    pub config: ModelConfig,
    /// The network.
    pub network: Network,
    /// The camera encoder.
    pub camera: Option<Box<dyn camera::CameraEncoder>>,
    /// The tokenizer; answers end where it and `generation` say.
    pub tokenizer: TextTokenizer,
    /// What it says of its answers.
    pub generation: GenerationSettings,
    /// What became of every tensor.
    pub report: KeyReport,
}

impl Checkpoint {
    /// Loads a folder or a GGUF file, weights converted to `dtype`; the language model's
    /// matrices stay quantised where they are.
    ///
    /// # Errors
    /// When a file cannot be read, or the parts do not fit; the message names file and tensor.
    pub fn load(path: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        Self::load_within(path, dtype, device, free_memory(device))
    }

    /// [`Self::load`] on a device with so many bytes free; `None` where it does not say.
    ///
    /// # Errors
    /// See [`Self::load`]. A tensor that is missing, unknown or of another shape, and too little
    /// memory, are told of before a tensor is read.
    pub fn load_within(
        path: &Path,
        dtype: DType,
        device: &Device,
        free: Option<u64>,
    ) -> Result<Self, ModelError> {
        let (files, config) = open(path)?;
        let files = Arc::new(files);
        if let Some(refusal) = report_of_headers(&files, &config)?.refusal(&files.location) {
            return Err(refusal);
        }
        let plan = plan(&files, &config, None, dtype, device);
        let alternatives = alternatives(&files, &config, dtype, device);
        if let Some(reason) = free.and_then(|free| shortage(&plan, &alternatives, free)) {
            return Err(ModelError::Memory { path: path.to_owned(), reason });
        }
        let mut tokenizer = fitting_tokenizer(path, &files, &config)?;
        let generation = read_generation(path, &files, &config)?;
        tokenizer.stop_at(&generation.stop_ids);
        let source = CheckpointSource::of_tensors(&files);
        let (network, camera) = built(&source, &files.location, &config, dtype, device)?;
        let report = source.report(&config);
        match report.refusal(&files.location) {
            None => Ok(Self { config, network, camera, tokenizer, generation, report }),
            Some(refusal) => Err(refusal),
        }
    }
}

/// What a checkpoint holds, and whether it can be loaded, as far as configuration, tokenizer
/// and the headers of its weights tell: no tensor is read.
#[derive(Debug)]
pub struct Examination {
    /// Sizes and choices.
    pub config: ModelConfig,
    /// What becomes of every tensor. NaN is found when tensors are read.
    pub report: KeyReport,
    /// What the paper leaves open, as it decides it.
    pub choices: Vec<Choice>,
    /// What it says of its answers.
    pub generation: GenerationSettings,
    /// What it takes, by the type that numbers are kept in: "f32", "bf16" (and f16), and, where
    /// its language model is not quantised, what `loc3r convert --quantize q4_K` would make of
    /// it, with the rest in bf16.
    pub plans: Vec<(&'static str, MemoryPlan)>,
    /// What keeps it from being loaded, but for memory; the first of several.
    pub problem: Option<ModelError>,
}

/// Looks at a checkpoint that is to run on `device`.
///
/// # Errors
/// When a file cannot be opened, or the configuration cannot be used. What can be told of a
/// checkpoint that does not fit together is told; see [`Examination::problem`].
pub fn examine(path: &Path, device: &Device) -> Result<Examination, ModelError> {
    let (files, config, json) = open_with_json(path)?;
    let files = Arc::new(files);
    let report = report_of_headers(&files, &config)?;
    let as_stored = |dtype: DType| (dtype.as_str(), plan(&files, &config, None, dtype, device));
    let mut plans = [DType::F32, DType::BF16].map(as_stored).to_vec();
    if !files.is_quantized() {
        let quantization = Quantization::Q4K;
        let plan = plan(&files, &config, Some(quantization), DType::BF16, device);
        plans.push((quantization.name(), plan));
    }
    let tokenizer = fitting_tokenizer(path, &files, &config);
    let generation = read_generation(path, &files, &config);
    let choices = choices::of(&files, &config, &json, tokenizer.as_ref().ok());
    let refusal = report.refusal(&files.location);
    let (generation, unread) = match generation {
        Ok(generation) => (generation, None),
        Err(error) => (GenerationSettings::default(), Some(error)),
    };
    let problem = refusal.or(tokenizer.err()).or(unread);
    Ok(Examination { config, report, choices, generation, plans, problem })
}

/// Builds network and camera encoder from a source whose files are at `location`.
fn built(
    source: &CheckpointSource,
    location: &Path,
    config: &ModelConfig,
    dtype: DType,
    device: &Device,
) -> Result<(Network, Option<Box<dyn camera::CameraEncoder>>), ModelError> {
    let root = VarBuilder::from_backend(Box::new(source.clone()), dtype, device.clone());
    let network = Network::from_weights(config, &Weights::with_quantized(&root, source));
    let parts = network.and_then(|network| {
        let camera = camera::build(config, root.pp(network::CAMERA_PREFIX))?;
        Ok((network, camera))
    });
    parts.map_err(|error| ModelError::Weights { path: location.to_owned(), reason: error.to_string() })
}

/// What becomes of every tensor, without reading one.
fn report_of_headers(files: &Arc<WeightFiles>, config: &ModelConfig) -> Result<KeyReport, ModelError> {
    let source = CheckpointSource::of_headers(files);
    drop(built(&source, &files.location, config, DType::F32, &Device::Cpu)?);
    Ok(source.report(config))
}

fn plan(
    files: &WeightFiles,
    config: &ModelConfig,
    quantization: Option<Quantization>,
    dtype: DType,
    device: &Device,
) -> MemoryPlan {
    let weights = files.counts(config, quantization, device);
    MemoryPlan::new(config, &weights, dtype, Hardware::of(device))
}

/// What else could be done with a model that is asked for as `dtype`.
fn alternatives(
    files: &WeightFiles,
    config: &ModelConfig,
    dtype: DType,
    device: &Device,
) -> Vec<Alternative> {
    let mut found = Vec::new();
    let mut add = |how, quantization, dtype| {
        found.push(Alternative { how, plan: plan(files, config, quantization, dtype, device) });
    };
    let (is_whole, quantized) = (dtype == DType::F32, Some(Quantization::Q4K));
    if is_whole {
        add("with `--precision bf16`", None, DType::BF16);
    }
    if !files.is_quantized() {
        add("quantised by `loc3r convert --quantize q4_K`", quantized, dtype);
        if is_whole {
            add("quantised so and with `--precision bf16`", quantized, DType::BF16);
        }
    }
    found
}

/// The files that decide what the network of a checkpoint computes: configuration and weights.
///
/// # Errors
/// When a file cannot be opened.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    weight_files::paths(path)
}

/// Whether a path is that of a GGUF file, by its name.
pub fn is_gguf(path: &Path) -> bool {
    gguf::is_gguf(path)
}

/// What a checkpoint takes on `device` as f32 and as bf16; nothing is loaded.
///
/// # Errors
/// When a file cannot be read.
pub fn memory_plans(path: &Path, device: &Device) -> Result<[(DType, MemoryPlan); 2], ModelError> {
    let (files, config) = open(path)?;
    Ok([DType::F32, DType::BF16].map(|dtype| (dtype, plan(&files, &config, None, dtype, device))))
}

/// Which of [`memory_plans`] is followed where nobody asks for a type of numbers, with `free` bytes
/// on `device` (`None` where it does not say): f32, on a graphics card bf16 where f32 does not fit.
pub fn automatic(
    [full, half]: [(DType, MemoryPlan); 2],
    device: &Device,
    free: Option<u64>,
) -> (DType, MemoryPlan) {
    let is_short = free.is_some_and(|free| full.1.total() > free);
    if is_short && !device.is_cpu() { half } else { full }
}

/// The types that the weights of a folder are stored as, the most frequent first; no tensor
/// is read.
///
/// # Errors
/// When a file cannot be read.
pub fn stored_types(folder: &Path) -> Result<Vec<NumberType>, ModelError> {
    Ok(WeightFiles::open(folder)?.types())
}

/// Writes a checkpoint folder; `tensors` by their published names, stored as `dtype`.
/// The weights appear under their final name only when complete.
///
/// # Errors
/// When a file cannot be written.
pub fn save(
    folder: &Path,
    config: &ModelConfig,
    tokenizer: &TextTokenizer,
    tensors: &BTreeMap<String, Tensor>,
    dtype: DType,
) -> Result<(), ModelError> {
    let write_error = |path: &Path, reason: String| ModelError::Write { path: path.to_owned(), reason };
    std::fs::create_dir_all(folder).map_err(|error| write_error(folder, error.to_string()))?;
    let mut config = config.clone();
    config.tokenizer_entries = tokenizer.entries();
    write_config(folder, &config)?;
    tokenizer.save(&folder.join(TOKENIZER_FILE))?;
    let converted: HashMap<String, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| {
            Ok((name.clone(), tensor.to_device(&Device::Cpu)?.to_dtype(dtype)?.contiguous()?))
        })
        .collect::<candle_core::Result<_>>()?;
    let (path, partial) = (folder.join(WEIGHTS_FILE), folder.join(format!("{WEIGHTS_FILE}.partial")));
    candle_core::safetensors::save(&converted, &partial)
        .map_err(|error| write_error(&partial, error.to_string()))?;
    std::fs::rename(&partial, &path).map_err(|error| write_error(&path, error.to_string()))
}

/// Writes the configuration of a checkpoint folder.
pub(super) fn write_config(folder: &Path, config: &ModelConfig) -> Result<(), ModelError> {
    let path = folder.join(CONFIG_FILE);
    let failed = |reason: String| ModelError::Write { path: path.clone(), reason };
    let json = serde_json::to_string_pretty(config).map_err(|error| failed(error.to_string()))?;
    std::fs::write(&path, json + "\n").map_err(|error| failed(error.to_string()))
}

/// Refuses a folder that holds a checkpoint: nothing is written over.
pub(super) fn check_new(folder: &Path) -> Result<(), ModelError> {
    if folder.join(CONFIG_FILE).exists() || folder.join(WEIGHTS_FILE).exists() {
        let reason = "it holds a checkpoint already".to_owned();
        return Err(ModelError::Write { path: folder.to_owned(), reason });
    }
    Ok(())
}

/// The weight files of a folder, or a GGUF file, with the configuration that fits them; no
/// tensor is read.
pub(super) fn open(path: &Path) -> Result<(WeightFiles, ModelConfig), ModelError> {
    open_with_json(path).map(|(files, config, _)| (files, config))
}

/// [`open`], with the content of `config.json` as it stands there.
fn open_with_json(path: &Path) -> Result<(WeightFiles, ModelConfig, Value), ModelError> {
    let mut files = WeightFiles::open(path)?;
    let (mut config, json) = read_config(path, &files)?;
    files.adopt_heads(&mut config);
    base_model::adopt(&mut config, &json, &files);
    if let Some((path, file)) = files.gguf() {
        names::check_decoder(file, &config.language)
            .map_err(|reason| ModelError::Weights { path: path.to_owned(), reason })?;
    }
    Ok((files, config, json))
}

/// A text that a GGUF file with everything holds.
fn text_of<'a>(path: &Path, files: &'a WeightFiles, key: &str) -> Result<&'a str, ModelError> {
    files.gguf().and_then(|(_, file)| file.text(key)).ok_or_else(|| ModelError::Folder {
        path: path.to_owned(),
        reason: format!(
            "it has no {key}, so it is a language model alone; put it into a folder with {CONFIG_FILE}, {TOKENIZER_FILE} and the weights of vision tower, projector and heads, and pass that folder"
        ),
    })
}

/// The tokenizer of a folder or GGUF file.
pub(super) fn read_tokenizer(
    path: &Path,
    files: &WeightFiles,
    config: &ModelConfig,
) -> Result<TextTokenizer, ModelError> {
    let rows = config.language.vocab_size;
    if is_gguf(path) {
        return TextTokenizer::parse(text_of(path, files, names::TOKENIZER_KEY)?.as_bytes(), path, rows);
    }
    let whole = path.join(TOKENIZER_FILE);
    if !whole.exists() && path.join(VOCABULARY_FILE).exists() {
        return assembled(path, rows);
    }
    TextTokenizer::load(&whole, rows)
}

/// [`read_tokenizer`], refused when the weights were trained with another one.
fn fitting_tokenizer(
    path: &Path,
    files: &WeightFiles,
    config: &ModelConfig,
) -> Result<TextTokenizer, ModelError> {
    let tokenizer = read_tokenizer(path, files, config)?;
    if config.tokenizer_entries == 0 || config.tokenizer_entries == tokenizer.entries() {
        return Ok(tokenizer);
    }
    Err(ModelError::Tokenizer {
        path: if is_gguf(path) { path.to_owned() } else { path.join(TOKENIZER_FILE) },
        reason: format!(
            "it has {} entries, by config.json the weights were trained with {}; take the tokenizer of this checkpoint",
            tokenizer.entries(),
            config.tokenizer_entries
        ),
    })
}

/// The content of `generation_config.json`, and the file that it stands in; `None` without.
pub(super) fn generation_text(
    path: &Path,
    files: &WeightFiles,
) -> Result<Option<(PathBuf, String)>, ModelError> {
    if is_gguf(path) {
        let text = files.gguf().and_then(|(_, file)| file.text(names::GENERATION_KEY));
        return Ok(text.map(|text| (path.to_owned(), text.to_owned())));
    }
    let file = path.join(GENERATION_FILE);
    if !file.exists() {
        return Ok(None);
    }
    match bounded_file::read_text(&file, LARGEST_CONFIG) {
        Ok(text) => Ok(Some((file, text))),
        Err(reason) => Err(ModelError::Config { path: file, reason }),
    }
}

fn read_generation(
    path: &Path,
    files: &WeightFiles,
    config: &ModelConfig,
) -> Result<GenerationSettings, ModelError> {
    let Some((file, text)) = generation_text(path, files)? else { return Ok(GenerationSettings::default()) };
    GenerationSettings::parse(text.as_bytes(), config.language.vocab_size)
        .map_err(|reason| ModelError::Config { path: file, reason })
}

/// The content of `config.json`, and the file that it stands in.
fn config_json(path: &Path, files: &WeightFiles) -> Result<(PathBuf, Value), ModelError> {
    let (path, bytes) = if is_gguf(path) {
        let text = text_of(path, files, names::CONFIG_KEY)?;
        (path.to_owned(), bounded_file::check(text.len(), LARGEST_CONFIG).map(|()| text.as_bytes().to_vec()))
    } else {
        let path = path.join(CONFIG_FILE);
        let bytes = bounded_file::read(&path, LARGEST_CONFIG);
        (path, bytes)
    };
    let fail = |reason: String| ModelError::Config { path: path.clone(), reason };
    let bytes = bytes.map_err(&fail)?;
    let json = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
    Ok((path, json))
}

/// Reads `config.json`, ours or a published one, and gives what stands in it, too; the rows of
/// the embedding table are those of the tensor.
fn read_config(path: &Path, files: &WeightFiles) -> Result<(ModelConfig, Value), ModelError> {
    let (path, json) = config_json(path, files)?;
    let fail = |reason: String| ModelError::Config { path: path.clone(), reason };
    let mut config = if json.get("model_type").is_some() {
        let stores_output = files.shape("lm_head.weight").is_some();
        config_from_published(&json, stores_output).map_err(&fail)?
    } else {
        ModelConfig::deserialize(&json).map_err(|error| fail(error.to_string()))?
    };
    config.validate().map_err(&fail)?;
    if let Some(&[rows, _]) = files.shape("model.embed_tokens.weight") {
        config.language.vocab_size = rows;
    }
    Ok((config, json))
}
