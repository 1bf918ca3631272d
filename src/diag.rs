//! Diagnostics: what is wrong in a text that the user wrote, where, and how to fix it. Knows texts
//! and places in them, not what the texts mean.

mod credential_names;
pub mod credentials;
mod forms;
mod problems;
mod render;
pub mod secrets;
mod source;
pub mod terminal;

use serde::Serialize;

pub use problems::Problems;
pub use render::is_unseen;
pub use source::{Place, SourceId, SourceText, Span, char_boundary};

/// A problem with the workflow or the command line.
///
/// `line` and `column` count from 1, in characters; both are 0 if there is no place to show (a
/// missing file, an unknown profile).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    #[serde(skip)]
    pub severity: Severity,
    /// Stable, machine-readable: `unknown-field`, `node-cycle`.
    pub code: String,
    pub message: String,
    /// As the user named it; `--set` for a place inside the value of that option.
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// The source line, without its line break.
    #[serde(skip)]
    pub source_line: String,
    /// Characters to underline from `column` on.
    #[serde(skip)]
    pub width: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    #[default]
    Error,
    Warning,
}

impl Diagnostic {
    /// An error without a place in a text.
    pub fn nowhere(code: &str, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: code.to_string(),
            message: message.into(),
            file: file.to_string(),
            line: 0,
            column: 0,
            source_line: String::new(),
            width: 0,
            hint: None,
        }
    }

    /// `grid.yaml:12:5`, the file without a place, or nothing.
    pub fn place(&self) -> String {
        match (self.file.as_str(), self.line) {
            (file, 0) => file.to_string(),
            (file, line) => format!("{file}:{line}:{}", self.column),
        }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One or more [`Diagnostic`]s that end a command with exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} problem(s)", .0.len())]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// The name in `known` that is most likely meant by `wrong`, if any is close enough: a misspelling,
/// otherwise a longer or shorter form.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    misspelt(wrong, &known).or_else(|| forms::other_form(wrong, &known))
}

fn misspelt<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .copied()
        .map(|name| (edit_distance(wrong, name), name))
        .filter(|(distance, name)| {
            let length = name.chars().count();
            // Names without a common letter are not misspellings of each other.
            *distance <= 1 + length / 4 && *distance < length
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A hint for the unknown name `wrong`: the nearest of the `known` names, or a list of them. `what`
/// is the plural noun for them: `axes`.
pub fn suggest<'a>(
    wrong: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(near) = nearest(wrong, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    match known.clone().into_iter().take(2).count() {
        0 => format!("it has no {what}"),
        1 => format!("the only one is {}", listed(known)),
        _ => format!("it has the {what} {}", listed(known)),
    }
}

/// The maximum number of names to list.
const LISTED: usize = 20;

/// `a`, `b` and `c`; shortened if there are many.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "none".to_string(),
        Some((only, [])) => only.clone(),
        Some(_) if names.len() > LISTED => {
            let more = names.len() - LISTED;
            format!("{} and {more} more", names[..LISTED].join(", "))
        }
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped {
                    best.min(rows[i - 2][j - 2] + 1)
                } else {
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}
