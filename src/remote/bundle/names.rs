//! The names that a bundle may contain: those of a store, and plain paths of workflow files.

use std::borrow::Cow;
use std::collections::BTreeMap;

use icu_normalizer::DecomposingNormalizerBorrowed;

use super::{ABOUT, WORKFLOW};
use crate::diag::is_unseen;
use crate::digest::Digest;
use crate::remote::names::{COMPRESSED, in_records};

/// The longest name that common file systems have.
const MOST_NAME: usize = 255;
const MOST_PATH: usize = 1024;
/// Names that would make a folder a store: a bundle may contain records only as records.
const OF_A_STORE: [&str; 2] = ["cache", "store.json"];

/// Why an entry of this name is not allowed in a bundle; `None` if it is.
pub(super) fn fault(name: &str) -> Option<String> {
    let refused = |why: &str| Some(format!("{name:?} is not allowed in a bundle: {why}"));
    match name.strip_prefix(WORKFLOW) {
        Some(path) => path_fault(path).and_then(refused),
        None if is_of_store(name) => None,
        None => refused("it is not part of a store"),
    }
}

fn is_of_store(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let is_prefix = |prefix: &str, rest: &str| {
        prefix.len() == 2 && format!("{prefix}{rest}").parse::<Digest>().is_ok()
    };
    match parts.as_slice() {
        [ABOUT] => true,
        ["objects", prefix, rest] => {
            let rest = rest.strip_suffix(COMPRESSED).unwrap_or(rest);
            is_prefix(prefix, rest)
        }
        ["records", prefix, key, name] => {
            key.parse::<Digest>().is_ok() && key.starts_with(prefix) && in_records(name).is_some()
        }
        ["revocations", signer, name] => {
            let digest = name.strip_suffix(".sig").unwrap_or_default();
            signer.parse::<Digest>().is_ok() && digest.parse::<Digest>().is_ok()
        }
        _ => false,
    }
}

/// Why a workflow file can't have this path in a bundle; `None` if it can.
pub fn path_fault(path: &str) -> Option<&'static str> {
    if path.len() > MOST_PATH {
        return Some("its path is too long");
    }
    path.split('/').find_map(part_fault)
}

fn part_fault(part: &str) -> Option<&'static str> {
    // Some file systems treat different names as equal: the checks apply to all of those.
    let folded = folded(part);
    if part.is_empty() || part == "." || part.starts_with("..") {
        return Some("it is not a plain relative path");
    }
    if part.chars().any(is_odd) {
        return Some("it has an invisible or ambiguous character");
    }
    if folded.starts_with('.') {
        return Some("hidden files are not part of a workflow");
    }
    if OF_A_STORE.contains(&folded.as_str()) {
        return Some("it would look like a store");
    }
    (part.len() > MOST_NAME).then_some("its name is too long")
}

/// Path separators of other systems, and invisible characters.
fn is_odd(letter: char) -> bool {
    is_unseen(letter) || letter == '\\' || letter == ':'
}

/// Normalises all names that a file system may treat as equal: ignores case and the encoding of
/// accents and compatible characters.
fn folded(name: &str) -> String {
    let normalizer = DecomposingNormalizerBorrowed::new_nfkd();
    let normal: Cow<str> = normalizer.normalize(name);
    // Via upper case, so that `ß` and `ss` are equal.
    let lower = normal.to_uppercase().to_lowercase();
    normalizer.normalize(&lower).into_owned()
}

/// The paths of workflow files. On any file system, no path may equal another one, or the folder of
/// another one.
#[derive(Debug, Default)]
pub struct Paths {
    /// By folded path: the original path, and whether it is a file.
    known: BTreeMap<String, (String, bool)>,
}

