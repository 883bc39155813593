//! How much memory a model takes on a device, known from its configuration and the shapes
//! of its tensors before anything is loaded.

use std::fmt;

use candle_core::{DType, Device};
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::config::{CameraEncoderConfig, ModelConfig};
use super::cut3r;
use super::prefill::PREFILL_CHUNK;
use super::sequence::VisualLayout;
use super::siglip;

/// Tokens of prompt, situation, question and answer behind a video.
const TEXT_TOKENS: usize = 1024;

/// Bytes left for drawing on a graphics card, where the app has its window: at 3840 x 2160
/// pixels two pictures that are drawn in turn, depth and three pictures to show take 200 MB, the
/// video's texture, points and the driver's own about as much again.
const GRAPHICS: u64 = 500_000_000;

/// Bytes of a number that is computed with on the processor, whatever it is kept in.
const WIDE: f64 = 4.0;

/// What kind of device computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hardware {
    /// The processor: products are computed in f32.
    Processor,
    /// A graphics card: it computes in the type that numbers are kept in, but for what attention
    /// scores, and draws the app.
    GraphicsCard,
}

impl Hardware {
    /// The kind of `device`.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::Processor } else { Self::GraphicsCard }
    }
}

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
    /// Of the largest matrix that is multiplied, but for those of the camera encoder and the
    /// quantised ones; counted among the others as well.
    pub largest: u64,
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
    /// The largest matrix in f32, which it becomes for the time of a product where a processor
    /// keeps numbers of half that size.
    pub widened: u64,
    /// What drawing the app takes on the same device.
    pub graphics: u64,
}

