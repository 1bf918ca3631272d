//! What servers say, made fit for a message: they may say anything.

use crate::diag::secrets;

/// The longest word of a server that a message repeats.
const LONGEST: usize = 300;

/// One line without control characters and secrets (a server may repeat what it was shown), cut
/// where it is long.
pub fn clear(text: &str) -> String {
    let text = secrets::masked(text);
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// `: …`, or nothing where nothing was said.
pub fn after(text: &str) -> String {
    match clear(text) {
        empty if empty.is_empty() => empty,
        line => format!(": {line}"),
    }
}

/// Whether the same request may succeed later, by the status of the answer.
pub fn is_passing(status: u16) -> bool {
    match status {
        // It does not know the request, or has no room.
        501 | 505 | 507 => false,
        408 | 425 | 429 => true,
        status => status >= 500,
    }
}
