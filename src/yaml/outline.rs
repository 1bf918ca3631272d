//! Finds the places: walks YAML events, gives each key and value its place, and refuses what the
//! language omits (anchors, aliases, merge keys, tags, several documents, duplicate keys, deep
//! nesting).
//!
//! It does not interpret values: scalars have no type here. saphyr counts characters; this module
//! returns byte offsets.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::Limits;
use super::syntax_hint::syntax_hint;
use crate::diag::{Place, Problems, SourceId, Span};

/// The structure of a document with the place of every part.
pub struct Outline {
    pub place: Place,
    pub structure: Structure,
}

pub enum Structure {
    Scalar(String),
    List(Vec<Outline>),
    Map(Vec<(OutlineKey, Outline)>),
}

pub struct OutlineKey {
    pub text: String,
    pub place: Place,
}

/// The document can't be used; the reason has been reported.
pub struct Refused;

/// Walks the document in `source`; `None` if it is empty.
pub fn outline(
    problems: &mut Problems,
    source: SourceId,
    limits: &Limits,
) -> Result<Option<Outline>, Refused> {
    let text = problems.text(source).to_string();
    let bytes = ByteIndex::new(&text);
    let mut walk = Walk {
        problems,
        source,
        depth: limits.depth,
        stack: Vec::new(),
        root: None,
        refused: false,
    };
    let mut documents = 0;
    for event in Parser::new_from_str(&text) {
        let (event, span) = match event {
            Ok(found) => found,
            Err(error) => {
                let at = bytes.byte(error.marker().index());
                let place = walk.place(Span { start: at, end: at });
                // saphyr reads ahead, and so may reach its own limit first.
                if error.info().contains("recursion limit") {
                    walk.too_deep(place);
                    return Err(Refused);
                }
                let found = walk.problems.error(place, "syntax", sentence(error.info()));
                found.maybe_hint(syntax_hint(&text, at, error.info()));
                return Err(Refused);
            }
        };
        let span = Span {
            start: bytes.byte(span.start.index()),
            end: bytes.byte(span.end.index()),
        };
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents == 2 {
                let place = walk.place(span);
                let message = "a workflow is one YAML document; a second one begins here";
                walk.problems.error(place, "several-documents", message);
                return Err(Refused);
            }
        }
        walk.event(event, span)?;
    }
    if walk.refused {
        return Err(Refused);
    }
    Ok(walk.root)
}

fn sentence(info: &str) -> String {
    format!("this is not valid YAML: {info}")
}

struct Walk<'a> {
    problems: &'a mut Problems,
    source: SourceId,
    depth: usize,
    stack: Vec<Frame>,
    root: Option<Outline>,
    /// A reported problem makes the document unusable.
    refused: bool,
}

/// A collection that is still open.
enum Frame {
    List {
        place: Place,
        items: Vec<Outline>,
    },
    Map {
        place: Place,
        entries: Vec<(OutlineKey, Outline)>,
        key: Option<OutlineKey>,
        /// The keys so far, with their places.
        seen: HashMap<String, Place>,
    },
}

