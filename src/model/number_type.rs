//! How the numbers of a stored tensor are written: one by one, or in quantised blocks.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

/// Type of the numbers of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberType {
    /// Each number by itself.
    Plain(DType),
    /// Blocks of numbers along the last dimension, which share scales.
    Blocks(GgmlDType),
}

/// The types that GGUF files may hold here: code in the file, type, name.
const IN_GGUF: [(u32, NumberType, &str); 13] = [
    (0, NumberType::Plain(DType::F32), "f32"),
    (1, NumberType::Plain(DType::F16), "f16"),
    (30, NumberType::Plain(DType::BF16), "bf16"),
    (2, NumberType::Blocks(GgmlDType::Q4_0), "q4_0"),
    (3, NumberType::Blocks(GgmlDType::Q4_1), "q4_1"),
    (6, NumberType::Blocks(GgmlDType::Q5_0), "q5_0"),
    (7, NumberType::Blocks(GgmlDType::Q5_1), "q5_1"),
    (8, NumberType::Blocks(GgmlDType::Q8_0), "q8_0"),
    (10, NumberType::Blocks(GgmlDType::Q2K), "q2_K"),
    (11, NumberType::Blocks(GgmlDType::Q3K), "q3_K"),
    (12, NumberType::Blocks(GgmlDType::Q4K), "q4_K"),
    (13, NumberType::Blocks(GgmlDType::Q5K), "q5_K"),
    (14, NumberType::Blocks(GgmlDType::Q6K), "q6_K"),
];

impl NumberType {
    /// The type with this code in a GGUF file.
    pub(super) fn from_gguf(code: u32) -> Option<Self> {
        IN_GGUF.iter().find(|(known, ..)| *known == code).map(|(_, numbers, _)| *numbers)
    }

    /// Its code in a GGUF file; `None` where such files have no code for it.
    pub(super) fn gguf_code(self) -> Option<u32> {
        IN_GGUF.iter().find(|(_, numbers, _)| *numbers == self).map(|(code, ..)| *code)
    }

    /// The names of all types that a GGUF file may hold, for messages.
    pub(super) fn gguf_names() -> String {
        IN_GGUF.map(|(_, _, name)| name).join(", ")
    }

    /// "f16", "q4_K".
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain(dtype) => dtype.as_str(),
            Self::Blocks(_) => {
                IN_GGUF.iter().find(|(_, numbers, _)| *numbers == self).map_or("unknown", |(.., name)| name)
            }
        }
    }

    /// Numbers of a block.
    pub fn block(self) -> usize {
        match self {
            Self::Plain(_) => 1,
            Self::Blocks(kind) => kind.block_size(),
        }
    }

    fn block_bytes(self) -> usize {
        match self {
            Self::Plain(dtype) => dtype.size_in_bytes(),
            Self::Blocks(kind) => kind.type_size(),
        }
    }

    /// Bytes of a tensor; `None` when rows are no whole blocks or the number has no room.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side))?;
        let is_whole = shape.last().copied().unwrap_or(1).is_multiple_of(self.block());
        if is_whole { (count / self.block()).checked_mul(self.block_bytes()) } else { None }
    }

    /// Whether no number, or no scale of a block, is NaN or infinite.
    pub(super) fn is_finite(self, bytes: &[u8]) -> bool {
        let half = |exponent: u16, b: &[u8]| match b {
            [low, high] => u16::from_le_bytes([*low, *high]) & exponent != exponent,
            _ => false,
        };
        match self {
            Self::Plain(DType::F16) => bytes.par_chunks_exact(2).all(|b| half(0x7c00, b)),
            Self::Plain(DType::BF16) => bytes.par_chunks_exact(2).all(|b| half(0x7f80, b)),
            Self::Plain(DType::F32) => bytes
                .par_chunks_exact(4)
                .all(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7f80_0000 != 0x7f80_0000),
            Self::Plain(_) => true,
            Self::Blocks(kind) => bytes.par_chunks_exact(kind.type_size()).all(|block| {
                scales(kind).iter().all(|&at| half(0x7c00, block.get(at..at + 2).unwrap_or_default()))
            }),
        }
    }

    /// The tensor of these bytes, as it is stored; f32 where it is stored in blocks.
    pub(super) fn tensor(self, bytes: Vec<u8>, shape: &[usize], device: &Device) -> Result<Tensor> {
        match self {
            Self::Plain(dtype) => Tensor::from_raw_buffer(&bytes, dtype, shape, device),
            Self::Blocks(kind) => blocks(kind, bytes, shape, &Device::Cpu)?.dequantize(device),
        }
    }
}

/// The quantised tensor of these bytes.
pub(super) fn blocks(kind: GgmlDType, bytes: Vec<u8>, shape: &[usize], device: &Device) -> Result<QTensor> {
    // candle reads the blocks where they lie and asserts what is checked here.
    if NumberType::Blocks(kind).bytes(shape) != Some(bytes.len()) || !bytes.as_ptr().addr().is_multiple_of(2)
    {
        candle_core::bail!("{} bytes are no {shape:?} of blocks {kind:?}", bytes.len());
    }
    QTensor::new(QStorage::from_data(Cow::Owned(bytes), device, kind)?, shape)
}

/// Where the f16 scales stand in a block, bytes.
fn scales(kind: GgmlDType) -> &'static [usize] {
    match kind {
        GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => &[0],
        GgmlDType::Q4_1 | GgmlDType::Q5_1 | GgmlDType::Q4K | GgmlDType::Q5K => &[0, 2],
        GgmlDType::Q2K => &[80, 82],
        GgmlDType::Q3K => &[108],
        GgmlDType::Q6K => &[208],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_format() {
        let bytes = |code, shape: &[usize]| NumberType::from_gguf(code).unwrap().bytes(shape);
        assert_eq!(bytes(8, &[2, 64]), Some(2 * 2 * 34));
        assert_eq!(bytes(12, &[512]), Some(2 * 144));
        assert_eq!(bytes(13, &[256]), Some(176));
        assert_eq!(bytes(14, &[3, 256]), Some(3 * 210));
        assert_eq!(bytes(1, &[3, 5]), Some(30));
        // As many numbers as whole blocks have, but rows that are none.
        assert_eq!(bytes(12, &[256, 3]), None);
        assert_eq!(bytes(0, &[usize::MAX, 2]), None);
        assert_eq!(NumberType::from_gguf(16), None);
        for (code, numbers, name) in IN_GGUF {
            assert_eq!((numbers.gguf_code(), numbers.name()), (Some(code), name));
        }
    }

    #[test]
    fn a_scale_that_is_no_number_is_found_in_every_kind_of_block() {
        for (_, numbers, name) in IN_GGUF {
            let NumberType::Blocks(kind) = numbers else { continue };
            let values: Vec<f32> = (0..512).map(|i| (i as f32).sin()).collect();
            let tensor = Tensor::from_vec(values, (2, 256), &Device::Cpu).unwrap();
            let good = QTensor::quantize(&tensor, kind).unwrap().data().unwrap().to_vec();
            assert!(numbers.is_finite(&good), "{name}");
            for &at in scales(kind) {
                let mut bad = good.clone();
                let last = bad.len() - kind.type_size();
                bad[last + at..last + at + 2].copy_from_slice(&[0, 0x7c]);
                let read = numbers.tensor(bad.clone(), &[2, 256], &Device::Cpu).unwrap();
                let sum = read.sum_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(!sum.is_finite() && !numbers.is_finite(&bad), "{name}, scale at {at}");
            }
        }
    }
}
