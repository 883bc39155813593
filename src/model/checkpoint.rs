//! Checkpoints: folders of `config.json`, `tokenizer.json` and weights (`weight_files`), or
//! one GGUF file with all of it. Every tensor is accounted for; nothing loads half.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::bounded_file::{self, LARGEST_CONFIG};
use super::config::ModelConfig;
use super::gguf::{self, names};
use super::memory_plan::{MemoryPlan, free_memory, shortage};
use super::published::{config_from_published, is_ignored};
use super::quantized::{QuantizedSource, Weights};
use super::tokenizer::TextTokenizer;
use super::weight_files::{self, Place, WeightFiles};
use super::{ModelError, Network, NumberType, camera, network};

/// File names inside a checkpoint folder.
pub const CONFIG_FILE: &str = "config.json";
/// See [`CONFIG_FILE`].
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// See [`CONFIG_FILE`].
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Names listed of each kind of problem before "and n more".
const LISTED: usize = 5;

/// What became of every tensor. Names are those of the network; where the file had
/// another one it stands in brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyReport {
    /// Loaded.
    pub used: Vec<String>,
    /// Known, but not needed (the vision tower's last layer and post norm, what only training
    /// reads).
    pub ignored: Vec<String>,
    /// Needed, but not there.
    pub missing: Vec<String>,
    /// There, but not known.
    pub unexpected: Vec<String>,
    /// "name is (2, 3), the model needs (3, 2)".
    pub wrong_shape: Vec<String>,
    /// Holding NaN or infinity.
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
    /// One sentence per kind of problem; `None` when all is well.
    pub fn problem(&self) -> Option<String> {
        let list = |names: &[String]| {
            let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
            if names.len() > LISTED { format!("{shown} and {} more", names.len() - LISTED) } else { shown }
        };
        let kinds = [
            ("missing: ", &self.missing),
            ("wrong shape: ", &self.wrong_shape),
            ("not finite (NaN or infinity): ", &self.not_finite),
            ("unexpected: ", &self.unexpected),
        ];
        let found: Vec<String> = kinds
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| format!("{kind}{}", list(names)))
            .collect();
        (!found.is_empty()).then(|| found.join("; "))
    }
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// Sizes and choices.
    pub config: ModelConfig,
    /// The network.
    pub network: Network,
    /// The camera encoder.
    pub camera: Option<Box<dyn camera::CameraEncoder>>,
    /// The tokenizer.
    pub tokenizer: TextTokenizer,
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
        let (files, config) = open(path)?;
        // Refused before the system ends the program.
        let weights = files.counts(&config, device);
        let plan = |dtype| MemoryPlan::new(&config, &weights, dtype);
        let half = (dtype == DType::F32).then(|| plan(DType::BF16));
        if let Some(reason) = free_memory(device).and_then(|free| shortage(&plan(dtype), half.as_ref(), free))
        {
            return Err(ModelError::Memory { path: path.to_owned(), reason });
        }
        let tokenizer = read_tokenizer(path, &files, &config)?;
        if config.tokenizer_entries != 0 && config.tokenizer_entries != tokenizer.entries() {
            return Err(ModelError::Tokenizer {
                path: if is_gguf(path) { path.to_owned() } else { path.join(TOKENIZER_FILE) },
                reason: format!(
                    "it has {} entries, the weights were trained with {}; take the tokenizer of this checkpoint",
                    tokenizer.entries(),
                    config.tokenizer_entries
                ),
            });
        }
        let source = CheckpointSource::new(files);
        let root = VarBuilder::from_backend(Box::new(source.clone()), dtype, device.clone());
        let wrong = |error: candle_core::Error| ModelError::Weights {
            path: source.files.location.clone(),
            reason: error.to_string(),
        };
        let network =
            Network::from_weights(&config, &Weights::with_quantized(&root, &source)).map_err(wrong)?;
        let camera = camera::build(&config, root.pp(network::CAMERA_PREFIX)).map_err(wrong)?;
        let report = source.report(&config);
        match report.problem() {
            None => Ok(Self { config, network, camera, tokenizer, report }),
            Some(reason) => Err(ModelError::Weights { path: source.files.location.clone(), reason }),
        }
    }
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
    let weights = files.counts(&config, device);
    Ok([DType::F32, DType::BF16].map(|dtype| (dtype, MemoryPlan::new(&config, &weights, dtype))))
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
    let mut files = WeightFiles::open(path)?;
    let mut config = read_config(path, &files)?;
    files.adopt_heads(&mut config);
    if let Some((path, file)) = files.gguf() {
        names::check_decoder(file, &config.language)
            .map_err(|reason| ModelError::Weights { path: path.to_owned(), reason })?;
    }
    Ok((files, config))
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
    TextTokenizer::load(&path.join(TOKENIZER_FILE), rows)
}

/// Reads `config.json`, ours or a published one; the rows of the embedding table are
/// those of the tensor.
fn read_config(path: &Path, files: &WeightFiles) -> Result<ModelConfig, ModelError> {
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
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
    let mut config = if json.get("model_type").is_some() {
        config_from_published(&json).map_err(&fail)?
    } else {
        serde_json::from_value(json).map_err(|error| fail(error.to_string()))?
    };
    config.validate().map_err(&fail)?;
    if let Some(&[rows, _]) = files.shape("model.embed_tokens.weight") {
        config.language.vocab_size = rows;
    }
    Ok(config)
}