impl MemoryPlan {
    /// The plan of a model whose numbers, but for quantised matrices, are of type `dtype`.
    pub fn new(config: &ModelConfig, weights: &WeightCounts, dtype: DType, hardware: Hardware) -> Self {
        let size = dtype.size_in_bytes() as u64;
        let wide = DType::F32.size_in_bytes() as u64;
        let frames = config.num_frames as usize;
        let tokens = VisualLayout::new(config, frames).len() + TEXT_TOKENS;
        let language = &config.language;
        let head = language.hidden_size / language.num_attention_heads.max(1);
        let per_token = product(&[2, language.num_hidden_layers, language.num_key_value_heads, head]);
        let is_widened = hardware == Hardware::Processor && size < wide;
        Self {
            language: weights.language.saturating_mul(size).saturating_add(weights.quantized),
            vision: weights.vision.saturating_mul(size),
            // Geometry is computed in f32 whatever the rest is.
            camera: weights.camera.saturating_mul(wide),
            keys_and_values: ((tokens as f64 * per_token) as u64).saturating_mul(size),
            working: working(config, tokens, size as f64, hardware),
            widened: if is_widened { weights.largest.saturating_mul(wide) } else { 0 },
            graphics: if hardware == Hardware::GraphicsCard { GRAPHICS } else { 0 },
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let parts = [
            self.language,
            self.vision,
            self.camera,
            self.keys_and_values,
            self.working,
            self.widened,
            self.graphics,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (language model {}, vision tower {}, camera encoder {}, keys and values {}, working memory {}",
            gigabytes(self.total()),
            gigabytes(self.language),
            gigabytes(self.vision),
            gigabytes(self.camera),
            gigabytes(self.keys_and_values),
            gigabytes(self.working)
        )?;
        for (what, bytes) in [("a matrix widened to f32", self.widened), ("graphics", self.graphics)] {
            if bytes > 0 {
                write!(f, ", {what} {}", gigabytes(bytes))?;
            }
        }
        write!(f, ")")
    }
}

/// Of sizes that a configuration may have invented: it grows beyond all memory rather than
/// overflow.
fn product(sizes: &[usize]) -> f64 {
    sizes.iter().map(|&size| size as f64).product()
}

/// Bytes alive at once, at most, of numbers of `size` bytes: features of all frames, and one
/// pass of the vision tower, of the camera encoder, or one chunk of the decoder with its
/// attention scores.
fn working(config: &ModelConfig, tokens: usize, size: f64, hardware: Hardware) -> u64 {
    let (vision, language) = (&config.vision, &config.language);
    let frames = config.num_frames as usize;
    let patches = vision.grid() * vision.grid();
    let kept = product(&[frames, patches, vision.hidden_size]) + product(&[2, tokens, language.hidden_size]);
    let width = 6.0 * vision.hidden_size as f64 + 2.0 * vision.intermediate_size as f64;
    let scores = product(&[vision.num_attention_heads, patches]);
    let tower = product(&[siglip::CHUNK, patches]) * (width + scores);
    let width = 6.0 * language.hidden_size as f64 + 3.0 * language.intermediate_size as f64;
    // The processor never holds all scores; a card holds two tensors of them in f32 at once, and
    // one of what comes of them.
    let scores = product(&[language.num_attention_heads, tokens]);
    let held = if hardware == Hardware::Processor { 1.0 } else { 2.0 * WIDE / size + 1.0 };
    let rows = PREFILL_CHUNK.min(tokens) as f64;
    let decoder = rows * (width + held * scores) + language.vocab_size as f64;
    let camera = match &config.camera {
        CameraEncoderConfig::Cut3r(sizes) => cut3r::working_numbers(sizes, frames, hardware),
        CameraEncoderConfig::None | CameraEncoderConfig::Odometry(_) => 0.0,
    };
    let computed = if hardware == Hardware::Processor { WIDE } else { size };
    (kept * size + (tower.max(decoder) * computed).max(camera * WIDE)) as u64
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

/// Another way to have a model, and what it takes then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// "with `--precision bf16`".
    pub how: &'static str,
    /// What it takes.
    pub plan: MemoryPlan,
}

/// What is wrong with a plan that needs more than `free` bytes; `None` when it fits.
/// `alternatives` are the other choices there are.
pub fn shortage(plan: &MemoryPlan, alternatives: &[Alternative], free: u64) -> Option<String> {
    if plan.total() <= free {
        return None;
    }
    let list = |others: &[&Alternative], needs: &str| {
        let told =
            others.iter().map(|other| format!("{} it {needs} {}", other.how, gigabytes(other.plan.total())));
        told.collect::<Vec<_>>().join("; ")
    };
    let (fitting, others): (Vec<_>, Vec<_>) =
        alternatives.iter().partition(|other| other.plan.total() <= free);
    let remedy = match (fitting.is_empty(), others.is_empty()) {
        (false, _) => format!("{}; or close other programs", list(&fitting, "needs")),
        (true, false) => format!(
            "{}; close other programs, or take a smaller model or a larger machine",
            list(&others, "still needs")
        ),
        (true, true) => "close other programs, or take a smaller model or a larger machine".to_owned(),
    };
    Some(format!(
        "by config.json and the headers of its weights it needs {plan} and {} are free; {remedy}",
        gigabytes(free)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of LLaVA-Video-7B with CUT3R; the largest matrix is the output layer.
    const PUBLISHED: WeightCounts = WeightCounts {
        language: 7_658_060_708,
        vision: 397_747_744,
        camera: 684_648_192,
        quantized: 0,
        largest: 152_064 * 3584,
    };

    fn near(bytes: u64, gigabytes: f64) -> bool {
        (bytes as f64 / 1e9 - gigabytes).abs() < 0.1
    }

    #[test]
    fn the_published_model_takes_what_the_specification_says() {
        let config = ModelConfig::llava_video_7b();
        let plan = |dtype, hardware| MemoryPlan::new(&config, &PUBLISHED, dtype, hardware);
        let half = plan(DType::BF16, Hardware::GraphicsCard);
        assert!(near(half.language, 15.3) && near(half.vision, 0.8) && near(half.camera, 2.74), "{half:?}");
        // 57,344 bytes a token.
        assert_eq!(half.keys_and_values % 57_344, 0);
        assert!((6000..9000).contains(&(half.keys_and_values / 57_344)), "{half:?}");
        assert!(half.working < 2_000_000_000, "{half}");
        for hardware in [Hardware::Processor, Hardware::GraphicsCard] {
            let (full, half) = (plan(DType::F32, hardware), plan(DType::BF16, hardware));
            // The camera encoder is kept in f32 at any rate.
            assert_eq!(full.camera, half.camera);
            let twice = |part: fn(&MemoryPlan) -> u64| part(&full) == 2 * part(&half);
            assert!(twice(|plan| plan.language) && twice(|plan| plan.vision), "{full:?} {half:?}");
            assert!(twice(|plan| plan.keys_and_values) && full.working > half.working, "{full:?} {half:?}");
        }
    }

    #[test]
    fn a_graphics_card_draws_as_well_and_a_processor_widens_halves() {
        let config = ModelConfig::llava_video_7b();
        let plan = |dtype, hardware| MemoryPlan::new(&config, &PUBLISHED, dtype, hardware);
        let card = plan(DType::BF16, Hardware::GraphicsCard);
        assert_eq!((card.graphics, card.widened), (500_000_000, 0));
        assert!(card.to_string().contains("graphics 0.5 GB"), "{card}");
        let processor = plan(DType::BF16, Hardware::Processor);
        assert_eq!((processor.graphics, processor.widened), (0, 4 * 152_064 * 3584));
        assert!(processor.to_string().contains("a matrix widened to f32 2.2 GB"), "{processor}");
        let whole = plan(DType::F32, Hardware::Processor);
        assert_eq!((whole.graphics, whole.widened), (0, 0));
        assert!(!whole.to_string().contains("widened"), "{whole}");
        let named = |plan: &MemoryPlan| {
            plan.language + plan.vision + plan.camera + plan.keys_and_values + plan.working
        };
        for plan in [card, processor, whole] {
            assert_eq!(plan.total(), named(&plan) + plan.widened + plan.graphics);
        }
    }

    #[test]
    fn cut3r_needs_memory_to_work_in() {
        let config = ModelConfig::llava_video_7b();
        let without = ModelConfig { camera: CameraEncoderConfig::None, ..config.clone() };
        let working = |config, hardware| MemoryPlan::new(config, &PUBLISHED, DType::BF16, hardware).working;
        // The windows of a convolution of 3 x 3 over 128 maps of 432 x 432, written out.
        let windows: u32 = 4 * 432 * 432 * 128 * 9;
        let CameraEncoderConfig::Cut3r(sizes) = &config.camera else { panic!("it has CUT3R") };
        let own = cut3r::working_numbers(sizes, 32, Hardware::GraphicsCard) * WIDE;
        assert!(own > f64::from(windows) && own < f64::from(windows) + 1e9, "{own}");
        assert!(working(&config, Hardware::GraphicsCard) as f64 >= own);
        // Here the vision tower takes more than CUT3R, which has its windows in tiles.
        assert_eq!(working(&config, Hardware::Processor), working(&without, Hardware::Processor));
    }

    #[test]
    fn invented_sizes_grow_beyond_all_memory() {
        let mut config = ModelConfig::tiny();
        config.vision.num_attention_heads = usize::MAX;
        config.vision.image_size = 4096;
        let plan = MemoryPlan::new(&config, &WeightCounts::default(), DType::F32, Hardware::Processor);
        assert!(plan.total() > 1 << 60, "{plan:?}");
    }

    #[test]
    fn quantised_matrices_do_not_grow_with_the_others() {
        let weights = WeightCounts { language: 1_000, quantized: 700, ..WeightCounts::default() };
        let plan =
            |dtype| MemoryPlan::new(&ModelConfig::tiny(), &weights, dtype, Hardware::Processor).language;
        assert_eq!((plan(DType::F32), plan(DType::BF16)), (4_700, 2_700));
    }

    #[test]
    fn a_plan_that_does_not_fit_says_what_takes_how_much_and_what_would_fit() {
        let empty = MemoryPlan {
            language: 0,
            vision: 0,
            camera: 0,
            keys_and_values: 0,
            working: 0,
            widened: 0,
            graphics: 0,
        };
        let plan = |language| MemoryPlan { language, ..empty };
        let full = plan(30_000_000_000);
        let others = [
            Alternative { how: "with `--precision bf16`", plan: plan(15_000_000_000) },
            Alternative { how: "with q4_K", plan: plan(4_500_000_000) },
        ];
        assert_eq!(shortage(&full, &others, 31_000_000_000), None);
        let told = |others, free| shortage(&full, others, free).unwrap();
        let text = told(&others, 20_000_000_000);
        assert!(text.contains("language model 30.0 GB") && text.contains("20.0 GB are free"), "{text}");
        assert!(text.contains("with `--precision bf16` it needs 15.0 GB"), "{text}");
        assert!(text.contains("with q4_K it needs 4.5 GB"), "{text}");
        let text = told(&others, 10_000_000_000);
        assert!(text.contains("with q4_K it needs 4.5 GB") && !text.contains("bf16"), "{text}");
        let text = told(&others, 1_000_000_000);
        assert!(text.contains("bf16` it still needs 15.0 GB"), "{text}");
        assert!(text.contains("still needs 4.5 GB") && text.contains("smaller model"), "{text}");
        assert!(told(&[], 10_000_000_000).contains("smaller model"));
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
