//! Access control: bearer tokens for reading and writing, compared in constant time.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// A shorter token could be guessed.
const SHORTEST: usize = 16;

/// The hashed tokens of a server.
#[derive(Clone)]
pub struct Access {
    salt: [u8; 32],
    write: Vec<blake3::Hash>,
    /// `None`: anyone may read.
    read: Option<Vec<blake3::Hash>>,
}

/// The access decision for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Not permitted to anyone.
    Never,
    /// The token is missing or invalid.
    Unknown,
    /// The token only permits reading.
    ReadsOnly,
}

/// Why a list of tokens is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    #[error("token {0} has fewer than {SHORTEST} characters")]
    Short(usize),
    #[error("token {0} has characters that are not allowed in a header")]
    Letters(usize),
    #[error("the file contains no tokens")]
    None,
    #[error("the system provides no random numbers: {0}")]
    Random(String),
}

/// Parses tokens, one per line; ignores empty lines and lines that begin with `#`. Errors never
/// show a token.
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
    /// Tokens in `write` permit writing. All tokens permit reading, and if `read` is `None`,
    /// reading needs no token.
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

    /// Whether writing is possible at all.
    pub fn is_writable(&self) -> bool {
        !self.write.is_empty()
    }

    /// Whether reading needs no token.
    pub fn is_open(&self) -> bool {
        self.read.is_none()
    }

    pub(super) fn reading(&self, headers: &HeaderMap) -> Verdict {
        let Some(read) = &self.read else {
            return Verdict::Allowed;
        };
        // Check both lists, whatever the result of the first.
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
        // `blake3::Hash` compares in constant time, and the loop does not stop at a match.
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
