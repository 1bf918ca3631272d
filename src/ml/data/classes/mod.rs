//! Class lists of ImageNet and its variants. docs/NOTICE.md names their sources.

mod index;

use std::collections::HashMap;

pub use index::{ClassIndex, is_same};

/// The WordNet ids of ImageNet-1K's classes in the order of their labels, which is sorted order.
pub fn imagenet() -> Vec<String> {
    list(include_str!("imagenet_wnids.json"))
}

/// The 200 classes of ImageNet-A, sorted.
pub fn imagenet_a() -> Vec<String> {
    list(include_str!("imagenet_a_wnids.json"))
}

/// The 200 classes of ImageNet-R, sorted.
pub fn imagenet_r() -> Vec<String> {
    list(include_str!("imagenet_r_wnids.json"))
}

/// A name that occurs twice in a list of classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateName {
    pub name: String,
    /// Its first label.
    pub first: usize,
    pub second: usize,
}

/// The first name that occurs twice in `classes`: such classes can't be found by name.
pub fn twice(classes: &[String]) -> Option<DuplicateName> {
    let mut places = HashMap::new();
    classes.iter().enumerate().find_map(|(second, name)| {
        let first = places.insert(name.as_str(), second)?;
        Some(DuplicateName {
            name: name.clone(),
            first,
            second,
        })
    })
}

/// The first difference between two class lists, apart from Unicode forms.
pub fn difference(first: &[String], other: &[String]) -> Option<String> {
    if first.len() != other.len() {
        return Some(format!("{} instead of {}", other.len(), first.len()));
    }
    let mut pairs = first.iter().zip(other).enumerate();
    let (label, (expected, found)) = pairs.find(|(_, (a, b))| !is_same(a, b))?;
    Some(format!(
        "label {label} is `{found}` instead of `{expected}`"
    ))
}

/// For each class of `other`, its label in `first`, if both have the same classes. The order of
/// sorted names depends on their Unicode forms.
pub fn labels_in(first: &[String], other: &[String]) -> Option<Vec<u32>> {
    let count = first.len() as u32;
    if difference(first, other).is_none() {
        return Some((0..count).collect());
    }
    let index = ClassIndex::new(first);
    let label = |name: &String| match index.find(name)[..] {
        [only] => Some(only),
        _ => None,
    };
    let labels: Vec<u32> = other.iter().map(label).collect::<Option<_>>()?;
    let mut sorted = labels.clone();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..count).then_some(labels)
}

fn list(json: &str) -> Vec<String> {
    // The files are compiled into the program, and its tests parse them.
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_sorted_classes() {
        let classes = imagenet();
        assert_eq!(classes.len(), 1000);
        assert!(classes.is_sorted() && classes[0] == "n01440764");
        for part in [imagenet_a(), imagenet_r()] {
            assert!(part.len() == 200 && part.is_sorted());
            assert!(part.iter().all(|class| classes.contains(class)));
        }
    }
}
