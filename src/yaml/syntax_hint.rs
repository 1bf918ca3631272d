//! Hints for YAML errors that the syntax of the workflow language invites.

/// A hint for the YAML error `info` at byte `at` of `text`.
pub fn syntax_hint(text: &str, at: usize, info: &str) -> Option<String> {
    let begin = text[..at].rfind('\n').map_or(0, |index| index + 1);
    let line = text[begin..].lines().next().unwrap_or("");
    let before = text[..begin].lines().next_back().unwrap_or("");
    // Some errors are detected only at the beginning of the next line.
    for line in [line, before] {
        if let Some(word) = unquoted_in_flow(line) {
            let quoted = if word.contains('"') {
                format!("'{word}'")
            } else {
                format!("\"{word}\"")
            };
            return Some(format!(
                "inside `{{ }}` and `[ ]` selectors, references and conditions go in quotes: {quoted}"
            ));
        }
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    let hint = match () {
        () if indent.contains('\t') || info.contains("tab") => {
            "YAML is indented with spaces, not with tabs"
        }
        () if info.contains("mapping values are not allowed") => {
            "a text that contains `: ` goes in quotes"
        }
        () if info.contains("unknown anchor") => {
            "aliases (`*name`) are not part of the language; a text that begins with `*` goes in quotes"
        }
        () if info.contains("block mapping") || info.contains("block collection") => {
            "does this line begin in the same column as the ones it belongs to?"
        }
        () if info.contains("cannot start any token") || info.contains("character") => {
            "a text that begins with a special character goes in quotes"
        }
        () => return None,
    };
    Some(hint.to_string())
}

/// The first text outside quotes in a flow collection of `line` that looks like `stage[…]`, `${…}`
/// or `… in […]`.
fn unquoted_in_flow(line: &str) -> Option<String> {
    let bytes = line.as_bytes();
    let (mut quote, mut flow) = (None, 0_usize);
    // The start of the current word and of the current value.
    let (mut word, mut value) = (0, 0);
    for (index, &byte) in bytes.iter().enumerate() {
        if let Some(open) = quote {
            if byte == open {
                quote = None;
            }
            continue;
        }
        match byte {
            b'"' | b'\'' => quote = Some(byte),
            b'#' if index > 0 && bytes[index - 1] == b' ' => return None,
            b'{' if index > 0 && bytes[index - 1] == b'$' => {
                return (flow > 0).then(|| closed(line, index - 1, '}'));
            }
            b'[' if flow > 0 && index > word => return Some(closed(line, word, ']')),
            b'[' if flow > 0 && line[value..index].ends_with(" in ") => {
                return Some(closed(line, value, ']'));
            }
            b'{' | b'[' => {
                flow += 1;
                (word, value) = (index + 1, index + 1);
            }
            b'}' | b']' => {
                flow = flow.saturating_sub(1);
                (word, value) = (index + 1, index + 1);
            }
            b',' | b':' => (word, value) = (index + 1, index + 1),
            b' ' => word = index + 1,
            _ => {}
        }
    }
    None
}

/// `line` from byte `from` to the first `close`.
fn closed(line: &str, from: usize, close: char) -> String {
    let rest = &line[from..];
    let end = rest.find(close).map_or(rest.len(), |index| index + 1);
    rest[..end].trim().to_string()
}
