//! The recorder thread of a training run: what the run told before, then its events.

use std::sync::Arc;
use std::time::Duration;

use super::destinations::Destinations;
use super::recorder_thread::{ABANDONED_LIMIT, failed, open_destinations, open_stream};
use super::training_sink::{TrainingSink, blueprint};
use super::{Record, RecorderEvent, RecordingConfig, RecordingSummary, TrainingPlan};
use crate::worker::WorkerSide;

/// Records until told to finish, or until the owner is gone.
pub(super) fn run(config: &RecordingConfig, plan: TrainingPlan, side: &WorkerSide<Record, RecorderEvent>) {
    let event = match record(config, plan, side) {
        Ok(summary) => RecorderEvent::Finished(summary),
        Err(message) => RecorderEvent::Failed { message },
    };
    // The owner may be gone already.
    drop(side.events.send(event));
}

fn record(
    config: &RecordingConfig,
    plan: TrainingPlan,
    side: &WorkerSide<Record, RecorderEvent>,
) -> Result<RecordingSummary, String> {
    let (destinations, places) = open_destinations(config, side)?;
    let stream = open_stream(&destinations, blueprint(&plan.stages, plan.scenes))?;
    let wrong = |error: rerun::RecordingStreamError| failed(config, &error.to_string());
    let mut sink = TrainingSink::new(stream, &plan.name).map_err(wrong)?;
    drop(side.events.send(RecorderEvent::Ready { places }));
    for event in &plan.history {
        sink.take(event).map_err(wrong)?;
    }
    let mut told_of_viewer = false;
    loop {
        match side.commands.recv() {
            Ok(Record::Training(event)) => sink.take(&event).map_err(wrong)?,
            // Another recorder's; see `recorder_thread`.
            Ok(Record::Event(_)) => {}
            // Half for the file, half for the viewer.
            Ok(Record::Finish { within }) => return close(config, sink, &destinations, within / 2),
            Err(_) => return close(config, sink, &destinations, ABANDONED_LIMIT),
        }
        if !told_of_viewer && destinations.viewer_is_lost() {
            told_of_viewer = true;
            let message = "the Rerun viewer no longer takes data; was it closed?";
            if !destinations.has_file() {
                return Err(message.to_owned());
            }
            drop(
                side.events
                    .try_send(RecorderEvent::Warning { message: format!("{message} The file goes on") }),
            );
        }
    }
}

fn close(
    config: &RecordingConfig,
    sink: TrainingSink,
    destinations: &Arc<Destinations>,
    limit: Duration,
) -> Result<RecordingSummary, String> {
    sink.close(limit).map_err(|reason| failed(config, &reason))?;
    let mut summary = RecordingSummary::default();
    if let Err(reason) = destinations.flush_viewer(limit) {
        let message = format!("the Rerun viewer did not get everything: {reason}");
        if !destinations.has_file() {
            return Err(message);
        }
        summary.warnings.push(message);
    }
    Ok(summary)
}
