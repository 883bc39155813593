//! One checkpoint folder out of separate parts: shards, other tensor names, CUT3R's own file.
//!
//! Tensors go from file to file one at a time, so that 15 GB need no memory, and are read
//! back afterwards.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, View};

use super::checkpoint::{
    GENERATION_FILE, TOKENIZER_FILE, WEIGHTS_FILE, check_new, generation_text, open, read_tokenizer,
    write_config,
};
use super::published::is_ignored;
use super::weight_files::{Place, WeightFiles};
use super::{ModelError, NumberType};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// Tensors.
    pub tensors: usize,
    /// Tensors of the source that the network has no use for.
    pub left_out: usize,
    /// Bytes of the weight file.
    pub bytes: u64,
}

/// Writes the checkpoint in `from` to the new folder `to`, with the network's own names in
/// one file and our `config.json`; numbers as `dtype`, or as they are. `progress` hears how
/// many tensors of how many are written.
///
/// # Errors
/// When a file cannot be read or written, a tensor holds NaN, or what was written does not
/// read back as it should.
pub fn convert(
    from: &Path,
    to: &Path,
    dtype: Option<DType>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Converted, ModelError> {
    let write_error = |reason: String| ModelError::Write { path: to.to_owned(), reason };
    check_new(to)?;
    let (files, mut config) = open(from)?;
    let tokenizer = read_tokenizer(from, &files, &config)?;
    config.tokenizer_entries = tokenizer.entries();
    let (unused, used): (Vec<_>, Vec<_>) =
        files.places.iter().partition(|(name, _)| is_ignored(name, &config));

    fs::create_dir_all(to).map_err(|error| write_error(error.to_string()))?;
    let state = Writing {
        done: Cell::new(0),
        total: used.len(),
        failed: RefCell::new(None),
        progress: RefCell::new(progress),
    };
    let tensors = used
        .iter()
        .map(|&(name, place)| {
            let dtype = written_as(name, place, dtype)
                .map_err(|reason| ModelError::Weights { path: from.to_owned(), reason })?;
            Ok((name.as_str(), StoredTensor { files: &files, place, dtype, state: &state }))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let partial = to.join(format!("{WEIGHTS_FILE}.partial"));
    let written = safetensors::serialize_to_file(tensors, None, &partial);
    if let Some(reason) = state.failed.take() {
        fs::remove_file(&partial).map_err(|error| write_error(error.to_string()))?;
        return Err(ModelError::Weights { path: from.to_owned(), reason });
    }
    written.map_err(|error| write_error(error.to_string()))?;
    let path = to.join(WEIGHTS_FILE);
    fs::rename(&partial, &path).map_err(|error| write_error(error.to_string()))?;
    tokenizer.save(&to.join(TOKENIZER_FILE))?;
    if let Some((_, text)) = generation_text(from, &files)? {
        fs::write(to.join(GENERATION_FILE), text).map_err(|error| write_error(error.to_string()))?;
    }
    write_config(to, &config)?;
    read_back(&files, &used, to, dtype)?;
    let bytes = fs::metadata(&path).map_err(|error| write_error(error.to_string()))?.len();
    Ok(Converted { tensors: used.len(), left_out: unused.len(), bytes })
}

/// Compares every tensor that was written with the one it came from.
fn read_back(
    files: &WeightFiles,
    used: &[(&String, &Place)],
    to: &Path,
    dtype: Option<DType>,
) -> Result<(), ModelError> {
    let written = WeightFiles::open(to)?;
    for (name, place) in used {
        let same = written.places.get(*name).is_some_and(|copy| {
            let wanted = written_as(name, place, dtype).and_then(|dtype| bytes_of(files, place, dtype));
            let found = written_as(name, copy, None).and_then(|dtype| bytes_of(&written, copy, dtype));
            wanted.is_ok() && wanted == found
        });
        if !same {
            let reason = format!("{name} does not read back as it was written; check the disk");
            return Err(ModelError::Write { path: to.join(WEIGHTS_FILE), reason });
        }
    }
    Ok(())
}

/// The type of the numbers in the new file.
fn written_as(name: &str, place: &Place, dtype: Option<DType>) -> Result<DType, String> {
    match (dtype, place.numbers) {
        (Some(dtype), _) | (None, NumberType::Plain(dtype)) => Ok(dtype),
        (None, blocks) => Err(format!(
            "{name} is stored as {}, which safetensors do not hold; say --as f16, or --quantize for a GGUF file",
            blocks.name()
        )),
    }
}

/// How far the writing has come.
struct Writing<'a> {
    done: Cell<usize>,
    total: usize,
    /// The first problem: a view cannot return errors.
    failed: RefCell<Option<String>>,
    progress: RefCell<&'a mut dyn FnMut(usize, usize)>,
}

/// A tensor that is read when it is written.
struct StoredTensor<'a> {
    files: &'a WeightFiles,
    place: &'a Place,
    dtype: DType,
    state: &'a Writing<'a>,
}

impl View for StoredTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype.into()
    }

    fn shape(&self) -> &[usize] {
        &self.place.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let failed = self.state.failed.borrow().is_some();
        let bytes = if failed { Ok(Vec::new()) } else { bytes_of(self.files, self.place, self.dtype) };
        self.state.done.set(self.state.done.get() + 1);
        (self.state.progress.borrow_mut())(self.state.done.get(), self.state.total);
        match bytes {
            Ok(bytes) => Cow::Owned(bytes),
            Err(reason) => {
                let described = self.files.described(self.place);
                *self.state.failed.borrow_mut() = Some(format!("{described}: {reason}"));
                Cow::Owned(Vec::new())
            }
        }
    }

    fn data_len(&self) -> usize {
        self.place.shape.iter().product::<usize>() * self.dtype.size_in_bytes()
    }
}

/// The numbers of a tensor as `dtype`, little-endian.
fn bytes_of(files: &WeightFiles, place: &Place, dtype: DType) -> Result<Vec<u8>, String> {
    let tensor = files.read(place, &Device::Cpu).map_err(|error| error.to_string())?;
    let tensor = tensor.ok_or_else(|| "it holds NaN or infinity".to_owned())?;
    raw_bytes(&tensor.to_dtype(dtype).map_err(|error| error.to_string())?).map_err(|error| error.to_string())
}

/// The numbers of a tensor, little-endian.
pub(super) fn raw_bytes(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => flat.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::F16 => flat.to_vec1::<half::f16>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::BF16 => flat.to_vec1::<half::bf16>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::F64 => flat.to_vec1::<f64>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::I64 => flat.to_vec1::<i64>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DType::U8 => flat.to_vec1::<u8>()?,
        other => candle_core::bail!("numbers of type {} are not written", other.as_str()),
    })
}
