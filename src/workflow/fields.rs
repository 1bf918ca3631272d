//! Reads maps with known fields. Unknown and mistyped fields are reported at their place, and
//! reading continues.

use crate::diag::{Place, Problems, nearest, suggest};
use crate::yaml::{Content, Entry, Tree};

/// The field with the parameters of a kind.
const WITH: &str = "with";

/// A text and its place.
#[derive(Clone, Debug)]
pub struct Text {
    pub text: String,
    pub place: Place,
}

/// The fields of a map.
pub struct Fields<'a> {
    /// The place to report when the map as a whole is the problem.
    pub place: Place,
    entries: &'a [Entry],
    /// Known fields that unknown ones are most likely misspellings of.
    misspelt: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The fields of a map that is the value of a named entry.
    pub fn of_entry(
        entry: &'a Entry,
        what: &str,
        known: &[&str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut fields = Self::of_value(&entry.value, what, known, problems)?;
        fields.place = entry.key_place;
        Some(fields)
    }

    /// The fields of `tree`; `None` if it is not a map.
    pub fn of_value(
        tree: &'a Tree,
        what: &str,
        known: &[&str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let Content::Map(entries) = &tree.content else {
            let message = format!("{what} is a map, not {}", tree.what());
            problems.error(tree.place, "wrong-type", message);
            return None;
        };
        let mut misspelt = Vec::new();
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let message = format!("{what} has no field `{}`", entry.key);
                let found = problems.error(entry.key_place, "unknown-field", message);
                let hint = suggest(&entry.key, "fields", known.iter().copied());
                let is_near = nearest(&entry.key, known.iter().copied()).is_some();
                found.hint(match known.contains(&WITH) && !is_near {
                    true => format!("{hint}; parameters of the kind stand under `{WITH}:`"),
                    false => hint,
                });
                misspelt.extend(nearest(&entry.key, known.iter().copied()).map(str::to_string));
            }
        }
        let place = entries.first().map_or(tree.place, |entry| entry.key_place);
        Some(Self {
            place,
            entries,
            misspelt,
        })
    }

    pub fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == name)
    }

    /// Whether the field is absent, and not just misspelt.
    pub fn lacks(&self, name: &str) -> bool {
        self.entry(name).is_none() && !self.misspelt.iter().any(|known| known == name)
    }

    pub fn value(&self, name: &str) -> Option<&'a Tree> {
        self.entry(name).map(|entry| &entry.value)
    }

    pub fn text(&self, name: &str, problems: &mut Problems) -> Option<Text> {
        let value = self.value(name)?;
        let Some(text) = value.text() else {
            let message = format!("`{name}` is a text, not {}", value.what());
            problems.error(self.pointer(name), "wrong-type", message);
            return None;
        };
        Some(Text {
            text: text.to_string(),
            place: value.place,
        })
    }

    /// The entries of the map `name`; empty if it is absent or null.
    pub fn map(&self, name: &str, problems: &mut Problems) -> &'a [Entry] {
        match self.value(name).map(|value| &value.content) {
            None | Some(Content::Null) => &[],
            Some(Content::Map(entries)) => entries,
            Some(_) => {
                self.wrong_type(name, "a map", problems);
                &[]
            }
        }
    }

    /// The items of the list `name`; empty if it is absent or null.
    pub fn list(&self, name: &str, problems: &mut Problems) -> &'a [Tree] {
        match self.value(name).map(|value| &value.content) {
            None | Some(Content::Null) => &[],
            Some(Content::List(items)) => items,
            Some(_) => {
                self.wrong_type(name, "a list", problems);
                &[]
            }
        }
    }

    fn wrong_type(&self, name: &str, expected: &str, problems: &mut Problems) {
        let what = self.value(name).map_or("nothing", Tree::what);
        let message = format!("`{name}` is {expected}, not {what}");
        let found = problems.error(self.pointer(name), "wrong-type", message);
        if name == "needs" {
            found.hint("`needs: { model: STAGE, data: STAGE }` gives each input by its name");
        }
    }

    /// The place of the value of `name`, or of the name if the value has none on its line.
    fn pointer(&self, name: &str) -> Place {
        self.entry(name).map_or(self.place, |entry| {
            let span = entry.value.place.span;
            let shown = span.start < span.end;
            if shown {
                entry.value.place
            } else {
                entry.key_place
            }
        })
    }
}

/// A list of texts.
pub fn strings(tree: &Tree, what: &str, problems: &mut Problems) -> Vec<Text> {
    let Content::List(items) = &tree.content else {
        let message = format!("this is a list, not {}", tree.what());
        problems.error(tree.place, "wrong-type", message);
        return Vec::new();
    };
    let mut texts = Vec::new();
    for item in items {
        match item.text() {
            Some(text) => texts.push(Text {
                text: text.to_string(),
                place: item.place,
            }),
            None => {
                let message = format!("{what} is a text, not {}", item.what());
                problems.error(item.place, "wrong-type", message);
            }
        }
    }
    texts
}

/// `[A-Za-z_][A-Za-z0-9_]*`
pub fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `[A-Za-z0-9_][A-Za-z0-9_.+-]*`
pub fn is_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    first.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && bytes.all(is_label_byte)
}

pub fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-')
}
