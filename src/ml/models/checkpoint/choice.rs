//! Which of the state dicts in a file is taken.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::pickle::Object;

use super::pickle::{Stored, called, stored};

/// Keys under which training scripts keep averages of the weights, in timm's order.
const AVERAGES: [&str; 2] = ["state_dict_ema", "model_ema"];
/// Keys of the weights themselves: timm's two in its order, and a usual third.
const WEIGHTS: [&str; 3] = ["state_dict", "model", "model_state_dict"];
/// Places that an error lists.
const MOST_LISTED: usize = 12;

/// Part of a file: tensors by name, and where they stand in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T> {
    pub tensors: BTreeMap<String, T>,
    /// Keys and prefixes from the outside in; none for the whole file.
    pub place: Vec<String>,
    /// What else could be taken in its place.
    pub beside: Vec<String>,
}

/// Entries of a pickled dict.
type Entries = [(Object, Object)];

/// The state dict that a pickle is or holds: the one at `wanted`, else the one that timm's
/// `load_state_dict` takes. It prefers averaged weights to those of the last step.
pub(super) fn state_dict(root: &Object, wanted: Option<&str>) -> Result<Part<Stored>, String> {
    let Object::Dict(root) = root else {
        return Err(match called(root) {
            Some(name) => format!(
                "it is not a state dict but a `{name}`, which is not made here; \
                 `torch.save(model.state_dict(), …)` writes one"
            ),
            None => "it is not a state dict".to_string(),
        });
    };
    let Some(wanted) = wanted else {
        let mut found = usual(root)?;
        found.beside = others(root, &found.place);
        return found.read();
    };
    let at_root = at(root, wanted, Vec::new());
    // Names inside the usual state dict have no key before them in most people's words.
    let found = match at_root {
        Some(found) => Some(found),
        None => {
            let usual = usual(root)?;
            at(usual.entries, wanted, usual.place)
        }
    };
    let found = found.ok_or_else(|| nothing_at(wanted, &places(root)))?;
    match found.holds_tensors() {
        true => found.read(),
        false => usual(found.entries)?.within(found.place).read(),
    }
}

/// Of tensors without keys around them, those whose names begin with `wanted`, without it.
pub(super) fn prefixed<T>(tensors: BTreeMap<String, T>, wanted: &str) -> Result<Part<T>, String> {
    let places = prefixes(tensors.keys());
    let tensors = without_prefix(tensors, wanted);
    match tensors.is_empty() {
        true => Err(nothing_at(wanted, &places)),
        false => Ok(Part {
            tensors,
            place: vec![wanted.trim_end_matches('.').to_string()],
            beside: Vec::new(),
        }),
    }
}

/// A dict of the pickle, and the part of its names that is wanted.
struct Found<'a> {
    entries: &'a Entries,
    prefix: String,
    place: Vec<String>,
    beside: Vec<String>,
}

impl<'a> Found<'a> {
    fn of(entries: &'a Entries, place: Vec<String>) -> Self {
        Self {
            entries,
            prefix: String::new(),
            place,
            beside: Vec::new(),
        }
    }

    fn within(mut self, outer: Vec<String>) -> Self {
        self.place = [outer, self.place].concat();
        self
    }

    fn holds_tensors(&self) -> bool {
        is_state_dict(self.entries)
    }

    fn read(self) -> Result<Part<Stored>, String> {
        let mut found = BTreeMap::new();
        let mut calls = Vec::new();
        for (name, value) in self.entries {
            let Object::Unicode(name) = name else {
                continue;
            };
            match stored(value).map_err(|why| format!("`{name}`: {why}"))? {
                Some(tensor) => drop(found.insert(name.clone(), tensor)),
                None => calls.extend(called(value)),
            }
        }
        match (found.is_empty(), calls.first()) {
            (false, _) => Ok(Part {
                tensors: without_prefix(found, &self.prefix),
                place: self.place,
                beside: self.beside,
            }),
            (true, Some(call)) => Err(format!(
                "there is no state dict in it, but a call of `{call}`, which is not made here"
            )),
            (true, None) => Err(match places(self.entries).as_slice() {
                [] => "there is no state dict in it".to_string(),
                places => format!(
                    "there is no state dict under a usual key; `weights` takes one of {}",
                    listed(places)
                ),
            }),
        }
    }
}

/// The dict that is taken where nothing else is asked for: under the usual keys, level by level.
fn usual(root: &Entries) -> Result<Found<'_>, String> {
    let mut found = Found::of(root, Vec::new());
    while let Some((key, inner)) = under_usual_key(found.entries)? {
        found.entries = inner;
        found.place.push(key.to_string());
    }
    Ok(found)
}

