//! The weight files of a checkpoint folder: `model.safetensors`, shards with
//! `model.safetensors.index.json`, or `pytorch_model.bin`, and beside them CUT3R's own file,
//! `cut3r*.pth` or `cut3r*.safetensors`, the layers of Loc3R that a base model lacks, `loc3r*.pth`
//! or `loc3r*.safetensors`, and a `*.gguf` with the language part. Or one GGUF file that holds
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::safetensors::{Load as _, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};

use super::bounded_file::{self, LARGEST_INDEX};
use super::checkpoint::{CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE};
use super::config::ModelConfig;
use super::gguf::{self, GgufFile, names};
use super::memory_plan::WeightCounts;
use super::number_type::{NumberType, blocks};
use super::pth::PthFile;
use super::published::{canonical_name, heads_by_shape, is_ignored};
use super::quantize::Quantization;
use super::quantized::packed_bytes;
use super::{ModelError, network, safetensors_fault};

const INDEX_FILE: &str = "model.safetensors.index.json";
/// Older checkpoints of transformers.
const PICKLED_FILE: &str = "pytorch_model.bin";
/// What the file name of CUT3R's weights begins with.
const CUT3R_FILE: &str = "cut3r";
/// What the file name of Loc3R's layers begins with where they are apart from a base model.
const LAYERS_FILE: &str = "loc3r";
const EMBEDDINGS: &str = "model.embed_tokens.weight";

/// Where a tensor lives.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: usize,
    /// Its name there.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: NumberType,
}

/// See [`super::checkpoint::files`].
pub(super) fn paths(path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let config = Some(path.join(CONFIG_FILE)).filter(|config| config.is_file());
    let weights = WeightFiles::open(path)?.sources;
    Ok(config.into_iter().chain(weights.into_iter().map(|(file, _)| file)).collect())
}

/// An opened file.
enum Source {
    Safetensors(Box<MmapedSafetensors>),
    Pth(PthFile),
    Gguf(GgufFile),
}

/// The weight files of a folder with all their tensors by canonical name.
pub(super) struct WeightFiles {
    /// The file, or the folder of several, for messages.
    pub(super) location: PathBuf,
    sources: Vec<(PathBuf, Source)>,
    pub(super) places: BTreeMap<String, Place>,
    /// Names of tensors in whose place a GGUF file has others.
    pub(super) replaced: Vec<String>,
}

