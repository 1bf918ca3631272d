//! Translates serde's errors about a `with:` block into the terms and places of the language.

use serde_json::Value;
use serde_path_to_error::Segment;

use super::kind::ParameterProblem;
use crate::diag::suggest;

impl ParameterProblem {
    /// Deserialises `with`, a map whose references are resolved.
    ///
    /// # Errors
    /// All unknown fields, and the first other problem, with their paths.
    pub fn typed<T: serde::de::DeserializeOwned>(with: &Value) -> Result<T, Vec<Self>> {
        let first = match serde_path_to_error::deserialize(with) {
            Ok(typed) => return Ok(typed),
            Err(error) => Self::from_serde(&error),
        };
        // The reader stops at the first problem; without it, it finds the next one.
        let mut rest = with.clone();
        let mut problems = vec![first];
        while let Some(last) = problems.last()
            && last.code == UNKNOWN_FIELD
            && problems.len() < MOST_UNKNOWN
            && remove(&mut rest, &last.path)
            && let Err(error) = serde_path_to_error::deserialize::<_, T>(&rest)
        {
            let next = Self::from_serde(&error);
            // A field that is missing may be there under another name.
            if next.code == MISSING_FIELD && problems.iter().any(|it| it.means(&next.message)) {
                break;
            }
            problems.push(next);
        }
        Err(problems)
    }

    /// Whether its hint names the parameter of `message`.
    fn means(&self, message: &str) -> bool {
        let hint = self.hint.as_deref().unwrap_or_default();
        let name = message.split('`').nth(1).unwrap_or_default();
        hint == did_you_mean(name)
    }

    fn from_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let segments = error.path().iter();
        let mut path: Vec<String> = segments
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Enum { variant } => Some(variant.clone()),
                Segment::Unknown => None,
            })
            .collect();
        let words = ParsedMessage::of(&error.inner().to_string());
        if let Some(name) = &words.field
            && path.last() != Some(name)
        {
            path.push(name.clone());
        }
        Self {
            code: words.code,
            path,
            input: None,
            at_name: words.field.is_some(),
            message: words.message,
            hint: words.hint,
        }
    }
}

const UNKNOWN_FIELD: &str = "unknown-field";
const MISSING_FIELD: &str = "missing-field";

/// The most unknown fields of a block that are reported: each costs another reading.
const MOST_UNKNOWN: usize = 20;

