//! Source texts and places in them.

use super::{Diagnostic, Severity};

/// A range of bytes in a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// Identifies one of several source texts; the first one added is the first in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// A range in one of several texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub source: SourceId,
    pub span: Span,
}

impl Place {
    /// Bytes `start` to `end` of this place.
    pub fn part(self, start: usize, end: usize) -> Self {
        let span = Span {
            start: self.span.start + start,
            end: self.span.start + end,
        };
        Self { span, ..self }
    }
}

/// A text with its name and the starts of its lines.
pub struct SourceText {
    name: String,
    text: String,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl SourceText {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0)
            .chain(breaks.map(|(index, _)| index + 1))
            .collect();
        Self {
            name: name.into(),
            text,
            lines,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error at `span`, which is clamped to character boundaries and to one line.
    pub fn diagnostic(&self, span: Span, code: &str, message: impl Into<String>) -> Diagnostic {
        let start = char_boundary(&self.text, span.start);
        let line = self.lines.partition_point(|begin| *begin <= start) - 1;
        let begin = self.lines[line];
        let rest = self.text[begin..].lines().next().unwrap_or("");
        let line_end = begin + rest.len();
        let end = char_boundary(&self.text, span.end).clamp(start, line_end.max(start));
        Diagnostic {
            severity: Severity::Error,
            code: code.to_string(),
            message: message.into(),
            file: self.name.clone(),
            line: line + 1,
            column: self.text[begin..start].chars().count() + 1,
            source_line: rest.to_string(),
            width: self.text[start..end].chars().count().max(1),
            hint: None,
        }
    }

    /// The byte at which line `line` (from 1) begins; the end of the text if it has fewer lines.
    pub fn line_start(&self, line: usize) -> usize {
        let index = line.saturating_sub(1);
        self.lines.get(index).copied().unwrap_or(self.text.len())
    }
}

/// The last character boundary in `text` at or before byte `index`.
pub fn char_boundary(text: &str, index: usize) -> usize {
    let index = index.min(text.len());
    let bytes = (0..=index).rev();
    // Byte 0 is always a boundary.
    bytes
        .into_iter()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
