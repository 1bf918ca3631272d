//! JSON files with an indented head and lists with one item per line, so that two of them compare
//! well in any diff.

use serde::Serialize;

/// The head of a document whose first list is named `list`. The lists may be long, and parsing them
/// takes a hundred times longer.
pub fn head(text: &str, list: &str) -> Option<String> {
    let (head, _) = text.split_once(&format!(",\n  \"{list}\": ["))?;
    text.ends_with(END).then(|| [head, END].concat())
}

const END: &str = "\n}\n";

/// Writes the indented `head`, then each list under its name.
pub fn document<T: Serialize>(
    head: &T,
    lists: &[(&str, Vec<String>)],
) -> Result<String, serde_json::Error> {
    let head = serde_json::to_string_pretty(head)?;
    let mut text = head.strip_suffix("\n}").unwrap_or("{").to_string();
    for (name, lines) in lists {
        text.push_str(&format!(",\n  \"{name}\": ["));
        if !lines.is_empty() {
            text.push_str(&format!("\n    {}\n  ", lines.join(",\n    ")));
        }
        text.push(']');
    }
    text.push_str(END);
    Ok(text)
}
