//! The only place that writes to the terminal.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where printing happens")]

use tracing_subscriber::EnvFilter;

/// Sends log records to standard error; `RUST_LOG` changes the level.
pub(super) fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second call (tests) keeps the first subscriber.
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init());
}

/// Prints results to standard output.
pub(super) fn result(text: &str) {
    println!("{text}");
}

/// Prints a remark that is not a result to standard error.
pub(super) fn note(text: &str) {
    eprintln!("{text}");
}

/// Prints an error with its causes in one sentence.
pub(super) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
