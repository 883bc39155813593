//! `loc3r models`.

use std::process::ExitCode;

use candle_core::DType;

use super::{output, places};
use crate::hub::InstalledModel;
use crate::model::checkpoint::stored_types;
use crate::model::memory_plan::gigabytes;

/// List the models that --model takes by name.
///
/// One line each: name, size on disk, type of the numbers, folder. `loc3r fetch OWNER/NAME`
/// installs more; `loc3r inspect NAME` tells what one needs.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ModelsArgs {
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ModelsArgs) -> anyhow::Result<ExitCode> {
    let models: Vec<Described> = places::installed_models()?.into_iter().map(Described::of).collect();
    if args.json {
        let models: Vec<_> = models.iter().map(Described::json).collect();
        output::result(&serde_json::to_string_pretty(&models)?);
    } else if models.is_empty() {
        output::note("no models; `loc3r fetch OWNER/NAME` installs one");
    } else {
        output::result(&table(&models));
    }
    Ok(ExitCode::SUCCESS)
}

/// A model with the types of its numbers, or why it cannot be used.
struct Described {
    model: InstalledModel,
    types: Result<Vec<DType>, String>,
}

impl Described {
    fn of(model: InstalledModel) -> Self {
        let types = match model.missing {
            Some((missing, of)) => Err(format!(
                "not complete: {missing} of {of} files are missing; loc3r fetch {} goes on",
                model.name
            )),
            None => stored_types(&model.folder).map_err(|error| error.to_string()),
        };
        Self { model, types }
    }

    /// "bf16", "f32 and bf16", the most frequent first.
    fn numbers(&self) -> Option<String> {
        let types = self.types.as_ref().ok()?;
        Some(types.iter().map(DType::as_str).collect::<Vec<_>>().join(" and "))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.model.name, "folder": self.model.folder, "bytes": self.model.bytes,
            "numbers": self.numbers(), "problem": self.types.as_ref().err(),
        })
    }
}

fn table(models: &[Described]) -> String {
    let width = models.iter().map(|described| described.model.name.len()).max().unwrap_or_default();
    let lines = models.iter().map(|described| {
        let model = &described.model;
        let size = gigabytes(model.bytes);
        let rest = match (&described.types, described.numbers()) {
            (Err(problem), _) => problem.clone(),
            (_, numbers) => format!("{:<6} {}", numbers.unwrap_or_default(), model.folder.display()),
        };
        format!("{:<width$}  {size:>8}  {rest}", model.name)
    });
    lines.collect::<Vec<_>>().join("\n")
}
