//! AdamW over named variables with parameter groups, global-norm clipping,
//! gradient accumulation and a state that survives a restart: after
//! [`AdamW::load`] the next step equals the one an uninterrupted run would take.
//!
//! Update of a parameter θ with gradient g at step t (Loshchilov and Hutter):
//! m = β₁m + (1-β₁)g, v = β₂v + (1-β₂)g²,
//! θ -= lr (m / (1-β₁ᵗ) / (√(v / (1-β₂ᵗ)) + ε) + λθ).
//! Moments are f32. On the CPU, f32 parameters take the step in one parallel
//! pass; elsewhere it is composed of tensor operations. The matrices of
//! hidden layers can take orthogonalised steps instead (`muon`).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

mod muon;

/// Elements one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// What can go wrong in the optimiser.
#[derive(Debug, thiserror::Error)]
pub enum OptimizerError {
    /// A tensor operation failed.
    #[error("optimiser: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The gradient has a NaN or an infinity; the parameters are untouched.
    #[error("optimiser: gradient norm is {norm} at step {step}; lower the learning rate or clip more")]
    NotFinite {
        /// The norm found.
        norm: f64,
        /// Optimiser step, counted from 0.
        step: u64,
    },
    /// Saving between two accumulated batches would lose gradients.
    #[error("optimiser: {batches} accumulated batches are pending; call step before saving")]
    Pending {
        /// Batches accumulated since the last step.
        batches: u32,
    },
    /// A state file that does not fit.
    #[error("optimiser state {path}: {reason}; delete it to start with fresh moments")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Constants of the update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// λ, decoupled weight decay of the parameters that decay.
    pub weight_decay: f64,
    /// Largest global gradient norm; `None` does not clip.
    pub clip_norm: Option<f64>,
    /// Also decay biases, norms (rank below 2) and embeddings.
    pub decay_all: bool,
    /// Size of the Muon steps that the matrices of hidden layers take: 0.2 makes them as
    /// large as those of AdamW; 0 lets AdamW take them. Every stage sets its own.
    #[serde(skip)]
    pub muon: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            weight_decay: 0.02,
            clip_norm: Some(1.0),
            decay_all: false,
            muon: 0.0,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Factor applied to the gradient: 1 if it was not clipped.
    pub clip_factor: f64,
}

#[derive(Debug)]
enum Moments {
    Host { first: Vec<f32>, second: Vec<f32> },
    Device { first: Tensor, second: Tensor },
    Muon { momentum: Tensor },
}

#[derive(Debug)]
struct Parameter {
    name: String,
    var: Var,
    learning_rate_scale: f64,
    weight_decay: f64,
    moments: Moments,
    gradient: Option<Tensor>,
}

/// The optimiser; owns the moments, shares the variables.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    parameters: Vec<Parameter>,
    step: u64,
    pending: u32,
}

impl AdamW {
    /// Optimises `variables` (name, variable), in order of their names. Without
    /// `decay_all`, rank-1 parameters and those with `embed` in their name do
    /// not decay.
    pub fn new(
        variables: impl IntoIterator<Item = (String, Var)>,
        config: AdamWConfig,
    ) -> Result<Self, OptimizerError> {
        let sorted: BTreeMap<String, Var> = variables.into_iter().collect();
        let parameters = sorted
            .into_iter()
            .map(|(name, var)| {
                let decays = config.decay_all || (var.rank() >= 2 && !name.contains("embed"));
                let weight_decay = if decays { config.weight_decay } else { 0.0 };
                let muon = config.muon > 0.0 && muon::applies(&name, &var);
                let moments =
                    if muon { Moments::Muon { momentum: zeros(&var)? } } else { Moments::zeros(&var)? };
                Ok(Parameter { name, var, learning_rate_scale: 1.0, weight_decay, moments, gradient: None })
            })
            .collect::<Result<Vec<_>, OptimizerError>>()?;
        Ok(Self { config, parameters, step: 0, pending: 0 })
    }

