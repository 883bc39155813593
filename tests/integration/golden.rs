//! Reads a reference fixture: `<name>.json` (sizes, tolerances), `<name>.weights.safetensors`
//! and `<name>.io.safetensors` below `tests/golden`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;

/// Another f32 implementation may differ by this many times the measured difference
/// between f32 and f64 runs of the reference: enough for another order of summation,
/// too little for a wrong epsilon or another GELU.
const ROUNDING_FACTOR: f64 = 10.0;

/// No bound is tighter than this.
const SMALLEST_BOUND: f64 = 1e-6;

/// One reference module with its inputs and outputs.
pub(crate) struct Fixture {
    name: String,
    /// The JSON file.
    pub(crate) facts: Value,
    tensors: HashMap<String, Tensor>,
}

/// A file below `tests/golden`.
pub(crate) fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

impl Fixture {
    /// Opens `<name>.json` and `<name>.io.safetensors`.
    pub(crate) fn open(name: &str) -> Self {
        let json = std::fs::read(golden(&format!("{name}.json"))).unwrap();
        let io = golden(&format!("{name}.io.safetensors"));
        Self {
            name: name.to_owned(),
            facts: serde_json::from_slice(&json).unwrap(),
            tensors: candle_core::safetensors::load(io, &Device::Cpu).unwrap(),
        }
    }

    /// The weights, under the reference's own names.
    pub(crate) fn weights(&self) -> VarBuilder<'static> {
        let file = golden(&format!("{}.weights.safetensors", self.name));
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
    }

    /// A stored tensor.
    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("{} has no tensor {name}", self.name))
    }

    /// Stored token ids as u32.
    pub(crate) fn ids(&self, name: &str) -> Vec<i64> {
        self.tensor(name).flatten_all().unwrap().to_vec1::<i64>().unwrap()
    }

    /// A whole number of the configuration, by JSON pointer below `config`.
    pub(crate) fn size(&self, pointer: &str) -> usize {
        let value = self.facts.pointer(&format!("/config/{pointer}"));
        value.and_then(Value::as_u64).unwrap_or_else(|| panic!("{}: no {pointer}", self.name)) as usize
    }

    /// Largest difference accepted for a stored tensor.
    pub(crate) fn bound(&self, name: &str) -> f64 {
        let measured = self.facts["tensors"][name]["f32_vs_f64_max_abs_diff"].as_f64();
        (ROUNDING_FACTOR * measured.unwrap_or_else(|| panic!("{name} has no tolerance"))).max(SMALLEST_BOUND)
    }

    /// Compares with the stored tensor of that name.
    pub(crate) fn check(&self, name: &str, got: &Tensor) {
        let expected = self.tensor(name);
        assert_eq!(got.dims(), expected.dims(), "{}: {name}", self.name);
        let difference = max_difference(got, expected);
        assert!(
            difference <= self.bound(name),
            "{}: {name} differs by {difference:e}, more than {:e}",
            self.name,
            self.bound(name)
        );
    }
}

/// Largest absolute difference of two tensors of the same shape.
pub(crate) fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    let flat = |x: &Tensor| x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    flat(a).iter().zip(flat(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
