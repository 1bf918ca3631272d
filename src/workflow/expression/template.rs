//! Texts with references: `${path}`, `${path?}`, `${path?fallback}`; `$${` is a literal `${`.

use serde_json::Value;

use super::cursor::{Cursor, error};
use super::{Path, Range, SyntaxError, literal};
use crate::workflow::fields::is_label;

/// A text split into literal parts and references.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// Without references.
    Plain(String),
    /// A single reference and nothing else: it keeps its type.
    Whole(Reference),
    Mixed(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Plain(String),
    Reference(Reference),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub path: Path,
    pub fallback: Fallback,
    /// From `${` to `}`.
    pub range: Range,
}

/// What comes after `?`.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// No `?`.
    None,
    /// `${path?}`: the entry is omitted.
    LeaveOut,
    /// In quotes: a literal.
    Literal(Value),
    /// A word that is a path if it begins with the name of something in scope, else a literal.
    Word { path: Option<Path>, value: Value },
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut cursor = Cursor::new(text);
        while !cursor.done() {
            if cursor.eat("$${") {
                plain.push_str("${");
            } else if cursor.rest().starts_with("${") {
                if !plain.is_empty() {
                    parts.push(Part::Plain(std::mem::take(&mut plain)));
                }
                parts.push(Part::Reference(reference(&mut cursor)?));
            } else {
                let step = cursor.rest().chars().next().map_or(1, char::len_utf8);
                plain.push_str(&cursor.rest()[..step]);
                cursor.at += step;
            }
        }
        if parts.is_empty() {
            return Ok(Self::Plain(plain));
        }
        if !plain.is_empty() {
            parts.push(Part::Plain(plain));
        }
        match parts.as_slice() {
            [Part::Reference(reference)] => Ok(Self::Whole(reference.clone())),
            _ => Ok(Self::Mixed(parts)),
        }
    }
}

fn reference(cursor: &mut Cursor) -> Result<Reference, SyntaxError> {
    let start = cursor.at;
    cursor.at += 2;
    cursor.skip_spaces();
    let path = cursor.path()?;
    cursor.skip_spaces();
    let fallback = if cursor.eat("?") {
        cursor.skip_spaces();
        fallback(cursor)?
    } else {
        Fallback::None
    };
    cursor.skip_spaces();
    if cursor.done() {
        return Err(error(
            cursor.since(start),
            "this reference is never closed: `}` is missing",
        ));
    }
    if !cursor.eat("}") {
        let mut unexpected =
            cursor.error_here("a reference is `${path}`, `${path?}` or `${path?other}`");
        unexpected.hint = Some(match fallback {
            Fallback::None => "the language has no arithmetic and no functions".to_string(),
            _ => "a fallback with other characters than letters, digits and `_.+-` goes in quotes: `?\"…\"`".to_string(),
        });
        return Err(unexpected);
    }
    Ok(Reference {
        path,
        fallback,
        range: cursor.since(start),
    })
}

fn fallback(cursor: &mut Cursor) -> Result<Fallback, SyntaxError> {
    if let Some(text) = cursor.quoted()? {
        return Ok(Fallback::Literal(Value::from(text)));
    }
    let start = cursor.at;
    let word = cursor.word();
    let value = literal(word);
    if word.is_empty() {
        return Ok(Fallback::LeaveOut);
    }
    if !is_label(word) && !value.is_number() {
        let message = format!("`{word}` is neither a path nor a literal");
        return Err(error(cursor.since(start), message));
    }
    // A word such as `lp-released` or `0.5` can't be a path.
    let mut again = Cursor::over(word, 0, word.len());
    let path = again.path().ok().filter(|_| again.done()).map(|path| Path {
        range: cursor.since(start),
        ..path
    });
    Ok(Fallback::Word { path, value })
}

/// The axis that an item of the form `${axes.x}` splices.
pub fn spliced(text: &str) -> Option<String> {
    let Ok(Template::Whole(reference)) = Template::parse(text) else {
        return None;
    };
    match reference.path.names.as_slice() {
        [first, axis] if first == "axes" && reference.fallback == Fallback::None => {
            Some(axis.clone())
        }
        _ => None,
    }
}
