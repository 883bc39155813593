//! One interactive conversation about one video: requests in, plain events out,
//! and the state that both fronts read.

mod event;
mod request;
mod state;

pub use event::{AnswerDone, ModelInfo, ModelSight, SessionEvent, Stage, Timing, TokenCounts};
pub use request::{ComputeDevice, RequestId, SessionRequest};
pub use state::{Activity, AskedQuestion, SessionState, Severity, StatusMessage};
