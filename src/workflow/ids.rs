//! Ids of axis values: when two are equal, and how a word refers to one.
//!
//! Numbers are equal by value (`1e-3` is `0.001`, `1` is `1.0`), everything else by its characters.
//! A word refers to the id with the same spelling, or else to the number with the same value.

use serde_json::{Number, Value};

use super::expression::literal;

/// An id of an axis.
#[derive(Clone, Copy, Debug)]
pub struct Id<'a> {
    /// The form that enters keys and records: the same for `1e-3` and `0.001`. `1` and `1.0` stay
    /// different, because existing keys contain them.
    pub text: &'a str,
    /// As written in the file; used in names of nodes.
    pub written: &'a str,
    /// The id with its type.
    pub typed: &'a Value,
}

impl Id<'_> {
    /// Whether `value` is this id.
    pub fn is(&self, value: &Value) -> bool {
        if let (Value::Number(own), Value::Number(other)) = (self.typed, value) {
            return number_key(own) == number_key(other);
        }
        let label = label_of(value);
        label.is_some_and(|label| label == self.text || label == self.written)
    }

    /// Whether both are the same value of an axis, or share a name.
    pub fn is_same(&self, other: &Id) -> bool {
        self.is(other.typed) || other.is(self.typed) || self.written == other.written
    }

    fn is_written(&self, word: &str) -> bool {
        self.written == word || self.text == word
    }
}

/// The position of the id that `word` refers to.
pub fn find<'a>(word: &str, ids: impl Iterator<Item = Id<'a>> + Clone) -> Option<usize> {
    let written = ids.clone().position(|id| id.is_written(word));
    written.or_else(|| {
        let number = Some(literal(word)).filter(Value::is_number)?;
        let mut ids = ids;
        ids.position(|id| id.typed.is_number() && id.is(&number))
    })
}

/// A scalar as a label: the text of an axis value's id.
pub fn label_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether two texts of ids, whose types are unknown, may be equal.
pub fn alike(a: &str, b: &str) -> bool {
    a == b
        || match (literal(a), literal(b)) {
            (Value::Number(a), Value::Number(b)) => same_number(&a, &b),
            _ => false,
        }
}

/// The same key for every spelling of a number.
pub fn number_key(number: &Number) -> String {
    /// Larger floats are integers beyond the range of integers in a file.
    const LARGEST: f64 = 1e20;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < LARGEST => {
            format!("{}", float as i128)
        }
        _ => number.to_string(),
    }
}

/// Whether two numbers have the same value.
pub fn same_number(a: &Number, b: &Number) -> bool {
    number_key(a) == number_key(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(a: Value, b: Value) -> bool {
        match (&a, &b) {
            (Value::Number(a), Value::Number(b)) => same_number(a, b),
            _ => panic!("two numbers"),
        }
    }

    #[test]
    fn numbers_are_the_same_by_value() {
        assert!(same(json!(1), json!(1.0)));
        assert!(same(json!(0.001), json!(1e-3)));
        assert!(same(json!(0), json!(-0.0)));
        assert!(same(json!(1e19), json!(10_000_000_000_000_000_000_u64)));
        // Both are 2^53 as floats.
        assert!(!same(
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64)
        ));
        assert!(!same(json!(1), json!(1.5)));
        assert!(!same(json!(1e300), json!(1e301)));
    }

    #[test]
    fn a_word_finds_what_is_written_like_it_before_a_number_of_its_value() {
        let (number, text) = (json!(1), json!("1.0"));
        let id = |typed, written| Id {
            text: written,
            written,
            typed,
        };
        let ids = [id(&number, "1"), id(&text, "1.0")];
        let place = |word: &str| find(word, ids.iter().copied());
        assert_eq!(place("1"), Some(0));
        assert_eq!(place("1.0"), Some(1));
        assert_eq!(place("1e0"), Some(0));
        assert_eq!(place("2"), None);
        // A text is not a number, even if it looks like one.
        assert_eq!(find("1", ids[1..].iter().copied()), None);
    }
}
