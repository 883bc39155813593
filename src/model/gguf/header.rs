//! The header of a GGUF file, checked against the length of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Seek};

use super::{ALIGNMENT, MAGIC, MOST_DIMENSIONS};
use crate::model::number_type::NumberType;

/// Key of the kind of model.
pub(in crate::model) const ARCHITECTURE: &str = "general.architecture";
const ALIGNMENT_KEY: &str = "general.alignment";
/// Keys that begin so are kept; vocabularies and the like are read over.
const KEPT: [&str; 3] = ["qwen2.", "loc3r.", "split."];
/// Bytes of a name or key: the format allows no more.
const LONGEST_NAME: u64 = 65_535;
/// Bytes of a text that is kept.
const LONGEST_TEXT: u64 = 256 << 20;
/// Arrays within arrays.
const DEEPEST_ARRAY: usize = 4;
/// Bytes that an entry takes at least: length of its name, type and a value of one byte.
const SMALLEST_ENTRY: u64 = 8 + 4 + 1;
/// Length of its name, number of dimensions, one dimension, type and offset.
const SMALLEST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) enum Value {
    Text(String),
    Whole(u64),
    Real(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Real(real) => write!(f, "{real}"),
        }
    }
}

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) struct Stored {
    /// Outermost dimension first, as everywhere but in the file.
    pub(in crate::model) shape: Vec<usize>,
    pub(in crate::model) numbers: NumberType,
    /// First byte, counted from the beginning of the file.
    pub(super) start: u64,
    pub(super) bytes: usize,
}

/// What a file says of itself.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// The values that this program knows.
    pub(super) values: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Stored>,
}

impl Header {
    /// Reads the header of a file of `length` bytes.
    ///
    /// # Errors
    /// One sentence; that of a tensor names it.
    pub(super) fn read(source: &mut (impl Read + Seek), length: u64) -> Result<Self, String> {
        let mut reader = Reader { source, position: 0, length };
        if reader.bytes::<4>()? != MAGIC {
            return Err("it does not begin with GGUF".to_owned());
        }
        match reader.u32()? {
            2 | 3 => {}
            1 => {
                return Err("it has version 1 of the format; make it again with a newer llama.cpp".to_owned());
            }
            other if matches!(other.swap_bytes(), 1..=3) => {
                return Err(
                    "it was made for big-endian machines; make it again for little-endian ones".to_owned()
                );
            }
            other => return Err(format!("it has version {other} of the format, 2 and 3 are known")),
        }
        let (tensors, entries) = (reader.u64()?, reader.u64()?);
        let least = tensors.checked_mul(SMALLEST_TENSOR).zip(entries.checked_mul(SMALLEST_ENTRY));
        let least = least.and_then(|(tensors, entries)| tensors.checked_add(entries));
        if least.is_none_or(|least| least > reader.left()) {
            return Err(format!(
                "its header tells of {tensors} tensors and {entries} entries, for which the file is too short; download it again"
            ));
        }
        let mut header = Self::default();
        for _ in 0..entries {
            let key =
                reader.text(LONGEST_NAME).map_err(|reason| format!("a key cannot be read: {reason}"))?;
            let is_kept =
                key == ARCHITECTURE || key == ALIGNMENT_KEY || KEPT.iter().any(|kept| key.starts_with(kept));
            let value = reader.value(is_kept).map_err(|reason| format!("{key:?}: {reason}"))?;
            if let Some(value) = value
                && header.values.insert(key.clone(), value).is_some()
            {
                return Err(format!("{key:?} is there twice"));
            }
        }
        header.read_tensors(&mut reader, tensors)?;
        Ok(header)
    }

    fn read_tensors(&mut self, reader: &mut Reader<'_, impl Read + Seek>, count: u64) -> Result<(), String> {
        for _ in 0..count {
            let name = reader
                .text(LONGEST_NAME)
                .map_err(|reason| format!("the name of a tensor cannot be read: {reason}"))?;
            let stored = reader.tensor().map_err(|reason| format!("tensor {name:?}: {reason}"))?;
            if self.tensors.insert(name.clone(), stored).is_some() {
                return Err(format!("tensor {name:?} is there twice"));
            }
        }
        let alignment = match self.values.get(ALIGNMENT_KEY) {
            None => ALIGNMENT,
            // Smaller ones would put blocks at odd addresses.
            Some(Value::Whole(given)) if *given >= 8 && given.is_power_of_two() => *given,
            Some(other) => {
                return Err(format!("{ALIGNMENT_KEY} is {other}, it must be a power of two from 8 up"));
            }
        };
        let data = reader.position.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        for (name, stored) in &mut self.tensors {
            if !stored.start.is_multiple_of(alignment) {
                return Err(format!(
                    "tensor {name:?} begins at {}, no multiple of {alignment}",
                    stored.start
                ));
            }
            let start = data.checked_add(stored.start);
            let end = start.and_then(|start| start.checked_add(stored.bytes as u64));
            match start.zip(end) {
                Some((start, end)) if end <= reader.length => stored.start = start,
                _ => {
                    return Err(format!(
                        "tensor {name:?} lies beyond the end of the file ({} bytes at {} of the data, the file has {}); download it again",
                        stored.bytes, stored.start, reader.length
                    ));
                }
            }
        }
        self.check_overlap()
    }

