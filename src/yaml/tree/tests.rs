//! The two readers of YAML agree, and neither panics, whatever the text.

use proptest::prelude::*;

use super::*;
use crate::diag::SourceText;

const REAL: &[&str] = &[
    include_str!("../../../tests/language/mini-rib.yaml"),
    include_str!("../../../tests/language/my-images.yaml"),
    include_str!("../../../tests/language/imagenet-c.yaml"),
];

/// What YAML is made of, and what breaks it.
const PIECES: &[&str] = &[
    "a", "b", "key: ", "x: 1\n", "- ", "-", ": ", ":", "\n", "\n  ", "\n    ", "  ", " ", "[", "]",
    "{", "}", ", ", "\"", "'", "#", " # c\n", "|\n", ">-\n", "&x ", "*x", "!t ", "!!str ", "é",
    "汉", "\t", "---\n", "...\n", "null", "~", "1", "1.5", "true", "\r\n", "? ", "<<: ", "%", "@",
    "`", "\\", "\\n", "${a?}", "a[b=c]", "\u{feff}", "\u{2028}", "\0", "=", "0x1F", "017", "1e3",
    ".inf",
];

/// A real file with some of its bytes cut, doubled or replaced by pieces.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0_usize..12, 0..PIECES.len());
    let edits = prop::collection::vec(edit, 1..6);
    (0..REAL.len(), edits).prop_map(|(file, edits)| {
        let mut letters: Vec<char> = REAL[file].chars().collect();
        for (at, cut, piece) in edits {
            let at = at.index(letters.len() + 1);
            let end = (at + cut).min(letters.len());
            letters.splice(at..end, PIECES[piece].chars());
        }
        letters.into_iter().collect()
    })
}

fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

/// The tree of `text`, and the codes of what was found.
fn read(text: &str) -> (Option<Tree>, Vec<String>) {
    let mut problems = Problems::default();
    let source = problems.add_source(SourceText::new("test", text));
    let tree = parse(&mut problems, source, &Limits::default());
    let codes = match problems.finish() {
        Ok(_) => Vec::new(),
        Err(found) => found.0.into_iter().map(|one| one.code).collect(),
    };
    (tree, codes)
}

/// `tree` as serde_yaml alone would give it.
fn plain(tree: &Tree) -> Value {
    match &tree.content {
        Content::List(items) => items.iter().map(plain).collect(),
        Content::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), plain(&entry.value)))
            .collect(),
        _ => tree.scalar().unwrap_or_default(),
    }
}

/// Every place lies inside the text, on boundaries of characters, and what is plain there is what
/// was read.
fn check_places(text: &str, tree: &Tree) {
    let written = |place: Place| text.get(place.span.start..place.span.end);
    let shown = written(tree.place).expect("a place inside the text");
    if let Content::Text(value) = &tree.content
        && !shown.starts_with(['"', '\'', '|', '>'])
        && !shown.contains('\n')
        && !value.contains('\n')
    {
        assert_eq!(shown, value);
    }
    tree.items()
        .iter()
        .for_each(|item| check_places(text, item));
    for entry in tree.entries() {
        let key = written(entry.key_place).expect("a key inside the text");
        // What spans lines is folded or indented.
        let folded = key.contains('\n') || entry.key.contains('\n');
        assert!(key.contains(&entry.key) || key.starts_with(['"', '\'']) || folded);
        check_places(text, &entry.value);
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let (tree, codes) = read(text);
    prop_assert!(tree.is_some() || !codes.is_empty());
    // They split lines at different characters, take `?` before a letter differently, and that is
    // all they differ in.
    let odd = text.contains(['\u{2028}', '\u{2029}', '\u{85}', '\u{feff}', '\r', '|', '>'])
        || ["{?", "[?", ",?", " ?"]
            .iter()
            .any(|key| text.contains(key));
    prop_assert!(
        odd || !codes.iter().any(|code| code == "ambiguous-yaml"),
        "{text:?}"
    );
    if let Some(tree) = tree {
        check_places(text, &tree);
        let value: Value = serde_yaml::from_str(text).unwrap_or_default();
        prop_assert_eq!(plain(&tree), value);
    }
    Ok(())
}

#[test]
fn what_was_once_found() {
    // A folded key, whose place begins below its mark.
    check("? >-\n\n  [").unwrap();
    // A line to one reader only, and so a tag to one of them.
    check("\u{2028}!t 1").unwrap();
    assert!(read("\u{2028}!t 1").0.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2000)
    })]

    #[test]
    fn mutated_files(text in mutated()) {
        check(&text)?;
    }

    #[test]
    fn arbitrary_pieces(text in pieces()) {
        check(&text)?;
    }

    #[test]
    fn arbitrary_text(text in "\\PC{0,60}") {
        check(&text)?;
    }
}
