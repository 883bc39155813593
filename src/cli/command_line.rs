//! The command line of this process, as a training run keeps it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::model::TrainingStart;

/// How this process was started: its arguments as they were given, paths included.
pub(super) fn this_start(seed: u64) -> TrainingStart {
    TrainingStart {
        command: this_command(),
        seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit_of(Path::new(env!("CARGO_MANIFEST_DIR"))),
    }
}

/// The line that started this process.
pub(super) fn this_command() -> String {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    command(&arguments)
}

/// A line that a shell reads as the program with these `arguments`; where the program lies is left
/// out.
fn command(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    std::iter::once("loc3r".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

/// The commit that is checked out in a source folder, with "-dirty" where something is changed
/// since; `None` where that is no repository, or git is not there.
fn commit_of(sources: &Path) -> Option<String> {
    // Without it git would tell of whatever repository lies around the folder.
    if !sources.join(".git").exists() {
        return None;
    }
    let told = Command::new("git")
        .arg("-C")
        .arg(sources)
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let commit = String::from_utf8(told.stdout).ok()?.trim().to_owned();
    (told.status.success() && !commit.is_empty()).then_some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_given_again() {
        let told = |arguments: &[&str]| {
            command(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(told(&["train", "--out", "runs/a"]), "loc3r train --out runs/a");
        assert_eq!(told(&["--set", "stages=[\"joint\"]"]), "loc3r --set 'stages=[\"joint\"]'");
        assert_eq!(told(&["joint.steps=3"]), "loc3r joint.steps=3");
        assert_eq!(told(&["it's", "", "my run"]), r"loc3r 'it'\''s' '' 'my run'");
    }

    #[test]
    fn a_folder_that_is_no_repository_has_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(commit_of(folder.path()), None);
        // A folder of that name that git did not make.
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        assert_eq!(commit_of(folder.path()), None);
    }

    #[test]
    fn the_commit_tells_of_changes() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(folder.path());
            git.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]);
            git.args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        };
        // Where there is no git, there is no commit to tell of.
        if !git(&["init"]) {
            return;
        }
        let file = folder.path().join("a.txt");
        std::fs::write(&file, "1").unwrap();
        assert!(git(&["add", "a.txt"]) && git(&["commit", "-m", "one"]));
        let commit = commit_of(folder.path()).unwrap();
        assert!(commit.len() >= 12 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
        std::fs::write(&file, "changed").unwrap();
        assert_eq!(commit_of(folder.path()), Some(format!("{commit}-dirty")));
    }
}
