//! Sizes and choices of the network, as stored in `config.json` beside the weights.
//!
//! Names follow the published `config.json` of LLaVA-Video where one exists. What
//! the paper leaves open (arXiv 2603.18002; the choices are marked "open" below) is
//! a field here, with the default that the public descriptions make most likely.

use serde::{Deserialize, Serialize};

use super::cut3r::Cut3rConfig;
use super::familiarity::FamiliarityConfig;
use super::odometry::OdometryConfig;
pub use super::prompt::PromptConfig;
use super::training_record::TrainingRun;

/// The whole model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name for people ("loc3r-mini").
    pub name: String,
    /// Sentence shown beside every answer ("preview quality"); empty when none.
    pub notice: String,
    /// Image encoder.
    pub vision: SiglipConfig,
    /// How projected patches become fewer tokens.
    pub pooling: PoolingConfig,
    /// Where the learned newline vector goes between vision tokens (`mm_newline_position`).
    pub newline: NewlineMode,
    /// How frames become square (open: squash).
    pub frame_fit: FrameFit,
    /// Source of the camera tokens.
    pub camera: CameraEncoderConfig,
    /// Width of a camera token before `f_cam`; 0 without a camera encoder.
    pub camera_token_dim: usize,
    /// Hidden width of `f_cam`; the language width when absent (open).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera_hidden_size: Option<usize>,
    /// Activation of `f_cam` (open: exact GELU).
    #[serde(default)]
    pub camera_activation: Activation,
    /// Where in its frame the camera token stands (open: first).
    #[serde(default)]
    pub camera_place: CameraPlace,
    /// Whether a newline vector follows the camera token (open: no).
    #[serde(default)]
    pub camera_newline: bool,
    /// Whether the 3D points of vision tokens are embedded and added to them (not in the
    /// paper, which is compared with this).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub geometry_cue: bool,
    /// What clips must look like; `None` for a model that cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<FamiliarityConfig>,
    /// Language model.
    pub language: Qwen2Config,
    /// Layout, position and orientation heads.
    pub heads: HeadsConfig,
    /// Frames sampled from a video.
    pub num_frames: u32,
    /// The words around video, situation and question.
    pub prompt: PromptConfig,
    /// Entries of the tokenizer that belongs to the weights; 0 when unknown.
    #[serde(default)]
    pub tokenizer_entries: usize,
    /// The training runs that made the weights, oldest first; empty when unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub training: Vec<TrainingRun>,
}

/// SigLIP vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiglipConfig {
    /// Width.
    pub hidden_size: usize,
    /// Layers of the original file.
    pub num_hidden_layers: usize,
    /// Which hidden state is used, as in `mm_vision_select_layer`: -1 is the last
    /// layer's output, -2 leaves the last layer out.
    pub select_layer: i32,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Side of the square input, pixels.
    pub image_size: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// LayerNorm epsilon.
    pub layer_norm_eps: f64,
}

impl SiglipConfig {
    /// Patches along one side of the image; pixels behind the last whole patch are unused.
    pub fn grid(&self) -> usize {
        self.image_size.checked_div(self.patch_size).unwrap_or(0)
    }

    /// Layers that run.
    pub fn layers(&self) -> usize {
        let all = i64::try_from(self.num_hidden_layers).unwrap_or(i64::MAX - 1) + 1;
        all.saturating_add(i64::from(self.select_layer)).max(0) as usize
    }
}

/// Pooling of the projected patch grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolingConfig {
    /// `mm_spatial_pool_mode` (open: bilinear).
    pub mode: PoolingMode,
    /// `mm_spatial_pool_stride`.
    pub stride: usize,
}

impl PoolingConfig {
    /// Tokens along one side for a grid of `grid` patches.
    pub fn pooled(&self, grid: usize) -> usize {
        match self.mode {
            PoolingMode::Bilinear => grid.div_ceil(self.stride.max(1)),
            PoolingMode::Average | PoolingMode::Max => grid / self.stride.max(1),
        }
    }
}

/// Kind of pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolingMode {
    /// Resampled with half-pixel centres, no antialiasing.
    Bilinear,
    /// Mean of stride x stride cells.
    Average,
    /// Maximum of stride x stride cells.
    Max,
}

/// Where newline vectors go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewlineMode {
    /// After every row of every frame.
    Grid,
    /// After every frame.
    Frame,
    /// Once, after the video.
    OneToken,
    /// Nowhere.
    NoToken,
}

/// Where in a frame its camera token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraPlace {
    /// Before the patches.
    #[default]
    First,
    /// After the patches and their newlines.
    Last,
}

