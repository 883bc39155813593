//! The models that can be loaded, for a list to choose from.

use std::path::PathBuf;
use std::sync::Arc;

/// A model that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// Name for people.
    pub name: String,
    /// What [`SessionRequest::LoadModel`](super::SessionRequest::LoadModel) takes.
    pub path: PathBuf,
    /// The memory that it takes ("7.9 GB as f32"), or what is wrong with it.
    pub needs: String,
    /// Whether that much memory was free when the list was made, once the model in use is gone.
    pub fits: bool,
}

/// The model in use, which makes room for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInUse {
    /// What [`SessionRequest::LoadModel`](super::SessionRequest::LoadModel) took.
    pub path: PathBuf,
    /// Bytes of the videos that it holds; see
    /// [`Session::held_by_videos`](super::Session::held_by_videos).
    pub video_bytes: u64,
}

type Made = Result<Vec<ModelChoice>, String>;

/// Makes the list of models anew: they are fetched, and memory is taken and given back, while
/// a program runs.
#[derive(Clone)]
pub struct ModelList(Arc<dyn Fn(Option<&ModelInUse>) -> Made + Send + Sync>);

impl std::fmt::Debug for ModelList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ModelList").finish_non_exhaustive()
    }
}

impl ModelList {
    /// A list that `make` makes, given the model in use.
    pub fn new(make: impl Fn(Option<&ModelInUse>) -> Made + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// The models that can take the place of `in_use`. Reads files: nothing for a thread that
    /// draws.
    ///
    /// # Errors
    /// A sentence for people when the models cannot be listed.
    pub fn make(&self, in_use: Option<&ModelInUse>) -> Made {
        (self.0)(in_use)
    }
}
