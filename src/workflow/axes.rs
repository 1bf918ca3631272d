//! Resolves axes: lists of values, with splices and layers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::expression::template::spliced;
use super::fields::is_label;
use super::ids::{label_of, number_key};
use super::names::Names;
use super::values::{AxisPoint, AxisValues, Resolved};
use crate::diag::{Place, Problems, listed, nearest};
use crate::yaml::{Content, Entry, Tree};

/// A value and the place that put it into the list.
type Placed = (AxisPoint, Place);

impl Names<'_> {
    /// The values of the axis at `position`, which is used at `mention`.
    pub fn axis(
        &mut self,
        position: usize,
        mention: Place,
        problems: &mut Problems,
    ) -> Option<Arc<AxisValues>> {
        if let Some(resolved) = &self.resolved_axes[position] {
            return resolved.clone();
        }
        let axes = Arc::clone(&self.axes);
        let axis = &axes[position];
        let name = format!("axes.{}", axis.name.text);
        let resolved = self.enter(name, mention, problems, |this, problems| {
            if this.open.contains(&axis.name.place) {
                this.circle(mention, problems);
                return None;
            }
            this.open.push(axis.name.place);
            let values = this.layered(&axis.name.text, &axis.layers, problems);
            this.open.pop();
            let values = values?;
            if values.is_empty() {
                let message = format!("axis `{}` has no values", axis.name.text);
                let last = axis.layers.last().map(|list| list.place);
                problems.error(last.unwrap_or(axis.name.place), "empty-axis", message);
                return None;
            }
            let mut values = AxisValues::new(&axis.name.text, values);
            values.repeats = axis.repeats;
            Some(Arc::new(values))
        });
        // While a cycle is being reported, the outer call still fills this in.
        self.resolved_axes[position] = Some(resolved.clone());
        resolved
    }

    fn layered(
        &mut self,
        name: &str,
        layers: &[Tree],
        problems: &mut Problems,
    ) -> Option<Vec<AxisPoint>> {
        let mut lists: Vec<Vec<AxisPoint>> = Vec::new();
        for layer in layers {
            let values = self.list(name, layer, &lists, problems)?;
            lists.push(values);
        }
        lists.pop()
    }

    /// Resolves one list of values; `earlier` holds the layers below it, oldest first.
    fn list(
        &mut self,
        name: &str,
        list: &Tree,
        earlier: &[Vec<AxisPoint>],
        problems: &mut Problems,
    ) -> Option<Vec<AxisPoint>> {
        let items = match &list.content {
            Content::List(items) => items.as_slice(),
            Content::Text(text) if text.contains("${") => std::slice::from_ref(list),
            _ => {
                let message = format!("an axis is a list of values, not {}", list.what());
                let found = problems.error(list.place, "wrong-type", message);
                let one = list.scalar().and_then(|one| label_of(&one));
                match &list.content {
                    Content::Map(_) => {
                        found.hint("`{ repeats: [0, 1, 2] }` marks an axis of repeats")
                    }
                    _ => found.maybe_hint(one.map(|one| format!("write [{one}]"))),
                }
                return None;
            }
        };
        let mut placed: Vec<Placed> = Vec::new();
        let mut sound = true;
        for item in items {
            match self.item(name, item, earlier, problems) {
                Some(values) => placed.extend(values.into_iter().map(|value| (value, item.place))),
                None => sound = false,
            }
        }
        sound &= distinct(name, &placed, problems);
        sound.then(|| placed.into_iter().map(|(value, _)| value).collect())
    }

    fn item(
        &mut self,
        name: &str,
        item: &Tree,
        earlier: &[Vec<AxisPoint>],
        problems: &mut Problems,
    ) -> Option<Vec<AxisPoint>> {
        match &item.content {
            Content::Map(entries) => self.map_value(item, entries, problems).map(|one| vec![one]),
            Content::List(_) => {
                let message = "an axis value is a text, a number or a map, not a list";
                problems.error(item.place, "wrong-type", message);
                None
            }
            Content::Text(text) if text.contains("${") => {
                let Some(other) = spliced(text) else {
                    return self.referenced(item, problems);
                };
                match earlier.last() {
                    Some(so_far) if other == name => Some(so_far.clone()),
                    _ => {
                        let axis = self.axis_by_name(&other, item.place, problems)?;
                        Some(axis.values.clone())
                    }
                }
            }
            _ => self
                .scalar_value(item, earlier, problems)
                .map(|one| vec![one]),
        }
    }

    /// A scalar: a new value, or, in a layer above values that are maps, the one with this id.
    fn scalar_value(
        &self,
        item: &Tree,
        earlier: &[Vec<AxisPoint>],
        problems: &mut Problems,
    ) -> Option<AxisPoint> {
        let point = written_point(item.scalar().unwrap_or_default(), item, problems)?;
        let known = || earlier.iter().rev().flatten();
        if !known().any(|value| value.is_map) {
            return Some(point);
        }
        if let Some(known) = known().find(|value| value.id().is_same(&point.id())) {
            return Some(known.clone());
        }
        let message = format!("there is no value `{}` to pick", point.written);
        let found = problems.error(item.place, "unknown-value", message);
        let ids = || known().map(|value| value.written.as_str());
        found.hint(match nearest(&point.written, ids()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}; a new one is written as a map", listed(ids())),
        });
        None
    }

    fn referenced(&mut self, item: &Tree, problems: &mut Problems) -> Option<Vec<AxisPoint>> {
        let resolved = self.value(item, problems)?;
        let value = decided(resolved, item.place, problems)?;
        let values = match value {
            Value::Array(values) => values,
            scalar => vec![scalar],
        };
        let points = values.into_iter();
        let points = points.map(|value| scalar_point(value, item.place, problems));
        let points: Vec<Option<AxisPoint>> = points.collect();
        points.into_iter().collect()
    }

    fn map_value(
        &mut self,
        item: &Tree,
        entries: &[Entry],
        problems: &mut Problems,
    ) -> Option<AxisPoint> {
        let place = entries.first().map_or(item.place, |entry| entry.key_place);
        let Some(id) = item.get("id") else {
            let message = "a value that is a map needs an `id`";
            problems.error(place, "missing-field", message);
            return None;
        };
        let resolved = self.value(id, problems)?;
        let typed = decided(resolved, id.place, problems)?;
        let mut point = written_point(typed, id, problems)?;
        point.is_map = true;
        for entry in entries {
            let value = &entry.value;
            match entry.key.as_str() {
                "id" => {}
                "label" => match value.scalar().as_ref().and_then(label_of) {
                    Some(label) => point.label = Some(label),
                    None => {
                        let message = format!("a `label` is a text, not {}", value.what());
                        problems.error(entry.key_place, "wrong-type", message);
                    }
                },
                field => {
                    let resolved = self.value(value, problems)?;
                    point.fields.insert(field.to_string(), resolved);
                }
            }
        }
        Some(point)
    }
}

