//! The trainer: vision tower, camera encoder, joint objective.

pub mod loss;
pub mod optimizer;
pub mod schedule;
