//! One GGUF file out of a checkpoint: the language model's matrices quantised, everything
//! else as it is, `config.json` and `tokenizer.json` in its metadata.
//!
//! Tensors go from file to file one at a time. What was written is read back afterwards and
//! compared with what was meant; how far that is from the source is measured while it is
//! quantised.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::checkpoint::{generation_text, is_gguf, open, read_tokenizer};
use super::convert::raw_bytes;
use super::gguf::{GgufFile, Value, Written, names, write_header, write_tensor};
use super::published::is_ignored;
use super::weight_files::{Place, WeightFiles};
use super::{ModelError, NumberType, network};

/// Numbers that one thread quantises at a time.
const CHUNK: usize = 1 << 20;

/// The types offered for the language model's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 8.5 bits a number.
    Q8_0,
    /// 6.6 bits a number.
    Q6K,
    /// 5.5 bits a number.
    Q5K,
    /// 4.5 bits a number.
    Q4K,
}

impl Quantization {
    /// What a matrix with rows of `width` numbers becomes: the type itself, or, where rows are
    /// no whole blocks of it, a type of smaller blocks and no fewer bits, or f16. llama.cpp
    /// chooses the same.
    pub(super) fn for_rows(self, width: usize) -> NumberType {
        let (wanted, instead) = match self {
            Self::Q8_0 => (GgmlDType::Q8_0, GgmlDType::Q8_0),
            Self::Q6K => (GgmlDType::Q6K, GgmlDType::Q8_0),
            Self::Q5K => (GgmlDType::Q5K, GgmlDType::Q5_1),
            Self::Q4K => (GgmlDType::Q4K, GgmlDType::Q5_0),
        };
        let fitting = [wanted, instead].into_iter().find(|kind| width.is_multiple_of(kind.block_size()));
        fitting.map_or(NumberType::Plain(DType::F16), NumberType::Blocks)
    }

    /// "q4_K".
    pub fn name(self) -> &'static str {
        self.numbers().name()
    }

    /// The type of rows that are whole blocks.
    fn numbers(self) -> NumberType {
        self.for_rows(0)
    }
}

