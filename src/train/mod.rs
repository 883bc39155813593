//! The trainer: vision tower, camera encoder, joint objective.
