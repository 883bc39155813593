//! The command line: one file per subcommand, each arguments -> one library call -> printed result.

mod ablation;
mod ask;
mod bench;
mod cache;
mod command_line;
mod conversation;
mod convert;
mod curves;
mod evaluate;
mod export;
mod fetch;
mod hub_settings;
mod init;
mod inspect;
mod interrupt;
#[cfg(feature = "viewer")]
mod model_menu;
mod models;
mod output;
mod parity;
mod picture;
mod places;
mod progress;
mod question_file;
mod reconstruct;
mod synth;
mod tour;
mod train;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::model::freed_memory;

const EXAMPLES: &str = "\
Examples:
  loc3r                                        the app, on the first bundled clip
  loc3r view walk.mp4                          the app, on your clip
  loc3r ask walk.mp4 \"What is on my left?\" --situation \"I am sitting on the sofa facing the TV\"
  loc3r ask walk.mp4 --questions questions.txt --json
  loc3r reconstruct walk.mp4 --ply room.ply --tum path.txt --png room.png
  loc3r tour --out runs/tour                   the whole job without a window
  loc3r fetch OWNER/NAME                       install a model from a hub; --model NAME takes it

Exit codes: 0 success, 1 the job found a problem, 2 wrong use or failure.
RUST_LOG=loc3r=debug shows what happens inside.";

/// Language-based localisation and 3D reasoning from ordinary video.
///
/// Reads a video of a room, lays everything it sees out on a metric map, says where you
/// are from a description in words, and answers questions from there.
#[derive(Debug, Parser)]
#[command(name = "loc3r", version, max_term_width = 100, after_help = EXAMPLES, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    View(view::ViewArgs),
    Ask(ask::AskArgs),
    Reconstruct(reconstruct::ReconstructArgs),
    Tour(tour::TourArgs),
    Inspect(inspect::InspectArgs),
    Synth(synth::SynthArgs),
    Train(train::TrainArgs),
    Evaluate(evaluate::EvaluateArgs),
    Bench(bench::BenchArgs),
    Parity(parity::ParityArgs),
    Fetch(fetch::FetchArgs),
    Models(models::ModelsArgs),
    Convert(convert::ConvertArgs),
    Init(init::InitArgs),
    Cache(cache::CacheArgs),
}

/// Parses the command line, runs it and reports errors: 0 success, 1 the job
/// found a problem, 2 wrong use or failure.
pub fn main() -> ExitCode {
    freed_memory::keep();
    output::start_logging();
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or_else(|| Command::View(view::ViewArgs::default())) {
        Command::View(args) => view::run(args),
        Command::Ask(args) => ask::run(args),
        Command::Reconstruct(args) => reconstruct::run(args),
        Command::Tour(args) => tour::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Train(args) => train::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Parity(args) => parity::run(args),
        Command::Fetch(args) => fetch::run(args),
        Command::Models(args) => models::run(&args),
        Command::Convert(args) => convert::run(args),
        Command::Init(args) => init::run(&args),
        Command::Cache(args) => cache::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_says_what_it_is_for() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
        }
    }
}