/// What became of the tensors of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KindReport {
    /// Type of their numbers.
    pub numbers: NumberType,
    /// Tensors.
    pub tensors: usize,
    /// Bytes in the file.
    pub bytes: u64,
    /// Largest ‖written − source‖ / ‖source‖ of one of them.
    pub difference: f64,
    /// Length of the rows that are no whole blocks of the type that was asked for.
    pub unfit: Option<usize>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// By kind ("attn_q", "vision") and name of the type.
    pub kinds: BTreeMap<(String, &'static str), KindReport>,
    /// Tensors.
    pub tensors: usize,
    /// Tensors of the source that the network has no use for.
    pub left_out: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes the checkpoint at `from` to the new GGUF file `to`. `others` is the type of what is
/// not quantised; as it is when absent. `progress` hears how many tensors of how many are
/// written.
///
/// # Errors
/// When a file cannot be read or written, a tensor holds NaN or is quantised already, or what
/// was written does not read back as it should.
pub fn quantize(
    from: &Path,
    to: &Path,
    quantization: Quantization,
    others: Option<DType>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Quantized, ModelError> {
    let write_error = |reason: String| ModelError::Write { path: to.to_owned(), reason };
    if to.exists() {
        return Err(write_error("it is there already".to_owned()));
    }
    if !is_gguf(to) {
        return Err(write_error("a quantised model is one file whose name ends with .gguf".to_owned()));
    }
    let (files, mut config) = open(from)?;
    let tokenizer = read_tokenizer(from, &files, &config)?;
    config.tokenizer_entries = tokenizer.entries();
    let (unused, used): (Vec<_>, Vec<_>) =
        files.places.iter().partition(|(name, _)| is_ignored(name, &config));
    let written = used
        .iter()
        .map(|&(name, place)| planned(name, place, quantization, others))
        .collect::<Result<Vec<_>, String>>()
        .map_err(|reason| ModelError::Weights { path: from.to_owned(), reason })?;
    let mut values = names::metadata(&config.language);
    let json = serde_json::to_string(&config).map_err(|error| write_error(error.to_string()))?;
    values.push(("general.name", Value::Text(config.name.clone())));
    values.push((names::CONFIG_KEY, Value::Text(json)));
    values.push((names::TOKENIZER_KEY, Value::Text(tokenizer.json().map_err(write_error)?)));
    if let Some((_, text)) = generation_text(from, &files)? {
        values.push((names::GENERATION_KEY, Value::Text(text)));
    }

    let partial = to.with_extension("gguf.partial");
    let tensors = Tensors { files: &files, used: &used, written: &written, quantization };
    let kinds = tensors.write(&partial, &values, progress).and_then(|(kinds, digests)| {
        let read_back = GgufFile::open(&partial).and_then(|file| tensors.check(&file, &digests));
        read_back.map_err(write_error).map(|()| kinds)
    });
    let kinds = kinds.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    fs::rename(&partial, to).map_err(|error| write_error(error.to_string()))?;
    let bytes = fs::metadata(to).map_err(|error| write_error(error.to_string()))?.len();
    Ok(Quantized { kinds, tensors: used.len(), left_out: unused.len(), bytes })
}

/// Name and type of a tensor in the new file.
fn planned(
    name: &str,
    place: &Place,
    quantization: Quantization,
    others: Option<DType>,
) -> Result<Written, String> {
    let NumberType::Plain(stored) = place.numbers else {
        return Err(format!(
            "{} is quantised already ({}); quantise the model that this one was made from",
            place.name,
            place.numbers.name()
        ));
    };
    let numbers = if names::is_matrix(name, &place.shape) {
        quantization.for_rows(place.shape.last().copied().unwrap_or_default())
    } else if names::is_language(name) {
        // Norms and biases are few and matter much.
        NumberType::Plain(DType::F32)
    } else {
        match others.unwrap_or(stored) {
            kept @ (DType::F32 | DType::F16 | DType::BF16) => NumberType::Plain(kept),
            _ => NumberType::Plain(DType::F32),
        }
    };
    let name = names::gguf_name(name).unwrap_or_else(|| name.to_owned());
    Ok(Written { name, shape: place.shape.clone(), numbers })
}

type Digests = Vec<[u8; 32]>;
type Kinds = BTreeMap<(String, &'static str), KindReport>;

/// The tensors that go from file to file.
struct Tensors<'a> {
    files: &'a WeightFiles,
    used: &'a [(&'a String, &'a Place)],
    written: &'a [Written],
    quantization: Quantization,
}

impl Tensors<'_> {
    /// Writes all of them; gives what became of them and a digest of the bytes of each.
    fn write(
        &self,
        path: &Path,
        values: &[(&str, Value)],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Kinds, Digests), ModelError> {
        let write_error =
            |error: io::Error| ModelError::Write { path: path.to_owned(), reason: error.to_string() };
        let mut file = BufWriter::new(File::create(path).map_err(write_error)?);
        write_header(&mut file, values, self.written).map_err(write_error)?;
        let (mut kinds, mut digests) = (Kinds::new(), Digests::new());
        for ((name, place), written) in self.used.iter().zip(self.written) {
            let encoded = self.encoded(place, written).map_err(|reason| ModelError::Weights {
                path: self.files.location.clone(),
                reason: format!("{}: {reason}", self.files.described(place)),
            })?;
            write_tensor(&mut file, &encoded.bytes).map_err(write_error)?;
            digests.push(Sha256::digest(&encoded.bytes).into());
            let kind =
                kinds.entry((kind_of(name, &written.name), written.numbers.name())).or_insert(KindReport {
                    numbers: written.numbers,
                    tensors: 0,
                    bytes: 0,
                    difference: 0.0,
                    unfit: self.unfit(name, written),
                });
            kind.tensors += 1;
            kind.bytes += encoded.bytes.len() as u64;
            kind.difference = kind.difference.max(encoded.difference);
            progress(digests.len(), self.written.len());
        }
        file.flush().map_err(write_error)?;
        file.get_ref().sync_all().map_err(write_error)?;
        Ok((kinds, digests))
    }

    fn unfit(&self, name: &str, written: &Written) -> Option<usize> {
        let is_unfit =
            names::is_matrix(name, &written.shape) && written.numbers != self.quantization.numbers();
        written.shape.last().copied().filter(|_| is_unfit)
    }

    /// Compares what the file holds with what was written.
    fn check(&self, file: &GgufFile, digests: &Digests) -> Result<(), String> {
        for (written, digest) in self.written.iter().zip(digests) {
            let described = file
                .tensor(&written.name)
                .is_some_and(|stored| stored.shape == written.shape && stored.numbers == written.numbers);
            let found: [u8; 32] = Sha256::digest(file.read(&written.name)?).into();
            if !described || found != *digest {
                return Err(format!("{} does not read back as it was written", written.name));
            }
        }
        Ok(())
    }

    /// A tensor of the source as it is to be written.
    fn encoded(&self, place: &Place, written: &Written) -> Result<Encoded, String> {
        let tensor = self.files.read(place, &Device::Cpu).map_err(|error| error.to_string())?;
        let tensor = tensor.ok_or_else(|| "it holds NaN or infinity".to_owned())?;
        let encoded = Encoded::new(&tensor, written.numbers).map_err(|error| error.to_string())?;
        if !written.numbers.is_finite(&encoded.bytes) {
            return Err(format!("its numbers are too large for {}", written.numbers.name()));
        }
        Ok(encoded)
    }
}

/// The bytes of a tensor with what they lost.
struct Encoded {
    bytes: Vec<u8>,
    /// ‖written − source‖ / ‖source‖.
    difference: f64,
}

impl Encoded {
    fn new(tensor: &Tensor, numbers: NumberType) -> candle_core::Result<Self> {
        let width = tensor.dims().last().copied().unwrap_or(1).max(1);
        let rows = tensor.elem_count() / width;
        let tensor = tensor.reshape((rows, width))?;
        let step = (CHUNK / width).max(1);
        let chunks = (0..rows)
            .into_par_iter()
            .step_by(step)
            .map(|start| chunk(&tensor.narrow(0, start, step.min(rows - start))?, numbers))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let (mut bytes, mut lost, mut all) = (Vec::new(), 0.0, 0.0);
        for (part, part_lost, part_all) in chunks {
            bytes.extend(part);
            lost += part_lost;
            all += part_all;
        }
        let difference = if lost == 0.0 { 0.0 } else { (lost / all).sqrt() };
        Ok(Self { bytes, difference })
    }
}

/// Bytes of some rows, and the sums of squares of what they lost and of what they were.
fn chunk(rows: &Tensor, numbers: NumberType) -> candle_core::Result<(Vec<u8>, f64, f64)> {
    // candle quantises the whole storage, of which the rows may be a part: they are copied.
    let source = rows.to_dtype(DType::F32)?.force_contiguous()?;
    let bytes = match numbers {
        NumberType::Plain(dtype) => raw_bytes(&rows.to_dtype(dtype)?)?,
        NumberType::Blocks(kind) => QTensor::quantize(&source, kind)?.data()?.into_owned(),
    };
    let copy = numbers.tensor(bytes.clone(), source.dims(), &Device::Cpu)?.to_dtype(DType::F32)?;
    let squares = |x: &Tensor| x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>();
    Ok((bytes, squares(&(copy - &source)?)?, squares(&source)?))
}

/// "attn_q" of "blk.7.attn_q.weight"; the part of the network for what is not quantised.
fn kind_of(ours: &str, theirs: &str) -> String {
    if names::is_language(ours) {
        let inside = theirs.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map(|(_, rest)| rest);
        let parts: Vec<&str> = inside.unwrap_or(theirs).split('.').collect();
        return match parts.as_slice() {
            [name, "bias"] => format!("{name} bias"),
            [name, ..] => (*name).to_owned(),
            [] => theirs.to_owned(),
        };
    }
    let parts = [(network::CAMERA_PREFIX, "camera encoder"), (network::VISION_PREFIX, "vision tower")];
    let part = parts.iter().find(|(prefix, _)| ours.starts_with(prefix));
    part.map_or("projector and heads", |(_, part)| part).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_no_whole_blocks_get_smaller_blocks_or_none() {
        let name = |quantization: Quantization, width| quantization.for_rows(width).name();
        assert_eq!(name(Quantization::Q4K, 3584), "q4_K");
        // The width of Qwen2-0.5B.
        assert_eq!(name(Quantization::Q4K, 896), "q5_0");
        assert_eq!(name(Quantization::Q5K, 896), "q5_1");
        assert_eq!(name(Quantization::Q6K, 896), "q8_0");
        assert_eq!(name(Quantization::Q8_0, 896), "q8_0");
        assert_eq!(name(Quantization::Q4K, 40), "f16");
        assert_eq!(Quantization::Q6K.name(), "q6_K");
    }

    #[test]
    fn rows_are_quantised_the_same_whole_or_in_chunks() {
        let values: Vec<f32> = (0..9 * 4096 * 64).map(|i| (i as f32 * 0.37).sin()).collect();
        let tensor = Tensor::from_vec(values, (9 * 64, 4096), &Device::Cpu).unwrap();
        for (kind, most) in [(GgmlDType::Q8_0, 0.01), (GgmlDType::Q6K, 0.03), (GgmlDType::Q4K, 0.1)] {
            let encoded = Encoded::new(&tensor, NumberType::Blocks(kind)).unwrap();
            let whole = QTensor::quantize(&tensor, kind).unwrap();
            assert!(encoded.bytes == whole.data().unwrap().as_ref(), "{kind:?}");
            assert!(
                encoded.difference > 0.0 && encoded.difference < most,
                "{kind:?}: {}",
                encoded.difference
            );
        }
        let plain = Encoded::new(&tensor, NumberType::Plain(DType::F32)).unwrap();
        assert_eq!((plain.bytes.len(), plain.difference), (4 * tensor.elem_count(), 0.0));
    }
}
