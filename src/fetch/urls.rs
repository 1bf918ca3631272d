//! URLs as text: encoding of names, targets of redirects, removal of secrets. Sends no requests.

use std::fmt::Write;

use ureq::http::Uri;

/// Encodes a name for a URL. Some servers read a bare `+` as a space, so it is never sent.
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

/// Decodes a name in a URL; `None` if it is not valid UTF-8.
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

/// A URL that is safe to show: without the user information before `@` and the query after `?`.
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_string();
    };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Whether both URLs have the same protocol, host and port.
pub fn is_same_host(one: &str, other: &str) -> bool {
    let host = |url: &str| {
        let parts = url.parse::<Uri>().ok()?.into_parts();
        Some((parts.scheme?, parts.authority?))
    };
    host(one).is_some() && host(one) == host(other)
}

pub fn is_web(url: &str) -> bool {
    let begins = |scheme: &str| {
        url.get(..scheme.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(scheme))
    };
    begins("http://") || begins("https://")
}

/// Resolves a `Location`: it may be absolute, begin with the host, or be relative to the host's
/// root.
pub fn joined(url: &str, place: &str) -> String {
    let path = place.find(['/', '?', '#']).unwrap_or(place.len());
    if place[..path].ends_with(':') {
        return place.to_string();
    }
    if let (true, Some(scheme)) = (place.starts_with("//"), url.find("//")) {
        return format!("{}{place}", &url[..scheme]);
    }
    let host_ends = url
        .find("://")
        .and_then(|scheme| url[scheme + 3..].find('/').map(|at| scheme + 3 + at))
        .unwrap_or(url.len());
    match place.strip_prefix('/') {
        Some(_) => format!("{}{place}", &url[..host_ends]),
        None => {
            let folder = url.rfind('/').filter(|at| *at >= host_ends);
            format!("{}/{place}", &url[..folder.unwrap_or(host_ends)])
        }
    }
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

    #[test]
    fn locations_are_joined_as_browsers_do() {
        let from = "https://hub.example/a/resolve/main/model.bin";
        for (place, expected) in [
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("/y?z=1", "https://hub.example/y?z=1"),
            ("other.bin", "https://hub.example/a/resolve/main/other.bin"),
            ("//cdn.example/x", "https://cdn.example/x"),
            (
                "/sign?for=https://x",
                "https://hub.example/sign?for=https://x",
            ),
            ("file:///etc/passwd", "file:///etc/passwd"),
        ] {
            assert_eq!(joined(from, place), expected);
        }
        assert_eq!(joined("http://h", "/y"), "http://h/y");
        assert_eq!(joined("http://h", "y"), "http://h/y");
    }

    #[test]
    fn a_token_stays_with_host_and_protocol() {
        let hub = "https://hub.example/a";
        assert!(is_same_host(hub, "https://HUB.example/b?c"));
        for other in [
            "http://hub.example/a",
            "https://hub.example:8443/a",
            "https://hub.example.evil.example/a",
            "https://cdn.hub.example/a",
            "/a",
        ] {
            assert!(!is_same_host(hub, other), "{other}");
        }
    }
}
