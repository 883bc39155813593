//! Where models and the bundled clips are found.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use crate::hub::{InstalledModel, Lookup, installed, look_up};
use crate::model::FeatureCache;
use crate::model::checkpoint::is_gguf;

/// Environment variable that names a checkpoint folder, a GGUF file or an installed model.
const MODEL_VARIABLE: &str = "LOC3R_MODEL";
/// Environment variable that names the folder of installed models.
const MODELS_VARIABLE: &str = "LOC3R_MODELS";
/// The bundled checkpoint inside the project or an installation.
const MODEL_FOLDER: &str = "assets/models/loc3r-mini";
/// Its name.
const BUNDLED: &str = "loc3r-mini";
/// The first bundled clip.
const FIRST_CLIP: &str = "sample_videos/studio.mp4";

/// What --model takes besides names.
const WANTED: &str = "the folder that holds config.json, model.safetensors and tokenizer.json, or a file that `loc3r convert --quantize` wrote";

/// The checkpoint folder or GGUF file to use: `given`, else `$LOC3R_MODEL`, else the bundled
/// one. Both may be a path or the name of an installed model.
pub(super) fn model_folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let named = given
        .map(|path| (path.to_owned(), "--model"))
        .or_else(|| std::env::var_os(MODEL_VARIABLE).map(|path| (PathBuf::from(path), MODEL_VARIABLE)));
    let Some((named, source)) = named else {
        return find(MODEL_FOLDER, is_checkpoint).or_else(|tried| {
            bail!(
                "no model found; pass one with --model FOLDER or set {MODEL_VARIABLE} (looked at {})",
                listed(&tried)
            )
        });
    };
    if is_checkpoint(&named) {
        return Ok(named);
    }
    if named.exists() {
        bail!(
            "{} (from {source}) is no checkpoint: it has no config.json and is no GGUF file; pass {WANTED}",
            named.display()
        );
    }
    let models = installed_models()?;
    match installed_folder(&models, &named)? {
        Some(folder) => Ok(folder),
        None => bail!(
            "{} (from {source}) is neither a folder nor an installed model; pass {WANTED}, or one of these names: {}; `loc3r fetch OWNER/NAME` installs more",
            named.display(),
            names(&models)
        ),
    }
}

/// `path`, or the folder of the installed model of that name where there is no such path.
pub(super) fn path_or_installed(path: PathBuf) -> anyhow::Result<PathBuf> {
    if path.exists() {
        return Ok(path);
    }
    Ok(installed_folder(&installed_models()?, &path)?.unwrap_or(path))
}

/// The folder of installed models: `$LOC3R_MODELS`, else one in the user's data folder.
pub(super) fn models_folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os(MODELS_VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let data = dirs::data_dir();
    let data =
        data.with_context(|| format!("this system has no folder for data; set {MODELS_VARIABLE} to one"))?;
    Ok(data.join("loc3r/models"))
}

/// The installed models and the bundled one.
pub(super) fn installed_models() -> anyhow::Result<Vec<InstalledModel>> {
    let mut models = installed(&models_folder()?)?;
    if let Ok(folder) = find(MODEL_FOLDER, is_checkpoint) {
        models.extend(InstalledModel::open(BUNDLED.to_owned(), folder)?);
    }
    Ok(models)
}

/// The folder of a model by its name; `None` when no model is called so.
fn installed_folder(models: &[InstalledModel], name: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(name) = name.to_str() else { return Ok(None) };
    match look_up(models, name) {
        Lookup::Unknown => Ok(None),
        Lookup::Ambiguous(several) => {
            let several: Vec<&str> = several.iter().map(|model| model.name.as_str()).collect();
            bail!("{name} may be {}; say which", several.join(" or "))
        }
        Lookup::Found(model) => match model.missing {
            None => Ok(Some(model.folder.clone())),
            Some((missing, of)) => bail!(
                "{} is not complete: {missing} of {of} files are missing; `loc3r fetch {}` goes on",
                model.name,
                model.name
            ),
        },
    }
}

fn names(models: &[InstalledModel]) -> String {
    models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Environment variable that names the folder of what models saw of videos; `off` for none.
const CACHE_VARIABLE: &str = "LOC3R_CACHE";
/// Environment variable with its limit in megabytes.
const CACHE_LIMIT_VARIABLE: &str = "LOC3R_CACHE_MB";
/// The limit otherwise.
const CACHE_MB: u64 = 4000;

/// Where what models see of videos is kept; `None` when that is turned off.
pub(super) fn feature_cache() -> anyhow::Result<Option<FeatureCache>> {
    let limit = match std::env::var(CACHE_LIMIT_VARIABLE) {
        Ok(text) => text
            .parse::<u64>()
            .map_err(|_wrong| anyhow!("{CACHE_LIMIT_VARIABLE}={text} is no number of megabytes"))?,
        Err(_) => CACHE_MB,
    };
    let folder = match std::env::var_os(CACHE_VARIABLE) {
        Some(off) if off == "off" => return Ok(None),
        Some(folder) => PathBuf::from(folder),
        None => match dirs::cache_dir() {
            Some(folder) => folder.join("loc3r/seen"),
            None => return Ok(None),
        },
    };
    Ok(Some(FeatureCache { folder, limit: limit.saturating_mul(1_000_000) }))
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
    fn a_name_leads_to_a_folder_when_it_is_there_completely_and_alone() {
        let model = |name: &str, missing| InstalledModel {
            name: name.to_owned(),
            folder: PathBuf::from("models").join(name),
            bytes: 0,
            missing,
        };
        let models = [model("a/One", None), model("b/One", None), model("a/Two", Some((1, 3)))];
        let folder = |name: &str| installed_folder(&models, Path::new(name));
        assert_eq!(folder("b/One").unwrap(), Some(PathBuf::from("models/b/One")));
        assert_eq!(folder("Three").unwrap(), None);
        assert!(folder("One").unwrap_err().to_string().contains("a/One or b/One"));
        let message = folder("Two").unwrap_err().to_string();
        assert!(message.contains("1 of 3 files") && message.contains("loc3r fetch a/Two"), "{message}");
    }

    #[test]
    fn what_is_nowhere_comes_with_the_places_tried() {
        let tried = find("no/such/thing", Path::exists).unwrap_err();
        assert!(tried.len() >= 3 && tried[0] == Path::new("no/such/thing"), "{tried:?}");
    }
}
