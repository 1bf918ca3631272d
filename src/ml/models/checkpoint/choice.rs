//! Selects one of the state dicts in a file.

use std::collections::{BTreeMap, BTreeSet};

use super::pickle::{Node, Stored, stored};

/// Keys under which training scripts store averaged weights, in timm's order.
const AVERAGES: [&str; 2] = ["state_dict_ema", "model_ema"];
/// Keys of the weights themselves: timm's two in its order, and a common third.
const WEIGHTS: [&str; 3] = ["state_dict", "model", "model_state_dict"];
/// Further keys of weights, if nothing is under the others and there are several state dicts:
/// averages, then the weights themselves.
const FURTHER: [&str; 14] = [
    "ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "teacher",
    "module",
    "net",
    "network",
    "backbone",
    "encoder",
    "model_weights",
    "net_state_dict",
    "weights",
    "student",
];
/// Prefixes of keys of training state, such as optimisers, which is not a model.
const TRAINERS: [&str; 6] = [
    "optim",
    "scheduler",
    "lr_sched",
    "scaler",
    "loss",
    "criterion",
];
/// The maximum nesting of dicts. State dicts are at most three deep.
const DEEPEST: usize = 12;
/// The maximum number of dicts to search, because a dict may contain itself, or another one many
/// times.
const MOST_VISITED: usize = 10_000;
/// The number of pairs of a dict that count as another visit.
const PAIRS_OF_A_VISIT: usize = 100;
/// The maximum number of places that an error lists.
const MOST_LISTED: usize = 12;

/// Part of a file: tensors by name, and their place in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<T> {
    pub tensors: BTreeMap<String, T>,
    /// Keys and prefixes from the outside in; empty for the whole file.
    pub place: Vec<String>,
    /// The places of alternatives.
    pub beside: Vec<String>,
}

/// Entries of a pickled dict.
type Entries<'a> = Vec<(Node<'a>, Node<'a>)>;

/// The state dict that a pickle is or contains: the one at `wanted`, or by default the one that
/// timm's `load_state_dict` selects. It prefers averaged weights to those of the last step.
pub(super) fn state_dict(root: Node, wanted: Option<&str>) -> Result<Part<Stored>, String> {
    let Some(root) = root.entries() else {
        return Err(match root.called() {
            Some(name) => format!(
                "it is not a state dict but a `{name}`, which is not made here; \
                 `torch.save(model.state_dict(), …)` writes one"
            ),
            None => "it is not a state dict".to_string(),
        });
    };
    let Some(wanted) = wanted else {
        let mut found = taken(root.clone())?;
        found.beside = others(&root, &found.place);
        return found.read();
    };
    let at_root = at(&root, wanted, Vec::new());
    // Users usually name prefixes inside the usual state dict without its key.
    let found = match at_root {
        Some(found) => Some(found),
        None => {
            let taken = taken(root.clone())?;
            at(&taken.entries, wanted, taken.place)
        }
    };
    let found = found.ok_or_else(|| nothing_at(wanted, &places(&root)))?;
    match found.holds_tensors() {
        true => found.read(),
        false => usual(found.entries)?.within(found.place).read(),
    }
}

/// Of tensors without keys around them, those whose names begin with `wanted`, which is removed.
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

/// A dict of the pickle, and the selected prefix of its names.
struct Candidate<'a> {
    entries: Entries<'a>,
    prefix: String,
    place: Vec<String>,
    beside: Vec<String>,
}

impl<'a> Candidate<'a> {
    fn of(entries: Entries<'a>, place: Vec<String>) -> Self {
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
        is_state_dict(&self.entries)
    }

    fn read(self) -> Result<Part<Stored>, String> {
        let mut found = BTreeMap::new();
        let mut calls = Vec::new();
        for (name, value) in &self.entries {
            let Some(name) = name.text().filter(|name| is_within(name, &self.prefix)) else {
                continue;
            };
            match stored(*value).map_err(|why| format!("`{name}`: {why}"))? {
                Some(tensor) => drop(found.insert(name.to_string(), tensor)),
                None => calls.extend(value.called().filter(|_| value.entries().is_none())),
            }
        }
        match (found.is_empty(), calls.first()) {
            (false, _) => Ok(Part {
                tensors: without_prefix(found, &self.prefix),
                place: self.place,
                beside: self.beside,
            }),
            (true, call) => Err(match (places(&self.entries).as_slice(), call) {
                ([], Some(call)) => format!(
                    "there is no state dict in it, but a call of `{call}`, which is not made here"
                ),
                ([], None) => "there is no state dict in it".to_string(),
                (places, _) => format!(
                    "there is no state dict under a usual key; `weights` takes one of {}",
                    listed(places)
                ),
            }),
        }
    }
}

/// The dict that is selected by default.
fn taken(root: Entries) -> Result<Candidate, String> {
    let found = usual(root)?;
    if found.holds_tensors() {
        return Ok(found);
    }
    let further = further(&found.entries);
    Ok(match further {
        Some(inner) => inner.within(found.place),
        None => found,
    })
}

/// The dict under the usual keys, level by level.
fn usual(root: Entries) -> Result<Candidate, String> {
    let mut found = Candidate::of(root, Vec::new());
    for _ in 0..DEEPEST {
        let Some((key, inner)) = under_usual_key(&found.entries)? else {
            break;
        };
        found.entries = inner;
        found.place.push(key.to_string());
    }
    Ok(found)
}

