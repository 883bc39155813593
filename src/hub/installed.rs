//! The folder of installed models: one folder each, found by name.

use std::fs;
use std::path::{Path, PathBuf};

use super::HubError;
use super::RepositoryName;
use super::manifest::{MANIFEST_FILE, Manifest};

/// Stands for the slash of OWNER/NAME in the name of a folder; hubs allow it in neither half.
const SLASH: &str = "--";
/// What makes a folder a checkpoint.
const CONFIG_FILE: &str = "config.json";
/// Ending of files that are whole models.
const GGUF_ENDING: &str = ".gguf";

/// A model in a folder of its own, or in one GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledModel {
    /// OWNER/NAME, or the name of a folder or file that somebody put there.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// Bytes of the files in the folder.
    pub bytes: u64,
    /// Files of a fetch that did not end, of how many.
    pub missing: Option<(usize, usize)>,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// This model.
    Found(&'a InstalledModel),
    /// Any of these: the owner must be said, too.
    Ambiguous(Vec<&'a InstalledModel>),
    /// No model.
    Unknown,
}

impl InstalledModel {
    /// A checkpoint folder called `name`; `None` when it is none.
    ///
    /// # Errors
    /// When the folder or its note cannot be read.
    pub fn open(name: String, folder: PathBuf) -> Result<Option<Self>, HubError> {
        let manifest = Manifest::read(&folder)?;
        if manifest.is_none() && !folder.join(CONFIG_FILE).is_file() {
            return Ok(None);
        }
        let missing = manifest.map(|manifest| manifest.missing(&folder)).filter(|&(missing, _)| missing > 0);
        let bytes = bytes_in(&folder)?;
        Ok(Some(Self { name, folder, bytes, missing }))
    }

    /// A model in one file that somebody put there.
    fn file(name: String, path: PathBuf) -> Result<Self, HubError> {
        let meta = fs::metadata(&path).map_err(|error| HubError::file(&path, &error))?;
        Ok(Self { name, folder: path, bytes: meta.len(), missing: None })
    }

    /// The name without its owner.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// The name of a repository's folder among the installed models.
pub fn folder_name(repository: &RepositoryName) -> String {
    format!("{}{SLASH}{}", repository.owner(), repository.name())
}

/// The models in a folder of models, by name; none when the folder is not there.
///
/// # Errors
/// When a folder or a note in it cannot be read.
pub fn installed(folder: &Path) -> Result<Vec<InstalledModel>, HubError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HubError::file(folder, &error)),
    };
    let mut models = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| HubError::file(folder, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(|name| name.replacen(SLASH, "/", 1));
        let Some(name) = name else { continue };
        if path.is_dir() {
            models.extend(InstalledModel::open(name, path)?);
        } else if let Some(stem) = name.strip_suffix(GGUF_ENDING) {
            models.push(InstalledModel::file(stem.to_owned(), path)?);
        }
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

/// The model called `name`: all of its name, or what follows the slash where that is enough.
/// Capitals and small letters are the same.
pub fn look_up<'a>(models: &'a [InstalledModel], name: &str) -> Lookup<'a> {
    if let Some(model) = models.iter().find(|model| model.name.eq_ignore_ascii_case(name)) {
        return Lookup::Found(model);
    }
    let mut named = models.iter().filter(|model| model.short_name().eq_ignore_ascii_case(name));
    match (named.next(), named.next()) {
        (None, _) => Lookup::Unknown,
        (Some(model), None) => Lookup::Found(model),
        (Some(first), Some(second)) => Lookup::Ambiguous([first, second].into_iter().chain(named).collect()),
    }
}

/// Bytes of the files in a folder, without those in folders below and our own note.
fn bytes_in(folder: &Path) -> Result<u64, HubError> {
    let fail = |error: &std::io::Error| HubError::file(folder, error);
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(|error| fail(&error))? {
        let entry = entry.map_err(|error| fail(&error))?;
        if entry.file_name() != MANIFEST_FILE {
            // Follows links: caches of other programs are linked in.
            bytes += fs::metadata(entry.path()).map_or(0, |data| if data.is_file() { data.len() } else { 0 });
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> Vec<InstalledModel> {
        let model = |name: &&str| InstalledModel {
            name: (*name).to_owned(),
            folder: PathBuf::new(),
            bytes: 0,
            missing: None,
        };
        names.iter().map(model).collect()
    }

    #[test]
    fn a_name_alone_is_enough_where_one_model_has_it() {
        let models = models(&["a/One", "a/Two", "b/Two", "Two"]);
        assert_eq!(look_up(&models, "a/two"), Lookup::Found(&models[1]));
        assert_eq!(look_up(&models, "one"), Lookup::Found(&models[0]));
        assert_eq!(look_up(&models, "Two"), Lookup::Found(&models[3]));
        assert_eq!(look_up(&models[..3], "Two"), Lookup::Ambiguous(vec![&models[1], &models[2]]));
        assert_eq!(look_up(&models, "Three"), Lookup::Unknown);
        assert_eq!(look_up(&models, ""), Lookup::Unknown);
    }

    #[test]
    fn folders_with_a_configuration_are_models() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(installed(&folder.path().join("none")).unwrap(), []);
        let repository: RepositoryName = "some-owner/Some.Name".parse().unwrap();
        let model = folder.path().join(folder_name(&repository));
        for path in [&model, &folder.path().join("mine"), &folder.path().join("notes")] {
            fs::create_dir(path).unwrap();
        }
        fs::write(model.join("config.json"), "{}").unwrap();
        fs::write(folder.path().join("mine/config.json"), "{}").unwrap();
        fs::write(folder.path().join("mine/x.bin"), "123").unwrap();
        fs::write(folder.path().join("small.gguf"), "1234").unwrap();
        let found = installed(folder.path()).unwrap();
        let told: Vec<(&str, u64)> = found.iter().map(|model| (model.name.as_str(), model.bytes)).collect();
        assert_eq!(told, [("mine", 5), ("small", 4), ("some-owner/Some.Name", 2)]);
        assert_eq!(found[2].missing, None);
    }
}
