//! One binary for all integration tests: linking Bevy and candle is expensive.

mod architecture;
mod ops;
