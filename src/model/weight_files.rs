//! The weight files of a checkpoint folder: `model.safetensors`, shards with
//! `model.safetensors.index.json`, or `pytorch_model.bin`, and beside them CUT3R's own file,
//! `cut3r*.pth` or `cut3r*.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load as _, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::checkpoint::{CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE};
use super::config::ModelConfig;
use super::memory_plan::WeightCounts;
use super::pth::PthFile;
use super::published::{canonical_name, heads_by_shape, is_ignored};
use super::{ModelError, network};

const INDEX_FILE: &str = "model.safetensors.index.json";
/// Older checkpoints of transformers.
const PICKLED_FILE: &str = "pytorch_model.bin";
/// What the file name of CUT3R's weights begins with.
const CUT3R_FILE: &str = "cut3r";

/// Where a tensor lives.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: usize,
    /// Its name there.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
}

/// See [`super::checkpoint::files`].
pub(super) fn paths(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let mut paths = vec![folder.join(CONFIG_FILE)];
    paths.extend(weight_paths(folder)?);
    paths.extend(cut3r_file(folder)?);
    Ok(paths)
}

/// An opened file.
enum Source {
    Safetensors(Box<MmapedSafetensors>),
    Pth(PthFile),
}

/// The weight files of a folder with all their tensors by canonical name.
pub(super) struct WeightFiles {
    /// The file, or the folder of several, for messages.
    pub(super) location: PathBuf,
    sources: Vec<Source>,
    pub(super) places: BTreeMap<String, Place>,
}

impl WeightFiles {
    /// Opens all files of a folder; no tensor is read.
    pub(super) fn open(folder: &Path) -> Result<Self, ModelError> {
        let mut paths: Vec<(PathBuf, String)> =
            weight_paths(folder)?.into_iter().map(|path| (path, String::new())).collect();
        let prefix = format!("{}.", network::CAMERA_PREFIX);
        paths.extend(cut3r_file(folder)?.map(|path| (path, prefix)));
        let location = match paths.as_slice() {
            [(single, _)] => single.clone(),
            _ => folder.to_owned(),
        };
        let mut files = Self { location, sources: Vec::new(), places: BTreeMap::new() };
        for (path, prefix) in paths {
            files.add(&path, &prefix)?;
        }
        files.share_decoder();
        Ok(files)
    }

    /// Adds a file whose names get `prefix` before them.
    fn add(&mut self, path: &Path, prefix: &str) -> Result<(), ModelError> {
        let fail = |reason: String| ModelError::Weights { path: path.to_owned(), reason };
        let (source, tensors) = opened(path).map_err(|reason| fail(format!("cannot be read: {reason}")))?;
        let file = self.sources.len();
        for (name, shape, dtype) in tensors {
            let ours = canonical_name(&format!("{prefix}{name}"));
            if let Some(other) = self.places.insert(ours, Place { file, name: name.clone(), shape, dtype }) {
                return Err(fail(format!("{name} and {} are the same tensor of the network", other.name)));
            }
        }
        self.sources.push(source);
        Ok(())
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

    /// Numbers that the network will ask for, by part.
    pub(super) fn counts(&self, config: &ModelConfig) -> WeightCounts {
        let mut counts = WeightCounts::default();
        for (name, place) in self.places.iter().filter(|(name, _)| !is_ignored(name, config)) {
            let count = place.shape.iter().fold(1u64, |count, &side| count.saturating_mul(side as u64));
            let part = match name.as_str() {
                name if name.starts_with(network::CAMERA_PREFIX) => &mut counts.camera,
                name if name.starts_with(network::VISION_PREFIX) => &mut counts.vision,
                _ => &mut counts.language,
            };
            *part = part.saturating_add(count);
        }
        counts
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.places.get(name).map(|place| place.shape.as_slice())
    }

    /// The types of the numbers, the most frequent first.
    pub(super) fn types(&self) -> Vec<DType> {
        let mut counts: Vec<(DType, u64)> = Vec::new();
        for place in self.places.values() {
            let count = place.shape.iter().fold(1u64, |count, &side| count.saturating_mul(side as u64));
            match counts.iter_mut().find(|(dtype, _)| *dtype == place.dtype) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => counts.push((place.dtype, count)),
            }
        }
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts.into_iter().map(|(dtype, _)| dtype).collect()
    }