    /// A parameter group: every parameter whose name is `chosen` takes its learning
    /// rate times `learning_rate_scale` (0 freezes it) and, if given, its own weight
    /// decay. Returns the number of parameters met.
    pub fn configure_group(
        &mut self,
        chosen: impl Fn(&str) -> bool,
        learning_rate_scale: f64,
        weight_decay: Option<f64>,
    ) -> usize {
        let mut met = 0;
        for parameter in self.parameters.iter_mut().filter(|p| chosen(&p.name)) {
            parameter.learning_rate_scale = learning_rate_scale;
            parameter.weight_decay = weight_decay.unwrap_or(parameter.weight_decay);
            met += 1;
        }
        met
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Number of scalars optimised.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|p| p.var.elem_count()).sum()
    }

    /// Adds the gradients of one batch; [`Self::step`] uses the mean over the
    /// batches since the last step.
    pub fn accumulate(&mut self, gradients: &GradStore) -> Result<(), OptimizerError> {
        for parameter in &mut self.parameters {
            if let Some(new) = gradients.get(parameter.var.as_tensor()) {
                parameter.gradient = Some(match parameter.gradient.take() {
                    Some(sum) => (sum + new)?,
                    None => new.clone(),
                });
            }
        }
        self.pending += 1;
        Ok(())
    }

    /// Takes one step with the accumulated gradients and forgets them.
    /// Parameters without gradient stay as they are, decay included.
    ///
    /// # Errors
    /// [`OptimizerError::NotFinite`] with everything unchanged but the
    /// accumulated gradients, which are dropped.
    pub fn step(&mut self, learning_rate: f64) -> Result<StepReport, OptimizerError> {
        let mean = 1.0 / f64::from(self.pending.max(1));
        self.pending = 0;
        let mut squared = 0.0;
        for parameter in &mut self.parameters {
            if let Some(gradient) = &mut parameter.gradient {
                *gradient = gradient.contiguous()?;
                squared += squared_norm(gradient)?;
            }
        }
        let gradient_norm = squared.sqrt() * mean;
        if !gradient_norm.is_finite() {
            self.parameters.iter_mut().for_each(|p| p.gradient = None);
            return Err(OptimizerError::NotFinite { norm: gradient_norm, step: self.step });
        }
        let clip_factor = self
            .config
            .clip_norm
            .map_or(1.0, |limit| (limit / gradient_norm.max(f64::MIN_POSITIVE)).min(1.0));
        self.step += 1;
        let (config, scale, step) = (self.config, mean * clip_factor, self.step);
        self.parameters.par_iter_mut().try_for_each(|parameter| match parameter.gradient.take() {
            Some(gradient) => parameter.update(&gradient, &config, learning_rate, scale, step),
            None => Ok(()),
        })?;
        Ok(StepReport { gradient_norm, clip_factor })
    }

    /// Backpropagates `loss` and steps: the usual case of one batch per step.
    pub fn backward_step(&mut self, loss: &Tensor, learning_rate: f64) -> Result<StepReport, OptimizerError> {
        self.accumulate(&loss.backward()?)?;
        self.step(learning_rate)
    }

    /// Writes moments and step count to a safetensors file, replacing it at once.
    pub fn save(&self, path: &Path) -> Result<(), OptimizerError> {
        if self.pending > 0 {
            return Err(OptimizerError::Pending { batches: self.pending });
        }
        let mut tensors = HashMap::new();
        tensors.insert("step".to_owned(), Tensor::new(&[self.step as i64], &Device::Cpu)?);
        for parameter in &self.parameters {
            for (kind, moment) in parameter.moments.tensors(parameter.var.dims())? {
                tensors.insert(format!("{}.{kind}", parameter.name), moment);
            }
        }
        let partial = path.with_extension("partial");
        candle_core::safetensors::save(&tensors, &partial)?;
        std::fs::rename(&partial, path).map_err(|error| OptimizerError::State {
            path: path.to_owned(),
            reason: format!("cannot be replaced: {error}"),
        })
    }

    /// Reads what [`Self::save`] wrote, on any device. The parameters must have
    /// the same names and shapes.
    pub fn load(&mut self, path: &Path) -> Result<(), OptimizerError> {
        let wrong = |reason: String| OptimizerError::State { path: path.to_owned(), reason };
        let mut tensors = candle_core::safetensors::load(path, &Device::Cpu)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let step = tensors.remove("step").ok_or_else(|| wrong("has no step count".to_owned()))?;
        let step = step.to_vec1::<i64>()?.first().copied().unwrap_or_default();
        let expected: usize = self.parameters.iter().map(|p| p.moments.kinds().len()).sum();
        if tensors.len() != expected {
            let found = tensors.len();
            return Err(wrong(format!("has {found} moments, the model's parameters have {expected}")));
        }
        let mut loaded = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let mut take = |kind: &str| {
                let key = format!("{}.{kind}", parameter.name);
                match tensors.remove(&key) {
                    Some(tensor) if tensor.dims() == parameter.var.dims() => Ok(tensor),
                    Some(tensor) => Err(wrong(format!(
                        "{key} has shape {:?}, the model {:?}",
                        tensor.dims(),
                        parameter.var.dims()
                    ))),
                    None => Err(wrong(format!("has no {key}"))),
                }
            };
            let tensors =
                parameter.moments.kinds().iter().map(|kind| take(kind)).collect::<Result<Vec<_>, _>>()?;
            loaded.push(parameter.moments.read(&parameter.var, &tensors)?);
        }
        for (parameter, moments) in self.parameters.iter_mut().zip(loaded) {
            parameter.moments = moments;
            parameter.gradient = None;
        }
        self.step = step.max(0) as u64;
        self.pending = 0;
        Ok(())
    }
}

