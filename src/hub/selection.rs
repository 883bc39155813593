//! Which files of a repository are worth fetching.

use std::collections::BTreeSet;

use super::listing::Entry;
use super::{HubError, Listing, RemoteFile, RepositoryName};

/// What loc3r reads of a checkpoint folder, and what belongs to its tokenizer. Folders inside
/// a repository are left out.
const READ: [&str; 12] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.safetensors",
    "*.safetensors.index.json",
    "*.pth",
];
/// Comes with the others: model card and licence.
const BESIDE: [&str; 2] = ["README.md", "LICENSE*"];
/// Read where there are no safetensors.
const PICKLED: &str = "pytorch_model.bin";
/// Names told of a repository without anything to read.
const TOLD: usize = 8;

/// What to fetch besides, and what not.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns<'a> {
    pub(super) include: &'a [String],
    pub(super) exclude: &'a [String],
}

/// The files of `listing` to fetch, by name.
///
/// # Errors
/// When there is nothing, or a file to fetch has a name, size or hash that cannot be used.
pub(super) fn select(
    repository: &RepositoryName,
    listing: &Listing,
    patterns: &Patterns<'_>,
) -> Result<Vec<RemoteFile>, HubError> {
    let unusable = |reason: String| HubError::Listing { repository: repository.to_string(), reason };
    let has_safetensors = listing.entries.iter().any(|entry| in_top_folder(entry, "*.safetensors"));
    let named = |entry: &Entry, globs: &[String]| globs.iter().any(|pattern| matches(pattern, &entry.name));
    let is_read = |entry: &Entry| {
        named(entry, patterns.include)
            || READ.iter().any(|pattern| in_top_folder(entry, pattern))
            || (!has_safetensors && in_top_folder(entry, PICKLED))
    };
    let is_beside = |entry: &Entry| BESIDE.iter().any(|pattern| in_top_folder(entry, pattern));
    let wanted = |entry: &&Entry| (is_read(entry) || is_beside(entry)) && !named(entry, patterns.exclude);
    if !listing.entries.iter().filter(wanted).any(is_read) {
        return Err(nothing(repository, listing));
    }
    let mut files: Vec<RemoteFile> = listing
        .entries
        .iter()
        .filter(wanted)
        .map(Entry::checked)
        .collect::<Result<_, _>>()
        .map_err(unusable)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    // Some disks do not tell capitals from small letters.
    let mut seen = BTreeSet::new();
    if let Some(twice) = files.iter().find(|file| !seen.insert(file.name.to_ascii_lowercase())) {
        return Err(unusable(format!("{} stands in it twice", twice.name)));
    }
    Ok(files)
}

fn nothing(repository: &RepositoryName, listing: &Listing) -> HubError {
    let names = listing.entries.iter().take(TOLD).map(|entry| entry.name.escape_debug().to_string());
    let held = names.collect::<Vec<_>>().join(", ");
    let held = if held.is_empty() { "nothing".to_owned() } else { held };
    HubError::NothingToFetch { repository: repository.to_string(), held }
}

fn in_top_folder(entry: &Entry, pattern: &str) -> bool {
    !entry.name.contains('/') && matches(pattern, &entry.name)
}

/// Whether all of `name` fits a pattern: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The last star, and where the name goes on behind what it stands for.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || Some(&c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let files: Vec<String> = names
            .iter()
            .map(|name| format!(r#"{{"rfilename": "{name}", "size": 1, "blobId": "{}"}}"#, "0".repeat(40)))
            .collect();
        Listing::from_json(format!(r#"{{"siblings": [{}]}}"#, files.join(",")).as_bytes()).unwrap()
    }

    fn selected(names: &[&str], include: &[&str], exclude: &[&str]) -> Result<Vec<String>, HubError> {
        let owned =
            |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        let (include, exclude) = (owned(include), owned(exclude));
        let patterns = Patterns { include: &include, exclude: &exclude };
        let files = select(&"a/b".parse().unwrap(), &listing(names), &patterns)?;
        Ok(files.into_iter().map(|file| file.name).collect())
    }

    #[test]
    fn only_what_is_read_is_fetched() {
        let names = [
            "config.json",
            ".gitattributes",
            "model.safetensors",
            "pytorch_model.bin",
            "model.q4.gguf",
            "onnx/model.onnx",
            "onnx/config.json",
            "demo.mp4",
            "README.md",
        ];
        assert_eq!(selected(&names, &[], &[]).unwrap(), ["README.md", "config.json", "model.safetensors"]);
        assert_eq!(
            selected(&names, &["*.gguf"], &["*.safetensors", "README.md"]).unwrap(),
            ["config.json", "model.q4.gguf"]
        );
        assert_eq!(
            selected(&names, &["onnx/*.json"], &["m*"]).unwrap(),
            ["README.md", "config.json", "onnx/config.json"]
        );
    }

    #[test]
    fn pickled_weights_count_where_there_are_no_others() {
        assert_eq!(
            selected(&["pytorch_model.bin", "optimizer.bin"], &[], &[]).unwrap(),
            ["pytorch_model.bin"]
        );
        assert_eq!(selected(&["cut3r_512_dpt_4_64.pth"], &[], &[]).unwrap(), ["cut3r_512_dpt_4_64.pth"]);
    }

    #[test]
    fn nothing_and_twice_the_same_are_told() {
        let message = selected(&["a.onnx", "README.md"], &[], &[]).unwrap_err().to_string();
        assert!(message.contains("a.onnx, README.md") && message.contains("--include"), "{message}");
        let message = selected(&["config.json", "Config.json"], &["C*"], &[]).unwrap_err().to_string();
        assert!(message.contains("twice"), "{message}");
        // A bad name matters only where it would be fetched.
        assert!(selected(&["config.json", "../x.bin"], &[], &[]).is_ok());
        assert!(
            selected(&["config.json", "../x.bin"], &["*"], &[]).unwrap_err().to_string().contains("../x.bin")
        );
    }

    #[test]
    fn stars_and_question_marks_match() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.json", "a.json.json", true),
            ("**b*", "aab", true),
            ("abc", "ab", false),
            ("ab", "abc", false),
            ("a*b*c", "aXbXbXc", true),
            ("*x/y*", "a/x/y/z", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