/// Reports values that are the same as an earlier one; true: there are none.
fn distinct(name: &str, placed: &[Placed], problems: &mut Problems) -> bool {
    let mut seen: HashMap<String, &AxisPoint> = HashMap::new();
    let mut distinct = true;
    for (value, place) in placed {
        let number = match &value.typed {
            Value::Number(number) => Some(number_key(number)),
            _ => None,
        };
        let names = [Some(value.id.clone()), Some(value.written.clone()), number];
        let names: Vec<String> = names.into_iter().flatten().collect();
        let first = names.iter().find_map(|name| seen.get(name).copied());
        // A text that looks like a number in another form is another value.
        if let Some(first) = first.filter(|first| first.id().is_same(&value.id())) {
            repeated(name, value, first, *place, problems);
            distinct = false;
        }
        for name in names {
            seen.entry(name).or_insert(value);
        }
    }
    distinct
}

fn repeated(
    name: &str,
    value: &AxisPoint,
    first: &AxisPoint,
    place: Place,
    problems: &mut Problems,
) {
    let id = &value.written;
    let message = format!("axis `{name}` has two values with the id `{id}`");
    let found = problems.error(place, "duplicate-id", message);
    let numbers = first.typed.is_number() && value.typed.is_number();
    if numbers && first.written != *id {
        let first = &first.written;
        found.hint(format!(
            "numbers are compared by value: {first} and {id} are the same"
        ));
    } else if !numbers && first.typed != value.typed {
        found.hint(format!(
            "ids are compared as texts: {id} and \"{id}\" are the same"
        ));
    }
}

/// An axis value decides which points exist, so it can't depend on an unset variable.
fn decided(resolved: Resolved, place: Place, problems: &mut Problems) -> Option<Value> {
    if let Some(name) = resolved.missing.first() {
        let message = format!("the values of an axis depend on `{name}`, which is not set");
        let found = problems.error(place, "unset-variable", message);
        found.hint(format!(
            "set {name}, or give a default: `${{env.{name}?…}}`"
        ));
        return None;
    }
    Some(resolved.value.unwrap_or_default())
}

/// The value `typed` of the scalar `item`, with the text that the file has for it.
fn written_point(typed: Value, item: &Tree, problems: &mut Problems) -> Option<AxisPoint> {
    let mut point = scalar_point(typed, item.place, problems)?;
    if let Content::Number(_) = item.content {
        let Place { source, span } = item.place;
        let written = problems.text(source).get(span.start..span.end);
        if let Some(written) = written.map(str::trim).filter(|text| is_label(text)) {
            point.written = written.to_string();
        }
    }
    Some(point)
}

fn scalar_point(typed: Value, place: Place, problems: &mut Problems) -> Option<AxisPoint> {
    let id = label_of(&typed).filter(|id| is_label(id));
    let Some(id) = id else {
        let message = format!("`{typed}` can't be the id of an axis value");
        let found = problems.error(place, "bad-name", message);
        found.hint("letters, digits, `_`, `.`, `+` and `-`; a letter, a digit or `_` first; other things go into fields: `{ id: …, value: … }`");
        return None;
    };
    Some(AxisPoint {
        written: id.clone(),
        id,
        typed,
        label: None,
        fields: BTreeMap::new(),
        is_map: false,
    })
}
