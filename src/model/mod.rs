//! The network. Speaks tensors inside and plain values at its edge; knows no
//! threads, no user interface and no data set names.

pub mod align;
pub mod ops;
