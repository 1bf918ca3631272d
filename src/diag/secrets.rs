//! Masks secrets: tokens, passwords, keys. Code that reads a secret registers it here; every log
//! line and every text from a server passes through [`masked`].

use std::borrow::Cow;
use std::path::Path;
use std::sync::RwLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::credentials;

/// The replacement for a secret.
const MASK: &str = "…";
/// A shorter value occurs in too many words.
const SHORTEST: usize = 6;
/// What precedes a secret in a header, a URL's query or a document, in lower case.
const BEFORE: [&str; 24] = [
    "bearer ",
    "basic ",
    "signature=",
    "sig=",
    "credential=",
    "credentials=",
    "security-token=",
    "token=",
    "password=",
    "passwd=",
    "secret=",
    "api_key=",
    "apikey=",
    "account_key=",
    "access_key=",
    "accesskeyid=",
    "key-pair-id=",
    "policy=",
    "authorization: ",
    "x-amz-security-token: ",
    "x-amz-security-token\": \"",
    "<secretaccesskey>",
    "<sessiontoken>",
    "cookie: ",
];

static KEPT: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Registers `value`, which is masked from now on, in the forms in which it appears in requests and
/// logs.
pub fn keep(value: &str) {
    let value = value.trim();
    if value.len() < SHORTEST {
        return;
    }
    let mut kept = KEPT.write().unwrap_or_else(|held| held.into_inner());
    for form in forms(value) {
        if !kept.contains(&form) {
            kept.push(form);
        }
    }
    // A value that is contained in another comes later.
    kept.sort_by_key(|form| std::cmp::Reverse(form.len()));
}

/// Registers the secrets of the environment: values of variables that look like credentials, by
/// name or by value, and the users and passwords of URLs.
pub fn keep_environment() {
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        // A path says where a secret is, and this variable says which key signs.
        let is_path = value.starts_with('/') && Path::new(value).exists();
        let is_place = is_path || name == "RIBFLOW_KEY";
        // Of a URL, only the user and the password: the host is needed to say which server failed.
        let is_url = value.contains("://");
        if is_url {
            keep_of_url(value);
        }
        let is_secret = match is_url {
            true => credentials::sign(name, None).is_some(),
            false => credentials::sign(name, Some(value)).is_some(),
        };
        if is_secret && !is_place {
            value.split_whitespace().for_each(keep);
        }
    }
}

/// Registers the password of a URL, if it has one.
pub fn keep_of_url(url: &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = host.rsplit_once('@') {
        keep(user);
        keep(user.split_once(':').map_or(user, |(_, password)| password));
    }
}

/// A secret verbatim, percent-encoded, in Rust's debug notation of text and of bytes, and in
/// base64.
fn forms(value: &str) -> Vec<String> {
    let encoded = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let notation = format!("{value:?}");
    let bytes = format!("{:?}", value.as_bytes());
    vec![
        value.to_string(),
        value.bytes().map(encoded).collect(),
        notation[1..notation.len() - 1].to_string(),
        bytes[1..bytes.len() - 1].to_string(),
        STANDARD.encode(value),
    ]
}

/// `text` without secrets: registered ones, and values in places where secrets are expected
/// (`Bearer …`, `?X-Amz-Signature=…`, `://user:password@`).
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    {
        let kept = KEPT.read().unwrap_or_else(|held| held.into_inner());
        for secret in kept.iter() {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), MASK));
            }
        }
    }
    let ranges = places(&text);
    if ranges.is_empty() {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for (begin, end) in ranges {
        if begin >= from {
            shown.push_str(&text[from..begin]);
            shown.push_str(MASK);
            from = end;
        }
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

/// Ranges that hold secrets, judged by what precedes them, in order.
fn places(text: &str) -> Vec<(usize, usize)> {
    // Has the same length as the text, so that positions agree.
    let lower = text.to_ascii_lowercase();
    let mut places = Vec::new();
    for before in BEFORE {
        for (at, _) in lower.match_indices(before) {
            let begin = at + before.len();
            let end = begin + length(&text[begin..]);
            // Words in a sentence ("bearer of", "no token=") are not secrets.
            if end - begin >= SHORTEST {
                places.push((begin, end));
            }
        }
    }
    for (at, _) in lower.match_indices("://") {
        let begin = at + 3;
        let rest = &text[begin..];
        let host = rest.find(|letter: char| "/?#\"'<> \n".contains(letter));
        let host = &rest[..host.unwrap_or(rest.len())];
        if let Some(user) = host.rfind('@').filter(|user| *user > 0) {
            places.push((begin, begin + user));
        }
    }
    places.sort_unstable();
    places
}

/// The length of the value at the start of `text`.
fn length(text: &str) -> usize {
    let ends = |letter: char| letter.is_whitespace() || "&\"'<>,;)}]\\".contains(letter);
    text.find(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_are_kept_are_masked_in_every_form() {
        keep("hunter2/+\"secret");
        for text in [
            "token hunter2/+\"secret!",
            "a=hunter2%2F%2B%22secret&b",
            r#"Some("hunter2/+\"secret")"#,
            "[104, 117, 110, 116, 101, 114, 50, 47, 43, 34, 115, 101, 99, 114, 101, 116]",
            "aHVudGVyMi8rInNlY3JldA==",
        ] {
            let shown = masked(text);
            assert!(shown.contains(MASK), "{shown}");
            assert!(
                !shown.contains("secret") && !shown.contains("104"),
                "{shown}"
            );
        }
        assert_eq!(masked("nothing of it"), "nothing of it");
        keep("a");
        assert_eq!(masked("a banana"), "a banana");
        keep_of_url("http://user:geheim-1@proxy:3128/");
        assert_eq!(masked("geheim-1"), MASK);
        assert_eq!(masked("Basic dXNlcjpnZWhlaW0tMQ=="), "Basic …");
    }

    #[test]
    fn what_stands_where_secrets_do_is_masked() {
        for (text, expected) in [
            ("authorization: Bearer abcdefgh", "authorization: …"),
            (
                "GET /x?X-Amz-Signature=0123456789ab&y=1",
                "GET /x?X-Amz-Signature=…&y=1",
            ),
            ("http://me:word@host/x and more", "http://…@host/x and more"),
            (
                "to \"https://h/p?token=abcdefgh\" now",
                "to \"https://h/p?token=…\" now",
            ),
            ("Credential=AKIAIOSFODNN7/2026, next", "Credential=…, next"),
        ] {
            let shown = masked(text).replace("…  ", "… ");
            assert!(shown.starts_with(expected) || shown == expected, "{shown}");
        }
        for text in ["bearer of news", "http://host/a@b", "a key=1"] {
            assert_eq!(masked(text), text);
        }
    }
}
