//! The grammars of expressions in texts: references, conditions, selectors. They are our own, so
//! that a library update never changes a key. They know texts only: names are resolved where the
//! expression is used.

pub mod condition;
mod cursor;
pub mod selector;
pub mod template;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::diag::{Place, Problems};

/// A byte range in the text that contains an expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub start: usize,
    pub end: usize,
}

/// `name.name`, with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    pub names: Vec<String>,
    pub range: Range,
}

impl Path {
    pub fn first(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// As written.
    pub fn text(&self) -> String {
        self.names.join(".")
    }
}

/// A text that violates its grammar.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntaxError {
    pub range: Range,
    pub message: String,
    pub hint: Option<String>,
}

/// Reports a syntax error.
pub fn report_syntax(text: &str, place: Place, error: SyntaxError, problems: &mut Problems) {
    let place = problems.inside(place, text, error.range.start, error.range.end);
    let found = problems.error(place, "syntax", error.message);
    found.maybe_hint(error.hint);
}

/// A word outside quotes as a number, `true`, `false` or itself.
pub fn literal(word: &str) -> Value {
    match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if is_number(word) => serde_json::from_str(word).unwrap_or_else(|_| Value::from(word)),
        _ => Value::from(word),
    }
}

/// Whether `word` is a JSON number: `017` and `1_000` are labels, as in YAML.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    digits.starts_with(|letter: char| letter.is_ascii_digit())
        && serde_json::from_str::<serde_json::Number>(word).is_ok()
}
