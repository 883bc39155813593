//! Our events as Rerun data; the only user of the rerun crate.
