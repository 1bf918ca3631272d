//! Reads which module of a package imports which, for the rules in `house`. It takes every path
//! that begins with `crate`, `self` or `super`, in `use` trees and in code, and follows `pub use`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module or an item, from the root of the package.
pub type ItemPath = Vec<String>;

pub struct Import {
    pub file: String,
    pub line: usize,
    pub from: ItemPath,
    pub to: ItemPath,
}

#[derive(Default)]
pub struct Package {
    pub imports: Vec<Import>,
    /// The modules that have a file of their own.
    modules: BTreeSet<ItemPath>,
    /// What `mod name;` declares.
    declared: BTreeSet<ItemPath>,
    /// Where `pub use` gets an item from.
    exports: BTreeMap<ItemPath, ItemPath>,
}

impl Package {
    /// Reads the package whose root file is in `root`. Names in `without` are not part of it.
    pub fn read(root: &Path, without: &[&str]) -> Self {
        let mut package = Self::default();
        let files: Vec<(PathBuf, ItemPath)> = rust_files(root)
            .into_iter()
            .map(|file| (module_of_file(file.strip_prefix(root).unwrap()), file))
            .filter(|(module, _)| {
                module
                    .first()
                    .is_none_or(|name| !without.contains(&&**name))
            })
            .map(|(module, file)| (file, module))
            .collect();
        package.modules = files.iter().map(|(_, module)| module.clone()).collect();
        for (file, module) in &files {
            let shown = file.strip_prefix(root).unwrap().display().to_string();
            package.read_file(&shown, module, &fs::read_to_string(file).unwrap());
        }
        let mut imports = std::mem::take(&mut package.imports);
        for import in &mut imports {
            import.to = package.resolved(std::mem::take(&mut import.to));
        }
        package.imports = imports;
        package
    }

    fn read_file(&mut self, file: &str, module: &[String], code: &str) {
        let tokens = tokens(code);
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        // The blocks that are open, and for those of `mod name { … }` the name.
        let mut blocks: Vec<Option<&str>> = Vec::new();
        let mut export = false;
        for at in 0..tokens.len() {
            let scope = || {
                module
                    .iter()
                    .map(String::as_str)
                    .chain(blocks.iter().copied().flatten())
            };
            let before = at.checked_sub(1).map_or("", text);
            match text(at) {
                "{" => blocks.push((at > 1 && text(at - 2) == "mod").then_some(before)),
                "}" => drop(blocks.pop()),
                ";" if at > 1 && text(at - 2) == "mod" => {
                    self.declared.insert(owned(scope().chain([before])));
                }
                "use" => export = before == "pub" || before == ")",
                "crate" | "self" | "super" if text(at + 1) == "::" && before != "::" => {
                    for (path, name) in tree(&tokens, at).0 {
                        let to = absolute(owned(scope()), &path);
                        if export && before == "use" {
                            self.exports
                                .insert(owned(scope().chain([name])), to.clone());
                        }
                        self.imports.push(Import {
                            file: file.to_string(),
                            line: tokens[at].line,
                            from: module.to_vec(),
                            to,
                        });
                    }
                }
                // `pub use child::Item`
                _ if export && before == "use" => {
                    for (path, name) in tree(&tokens, at).0 {
                        let child = owned(scope().chain(path.first().copied()));
                        if self.modules.contains(&child) {
                            let to = owned(scope().chain(path.iter().copied()));
                            self.exports.insert(owned(scope().chain([name])), to);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The path with every `pub use` on its way followed.
    fn resolved(&self, mut path: ItemPath) -> ItemPath {
        for _ in 0..8 {
            let exported = (1..=path.len()).rev().find_map(|length| {
                let target = self.exports.get(&path[..length])?;
                Some(target.iter().chain(&path[length..]).cloned().collect())
            });
            match exported {
                Some(target) if target != path => path = target,
                _ => break,
            }
        }
        path
    }

    /// Files that no `mod` declares: the compiler never reads them.
    pub fn forgotten(&self) -> Vec<String> {
        let files = self.modules.difference(&self.declared);
        let files = files.filter(|module| !module.is_empty());
        files.map(|module| module.join("::")).collect()
    }

    /// For every folder, the sets of its files and subfolders that import one another in a circle.
    /// A folder's own `mod.rs` counts for none of them: it may use its files, and they may use it.
    pub fn circles(&self) -> Vec<(String, BTreeSet<String>)> {
        let mut arrows: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for import in &self.imports {
            let target = (0..=import.to.len())
                .rev()
                .find(|length| self.modules.contains(&import.to[..*length]));
            let target = &import.to[..target.unwrap_or(0)];
            let shared = import
                .from
                .iter()
                .zip(target)
                .take_while(|(a, b)| a == b)
                .count();
            if let (Some(from), Some(to)) = (import.from.get(shared), target.get(shared)) {
                let folder = arrows.entry(&import.from[..shared]).or_default();
                folder.entry(from).or_default().insert(to);
            }
        }
        let mut circles = BTreeSet::new();
        for (folder, arrows) in &arrows {
            let reached: BTreeMap<&str, BTreeSet<&str>> = arrows
                .keys()
                .map(|name| (*name, reach(arrows, name)))
                .collect();
            for (name, forth) in &reached {
                let back =
                    |other: &&&str| reached.get(**other).is_some_and(|back| back.contains(name));
                let circle: BTreeSet<String> = forth
                    .iter()
                    .filter(back)
                    .map(|name| name.to_string())
                    .collect();
                if !circle.is_empty() {
                    circles.insert((folder.join("::"), circle));
                }
            }
        }
        circles.into_iter().collect()
    }
}

/// Everything that can be reached from `start` by one arrow or more.
fn reach<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = arrows.get(start).into_iter().flatten().copied().collect();
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(arrows.get(name).into_iter().flatten());
        }
    }
    reached
}

fn owned<'a>(path: impl Iterator<Item = &'a str>) -> ItemPath {
    path.map(str::to_string).collect()
}

fn absolute(mut scope: ItemPath, path: &[&str]) -> ItemPath {
    for name in path {
        match *name {
            "crate" => scope.clear(),
            "self" => {}
            "super" => drop(scope.pop()),
            name => scope.push(name.to_string()),
        }
    }
    scope
}

/// A path of a `use` tree, and the name that it has from there on.
type Leaf<'a> = (Vec<&'a str>, &'a str);

/// The paths of the tree that begins at a token, and the token after it.
fn tree<'a>(tokens: &[Token<'a>], mut at: usize) -> (Vec<Leaf<'a>>, usize) {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let first = text(at);
    if first == "{" {
        let mut leaves = Vec::new();
        at += 1;
        while !["}", ""].contains(&text(at)) {
            if text(at) == "," {
                at += 1;
                continue;
            }
            let (more, end) = tree(tokens, at);
            leaves.extend(more);
            at = end;
        }
        return (leaves, at + 1);
    }
    let goes_on = text(at + 2) == "{" || text(at + 2) == "*" || is_word(text(at + 2));
    if text(at + 1) == "::" && goes_on {
        let (mut leaves, end) = tree(tokens, at + 2);
        for (path, name) in &mut leaves {
            path.insert(0, first);
            if *name == "self" {
                *name = first;
            }
        }
        return (leaves, end);
    }
    match (first, text(at + 1)) {
        ("*", _) => (vec![(Vec::new(), first)], at + 1),
        (_, "as") => (vec![(vec![first], text(at + 2))], at + 3),
        _ => (vec![(vec![first], first)], at + 1),
    }
}

