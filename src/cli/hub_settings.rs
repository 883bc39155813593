//! Which hub, and as whom: the variables and files that other programs for the hub use, too.

use std::path::PathBuf;

use anyhow::bail;

use crate::hub::{Endpoint, HubError, Token};

/// The hub that is asked unless another is named.
const HUB: &str = "https://huggingface.co";
const ENDPOINT_VARIABLE: &str = "HF_ENDPOINT";
const TOKEN_VARIABLE: &str = "HF_TOKEN";
const OFFLINE_VARIABLE: &str = "HF_HUB_OFFLINE";

/// The hub: `given`, else `$HF_ENDPOINT`, else Hugging Face.
///
/// # Errors
/// When `$HF_HUB_OFFLINE` forbids to ask any, or the address is none.
pub(super) fn endpoint(given: Option<Endpoint>) -> anyhow::Result<Endpoint> {
    if variable(OFFLINE_VARIABLE).is_some_and(|value| is_true(&value)) {
        bail!(
            "{OFFLINE_VARIABLE} is set, so that nothing is fetched; unset it, or take a model that is here (`loc3r models` lists them)"
        );
    }
    match given {
        Some(endpoint) => Ok(endpoint),
        None => Ok(variable(ENDPOINT_VARIABLE).as_deref().unwrap_or(HUB).parse()?),
    }
}

/// The token: `$HF_TOKEN`, else in the file `$HF_TOKEN_PATH`, `$HF_HOME/token` or
/// `~/.cache/huggingface/token`.
pub(super) fn token() -> Result<Option<Token>, HubError> {
    if let Some(secret) = variable(TOKEN_VARIABLE) {
        return Token::new(&secret, TOKEN_VARIABLE);
    }
    let path = |name: &str| variable(name).map(PathBuf::from);
    let cache = path("XDG_CACHE_HOME").or_else(|| dirs::home_dir().map(|home| home.join(".cache")));
    let files = [
        path("HF_TOKEN_PATH"),
        path("HF_HOME").map(|home| home.join("token")),
        cache.map(|cache| cache.join("huggingface/token")),
    ];
    Token::from_files(&files.into_iter().flatten().collect::<Vec<_>>())
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The words that other programs take for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
}