    /// Many names for the same bytes would need more memory than the file has bytes.
    fn check_overlap(&self) -> Result<(), String> {
        let mut places: Vec<(u64, usize, &str)> =
            self.tensors.iter().map(|(name, stored)| (stored.start, stored.bytes, name.as_str())).collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            if let [(start, bytes, first), (next, _, second)] = pair
                && start.saturating_add(*bytes as u64) > *next
            {
                return Err(format!("tensors {first:?} and {second:?} lie in the same bytes"));
            }
        }
        Ok(())
    }
}

/// Reads forwards, and never asks for more than the file has.
struct Reader<'a, R> {
    source: &'a mut R,
    position: u64,
    length: u64,
}

impl<R: Read + Seek> Reader<'_, R> {
    fn left(&self) -> u64 {
        self.length.saturating_sub(self.position)
    }

    fn take(&mut self, count: u64) -> Result<(), String> {
        if count > self.left() {
            return Err(format!(
                "{count} bytes are wanted where {} are left; the file is cut short or damaged",
                self.left()
            ));
        }
        self.position += count;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N as u64)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), String> {
        self.take(count)?;
        let count = i64::try_from(count).map_err(|error| error.to_string())?;
        self.source.seek_relative(count).map_err(|error| error.to_string())
    }

    fn text(&mut self, longest: u64) -> Result<String, String> {
        let count = self.u64()?;
        if count > longest {
            return Err(format!("a text has {count} bytes, at most {longest} are allowed"));
        }
        self.take(count)?;
        let mut bytes = vec![0; usize::try_from(count).map_err(|error| error.to_string())?];
        self.source.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|error| format!("a text is not UTF-8: {error}"))
    }

    /// The next value; `None` for arrays and where it is not wanted.
    fn value(&mut self, is_wanted: bool) -> Result<Option<Value>, String> {
        let kind = self.u32()?;
        let value = match kind {
            8 if is_wanted => return self.text(LONGEST_TEXT).map(Value::Text).map(Some),
            8 | 9 => {
                self.skip_value(kind, 0)?;
                return Ok(None);
            }
            0 | 7 => Value::Whole(u64::from(u8::from_le_bytes(self.bytes()?))),
            1 => signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => Value::Whole(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => Value::Whole(u64::from(self.u32()?)),
            5 => signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => Value::Real(f64::from(f32::from_le_bytes(self.bytes()?))),
            10 => Value::Whole(self.u64()?),
            11 => signed(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Real(f64::from_le_bytes(self.bytes()?)),
            other => return Err(format!("a value has type {other}, which the format does not know")),
        };
        Ok(is_wanted.then_some(value))
    }

    fn skip_value(&mut self, kind: u32, depth: usize) -> Result<(), String> {
        match kind {
            8 => {
                let count = self.u64()?;
                self.skip(count)
            }
            9 if depth >= DEEPEST_ARRAY => Err(format!("arrays are nested more than {DEEPEST_ARRAY} deep")),
            9 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                if let Some(size) = fixed_size(kind) {
                    return self.skip(count.saturating_mul(size));
                }
                // Every text and array has at least its length: the file bounds the loop.
                if count.saturating_mul(8) > self.left() {
                    return Err(format!("an array has {count} entries, for which the file is too short"));
                }
                (0..count).try_for_each(|_| self.skip_value(kind, depth + 1))
            }
            _ => match fixed_size(kind) {
                Some(size) => self.skip(size),
                None => Err(format!("a value has type {kind}, which the format does not know")),
            },
        }
    }

    /// What a tensor is; `start` still counts from the beginning of the data.
    fn tensor(&mut self) -> Result<Stored, String> {
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MOST_DIMENSIONS {
            return Err(format!("it has {dimensions} dimensions, 1 to {MOST_DIMENSIONS} are allowed"));
        }
        let mut shape = (0..dimensions)
            .map(|_| usize::try_from(self.u64()?).map_err(|error| error.to_string()))
            .collect::<Result<Vec<_>, String>>()?;
        shape.reverse();
        let (code, start) = (self.u32()?, self.u64()?);
        let Some(numbers) = NumberType::from_gguf(code) else {
            return Err(format!(
                "its numbers have type {code}, which cannot be read; make the file with one of {}",
                NumberType::gguf_names()
            ));
        };
        match numbers.bytes(&shape) {
            Some(bytes) if bytes > 0 => Ok(Stored { shape, numbers, start, bytes }),
            _ => Err(format!("its shape {shape:?} is impossible for numbers of type {}", numbers.name())),
        }
    }
}

