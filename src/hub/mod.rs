//! Models from a hub of the Hugging Face kind: which files a repository has, downloading
//! them so that nothing broken is ever used, and the folder where they are installed.
//!
//! [`fetch()`] is the whole job. Every file goes to `NAME.partial`, goes on there after a
//! broken connection or another run, is checked against the hash that the hub lists, and
//! gets its name only then. What a server says (names, sizes, redirects) is not trusted.

mod client;
mod digest;
mod download;
mod error;
mod fetch;
mod free_space;
mod installed;
mod listing;
mod manifest;
mod selection;
mod token;

pub use client::{Client, Endpoint, Patience};
pub use error::HubError;
pub use fetch::{FetchEvent, FetchRequest, Fetched, fetch};
pub use installed::{InstalledModel, Lookup, folder_name, installed, look_up};
pub use listing::RepositoryName;
pub use token::Token;

use digest::Digest;
use listing::{Listing, RemoteFile};