impl Walk<'_> {
    fn place(&self, span: Span) -> Place {
        Place {
            source: self.source,
            span,
        }
    }

    fn event(&mut self, event: Event, span: Span) -> Result<(), Refused> {
        let place = self.place(span);
        match event {
            Event::Alias(_) => {
                self.refuse(
                    place,
                    "alias",
                    "aliases (`*name`) are not part of the language",
                );
                self.scalar(place, String::new(), false);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain;
                let place = match style {
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => self.trimmed(place),
                    _ => place,
                };
                self.refuse_decoration(place, anchor, tag.is_some());
                self.scalar(place, text.into_owned(), quoted);
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(place, anchor, tag.is_some())?;
                self.stack.push(Frame::List {
                    place,
                    items: Vec::new(),
                });
            }
            Event::MappingStart(anchor, tag) => {
                self.open(place, anchor, tag.is_some())?;
                self.stack.push(Frame::Map {
                    place,
                    entries: Vec::new(),
                    key: None,
                    seen: HashMap::new(),
                });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            _ => {}
        }
        Ok(())
    }

    /// saphyr includes the white space after a quoted scalar in its span.
    fn trimmed(&self, mut place: Place) -> Place {
        let text = self.problems.text(place.source);
        let written = text.get(place.span.start..place.span.end);
        let length = written
            .unwrap_or("")
            .trim_end_matches([' ', '\t', '\r', '\n'])
            .len();
        place.span.end = place.span.start + length;
        place
    }

    fn refuse(&mut self, place: Place, code: &'static str, message: &str) {
        self.refused = true;
        let found = self.problems.error(place, code, message);
        found.hint("write the value out where it is needed, or name it under `params:`");
    }

    fn refuse_decoration(&mut self, place: Place, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.refuse(
                place,
                "anchor",
                "anchors (`&name`) are not part of the language",
            );
        }
        if tagged {
            self.refused = true;
            let message = "tags (`!name`) are not part of the language";
            let found = self.problems.error(place, "tag", message);
            found.hint("write the plain value; text that looks like a number goes in quotes");
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { key: None, .. }))
    }

    fn scalar(&mut self, place: Place, text: String, quoted: bool) {
        if self.wants_key() {
            self.key(place, text, quoted);
        } else {
            self.value(place, Structure::Scalar(text));
        }
    }

    fn key(&mut self, place: Place, text: String, quoted: bool) {
        if text == "<<" && !quoted {
            self.refuse(
                place,
                "merge-key",
                "merge keys (`<<`) are not part of the language",
            );
        }
        let Some(Frame::Map { key, seen, .. }) = self.stack.last_mut() else {
            return;
        };
        *key = Some(OutlineKey {
            text: text.clone(),
            place,
        });
        if let Some(first) = seen.get(&text) {
            let source = self.problems.source(first.source);
            let line = source.diagnostic(first.span, "", "").line;
            let message =
                format!("`{text}` occurs here for the second time (first in line {line})");
            self.refused = true;
            self.problems.error(place, "duplicate-key", message);
        } else {
            seen.insert(text, place);
        }
    }

    /// Checks that apply before a collection begins.
    fn open(&mut self, place: Place, anchor: usize, tagged: bool) -> Result<(), Refused> {
        self.refuse_decoration(place, anchor, tagged);
        if self.wants_key() {
            let message = "a key must be a text, not a list or a map";
            self.problems.error(place, "bad-key", message);
            return Err(Refused);
        }
        if self.stack.len() >= self.depth {
            self.too_deep(place);
            return Err(Refused);
        }
        Ok(())
    }

    fn too_deep(&mut self, place: Place) {
        let message = format!("lists and maps are nested more than {} deep", self.depth);
        self.problems.error(place, "too-deep", message);
    }

    fn close(&mut self, end: usize) {
        let (mut place, structure) = match self.stack.pop() {
            Some(Frame::List { place, items }) => (place, Structure::List(items)),
            Some(Frame::Map { place, entries, .. }) => (place, Structure::Map(entries)),
            None => return,
        };
        place.span.end = end.max(place.span.end);
        self.value(place, structure);
    }

    fn value(&mut self, place: Place, structure: Structure) {
        let outline = Outline { place, structure };
        match self.stack.last_mut() {
            None => self.root = Some(outline),
            Some(Frame::List { items, .. }) => items.push(outline),
            Some(Frame::Map { entries, key, .. }) => {
                if let Some(key) = key.take() {
                    entries.push((key, outline));
                }
            }
        }
    }
}

/// Converts character indices to byte indices.
struct ByteIndex<'a> {
    text: &'a str,
    /// The byte index of every 64th character; empty if the text is ASCII.
    marks: Vec<usize>,
}

const STRIDE: usize = 64;

impl<'a> ByteIndex<'a> {
    fn new(text: &'a str) -> Self {
        let marks = if text.is_ascii() {
            Vec::new()
        } else {
            let bytes = text.char_indices().map(|(byte, _)| byte);
            bytes.step_by(STRIDE).collect()
        };
        Self { text, marks }
    }

    fn byte(&self, character: usize) -> usize {
        if self.marks.is_empty() {
            return character.min(self.text.len());
        }
        let Some(&mark) = self.marks.get(character / STRIDE) else {
            return self.text.len();
        };
        let rest = self.text[mark..].char_indices().nth(character % STRIDE);
        rest.map_or(self.text.len(), |(byte, _)| mark + byte)
    }
}
