//! The names that a server's list of a folder has, whatever it is written in: nginx's JSON, the
//! HTML of any server's index, the XML of DAV.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::names::decoded;

/// No name of ours is longer.
const LONGEST: usize = 255;

/// The names right below the folder at `path`. What is no name that a store could have is passed
/// over, so nothing a server writes can lead elsewhere.
pub fn names(body: &str, path: &str) -> Vec<String> {
    let found = match serde_json::from_str::<Vec<Entry>>(body) {
        Ok(entries) => entries.into_iter().map(Entry::name).collect(),
        Err(_) => links(body, path),
    };
    let names: BTreeSet<String> = found
        .into_iter()
        .map(|name| name.trim_end_matches('/').to_string())
        .filter(|name| is_name(name))
        .collect();
    names.into_iter().collect()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Named { name: String },
    Bare(String),
}

impl Entry {
    fn name(self) -> String {
        match self {
            Self::Named { name } | Self::Bare(name) => name,
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// What `href="…"` and `<href>…</href>` lead to, where that is right below the folder.
fn links(body: &str, path: &str) -> Vec<String> {
    // Of one length with the body, so that places in one are places in the other.
    let lower = body.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, _) in lower.match_indices("href") {
        let rest = &body[at + "href".len()..];
        let target = if let Some(inner) = rest.strip_prefix('>') {
            inner.split('<').next()
        } else {
            quoted(rest)
        };
        found.extend(target.and_then(|target| below(target, path)));
    }
    found
}

/// The value of an attribute.
fn quoted(text: &str) -> Option<&str> {
    let value = text.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|it| ['"', '\''].contains(it))?;
    value[1..].split(quote).next()
}

/// The name that a link gives to something right below the folder at `path`.
fn below(link: &str, path: &str) -> Option<String> {
    let link = link.trim().replace("&amp;", "&");
    let link = link.split(['?', '#']).next()?.trim_end_matches('/');
    let (above, name) = link.rsplit_once('/').unwrap_or(("", link));
    let above = match above.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => above,
    };
    let folder = path.trim_end_matches('/');
    let is_here = link == name || above == "." || decoded(above)? == decoded(folder)?;
    is_here.then(|| decoded(name)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "/lab%20a/records/ab/abcd/";

    #[test]
    fn lists_of_many_servers_are_read() {
        for body in [
            r#"[{ "name":"x.json", "type":"file", "size":3 }, { "name":"y.sig" }, {"name":"..","type":"directory"}]"#,
            r#"["x.json", "y.sig", "../z", "a b"]"#,
            "<html><a href=\"../\">../</a>\n<a href=\"x.json\">x</a> <A HREF='./y.sig'>y</A>\
             <a href=\"?C=N;O=D\">Name</a> <a href=\"/\">up</a> <a href=\"/other/z.json\">z</a>",
            "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>/lab%20a/records/ab/abcd/</D:href>\
             </D:response><D:href>/lab%20a/records/ab/abcd/x.json</D:href><D:href>\
             http://h:1/lab%20a/records/ab/abcd/y.sig/</D:href><D:href>/lab%20a/records/z.json</D:href>",
        ] {
            assert_eq!(names(body, FOLDER), ["x.json", "y.sig"], "{body}");
        }
    }

    #[test]
    fn nothing_leads_elsewhere() {
        for body in [
            r#"<a href="..%2f..%2fetc">"#,
            r#"<a href="%2e%2e">"#,
            r#"<a href="x%00">"#,
            r#"["/etc/passwd", "..", ".hidden", ""]"#,
            "<a href=",
            "href>",
            "href",
        ] {
            assert!(names(body, FOLDER).is_empty(), "{body}");
        }
    }
}
