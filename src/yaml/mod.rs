//! YAML with places, within limits. The only module that calls the two YAML libraries: saphyr walks
//! a text first, limits its depth, and refuses anchors, aliases, tags, merge keys, duplicate keys
//! and further documents. Only a text that passes reaches serde_yaml, which decides the type of a
//! scalar. Workflows, lock files, published values and the configuration are all read here; this
//! module does not know what they mean.

mod outline;
mod syntax_hint;
mod text;
mod tree;
mod values;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use text::read;
pub use tree::{Content, Entry, Tree, parse, parse_with_numbers};

use crate::diag::{Diagnostics, Problems, SourceText};

/// Limits on a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub bytes: u64,
    /// The maximum depth of nested lists and maps.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            depth: 64,
        }
    }
}

/// Deserialises the document in `source`.
///
/// # Errors
/// The problems of the text, sorted by place.
pub fn decode<T: DeserializeOwned>(source: SourceText, limits: &Limits) -> Result<T, Diagnostics> {
    let mut problems = Problems::default();
    let id = problems.add_source(source);
    let value = tree::decode(&mut problems, id, limits);
    problems.finish()?;
    // A parser that returns `None` has reported why, and `finish` has returned the errors.
    value.ok_or_else(|| Diagnostics(Vec::new()))
}

/// Why a value can't be represented in YAML.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(String);

/// Serialises a value.
pub fn encode(value: &impl Serialize) -> Result<String, EncodeError> {
    values::encode(value).map_err(EncodeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        name: String,
        #[serde(default)]
        numbers: Vec<u64>,
    }

    fn read(text: &str) -> Result<Note, Vec<String>> {
        let limits = Limits {
            bytes: 4096,
            depth: 8,
        };
        let note = decode(SourceText::new("note", text), &limits);
        note.map_err(|found| found.0.into_iter().map(|one| one.code).collect())
    }

    #[test]
    fn values_come_back_as_they_went() {
        // Texts that would be another type without quotes.
        for name in [
            "a",
            "1",
            "1e3",
            "null",
            "~",
            "yes",
            "2026-01-01",
            " x",
            "a: b",
            "é\n",
        ] {
            let note = Note {
                name: name.to_string(),
                numbers: vec![0, u64::MAX],
            };
            assert_eq!(read(&encode(&note).unwrap()), Ok(note));
        }
        // As another program may write it.
        let note = read("# note\nname: 12\n").unwrap();
        assert_eq!((note.name.as_str(), note.numbers.len()), ("12", 0));
    }

    #[test]
    fn no_text_is_read_past_the_limits() {
        // A kilobyte that expands to ten gigabytes if its aliases are followed.
        let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for (name, of) in "bcdefghi".chars().zip("abcdefgh".chars()) {
            let list = vec![format!("*{of}"); 10].join(", ");
            laughs.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        let deep = format!("name: {}1{}", "[".repeat(100), "]".repeat(100));
        let deeper = format!("name: {}", "[".repeat(4000));
        let long = format!("name: {}", "x".repeat(5000));
        for (text, code) in [
            (laughs.as_str(), "anchor"),
            ("name: &x a\n", "anchor"),
            ("name: *x\n", "syntax"),
            ("name: !!str a\n", "tag"),
            ("name: !evil a\n", "tag"),
            ("<<: { name: a }\nname: b\n", "merge-key"),
            ("name: a\nname: b\n", "duplicate-key"),
            ("name: a\n---\nname: b\n", "several-documents"),
            ("[a]: b\n", "bad-key"),
            (&deep, "too-deep"),
            (&deeper, "too-deep"),
            (&long, "too-large"),
            ("name: [\n", "syntax"),
            ("nmae: a\n", "wrong-value"),
            ("name: [a]\n", "wrong-value"),
            ("", "wrong-value"),
        ] {
            let codes = read(text).unwrap_err();
            assert_eq!(
                codes.first().map(String::as_str),
                Some(code),
                "{text:.60}: {codes:?}"
            );
        }
    }
}