fn under_usual_key(entries: &Entries) -> Result<Option<(&'static str, &Entries)>, String> {
    for key in AVERAGES {
        match entry(entries, key) {
            None | Some(Object::None) => {}
            Some(Object::Dict(inner)) if !inner.is_empty() => return Ok(Some((key, inner))),
            // The weights of the last step would be taken for averaged ones.
            Some(_) => {
                return Err(format!(
                    "its `{key}` holds no state dict; `weights` takes one of {}",
                    listed(&places(entries))
                ));
            }
        }
    }
    let found = WEIGHTS
        .into_iter()
        .find_map(|key| match entry(entries, key) {
            Some(Object::Dict(inner)) if !inner.is_empty() => Some((key, inner.as_slice())),
            _ => None,
        });
    Ok(found)
}

fn entry<'a>(entries: &'a Entries, name: &str) -> Option<&'a Object> {
    let mut entries = entries.iter();
    let named = |key: &Object| matches!(key, Object::Unicode(key) if key == name);
    entries.find(|(key, _)| named(key)).map(|(_, value)| value)
}

/// What stands at `wanted`: keys joined by dots, behind them a prefix of names.
fn at<'a>(entries: &'a Entries, wanted: &str, place: Vec<String>) -> Option<Found<'a>> {
    let wanted = wanted.trim_end_matches('.');
    for (key, value) in entries {
        let (Object::Unicode(key), Object::Dict(inner)) = (key, value) else {
            continue;
        };
        let Some(rest) = wanted.strip_prefix(key.as_str()) else {
            continue;
        };
        let inside = [place.clone(), vec![key.clone()]].concat();
        match rest.strip_prefix('.') {
            None if rest.is_empty() => return Some(Found::of(inner, inside)),
            Some(rest) => match at(inner, rest, inside) {
                Some(found) => return Some(found),
                None => continue,
            },
            None => continue,
        }
    }
    let begins = |name: &Object| matches!(name, Object::Unicode(name) if is_below(name, wanted));
    let mut tensors = entries.iter().filter(|(_, value)| is_tensor(value));
    tensors.any(|(name, _)| begins(name)).then(|| Found {
        prefix: wanted.to_string(),
        ..Found::of(entries, [place, vec![wanted.to_string()]].concat())
    })
}

/// Whether `name` is `prefix`, a dot, and more.
fn is_below(name: &str, prefix: &str) -> bool {
    let rest = name.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

fn without_prefix<T>(tensors: BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
    let prefix = prefix.trim_end_matches('.');
    if prefix.is_empty() {
        return tensors;
    }
    let named = tensors
        .into_iter()
        .filter(|(name, _)| is_below(name, prefix));
    named
        .map(|(name, tensor)| (name[prefix.len() + 1..].to_string(), tensor))
        .collect()
}

fn is_tensor(value: &Object) -> bool {
    !matches!(stored(value), Ok(None))
}

fn is_state_dict(entries: &Entries) -> bool {
    entries.iter().any(|(_, value)| is_tensor(value))
}

/// All places of state dicts: keys, joined by dots.
fn places(entries: &Entries) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in entries {
        let (Object::Unicode(key), Object::Dict(inner)) = (key, value) else {
            continue;
        };
        if is_state_dict(inner) {
            found.push(key.clone());
        }
        found.extend(places(inner).iter().map(|rest| format!("{key}.{rest}")));
    }
    found
}

/// The places of a root but for the one that is taken.
fn others(root: &Entries, taken: &[String]) -> Vec<String> {
    let taken = taken.join(".");
    // What an optimiser or a scaler keeps is no model's.
    let kept = |place: &String| *place != taken && !place.starts_with("optimizer");
    places(root).into_iter().filter(kept).collect()
}

/// What names begin with, up to their first dot.
fn prefixes<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let first = names.filter_map(|name| name.split_once('.'));
    let first: BTreeSet<&str> = first.map(|(prefix, _)| prefix).collect();
    first.into_iter().map(str::to_string).collect()
}

fn nothing_at(wanted: &str, places: &[String]) -> String {
    match places {
        [] => format!("nothing in it stands at `{wanted}`"),
        places => format!(
            "nothing in it stands at `{wanted}`, but at {}",
            listed(places)
        ),
    }
}

fn listed(places: &[String]) -> String {
    let (first, more) = places.split_at(places.len().min(MOST_LISTED));
    let first: Vec<String> = first.iter().map(|place| format!("`{place}`")).collect();
    match more.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pickle::object;
    use super::*;

    fn read(body: &[u8]) -> Object {
        let bytes = [b"\x80\x02".as_slice(), body, b"."].concat();
        object(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn calls_are_seen_but_not_made() {
        let root = read(b"cposix\nsystem\n(X\x02\0\0\0lstR");
        let told = state_dict(&root, None).unwrap_err();
        assert!(told.contains("`posix.system`, which is not made"), "{told}");
    }

    #[test]
    fn malformed_tensors_are_told() {
        for body in [
            // Too few arguments; a storage that is none; a shape that is none.
            b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n)Rs".as_slice(),
            b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(NK\0))tRs",
            b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(NQK\0))tRs",
        ] {
            let told = state_dict(&read(body), None).unwrap_err();
            assert!(told.starts_with("`a`: its pickle"), "{told}");
        }
    }
}
