//! The command line: one file per subcommand, each arguments -> one library call -> printed result.

mod ask;
mod bench;
mod evaluate;
mod inspect;
mod output;
mod progress;
mod reconstruct;
mod synth;
mod train;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Language-based localisation and 3D reasoning from ordinary video.
#[derive(Debug, Parser)]
#[command(name = "loc3r", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    View(view::ViewArgs),
    Ask(ask::AskArgs),
    Reconstruct(reconstruct::ReconstructArgs),
    Synth(synth::SynthArgs),
    Train(train::TrainArgs),
    Evaluate(evaluate::EvaluateArgs),
    Inspect(inspect::InspectArgs),
    Bench(bench::BenchArgs),
}

/// Parses the command line, runs it and reports errors: 0 success, 1 the job
/// found a problem, 2 wrong use or failure.
pub fn main() -> ExitCode {
    output::start_logging();
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or_else(|| Command::View(view::ViewArgs::default())) {
        Command::View(args) => view::run(args),
        Command::Ask(args) => ask::run(args),
        Command::Reconstruct(args) => reconstruct::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Train(args) => train::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Bench(args) => bench::run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}
