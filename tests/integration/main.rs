//! One binary for all integration tests: linking Bevy and candle is expensive.

mod allocations;
mod architecture;
mod bad_input;
mod cache;
mod checkpoints;
mod cli;
mod compare;
mod corpus;
mod evaluate;
mod full_size;
mod fuzz;
mod gguf;
#[cfg(feature = "viewer")]
mod gui;
mod hub;
mod hub_server;
mod inspect;
mod model;
mod odometry;
mod parity;
mod published;
#[cfg(feature = "rerun")]
mod recording;
mod session;
mod shaders;
mod synth;
mod train;
#[cfg(feature = "ffmpeg")]
mod video;
mod watched;
