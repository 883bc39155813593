//! Entry point: parse, run, turn the error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    loc3r::cli::main()
}
