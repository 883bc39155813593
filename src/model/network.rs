//! The trainable network: vision tower, projector, `f_cam`, language model and heads,
//! under the published tensor names. The camera encoder stands beside it.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, Module as _, VarBuilder, VarMap};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::config::{HeadInput, ModelConfig};
use super::familiarity::Familiarity;
use super::geometry_cue::CUE_CODE;
use super::heads::Heads;
use super::layers::Mlp;
use super::projector::Projector;
use super::quantized::Weights;
use super::qwen2::{HiddenStates, Qwen2};
use super::siglip::SiglipTower;

/// Prefix of the camera encoder's tensors.
pub const CAMERA_PREFIX: &str = "camera_encoder";

/// Prefix of the vision tower's tensors.
pub const VISION_PREFIX: &str = "model.vision_tower";

/// Prefix of the tensors that tell what clips must look like.
pub const FAMILIARITY_PREFIX: &str = "familiarity";

/// Names of tensors that only training reads start with this.
pub const TRAINING_ONLY_PREFIX: &str = "training.";

/// All parts that one training step touches.
#[derive(Debug, Clone)]
pub struct Network {
    /// Frames to features.
    pub vision: SiglipTower,
    /// Features to language tokens.
    pub projector: Projector,
    /// Camera tokens to language tokens; `None` without camera tokens.
    pub f_cam: Option<Mlp>,
    /// Codes of the tokens' points to language tokens; `None` without a geometry cue.
    pub f_point: Option<Mlp>,
    /// The decoder.
    pub language: Qwen2,
    /// What is read off its hidden rows; `None` in a base model.
    heads: Option<Heads>,
    /// What clips must look like; `None` for a network that cannot tell.
    pub familiarity: Option<Familiarity>,
    head_input: HeadInput,
}

impl Network {
    /// Reads every tensor under its published name (`model.layers.0...`, `lm_head.weight`,
    /// `model.mm_projector.0...`, `model.f_cam.0...`).
    pub fn new(config: &ModelConfig, root: &VarBuilder<'_>) -> Result<Self> {
        Self::from_weights(config, &Weights::dense(root))
    }

    /// Like [`Self::new`], with matrices of the language model that stay quantised where they
    /// are stored so.
    pub fn from_weights(config: &ModelConfig, weights: &Weights<'_>) -> Result<Self> {
        let root = &weights.dense;
        let model = root.pp("model");
        let width = config.language.hidden_size;
        let hidden = config.camera_hidden_size.unwrap_or(width);
        Ok(Self {
            vision: SiglipTower::new(&config.vision, &Self::vision_weights(root))?,
            projector: Projector::new(config, &model)?,
            f_cam: config
                .has_camera_tokens()
                .then(|| Mlp::new(config.camera_token_dim, hidden, width, &model.pp("f_cam")))
                .transpose()?
                .map(|f_cam| f_cam.with(config.camera_activation)),
            f_point: config
                .geometry_cue
                .then(|| Mlp::new(CUE_CODE, width, width, &model.pp("f_point")))
                .transpose()?,
            language: Qwen2::from_weights(&config.language, &weights.pp("model"), weights)?,
            heads: config.locates().then(|| Heads::new(config, &model)).transpose()?,
            familiarity: config
                .familiarity
                .map(|known| Familiarity::new(known, config.vision.hidden_size, &root.pp(FAMILIARITY_PREFIX)))
                .transpose()?,
            head_input: config.heads.input,
        })
    }

