//! Ctrl-C for jobs that stop at a good moment.

use anyhow::Context as _;

use super::output;
use crate::worker::CancelFlag;

/// A flag that Ctrl-C raises: the job ends soon, and what is done is kept; `told` says so.
/// A second Ctrl-C ends the program at once.
pub(super) fn stop_on_ctrl_c(told: &'static str) -> anyhow::Result<CancelFlag> {
    let stop = CancelFlag::default();
    let raised = stop.clone();
    ctrlc::set_handler(move || {
        if raised.is_raised() {
            std::process::exit(2);
        }
        raised.raise();
        output::note(&format!("{told}; press Ctrl-C again to end at once"));
    })
    .context("Ctrl-C cannot be caught on this system")?;
    Ok(stop)
}
