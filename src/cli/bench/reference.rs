//! Runs a script of `tests/reference` in Python: the other side of a comparison.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// What `script` prints for `arguments` as JSON, or why there is no reference: a package of
/// `needs` is not installed for `python`.
pub(super) fn run(
    python: &str,
    needs: &[&str],
    script: &str,
    arguments: &[String],
) -> anyhow::Result<Result<serde_json::Value, String>> {
    for package in needs {
        let import = format!("import {package}");
        let probe = Command::new(python).args(["-c", &import]).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            return Ok(Err(format!("{package} is not installed for {python}")));
        }
    }
    let mut child = Command::new(python)
        .arg("-")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {python}"))?;
    child.stdin.take().context("the reference has no standard input")?.write_all(script.as_bytes())?;
    let result = child.wait_with_output()?;
    ensure!(result.status.success(), "the PyTorch reference failed; its message is above");
    serde_json::from_slice(&result.stdout).context("the PyTorch reference printed no JSON").map(Ok)
}
