//! The trainable variables of a run by name: chosen for a stage, saved, loaded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::PoisonError;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;

use super::{StageKind, TrainError};
use crate::model::SeededVariables;
use crate::model::config::Qwen2Config;

/// Names of the language model's layers start with this.
const LAYERS_PREFIX: &str = "model.layers.";
/// Names of the projector of vision tokens start with this.
pub const PROJECTOR_PREFIX: &str = "model.mm_projector.";
/// What the rows come from that enter the language model.
const EMBEDDING_PREFIXES: [&str; 5] =
    ["model.embed_tokens.", PROJECTOR_PREFIX, "model.f_cam.", "model.f_point.", "model.image_newline"];

/// Whether a layer of the language model writes to the residual stream through the variable
/// called `name`.
pub fn writes(name: &str) -> bool {
    name.starts_with(LAYERS_PREFIX)
        && (name.ends_with(".self_attn.o_proj.weight") || name.ends_with(".mlp.down_proj.weight"))
}

/// Whether the variable called `name` lies behind the first `layers` layers of the language
/// model; everything lies behind none.
pub fn lies_behind(name: &str, layers: usize) -> bool {
    let number = |rest: &str| rest.split('.').next().and_then(|number| number.parse::<usize>().ok());
    match name.strip_prefix(LAYERS_PREFIX).and_then(number) {
        Some(layer) => layers <= layer,
        None => layers == 0 || !EMBEDDING_PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
    }
}

/// Named variables, shared by clones; made on first use from the run's seed.
#[derive(Debug, Clone)]
pub struct Variables {
    source: SeededVariables,
}

impl Variables {
    /// No variables yet; `seed` decides the values of those to come.
    pub fn new(seed: u64) -> Self {
        Self { source: SeededVariables::new(seed) }
    }

