//! Names in URLs.

use std::fmt::Write;

/// A name as it stands in a URL. A bare `+` means a space to some servers, so it is never sent.
pub fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(byte as char);
            }
            // Writing to a string never fails.
            byte => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// A name out of a URL; `None` where that is no text.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        match (first, others) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| (byte as char).to_digit(16);
                bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, after) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_into_urls_and_come_back() {
        let name = "a b/+%ü~c.json";
        assert_eq!(encoded(name), "a%20b/%2B%25%C3%BC~c.json");
        assert_eq!(decoded(&encoded(name)).as_deref(), Some(name));
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }
}
