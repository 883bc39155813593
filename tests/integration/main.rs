//! One binary for all integration tests: linking Bevy and candle is expensive.

mod architecture;
mod bad_input;
mod checkpoints;
mod cli;
mod compare;
mod cut3r_parity;
mod evaluate;
mod golden;
#[cfg(feature = "viewer")]
mod gui;
mod model;
mod model_parity;
mod model_preprocess;
mod odometry;
mod ops;
#[cfg(feature = "rerun")]
mod recording;
mod session;
mod shaders;
mod synth;
mod train;
#[cfg(feature = "ffmpeg")]
mod video;