    /// A builder that creates missing variables (f32).
    pub fn builder(&self, device: &Device) -> VarBuilder<'static> {
        self.source.builder(DType::F32, device)
    }

    /// Name and variable of what a stage trains, in order of names.
    pub fn trained_by(&self, stage: StageKind) -> Vec<(String, Var)> {
        self.all().into_iter().filter(|(name, _)| stage.trains(name)).collect()
    }

    fn all(&self) -> BTreeMap<String, Var> {
        let map = self.source.var_map();
        let map = map.data().lock().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// Sets the query projections of one layer of the language model (counted from 0) to
    /// `gain` times its key projections (each head to those of the keys it reads): its rows
    /// attend to rows like themselves before any matching has been learned.
    pub fn start_queries_as_keys(
        &self,
        language: &Qwen2Config,
        layer: usize,
        gain: f64,
    ) -> Result<(), TrainError> {
        let all = self.all();
        let (dim, width) = (language.head_dim(), language.hidden_size);
        let (heads, groups) = (language.num_attention_heads, language.num_key_value_heads);
        let of = |kind: &str| all.get(&format!("{LAYERS_PREFIX}{layer}.self_attn.{kind}_proj.weight"));
        if let (Some(key), Some(query)) = (of("k"), of("q")) {
            let key = (key.as_tensor().detach().reshape((groups, 1, dim, width))? * gain)?;
            let spread = key.expand((groups, heads / groups, dim, width))?.contiguous()?;
            query.set(&spread.reshape((heads * dim, width))?)?;
        }
        Ok(())
    }

    /// All variables by name.
    pub fn tensors(&self) -> HashMap<String, Tensor> {
        self.all().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect()
    }

    /// Writes all variables, replacing the file at once.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let partial = path.with_extension("partial");
        candle_core::safetensors::save(&self.tensors(), &partial)?;
        std::fs::rename(&partial, path).map_err(|error| TrainError::file(path, error))
    }

    /// Reads the variables that `wanted` names from a file: known ones take the file's
    /// values (shapes must agree), unknown ones are added. Returns the names that were read.
    pub fn load(
        &self,
        path: &Path,
        device: &Device,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeSet<String>, TrainError> {
        let wrong = |reason: String| TrainError::Checkpoint { path: path.to_owned(), reason };
        let tensors =
            candle_core::safetensors::load(path, device).map_err(|error| wrong(error.to_string()))?;
        let mut names = BTreeSet::new();
        let map = self.source.var_map();
        let mut map = map.data().lock().unwrap_or_else(PoisonError::into_inner);
        let tensors: BTreeMap<_, _> = tensors.into_iter().filter(|(name, _)| wanted(name)).collect();
        for (name, tensor) in tensors {
            names.insert(name.clone());
            let tensor = tensor.to_dtype(DType::F32)?;
            match map.get(&name) {
                Some(var) if var.dims() == tensor.dims() => var.set(&tensor)?,
                Some(var) => {
                    let (found, needed) = (tensor.dims(), var.dims());
                    return Err(wrong(format!("{name} has shape {found:?}, this model needs {needed:?}")));
                }
                None => {
                    map.insert(name, Var::from_tensor(&tensor)?);
                }
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;
    use crate::model::qwen2::{KvCache, PassOptions, Qwen2};

    fn values(vars: &Variables, name: &str) -> Vec<f32> {
        vars.tensors()[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn survives_a_round_trip_and_refuses_wrong_shapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let vars = Variables::new(3);
        candle_nn::linear(8, 4, vars.builder(&Device::Cpu).pp("a")).unwrap();
        vars.save(&path).unwrap();
        let other = Variables::new(9);
        candle_nn::linear(8, 4, other.builder(&Device::Cpu).pp("a")).unwrap();
        assert_ne!(values(&vars, "a.weight"), values(&other, "a.weight"));
        assert_eq!(other.load(&path, &Device::Cpu, |_| true).unwrap().len(), 2);
        assert_eq!(values(&vars, "a.weight"), values(&other, "a.weight"));
        assert_eq!(other.load(&path, &Device::Cpu, |name| name == "a.bias").unwrap().len(), 1);
        let wrong = Variables::new(9);
        candle_nn::linear(7, 4, wrong.builder(&Device::Cpu).pp("a")).unwrap();
        let message = wrong.load(&path, &Device::Cpu, |_| true).unwrap_err().to_string();
        assert!(message.contains("a.weight") && message.contains("model.safetensors"), "{message}");
    }

    #[test]
    fn queries_start_as_the_keys_of_their_group() {
        let language = Qwen2Config { num_key_value_heads: 1, ..ModelConfig::tiny().language };
        let vars = Variables::new(3);
        let root = vars.builder(&Device::Cpu);
        Qwen2::new(&language, &root.pp("model"), &root).unwrap();
        let untouched = values(&vars, "model.layers.0.self_attn.q_proj.weight");
        vars.start_queries_as_keys(&language, 1, 2.0).unwrap();
        let doubled: Vec<f32> =
            values(&vars, "model.layers.1.self_attn.k_proj.weight").iter().map(|k| 2.0 * k).collect();
        let queries = values(&vars, "model.layers.1.self_attn.q_proj.weight");
        assert_eq!(queries, [doubled.clone(), doubled].concat());
        assert_eq!(values(&vars, "model.layers.0.self_attn.q_proj.weight"), untouched);
    }

    #[test]
    fn gradients_reach_the_variables() {
        let vars = Variables::new(3);
        let weight = vars.builder(&Device::Cpu).get((2, 2), "w").unwrap();
        let gradients = weight.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (_, var) in vars.trained_by(StageKind::Joint) {
            assert!(gradients.get(var.as_tensor()).is_some());
        }
    }

    #[test]
    fn two_matrices_of_a_layer_write_to_the_stream() {
        let vars = Variables::new(3);
        let root = vars.builder(&Device::Cpu);
        Qwen2::new(&ModelConfig::tiny().language, &root.pp("model"), &root).unwrap();
        let trained = vars.trained_by(StageKind::Joint);
        let of_first = trained.iter().filter(|(name, _)| name.starts_with("model.layers.0.") && writes(name));
        let found: Vec<&str> = of_first.map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, ["model.layers.0.mlp.down_proj.weight", "model.layers.0.self_attn.o_proj.weight"]);
        assert!(!writes("model.mm_projector.2.weight"));
    }

    #[test]
    fn what_lies_before_the_frozen_layers_gets_no_gradient() {
        let vars = Variables::new(3);
        let root = vars.builder(&Device::Cpu);
        let decoder = Qwen2::new(&ModelConfig::tiny().language, &root.pp("model"), &root).unwrap();
        let rows = decoder.embed(&Tensor::new(&[[7u32, 9]], &Device::Cpu).unwrap()).unwrap();
        let options = PassOptions { taps: &[0, 1], learned_from: 1, ..PassOptions::default() };
        let hidden = decoder.forward_with(&rows, &mut KvCache::new(), options).unwrap();
        let read = (hidden.last.sqr().unwrap().sum_all().unwrap()
            + (hidden.tapped[0].sum_all().unwrap() + hidden.tapped[1].sum_all().unwrap()).unwrap())
        .unwrap();
        let gradients = read.backward().unwrap();
        for (name, var) in vars.trained_by(StageKind::Joint) {
            assert_eq!(gradients.get(var.as_tensor()).is_some(), lies_behind(&name, 1), "{name}");
        }
        assert!(
            lies_behind("model.layers.12.mlp.up_proj.weight", 12) && lies_behind("model.f_ori.0.bias", 9)
        );
        assert!(
            !lies_behind("model.layers.2.mlp.up_proj.weight", 12) && !lies_behind("model.f_cam.0.bias", 1)
        );
        assert!(lies_behind("model.f_cam.0.bias", 0));
        assert!(!lies_behind("model.image_newline", 1));
    }
}
