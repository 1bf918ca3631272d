//! Conditions: `test == domain and not method in ["ft", "lp"]`.

use serde_json::Value;

use super::cursor::{Cursor, error};
use super::{Path, SyntaxError, literal};
use crate::workflow::fields::is_label_byte;

#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Not(Box<Condition>),
    Constant(bool),
    /// A path alone: present, and not false.
    Present(Path),
    Equal(Operand, Operand),
    Unequal(Operand, Operand),
    In(Operand, Members),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Members {
    Path(Path),
    List(Vec<Operand>),
}

/// The maximum nesting of parentheses and `not`.
const DEPTH: usize = 64;

const WORDS: &[&str] = &["and", "or", "not", "in"];

impl Condition {
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::new(text);
        let condition = any(&mut cursor, 0)?;
        cursor.skip_spaces();
        if cursor.done() {
            return Ok(condition);
        }
        let mut error =
            cursor.error_here("the condition should end here, or go on with `and` or `or`");
        error.hint = operator_hint(cursor.rest());
        Err(error)
    }
}

/// Hints for operators of other languages.
fn operator_hint(rest: &str) -> Option<String> {
    let hint = match () {
        () if rest.starts_with('=') => "equality is `==`",
        () if rest.starts_with("&&") => "write `and`",
        () if rest.starts_with("||") => "write `or`",
        () if rest.starts_with('!') => "write `not`, or `!=` between two values",
        () if rest.starts_with(['<', '>']) => "there is no order: only `==`, `!=` and `in`",
        () if rest.starts_with("${") => "a condition names paths as they are, without `${ }`",
        () if rest.starts_with('\'') => "texts go in double quotes",
        () => return None,
    };
    Some(hint.to_string())
}

fn any(cursor: &mut Cursor, depth: usize) -> Result<Condition, SyntaxError> {
    let mut parts = vec![all(cursor, depth)?];
    while keyword(cursor, "or") {
        parts.push(all(cursor, depth)?);
    }
    Ok(one_or(parts, Condition::Any))
}

fn all(cursor: &mut Cursor, depth: usize) -> Result<Condition, SyntaxError> {
    let mut parts = vec![test(cursor, depth)?];
    while keyword(cursor, "and") {
        parts.push(test(cursor, depth)?);
    }
    Ok(one_or(parts, Condition::All))
}

fn one_or(mut parts: Vec<Condition>, several: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            several(parts)
        }
    }
}

fn test(cursor: &mut Cursor, depth: usize) -> Result<Condition, SyntaxError> {
    if depth > DEPTH {
        return Err(cursor.error_here(format!("a condition is nested at most {DEPTH} deep")));
    }
    if keyword(cursor, "not") {
        return Ok(Condition::Not(Box::new(test(cursor, depth + 1)?)));
    }
    cursor.skip_spaces();
    if cursor.eat("(") {
        let inner = any(cursor, depth + 1)?;
        cursor.skip_spaces();
        cursor.expect(")")?;
        return Ok(inner);
    }
    comparison(cursor)
}

fn comparison(cursor: &mut Cursor) -> Result<Condition, SyntaxError> {
    let start = cursor.at;
    let left = operand(cursor)?;
    cursor.skip_spaces();
    if cursor.eat("==") {
        return Ok(Condition::Equal(left, operand(cursor)?));
    }
    if cursor.eat("!=") {
        return Ok(Condition::Unequal(left, operand(cursor)?));
    }
    if keyword(cursor, "in") {
        return Ok(Condition::In(left, members(cursor)?));
    }
    match left {
        Operand::Path(path) => Ok(Condition::Present(path)),
        Operand::Literal(Value::Bool(flag)) => Ok(Condition::Constant(flag)),
        Operand::Literal(_) => {
            let mut alone = error(cursor.since(start), "a value alone is not a condition");
            alone.hint = Some("compare it: `method == \"ft\"`".to_string());
            Err(alone)
        }
    }
}

fn members(cursor: &mut Cursor) -> Result<Members, SyntaxError> {
    cursor.skip_spaces();
    if !cursor.eat("[") {
        return match operand(cursor)? {
            Operand::Path(path) => Ok(Members::Path(path)),
            Operand::Literal(_) => {
                let mut wrong = cursor.error_here("`in` takes a list or a path to one");
                wrong.hint = Some("write `in [\"a\", \"b\"]`".to_string());
                Err(wrong)
            }
        };
    }
    let mut list = vec![operand(cursor)?];
    loop {
        cursor.skip_spaces();
        if cursor.eat("]") {
            return Ok(Members::List(list));
        }
        cursor.expect(",")?;
        list.push(operand(cursor)?);
    }
}

fn operand(cursor: &mut Cursor) -> Result<Operand, SyntaxError> {
    cursor.skip_spaces();
    if let Some(text) = cursor.quoted()? {
        return Ok(Operand::Literal(Value::from(text)));
    }
    let start = cursor.at;
    let word = cursor.word();
    let range = cursor.since(start);
    let value = literal(word);
    if value.is_number() || value.is_boolean() {
        return Ok(Operand::Literal(value));
    }
    if WORDS.contains(&word) {
        return Err(error(range, format!("a value is expected before `{word}`")));
    }
    cursor.at = start;
    if word.is_empty() {
        let mut missing =
            cursor.error_here("a path, a number or a text in quotes is expected here");
        missing.hint = operator_hint(cursor.rest());
        return Err(missing);
    }
    let path = cursor.path();
    match path {
        Ok(path) if path.range == range => Ok(Operand::Path(path)),
        _ => {
            let mut label = error(range, format!("`{word}` is not a path"));
            label.hint = Some(format!("a label goes in quotes: \"{word}\""));
            Err(label)
        }
    }
}

/// Takes `word` if it comes next as a whole word.
fn keyword(cursor: &mut Cursor, word: &str) -> bool {
    let start = cursor.at;
    cursor.skip_spaces();
    let ends = |rest: &str| !rest.bytes().next().is_some_and(is_label_byte);
    if cursor.eat(word) && ends(cursor.rest()) {
        return true;
    }
    cursor.at = start;
    false
}
