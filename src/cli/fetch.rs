//! `loc3r fetch`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::interrupt::stop_on_ctrl_c;
use super::output::{self, ByteBar};
use super::{hub_settings, places};
use crate::hub::{Client, Endpoint, FetchEvent, FetchRequest, Patience, RepositoryName, fetch, folder_name};
use crate::model::memory_plan::gigabytes;

const EXAMPLES: &str = "\
Examples:
  loc3r fetch OWNER/NAME                              then: loc3r ask walk.mp4 \"…\" --model NAME
  loc3r fetch OWNER/NAME --include '*q4_k_m.gguf'     quantised weights, too
  loc3r fetch OWNER/NAME --into models/mine           into a folder of your choice

HF_TOKEN, or the file that `hf auth login` writes, lets you fetch models whose licence you
have accepted. HF_ENDPOINT names a mirror.";

/// Install a model from the Hugging Face hub.
///
/// Downloads what loc3r reads of a repository and checks every file against the hash that
/// the hub lists. Stopped at any moment, the same command goes on where it was; files that
/// are there and right are not downloaded again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub(super) struct FetchArgs {
    /// Name of the model on the hub.
    #[arg(value_name = "OWNER/NAME")]
    repository: RepositoryName,
    /// Branch, tag or commit.
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,
    /// Fetches files of this pattern (* and ?), too; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Fetches no files of this pattern; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Checkpoint folder to write [default: one among the installed models; $LOC3R_MODELS moves them]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// Address of the hub or a mirror [default: $HF_ENDPOINT, or huggingface.co]
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
}

pub(super) fn run(args: FetchArgs) -> anyhow::Result<ExitCode> {
    let FetchArgs { repository, revision, include, exclude, .. } = args;
    let endpoint = hub_settings::endpoint(args.endpoint)?;
    let client = Client::new(endpoint, hub_settings::token()?, Patience::default());
    let (folder, named) = match args.into {
        Some(folder) => (folder.clone(), folder.display().to_string()),
        None => (places::models_folder()?.join(folder_name(&repository)), repository.to_string()),
    };
    let mut shown = Shown { name: repository.to_string(), bar: None };
    let request = FetchRequest { repository, revision, folder, include, exclude };
    let cancel = stop_on_ctrl_c("stopping; what came is kept")?;
    let fetched = fetch(&client, &request, &cancel, &mut |event| shown.show(&event));
    shown.clear();
    let fetched = fetched?;
    output::result(&format!(
        "{}: {} files, {}, hashes are right, {} came now; take it with --model {named}",
        request.folder.display(),
        fetched.files,
        gigabytes(fetched.bytes),
        fetched.downloaded
    ));
    Ok(ExitCode::SUCCESS)
}

/// What a fetch shows while it runs.
struct Shown {
    name: String,
    bar: Option<ByteBar>,
}

impl Shown {
    fn show(&mut self, event: &FetchEvent<'_>) {
        match event {
            FetchEvent::Listed { revision, files, bytes } => {
                output::note(&format!("{} at {revision}: {files} files, {}", self.name, gigabytes(*bytes)));
                self.bar = Some(ByteBar::start(*bytes));
            }
            FetchEvent::Checking { file } => self.label(&format!("checking {file}")),
            FetchEvent::Downloading { file } => self.label(file),
            FetchEvent::Progress { done } => {
                if let Some(bar) = &self.bar {
                    bar.set(*done);
                }
            }
            FetchEvent::Waiting { problem, wait } => {
                self.remark(&format!("{problem}; next try in {:.0} s", wait.as_secs_f32()));
            }
            FetchEvent::StartedOver { file } => {
                self.remark(&format!("{file}: what was there is of another version; all of it is fetched"));
            }
        }
    }

    fn label(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.label(text);
        }
    }

    fn remark(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.remark(text),
            None => output::note(text),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.clear();
        }
    }
}
