//! Sanitises text from servers for messages: it may contain anything.

use crate::diag::secrets;

/// The maximum length of server text in a message.
const LONGEST: usize = 300;

/// One line without control characters and secrets (a server may echo them), truncated.
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

/// `: …`, or an empty string if there is no text.
pub fn after(text: &str) -> String {
    match clear(text) {
        empty if empty.is_empty() => empty,
        line => format!(": {line}"),
    }
}

/// Whether the same request may succeed later, by the status of the response.
pub fn is_passing(status: u16) -> bool {
    match status {
        // The server does not support the request, or has no space.
        501 | 505 | 507 => false,
        408 | 425 | 429 => true,
        status => status >= 500,
    }
}