impl Moments {
    fn fused(var: &Var) -> bool {
        var.device().is_cpu() && var.dtype() == DType::F32
    }

    fn zeros(var: &Var) -> candle_core::Result<Self> {
        if Self::fused(var) {
            let zeros = vec![0.0; var.elem_count()];
            return Ok(Self::Host { first: zeros.clone(), second: zeros });
        }
        Ok(Self::Device { first: zeros(var)?, second: zeros(var)? })
    }

    /// Names of the tensors that are saved.
    fn kinds(&self) -> &'static [&'static str] {
        match self {
            Self::Muon { .. } => &["momentum"],
            Self::Host { .. } | Self::Device { .. } => &["first_moment", "second_moment"],
        }
    }

    /// The same kind of moments with the values of `tensors`, in the order of [`Self::kinds`].
    fn read(&self, var: &Var, tensors: &[Tensor]) -> candle_core::Result<Self> {
        let host = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
        let device = |t: &Tensor| t.to_dtype(DType::F32)?.to_device(var.device());
        match (self, tensors) {
            (Self::Host { .. }, [first, second]) => {
                Ok(Self::Host { first: host(first)?, second: host(second)? })
            }
            (Self::Device { .. }, [first, second]) => {
                Ok(Self::Device { first: device(first)?, second: device(second)? })
            }
            (Self::Muon { .. }, [momentum]) => Ok(Self::Muon { momentum: device(momentum)? }),
            _ => candle_core::bail!("optimiser: {} moments of one parameter", tensors.len()),
        }
    }

    fn tensors(&self, dims: &[usize]) -> candle_core::Result<Vec<(&'static str, Tensor)>> {
        let cpu = &Device::Cpu;
        let tensors = match self {
            Self::Host { first, second } => {
                vec![Tensor::from_slice(first, dims, cpu)?, Tensor::from_slice(second, dims, cpu)?]
            }
            Self::Device { first, second } => vec![first.to_device(cpu)?, second.to_device(cpu)?],
            Self::Muon { momentum } => vec![momentum.to_device(cpu)?],
        };
        Ok(self.kinds().iter().copied().zip(tensors).collect())
    }
}

/// f32 zeros of the shape and device of `var`.
fn zeros(var: &Var) -> candle_core::Result<Tensor> {
    Tensor::zeros(var.shape(), DType::F32, var.device())
}

/// Constants of one update after bias correction.
#[derive(Debug, Clone, Copy)]
struct Update {
    gradient_scale: f64,
    beta1: f64,
    beta2: f64,
    /// lr / (1 - β₁ᵗ).
    rate: f64,
    /// 1 / √(1 - β₂ᵗ).
    root_scale: f64,
    epsilon: f64,
    /// 1 - lr λ.
    keep: f64,
}

