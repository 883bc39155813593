//! Our own sample format and the importers into it.
