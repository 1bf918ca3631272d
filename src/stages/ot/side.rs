//! The two sides of a distance: labelled points from features, pixels or arrays.

use std::collections::BTreeSet;

use crate::ml::data::classes::{self, ClassIndex};
use crate::ml::models::Model;
use crate::ml::ot::{Labelled, Points};
use crate::stages::derived::Frozen;
use crate::stages::images;
use crate::stages::task::{Context, TaskError, TaskInput};
use crate::store::artifact::Tensors;
use crate::store::tensors;

/// A set of labelled points, and the names of its labels.
pub(super) struct Side {
    pub set: Labelled,
    pub classes: Vec<String>,
}

impl Side {
    /// The features of `model`, read from `given`, on the images of `input`.
    pub fn of_features(
        context: &Context,
        (model, given): (&Model, &TaskInput),
        input: &TaskInput,
    ) -> Result<Self, TaskError> {
        let transform = model.config().input.transform();
        let set = images::load(context, input, Some(&transform))?;
        let frozen = Frozen::of(model, given, input, &set)?;
        let rows = frozen.features(context)?;
        let width = model.config().features();
        let mut values = Vec::with_capacity(set.len() * width);
        for image in 0..set.len() {
            values.extend(rows.floats(image)?);
        }
        Ok(Self {
            set: Labelled::new(Points::from_f32(&values, width)?, set.labels)?,
            classes: set.classes,
        })
    }

    /// The pixels of the images, divided by 255.
    pub fn of_pixels(context: &Context, input: &TaskInput) -> Result<Self, TaskError> {
        let set = images::load(context, input, None)?;
        let values = set.bytes()?.into_iter().map(|it| f64::from(it) / 255.0);
        let points = Points::new(values.collect(), set.image_bytes())?;
        Ok(Self {
            set: Labelled::new(points, set.labels)?,
            classes: set.classes,
        })
    }

    /// From the output of a `features` node: `features` f32 or f64 `[n, d]`, optional `labels` u32
    /// `[n]` (default: all equal) and `weights` f32 or f64 `[n]`, and class names in the config.
    pub fn of_arrays(context: &Context, name: &str, tree: &Tensors) -> Result<Self, TaskError> {
        let array = |wanted: &str| tree.tensors.get(wanted);
        let wrong = |what: &str| TaskError::Input(format!("`{name}`: {what}"));
        let features = array("features").ok_or_else(|| wrong("there is no array `features`"))?;
        let [count, width] = features.shape[..] else {
            return Err(wrong("`features` does not have shape [n, d]"));
        };
        let bytes = tensors::bytes(context.blobs, features)?;
        let points = match features.dtype.as_str() {
            "F32" => Points::from_f32(&numbers(&bytes, f32::from_le_bytes), width)?,
            "F64" => Points::new(numbers(&bytes, f64::from_le_bytes), width)?,
            other => {
                return Err(wrong(&format!(
                    "`features` has type {other}, not F32 or F64"
                )));
            }
        };
        let labels = match array("labels") {
            None => vec![0; count],
            Some(labels) if labels.dtype == "U32" => {
                numbers(&tensors::bytes(context.blobs, labels)?, u32::from_le_bytes)
            }
            Some(labels) => {
                return Err(wrong(&format!(
                    "`labels` has type {}, not U32",
                    labels.dtype
                )));
            }
        };
        let names = tree.config["classes"].as_array().into_iter().flatten();
        let set = Labelled::new(points, labels)?;
        Ok(Self {
            classes: names
                .filter_map(|name| name.as_str().map(str::to_string))
                .collect(),
            set: match array("weights") {
                None => set,
                Some(entry) => {
                    let bytes = tensors::bytes(context.blobs, entry)?;
                    let weights: Vec<f64> = match entry.dtype.as_str() {
                        "F64" => numbers(&bytes, f64::from_le_bytes),
                        "F32" => {
                            let weights = numbers(&bytes, f32::from_le_bytes);
                            weights.into_iter().map(f64::from).collect()
                        }
                        other => {
                            let what = format!("`weights` has type {other}, not F32 or F64");
                            return Err(wrong(&what));
                        }
                    };
                    set.weighted(&weights)?
                }
            },
        })
    }

    /// The names of the classes that have points.
    pub fn present(&self) -> Vec<String> {
        let labels = self.set.class_counts().into_keys();
        let names: BTreeSet<String> = labels.map(|label| self.name(label)).collect();
        names.into_iter().collect()
    }

    /// Keeps only the points of the classes in `names`.
    pub fn keep(&mut self, names: &[String], side: &str) -> Result<(), TaskError> {
        let present = self.present();
        let index = ClassIndex::new(&present);
        let mut kept = BTreeSet::new();
        for name in names {
            match index.find(name).as_slice() {
                [only] => kept.insert(present[*only as usize].clone()),
                [] => {
                    return Err(TaskError::Input(format!(
                        "`{side}` has no points of the class `{name}`, which `mask` names"
                    )));
                }
                _ => return Err(ambiguous(side, name)),
            };
        }
        if let Some(twice) = classes::twice(&self.classes)
            && kept.contains(&twice.name)
        {
            return Err(ambiguous(side, &twice.name));
        }
        let labels = self.set.labels().iter().enumerate();
        let picks: Vec<usize> = labels
            .filter(|(_, label)| kept.contains(&self.name(**label)))
            .map(|(row, _)| row)
            .collect();
        if picks.is_empty() {
            let what = format!("`mask` excludes all classes of `{side}`");
            return Err(TaskError::Input(what));
        }
        self.set = self.set.select(&picks)?;
        Ok(())
    }

    pub fn name(&self, label: u32) -> String {
        let name = self.classes.get(label as usize);
        name.cloned().unwrap_or_else(|| label.to_string())
    }
}

fn ambiguous(side: &str, class: &str) -> TaskError {
    TaskError::Input(format!(
        "`{side}` has two classes called `{class}`, so `mask` is ambiguous"
    ))
}

/// The names of `a` that `b` has, too. A name that `b` has in another Unicode form counts, unless `a`
/// also has that form.
pub(super) fn common(a: &[String], b: &[String]) -> Vec<String> {
    let (of_a, of_b) = (ClassIndex::new(a), ClassIndex::new(b));
    let is_common = |name: &&String| {
        let places = of_b.find(name).into_iter();
        let mut found = places.map(|place| b[place as usize].as_str());
        found.any(|other| other == name.as_str() || !of_a.has(other))
    };
    a.iter().filter(is_common).cloned().collect()
}

fn numbers<T, const N: usize>(bytes: &[u8], decode: fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| decode(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_classes_may_be_written_in_two_forms() {
        let names =
            |names: &[&str]| -> Vec<String> { names.iter().map(|it| it.to_string()).collect() };
        let common = |a: &[&str], b: &[&str]| common(&names(a), &names(b));
        let (one, two) = ("\u{e9}", "e\u{301}");
        assert_eq!(common(&["a", one, "c"], &[two, "a"]), names(&["a", one]));
        // Its own form comes first.
        assert_eq!(common(&[one, two], &[one]), names(&[one]));
        assert_eq!(common(&[one, two], &[two, one]), names(&[one, two]));
    }
}