/// Gives tensors to a [`VarBuilder`] and writes down what it was asked for. A tensor
/// that is missing or wrong becomes zeros, so that one run finds every problem; the
/// report decides whether the result may be used.
#[derive(Clone)]
struct CheckpointSource {
    files: Arc<WeightFiles>,
    report: Arc<Mutex<KeyReport>>,
    /// Numbers that stand in for missing ones.
    stand_ins: Arc<AtomicUsize>,
}

impl CheckpointSource {
    fn new(files: WeightFiles) -> Self {
        Self { files: Arc::new(files), report: Arc::default(), stand_ins: Arc::default() }
    }

    fn locked(&self) -> MutexGuard<'_, KeyReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report after building, with what nobody asked for.
    fn report(&self, config: &ModelConfig) -> KeyReport {
        let mut report = self.locked().clone();
        let asked: BTreeSet<&String> = report.used.iter().collect();
        let left: Vec<String> =
            self.files.places.keys().filter(|name| !asked.contains(name)).cloned().collect();
        let wrong: Vec<String> = report.wrong_shape.iter().chain(&report.not_finite).cloned().collect();
        for name in left {
            if wrong.iter().any(|problem| problem.split(' ').next() == Some(name.as_str())) {
                continue;
            }
            let original = &self.files.places[&name].name;
            let shown = if *original == name { name.clone() } else { format!("{name} [{original}]") };
            let list = if is_ignored(&name, config) { &mut report.ignored } else { &mut report.unexpected };
            list.push(shown);
        }
        report.ignored.extend(self.files.replaced.iter().cloned());
        report
    }

    /// Writes down that a tensor was given.
    fn note_used(&self, name: &str, place: &Place) {
        let count = place.shape.iter().product::<usize>();
        let stored = StoredAs {
            numbers: place.numbers,
            bytes: place.numbers.bytes(&place.shape).unwrap_or_default() as u64,
            file: self.files.file_name(place),
        };
        let mut report = self.locked();
        report.parameters += count as u64;
        report.used.push(name.to_owned());
        report.stored.insert(name.to_owned(), stored);
    }

    /// A name as people find it in their files.
    fn shown(&self, name: &str) -> String {
        match self.files.gguf().and_then(|_| names::gguf_name(name)) {
            Some(theirs) => format!("{name} [{theirs}]"),
            None => name.to_owned(),
        }
    }

    /// The tensor, or a note of what is wrong with it.
    fn find(
        &self,
        name: &str,
        shape: &Shape,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(place) = self.files.places.get(name) else {
            self.locked().missing.push(self.shown(name));
            return Ok(None);
        };
        if place.shape != shape.dims() {
            let problem = format!("{name} is {:?}, the model needs {:?}", place.shape, shape.dims());
            self.locked().wrong_shape.push(problem);
            return Ok(None);
        }
        let Some(tensor) = self.files.read(place, device)? else {
            self.locked().not_finite.push(name.to_owned());
            return Ok(None);
        };
        let tensor = tensor.to_dtype(dtype)?;
        self.note_used(name, place);
        Ok(Some(tensor))
    }

    /// Zeros for a tensor that is missing or of another shape, so that all such tensors are
    /// found before the report refuses them. A configuration that asks for far more than
    /// the files hold is refused at once.
    fn stand_in(
        &self,
        shape: Shape,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        /// As many numbers are granted in any case.
        const SMALL: usize = 1 << 22;
        let count = |dims: &[usize]| dims.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
        let stored = self.files.places.values().filter_map(|place| count(&place.shape));
        let granted = stored.fold(SMALL, usize::saturating_add).saturating_mul(2);
        let wanted = count(shape.dims()).unwrap_or(usize::MAX).min(granted + 1);
        if self.stand_ins.fetch_add(wanted, Ordering::Relaxed) + wanted > granted {
            candle_core::bail!(
                "config.json asks for {name} of {:?} and more that the files do not hold",
                shape.dims()
            );
        }
        Tensor::zeros(shape, dtype, device)
    }
}

impl QuantizedSource for CheckpointSource {
    fn quantized(
        &self,
        name: &str,
        shape: (usize, usize),
        device: &Device,
    ) -> candle_core::Result<Option<Arc<QTensor>>> {
        // What is missing or wrong is asked for again as a dense tensor, and reported there.
        let fitting = self.files.places.get(name).filter(|place| place.shape == [shape.0, shape.1]);
        let Some(place) = fitting else { return Ok(None) };
        let blocks = self.files.read_blocks(place, device)?;
        if blocks.is_some() {
            self.note_used(name, place);
        }
        Ok(blocks)
    }
}

impl SimpleBackend for CheckpointSource {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        match self.find(name, &shape, dtype, device)? {
            Some(tensor) => Ok(tensor),
            None => self.stand_in(shape, name, dtype, device),
        }
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = Shape::from(self.files.shape(name).unwrap_or_default());
        self.get(shape, name, Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.files.places.contains_key(name)
    }
}
