//! Sanitises text that others have written before it reaches a terminal: records, logs, remotes,
//! bundles, file names. Everything that ribflow prints passes through [`Clean`].

use std::borrow::Cow;
use std::io::{self, Write};

/// Whether a character controls the terminal instead of printing: control characters (C0, DEL, C1),
/// and those that change the writing direction, which make a text read as another.
pub fn steers(letter: char) -> bool {
    let direction = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || direction
}

/// `text` without characters that control a terminal. Line breaks stay.
pub fn printable(text: &str) -> String {
    let stays = |letter: &char| *letter == '\n' || !steers(*letter);
    text.chars().filter(stays).collect()
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Plain text. With colour, ribflow's own colour sequences pass.
    Text { color: bool },
    /// JSON: control characters are written as escapes, which preserve the content.
    Json,
}

/// The parameters of the sequences `ESC [ … m` that ribflow writes.
const COLORS: &[&str] = &[
    "0", "1", "2", "31;1", "32", "33", "1;31", "1;33", "1;34", "31", "34", "35", "3",
];
/// The longest such sequence: output that ends in a part of one waits for the rest.
const LONGEST: usize = 8;

/// `text` without characters that control a terminal, except for those that `stream` allows.
pub fn cleaned(text: &str, stream: Stream) -> Cow<'_, str> {
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(color) = own_color(rest, stream) {
            clean.push_str(color);
            rest = &rest[color.len()..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        match stream {
            _ if matches!(letter, '\n' | '\t') || !steers(letter) => clean.push(letter),
            Stream::Json => clean.push_str(&format!("\\u{:04x}", letter as u32)),
            Stream::Text { .. } => {}
        }
    }
    Cow::Owned(clean)
}

/// Printable ASCII, line breaks and tabs.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t')
}

fn own_color(text: &str, stream: Stream) -> Option<&str> {
    if stream != (Stream::Text { color: true }) {
        return None;
    }
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find('m')?;
    let length = "\x1b[".len() + end + 1;
    COLORS.contains(&&rest[..end]).then(|| &text[..length])
}

/// A writer that passes on only clean text.
pub struct Clean<W: Write> {
    writer: W,
    stream: Stream,
    /// The start of a character or of a sequence, whose rest comes with the next bytes.
    open: Vec<u8>,
}

impl<W: Write> Clean<W> {
    pub fn new(writer: W, stream: Stream) -> Self {
        Self {
            writer,
            stream,
            open: Vec::new(),
        }
    }

    /// Takes the bytes that can be judged now; the rest stays.
    fn take_whole(&mut self) -> Vec<u8> {
        let from = self.open.len().saturating_sub(LONGEST);
        let end = &self.open[from..];
        let cut_sequence = end
            .iter()
            .rposition(|byte| *byte == 0x1b)
            .filter(|at| !end[*at..].contains(&b'm'));
        let cut_letter = match std::str::from_utf8(&self.open) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.open.len(),
        };
        let whole = cut_sequence.map_or(cut_letter, |at| cut_letter.min(from + at));
        let rest = self.open.split_off(whole);
        std::mem::replace(&mut self.open, rest)
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(bytes);
        self.writer
            .write_all(cleaned(&text, self.stream).as_bytes())
    }
}

impl<W: Write> Write for Clean<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.open.is_empty() && bytes.iter().all(|byte| is_plain(*byte)) {
            self.writer.write_all(bytes)?;
            return Ok(bytes.len());
        }
        self.open.extend_from_slice(bytes);
        let whole = self.take_whole();
        self.pass(&whole)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl<W: Write> Drop for Clean<W> {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.open);
        // A drop can't report an error.
        let _ = self.pass(&rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Stream = Stream::Text { color: false };
    const COLOR: Stream = Stream::Text { color: true };

    /// ECMA-48: CSI, OSC (title, clipboard, links), DCS; their C1 forms; the bidirectional
    /// controls of Unicode's UAX #9.
    #[test]
    fn nothing_steers_a_terminal() {
        for (text, clean) in [
            ("a\x1b[2Jb\r\nc\t", "a[2Jb\nc\t"),
            ("\x1b]0;title\x07x", "]0;titlex"),
            ("\u{9b}2Jx\u{7f}", "2Jx"),
            ("rm\u{202e}txt.sh", "rmtxt.sh"),
            ("über × 猫 …", "über × 猫 …"),
        ] {
            assert_eq!(cleaned(text, TEXT), clean);
            assert_eq!(printable(text), clean.replace('\t', ""));
        }
        assert_eq!(cleaned("\x1b[31;1mred\x1b[0m", TEXT), "[31;1mred[0m");
        // Hidden text, cursor movement and an incomplete sequence are not among the colours.
        let odd = "\x1b[31;1mred\x1b[0m\x1b[8mhidden\x1b[3A\x1b";
        assert_eq!(cleaned(odd, COLOR), "\x1b[31;1mred\x1b[0m[8mhidden[3A");
        let json = serde_json::json!({ "a": "x\u{9b}\u{202e}\u{7f}" }).to_string();
        let document: serde_json::Value =
            serde_json::from_str(&cleaned(&json, Stream::Json)).unwrap();
        assert_eq!(document["a"], "x\u{9b}\u{202e}\u{7f}");
        assert!(cleaned(&json, Stream::Json).is_ascii());
    }

    #[test]
    fn pieces_are_cleaned_like_the_whole() {
        let text = "\x1b[33mgelb\x1b[0m × 猫\x1b[2J\x1b[1;31m!\u{9b}2J\n\x1b";
        for size in 1..text.len() {
            let mut written = Vec::new();
            let mut clean = Clean::new(&mut written, COLOR);
            for piece in text.as_bytes().chunks(size) {
                clean.write_all(piece).unwrap();
            }
            drop(clean);
            assert_eq!(String::from_utf8(written).unwrap(), cleaned(text, COLOR));
        }
    }
}