/// Removes the field at `path`. Returns whether it was there.
fn remove(value: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut parent = value;
    for step in parents {
        let next = match parent {
            Value::Object(fields) => fields.get_mut(step),
            Value::Array(items) => step
                .parse()
                .ok()
                .and_then(|index: usize| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else {
            return false;
        };
        parent = next;
    }
    let fields = parent.as_object_mut();
    fields.is_some_and(|fields| fields.remove(last).is_some())
}

/// Names that other programs use, and what they are here.
const OTHER_NAMES: [(&str, &str); 8] = [
    ("path", "folder"),
    ("dir", "folder"),
    ("directory", "folder"),
    ("file", "path"),
    ("model", "arch"),
    ("model_name", "arch"),
    ("architecture", "arch"),
    ("published", "expect"),
];

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// The parameter that is meant by `wrong`, as a hint.
fn meant(wrong: &str, parameters: &[&str]) -> String {
    let mut known = OTHER_NAMES.iter().filter(|(name, _)| *name == wrong);
    match known.find(|(_, here)| parameters.contains(here)) {
        Some((_, here)) => did_you_mean(here),
        None => suggest(wrong, "parameters", parameters.iter().copied()),
    }
}

struct ParsedMessage {
    code: &'static str,
    message: String,
    hint: Option<String>,
    /// The name of the unknown field.
    field: Option<String>,
}

impl ParsedMessage {
    fn of(message: &str) -> Self {
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let (first, others) = match quoted.split_first() {
            Some((first, others)) => (*first, others),
            None => ("", [].as_slice()),
        };
        let said = |code, message: String, hint| Self {
            code,
            message,
            hint,
            field: None,
        };
        if message.starts_with("unknown field") {
            let hint = meant(first, others);
            return Self {
                field: Some(first.to_string()),
                ..said(
                    UNKNOWN_FIELD,
                    format!("there is no parameter `{first}` here"),
                    Some(hint),
                )
            };
        }
        if message.starts_with("unknown variant") {
            let choices = crate::diag::listed(others.iter().copied());
            let hint = match crate::diag::nearest(first, others.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? It is one of {choices}"),
                None => format!("it is one of {choices}"),
            };
            return said(
                "bad-value",
                format!("`{first}` is not one of the choices"),
                Some(hint),
            );
        }
        if message.starts_with("missing field") {
            return said(
                MISSING_FIELD,
                format!("parameter `{first}` is missing"),
                None,
            );
        }
        let wrong = message
            .strip_prefix("invalid type: ")
            .or_else(|| message.strip_prefix("invalid value: "));
        match wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
            Some((found, wanted)) => {
                let (wanted, found) = (wanted_words(wanted), found_words(found));
                said(
                    "bad-value",
                    format!("{wanted} is expected here, not {found}"),
                    None,
                )
            }
            None => said("bad-value", message.to_string(), None),
        }
    }
}

fn wanted_words(wanted: &str) -> String {
    match wanted {
        "a boolean" => "`true` or `false`",
        "u8" => "a whole number from 0 to 255",
        "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" => "a text",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "a map",
        other => other,
    }
    .to_string()
}

fn found_words(found: &str) -> String {
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.to_string(),
        Some(("floating", rest)) => rest.trim_start_matches("point ").to_string(),
        _ => match found {
            "sequence" => "a list".to_string(),
            "map" => "a map".to_string(),
            other => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code)]
    struct With {
        epochs: u8,
        rate: Option<f64>,
        choice: Option<Choice>,
        layers: Option<Vec<Layer>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code)]
    struct Layer {
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Cosine,
        Constant,
    }

    #[test]
    fn all_unknown_parameters_are_reported_at_once() {
        let with = json!({"epochs": 1, "rat": 1, "layers": [{"name": "a", "wide": 3}], "z": 0});
        let problems = ParameterProblem::typed::<With>(&with).unwrap_err();
        let paths: Vec<String> = problems.iter().map(|it| it.path.join("/")).collect();
        assert_eq!(paths.len(), 3);
        for path in ["rat", "layers/0/wide", "z"] {
            assert!(paths.contains(&path.to_string()), "{paths:?}");
        }
        let problems = ParameterProblem::typed::<With>(&json!({"rat": 1})).unwrap_err();
        assert_eq!(problems[1].message, "parameter `epochs` is missing");
        assert_eq!(meant("path", &["part", "folder"]), "did you mean `folder`?");
    }

    #[test]
    fn problems_have_words_and_places() {
        let cases = [
            (json!({}), "", "parameter `epochs` is missing"),
            (
                json!({"epochs": 300}),
                "epochs",
                "a whole number from 0 to 255 is expected here, not `300`",
            ),
            (
                json!({"epochs": -1}),
                "epochs",
                "a whole number from 0 to 255 is expected here, not `-1`",
            ),
            (
                json!({"epochs": "x"}),
                "epochs",
                "a whole number from 0 to 255 is expected here, not the text \"x\"",
            ),
            (
                json!({"epochs": 1, "rate": [1]}),
                "rate",
                "a number is expected here, not a list",
            ),
            (
                json!({"epochs": 1, "rat": 1}),
                "rat",
                "there is no parameter `rat` here",
            ),
            (
                json!({"epochs": 1, "choice": "cos"}),
                "choice",
                "`cos` is not one of the choices",
            ),
            (
                json!({"epochs": 1, "layers": [{"name": "a"}, {"name": 3}]}),
                "layers/1/name",
                "a text is expected here, not `3`",
            ),
            (
                json!({"epochs": 1, "layers": [{"width": 3}]}),
                "layers/0/width",
                "there is no parameter `width` here",
            ),
        ];
        for (with, path, message) in cases {
            let problems = ParameterProblem::typed::<With>(&with).unwrap_err();
            assert_eq!(problems[0].message, message, "{with}");
            assert_eq!(problems[0].path.join("/"), path, "{with}");
        }
    }
}
