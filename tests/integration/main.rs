//! One binary for all integration tests: linking Bevy and candle is expensive.

mod architecture;
mod cut3r_parity;
mod golden;
mod model;
mod model_parity;
mod model_preprocess;
mod ops;
mod shaders;
#[cfg(feature = "ffmpeg")]
mod video;
