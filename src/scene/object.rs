//! Objects: identity, category, box, colour.

use serde::{Deserialize, Serialize};

use crate::geometry::OrientedBox;

/// Identity of an object inside one scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub u32);

/// A category in lower case, singular, as people say it ("office chair").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Category(pub String);

impl Category {
    /// Trims and lower-cases `name`.
    pub fn new(name: &str) -> Self {
        Self(name.trim().to_lowercase())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object with its box.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SceneObject {
    /// Identity inside the scene.
    pub id: ObjectId,
    /// What it is.
    pub category: Category,
    /// Where it is, world space. The front of things with a front is their own +x.
    pub bounds: OrientedBox,
    /// Main colour by name ("grey"), when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
}
