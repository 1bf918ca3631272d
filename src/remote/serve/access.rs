//! Who may read and who may write: bearer tokens, compared so that time tells nothing.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// A shorter token could be guessed.
const SHORTEST: usize = 16;

/// The tokens of a server, hashed.
#[derive(Clone)]
pub struct Access {
    salt: [u8; 32],
    write: Vec<blake3::Hash>,
    /// `None`: everybody reads.
    read: Option<Vec<blake3::Hash>>,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Nobody may, however they ask.
    Never,
    /// A token is missing, or is none of the right ones.
    Unknown,
    /// The token is good for reading only.
    ReadsOnly,
}

/// Why a list of tokens can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    #[error("token {0} has less than {SHORTEST} letters")]
    Short(usize),
    #[error("token {0} has letters that no header can hold")]
    Letters(usize),
    #[error("there is no token")]
    None,
    #[error("no random numbers: {0}")]
    Random(String),
}

/// The tokens in a text, one a line; empty lines and those that begin with `#` are passed over.
/// Never shows one in an error.
pub fn tokens(text: &str) -> Result<Vec<String>, TokenError> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tokens: Vec<String> = lines.map(str::to_string).collect();
    for (index, token) in tokens.iter().enumerate() {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Letters(index + 1));
        }
        if token.len() < SHORTEST {
            return Err(TokenError::Short(index + 1));
        }
    }
    match tokens.is_empty() {
        true => Err(TokenError::None),
        false => Ok(tokens),
    }
}

impl Access {
    /// Those who show one of `write` write; those who show any token read, or everybody where
    /// `read` is `None`.
    pub fn new(write: &[String], read: Option<&[String]>) -> Result<Self, TokenError> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|error| TokenError::Random(error.to_string()))?;
        let hashed = |tokens: &[String]| -> Vec<blake3::Hash> {
            let tokens = tokens.iter();
            tokens
                .map(|token| blake3::keyed_hash(&salt, token.as_bytes()))
                .collect()
        };
        Ok(Self {
            salt,
            write: hashed(write),
            read: read.map(hashed),
        })
    }

    /// Whether anybody may write.
    pub fn is_writable(&self) -> bool {
        !self.write.is_empty()
    }

    /// Whether everybody may read.
    pub fn is_open(&self) -> bool {
        self.read.is_none()
    }

    pub(super) fn reading(&self, headers: &HeaderMap) -> Verdict {
        let Some(read) = &self.read else {
            return Verdict::Allowed;
        };
        // Both lists are gone through, whatever the first says.
        let known = self.shows(headers, read) | self.shows(headers, &self.write);
        match known {
            true => Verdict::Allowed,
            false => Verdict::Unknown,
        }
    }

    pub(super) fn writing(&self, headers: &HeaderMap) -> Verdict {
        if !self.is_writable() {
            return Verdict::Never;
        }
        let writes = self.shows(headers, &self.write);
        let reads = self.shows(headers, self.read.as_deref().unwrap_or_default());
        match (writes, reads) {
            (true, _) => Verdict::Allowed,
            (false, true) => Verdict::ReadsOnly,
            (false, false) => Verdict::Unknown,
        }
    }

    fn shows(&self, headers: &HeaderMap, tokens: &[blake3::Hash]) -> bool {
        let shown = bearer(headers).unwrap_or_default();
        let shown = blake3::keyed_hash(&self.salt, shown);
        // `blake3::Hash` compares in constant time, and no comparison ends the others.
        tokens
            .iter()
            .fold(false, |found, token| found | (*token == shown))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    #[test]
    fn tokens_are_read_and_weak_ones_refused() {
        let text = "# Lab B\n0123456789abcdef\n\n  fedcba9876543210  \n";
        let tokens_found = tokens(text).unwrap();
        assert_eq!(tokens_found, ["0123456789abcdef", "fedcba9876543210"]);
        assert_eq!(tokens("0123456789abcdef\nshort"), Err(TokenError::Short(2)));
        assert_eq!(tokens("0123456789 abcdef"), Err(TokenError::Letters(1)));
        assert_eq!(tokens("# none\n"), Err(TokenError::None));
    }

    #[test]
    fn a_token_opens_what_it_is_for() {
        let [write, read] = ["w".repeat(16), "r".repeat(16)];
        let access = Access::new(from_ref(&write), Some(from_ref(&read))).unwrap();
        let with = |value: String| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        let writer = with(format!("bearer {write}"));
        let reader = with(format!("Bearer {read}"));
        assert_eq!(access.writing(&writer), Verdict::Allowed);
        assert_eq!(access.reading(&writer), Verdict::Allowed);
        assert_eq!(access.writing(&reader), Verdict::ReadsOnly);
        assert_eq!(access.reading(&reader), Verdict::Allowed);
        for stranger in [HeaderMap::new(), with(write), with("Bearer ".to_string())] {
            assert_eq!(access.writing(&stranger), Verdict::Unknown);
            assert_eq!(access.reading(&stranger), Verdict::Unknown);
        }
        let open = Access::new(&[], None).unwrap();
        assert_eq!(open.writing(&writer), Verdict::Never);
        assert_eq!(open.reading(&HeaderMap::new()), Verdict::Allowed);
    }
}
