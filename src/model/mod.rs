//! The network. Speaks tensors inside and plain values at its edge; knows no
//! threads, no user interface and no data set names.
//!
//! [`Loc3rModel`] is the whole: [`Loc3rModel::encode_video`] (of which the frozen part,
//! [`Loc3rModel::perceive`], can be kept on disk), then [`Loc3rModel::ask`] as often as wanted. [`Network`] is the part that is trained.
//!
//! Shapes are written with these letters: batch B, frames F, patches of a frame N,
//! pooled patches n, tokens T, vision width D, language width h, image side S.

mod base_model;
mod bounded_file;
pub mod camera;
pub mod checkpoint;
mod checkpoint_source;
pub mod choices;
pub mod config;
pub mod convert;
pub mod cut3r;
pub mod device;
mod exchange;
pub mod familiarity;
pub mod feature_cache;
pub mod freed_memory;
pub mod generation;
mod generation_settings;
pub mod geometry_cue;
mod gguf;
pub mod heads;
mod key_report;
pub mod layers;
mod layout_reader;
mod loc3r_model;
pub mod memory_plan;
pub mod network;
mod number_type;
pub mod odometry;
pub mod ops;
pub mod perception;
mod pickle;
mod prefill;
pub mod preprocess;
pub mod projector;
pub mod prompt;
mod pth;
mod published;
mod published_config;
pub mod quantize;
pub mod quantized;
pub mod qwen2;
pub mod random_weights;
mod safetensors_fault;
pub mod sequence;
pub mod siglip;
pub mod tokenizer;
mod tokenizer_parts;
mod training_record;
mod watched;
mod weight_files;

use std::path::PathBuf;

pub use config::ModelConfig;
pub use exchange::{Clip, Query, Reply, ReplyStep, VideoStep};
pub use feature_cache::FeatureCache;
pub use generation_settings::GenerationSettings;
pub use loc3r_model::{Loc3rModel, VideoEncoding};
pub use network::{Network, SeededVariables};
pub use number_type::NumberType;
pub use perception::Perception;
pub use prefill::PREFILL_CHUNK;
pub use tokenizer::TextTokenizer;
pub use training_record::{TrainedStage, TrainingRun, TrainingStart};
pub use watched::Watched;

/// What can go wrong with a model; messages name the file and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The folder is not a checkpoint.
    #[error("{path} is not a checkpoint: {reason}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The configuration cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No tokenizer could be learned.
    #[error("no tokenizer can be learned: {reason}")]
    TokenizerTraining {
        /// Why.
        reason: String,
    },
    /// The weights do not fit the configuration.
    #[error(
        "the weights in {path} do not fit: {reason}; download the checkpoint again or take the config.json that belongs to it"
    )]
    Weights {
        /// The file, or the folder of the shards.
        path: PathBuf,
        /// Which tensors.
        reason: String,
    },
    /// The model is larger than the device's memory.
    #[error("{path} does not fit: {reason}")]
    Memory {
        /// The folder.
        path: PathBuf,
        /// What it needs, what is free, what to do.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {reason}; check the disk and its permissions")]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The frames are not what they say.
    #[error("the frames of {path} cannot be used: {reason}")]
    Clip {
        /// The video.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The question cannot be asked.
    #[error("{reason}")]
    Query {
        /// Why, and what to do.
        reason: String,
    },
    /// More tokens than the model was made for.
    #[error("video and question have {tokens} tokens, the model takes at most {limit}; shorten the question")]
    TooLong {
        /// Tokens of video and question.
        tokens: usize,
        /// Largest number.
        limit: usize,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A computation failed.
    #[error("the computation failed: {0}; if memory ran out, use fewer frames or a smaller model")]
    Tensor(#[from] candle_core::Error),
}
