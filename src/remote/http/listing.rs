//! Parses the names in a server's folder listing: nginx's JSON, the HTML index of any server, or
//! DAV's XML.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::fetch::urls::decoded;

/// The maximum length of a name in a store.
const LONGEST: usize = 255;

/// The start of a link in HTML and in DAV's XML.
const LINK: &str = "href";

/// Typical titles and headings of an index, in lower case.
const TITLES: [&str; 5] = [
    "index of /",
    "directory listing",
    "directory: /",
    "listing of /",
    "listing: /",
];

/// The names directly below the folder at `path`. Names that a store can't have are skipped, so a
/// server can't point to another place.
///
/// # Errors
/// Describes a response that is not a list: empty, an unrelated page, or a truncated list.
pub fn names(body: &str, path: &str) -> Result<Vec<String>, String> {
    let body = body.trim_start_matches('\u{feff}').trim();
    let found = match body.as_bytes().first() {
        None => return Err("nothing".to_string()),
        Some(b'[' | b'{' | b'"') => match serde_json::from_str::<Vec<Entry>>(body) {
            Ok(entries) => entries.into_iter().map(Entry::name).collect(),
            Err(error) => return Err(format!("JSON that is not a list of names ({error})")),
        },
        Some(b'<') => page(body, path)?,
        Some(_) => return Err("neither JSON nor HTML".to_string()),
    };
    let names: BTreeSet<String> = found
        .into_iter()
        .map(|name| name.trim_end_matches('/').to_string())
        .filter(|name| is_name(name))
        .collect();
    Ok(names.into_iter().collect())
}

/// The names in DAV's XML or in the HTML index of a folder.
fn page(body: &str, path: &str) -> Result<Vec<String>, String> {
    // It has the same length as the body, so offsets are valid in both.
    let lower = body.to_ascii_lowercase();
    let is_dav = lower.contains("multistatus");
    let is_open = |element: &str| lower.contains(element);
    let is_part = match is_dav {
        true => !lower.ends_with("multistatus>") || lower.matches("multistatus").count() < 2,
        false => is_open("<html") && !is_open("</html"),
    };
    if is_part {
        return Err("a truncated list".to_string());
    }
    let links = links(body, &lower, path);
    let is_index = is_dav
        || TITLES.iter().any(|title| lower.contains(title))
        || links.iter().any(|link| link.leads_up)
        || (links.iter().any(Link::is_named) && links.iter().all(|link| link.is_named()));
    match is_index {
        true => Ok(links.into_iter().filter_map(|link| link.name).collect()),
        false => Err(match between(body, &lower, "<title>", "</title>") {
            Some(title) => format!("a page: \"{}\"", title.trim()),
            None => "an unrelated page".to_string(),
        }),
    }
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

/// A link in a page.
struct Link {
    /// The entry directly below the folder that it points to.
    name: Option<String>,
    /// Its text.
    text: String,
    /// Whether it points to the parent folder.
    leads_up: bool,
}

impl Link {
    /// Whether its text is its target, or a prefix of that, as in an index.
    fn is_named(&self) -> bool {
        let text = self.text.trim_end_matches('/').replace("&gt;", ">");
        let text = text.trim_end_matches(['.', '>', '…']);
        self.name
            .as_ref()
            .is_some_and(|name| !text.is_empty() && name.starts_with(text))
    }
}

/// The targets of `href="…"` and `<href>…</href>`.
fn links(body: &str, lower: &str, path: &str) -> Vec<Link> {
    let mut found = Vec::new();
    let begins = lower.match_indices(LINK).map(|(at, _)| at + LINK.len());
    // The word may be in a path, too.
    let is_link = |begin: &usize| lower[*begin..].starts_with(['=', '>', ' ', '\t', '\n', '\r']);
    let mut begins = begins.filter(is_link);
    let mut next = begins.next();
    while let Some(begin) = next {
        next = begins.next();
        // A link ends before the next one. Searched to the end of the page for each of its links, a
        // page without a closing bracket would take the square of its length.
        let end = next.map_or(body.len(), |next| next - LINK.len());
        let rest = &body[begin..end];
        let target = match rest.strip_prefix('>') {
            Some(inner) => inner.split('<').next(),
            None => quoted(rest),
        };
        let Some(target) = target else { continue };
        let text = between(rest, &lower[begin..end], ">", "<").unwrap_or_default();
        let says_up = |text: &str| text.contains("..") || text.contains("parent");
        let is_relative = matches!(target.trim_end_matches('/'), ".." | "./..");
        let is_above = target.ends_with('/')
            && path.trim_end_matches('/').starts_with(target)
            && says_up(&text.to_ascii_lowercase());
        found.push(Link {
            name: below(target, path),
            text: text.trim().to_string(),
            leads_up: is_relative || is_above,
        });
    }
    found
}

/// The text between two markers, which are searched in lower case.
fn between<'a>(text: &'a str, lower: &str, from: &str, to: &str) -> Option<&'a str> {
    let begin = lower.find(from)? + from.len();
    let end = begin + lower[begin..].find(to)?;
    Some(&text[begin..end])
}

