//! Gives the tensors of a checkpoint to whatever builds the network, and writes down what it
//! was asked for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;

use super::config::ModelConfig;
use super::gguf::names;
use super::key_report::{KeyReport, StoredAs};
use super::published::is_ignored;
use super::quantized::QuantizedSource;
use super::weight_files::{Place, WeightFiles};

/// Numbers of the largest tensor that a configuration may ask for; the largest of the published
/// model has 545 million.
const LARGEST_TENSOR: usize = 1 << 36;
/// Tensors that a configuration may ask for in vain; the published model has 1,800 in all.
const MOST_PROBLEMS: usize = 100_000;

/// Gives tensors to a [`VarBuilder`](candle_nn::VarBuilder). A tensor that is missing or wrong
/// becomes zeros that take no memory, so that one run finds every problem; the report decides
/// whether the result may be used.
#[derive(Clone)]
pub(super) struct CheckpointSource {
    files: Arc<WeightFiles>,
    report: Arc<Mutex<KeyReport>>,
    /// Whether numbers are read. Without, every tensor becomes such zeros.
    reads: bool,
}

impl CheckpointSource {
    /// Reads the tensors.
    pub(super) fn of_tensors(files: &Arc<WeightFiles>) -> Self {
        Self { files: Arc::clone(files), report: Arc::default(), reads: true }
    }

    /// Reads nothing: what is built can be reported on, not used.
    pub(super) fn of_headers(files: &Arc<WeightFiles>) -> Self {
        Self { files: Arc::clone(files), report: Arc::default(), reads: false }
    }

    fn locked(&self) -> MutexGuard<'_, KeyReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report after building, with what nobody asked for.
    pub(super) fn report(&self, config: &ModelConfig) -> KeyReport {
        let mut report = self.locked().clone();
        let asked: BTreeSet<&String> = report.used.iter().collect();
        let left: Vec<String> =
            self.files.places.keys().filter(|name| !asked.contains(name)).cloned().collect();
        let wrong: Vec<String> = report.wrong_shape.iter().chain(&report.not_finite).cloned().collect();
        for name in left {
            if wrong.iter().any(|problem| problem.split(' ').next() == Some(name.as_str())) {
                continue;
            }
            let place = &self.files.places[&name];
            let theirs = if place.name == name { String::new() } else { format!(" [{}]", place.name) };
            let shown = format!("{name}{theirs} in {}", self.files.file_name(place));
            let list = if is_ignored(&name, config) { &mut report.ignored } else { &mut report.unexpected };
            list.push(shown);
        }
        report.ignored.extend(self.files.replaced.iter().cloned());
        report
    }

    /// Writes down that a tensor was given.
    fn note_used(&self, name: &str, place: &Place) {
        let count = place.shape.iter().product::<usize>();
        let stored = StoredAs {
            numbers: place.numbers,
            bytes: place.numbers.bytes(&place.shape).unwrap_or_default() as u64,
            file: self.files.file_name(place),
        };
        let mut report = self.locked();
        report.parameters += count as u64;
        report.used.push(name.to_owned());
        report.stored.insert(name.to_owned(), stored);
    }

    /// A name as people find it in their files.
    fn shown(&self, name: &str) -> String {
        match self.files.gguf().and_then(|_| names::gguf_name(name)) {
            Some(theirs) => format!("{name} [{theirs}]"),
            None => name.to_owned(),
        }
    }

    /// An error that names tensor and file.
    fn fault(&self, place: &Place, error: &candle_core::Error) -> candle_core::Error {
        candle_core::Error::Msg(format!("{}: {error}", self.files.described(place)))
    }

    /// The tensor, or a note of what is wrong with it.
    fn find(
        &self,
        name: &str,
        shape: &Shape,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(place) = self.files.places.get(name) else {
            self.locked().missing.push(self.shown(name));
            return Ok(None);
        };
        if place.shape != shape.dims() {
            let file = self.files.file_name(place);
            let problem =
                format!("{name} is {:?} in {file}, the model needs {:?}", place.shape, shape.dims());
            self.locked().wrong_shape.push(problem);
            return Ok(None);
        }
        let tensor = if self.reads {
            let read = self.files.read(place, device);
            let read = read.and_then(|read| read.map(|tensor| tensor.to_dtype(dtype)).transpose());
            read.map_err(|error| self.fault(place, &error))?
        } else {
            Some(zeros(shape.clone(), dtype, device)?)
        };
        if tensor.is_some() {
            self.note_used(name, place);
        } else {
            let file = self.files.file_name(place);
            self.locked().not_finite.push(format!("{name} in {file}"));
        }
        Ok(tensor)
    }

    /// Zeros for a tensor that cannot be given. A configuration that asks for what no model has
    /// is refused at once.
    fn stand_in(
        &self,
        shape: Shape,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let count = shape.dims().iter().try_fold(1usize, |count, &side| count.checked_mul(side));
        let problems = {
            let report = self.locked();
            report.missing.len() + report.wrong_shape.len()
        };
        if count.is_none_or(|count| count > LARGEST_TENSOR) || problems > MOST_PROBLEMS {
            candle_core::bail!(
                "config.json asks for {name} of {:?} and more that the files do not hold",
                shape.dims()
            );
        }
        zeros(shape, dtype, device)
    }
}

/// Zeros that take no memory.
fn zeros(shape: Shape, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
    Tensor::zeros((), dtype, device)?.broadcast_as(shape)
}

impl QuantizedSource for CheckpointSource {
    fn quantized(
        &self,
        name: &str,
        shape: (usize, usize),
        device: &Device,
    ) -> candle_core::Result<Option<Arc<QTensor>>> {
        // What is missing or wrong is asked for again as a dense tensor, and reported there; so
        // is everything when nothing is read.
        let fitting = self.files.places.get(name).filter(|place| place.shape == [shape.0, shape.1]);
        let Some(place) = fitting.filter(|_| self.reads) else { return Ok(None) };
        let blocks = self.files.read_blocks(place, device).map_err(|error| self.fault(place, &error))?;
        if blocks.is_some() {
            self.note_used(name, place);
        }
        Ok(blocks)
    }
}

impl SimpleBackend for CheckpointSource {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        match self.find(name, &shape, dtype, device)? {
            Some(tensor) => Ok(tensor),
            None => self.stand_in(shape, name, dtype, device),
        }
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = Shape::from(self.files.shape(name).unwrap_or_default());
        self.get(shape, name, Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.files.places.contains_key(name)
    }
}
