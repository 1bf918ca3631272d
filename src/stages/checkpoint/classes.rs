//! The class names of a checkpoint: from a list, a file or a dataset.

use std::path::PathBuf;

use serde_json::Value;

use super::Checkpoint;
use crate::contract::source::{Source, SourceShape};
use crate::ml::data::classes;
use crate::stages::choice::WordOr;
use crate::stages::images;
use crate::stages::task::{Context, TaskError, TaskInput};
use crate::store::artifact::{Artifact, Files};
use crate::workflow::kind::{BoundInput, ParameterProblem};

/// The name of the input, and of the source, that may hold the names.
pub(super) const CLASSES: &str = "classes";

impl Checkpoint {
    /// The names listed in the workflow file.
    pub(super) fn listed_classes(&self) -> Option<&[String]> {
        match self.classes.as_ref()? {
            WordOr::Other(names) => Some(names),
            WordOr::Word(_) => None,
        }
    }

    /// The file named by `classes`.
    pub(super) fn classes_source(&self) -> Option<Source> {
        let Some(WordOr::Word(file)) = &self.classes else {
            return None;
        };
        Some(Source {
            name: CLASSES.to_string(),
            location: PathBuf::from(&file.0),
            shape: SourceShape::File,
            sealed: false,
        })
    }

    /// Refuses duplicate names, which would be ambiguous.
    pub(super) fn check_classes(&self, inputs: &[BoundInput]) -> Option<ParameterProblem> {
        let mut bound = inputs.iter().filter(|input| !input.members.is_empty());
        if self.classes.is_some() && bound.any(|input| input.name == CLASSES) {
            let message = "`classes` is also given under `needs`";
            return Some(ParameterProblem::value("classes", message).hint("keep one of them"));
        }
        let twice = classes::twice(self.listed_classes()?)?;
        let message = format!(
            "class `{}` is duplicated, at {} and {}: a dataset's class could be either",
            twice.name, twice.first, twice.second
        );
        let mut problem = ParameterProblem::value("classes", message);
        problem.path.push(twice.second.to_string());
        Some(problem.hint(
            "use unique names, such as `crane (bird)`, here and in the datasets; for ImageNet, leave \
             `classes` out to use WordNet ids",
        ))
    }

    /// The names from any of the three places; `None` if none are given.
    pub(super) fn given_classes(
        &self,
        context: &Context,
    ) -> Result<Option<Vec<String>>, TaskError> {
        let Some(input) = context.members(CLASSES).first() else {
            return Ok(self.listed_classes().map(<[String]>::to_vec));
        };
        let names = match &input.artifact {
            Artifact::Dataset(dataset) => dataset.classes.clone(),
            Artifact::Files(files) => in_file(context, input, files)?,
            _ => return Err(TaskError::Input("`classes` holds no names".to_string())),
        };
        match classes::twice(&names) {
            None => Ok(Some(names)),
            Some(twice) => Err(TaskError::Input(format!(
                "`classes`: class `{}` is duplicated, at {} and {}: use unique names",
                twice.name, twice.first, twice.second
            ))),
        }
    }
}

fn in_file(context: &Context, input: &TaskInput, files: &Files) -> Result<Vec<String>, TaskError> {
    let file = files.files.first_key_value();
    let (name, file) =
        file.ok_or_else(|| TaskError::Input("`classes` names no file".to_string()))?;
    let bytes = images::file_bytes(context, input, name, &file.blob())?;
    let names = std::str::from_utf8(&bytes).ok().and_then(parsed);
    names.filter(|names| !names.is_empty()).ok_or_else(|| {
        TaskError::Input(format!(
            "{name} does not list class names: expected one name per line, a JSON list of names, \
             or a JSON map between names and indices"
        ))
    })
}

/// Names, one per line or as JSON.
pub fn parsed(text: &str) -> Option<Vec<String>> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if !text.starts_with(['[', '{']) {
        let lines = text.lines().map(str::trim);
        return Some(
            lines
                .filter(|line| !line.is_empty())
                .map(str::to_string)
                .collect(),
        );
    }
    match serde_json::from_str(text).ok()? {
        Value::Array(names) => names.iter().map(name).collect(),
        // `class_to_idx` of torchvision, or an index to a name.
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| match value.as_u64() {
                Some(index) => Some((index, key.clone())),
                None => Some((key.parse().ok()?, name(value)?)),
            };
            let mut pairs: Vec<(u64, String)> = map.iter().map(pair).collect::<Option<_>>()?;
            pairs.sort();
            let counted = pairs.iter().zip(0..).all(|(pair, index)| pair.0 == index);
            counted.then(|| pairs.into_iter().map(|(_, name)| name).collect())
        }
        _ => None,
    }
}

fn name(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_as_lines_lists_and_maps() {
        let expected = Some(vec!["dog".to_string(), "cat 2".to_string()]);
        for text in [
            "dog\ncat 2\n",
            "\u{feff}dog\r\n\r\n cat 2",
            r#"["dog", "cat 2"]"#,
            r#"{"cat 2": 1, "dog": 0}"#,
            r#"{"0": "dog", "1": "cat 2"}"#,
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        for text in [r#"{"dog": 1}"#, "[1]", "[", r#"{"a": 0, "b": 0}"#] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
