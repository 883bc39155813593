//! Memory of its own for every large weight, so that it goes back to the system when its model
//! goes.
//!
//! The allocator of glibc maps large pieces one by one and gives each back once it is freed. But
//! what counts as large grows up to 32 MB while a program frees such pieces. Weights that are
//! loaded then lie in heaps, between small values that live on, and the heaps stay: of 1.4 GB in
//! matrices of 3 and 17 MB next to nothing came back. A piece above 32 MB is always mapped, and
//! stays a mapping when it is made smaller.

use candle_core::{CpuStorage, Device, Result, Storage, Tensor};

/// Smaller weights are a small part of a model, bytes.
const LEAST: usize = 1 << 20;
/// Largest piece that may lie in a heap, bytes (`DEFAULT_MMAP_THRESHOLD_MAX` of glibc).
const LARGEST_IN_HEAP: usize = 32 << 20;

/// The same tensor, in a mapping of its own where it could lie in a heap.
pub(super) fn settled(tensor: Tensor) -> Result<Tensor> {
    let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
    let is_glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
    if !is_glibc || !tensor.device().is_cpu() || !(LEAST..=LARGEST_IN_HEAP).contains(&bytes) {
        return Ok(tensor);
    }
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(values), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        return Ok(tensor.clone());
    };
    let (shape, cpu) = (tensor.dims(), &Device::Cpu);
    match values {
        CpuStorage::F32(values) => Tensor::from_vec(mapped(&values[start..end]), shape, cpu),
        CpuStorage::F16(values) => Tensor::from_vec(mapped(&values[start..end]), shape, cpu),
        CpuStorage::BF16(values) => Tensor::from_vec(mapped(&values[start..end]), shape, cpu),
        _ => Ok(tensor.clone()),
    }
}

/// A copy that is mapped by itself.
fn mapped<T: Copy>(values: &[T]) -> Vec<T> {
    let mut own = Vec::with_capacity(LARGEST_IN_HEAP / size_of::<T>() + 1);
    own.extend_from_slice(values);
    own.shrink_to_fit();
    own
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    #[test]
    fn a_settled_tensor_is_the_same() {
        let all = Tensor::arange(0f32, 3.0 * LEAST as f32, &Device::Cpu).unwrap();
        let whole = all.reshape((3, 1024, 1024)).unwrap();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let whole = (&whole / 1024.0).unwrap().to_dtype(dtype).unwrap();
            // All of a storage, and a part in its middle.
            for tensor in [whole.clone(), whole.narrow(0, 1, 1).unwrap()] {
                let settled = settled(tensor.clone()).unwrap();
                assert_eq!((settled.dims(), settled.dtype()), (tensor.dims(), dtype));
                let values = |x: &Tensor| {
                    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
                };
                assert!(values(&settled) == values(&tensor), "{dtype:?} {:?}", tensor.dims());
            }
        }
    }
}
