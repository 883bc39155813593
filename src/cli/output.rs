//! The only place that writes to the terminal.
#![expect(clippy::print_stderr, reason = "this is where printing happens")]

use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::session::Stage;

/// Sends log records to standard error; `RUST_LOG` changes the level. Without it only
/// errors show: everything a user must know is printed anyway. FFmpeg (target `video`)
/// calls every picture that it skips after a seek an error: off unless asked for.
pub(super) fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,video=off"));
    // A second call (tests) keeps the first subscriber.
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init());
}

/// Prints results to standard output.
pub(super) fn result(text: &str) {
    use std::io::Write as _;
    // A closed pipe (`| head`) is no failure of the job.
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a remark that is not a result to standard error.
pub(super) fn note(text: &str) {
    eprintln!("{text}");
}

/// Prints an error with its causes in one sentence.
pub(super) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// A progress bar on standard error; silent when that is no terminal.
#[derive(Debug, Default)]
pub(super) struct Progress(Option<(Stage, ProgressBar)>);

impl Progress {
    /// `done` of `total` steps of `stage`.
    pub(super) fn show(&mut self, stage: Stage, done: u32, total: u32) {
        if self.0.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            self.clear();
            let style = ProgressStyle::with_template("{msg:<22} {wide_bar} {pos}/{len}");
            let bar = ProgressBar::new(u64::from(total)).with_message(stage_name(stage));
            let bar = style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style));
            self.0 = Some((stage, bar));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_position(u64::from(done));
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// A bar for jobs that count things ("frames"), on standard error; silent when that
/// is no terminal.
#[derive(Debug)]
pub(super) struct Counter(ProgressBar);

impl Counter {
    /// A bar labelled `label` for `total` things.
    pub(super) fn start(label: &str, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64).with_message(label.to_owned());
        let style = ProgressStyle::with_template("{msg:<22} {wide_bar} {pos}/{len} {eta}");
        Self(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)))
    }

    /// `done` things are done.
    pub(super) fn set(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// Takes the bar away.
    pub(super) fn clear(self) {
        self.0.finish_and_clear();
    }
}

/// A bar for bytes with speed and time left, on standard error. Where that is no terminal,
/// each label is a line.
#[derive(Debug)]
pub(super) struct ByteBar(ProgressBar);

impl ByteBar {
    /// A bar for `total` bytes.
    pub(super) fn start(total: u64) -> Self {
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template(
            "{msg:<32!} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        );
        Self(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)))
    }

    /// What the bytes to come are of.
    pub(super) fn label(&self, text: &str) {
        if self.0.is_hidden() {
            note(text);
        } else {
            self.0.set_message(text.to_owned());
        }
    }

    /// `done` bytes are there.
    pub(super) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// A remark that leaves the bar whole.
    pub(super) fn remark(&self, text: &str) {
        if self.0.is_hidden() {
            note(text);
        } else {
            self.0.println(text);
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(self) {
        self.0.finish_and_clear();
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::LoadModel => "loading the model",
        Stage::DecodeFrames => "reading frames",
        Stage::Vision => "looking",
        Stage::Camera => "finding the camera",
        Stage::Prefill => "laying out the room",
        Stage::Generate => "answering",
    }
}
