//! Text from outside, fit for a terminal.

use crate::diag::is_unseen;
pub use crate::diag::terminal::printable;

/// `text` with invisible characters escaped: `\n`, `\u{1b}`, `\u{202e}`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_unseen(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\nc\t"), "a[2Jb\nc");
        assert_eq!(visible("a\x1b[2J\n\u{202e}é"), r"a\u{1b}[2J\n\u{202e}é");
    }
}
