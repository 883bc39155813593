//! How much memory a model takes on a device, known from its configuration and the shapes
//! of its tensors before anything is loaded.

use std::fmt;

use candle_core::{DType, Device};
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::config::ModelConfig;
use super::prefill::PREFILL_CHUNK;
use super::sequence::VisualLayout;
use super::siglip;

/// Tokens of prompt, situation, question and answer behind a video.
const TEXT_TOKENS: usize = 1024;

/// Numbers stored in a checkpoint, by the part of the network that needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WeightCounts {
    /// Language model, projector and heads, without what is quantised.
    pub language: u64,
    /// Vision tower.
    pub vision: u64,
    /// Camera encoder.
    pub camera: u64,
    /// Bytes, not numbers, of the language model's quantised matrices: they stay as they are,
    /// whatever the others become. Copies for faster products count as well.
    pub quantized: u64,
}

/// Bytes that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Weights of language model, projector and heads.
    pub language: u64,
    /// Weights of the vision tower.
    pub vision: u64,
    /// Weights of the camera encoder.
    pub camera: u64,
    /// Keys and values of one video with a conversation.
    pub keys_and_values: u64,
    /// What comes and goes while a video is read, at most.
    pub working: u64,
}

impl MemoryPlan {
    /// The plan of a model whose numbers, but for quantised matrices, are of type `dtype`.
    pub fn new(config: &ModelConfig, weights: &WeightCounts, dtype: DType) -> Self {
        let size = dtype.size_in_bytes() as u64;
        let frames = config.num_frames as usize;
        let tokens = VisualLayout::new(config, frames).len() + TEXT_TOKENS;
        let language = &config.language;
        let head = language.hidden_size / language.num_attention_heads.max(1);
        let per_token = 2 * language.num_hidden_layers * language.num_key_value_heads * head;
        Self {
            language: weights.language.saturating_mul(size).saturating_add(weights.quantized),
            vision: weights.vision * size,
            // Geometry is computed in f32 whatever the rest is.
            camera: weights.camera * DType::F32.size_in_bytes() as u64,
            keys_and_values: (tokens * per_token) as u64 * size,
            working: working(config, tokens) * size,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.language + self.vision + self.camera + self.keys_and_values + self.working
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (language model {}, vision tower {}, camera encoder {}, keys and values {}, working memory {})",
            gigabytes(self.total()),
            gigabytes(self.language),
            gigabytes(self.vision),
            gigabytes(self.camera),
            gigabytes(self.keys_and_values),
            gigabytes(self.working)
        )
    }
}

/// Numbers alive at once, at most: features of all frames, and one pass of the vision tower
/// or one chunk of the decoder with its attention scores.
fn working(config: &ModelConfig, tokens: usize) -> u64 {
    let (vision, language) = (&config.vision, &config.language);
    let patches = vision.grid() * vision.grid();
    let kept = config.num_frames as usize * patches * vision.hidden_size + 2 * tokens * language.hidden_size;
    let tower = siglip::CHUNK
        * patches
        * (6 * vision.hidden_size + 2 * vision.intermediate_size + vision.num_attention_heads * patches);
    let rows = PREFILL_CHUNK.min(tokens);
    let decoder = rows
        * (6 * language.hidden_size + 3 * language.intermediate_size + language.num_attention_heads * tokens)
        + language.vocab_size;
    (kept + tower.max(decoder)) as u64
}

/// Bytes free on a device; `None` where it does not say.
pub fn free_memory(device: &Device) -> Option<u64> {
    match device {
        Device::Cpu => {
            let memory = MemoryRefreshKind::nothing().with_ram();
            let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory));
            // Containers may be given less than the machine has.
            let allowed = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
            Some(system.available_memory().min(allowed)).filter(|&bytes| bytes > 0)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            let (free, _) = candle_core::cuda_backend::cudarc::driver::result::mem_get_info().ok()?;
            Some(free as u64)
        }
        _ => None,
    }
}

/// "12.3 GB", "13 MB".
pub fn gigabytes(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        1..100_000_000 => format!("{:.0} MB", (bytes as f64 / 1e6).max(1.0)),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// What is wrong with a plan that needs more than `free` bytes; `None` when it fits. `half`
/// is the plan with numbers of half the size, if there is the choice.
pub fn shortage(plan: &MemoryPlan, half: Option<&MemoryPlan>, free: u64) -> Option<String> {
    (plan.total() > free).then(|| {
        let remedy = match half {
            Some(half) if half.total() <= free => format!(
                "with `--precision bf16` it needs {}, or close other programs",
                gigabytes(half.total())
            ),
            _ => "close other programs, or take a smaller model or a larger machine".to_owned(),
        };
        format!("it needs {plan} and {} are free; {remedy}", gigabytes(free))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_model_takes_what_the_specification_says() {
        let weights =
            WeightCounts { language: 7_658_060_708, vision: 397_747_744, camera: 684_648_192, quantized: 0 };
        let config = ModelConfig::llava_video_7b();
        let plan = MemoryPlan::new(&config, &weights, DType::BF16);
        let near = |bytes: u64, gigabytes: f64| (bytes as f64 / 1e9 - gigabytes).abs() < 0.1;
        assert!(near(plan.language, 15.3) && near(plan.vision, 0.8) && near(plan.camera, 2.74), "{plan:?}");
        // 57,344 bytes a token.
        assert_eq!(plan.keys_and_values % 57_344, 0);
        assert!((6000..9000).contains(&(plan.keys_and_values / 57_344)), "{plan:?}");
        assert!(plan.working < 2_000_000_000, "{plan}");
        let full = MemoryPlan::new(&config, &weights, DType::F32);
        // The camera encoder is kept in f32 at any rate.
        assert_eq!(full.camera, plan.camera);
        assert_eq!(full.total() - full.camera, 2 * (plan.total() - plan.camera));
    }

    #[test]
    fn quantised_matrices_do_not_grow_with_the_others() {
        let weights = WeightCounts { language: 1_000, quantized: 700, ..WeightCounts::default() };
        let plan = |dtype| MemoryPlan::new(&ModelConfig::tiny(), &weights, dtype).language;
        assert_eq!((plan(DType::F32), plan(DType::BF16)), (4_700, 2_700));
    }

    #[test]
    fn a_plan_that_does_not_fit_says_what_takes_how_much() {
        let plan =
            MemoryPlan { language: 30_000_000_000, vision: 0, camera: 0, keys_and_values: 1, working: 2 };
        let half = MemoryPlan { language: 15_000_000_000, ..plan };
        assert_eq!(shortage(&plan, Some(&half), 31_000_000_000), None);
        let text = shortage(&plan, Some(&half), 20_000_000_000).unwrap();
        assert!(text.contains("language model 30.0 GB") && text.contains("20.0 GB are free"), "{text}");
        assert!(text.contains("--precision bf16") && text.contains("15.0 GB"), "{text}");
        for half in [None, Some(&half)] {
            let text = shortage(&plan, half, 10_000_000_000).unwrap();
            assert!(text.contains("smaller model"), "{text}");
        }
    }

    #[test]
    fn this_machine_has_memory() {
        let free = free_memory(&Device::Cpu).unwrap();
        assert!((1_000_000..100_000_000_000_000).contains(&free), "{free}");
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(gigabytes(12_345_000_000), "12.3 GB");
        assert_eq!(gigabytes(13_400_000), "13 MB");
        assert_eq!(gigabytes(0), "0");
    }
}