/// Activation between the two layers of an MLP; names as in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Activation {
    /// Exact, with the error function.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// Approximated with tanh.
    #[serde(rename = "gelu_pytorch_tanh")]
    GeluTanh,
}

/// How a frame becomes square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameFit {
    /// The aspect is given up (LLaVA).
    Squash,
    /// The largest centred square is cut out.
    Crop,
}

/// Source of the camera tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CameraEncoderConfig {
    /// No camera tokens.
    None,
    /// CUT3R, the encoder of the paper.
    Cut3r(Cut3rConfig),
    /// Visual odometry on the vision tower's own metric points.
    Odometry(OdometryConfig),
}

/// Qwen2 decoder; names as in its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qwen2Config {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// RoPE base.
    pub rope_theta: f64,
    /// RMSNorm epsilon.
    pub rms_norm_eps: f64,
    /// Whether the embedding table is also the output layer.
    pub tie_word_embeddings: bool,
    /// Longest sequence, tokens.
    pub max_position_embeddings: usize,
}

impl Qwen2Config {
    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads.max(1)
    }
}

/// Heads on the language model's hidden states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadsConfig {
    /// Meaning of the raw uncertainty (open: log variance).
    pub uncertainty: Uncertainty,
    /// Log variances are clamped to ± this (open: 10).
    pub max_log_variance: f64,
    /// Hidden width of the position and orientation MLPs; the language width when absent (open).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<usize>,
    /// Activation of the position and orientation MLPs (open: exact GELU).
    #[serde(default)]
    pub activation: Activation,
    /// Which hidden state the heads read (open: after the final norm).
    pub input: HeadInput,
    /// Where the heading bins sit (open: half).
    pub bin_centers: BinCenters,
    /// Axes of the predicted bird's-eye frame (open: right, forward).
    pub bev_axes: BevAxes,
}

/// What the two uncertainty outputs of a Gaussian head mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncertainty {
    /// ln σ².
    LogVariance,
    /// σ = softplus(raw).
    SoftplusSigma,
    /// σ² = softplus(raw).
    SoftplusVariance,
    /// σ = exp(raw).
    ExpSigma,
}

/// Input of the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadInput {
    /// After the language model's final norm.
    FinalNorm,
    /// Output of its last layer, before the norm.
    LastLayer,
}

/// Centres of the 36 heading bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinCenters {
    /// -π + (b + ½)·10°.
    Half,
    /// -π + b·10°.
    Whole,
}

/// Axes of the network's bird's-eye frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BevAxes {
    /// x right, y forward: the first camera looks along +π/2.
    RightForward,
    /// x forward, y left: the first camera looks along 0.
    ForwardLeft,
}

impl HeadsConfig {
    /// The defaults of every open choice.
    pub fn published() -> Self {
        Self {
            uncertainty: Uncertainty::LogVariance,
            max_log_variance: 10.0,
            hidden_size: None,
            activation: Activation::Gelu,
            input: HeadInput::FinalNorm,
            bin_centers: BinCenters::Half,
            bev_axes: BevAxes::RightForward,
        }
    }
}

impl ModelConfig {
    /// Names accepted by [`Self::preset`].
    pub const PRESETS: [&str; 5] = ["tiny", "tour", "mini", "onevision-0.5b", "llava-video-7b"];

