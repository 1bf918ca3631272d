//! How an input selects nodes of another stage: which of its axes are shared, pinned or gathered.
//! Computed once for each selector, so that a point only needs to look up indices.

use std::sync::Arc;

use super::compiled::Bound;
use super::expression::report_syntax;
use super::expression::selector::{Pick, Picked, Selector, Value as PickValue};
use super::fields::Text;
use super::ids::label_of;
use super::names::{Names, Scope};
use super::values::{AxisValues, Resolved};
use crate::diag::{Place, Problems, suggest};

/// What other stages need to know about a stage to join it.
pub struct StageHeader {
    pub name: String,
    pub place: Place,
    /// Axis names, in the order of `each`.
    pub each: Vec<String>,
    /// The values of each axis; `None` if an axis could not be resolved.
    pub axes: Option<Vec<Arc<AxisValues>>>,
}

impl StageHeader {
    /// The number of points of the stage before any is skipped.
    pub fn points(&self) -> u64 {
        let sizes = self
            .axes
            .iter()
            .flatten()
            .map(|axis| axis.values.len() as u64);
        sizes.fold(1, u64::saturating_mul)
    }
}

/// A selector, bound to the stage that uses it.
pub struct Join {
    pub place: Place,
    /// The stage it selects from.
    pub stage: usize,
    pub port: Option<(String, Place)>,
    /// For each axis of that stage, in the order of its `each`.
    pub picks: Vec<AxisPick>,
    /// The axes, outermost first, in the order in which members are listed: those with a written
    /// order as written, then the others by name.
    pub order: Vec<usize>,
}

pub enum AxisPick {
    /// The axis at this position of the using stage's `each`.
    Shared(usize),
    /// Every value, by id.
    All,
    Pinned(Vec<Pin>),
}

/// One value of a pick.
pub enum Pin {
    Fixed(Pinned),
    /// Depends on the value of one axis of the using stage.
    BySlot {
        slot: usize,
        table: Vec<Pinned>,
    },
}

/// Values of the picked axis, or why there are none.
#[derive(Clone)]
pub enum Pinned {
    One(u32),
    /// Values of a list, which are gathered.
    List(Vec<u32>),
    Wrong {
        message: String,
        hint: Option<String>,
    },
}

/// Binds `selector`. `None` after a problem, including one in a stage that it uses.
pub fn compile(
    selector: &Text,
    scope: Scope,
    heads: &[StageHeader],
    names: &mut Names,
    problems: &mut Problems,
) -> Option<Join> {
    let parsed = match Selector::parse(&selector.text) {
        Ok(parsed) => parsed,
        Err(error) => {
            report_syntax(&selector.text, selector.place, error, problems);
            return None;
        }
    };
    let at = |range: super::expression::Range, problems: &Problems| {
        problems.inside(selector.place, &selector.text, range.start, range.end)
    };
    let Some(stage) = heads.iter().position(|head| head.name == parsed.stage) else {
        let known = || heads.iter().map(|head| head.name.as_str());
        let message = format!("the workflow has no stage `{}`", parsed.stage);
        let place = at(parsed.stage_range, problems);
        let found = problems.error(place, "unknown-stage", message);
        found.suggest(&parsed.stage, "stages", known());
        return None;
    };
    let head = &heads[stage];
    let axes = head.axes.as_ref()?;
    check_picked_axes(
        &parsed,
        head,
        |range, problems| at(range, problems),
        problems,
    )?;
    let mut picks = Vec::new();
    let mut sound = true;
    for axis in axes {
        let pick = parsed.picks.iter().find(|pick| pick.axis == axis.name);
        let bound = match pick {
            Some(pick) => {
                let mut binder = Binder {
                    axis,
                    scope,
                    names,
                    place: &|range, problems: &Problems| at(range, problems),
                };
                binder.pick(pick, problems)
            }
            None => match scope.slot(&axis.name) {
                Some(slot) => Some(AxisPick::Shared(slot)),
                None if parsed.all => Some(AxisPick::All),
                None => {
                    unmatched(&parsed, &axis.name, selector.place, problems);
                    None
                }
            },
        };
        match bound {
            Some(bound) => picks.push(bound),
            None => sound = false,
        }
    }
    sound.then(|| Join {
        place: selector.place,
        stage,
        port: parsed
            .name
            .clone()
            .map(|(name, range)| (name, at(range, problems))),
        order: order(&parsed, &picks, head),
        picks,
    })
}

