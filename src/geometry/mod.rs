//! Numbers and spaces: angles, bird's-eye points, poses, cameras, boxes.
//!
//! # Spaces
//!
//! | space | axes | unit | where |
//! |---|---|---|---|
//! | *world* | any origin, **z up** | metres | scene files, generated rooms |
//! | *anchor* | origin = first camera centre, x right, y forward, **z up** | metres | every prediction, the viewer, Rerun |
//! | *bev* | x and y of the anchor space: the floor plane seen from above | metres | layout, positions, orientations |
//! | *camera* | x right, y down, z forward (OpenCV) | metres | poses are camera-to-world |
//! | *image* | u right, v down, origin at the corner of the top left pixel | pixels | frames |
//!
//! Angles are radians, counter-clockwise seen from above, 0 along +x; the first
//! camera of a clip therefore looks along +π/2 in the bev space. Degrees appear
//! only on screens, in files for people and in the names of metrics.
//!
//! The anchor space follows Loc3R-VLM (arXiv 2603.18002, section 3): gravity
//! aligned and tied to the first frame. See [`AnchorFrame`].

mod bev;
mod boxes;
mod orientation;
mod pinhole;
mod pose;

pub use bev::{AnchorFrame, BevBounds, BevPoint, BevSigma};
pub use boxes::OrientedBox;
pub use orientation::{ORIENTATION_BINS, Orientation, OrientationHistogram, wrap_angle};
pub use pinhole::{ImageSize, Intrinsics};
pub use pose::CameraPose;