    /// A preset by name.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "tour" => Some(Self::tour()),
            "mini" => Some(Self::mini()),
            "onevision-0.5b" => Some(Self::onevision_05b()),
            "llava-video-7b" => Some(Self::llava_video_7b()),
            _ => None,
        }
    }

    /// A few ten thousand weights, for tests: 4 frames of 32 px, 2 x 2 tokens each.
    pub fn tiny() -> Self {
        Self {
            name: "tiny".to_owned(),
            notice: String::new(),
            vision: SiglipConfig::small(32, 8, 32, 2, 2),
            pooling: PoolingConfig { mode: PoolingMode::Bilinear, stride: 2 },
            newline: NewlineMode::NoToken,
            frame_fit: FrameFit::Squash,
            camera: CameraEncoderConfig::None,
            camera_token_dim: 0,
            camera_hidden_size: None,
            camera_activation: Activation::Gelu,
            camera_place: CameraPlace::First,
            camera_newline: false,
            geometry_cue: false,
            familiarity: None,
            language: Qwen2Config::small(512, 32, 2, 2, 1024),
            heads: HeadsConfig::published(),
            num_frames: 4,
            prompt: PromptConfig::short(),
            tokenizer_entries: 0,
            training: Vec::new(),
        }
    }

    /// What learns something within minutes: 12 frames of 64 px, 4 x 4 tokens each.
    pub fn tour() -> Self {
        Self {
            name: "loc3r-tour".to_owned(),
            vision: SiglipConfig::small(64, 8, 96, 3, 4),
            language: Qwen2Config::small(1024, 96, 3, 4, 1024),
            num_frames: 12,
            ..Self::tiny()
        }
    }

    /// The bundled size: 32 frames of 128 px, 4 x 4 tokens each.
    pub fn mini() -> Self {
        Self {
            name: "loc3r-mini".to_owned(),
            vision: SiglipConfig::small(128, 16, 192, 6, 4),
            language: Qwen2Config::small(2048, 192, 8, 4, 1024),
            num_frames: 32,
            ..Self::tiny()
        }
    }

    /// llava-onevision-qwen2-0.5b-ov with CUT3R camera tokens.
    pub fn onevision_05b() -> Self {
        Self {
            name: "onevision-0.5b".to_owned(),
            language: Qwen2Config::published_05b(),
            ..Self::llava_video_7b()
        }
    }

    /// LLaVA-Video-7B-Qwen2 with CUT3R camera tokens: the model of the paper.
    pub fn llava_video_7b() -> Self {
        Self {
            name: "llava-video-7b".to_owned(),
            notice: String::new(),
            vision: SiglipConfig::so400m(),
            pooling: PoolingConfig { mode: PoolingMode::Bilinear, stride: 2 },
            newline: NewlineMode::Grid,
            frame_fit: FrameFit::Squash,
            camera: CameraEncoderConfig::Cut3r(Cut3rConfig::published()),
            camera_token_dim: 768,
            camera_hidden_size: None,
            camera_activation: Activation::Gelu,
            camera_place: CameraPlace::First,
            camera_newline: false,
            geometry_cue: false,
            familiarity: None,
            language: Qwen2Config::published_7b(),
            heads: HeadsConfig::published(),
            num_frames: 32,
            prompt: PromptConfig::published(),
            tokenizer_entries: 0,
            training: Vec::new(),
        }
    }

    /// Whether frames carry a camera token.
    pub fn has_camera_tokens(&self) -> bool {
        self.camera_token_dim > 0
    }

    /// Whether a newline vector stands anywhere among the tokens of a video.
    pub fn has_newline(&self) -> bool {
        self.newline != NewlineMode::NoToken || self.camera_newline
    }

    /// Vision tokens along one side of a frame.
    pub fn token_grid(&self) -> usize {
        self.pooling.pooled(self.vision.grid())
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// One sentence naming the field.
    pub fn validate(&self) -> Result<(), String> {
        let (vision, language) = (&self.vision, &self.language);
        let rules = [
            (vision.patch_size > 0 && vision.grid() > 0, "vision.patch_size must fit into vision.image_size"),
            (vision.image_size <= 4096, "vision.image_size must be at most 4096"),
            (
                divides(vision.num_attention_heads, vision.hidden_size),
                "vision.num_attention_heads must divide vision.hidden_size",
            ),
            (
                (1..=vision.num_hidden_layers).contains(&vision.layers()),
                "vision.select_layer must leave at least one layer",
            ),
            (
                vision.num_hidden_layers.max(language.num_hidden_layers) <= MOST_LAYERS,
                "num_hidden_layers must be at most 1000",
            ),
            (
                divides(language.num_attention_heads, language.hidden_size),
                "language.num_attention_heads must divide language.hidden_size",
            ),
            (
                divides(language.num_key_value_heads, language.num_attention_heads),
                "language.num_key_value_heads must divide language.num_attention_heads",
            ),
            (language.head_dim().is_multiple_of(2), "the width of a language head must be even"),
            (
                language.num_hidden_layers > 0 && language.vocab_size > 0,
                "language needs layers and a vocabulary",
            ),
            (
                self.pooling.stride > 0 && self.token_grid() > 0,
                "pooling.stride must leave at least one token",
            ),
            (
                self.token_grid().saturating_mul(vision.grid()).saturating_pow(2) <= MOST_POOLING,
                "vision.image_size has too many patches for pooling.stride",
            ),
            ((1..=1024).contains(&self.num_frames), "num_frames must be 1 to 1024"),
            (
                self.camera != CameraEncoderConfig::None || self.camera_token_dim == 0,
                "camera_token_dim must be 0 without a camera encoder",
            ),
            (
                self.prompt.before_tokens.trim().is_empty() && self.prompt.after_tokens.trim().is_empty(),
                "prompt.before_tokens and prompt.after_tokens must be blank",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => self.validate_camera(),
            Some((_, rule)) => Err((*rule).to_owned()),
        }
    }

    fn validate_camera(&self) -> Result<(), String> {
        match &self.camera {
            CameraEncoderConfig::None => Ok(()),
            CameraEncoderConfig::Cut3r(cut3r) => cut3r.validate(),
            CameraEncoderConfig::Odometry(odometry) => {
                let spacing = odometry.spacing;
                if spacing.longest_secs > 0.0 && (1..=MOST_FOLLOWED).contains(&spacing.most_frames) {
                    return Ok(());
                }
                Err("camera.spacing needs longest_secs above 0 and most_frames from 1 to 100000".to_owned())
            }
        }
    }
}

/// Numbers of the constant matrix that pools the patches of a frame (n x N), at most. The
/// published model has 142,884.
const MOST_POOLING: usize = 1 << 24;

/// Frames of a video that a camera is followed through, at most.
const MOST_FOLLOWED: u32 = 100_000;

/// More layers than any network of this kind has.
pub(super) const MOST_LAYERS: usize = 1000;

pub(super) fn divides(part: usize, whole: usize) -> bool {
    part > 0 && whole > 0 && whole.is_multiple_of(part)
}

impl SiglipConfig {
    /// google/siglip-so400m-patch14-384 without its last layer.
    pub fn so400m() -> Self {
        Self {
            hidden_size: 1152,
            num_hidden_layers: 27,
            select_layer: -2,
            num_attention_heads: 16,
            intermediate_size: 4304,
            image_size: 384,
            patch_size: 14,
            layer_norm_eps: 1e-6,
        }
    }

    fn small(image_size: usize, patch_size: usize, hidden_size: usize, layers: usize, heads: usize) -> Self {
        Self {
            hidden_size,
            num_hidden_layers: layers,
            select_layer: -1,
            num_attention_heads: heads,
            intermediate_size: 4 * hidden_size,
            image_size,
            patch_size,
            layer_norm_eps: 1e-6,
        }
    }
}

impl Qwen2Config {
    /// Qwen2-7B as in LLaVA-Video.
    pub fn published_7b() -> Self {
        Self {
            vocab_size: 152_064,
            hidden_size: 3584,
            intermediate_size: 18_944,
            num_hidden_layers: 28,
            num_attention_heads: 28,
            num_key_value_heads: 4,
            rope_theta: 1e6,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            max_position_embeddings: 32_768,
        }
    }

    /// Qwen2-0.5B as in LLaVA-OneVision.
    pub fn published_05b() -> Self {
        Self {
            vocab_size: 151_936,
            hidden_size: 896,
            intermediate_size: 4864,
            num_hidden_layers: 24,
            num_attention_heads: 14,
            num_key_value_heads: 2,
            tie_word_embeddings: true,
            ..Self::published_7b()
        }
    }

    fn small(vocab_size: usize, hidden_size: usize, layers: usize, heads: usize, context: usize) -> Self {
        Self {
            vocab_size,
            hidden_size,
            intermediate_size: 3 * hidden_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: heads,
            tie_word_embeddings: true,
            max_position_embeddings: context,
            ..Self::published_7b()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_survive_json() {
        for name in ModelConfig::PRESETS {
            let config = ModelConfig::preset(name).unwrap();
            config.validate().unwrap();
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<ModelConfig>(&json).unwrap(), config, "{name}");
        }
    }

    #[test]
    fn published_sizes_give_the_published_token_counts() {
        let config = ModelConfig::llava_video_7b();
        assert_eq!(config.vision.layers(), 26);
        assert_eq!(config.token_grid(), 14);
        let average = PoolingConfig { mode: PoolingMode::Average, stride: 2 };
        assert_eq!(average.pooled(config.vision.grid()), 13);
        assert_eq!(ModelConfig::mini().token_grid(), 4);
    }

    #[test]
    fn impossible_sizes_are_named() {
        let mut config = ModelConfig::tiny();
        config.language.num_key_value_heads = 3;
        assert!(config.validate().unwrap_err().contains("num_key_value_heads"));
    }

    #[test]
    fn sizes_that_take_memory_or_time_without_bound_are_named() {
        let mut fine = ModelConfig::tiny();
        fine.vision.image_size = 4096;
        assert!(fine.validate().unwrap_err().contains("pooling.stride"));
        fine.pooling.stride = 64;
        fine.validate().unwrap();
        let mut config = ModelConfig::llava_video_7b();
        config.pooling.stride = 1;
        config.validate().unwrap();
        let CameraEncoderConfig::Cut3r(cut3r) = &mut config.camera else { panic!() };
        cut3r.dec_num_heads = 0;
        assert!(config.validate().unwrap_err().contains("dec_num_heads"));
        let mut odometry = OdometryConfig::new(Vec::new(), Vec::new());
        odometry.spacing.most_frames = u32::MAX;
        config.camera = CameraEncoderConfig::Odometry(odometry);
        assert!(config.validate().unwrap_err().contains("most_frames"));
    }
}
