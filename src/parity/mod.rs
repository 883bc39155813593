//! Every part of the network, the losses and the metrics against stored results of the
//! PyTorch reference.
//!
//! A folder of fixtures holds `NAME.json` (sizes, tolerances) with the tensors beside it.
//! What a fixture is about follows from its name: `siglip*`, `qwen2*`, `llava_video*`,
//! `cut3r*`, `pose*`, `preprocess*`, `losses*`, `metrics*`. Dimensions are read from the
//! JSON, so larger networks are checked alike.

mod cut3r;
mod fixture;
mod losses;
mod metrics;
mod pose;
mod preprocess;
mod qwen2;
mod siglip;
mod video;

use std::path::{Path, PathBuf};

pub use fixture::{Bound, Fixture};

/// What can go wrong in a comparison.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A fixture does not hold what its kind needs.
    #[error("fixture {fixture}: {reason}")]
    Fixture {
        /// Its name.
        fixture: String,
        /// What is wrong.
        reason: String,
    },
    /// The network failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A tensor of ours against the reference's.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Name in the fixture.
    pub tensor: String,
    /// Largest absolute difference.
    pub absolute: f64,
    /// The same over the largest magnitude of the reference's tensor.
    pub relative: f64,
    /// Largest absolute difference that the fixture's tolerance allows.
    pub bound: f64,
}

impl Difference {
    /// Whether it is within the tolerance; never for NaN.
    pub fn holds(&self) -> bool {
        self.absolute <= self.bound
    }
}

/// What came of a fixture.
#[derive(Debug, Clone, PartialEq)]
pub struct FixtureReport {
    /// Its name.
    pub fixture: String,
    /// In the order of the computation.
    pub differences: Vec<Difference>,
    /// Stored results that nothing of ours corresponds to.
    pub not_compared: Vec<String>,
}

impl FixtureReport {
    /// Whether every tensor is within its tolerance, and there was one.
    pub fn holds(&self) -> bool {
        !self.differences.is_empty() && self.differences.iter().all(Difference::holds)
    }
}

/// Names of the fixtures of a folder, sorted.
///
/// # Errors
/// When the folder cannot be read or holds none.
pub fn fixtures(folder: &Path) -> Result<Vec<String>, ParityError> {
    let fail = |reason: String| ParityError::File { path: folder.to_owned(), reason };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| fail(error.to_string()))? {
        let path = entry.map_err(|error| fail(error.to_string()))?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(fail("there is no fixture, such as siglip.json with its tensors beside it".to_owned()));
    }
    Ok(names)
}

/// Runs a fixture of `folder`.
///
/// # Errors
/// When a file cannot be read, does not fit its kind, or its kind is unknown.
pub fn compare(folder: &Path, name: &str) -> Result<FixtureReport, ParityError> {
    type Run = fn(&mut Fixture) -> Result<(), ParityError>;
    let kinds: [(&str, Run); 8] = [
        ("siglip", siglip::run),
        ("qwen2", qwen2::run),
        ("llava_video", video::run),
        ("cut3r", cut3r::run),
        ("pose", pose::run),
        ("preprocess", preprocess::run),
        ("losses", losses::run),
        ("metrics", metrics::run),
    ];
    let mut fixture = Fixture::open(folder, name)?;
    let Some((_, run)) = kinds.iter().find(|(kind, _)| name.starts_with(kind)) else {
        let known = kinds.map(|(kind, _)| kind).join(", ");
        return Err(fixture.wrong(format!("its kind is unknown; names begin with {known}")));
    };
    run(&mut fixture)?;
    Ok(fixture.report())
}
