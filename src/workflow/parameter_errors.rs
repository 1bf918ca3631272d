//! Translates serde's errors about a `with:` block into the terms and places of the language.

use serde_json::Value;
use serde_path_to_error::Segment;

use super::kind::ParameterProblem;
use crate::diag::suggest;

impl ParameterProblem {
    /// Deserialises `with`, a map whose references are resolved.
    ///
    /// # Errors
    /// The first problem, with its path.
    pub fn typed<T: serde::de::DeserializeOwned>(with: &Value) -> Result<T, Vec<Self>> {
        serde_path_to_error::deserialize(with).map_err(|error| vec![Self::from_serde(&error)])
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
            let hint = suggest(first, "parameters", others.iter().copied());
            return Self {
                field: Some(first.to_string()),
                ..said(
                    "unknown-field",
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
                "missing-field",
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
