//! Batches made one ahead on their own thread while the trainer computes.

use crate::worker::Worker;

use super::TrainError;

/// Makes the batch of a step. The batch may depend on the step only (not on the
/// batches made before), so that a resumed run sees the same data.
pub trait BatchSource: Send + 'static {
    /// What a step trains on.
    type Batch: Send + 'static;

    /// The batch of `step`.
    ///
    /// # Errors
    /// When the data cannot be made.
    fn batch(&mut self, step: u64) -> Result<Self::Batch, TrainError>;
}

/// A source running ahead of its consumer.
pub struct Feed<Batch> {
    worker: Worker<(), Result<Batch, TrainError>>,
}

impl<Batch: Send + 'static> Feed<Batch> {
    /// Starts making the batches of `steps` in order.
    pub fn start<S: BatchSource<Batch = Batch>>(
        mut source: S,
        steps: std::ops::Range<u64>,
    ) -> Result<Self, TrainError> {
        let worker = Worker::start(
            "training data",
            1,
            2,
            move |side| {
                for step in steps {
                    if side.cancel.is_raised() {
                        return;
                    }
                    let batch = source.batch(step);
                    let failed = batch.is_err();
                    if side.events.send(batch).is_err() || failed {
                        return;
                    }
                }
            },
            |message| Err(TrainError::Data { reason: message }),
        )
        .map_err(|error| TrainError::Data { reason: format!("no thread for the data: {error}") })?;
        Ok(Self { worker })
    }

    /// The next batch, in order; waits for it.
    pub fn next(&self) -> Result<Batch, TrainError> {
        self.worker.events().recv().unwrap_or_else(|_closed| {
            Err(TrainError::Data { reason: "the data thread ended early".to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Squares;

    impl BatchSource for Squares {
        type Batch = u64;

        fn batch(&mut self, step: u64) -> Result<u64, TrainError> {
            if step == 5 { Err(TrainError::Data { reason: "five".to_owned() }) } else { Ok(step * step) }
        }
    }

    #[test]
    fn batches_come_in_order_and_errors_arrive() {
        let feed = Feed::start(Squares, 2..9).unwrap();
        assert_eq!(feed.next().unwrap(), 4);
        assert_eq!(feed.next().unwrap(), 9);
        assert_eq!(feed.next().unwrap(), 16);
        assert!(feed.next().unwrap_err().to_string().contains("five"));
        assert!(feed.next().is_err());
    }
}