impl WeightFiles {
    /// Opens all files of a folder, or a single GGUF file; no tensor is read.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        if gguf::is_gguf(path) {
            let mut files = Self::empty(path);
            files.add(path, "")?;
            return Ok(files);
        }
        Self::open_folder(path)
    }

    fn empty(location: &Path) -> Self {
        Self {
            location: location.to_owned(),
            sources: Vec::new(),
            places: BTreeMap::new(),
            replaced: Vec::new(),
        }
    }

    fn open_folder(folder: &Path) -> Result<Self, ModelError> {
        let mut paths: Vec<(PathBuf, String)> =
            weight_paths(folder)?.into_iter().map(|path| (path, String::new())).collect();
        let is_bare = paths.is_empty();
        let prefix = format!("{}.", network::CAMERA_PREFIX);
        for (start, kind, prefix) in
            [(CUT3R_FILE, "of CUT3R", prefix), (LAYERS_FILE, "of Loc3R's layers", String::new())]
        {
            let is_part = |name: &str, ending: &str| {
                name.starts_with(start) && (ending == "pth" || ending == "safetensors")
            };
            paths.extend(single_file(folder, kind, is_part)?.map(|path| (path, prefix)));
        }
        let language = single_file(folder, "of GGUF", |_, ending| ending == gguf::ENDING)?;
        if is_bare && language.is_none() {
            let reason = format!(
                "there is no {WEIGHTS_FILE}; a checkpoint folder holds {CONFIG_FILE}, {TOKENIZER_FILE} and {WEIGHTS_FILE}"
            );
            return Err(ModelError::Folder { path: folder.to_owned(), reason });
        }
        let location = match (paths.as_slice(), &language) {
            ([(single, _)], None) => single.as_path(),
            _ => folder,
        };
        let mut files = Self::empty(location);
        for (path, prefix) in paths {
            files.add(&path, &prefix)?;
        }
        if let Some(path) = language {
            files.drop_language(&path);
            files.add(&path, "")?;
        }
        files.share_decoder();
        Ok(files)
    }

    /// Takes out the decoder, which the GGUF file at `path` brings.
    fn drop_language(&mut self, path: &Path) {
        let instead = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let replaced = self.places.extract_if(.., |name, _| names::is_language(name));
        let replaced = replaced.map(|(name, _)| format!("{name} [replaced by {instead}]"));
        self.replaced.extend(replaced);
    }

    /// Adds a file whose names get `prefix` before them.
    fn add(&mut self, path: &Path, prefix: &str) -> Result<(), ModelError> {
        let fail = |reason: String| ModelError::Weights { path: path.to_owned(), reason };
        let (source, tensors) = opened(path).map_err(|reason| fail(format!("cannot be read: {reason}")))?;
        let file = self.sources.len();
        for (name, shape, numbers) in tensors {
            let from_gguf = matches!(source, Source::Gguf(_)).then(|| names::network_name(&name)).flatten();
            let ours = from_gguf.unwrap_or_else(|| canonical_name(&format!("{prefix}{name}")));
            if let Some(other) = self.places.insert(ours, Place { file, name: name.clone(), shape, numbers })
            {
                return Err(fail(format!("{name} and {} are the same tensor of the network", other.name)));
            }
        }
        self.sources.push((path.to_owned(), source));
        Ok(())
    }

    /// The GGUF file, when there is one.
    pub(super) fn gguf(&self) -> Option<(&Path, &GgufFile)> {
        self.sources.iter().find_map(|(path, source)| match source {
            Source::Gguf(file) => Some((path.as_path(), file)),
            _ => None,
        })
    }

    /// A tensor as it is called where it lies: "x.weight in model.safetensors".
    pub(super) fn described(&self, place: &Place) -> String {
        format!("{} in {}", place.name, self.file_name(place))
    }

    /// The name of the file that a tensor is in.
    pub(super) fn file_name(&self, place: &Place) -> String {
        self.sources[place.file].0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// CUT3R files without a decoder of the state mean that of the pictures.
    fn share_decoder(&mut self) {
        let (images, state) = ("camera_encoder.dec_blocks.", "camera_encoder.dec_blocks_state.");
        if self.places.keys().any(|name| name.starts_with(state)) {
            return;
        }
        let shared: Vec<(String, Place)> = self
            .places
            .iter()
            .filter_map(|(name, place)| {
                Some((format!("{state}{}", name.strip_prefix(images)?), place.clone()))
            })
            .collect();
        self.places.extend(shared);
    }

    /// Finds Loc3R's layers under unknown names, and their hidden widths under any.
    pub(super) fn adopt_heads(&mut self, config: &mut ModelConfig) {
        let shapes = self.places.iter().map(|(name, place)| (name.clone(), place.shape.clone())).collect();
        for (old, new) in heads_by_shape(&shapes, config.language.hidden_size, config.camera_token_dim) {
            if let Some(place) = self.places.remove(&old) {
                self.places.insert(new, place);
            }
        }
        let hidden = |name: &str| self.shape(name).and_then(|shape| shape.first().copied());
        config.heads.hidden_size = hidden("model.f_pos.0.weight").or(config.heads.hidden_size);
        config.camera_hidden_size = hidden("model.f_cam.0.weight").or(config.camera_hidden_size);
    }

    /// Numbers that the network will ask for on `device`, by part. With `quantization`: as if
    /// that had been done to the matrices of the language model.
    pub(super) fn counts(
        &self,
        config: &ModelConfig,
        quantization: Option<Quantization>,
        device: &Device,
    ) -> WeightCounts {
        let mut counts = WeightCounts::default();
        for (name, place) in self.places.iter().filter(|(name, _)| !is_ignored(name, config)) {
            let is_multiplied = name != EMBEDDINGS || config.language.tie_word_embeddings;
            let is_matrix = names::is_matrix(name, &place.shape);
            let numbers = match (quantization, place.shape.last()) {
                (Some(quantization), Some(&width)) if is_matrix => quantization.for_rows(width),
                _ => place.numbers,
            };
            if let NumberType::Blocks(kind) = numbers
                && is_matrix
            {
                let bytes = numbers.bytes(&place.shape).unwrap_or(usize::MAX) as u64;
                let packed = if is_multiplied { packed_bytes(kind, bytes, device) } else { 0 };
                counts.quantized = counts.quantized.saturating_add(bytes.saturating_add(packed));
                continue;
            }
            let count = place.shape.iter().fold(1u64, |count, &side| count.saturating_mul(side as u64));
            let part = match name.as_str() {
                name if name.starts_with(network::CAMERA_PREFIX) => &mut counts.camera,
                name if name.starts_with(network::VISION_PREFIX) => &mut counts.vision,
                _ => &mut counts.language,
            };
            *part = part.saturating_add(count);
            if place.shape.len() == 2 && is_multiplied && !name.starts_with(network::CAMERA_PREFIX) {
                counts.largest = counts.largest.max(count);
            }
        }
        counts
    }

    /// Whether matrices of the language model are quantised.
    pub(super) fn is_quantized(&self) -> bool {
        let mut places = self.places.iter();
        places.any(|(name, place)| {
            matches!(place.numbers, NumberType::Blocks(_)) && names::is_matrix(name, &place.shape)
        })
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.places.get(name).map(|place| place.shape.as_slice())
    }

    /// The types of the numbers, the most frequent first.
    pub(super) fn types(&self) -> Vec<NumberType> {
        let mut counts: Vec<(NumberType, u64)> = Vec::new();
        for place in self.places.values() {
            let count = place.shape.iter().fold(1u64, |count, &side| count.saturating_mul(side as u64));
            match counts.iter_mut().find(|(numbers, _)| *numbers == place.numbers) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => counts.push((place.numbers, count)),
            }
        }
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts.into_iter().map(|(numbers, _)| numbers).collect()
    }

    /// Reads a tensor as it is stored, f32 where it is stored in blocks; `None` when it holds
    /// NaN or infinity.
    pub(super) fn read(&self, place: &Place, device: &Device) -> candle_core::Result<Option<Tensor>> {
        if let Source::Safetensors(map) = &self.sources[place.file].1 {
            let view = map.get(&place.name)?;
            return if place.numbers.is_finite(view.data()) { view.load(device).map(Some) } else { Ok(None) };
        }
        let bytes = self.bytes(place)?;
        if !place.numbers.is_finite(&bytes) {
            return Ok(None);
        }
        place.numbers.tensor(bytes, &place.shape, device).map(Some)
    }

    /// Reads a tensor that is stored in blocks and keeps them; `None` when it is stored
    /// otherwise, or a scale is NaN or infinite.
    pub(super) fn read_blocks(
        &self,
        place: &Place,
        device: &Device,
    ) -> candle_core::Result<Option<Arc<QTensor>>> {
        let NumberType::Blocks(kind) = place.numbers else { return Ok(None) };
        let bytes = self.bytes(place)?;
        if !place.numbers.is_finite(&bytes) {
            return Ok(None);
        }
        Ok(Some(Arc::new(blocks(kind, bytes, &place.shape, device)?)))
    }

    fn bytes(&self, place: &Place) -> candle_core::Result<Vec<u8>> {
        let (_, source) = &self.sources[place.file];
        let bytes = match source {
            Source::Safetensors(map) => return Ok(map.get(&place.name)?.data().to_vec()),
            Source::Pth(file) => file.read(&place.name).map(|(_, bytes)| bytes),
            Source::Gguf(file) => file.read(&place.name),
        };
        bytes.map_err(candle_core::Error::Msg)
    }
}

