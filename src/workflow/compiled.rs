//! Values and conditions with their names bound: evaluated once for each point of a stage, without
//! lookups by name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ids::label_of;
use super::values::{AxisPoint, Compared, Resolved};
use crate::diag::Place;

/// The values of a stage's axes at one of its points, in the order of its `each`.
pub type Point<'a> = [&'a AxisPoint];

/// What a path refers to.
#[derive(Clone, Debug)]
pub enum Bound {
    /// The same at every point.
    Fixed(Resolved),
    /// An axis of the stage, or a field of its value.
    Axis { slot: usize, fields: Vec<String> },
}

/// A value that may contain references.
#[derive(Clone, Debug)]
pub enum Compiled {
    Fixed(Resolved),
    Reference(Box<BoundReference>),
    Mixed(Vec<MixedPart>),
    List(Vec<Compiled>),
    Map(Vec<(String, Compiled)>),
}

#[derive(Clone, Debug)]
pub enum MixedPart {
    Plain(String),
    Reference(BoundReference),
}

#[derive(Clone, Debug)]
pub struct BoundReference {
    pub source: Bound,
    pub fallback: BoundFallback,
    pub place: Place,
    /// As written, for messages.
    pub path: String,
}

#[derive(Clone, Debug)]
pub enum BoundFallback {
    None,
    LeaveOut,
    Other(Bound),
}

/// Why a value can't be evaluated at a point.
pub struct EvalError {
    pub place: Place,
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Bound {
    pub fn resolve(&self, point: &Point) -> Resolved {
        match self {
            Self::Fixed(resolved) => resolved.clone(),
            Self::Axis { slot, fields } => point[*slot].field(fields),
        }
    }

    fn slots(&self, slots: &mut BTreeSet<usize>) {
        if let Self::Axis { slot, .. } = self {
            slots.insert(*slot);
        }
    }

    fn compared<'a>(&self, point: &Point<'a>) -> Compared<'a> {
        if let Self::Axis { slot, fields } = self
            && fields.is_empty()
        {
            return Compared::Id(point[*slot].id());
        }
        match self.resolve(point).present() {
            Some(value) => Compared::Plain(value.clone()),
            None => Compared::Absent,
        }
    }
}

impl BoundReference {
    pub fn eval(&self, point: &Point) -> Result<Resolved, EvalError> {
        let resolved = self.source.resolve(point);
        if resolved.present().is_some() {
            return Ok(resolved);
        }
        match &self.fallback {
            BoundFallback::LeaveOut => Ok(Resolved::default()),
            BoundFallback::Other(other) => {
                let other = other.resolve(point);
                self.must_be_there(other, "and neither is its fallback")
            }
            BoundFallback::None => self.must_be_there(resolved, "here"),
        }
    }

    fn must_be_there(&self, resolved: Resolved, rest: &str) -> Result<Resolved, EvalError> {
        if resolved.value.is_some() {
            return Ok(resolved);
        }
        let path = &self.path;
        Err(EvalError {
            place: self.place,
            code: "absent-value",
            message: format!("`{path}` is absent {rest}"),
            hint: Some(format!(
                "`${{{path}?}}` leaves the entry out, `${{{path}?other}}` takes another value"
            )),
        })
    }
}

impl Compiled {
    /// Collects the axes that the value depends on, as positions in `each`.
    pub fn slots(&self, slots: &mut BTreeSet<usize>) {
        match self {
            Self::Fixed(_) => {}
            Self::Reference(reference) => reference.slots(slots),
            Self::Mixed(parts) => parts.iter().for_each(|part| match part {
                MixedPart::Plain(_) => {}
                MixedPart::Reference(reference) => reference.slots(slots),
            }),
            Self::List(items) => items.iter().for_each(|item| item.slots(slots)),
            Self::Map(entries) => entries.iter().for_each(|(_, value)| value.slots(slots)),
        }
    }

    pub fn eval(&self, point: &Point) -> Result<Resolved, EvalError> {
        match self {
            Self::Fixed(resolved) => Ok(resolved.clone()),
            Self::Reference(reference) => reference.eval(point),
            Self::Mixed(parts) => eval_mixed(parts, point),
            Self::List(items) => {
                let mut made = Resolved::of(Value::Null);
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    let item = item.eval(point)?;
                    made.missing.extend(item.missing);
                    list.extend(item.value);
                }
                made.value = Some(Value::Array(list));
                Ok(made)
            }
            Self::Map(entries) => {
                let mut made = Resolved::of(Value::Null);
                let mut map = serde_json::Map::new();
                for (name, value) in entries {
                    let value = value.eval(point)?;
                    made.missing.extend(value.missing);
                    if let Some(value) = value.value {
                        map.insert(name.clone(), value);
                    }
                }
                made.value = Some(Value::Object(map));
                Ok(made)
            }
        }
    }
}

impl BoundReference {
    fn slots(&self, slots: &mut BTreeSet<usize>) {
        self.source.slots(slots);
        if let BoundFallback::Other(other) = &self.fallback {
            other.slots(slots);
        }
    }
}

/// The text that `parts` form; absent if one of them is to be omitted.
fn eval_mixed(parts: &[MixedPart], point: &Point) -> Result<Resolved, EvalError> {
    let mut text = String::new();
    let mut missing = Vec::new();
    for part in parts {
        let reference = match part {
            MixedPart::Plain(plain) => {
                text.push_str(plain);
                continue;
            }
            MixedPart::Reference(reference) => reference,
        };
        let resolved = reference.eval(point)?;
        missing.extend(resolved.missing);
        let Some(value) = resolved.value else {
            return Ok(Resolved::default());
        };
        let Some(inner) = label_of(&value) else {
            let path = &reference.path;
            let what = match value {
                Value::Array(_) => "a list",
                Value::Object(_) => "a map",
                _ => "null",
            };
            return Err(EvalError {
                place: reference.place,
                code: "wrong-type",
                message: format!("`{path}` is {what} here, which can't stand inside a text"),
                hint: None,
            });
        };
        text.push_str(&inner);
    }
    Ok(Resolved {
        value: Some(Value::String(text)),
        missing,
    })
}

/// A condition with its names bound.
#[derive(Clone, Debug)]
pub enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Constant(bool),
    Present(Bound),
    Equal(Bound, Bound),
    Unequal(Bound, Bound),
    InList(Bound, Vec<Bound>),
    InPath(Bound, Bound),
}

impl Test {
    pub fn holds(&self, point: &Point) -> bool {
        match self {
            Self::Any(tests) => tests.iter().any(|test| test.holds(point)),
            Self::All(tests) => tests.iter().all(|test| test.holds(point)),
            Self::Not(test) => !test.holds(point),
            Self::Constant(flag) => *flag,
            Self::Present(bound) => {
                let resolved = bound.resolve(point);
                resolved
                    .present()
                    .is_some_and(|value| *value != Value::Bool(false))
            }
            Self::Equal(a, b) => a.compared(point).equals(&b.compared(point)),
            Self::Unequal(a, b) => !a.compared(point).equals(&b.compared(point)),
            Self::InList(a, list) => {
                let a = a.compared(point);
                list.iter().any(|item| a.equals(&item.compared(point)))
            }
            Self::InPath(a, path) => {
                let a = a.compared(point);
                match path.resolve(point).present() {
                    Some(Value::Array(items)) => items
                        .iter()
                        .any(|item| a.equals(&Compared::Plain(item.clone()))),
                    _ => false,
                }
            }
        }
    }
}
