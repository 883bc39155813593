//! `loc3r parity`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::output;
use crate::parity::{FixtureReport, compare, fixtures};

/// Compare this program with PyTorch, tensor by tensor.
///
/// Runs every fixture of a folder: results of the reference implementation with the weights
/// and inputs they came from. Prints the largest difference per tensor; ends with exit code
/// 1 when one is beyond the tolerance that its fixture states.
#[derive(Debug, clap::Args)]
pub(super) struct ParityArgs {
    /// Folder of fixtures: NAME.json with its tensors beside it.
    folder: PathBuf,
    /// Only fixtures whose name begins like this.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Print one line a fixture, and only tensors beyond their tolerance.
    #[arg(long)]
    brief: bool,
}

pub(super) fn run(args: ParityArgs) -> anyhow::Result<ExitCode> {
    let names: Vec<String> =
        fixtures(&args.folder)?.into_iter().filter(|name| name.starts_with(&args.only)).collect();
    anyhow::ensure!(!names.is_empty(), "no fixture of {} begins with {}", args.folder.display(), args.only);
    let mut holds = true;
    for name in names {
        let report = compare(&args.folder, &name)?;
        holds &= report.holds();
        output::result(&table(&report, args.brief));
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn table(report: &FixtureReport, brief: bool) -> String {
    let beyond = report.differences.iter().filter(|difference| !difference.holds()).count();
    let mut text = format!(
        "{}: {} of {} tensors within their tolerance",
        report.fixture,
        report.differences.len() - beyond,
        report.differences.len()
    );
    if !report.not_compared.is_empty() {
        text.push_str(&format!(", {} more stored that nothing here computes", report.not_compared.len()));
    }
    let shown = report.differences.iter().filter(|difference| !brief || !difference.holds());
    for difference in shown {
        text.push_str(&format!(
            "\n  {:<6} {:<44} max abs {:9.2e} (allowed {:8.1e})  max rel {:9.2e}",
            if difference.holds() { "ok" } else { "BEYOND" },
            difference.tensor,
            difference.absolute,
            difference.bound,
            difference.relative
        ));
    }
    text
}
