//! Renders diagnostics as text, in the style of rustc.

use std::fmt::Write;

use super::terminal::steers;
use super::{Diagnostic, Diagnostics, Severity};

/// The number of characters of a source line that are shown; longer lines are cut around the place.
const SHOWN_COLUMNS: usize = 110;

struct Paint {
    strong: &'static str,
    severity: &'static str,
    frame: &'static str,
    off: &'static str,
}

const PLAIN: Paint = Paint {
    strong: "",
    severity: "",
    frame: "",
    off: "",
};

fn paint(color: bool, severity: Severity) -> Paint {
    if !color {
        return PLAIN;
    }
    Paint {
        strong: "\x1b[1m",
        severity: match severity {
            Severity::Error => "\x1b[1;31m",
            Severity::Warning => "\x1b[1;33m",
        },
        frame: "\x1b[1;34m",
        off: "\x1b[0m",
    }
}

impl Diagnostic {
    /// Lines for the message, the place, the source line and the hint; ends with a line break.
    pub fn render(&self, color: bool) -> String {
        let Paint {
            strong,
            severity,
            frame,
            off,
        } = paint(color, self.severity);
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (code, message) = (&self.code, printable(&self.message));
        let mut text = format!("{severity}{word}[{code}]{off}{strong}: {message}{off}\n");
        let number = self.line.to_string();
        let margin = " ".repeat(if self.line == 0 { 2 } else { number.len() });
        // Writing to a String can't fail.
        if self.line > 0 {
            let place = format!("{}:{}:{}", self.file, self.line, self.column);
            let (line, before, width) = self.shown();
            let _ = writeln!(text, "{margin}{frame}-->{off} {place}");
            let _ = writeln!(text, "{margin} {frame}|{off}");
            let _ = writeln!(text, "{frame}{number} |{off} {line}");
            let under = " ".repeat(before) + severity + &"^".repeat(width) + off;
            let _ = writeln!(text, "{margin} {frame}|{off} {under}");
        } else if !self.file.is_empty() {
            let _ = writeln!(text, "{margin}{frame}-->{off} {}", self.file);
        }
        if let Some(hint) = &self.hint {
            let hint = printable(hint);
            let _ = writeln!(text, "{margin} {frame}={off} {strong}hint{off}: {hint}");
        }
        text
    }

    /// The part of the line to show, the number of cells before the place, and of cells to
    /// underline.
    fn shown(&self) -> (String, usize, usize) {
        let letters: Vec<char> = self.source_line.chars().collect();
        let at = (self.column - 1).min(letters.len());
        let from = if letters.len() <= SHOWN_COLUMNS || at < SHOWN_COLUMNS / 2 {
            0
        } else {
            at - SHOWN_COLUMNS / 2
        };
        let to = letters.len().min(from + SHOWN_COLUMNS);
        let end = (at + self.width).min(to);
        let cut = |from: usize, to: usize| {
            let part: String = letters[from.min(to)..to].iter().collect();
            printable(&part)
        };
        let (head, tail) = (
            if from > 0 { "…" } else { "" },
            if to < letters.len() { "…" } else { "" },
        );
        let before = cells(head) + cells(&cut(from, at));
        let width = cells(&cut(at, end)).max(1);
        (format!("{head}{}{tail}", cut(from, to)), before, width)
    }
}

/// Replaces tabs by spaces, and characters that could control a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|letter| match letter {
            '\t' => "    ".chars().collect::<Vec<char>>(),
            '\n' => vec![letter],
            letter if steers(letter) => vec!['\u{fffd}'],
            letter => vec![letter],
        })
        .collect()
}

/// Whether a character is invisible, or changes how others are displayed: foreign text could hide
/// something with it.
pub fn is_unseen(letter: char) -> bool {
    steers(letter)
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' | '\u{e0000}'..='\u{e0fff}')
}

/// The number of terminal cells that `text` takes.
fn cells(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

impl Diagnostics {
    /// Renders all of them, separated by empty lines.
    pub fn render(&self, color: bool) -> String {
        let texts: Vec<String> = self.0.iter().map(|one| one.render(color)).collect();
        texts.join("\n")
    }
}
