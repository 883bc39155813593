//! The secret that tells a hub who asks.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::HubError;

/// Longest token file that is read.
const LONGEST: usize = 4096;

/// An access token. It is never printed: [`fmt::Debug`] shows where it is from.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    secret: String,
    place: String,
}

impl Token {
    /// A token found in `place` (a variable or a file); `None` when there is only white space.
    ///
    /// # Errors
    /// When it holds what no token holds.
    pub fn new(secret: &str, place: &str) -> Result<Option<Self>, HubError> {
        let secret = secret.trim();
        let fail = |reason: &str| HubError::Token { place: place.to_owned(), reason: reason.to_owned() };
        if secret.len() > LONGEST {
            return Err(fail("it is too long"));
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fail("it holds blanks or characters that no token has; it must be the token alone"));
        }
        Ok((!secret.is_empty()).then(|| Self { secret: secret.to_owned(), place: place.to_owned() }))
    }

    /// The token in the first of these files that is there.
    ///
    /// # Errors
    /// When a file is there and cannot be read, or holds no token.
    pub fn from_files(files: &[PathBuf]) -> Result<Option<Self>, HubError> {
        for file in files {
            let place = file.display().to_string();
            match std::fs::read(file) {
                Ok(bytes) => {
                    let text = String::from_utf8(bytes).map_err(|_not_text| HubError::Token {
                        place: place.clone(),
                        reason: "it is no text".to_owned(),
                    })?;
                    return Self::new(&text, &place);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(HubError::Token { place, reason: error.to_string() }),
            }
        }
        Ok(None)
    }

    /// Where it was found.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The header that carries it.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token from {}", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_never_shown() {
        let token = Token::new(" hf_secret\n", "HF_TOKEN").unwrap().unwrap();
        assert_eq!(token.header(), "Bearer hf_secret");
        assert_eq!(format!("{token:?}"), "Token from HF_TOKEN");
        assert_eq!(Token::new(" \n", "HF_TOKEN").unwrap(), None);
        let message = Token::new("hf_sec\r\nret", "HF_TOKEN").unwrap_err().to_string();
        assert!(message.contains("HF_TOKEN") && !message.contains("hf_sec"), "{message}");
    }

    #[test]
    fn the_first_file_that_is_there_counts() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["none", "first", "second"].map(|name| folder.path().join(name));
        assert_eq!(Token::from_files(&files).unwrap(), None);
        std::fs::write(&files[1], "hf_one\n").unwrap();
        std::fs::write(&files[2], "hf_two").unwrap();
        let token = Token::from_files(&files).unwrap().unwrap();
        assert_eq!(token.header(), "Bearer hf_one");
        assert!(token.place().ends_with("first"));
        std::fs::write(&files[1], [0xff, 0xfe]).unwrap();
        assert!(Token::from_files(&files).unwrap_err().to_string().contains("no text"));
    }
}
