//! loc3r: language-based localisation and 3D reasoning from ordinary video.
//!
//! Layers, lowest first; a module imports only from lower layers (the table of
//! who may import whom is in ARCHITECTURE.md and checked by a test):
//!
//! | layer | modules |
//! |---|---|
//! | 0 values | [`geometry`], [`worker`] |
//! | 1 nouns | [`video`], [`scene`], [`qa`] |
//! | 2 capabilities | [`hub`], [`model`], [`dataset`], [`synth`] |
//! | 3 jobs | [`train`], [`evaluate`], [`parity`], [`session`], [`recording`] |
//! | 4 fronts | `viewer`, [`cli`] |
//!
//! Data flow: a video's sampled frames go through `model` on the thread owned by
//! [`session`]; what comes back are [`session::SessionEvent`]s, consumed alike by
//! the viewer, the command line and the Rerun recorder. Spaces and units are
//! defined in [`geometry`].

pub mod cli;
pub mod dataset;
pub mod evaluate;
pub mod geometry;
pub mod hub;
pub mod model;
pub mod parity;
pub mod qa;
pub mod recording;
pub mod scene;
pub mod session;
pub mod synth;
pub mod train;
pub mod video;
#[cfg(feature = "viewer")]
pub mod viewer;
pub mod worker;
