//! Standard output and standard error, without control sequences from untrusted text.

use std::io::{self, Stderr, Stdout};

use super::paint::Paint;
use crate::diag::terminal::{Clean, Stream};

/// Standard output, for text or JSON.
pub fn stdout(json: bool) -> Clean<Stdout> {
    let text = Stream::Text {
        color: Paint::for_stdout().color,
    };
    Clean::new(io::stdout(), if json { Stream::Json } else { text })
}

/// Standard error, for text.
pub fn stderr() -> Clean<Stderr> {
    Clean::new(io::stderr(), stderr_text())
}

/// The filter for text on standard error.
pub fn stderr_text() -> Stream {
    Stream::Text {
        color: Paint::for_stderr().color,
    }
}