fn under_usual_key<'a>(
    entries: &Entries<'a>,
) -> Result<Option<(&'static str, Entries<'a>)>, String> {
    let filled = |value: Node<'a>| value.entries().filter(|inner| !inner.is_empty());
    for key in AVERAGES {
        let Some(value) = entry(entries, key).filter(|value| !value.is_none()) else {
            continue;
        };
        // Falling back would silently use the weights of the last step instead of averaged ones.
        return match filled(value) {
            Some(inner) => Ok(Some((key, inner))),
            None => Err(format!(
                "its `{key}` holds no state dict; `weights` takes one of {}",
                listed(&places(entries))
            )),
        };
    }
    let mut keys = WEIGHTS.into_iter();
    Ok(keys.find_map(|key| Some((key, filled(entry(entries, key)?)?))))
}

/// The only state dict of a model in these entries, or the first one under a further key.
fn further<'a>(entries: &Entries<'a>) -> Option<Candidate<'a>> {
    let mut all = places(entries);
    all.retain(|place| !is_trainers(place));
    let place = match all.as_slice() {
        [only] => only.clone(),
        _ => {
            let mut keys = FURTHER.into_iter();
            keys.find(|key| all.iter().any(|place| place == key))?
                .to_string()
        }
    };
    at(entries, &place, Vec::new())
}

fn is_trainers(place: &str) -> bool {
    TRAINERS.iter().any(|start| place.starts_with(start))
}

/// The value under a key; a later one replaces an earlier.
fn entry<'a>(entries: &Entries<'a>, name: &str) -> Option<Node<'a>> {
    let mut entries = entries.iter().rev();
    let found = entries.find(|(key, _)| key.text() == Some(name));
    found.map(|(_, value)| *value)
}

/// The dict at `wanted`: keys joined by dots, followed by a prefix of names.
fn at<'a>(entries: &Entries<'a>, wanted: &str, place: Vec<String>) -> Option<Candidate<'a>> {
    let wanted = wanted.trim_end_matches('.');
    for (key, value) in entries.iter().rev() {
        let Some(key) = key.text().filter(|key| wanted.starts_with(key)) else {
            continue;
        };
        let Some(inner) = value.entries() else {
            continue;
        };
        let rest = &wanted[key.len()..];
        let inside = [place.clone(), vec![key.to_string()]].concat();
        match rest.strip_prefix('.') {
            None if rest.is_empty() => return Some(Candidate::of(inner, inside)),
            Some(rest) => match at(&inner, rest, inside) {
                Some(found) => return Some(found),
                None => continue,
            },
            None => continue,
        }
    }
    let mut tensors = entries.iter().filter(|(_, value)| is_tensor(*value));
    let begins = |name: Node| name.text().is_some_and(|name| is_below(name, wanted));
    tensors.any(|(name, _)| begins(*name)).then(|| Candidate {
        prefix: wanted.to_string(),
        ..Candidate::of(entries.clone(), [place, vec![wanted.to_string()]].concat())
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

fn is_within(name: &str, prefix: &str) -> bool {
    prefix.is_empty() || is_below(name, prefix)
}

fn is_tensor(value: Node) -> bool {
    !matches!(stored(value), Ok(None))
}

fn is_state_dict(entries: &Entries) -> bool {
    entries.iter().any(|(_, value)| is_tensor(*value))
}

/// The places of all state dicts: keys, joined by dots.
fn places(entries: &Entries) -> Vec<String> {
    let mut found = Vec::new();
    note_places(entries, &mut Vec::new(), &mut found, &mut 0);
    found
}

fn note_places<'a>(
    entries: &Entries<'a>,
    place: &mut Vec<&'a str>,
    found: &mut Vec<String>,
    visited: &mut usize,
) {
    for (key, value) in entries {
        let (Some(key), Some(inner)) = (key.text(), value.entries()) else {
            continue;
        };
        *visited += 1 + inner.len() / PAIRS_OF_A_VISIT;
        if *visited > MOST_VISITED || place.len() >= DEEPEST {
            return;
        }
        place.push(key);
        if is_state_dict(&inner) {
            found.push(place.join("."));
        }
        note_places(&inner, place, found, visited);
        place.pop();
    }
}

/// The places in a root, except for the selected one.
fn others(root: &Entries, taken: &[String]) -> Vec<String> {
    let taken = taken.join(".");
    // State of an optimiser or a scaler is not a model.
    let kept = |place: &String| *place != taken && !place.starts_with("optimizer");
    places(root).into_iter().filter(kept).collect()
}

/// The prefixes of names up to their first dot.
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
    use super::super::pickle::{Pickle, read};
    use super::*;

    fn pickle(body: &[u8]) -> Pickle {
        let bytes = [b"\x80\x02".as_slice(), body, b"."].concat();
        read(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn calls_are_seen_but_not_made() {
        let system = pickle(b"cposix\nsystem\n(X\x02\0\0\0lstR");
        let error = state_dict(system.root(), None).unwrap_err();
        assert!(
            error.contains("`posix.system`, which is not made"),
            "{error}"
        );
    }

    #[test]
    fn malformed_tensors_are_refused() {
        for body in [
            // Too few arguments; an invalid storage; an invalid shape.
            b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n)Rs".as_slice(),
            b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(NK\0))tRs",
            b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(NQK\0))tRs",
        ] {
            let error = state_dict(pickle(body).root(), None).unwrap_err();
            assert!(error.starts_with("`a`: its pickle"), "{error}");
        }
    }

    #[test]
    fn a_dict_in_itself_and_one_many_times_over_end() {
        for body in [
            b"}q\0X\x05\0\0\0modelh\0s".to_vec(),
            // Each dict contains the previous one twice: 2^60 paths.
            (0..60u8).fold(b"}q\0".to_vec(), |body, _| {
                [&body, b"0}X\x01\0\0\0ah\0sX\x01\0\0\0bh\0sq\0".as_slice()].concat()
            }),
        ] {
            assert!(state_dict(pickle(&body).root(), None).is_err());
            assert!(state_dict(pickle(&body).root(), Some("a.b.a")).is_err());
        }
    }
}