    /// Reads a tensor as it is stored; `None` when it holds NaN or infinity.
    pub(super) fn read(&self, place: &Place, device: &Device) -> candle_core::Result<Option<Tensor>> {
        match &self.sources[place.file] {
            Source::Safetensors(map) => {
                let view = map.get(&place.name)?;
                if is_finite(place.dtype, view.data()) { view.load(device).map(Some) } else { Ok(None) }
            }
            Source::Pth(file) => {
                let (dtype, bytes) = file
                    .read(&place.name)
                    .map_err(|reason| candle_core::Error::Msg(format!("{}: {reason}", place.name)))?;
                if !is_finite(dtype, &bytes) {
                    return Ok(None);
                }
                Tensor::from_raw_buffer(&bytes, dtype, &place.shape, device).map(Some)
            }
        }
    }
}

/// Name, shape and type of a tensor.
type Described = (String, Vec<usize>, DType);

/// A file with what its tensors are.
fn opened(path: &Path) -> Result<(Source, Vec<Described>), String> {
    if path.extension().is_some_and(|ending| ending == "safetensors") {
        #[expect(unsafe_code, reason = "a memory map is the only way to read 15 GB of weights once")]
        // SAFETY: the map is read only; a file that another program changes meanwhile
        // gives wrong numbers, which the check for NaN and the shapes bound.
        let map = unsafe { MmapedSafetensors::new(path) }.map_err(|error| error.to_string())?;
        let described = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
            let dtype = DType::try_from(view.dtype()).map_err(|error| format!("{name}: {error}"))?;
            Ok((name, view.shape().to_vec(), dtype))
        };
        let tensors = map.tensors().into_iter().map(described).collect::<Result<_, String>>()?;
        return Ok((Source::Safetensors(Box::new(map)), tensors));
    }
    let file = PthFile::open(path)?;
    let tensors = file
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec(), tensor.dtype()))
        .collect();
    Ok((Source::Pth(file), tensors))
}

/// The files named by the index, or the single file.
fn weight_paths(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join(INDEX_FILE);
    if !index.exists() {
        let single =
            [WEIGHTS_FILE, PICKLED_FILE].map(|name| folder.join(name)).into_iter().find(|path| path.exists());
        if let Some(single) = single {
            return Ok(vec![single]);
        }
        let reason = format!(
            "there is no {WEIGHTS_FILE}; a checkpoint folder holds {CONFIG_FILE}, {TOKENIZER_FILE} and {WEIGHTS_FILE}"
        );
        return Err(ModelError::Folder { path: folder.to_owned(), reason });
    }
    let fail = |reason: String| ModelError::Weights { path: index.clone(), reason };
    let bytes = std::fs::read(&index).map_err(|error| fail(error.to_string()))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
    let Some(map) = json.get("weight_map").and_then(serde_json::Value::as_object) else {
        return Err(fail("it has no weight_map".to_owned()));
    };
    let names: BTreeSet<&str> = map.values().filter_map(serde_json::Value::as_str).collect();
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

/// CUT3R's own file beside the others.
fn cut3r_file(folder: &Path) -> Result<Option<PathBuf>, ModelError> {
    let fail = |reason: String| ModelError::Folder { path: folder.to_owned(), reason };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| fail(error.to_string()))? {
        let path = entry.map_err(|error| fail(error.to_string()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_weights = path.extension().is_some_and(|ending| ending == "pth" || ending == "safetensors");
        if name.starts_with(CUT3R_FILE) && is_weights {
            found.push(path);
        }
    }
    if found.len() > 1 {
        return Err(fail(format!("it holds {} files of CUT3R; keep one", found.len())));
    }
    Ok(found.pop())
}

/// Whether no number has all exponent bits set.
fn is_finite(dtype: DType, bytes: &[u8]) -> bool {
    let halves = |exponent: u16| {
        bytes.par_chunks_exact(2).all(|b| u16::from_le_bytes([b[0], b[1]]) & exponent != exponent)
    };
    match dtype {
        DType::F16 => halves(0x7c00),
        DType::BF16 => halves(0x7f80),
        DType::F32 => bytes
            .par_chunks_exact(4)
            .all(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7f80_0000 != 0x7f80_0000),
        _ => true,
    }
}
