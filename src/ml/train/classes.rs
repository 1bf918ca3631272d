//! Finds the classes of a dataset among those of a model, by name.

use std::collections::HashMap;

use crate::Error;
use crate::data::classes::{self, ClassIndex, is_same};

/// Why the classes of a dataset can't be found among those of a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {hint}")]
pub struct ClassMismatch {
    pub message: String,
    pub hint: String,
}

impl ClassMismatch {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl From<ClassMismatch> for Error {
    fn from(mismatch: ClassMismatch) -> Self {
        Self::Invalid(mismatch.to_string())
    }
}

/// For each class of `names`, the indices of its classes in `model`: the class with that name, or
/// several if the name joins theirs by `+` (any of them is correct). A name that `model` does not
/// have byte for byte is found in another Unicode form.
///
/// # Errors
/// A class that the model does not have, or an ambiguous one: a name that occurs twice in either
/// list, or two names that share a class of the model.
pub fn class_columns(model: &[String], names: &[String]) -> Result<Vec<Vec<u32>>, ClassMismatch> {
    if model.is_empty() {
        return Err(ClassMismatch::new(
            "the model's outputs have no class names",
            "`classes` of its checkpoint takes a list or a file, and `needs: { classes: … }` a \
             dataset that has them; finetune with `head: new` gives the model a new classifier",
        ));
    }
    if let Some(twice) = classes::twice(names) {
        let message = format!(
            "the dataset has two classes `{}` (labels {} and {})",
            twice.name, twice.first, twice.second
        );
        return Err(ClassMismatch::new(message, "give each a name of its own"));
    }
    let index = ClassIndex::new(model);
    let column = |name: &str| only_column(model, &index, name);
    let columns = |name: &String| {
        let parts = || name.split('+');
        let is_joined = !index.has(name) && parts().all(|part| index.has(part));
        match is_joined || index.find(name).is_empty() {
            false => Ok(vec![column(name)?]),
            true => parts().map(column).collect(),
        }
    };
    let columns = names
        .iter()
        .map(columns)
        .collect::<Result<Vec<_>, ClassMismatch>>()?;
    check_apart(model, names, &columns)?;
    Ok(columns)
}

fn only_column(model: &[String], index: &ClassIndex, name: &str) -> Result<u32, ClassMismatch> {
    match index.find(name).as_slice() {
        [only] => Ok(*only),
        [] => Err(ClassMismatch::new(
            format!(
                "the dataset's class `{name}` is not among the model's {} classes",
                model.len()
            ),
            missing_hint(model, name),
        )),
        several => Err(ClassMismatch::new(
            format!(
                "the model has {} classes `{name}` (outputs {}), so it is unclear which of them \
                 the dataset's `{name}` is",
                several.len(),
                joined(several)
            ),
            "give each a distinct name, in `classes` of its checkpoint and in the dataset",
        )),
    }
}

fn missing_hint(model: &[String], name: &str) -> String {
    let new = "a model has the classes of the data that it was trained on: take data with those, or train it \
               on this dataset by `finetune` with `head: new`";
    let lower = name.to_lowercase();
    if let Some(like) = model.iter().find(|class| class.to_lowercase() == lower) {
        return format!("the model's is `{like}`; {new}");
    }
    match model.iter().all(|class| is_wordnet_id(class)) && !is_wordnet_id(name) {
        true => format!(
            "the model's are WordNet ids, such as `{}`, by which the dataset's folders have to be \
             named (`n02123045+n02123159` is either); {new}",
            model[0]
        ),
        false => new.to_string(),
    }
}

/// `n` and eight digits.
fn is_wordnet_id(name: &str) -> bool {
    let digits = name.strip_prefix('n').unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn joined(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

/// Checks that each class of the model belongs to at most one class of the dataset.
fn check_apart(
    model: &[String],
    names: &[String],
    columns: &[Vec<u32>],
) -> Result<(), ClassMismatch> {
    let mut owners: HashMap<u32, &String> = HashMap::new();
    for (name, columns) in names.iter().zip(columns) {
        for column in columns {
            let Some(owner) = owners.insert(*column, name) else {
                continue;
            };
            let class = &model[*column as usize];
            let message = match owner == name {
                true => format!("the dataset's class `{name}` names `{class}` twice"),
                false if is_same(owner, name) => {
                    format!(
                        "two classes of the dataset are the model's `{class}`, in two Unicode forms"
                    )
                }
                false => format!(
                    "the dataset's classes `{owner}` and `{name}` are both the model's `{class}`"
                ),
            };
            return Err(ClassMismatch::new(
                message,
                "a class of the model belongs to one class of the dataset",
            ));
        }
    }
    Ok(())
}
