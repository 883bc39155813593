//! One fixture: what the reference computed, and how far ours is from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;

use super::{Difference, FixtureReport, ParityError};

/// No bound is tighter than this where f32 is compared.
const SMALLEST_BOUND: f64 = 1e-6;

/// How large a difference may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// So many times the difference between f32 and f64 runs of the reference: enough for
    /// another order of summation, too little for a wrong epsilon or another GELU.
    Noise(f64),
    /// The same for all tensors.
    Absolute(f64),
    /// A share of the largest magnitude of the reference's tensor, at least of 0.001.
    Relative(f64),
}

/// A fixture while it is compared.
#[derive(Debug)]
pub struct Fixture {
    folder: PathBuf,
    name: String,
    facts: Value,
    stored: BTreeMap<String, Tensor>,
    bound: Bound,
    differences: Vec<Difference>,
    compared: BTreeSet<String>,
}

impl Fixture {
    /// Reads `NAME.json`; no tensors yet.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self, ParityError> {
        let path = folder.join(format!("{name}.json"));
        let fail = |reason: String| ParityError::File { path: path.clone(), reason };
        let text = std::fs::read(&path).map_err(|error| fail(error.to_string()))?;
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            facts: serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?,
            stored: BTreeMap::new(),
            bound: Bound::Noise(10.0),
            differences: Vec::new(),
            compared: BTreeSet::new(),
        })
    }

    /// What was found so far, and which results nothing was compared with.
    pub(super) fn report(self) -> FixtureReport {
        let is_result = |name: &String| {
            let stated = &self.facts["tensors"][name]["f32_vs_f64_max_abs_diff"];
            stated.is_number() && !self.compared.contains(name)
        };
        let not_compared = self.stored.keys().filter(|name| is_result(name)).cloned().collect();
        FixtureReport { fixture: self.name, differences: self.differences, not_compared }
    }

    /// An error about this fixture.
    pub(super) fn wrong(&self, reason: String) -> ParityError {
        ParityError::Fixture { fixture: self.name.clone(), reason }
    }

    pub(super) fn set_bound(&mut self, bound: Bound) {
        self.bound = bound;
    }

    /// A file of the folder.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Reads `NAME.SUFFIX` into the stored tensors; a tensor that is there already is replaced.
    pub(super) fn read(&mut self, suffix: &str) -> Result<(), ParityError> {
        self.stored.extend(self.load(suffix)?);
        Ok(())
    }

    /// The same; the names of its tensors begin with `prefix` from now on.
    pub(super) fn read_as(&mut self, suffix: &str, prefix: &str) -> Result<(), ParityError> {
        let tensors = self.load(suffix)?;
        self.stored.extend(tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
        Ok(())
    }

    /// Whether there is a file `NAME.SUFFIX`.
    pub(super) fn has_file(&self, suffix: &str) -> bool {
        self.path(&format!("{}.{suffix}", self.name)).exists()
    }

    fn load(&self, suffix: &str) -> Result<HashMap<String, Tensor>, ParityError> {
        let path = self.path(&format!("{}.{suffix}", self.name));
        candle_core::safetensors::load(&path, &Device::Cpu)
            .map_err(|error| ParityError::File { path, reason: error.to_string() })
    }

    /// The weights, under the reference's own names.
    pub(super) fn weights(&self) -> Result<VarBuilder<'static>, ParityError> {
        let tensors = self.load("weights.safetensors")?;
        Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
    }

    /// Whether a tensor is stored.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.stored.contains_key(name)
    }

    /// A stored tensor.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, ParityError> {
        self.stored.get(name).cloned().ok_or_else(|| self.wrong(format!("there is no tensor {name}")))
    }

    /// All numbers of a stored tensor.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>, ParityError> {
        numbers(&self.tensor(name)?)
    }

    /// Stored token ids.
    pub(super) fn ids(&self, name: &str) -> Result<Vec<i64>, ParityError> {
        Ok(self.tensor(name)?.flatten_all()?.to_vec1::<i64>()?)
    }

    /// A value of the JSON file, by pointer.
    pub(super) fn fact(&self, pointer: &str) -> Result<&Value, ParityError> {
        self.facts.pointer(pointer).ok_or_else(|| self.wrong(format!("its JSON says nothing of {pointer}")))
    }

    /// A whole number of the configuration, by pointer below `config`.
    pub(super) fn size(&self, pointer: &str) -> Result<usize, ParityError> {
        let pointer = format!("/config/{pointer}");
        let value = self.fact(&pointer)?.as_u64();
        value.map(|size| size as usize).ok_or_else(|| self.wrong(format!("{pointer} is not a whole number")))
    }

    /// A number of the configuration, or what the reference takes where it is silent.
    pub(super) fn number_or(&self, pointer: &str, otherwise: f64) -> f64 {
        self.facts.pointer(&format!("/config/{pointer}")).and_then(Value::as_f64).unwrap_or(otherwise)
    }

    /// Compares with the stored tensor of that name.
    pub(super) fn compare(&mut self, name: &str, got: &Tensor) -> Result<(), ParityError> {
        let expected = self.tensor(name)?;
        let sides = |tensor: &Tensor| -> Vec<usize> {
            tensor.dims().iter().copied().filter(|&side| side != 1).collect()
        };
        if sides(got) != sides(&expected) {
            return Err(self.wrong(format!(
                "{name} is {:?}, the reference has {:?}",
                got.dims(),
                expected.dims()
            )));
        }
        self.compare_numbers(name, &numbers(got)?, &numbers(&expected)?);
        Ok(())
    }

    /// The same where a fixture may lack the tensor.
    pub(super) fn compare_if_stored(&mut self, name: &str, got: &Tensor) -> Result<(), ParityError> {
        if self.holds(name) { self.compare(name, got) } else { Ok(()) }
    }

    /// Compares whole numbers, which must be equal.
    pub(super) fn compare_ids(&mut self, name: &str, got: &[i64]) -> Result<(), ParityError> {
        let expected = self.ids(name)?;
        let unequal = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
        self.count(name, unequal + got.len().abs_diff(expected.len()), expected.len());
        Ok(())
    }

    /// Notes how many of `total` things were not as the reference's; none may be.
    pub(super) fn count(&mut self, name: &str, unequal: usize, total: usize) {
        self.compared.insert(name.to_owned());
        self.differences.push(Difference {
            tensor: name.to_owned(),
            absolute: unequal as f64,
            relative: unequal as f64 / total.max(1) as f64,
            bound: 0.0,
        });
    }

    /// Notes the largest difference of two lists of numbers.
    pub(super) fn compare_numbers(&mut self, name: &str, got: &[f64], expected: &[f64]) {
        let magnitude = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let mut absolute = if got.len() == expected.len() { 0.0 } else { f64::INFINITY };
        for (a, b) in got.iter().zip(expected) {
            let difference = (a - b).abs();
            // Not `max`, which forgets NaN.
            absolute = if difference > absolute || difference.is_nan() { difference } else { absolute };
        }
        let bound = match self.bound {
            Bound::Noise(factor) => {
                let noise = self.facts["tensors"][name]["f32_vs_f64_max_abs_diff"].as_f64().unwrap_or(0.0);
                (factor * noise).max(SMALLEST_BOUND)
            }
            Bound::Absolute(bound) => bound,
            Bound::Relative(share) => share * magnitude.max(1e-3),
        };
        self.compared.insert(name.to_owned());
        let relative = absolute / magnitude.max(f64::MIN_POSITIVE);
        self.differences.push(Difference { tensor: name.to_owned(), absolute, relative, bound });
    }
}

/// All numbers of a tensor, row-major.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, ParityError> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}
