//! Where the bundled model and clips are found; the only place that looks at the environment.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::model::checkpoint::is_gguf;

/// Environment variable that names a checkpoint folder or GGUF file.
const MODEL_VARIABLE: &str = "LOC3R_MODEL";
/// The bundled checkpoint inside the project or an installation.
const MODEL_FOLDER: &str = "assets/models/loc3r-mini";
/// The first bundled clip.
const FIRST_CLIP: &str = "sample_videos/studio.mp4";

/// The checkpoint folder or GGUF file to use: `given`, else `$LOC3R_MODEL`, else the bundled one.
pub(super) fn model_folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let named = given
        .map(|path| (path.to_owned(), "--model"))
        .or_else(|| std::env::var_os(MODEL_VARIABLE).map(|path| (PathBuf::from(path), MODEL_VARIABLE)));
    if let Some((folder, source)) = named {
        if is_checkpoint(&folder) {
            return Ok(folder);
        }
        bail!(
            "{} (from {source}) is no checkpoint: it has no config.json and is no GGUF file; pass the folder that holds config.json, model.safetensors and tokenizer.json, or a file that `loc3r convert --quantize` wrote",
            folder.display()
        );
    }
    find(MODEL_FOLDER, is_checkpoint).or_else(|tried| {
        bail!(
            "no model found; pass one with --model DIR or set {MODEL_VARIABLE} (looked at {})",
            listed(&tried)
        )
    })
}

/// The first bundled clip.
pub(super) fn first_clip() -> anyhow::Result<PathBuf> {
    find(FIRST_CLIP, Path::is_file)
        .or_else(|tried| bail!("the bundled clip is not there; pass a video (looked at {})", listed(&tried)))
}

fn is_checkpoint(folder: &Path) -> bool {
    folder.join("config.json").is_file() || (folder.is_file() && is_gguf(folder))
}

fn listed(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The first of the usual places where `relative` is there, or all that were tried.
fn find(relative: &str, is_there: impl Fn(&Path) -> bool) -> Result<PathBuf, Vec<PathBuf>> {
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent);
    let installed = beside.and_then(Path::parent).map(|prefix| prefix.join("share/loc3r"));
    let roots = [
        Some(PathBuf::new()),
        beside.map(Path::to_owned),
        installed,
        Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
    ];
    let places: Vec<PathBuf> = roots.into_iter().flatten().map(|root| root.join(relative)).collect();
    places.iter().find(|place| is_there(place)).cloned().ok_or(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_must_be_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let message = model_folder(Some(folder.path())).unwrap_err().to_string();
        assert!(message.contains("--model") && message.contains("config.json"), "{message}");
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(model_folder(Some(folder.path())).unwrap(), folder.path());
    }

    #[test]
    fn what_is_nowhere_comes_with_the_places_tried() {
        let tried = find("no/such/thing", Path::exists).unwrap_err();
        assert!(tried.len() >= 3 && tried[0] == Path::new("no/such/thing"), "{tried:?}");
    }
}
