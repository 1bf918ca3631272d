//! Finds the name that another form of it means: `batch_size` for `batch`, `eval` for `evaluate`,
//! `learning_rate` for `lr`.

/// Shorter beginnings and words are in too many names.
const SHORTEST: usize = 3;

/// The one name in `known` that is a word or the beginning of `wrong`, of which `wrong` is one, or
/// that has the initials of the other.
pub fn other_form<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let rules: [&dyn Fn(&str) -> bool; 3] = [
        &|name| has_word(wrong, name) || has_word(name, wrong),
        &|name| begins(wrong, name) || begins(name, wrong),
        &|name| initials(wrong) == name || initials(name) == wrong,
    ];
    let fitting = |rule: &dyn Fn(&str) -> bool| {
        let names = known.iter().copied().filter(|name| rule(name));
        names.collect::<Vec<&str>>()
    };
    // The first rule that fits any name decides: several names are several meanings.
    let found = rules
        .into_iter()
        .map(fitting)
        .find(|names| !names.is_empty());
    match found.as_deref() {
        Some([only]) => Some(only),
        _ => None,
    }
}

fn has_word(text: &str, word: &str) -> bool {
    word.len() >= SHORTEST && words(text).any(|one| one == word)
}

fn begins(text: &str, beginning: &str) -> bool {
    beginning.len() >= SHORTEST && text.starts_with(beginning)
}

/// The initials of several words; empty for one.
fn initials(text: &str) -> String {
    let letters: String = words(text).filter_map(|word| word.chars().next()).collect();
    match letters.chars().count() {
        0 | 1 => String::new(),
        _ => letters,
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(['_', '-']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_form_of_a_name_is_found_if_there_is_one() {
        let known = ["epochs", "lr", "batch", "weight_decay", "evaluate", "data"];
        for (wrong, right) in [
            ("batch_size", Some("batch")),
            ("num_epochs", Some("epochs")),
            ("learning_rate", Some("lr")),
            ("wd", Some("weight_decay")),
            ("decay", Some("weight_decay")),
            ("eval", Some("evaluate")),
            ("dataset", Some("data")),
            ("da", None),
            ("", None),
            ("momentum", None),
        ] {
            assert_eq!(other_form(wrong, &known), right, "{wrong}");
        }
        // Both are meant as much.
        assert_eq!(other_form("batch_epochs", &known), None);
        assert_eq!(other_form("l", &["l_a", "l_b"]), None);
    }
}
