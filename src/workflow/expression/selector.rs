//! Selectors: `tuned[method=ft|ewc, seed=*].model`.

use super::cursor::{Cursor, error};
use super::{Path, Range, SyntaxError};
use crate::workflow::fields::is_label;

/// Nodes of a stage, and optionally one of their outputs or metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    pub stage: String,
    pub stage_range: Range,
    pub picks: Vec<Pick>,
    /// Gathers every axis that is neither named nor shared: `[*]`.
    pub all: bool,
    /// The name after the dot.
    pub name: Option<(String, Range)>,
}

/// `axis=…`
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    pub axis: String,
    pub range: Range,
    pub values: Picked,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Picked {
    /// `*`
    All,
    Values(Vec<Value>),
}

/// One value of a pick.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub word: String,
    /// In quotes, therefore always a label.
    pub quoted: bool,
    /// The word as a path, if it can be one.
    pub path: Option<Path>,
    pub range: Range,
}

impl Selector {
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::new(text);
        cursor.skip_spaces();
        let start = cursor.at;
        let stage = cursor.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if stage.is_empty() {
            let mut missing = cursor.error_here("the name of a stage is expected here");
            if cursor.rest().starts_with("${") {
                missing.hint =
                    Some("a selector pins an axis by its name: `images[test=domain]`".to_string());
            }
            return Err(missing);
        }
        let mut selector = Self {
            stage: stage.to_string(),
            stage_range: cursor.since(start),
            picks: Vec::new(),
            all: false,
            name: None,
        };
        if cursor.eat("[") {
            picks(&mut cursor, &mut selector)?;
        }
        if cursor.eat(".") {
            let start = cursor.at;
            // Metrics may have names such as `top1` or `per_class.a`.
            let mut name = cursor.word().to_string();
            if name.is_empty() {
                return Err(cursor.error_here("the name of an output is expected after the dot"));
            }
            // Metrics of parts: `ri[r]`.
            if cursor.eat("[") {
                name = format!("{name}[{}]", cursor.word());
                cursor.expect("]").map_err(|mut missing| {
                    missing.hint = output_last(text, start);
                    missing
                })?;
            }
            selector.name = Some((name, cursor.since(start)));
        }
        cursor.skip_spaces();
        if cursor.done() {
            return Ok(selector);
        }
        let mut rest = cursor.error_here("the selector should end here");
        rest.hint = Some(
            "a selector is `stage`, `stage[axis=value]` or `stage[*]`, with `.output` after it"
                .to_string(),
        );
        Err(rest)
    }
}

/// The selector with the brackets in front of the output that starts at `dot`, if it is written the
/// other way round.
fn output_last(text: &str, start: usize) -> Option<String> {
    let (output, picks) = text.get(start..)?.split_once('[')?;
    let stage = text.get(..start)?.trim_end_matches('.').trim();
    let is_selector = !stage.contains('[') && picks.trim_end().ends_with(']');
    is_selector.then(|| {
        format!(
            "the output comes last: `{stage}[{}.{output}`",
            picks.trim_end()
        )
    })
}

fn picks(cursor: &mut Cursor, selector: &mut Selector) -> Result<(), SyntaxError> {
    loop {
        cursor.skip_spaces();
        if cursor.eat("*") {
            selector.all = true;
        } else {
            let pick = pick(cursor)?;
            if selector
                .picks
                .iter()
                .any(|earlier| earlier.axis == pick.axis)
            {
                return Err(error(
                    pick.range,
                    format!("axis `{}` is picked twice", pick.axis),
                ));
            }
            selector.picks.push(pick);
        }
        cursor.skip_spaces();
        if cursor.eat("]") {
            return Ok(());
        }
        cursor.expect(",").map_err(|mut missing| {
            missing.message = "`,` or `]` is expected here".to_string();
            missing
        })?;
    }
}

fn pick(cursor: &mut Cursor) -> Result<Pick, SyntaxError> {
    let start = cursor.at;
    let axis = cursor.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let range = cursor.since(start);
    if axis.is_empty() {
        return Err(cursor.error_here("`axis=value` or `*` is expected here"));
    }
    cursor.skip_spaces();
    if !cursor.eat("=") {
        let mut missing = error(range, format!("`{axis}` needs a value: `{axis}=…`"));
        missing.hint = Some(format!("`{axis}=*` gathers the axis"));
        return Err(missing);
    }
    cursor.skip_spaces();
    if cursor.rest().starts_with('=') {
        let mut twice = cursor.error_here("a pick has one `=`");
        twice.hint = Some(format!("write `{axis}=…`"));
        return Err(twice);
    }
    let values = if cursor.eat("*") {
        Picked::All
    } else {
        let mut values = vec![value(cursor)?];
        cursor.skip_spaces();
        while cursor.eat("|") {
            cursor.skip_spaces();
            values.push(value(cursor)?);
            cursor.skip_spaces();
        }
        Picked::Values(values)
    };
    Ok(Pick {
        axis: axis.to_string(),
        range,
        values,
    })
}

fn value(cursor: &mut Cursor) -> Result<Value, SyntaxError> {
    let start = cursor.at;
    if let Some(word) = cursor.quoted()? {
        return Ok(Value {
            word: word.to_string(),
            quoted: true,
            path: None,
            range: cursor.since(start),
        });
    }
    let word = cursor.word();
    let range = cursor.since(start);
    if !is_label(word) {
        cursor.at = start;
        return Err(cursor.error_here("a label, a path or a text in quotes is expected here"));
    }
    let mut again = Cursor::new(word);
    let path = again.path().ok().filter(|_| again.done());
    Ok(Value {
        word: word.to_string(),
        quoted: false,
        path: path.map(|path| Path { range, ..path }),
        range,
    })
}
