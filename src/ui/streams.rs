//! Standard output and standard error, to which nothing goes that steers a terminal.

use std::io::{self, Stderr, Stdout};

use super::paint::Paint;
use crate::diag::terminal::{Clean, Stream};

/// Standard output, for words or for JSON.
pub fn stdout(json: bool) -> Clean<Stdout> {
    let text = Stream::Text {
        color: Paint::for_stdout().color,
    };
    Clean::new(io::stdout(), if json { Stream::Json } else { text })
}

/// Standard error, for words.
pub fn stderr() -> Clean<Stderr> {
    Clean::new(io::stderr(), stderr_text())
}

/// What passes on standard error.
pub fn stderr_text() -> Stream {
    Stream::Text {
        color: Paint::for_stderr().color,
    }
}
