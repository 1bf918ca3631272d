//! Reads the tokens that all expressions consist of.

use super::{Path, Range, SyntaxError};
use crate::workflow::fields::is_label_byte;

/// A position in a text that is being read.
pub struct Cursor<'a> {
    text: &'a str,
    pub at: usize,
    /// The end of the range to read.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self::over(text, 0, text.len())
    }

    /// Reads only bytes `at` to `end` of `text`.
    pub fn over(text: &'a str, at: usize, end: usize) -> Self {
        Self { text, at, end }
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..self.end]
    }

    pub fn done(&self) -> bool {
        self.at >= self.end
    }

    pub fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes `token` if it comes next.
    pub fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes `token`, or reports that it is missing.
    pub fn expect(&mut self, token: &str) -> Result<(), SyntaxError> {
        if self.eat(token) {
            return Ok(());
        }
        Err(self.error_here(format!("`{token}` is expected here")))
    }

    /// Takes the longest run of bytes that `wanted` accepts, possibly empty.
    pub fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| wanted(*byte)).count();
        self.at += length;
        &rest[..length]
    }

    /// A run of letters, digits, `_`, `.`, `+` and `-`.
    pub fn word(&mut self) -> &'a str {
        self.take(is_label_byte)
    }

    /// `name { "." name }`
    pub fn path(&mut self) -> Result<Path, SyntaxError> {
        let start = self.at;
        let mut names = Vec::new();
        loop {
            let name = self.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let begins = name
                .bytes()
                .next()
                .is_some_and(|byte| !byte.is_ascii_digit());
            if !begins {
                self.at -= name.len();
                return Err(self.error_here("a name is expected here"));
            }
            names.push(name.to_string());
            if !self.eat(".") {
                break;
            }
        }
        Ok(Path {
            names,
            range: self.since(start),
        })
    }

    /// The content of `"…"`, if a quote comes next.
    pub fn quoted(&mut self) -> Result<Option<&'a str>, SyntaxError> {
        let start = self.at;
        if !self.eat("\"") {
            return Ok(None);
        }
        let Some(length) = self.rest().find('"') else {
            let range = Range {
                start,
                end: self.end,
            };
            return Err(error(range, "this quote is never closed"));
        };
        let inside = &self.rest()[..length];
        self.at += length + 1;
        Ok(Some(inside))
    }

    pub fn since(&self, start: usize) -> Range {
        Range {
            start,
            end: self.at,
        }
    }

    /// An error at the next character, or at the end.
    pub fn error_here(&self, message: impl Into<String>) -> SyntaxError {
        let next = self.rest().chars().next();
        let range = Range {
            start: self.at,
            end: self.at + next.map_or(0, char::len_utf8),
        };
        error(range, message)
    }
}

pub fn error(range: Range, message: impl Into<String>) -> SyntaxError {
    SyntaxError {
        range,
        message: message.into(),
        hint: None,
    }
}