/// The value of a quoted attribute.
fn quoted(text: &str) -> Option<&str> {
    let value = text.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|it| ['"', '\''].contains(it))?;
    value[1..].split(quote).next()
}

/// The name of an entry directly below the folder at `path`, if the link points to one.
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
             <a href=\"?C=N;O=D\">Name</a> <a href=\"/\">up</a> <a href=\"/other/z.json\">z</a></html>",
            "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>/lab%20a/records/ab/abcd/</D:href>\
             </D:response><D:href>/lab%20a/records/ab/abcd/x.json</D:href><D:href>\
             http://h:1/lab%20a/records/ab/abcd/y.sig/</D:href><D:href>/lab%20a/records/z.json</D:href></D:multistatus>",
        ] {
            assert_eq!(names(body, FOLDER).unwrap(), ["x.json", "y.sig"], "{body}");
            let (body, folder) = (
                body.replace("lab%20a", "a-href"),
                "/a-href/records/ab/abcd/",
            );
            assert_eq!(names(&body, folder).unwrap(), ["x.json", "y.sig"], "{body}");
        }
    }

    /// Searched to the end for each link, each of these pages would take minutes.
    #[test]
    fn a_page_of_unclosed_links_ends() {
        for link in ["href=\"a\" ", "href>", "href='", "é href=\"a\""] {
            let page = format!("<{}", link.repeat((4 << 20) / link.len()));
            let begun = std::time::Instant::now();
            drop(names(&page, FOLDER));
            assert!(begun.elapsed().as_secs() < 30, "{link}");
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
            let found = names(body, FOLDER).unwrap_or_default();
            assert!(found.is_empty(), "{body}");
        }
    }

    #[test]
    fn what_is_no_list_is_an_error_that_names_it() {
        for (body, expected) in [
            ("", "nothing"),
            (" \n", "nothing"),
            ("Please log in", "neither JSON nor HTML"),
            ("{\"error\":\"login\"}", "not a list of names"),
            ("[{\"name\":\"x.json\"},{\"na", "not a list of names"),
            ("\"x\"", "not a list of names"),
            (
                "<html><body><a href=\"x/\">Please log in</a></body></html>",
                "an unrelated page",
            ),
            (
                "<!doctype html><html><head><title> Log in </title></head><body>\
                 <form action=\"/login\"></form><a href=\"/\">Home</a></body></html>",
                "\"Log in\"",
            ),
            (
                "<html><title>Index of /x</title><a href=\"x.json\">x.json</a>",
                "truncated",
            ),
            (
                "<D:multistatus><D:href>/lab%20a/records/ab/abcd/x.json</D:href>",
                "truncated",
            ),
        ] {
            let error = names(body, FOLDER).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn indexes_of_many_servers_are_known_for_what_they_are() {
        for (body, expected) in [
            // nginx, Apache, Python, Caddy, and a custom server; empty, or with a name.
            (
                "<html>\r\n<head><title>Index of /x/</title></head>\r\n<body>\r\n<h1>Index of \
                 /x/</h1><hr><pre><a href=\"../\">../</a>\r\n</pre><hr></body>\r\n</html>",
                &[][..],
            ),
            (
                "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\"><html><head><title>Index \
                 of /lab a</title></head><body><table><tr><td><a href=\"/lab%20a/records/ab/\">Parent \
                 Directory</a></td></tr></table></body></html>",
                &[],
            ),
            (
                "<!DOCTYPE HTML><html lang=\"en\"><head><title>Directory listing for /</title></head>\
                 <body><ul><li><a href=\"x.json\">x.json</a></li></ul></body></html>",
                &["x.json"],
            ),
            (
                "<!DOCTYPE html><html><title>records</title><a href=\"..\">Up</a>\
                 <a href=\"./x.json\"><svg/>x.json</a></html>",
                &["x.json"],
            ),
            (
                "<a href=\"0123456789.json\">01234567..&gt;</a>\n<a href=\"y/\">y/</a>",
                &["0123456789.json", "y"],
            ),
        ] {
            assert_eq!(names(body, FOLDER).unwrap(), expected, "{body}");
        }
    }
}
