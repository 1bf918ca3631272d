//! Reads a workflow file: size limit, UTF-8.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Limits;
use crate::diag::{Diagnostic, Diagnostics, SourceText, Span};

/// The text of `file`, without a byte order mark.
pub fn read(file: &Path, limits: &Limits) -> Result<SourceText, Diagnostics> {
    let name = file.display().to_string();
    let unreadable = |error: std::io::Error| {
        let diagnostic = Diagnostic::nowhere("unreadable-file", &name, error.to_string());
        match error.kind() {
            std::io::ErrorKind::NotFound => Diagnostic {
                message: format!("there is no file `{name}`"),
                ..diagnostic
            },
            std::io::ErrorKind::IsADirectory => Diagnostic {
                message: format!("`{name}` is a folder; a workflow is a file"),
                ..diagnostic
            },
            _ => Diagnostic {
                message: format!("can't read `{name}`: {error}"),
                ..diagnostic
            },
        }
    };
    let mut bytes = Vec::new();
    // One byte more than allowed, to distinguish a file that is too large from one that just fits.
    File::open(file)
        .and_then(|file| file.take(limits.bytes + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > limits.bytes {
        let limit = match limits.bytes {
            whole if whole >= 1 << 20 && whole % (1 << 20) == 0 => format!("{} MiB", whole >> 20),
            bytes => format!("{bytes} bytes"),
        };
        let message = format!("a workflow file has at most {limit}, and this one is larger");
        return Err(Diagnostic::nowhere("too-large", &name, message).into());
    }
    decode(&name, bytes)
}

fn decode(name: &str, bytes: Vec<u8>) -> Result<SourceText, Diagnostics> {
    match String::from_utf8(bytes) {
        Ok(text) => {
            let text = text
                .strip_prefix('\u{feff}')
                .map(str::to_string)
                .unwrap_or(text);
            Ok(SourceText::new(name, text))
        }
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            // The text before the first invalid byte is the same in both.
            let span = Span {
                start: at,
                end: at + '\u{fffd}'.len_utf8(),
            };
            let byte = error.as_bytes()[at];
            let message = match error.as_bytes() {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16".to_string(),
                _ => format!("the file is not UTF-8: it has a byte 0x{byte:02x} here"),
            };
            Err(SourceText::new(name, lossy)
                .diagnostic(span, "not-utf8", message)
                .with_hint("save it as UTF-8")
                .into())
        }
    }
}