    /// Where the vision tower's tensors live below `root`.
    pub fn vision_weights<'a>(root: &VarBuilder<'a>) -> VarBuilder<'a> {
        root.pp("model").pp("vision_tower").pp("vision_tower").pp("vision_model")
    }

    /// Features (B, F, N, D) to vision tokens (B, F, n, h); `cue` are the codes of their
    /// points (B, F, n, c), which a network without a geometry cue ignores.
    pub fn vision_tokens(&self, features: &Tensor, cue: Option<&Tensor>) -> Result<Tensor> {
        let tokens = self.projector.forward(features)?;
        match (&self.f_point, cue) {
            (Some(f_point), Some(codes)) => tokens.add(&f_point.forward(codes)?),
            _ => Ok(tokens),
        }
    }

    /// Camera tokens (.., camera_token_dim) to language tokens (.., h); `None` when this
    /// network has no `f_cam`.
    pub fn project_cameras(&self, tokens: &Tensor) -> Result<Option<Tensor>> {
        self.f_cam.as_ref().map(|f_cam| f_cam.forward(tokens)).transpose()
    }

    /// What is read off its hidden rows.
    ///
    /// # Errors
    /// In a base model, which has none.
    pub fn heads(&self) -> Result<&Heads> {
        self.heads.as_ref().ok_or_else(|| candle_core::Error::Msg("a base model has no heads".to_owned()))
    }

    /// Whether it has heads: all but base models.
    pub fn locates(&self) -> bool {
        self.heads.is_some()
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        self.language.device()
    }

    /// The rows that the heads read.
    pub fn head_rows<'a>(&self, hidden: &'a HiddenStates) -> &'a Tensor {
        match self.head_input {
            HeadInput::FinalNorm => &hidden.last,
            HeadInput::LastLayer => &hidden.unnormed,
        }
    }
}

/// New weights from a seed: a [`VarBuilder`] source that makes each variable from the
/// seed and the tensor's own name, so that neither order nor presence of other tensors
/// changes it, and keeps it in a [`VarMap`].
#[derive(Clone)]
pub struct SeededVariables {
    seed: u64,
    variables: VarMap,
}

impl std::fmt::Debug for SeededVariables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SeededVariables").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl SeededVariables {
    /// A source without variables yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, variables: VarMap::new() }
    }

    /// A builder that creates, and later finds again, variables of type `dtype`.
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// The variables made so far; shares them with this source.
    pub fn var_map(&self) -> VarMap {
        self.variables.clone()
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Var>> {
        self.variables.data().lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn values(&self, name: &str, count: usize, init: Init) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ fnv1a(name));
        let normal = |rng: &mut ChaCha8Rng| {
            let (a, b): (f64, f64) = (rng.random::<f64>().max(1e-12), rng.random());
            (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
        };
        (0..count)
            .map(|_| match init {
                Init::Const(value) => value as f32,
                Init::Uniform { lo, up } => rng.random_range(lo..up) as f32,
                Init::Randn { mean, stdev } => (mean + stdev * normal(&mut rng)) as f32,
                Init::Kaiming { .. } => (0.02 * normal(&mut rng)) as f32,
            })
            .collect()
    }
}

impl SimpleBackend for SeededVariables {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut variables = self.locked();
        if let Some(variable) = variables.get(name) {
            if variable.shape() != &shape {
                candle_core::bail!(
                    "{name} was made with shape {:?}, now {shape:?} is wanted",
                    variable.shape()
                );
            }
            return Ok(variable.as_tensor().clone());
        }
        let values = self.values(name, shape.elem_count(), init);
        let variable = Var::from_tensor(&Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)?;
        let tensor = variable.as_tensor().clone();
        variables.insert(name.to_owned(), variable);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        match self.locked().get(name) {
            Some(variable) => Ok(variable.as_tensor().clone()),
            None => candle_core::bail!("{name} has not been made yet"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.locked().contains_key(name)
    }
}

/// 64-bit FNV-1a.
pub(super) fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_depend_on_seed_and_name_only() {
        let device = Device::Cpu;
        let make = |seed, names: &[&str]| {
            let source = SeededVariables::new(seed);
            let builder = source.builder(DType::F32, &device);
            let init = Init::Randn { mean: 0.0, stdev: 1.0 };
            for name in names {
                builder.get_with_hints(4, name, init).unwrap();
            }
            builder.get_with_hints(4, "x", init).unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(make(1, &["a", "b"]), make(1, &["c"]));
        assert_ne!(make(1, &[]), make(2, &[]));
    }
}