/// Name, shape and type of a tensor.
type Described = (String, Vec<usize>, NumberType);

/// A file with what its tensors are.
fn opened(path: &Path) -> Result<(Source, Vec<Described>), String> {
    if gguf::is_gguf(path) {
        let file = GgufFile::open(path)?;
        let described =
            |(name, stored): (&str, &gguf::Stored)| (name.to_owned(), stored.shape.clone(), stored.numbers);
        let tensors = file.tensors().map(described).collect();
        return Ok((Source::Gguf(file), tensors));
    }
    if path.extension().is_some_and(|ending| ending == "safetensors") {
        #[expect(unsafe_code, reason = "a memory map is the only way to read 15 GB of weights once")]
        // SAFETY: the map is read only; a file that another program changes meanwhile
        // gives wrong numbers, which the check for NaN and the shapes bound.
        let map = unsafe { MmapedSafetensors::new(path) }
            .map_err(|error| safetensors_fault::explained(path, &error.to_string()))?;
        let described = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let dtype = DType::try_from(view.dtype()).map_err(|error| format!("{name}: {error}"))?;
            Ok((name, view.shape().to_vec(), NumberType::Plain(dtype)))
        };
        let tensors = map.tensors().into_iter().map(described).collect::<Result<_, String>>()?;
        return Ok((Source::Safetensors(Box::new(map)), tensors));
    }
    let file = PthFile::open(path)?;
    let tensors = file
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec(), NumberType::Plain(tensor.dtype())))
        .collect();
    Ok((Source::Pth(file), tensors))
}

/// The files named by the index, or the single file; none where there is neither.
fn weight_paths(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join(INDEX_FILE);
    if !index.exists() {
        let single =
            [WEIGHTS_FILE, PICKLED_FILE].map(|name| folder.join(name)).into_iter().find(|path| path.exists());
        return Ok(single.into_iter().collect());
    }
    let fail = |reason: String| ModelError::Weights { path: index.clone(), reason };
    let bytes = bounded_file::read(&index, LARGEST_INDEX).map_err(&fail)?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
    let Some(map) = json.get("weight_map").and_then(serde_json::Value::as_object) else {
        return Err(fail("it has no weight_map".to_owned()));
    };
    let names: BTreeSet<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
    if names.is_empty() {
        return Err(fail("its weight_map names no file".to_owned()));
    }
    for name in &names {
        if Path::new(name).components().count() != 1 || !name.ends_with(".safetensors") {
            return Err(fail(format!("{name:?} is not the name of a safetensors file in this folder")));
        }
        if !folder.join(name).exists() {
            return Err(fail(format!("{name} is missing; download all shards")));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The one file of a folder whose name and ending are wanted.
fn single_file(
    folder: &Path,
    kind: &str,
    is_wanted: impl Fn(&str, &str) -> bool,
) -> Result<Option<PathBuf>, ModelError> {
    let fail = |reason: String| ModelError::Folder { path: folder.to_owned(), reason };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| fail(error.to_string()))? {
        let path = entry.map_err(|error| fail(error.to_string()))?.path();
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        if is_wanted(&text(path.file_name()), &text(path.extension()).to_lowercase()) {
            found.push(path);
        }
    }
    if found.len() > 1 {
        return Err(fail(format!("it holds {} files {kind}; keep one", found.len())));
    }
    Ok(found.pop())
}