impl Paths {
    /// Adds a file. Returns the reason if it conflicts with the others.
    pub fn add(&mut self, path: &str) -> Option<String> {
        let ends = path.match_indices('/').map(|(end, _)| end);
        let ends = ends.chain(std::iter::once(path.len()));
        for end in ends {
            let (prefix, is_file) = (&path[..end], end == path.len());
            match self.known.get(&folded(prefix)) {
                None => {
                    let entry = (prefix.to_string(), is_file);
                    self.known.insert(folded(prefix), entry);
                }
                Some((known, _)) if known != prefix => {
                    return Some(format!(
                        "{known:?} and {prefix:?} are the same name on some systems"
                    ));
                }
                Some((_, false)) if !is_file => {}
                Some((_, true)) if is_file => return Some(format!("{path:?} appears twice")),
                Some(_) => return Some(format!("{prefix:?} is both a file and a folder")),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_store_and_plain_paths_are_known() {
        let key = "ab".repeat(32);
        let known = [
            "bundle.json".to_string(),
            "workflow/grid.yaml".to_string(),
            "workflow/published/x.yaml".to_string(),
            "workflow/größe/Tabelle 1.yaml".to_string(),
            "workflow/cached/a.b".to_string(),
            format!("objects/ab/{}", &key[2..]),
            format!("objects/ab/{}.zst", &key[2..]),
            format!("records/ab/{key}/{key}.json"),
            format!("records/ab/{key}/{key}.{key}.sig"),
            format!("revocations/{key}/{key}.sig"),
        ];
        for name in &known {
            assert_eq!(fault(name), None, "{name}");
        }
        let long = format!("workflow/{}", "a".repeat(256));
        let deep = format!("workflow/{}x", "a/".repeat(600));
        for name in [
            "../x",
            "/etc/passwd",
            "workflow",
            "workflow/",
            "workflow/../x",
            "workflow//x",
            "workflow//etc/passwd",
            "workflow/a/./b",
            "workflow/./../cache/store.json",
            "workflow/..\\x",
            "workflow/a\\..\\b",
            "workflow/C:x",
            "workflow/a\0b",
            "workflow/.git/config",
            "workflow/tools/.envrc",
            "workflow/.ribflow-import",
            // Some systems read these as `.git`: a full-width dot, and a zero-width character
            // before it.
            "workflow/\u{ff0e}git/config",
            "workflow/\u{200c}.git/config",
            "workflow/.g\u{200c}it/config",
            "workflow/cache/store.json",
            "workflow/cache/x.py",
            "workflow/sub/cache/records/x",
            "workflow/Cache/x",
            "workflow/CACHE",
            "workflow/\u{ff43}ache/x",
            "workflow/STORE.json",
            "workflow/sub/store.json",
            "workflow/a\u{202e}lmay.b",
            &long,
            &deep,
            "objects/ab/cd",
            "objects/ab",
            "records/ab/x/y.json",
            "tmp/x",
            "store.json",
            "cache/store.json",
            "Workflow/x",
            "",
        ] {
            assert!(fault(name).is_some(), "{name}");
        }
        let other = format!("records/cd/{key}/{key}.json");
        assert!(fault(&other).is_some(), "a key stands in its own folder");
    }

    #[test]
    fn no_path_is_another_on_any_file_system() {
        let add = |paths: &[&str]| {
            let mut known = Paths::default();
            paths.iter().find_map(|path| known.add(path))
        };
        assert_eq!(add(&["a/b", "a/c", "a.b", "a/d/e", "ab"]), None);
        for (paths, expected) in [
            (["a", "a"], "twice"),
            (["grid.yaml", "Grid.yaml"], "the same name"),
            (["tools/a", "Tools/b"], "the same name"),
            (["zz", "zz/x"], "a file and a folder"),
            (["zz/x", "zz"], "a file and a folder"),
            (["ZZ", "zz/x"], "the same name"),
            // é in one code point and in two.
            (["caf\u{e9}", "cafe\u{301}"], "the same name"),
            // The Kelvin sign, the ligature fi, a long s, a sharp s.
            (["\u{212a}", "k"], "the same name"),
            (["\u{fb01}t", "fit"], "the same name"),
            (["\u{17f}", "s"], "the same name"),
            (["stra\u{df}e", "STRASSE"], "the same name"),
        ] {
            let found = add(&paths).unwrap_or_default();
            assert!(found.contains(expected), "{paths:?}: {found}");
        }
    }
}
