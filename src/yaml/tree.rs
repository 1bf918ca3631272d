//! A YAML document as a tree of values with places; the rest of the language reads this.

use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use super::Limits;
use super::outline::{Outline, Structure, outline};
use super::syntax_hint::syntax_hint;
use super::values::{self, Key, Yaml, YamlError};
use crate::diag::{Place, Problems, SourceId, Span, char_boundary};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Tree {
    pub place: Place,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    /// In the order of the file.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Tree,
}

/// Whether a key may be a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Texts,
    Numbers,
}

/// Reads the document in `source`; `None` after an error that prevents further checks.
pub fn parse(problems: &mut Problems, source: SourceId, limits: &Limits) -> Option<Tree> {
    parse_with(problems, source, limits, Keys::Texts)
}

/// The same for a file whose keys may be numbers; they are taken as texts.
pub fn parse_with_numbers(
    problems: &mut Problems,
    source: SourceId,
    limits: &Limits,
) -> Option<Tree> {
    parse_with(problems, source, limits, Keys::Numbers)
}

fn parse_with(
    problems: &mut Problems,
    source: SourceId,
    limits: &Limits,
    keys: Keys,
) -> Option<Tree> {
    let outline = passed(problems, source, limits)?;
    let value = match values::parse(problems.text(source)) {
        Ok(value) => value,
        Err(error) => {
            let text = problems.text(source);
            let at = error.index.unwrap_or(0).min(text.len());
            if let Some(number) = &error.too_large {
                let message = format!("{number} is beyond the range of whole numbers");
                let place = place_of(&error, problems, source);
                let found = problems.error(place, "bad-value", message);
                let hint = format!(
                    "{} to {}; text that looks like a number goes in quotes",
                    i64::MIN,
                    u64::MAX
                );
                found.hint(hint);
                return None;
            }
            let hint = syntax_hint(text, char_boundary(text, at), &error.message);
            let message = format!("this is not valid YAML: {}", error.message);
            let found = problems.error(place_of(&error, problems, source), "syntax", message);
            found.maybe_hint(hint);
            return None;
        }
    };
    let nothing = Place {
        source,
        span: Span::default(),
    };
    match (outline, value) {
        (Some(outline), value) => join(problems, outline, value, keys),
        // An empty document, or only comments.
        (None, Yaml::Null) => Some(Tree {
            place: nothing,
            content: Content::Null,
        }),
        (None, _) => disagreement(problems, nothing),
    }
}

/// Deserialises the document in `source`; `None` after an error.
pub fn decode<T: DeserializeOwned>(
    problems: &mut Problems,
    source: SourceId,
    limits: &Limits,
) -> Option<T> {
    passed(problems, source, limits)?;
    match values::decode(problems.text(source)) {
        Ok(value) => Some(value),
        Err(error) => {
            let place = place_of(&error, problems, source);
            problems.error(place, "wrong-value", error.message);
            None
        }
    }
}

/// The outline of a document within the limits. serde_yaml gets only documents that pass this.
fn passed(problems: &mut Problems, source: SourceId, limits: &Limits) -> Option<Option<Outline>> {
    if problems.text(source).len() as u64 > limits.bytes {
        let span = Span::default();
        let message = format!("it has more than {} bytes", limits.bytes);
        problems.error(Place { source, span }, "too-large", message);
        return None;
    }
    outline(problems, source, limits).ok()
}

fn place_of(error: &YamlError, problems: &Problems, source: SourceId) -> Place {
    let text = problems.text(source);
    let at = char_boundary(text, error.index.unwrap_or(0).min(text.len()));
    let span = Span { start: at, end: at };
    Place { source, span }
}

/// Joins values and places. Where the two YAML readers disagree, this reports an error and never
/// guesses.
fn join(problems: &mut Problems, outline: Outline, value: Yaml, keys: Keys) -> Option<Tree> {
    let place = outline.place;
    let content = match (outline.structure, value) {
        (Structure::Scalar(_), Yaml::Null) => Content::Null,
        (Structure::Scalar(_), Yaml::Bool(flag)) => Content::Bool(flag),
        (Structure::Scalar(text), Yaml::Number(number)) if underflows(&text, &number) => {
            let message = format!("{text} is too small for a number of 64 bits, which makes it 0");
            problems
                .error(place, "bad-value", message)
                .hint("write 0, or a number from 1e-307 on");
            return None;
        }
        (Structure::Scalar(_), Yaml::Number(number)) => Content::Number(number),
        (Structure::Scalar(same), Yaml::Text(text)) if same == text => Content::Text(text),
        (Structure::Scalar(_), Yaml::NotFinite) => {
            problems.error(place, "bad-value", "a number must be finite");
            return None;
        }
        (Structure::List(places), Yaml::List(values)) if places.len() == values.len() => {
            let items = places.into_iter().zip(values);
            let items = items.map(|(place, value)| join(problems, place, value, keys));
            Content::List(all(items)?)
        }
        (Structure::Map(places), Yaml::Map(values)) if places.len() == values.len() => {
            let entries = places.into_iter().zip(values);
            let entries = entries.map(|((outline_key, place), (key, value))| {
                let value = join(problems, place, value, keys);
                let key_place = outline_key.place;
                match key {
                    Key::Text(key) if key == outline_key.text => Some(Entry {
                        key,
                        key_place,
                        value: value?,
                    }),
                    Key::Text(_) => disagreement(problems, key_place),
                    Key::Number(number) if keys == Keys::Numbers => Some(Entry {
                        key: number.to_string(),
                        key_place,
                        value: value?,
                    }),
                    Key::Number(_) | Key::Other => {
                        let found = problems.error(key_place, "bad-key", "a key must be a text");
                        found.hint("put it in quotes");
                        None
                    }
                }
            });
            Content::Map(all(entries)?)
        }
        _ => return disagreement(problems, place),
    };
    Some(Tree { place, content })
}

/// Whether a text with digits other than 0 before its exponent was read as 0.
fn underflows(text: &str, number: &Number) -> bool {
    let digits = text.split(['e', 'E']).next().unwrap_or(text);
    let is_written_zero = !digits.contains(|letter: char| ('1'..='9').contains(&letter));
    number.as_f64() == Some(0.0) && !is_written_zero && !text.starts_with("0x")
}

fn disagreement<T>(problems: &mut Problems, place: Place) -> Option<T> {
    let message = "two readers of YAML understand this differently";
    let found = problems.error(place, "ambiguous-yaml", message);
    found.hint("write it more simply: in quotes, or on one line");
    None
}

/// Collects `items`; evaluates all of them even if an earlier one is `None`.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let made: Vec<Option<T>> = items.collect();
    made.into_iter().collect()
}

impl Tree {
    /// The type, for messages.
    pub fn what(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Tree] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The value under `key` of a map.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        let entries = self.entries().iter();
        entries
            .rev()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// A scalar as plain data; `None` for lists and maps.
    pub fn scalar(&self) -> Option<Value> {
        match &self.content {
            Content::Null => Some(Value::Null),
            Content::Bool(flag) => Some(Value::Bool(*flag)),
            Content::Number(number) => Some(Value::Number(number.clone())),
            Content::Text(text) => Some(Value::String(text.clone())),
            Content::List(_) | Content::Map(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