struct Token<'a> {
    text: &'a str,
    line: usize,
}

fn is_word(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
}

/// Words, `::` and single signs; comments, texts and characters left out.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = code;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let word = word.unwrap_or(rest.len());
        let (length, kept) = match first {
            '/' if rest.starts_with("//") => (until(rest, 2, "\n"), false),
            '/' if rest.starts_with("/*") => (until(rest, 2, "*/"), false),
            '"' => (quoted(rest, '"'), false),
            '\'' if rest[1..].starts_with('\\') => (quoted(rest, '\''), false),
            '\'' => {
                let letter = rest[1..].chars().next().map_or(0, char::len_utf8);
                let is_character = rest[1 + letter..].starts_with('\'');
                (if is_character { letter + 2 } else { 1 }, false)
            }
            'r' | 'b' if word <= 2 && rest[..word].ends_with('r') && is_raw(&rest[word..]) => {
                let marks = rest[word..].find('"').unwrap();
                let end = format!("\"{}", "#".repeat(marks));
                (until(rest, word + marks + 1, &end), false)
            }
            _ if word > 0 => (word, true),
            ':' if rest.starts_with("::") => (2, true),
            _ => (first.len_utf8(), !first.is_whitespace()),
        };
        if kept {
            found.push(Token {
                text: &rest[..length],
                line,
            });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// Where a piece of code ends that goes from `start` to `end`.
fn until(code: &str, start: usize, end: &str) -> usize {
    code[start..]
        .find(end)
        .map_or(code.len(), |at| start + at + end.len())
}

fn quoted(code: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in code.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn is_raw(code: &str) -> bool {
    code.trim_start_matches('#').starts_with('"')
}

/// Every `.rs` file under a folder.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// `store/gc/mod.rs` is `store::gc`; `lib.rs` and `main.rs` are the root.
fn module_of_file(file: &Path) -> ItemPath {
    let mut path: ItemPath = file
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_string())
        .collect();
    let is_root = path.len() == 1 && ["lib", "main"].contains(&&*path[0]);
    if is_root || path.last().is_some_and(|name| name == "mod") {
        path.pop();
    }
    path
}

#[test]
fn paths_are_read_from_braces_code_and_re_exports() {
    let code = r##"
        use crate::{store::{self, gc::Plan as P}, yaml};
        use super::super::diag::Problems; // crate::comment
        pub(super) use deep::Item;
        const TEXT: &str = "crate::text"; const RAW: &str = r#"crate::"raw""#;
        fn run<'a>(quote: char) -> crate::ui::Live<'a> { crate::fsx::write::<u8>('"') }
        mod tests { use super::own; }
    "##;
    let mut package = Package::default();
    let here = ["a", "b"].map(str::to_string).to_vec();
    package
        .modules
        .insert([&here[..], &["deep".to_string()]].concat());
    package.read_file("a/b/mod.rs", &here, code);
    let paths: Vec<String> = package
        .imports
        .iter()
        .map(|import| import.to.join("::"))
        .collect();
    let expected = [
        "store",
        "store::gc::Plan",
        "yaml",
        "diag::Problems",
        "ui::Live",
        "fsx::write",
        "a::b::own",
    ];
    assert_eq!(paths, expected);
    let item = ["a", "b", "Item"].map(str::to_string).to_vec();
    assert_eq!(package.resolved(item).join("::"), "a::b::deep::Item");
}
