//! Access of the fused operations to f32 values in CPU memory.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, StorageRef, Tensor};

/// Elements that one thread takes at a time in elementwise passes.
pub(super) const CHUNK: usize = 1 << 13;

/// Whether the fused CPU way applies.
pub(super) fn fusible(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// Whether the operands are half-precision numbers in CPU memory. candle multiplies no bf16
/// matrices there: products are computed in f32.
pub(super) fn half_on_cpu(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.device().is_cpu()) && tensors.iter().any(|tensor| is_half(tensor))
}

/// Whether the numbers have half precision.
pub(super) fn is_half(tensor: &Tensor) -> bool {
    matches!(tensor.dtype(), DType::F16 | DType::BF16)
}

/// The same numbers in f32.
pub(super) fn wide(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_dtype(DType::F32)
}

/// The values of a contiguous f32 operand.
pub(super) fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("a fused operation met an operand that is not contiguous f32"),
    }
}

/// A borrowed CPU tensor, for backward passes.
pub(super) struct Values<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Values<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage, layout }
    }

    pub(super) fn cpu(&self) -> Result<(&CpuStorage, &Layout)> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok((storage, self.layout)),
            _ => candle_core::bail!("a fused operation met a tensor of another device"),
        }
    }

    pub(super) fn contiguous(&self) -> Result<&[f32]> {
        let (storage, layout) = self.cpu()?;
        contiguous(storage, layout)
    }
}

/// A new tensor of the shape of `like`.
pub(super) fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}