fn signed(value: i64) -> Value {
    u64::try_from(value).map_or(Value::Real(value as f64), Value::Whole)
}

/// Bytes of a value of a type that has always as many.
fn fixed_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use candle_core::DType;
    use candle_core::quantized::GgmlDType;
    use candle_core::quantized::gguf_file::{Content, Value as Theirs, write};
    use proptest::prelude::*;

    use super::super::{Written, write_header, write_tensor};
    use super::*;

    /// A small file with texts, numbers and three tensors.
    fn file() -> Vec<u8> {
        let values = [
            (ARCHITECTURE, Value::Text("qwen2".to_owned())),
            ("qwen2.block_count", Value::Whole(3)),
            ("qwen2.rope.freq_base", Value::Real(1e6)),
            ("tokenizer.ggml.model", Value::Text("gpt2".to_owned())),
        ];
        let tensor = |name: &str, shape: &[usize], numbers| Written {
            name: name.to_owned(),
            shape: shape.to_vec(),
            numbers,
        };
        let tensors = [
            tensor("token_embd.weight", &[3, 32], NumberType::Blocks(GgmlDType::Q8_0)),
            tensor("blk.0.attn_q.weight", &[2, 256], NumberType::Blocks(GgmlDType::Q4K)),
            tensor("blk.0.attn_q.bias", &[5], NumberType::Plain(DType::F32)),
        ];
        let mut file = Cursor::new(Vec::new());
        write_header(&mut file, &values, &tensors).unwrap();
        for tensor in &tensors {
            write_tensor(&mut file, &vec![7; tensor.numbers.bytes(&tensor.shape).unwrap()]).unwrap();
        }
        file.into_inner()
    }

    fn read(bytes: &[u8]) -> Result<Header, String> {
        Header::read(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    /// The file with `old` replaced by `new` where it first stands.
    fn changed(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut bytes = file();
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        bytes.splice(at..at + old.len(), new.iter().copied());
        bytes
    }

    /// The file with the bytes behind the first `mark` replaced.
    fn changed_behind(mark: &[u8], skip: usize, new: &[u8]) -> Vec<u8> {
        let mut bytes = file();
        let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len() + skip;
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = file();
        let header = read(&bytes).unwrap();
        assert_eq!(header.values[ARCHITECTURE], Value::Text("qwen2".to_owned()));
        assert_eq!(header.values["qwen2.block_count"], Value::Whole(3));
        assert_eq!(header.values["qwen2.rope.freq_base"], Value::Real(1e6));
        assert!(!header.values.contains_key("tokenizer.ggml.model"));
        let tensor = &header.tensors["blk.0.attn_q.weight"];
        assert_eq!((tensor.shape.as_slice(), tensor.numbers.name()), ([2, 256].as_slice(), "q4_K"));
        for tensor in header.tensors.values() {
            let start = tensor.start as usize;
            assert!(bytes[start..start + tensor.bytes].iter().all(|&byte| byte == 7));
        }
    }

    /// candle reads what we write, and the other way round.
    #[test]
    fn candle_understands_the_same() {
        let bytes = file();
        let theirs = Content::read(&mut Cursor::new(&bytes)).unwrap();
        for (name, stored) in read(&bytes).unwrap().tensors {
            let info = &theirs.tensor_infos[&name];
            assert_eq!(info.shape.dims(), stored.shape);
            assert_eq!(theirs.tensor_data_offset + info.offset, stored.start);
        }
    }

    #[test]
    fn arrays_are_read_over() {
        let words = Theirs::Array(["a", "bc", ""].map(|word| Theirs::String(word.to_owned())).to_vec());
        let nested = Theirs::Array(vec![Theirs::Array(vec![Theirs::F32(1.0); 3]), words.clone()]);
        let layers = Theirs::I32(2);
        let mut bytes = Cursor::new(Vec::new());
        let values = [("a.words", &words), ("a.nested", &nested), ("qwen2.block_count", &layers)];
        write(&mut bytes, &values, &[]).unwrap();
        let header = read(bytes.get_ref()).unwrap();
        assert_eq!(
            header.values.into_iter().collect::<Vec<_>>(),
            [("qwen2.block_count".to_owned(), Value::Whole(2))]
        );
    }

    #[test]
    fn a_file_that_lies_is_refused_and_the_tensor_named() {
        let name = b"blk.0.attn_q.weight";
        // Behind a name: number of dimensions (4 bytes), width and rows (8 each), type (4), offset (8).
        let cases: [(Vec<u8>, &[&str]); 12] = [
            (b"GGML rest".to_vec(), &["does not begin with GGUF"]),
            (changed(b"GGUF\x03\0\0\0", b"GGUF\x01\0\0\0"), &["version 1"]),
            (changed(b"GGUF\x03\0\0\0", b"GGUF\0\0\0\x03"), &["big-endian"]),
            (changed_behind(b"GGUF\x03\0\0\0", 0, &[255; 8]), &["too short"]),
            (changed_behind(b"GGUF\x03\0\0\0", 0, &(1u64 << 40).to_le_bytes()), &["too short"]),
            (changed_behind(name, 0, &9u32.to_le_bytes()), &["blk.0.attn_q.weight", "9 dimensions"]),
            // Widths whose product has no room wrap around in a product that is not checked.
            (changed_behind(name, 4, &(1u64 << 63).to_le_bytes()), &["blk.0.attn_q.weight", "impossible"]),
            (
                changed_behind(name, 12, &(1u64 << 40).to_le_bytes()),
                &["blk.0.attn_q.weight", "beyond the end"],
            ),
            (changed_behind(name, 4, &255u64.to_le_bytes()), &["blk.0.attn_q.weight", "impossible"]),
            (changed_behind(name, 20, &16u32.to_le_bytes()), &["blk.0.attn_q.weight", "type 16", "q4_K"]),
            (changed_behind(name, 24, &5u64.to_le_bytes()), &["blk.0.attn_q.weight", "no multiple"]),
            (changed_behind(name, 24, &0u64.to_le_bytes()), &["blk.0.attn_q.weight", "same bytes"]),
        ];
        for (bytes, parts) in cases {
            let message = read(&bytes).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{part:?} is missing in: {message}");
            }
        }
        for alignment in [0, 3, 4] {
            let mut bytes = Cursor::new(Vec::new());
            write(&mut bytes, &[("general.alignment", &Theirs::U32(alignment))], &[]).unwrap();
            let message = read(bytes.get_ref()).unwrap_err();
            assert!(message.contains("general.alignment"), "{message}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = file();
        // The last tensor is padded: without its padding the file is whole.
        let needed =
            read(&bytes).unwrap().tensors.values().map(|tensor| tensor.start as usize + tensor.bytes).max();
        for length in 0..needed.unwrap() {
            assert!(read(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    /// Sizes that deserve to be tried wherever a number stands.
    fn size() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0u64..40, Just(u64::MAX), Just(1 << 63), Just(1 << 32), Just((1 << 61) + 1),]
    }

    proptest! {
        /// Whatever is changed: no panic, and what is accepted lies within the file.
        #[test]
        fn no_change_makes_it_panic(
            bytes in proptest::collection::vec((0usize..600, any::<u8>()), 0..6),
            sizes in proptest::collection::vec((0usize..400, size()), 0..3),
            cut in 0usize..1200,
        ) {
            let mut file = file();
            let length = file.len();
            for (at, byte) in bytes {
                file[at % length] = byte;
            }
            for (at, size) in sizes {
                let at = at % (length - 8);
                file[at..at + 8].copy_from_slice(&size.to_le_bytes());
            }
            file.truncate(cut.max(8));
            if let Ok(header) = read(&file) {
                let total: usize = header.tensors.values().map(|tensor| tensor.bytes).sum();
                prop_assert!(total <= file.len());
                for tensor in header.tensors.values() {
                    prop_assert!(tensor.start as usize + tensor.bytes <= file.len());
                    let start = tensor.start as usize;
                    let bytes = file[start..start + tensor.bytes].to_vec();
                    let read = tensor.numbers.tensor(bytes, &tensor.shape, &candle_core::Device::Cpu).unwrap();
                    prop_assert_eq!(read.dims(), tensor.shape.as_slice());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [b"GGUF\x03\0\0\0".as_slice(), &rest].concat();
            if let Ok(header) = read(&bytes) {
                prop_assert!(header.tensors.values().map(|tensor| tensor.bytes).sum::<usize>() <= bytes.len());
            }
        }
    }
}
