//! What to do about a YAML error, where the workflow language itself invites it.

/// A hint for the YAML error `info` at byte `at` of `text`.
pub fn syntax_hint(text: &str, at: usize, info: &str) -> Option<String> {
    let begin = text[..at].rfind('\n').map_or(0, |index| index + 1);
    let line = text[begin..].lines().next().unwrap_or("");
    let before = text[..begin].lines().next_back().unwrap_or("");
    for line in [line, before] {
        if let Some(word) = unquoted_in_flow(line) {
            return Some(format!(
                "inside `{{ }}` and `[ ]` a selector, a reference or a condition goes in quotes: \"{word}\""
            ));
        }
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') || info.contains("tab") {
        return Some("YAML is indented with spaces, not with tabs".to_string());
    }
    None
}

/// The first word in a flow collection of `line` that looks like `stage[…]` or `${…}` and stands
/// outside quotes.
fn unquoted_in_flow(line: &str) -> Option<String> {
    let bytes = line.as_bytes();
    let (mut quote, mut flow, mut word) = (None, 0_usize, 0);
    for (index, &byte) in bytes.iter().enumerate() {
        if let Some(open) = quote {
            if byte == open {
                quote = None;
            }
            continue;
        }
        match byte {
            b'"' | b'\'' => quote = Some(byte),
            b'#' if index == 0 || bytes[index - 1] == b' ' => return None,
            b'{' if index > 0 && bytes[index - 1] == b'$' => {
                return (flow > 0).then(|| closed(line, index - 1, '}'));
            }
            b'[' if flow > 0 && index > word => {
                return Some(closed(line, word, ']'));
            }
            b'{' | b'[' => {
                flow += 1;
                word = index + 1;
            }
            b'}' | b']' => {
                flow = flow.saturating_sub(1);
                word = index + 1;
            }
            b' ' | b',' | b':' => word = index + 1,
            _ => {}
        }
    }
    None
}

/// `line` from byte `from` to the first `close`.
fn closed(line: &str, from: usize, close: char) -> String {
    let rest = &line[from..];
    let end = rest.find(close).map_or(rest.len(), |index| index + 1);
    rest[..end].replace('"', "\\\"")
}