fn check_picked_axes(
    selector: &Selector,
    head: &StageHeader,
    at: impl Fn(super::expression::Range, &Problems) -> Place,
    problems: &mut Problems,
) -> Option<()> {
    let mut sound = Some(());
    for pick in &selector.picks {
        if head.each.contains(&pick.axis) {
            continue;
        }
        let known = || head.each.iter().map(String::as_str);
        let message = format!("stage `{}` has no axis `{}`", head.name, pick.axis);
        let place = at(pick.range, problems);
        let found = problems.error(place, "unknown-axis", message);
        found.suggest(&pick.axis, "axes", known());
        sound = None;
    }
    sound
}

fn unmatched(selector: &Selector, axis: &str, place: Place, problems: &mut Problems) {
    let stage = &selector.stage;
    let message = format!(
        "`{stage}` has an axis `{axis}` that this stage does not have and the selector does not pick"
    );
    let found = problems.error(place, "unmatched-axis", message);
    found.hint(format!(
        "pin it (`{stage}[{axis}=…]`), gather it (`{stage}[{axis}=*]`), or add `{axis}` to `each`"
    ));
}

/// Written orders first, in the order of the picks; then gathered axes by name; other axes have one
/// value.
fn order(selector: &Selector, picks: &[AxisPick], head: &StageHeader) -> Vec<usize> {
    let mut order: Vec<usize> = (0..picks.len()).collect();
    order.sort_by_key(|slot| {
        let name = head.each[*slot].as_str();
        let written = selector.picks.iter().position(|pick| pick.axis == name);
        match (&picks[*slot], written) {
            (AxisPick::Pinned(_), Some(at)) => (0, at, ""),
            (AxisPick::All, _) => (1, 0, name),
            _ => (2, 0, name),
        }
    });
    order
}

struct Binder<'b, 'n> {
    axis: &'b Arc<AxisValues>,
    scope: Scope<'b>,
    names: &'b mut Names<'n>,
    place: &'b dyn Fn(super::expression::Range, &Problems) -> Place,
}

impl Binder<'_, '_> {
    fn pick(&mut self, pick: &Pick, problems: &mut Problems) -> Option<AxisPick> {
        let values = match &pick.values {
            Picked::All => return Some(AxisPick::All),
            Picked::Values(values) => values,
        };
        let pins = values.iter().map(|value| self.pin(value, problems));
        let pins: Vec<Option<Pin>> = pins.collect();
        let pins: Vec<Pin> = pins.into_iter().collect::<Option<_>>()?;
        Some(AxisPick::Pinned(pins))
    }

    fn pin(&mut self, value: &PickValue, problems: &mut Problems) -> Option<Pin> {
        let place = (self.place)(value.range, problems);
        if let Some(path) = &value.path
            && self.names.begins_path(path, self.scope)
        {
            if path.names.len() == 1 {
                self.check_ambiguous(&value.word, place, problems)?;
            }
            let bound = self.names.bind(path, self.scope, place, problems)?;
            return self.bound(bound, &value.word, place, problems);
        }
        match self.axis.find(&value.word) {
            Some(index) => Some(Pin::Fixed(Pinned::One(index))),
            None => {
                let (message, hint) = self.no_value(&value.word);
                let found = problems.error(place, "unknown-value", message);
                found.maybe_hint(hint);
                let word = value.path.as_ref().map_or("", |path| path.first());
                if !value.quoted && self.names.axis_position(word).is_some() {
                    found.hint(format!("to use the axis `{word}`, add it to `each`"));
                }
                None
            }
        }
    }

    /// Reports `[axis=x]` where x is both an axis and a label.
    fn check_ambiguous(&mut self, word: &str, place: Place, problems: &mut Problems) -> Option<()> {
        let axis = self.axis.name.clone();
        if !self.names.known(&axis).ids.contains(word) {
            return Some(());
        }
        let message =
            format!("`{word}` is an axis of this stage and also a value of axis `{axis}`");
        let found = problems.error(place, "ambiguous-value", message);
        found.hint(format!(
            "\"{word}\" in quotes is the value; to use the axis, rename one of them"
        ));
        None
    }