impl Parameter {
    fn update(
        &mut self,
        gradient: &Tensor,
        config: &AdamWConfig,
        learning_rate: f64,
        gradient_scale: f64,
        step: u64,
    ) -> candle_core::Result<()> {
        let learning_rate = learning_rate * self.learning_rate_scale;
        if learning_rate == 0.0 {
            return Ok(());
        }
        let steps = step as f64;
        let update = Update {
            gradient_scale,
            beta1: config.beta1,
            beta2: config.beta2,
            rate: learning_rate / (1.0 - config.beta1.powf(steps)),
            root_scale: 1.0 / (1.0 - config.beta2.powf(steps)).sqrt(),
            epsilon: config.epsilon,
            keep: 1.0 - learning_rate * self.weight_decay,
        };
        match &mut self.moments {
            Moments::Host { first, second } => fused_step(&self.var, gradient, first, second, update),
            Moments::Device { first, second } => composed_step(&self.var, gradient, first, second, update),
            Moments::Muon { momentum } => {
                muon::step(&self.var, gradient, momentum, learning_rate * config.muon, update.keep)
            }
        }
    }
}

fn composed_step(
    var: &Var,
    gradient: &Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
    update: Update,
) -> candle_core::Result<()> {
    let gradient = (gradient.to_dtype(DType::F32)? * update.gradient_scale)?;
    *first = ((&*first * update.beta1)? + (&gradient * (1.0 - update.beta1))?)?;
    *second = ((&*second * update.beta2)? + (gradient.sqr()? * (1.0 - update.beta2))?)?;
    let root = ((second.sqrt()? * update.root_scale)? + update.epsilon)?;
    let change = ((&*first / root)? * update.rate)?;
    let kept = (var.as_tensor().detach().to_dtype(DType::F32)? * update.keep)?;
    var.set(&(kept - change)?.to_dtype(var.dtype())?)
}

fn fused_step(
    var: &Var,
    gradient: &Tensor,
    first: &mut [f32],
    second: &mut [f32],
    update: Update,
) -> candle_core::Result<()> {
    let (storage, layout) = gradient.storage_and_layout();
    let gradient = cpu_slice(&storage, layout)?;
    let moments = Mutex::new(Some((first, second)));
    var.inplace_op1(&FusedStep { gradient, moments, update })
}

struct FusedStep<'a> {
    gradient: &'a [f32],
    /// Taken by the one call of `cpu_fwd`.
    moments: Mutex<Option<(&'a mut [f32], &'a mut [f32])>>,
    update: Update,
}

impl InplaceOp1 for FusedStep<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let taken = self.moments.lock().ok().and_then(|mut moments| moments.take());
        let (CpuStorage::F32(values), Some((start, end)), Some((first, second))) =
            (storage, layout.contiguous_offsets(), taken)
        else {
            candle_core::bail!("adamw: a parameter must be contiguous f32");
        };
        let update = self.update;
        values[start..end]
            .par_chunks_mut(CHUNK)
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .zip(self.gradient.par_chunks(CHUNK))
            .for_each(|(((values, first), second), gradient)| {
                update_chunk(values, first, second, gradient, update);
            });
        Ok(())
    }
}

fn update_chunk(values: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32], update: Update) {
    let (beta1, beta2) = (update.beta1 as f32, update.beta2 as f32);
    let (new1, new2) = ((1.0 - update.beta1) as f32, (1.0 - update.beta2) as f32);
    let (rate, root_scale) = (update.rate as f32, update.root_scale as f32);
    let (epsilon, keep) = (update.epsilon as f32, update.keep as f32);
    let scale = update.gradient_scale as f32;
    for (((value, m), v), g) in values.iter_mut().zip(first).zip(second).zip(gradient) {
        let g = g * scale;
        *m = beta1 * *m + new1 * g;
        *v = beta2 * *v + new2 * g * g;
        *value = keep * *value - rate * *m / (v.sqrt() * root_scale + epsilon);
    }
}

fn cpu_slice<'a>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("adamw: a gradient of a f32 parameter must be f32 on the same device"),
    }
}

fn squared_norm(gradient: &Tensor) -> candle_core::Result<f64> {
    if gradient.device().is_cpu() && gradient.dtype() == DType::F32 {
        let (storage, layout) = gradient.storage_and_layout();
        let sums: Vec<f64> = cpu_slice(&storage, layout)?
            .par_chunks(CHUNK)
            .map(|chunk| {
                let part = |lane: &[f32]| f64::from(lane.iter().map(|g| g * g).sum::<f32>());
                chunk.chunks(64).map(part).sum()
            })
            .collect();
        // In a fixed order: the step must not depend on the number of threads.
        return Ok(sums.iter().sum());
    }
    gradient.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from)
}

#[cfg(test)]
mod tests;
