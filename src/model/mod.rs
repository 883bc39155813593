//! The network. Speaks tensors inside and plain values at its edge; knows no
//! threads, no user interface and no data set names.

pub mod align;
pub mod camera;
pub mod config;
pub mod cut3r;
pub mod heads;
pub mod layers;
pub mod network;
pub mod ops;
pub mod projector;
pub mod qwen2;
pub mod sequence;
pub mod siglip;

pub use config::ModelConfig;
pub use network::{Network, SeededVariables};