    fn bound(
        &mut self,
        bound: Bound,
        word: &str,
        place: Place,
        problems: &mut Problems,
    ) -> Option<Pin> {
        match bound {
            Bound::Fixed(resolved) => {
                let pinned = self.pinned(&resolved, word);
                if let Pinned::Wrong { message, hint } = pinned {
                    problems
                        .error(place, "unknown-value", message)
                        .maybe_hint(hint);
                    return None;
                }
                Some(Pin::Fixed(pinned))
            }
            Bound::Axis { slot, fields } => {
                let name = self.scope.each?.get(slot)?.clone();
                let own = self.names.axis_by_name(&name, place, problems)?;
                let values = own.values.iter();
                let table = values.map(|value| self.pinned(&value.field(&fields), word));
                Some(Pin::BySlot {
                    slot,
                    table: table.collect(),
                })
            }
        }
    }

    fn pinned(&self, resolved: &Resolved, word: &str) -> Pinned {
        let wrong = |message: String, hint: Option<String>| Pinned::Wrong { message, hint };
        if let Some(name) = resolved.missing.first() {
            let message = format!("`{word}` depends on the variable `{name}`, which is not set");
            return wrong(message, None);
        }
        let index = |value: &serde_json::Value| {
            let found = self.axis.find_value(value);
            found.ok_or_else(|| label_of(value).unwrap_or_default())
        };
        match resolved.present() {
            None => wrong(
                format!("`{word}` is absent here"),
                Some(format!(
                    "a case with `when: {word}` is for the points that have it"
                )),
            ),
            Some(serde_json::Value::Array(items)) => {
                match items
                    .iter()
                    .map(index)
                    .collect::<Result<Vec<u32>, String>>()
                {
                    Ok(list) if list.is_empty() => {
                        wrong(format!("`{word}` is an empty list here"), None)
                    }
                    Ok(list) => Pinned::List(list),
                    Err(label) => self.no_such(&label),
                }
            }
            Some(value) => match index(value) {
                Ok(one) => Pinned::One(one),
                Err(label) => self.no_such(&label),
            },
        }
    }

    fn no_such(&self, label: &str) -> Pinned {
        let (message, hint) = self.no_value(label);
        Pinned::Wrong { message, hint }
    }

    fn no_value(&self, label: &str) -> (String, Option<String>) {
        let message = format!("axis `{}` has no value `{label}`", self.axis.name);
        let hint = suggest(label, "values", self.axis.ids().collect::<Vec<_>>());
        (message, Some(hint))
    }
}

/// The values of one axis that a selector selects at a point.
pub struct SelectedValues {
    pub indices: Vec<u32>,
    pub gathers: bool,
}

impl Join {
    /// What the selector selects from each axis of its stage at the point `coordinates`.
    pub fn take(
        &self,
        coordinates: &[u32],
        axes: &[Arc<AxisValues>],
    ) -> Result<Vec<SelectedValues>, (String, Option<String>)> {
        let taken = self.picks.iter().zip(axes).map(|(pick, axis)| match pick {
            AxisPick::Shared(slot) => Ok(SelectedValues {
                indices: vec![coordinates[*slot]],
                gathers: false,
            }),
            AxisPick::All => Ok(SelectedValues {
                indices: axis.by_id.clone(),
                gathers: true,
            }),
            AxisPick::Pinned(pins) => select_pins(pins, coordinates),
        });
        taken.collect()
    }
}

/// The values that `pins` refer to at a point.
fn select_pins(
    pins: &[Pin],
    coordinates: &[u32],
) -> Result<SelectedValues, (String, Option<String>)> {
    let mut taken = SelectedValues {
        indices: Vec::new(),
        gathers: pins.len() > 1,
    };
    for pin in pins {
        let pinned = match pin {
            Pin::Fixed(pinned) => pinned,
            Pin::BySlot { slot, table } => &table[coordinates[*slot] as usize],
        };
        match pinned {
            Pinned::One(index) => taken.indices.push(*index),
            Pinned::List(indices) => {
                taken.indices.extend(indices);
                taken.gathers = true;
            }
            Pinned::Wrong { message, hint } => return Err((message.clone(), hint.clone())),
        }
    }
    let mut sorted = taken.indices.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(("this names the same value twice here".to_string(), None));
    }
    Ok(taken)
}
