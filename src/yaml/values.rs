//! The only module that calls serde_yaml. It decides the type of a scalar (`no` is a text, `1e3` a
//! number), and so what enters a key; places come from [`super::outline`].

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Number;
use serde_yaml::Value;

/// A YAML document as plain data. Maps keep their order.
pub enum Yaml {
    Null,
    Bool(bool),
    Number(Number),
    /// A float that JSON can't represent: `.inf`, `.nan`.
    NotFinite,
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(Key, Yaml)>),
    /// Tags have been refused before: only this reader takes the value for one.
    Tagged,
}

/// A key: a text, or a number where those are taken. Nothing else is.
pub enum Key {
    Text(String),
    Number(Number),
    Other,
}

/// Why a text is not valid YAML, and at which byte if that is known.
pub struct YamlError {
    pub message: String,
    pub index: Option<usize>,
    /// The integer that the reader can't hold; the text is YAML.
    pub too_large: Option<String>,
}

/// Parses a document that [`super::outline`] has accepted.
pub fn parse(text: &str) -> Result<Yaml, YamlError> {
    decode(text).map(convert)
}

/// Parses and deserialises such a document.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_yaml::from_str(text).map_err(|error| YamlError {
        too_large: too_large(&error.to_string()),
        message: error.to_string(),
        index: error.location().map(|location| location.index()),
    })
}

/// The integer in serde's message about one that does not fit into 64 bits.
fn too_large(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("invalid type: integer `")?;
    let (number, rest) = rest.split_once('`')?;
    let is_wide = rest.starts_with(" as u128") || rest.starts_with(" as i128");
    is_wide.then(|| number.to_string())
}

/// Serialises a value.
pub fn encode(value: &impl Serialize) -> Result<String, String> {
    serde_yaml::to_string(value).map_err(|error| error.to_string())
}

fn convert(value: Value) -> Yaml {
    match value {
        Value::Null => Yaml::Null,
        Value::Bool(flag) => Yaml::Bool(flag),
        Value::Number(number) => convert_number(&number),
        Value::String(text) => Yaml::Text(text),
        Value::Sequence(items) => Yaml::List(items.into_iter().map(convert).collect()),
        Value::Mapping(map) => Yaml::Map(
            map.into_iter()
                .map(|(key, value)| (convert_key(key), convert(value)))
                .collect(),
        ),
        Value::Tagged(_) => Yaml::Tagged,
    }
}

fn convert_key(key: Value) -> Key {
    match key {
        Value::String(text) => Key::Text(text),
        Value::Number(number) => match convert_number(&number) {
            Yaml::Number(number) => Key::Number(number),
            _ => Key::Other,
        },
        _ => Key::Other,
    }
}

fn convert_number(number: &serde_yaml::Number) -> Yaml {
    let converted = if let Some(unsigned) = number.as_u64() {
        Some(Number::from(unsigned))
    } else if let Some(signed) = number.as_i64() {
        Some(Number::from(signed))
    } else {
        number.as_f64().and_then(Number::from_f64)
    };
    converted.map_or(Yaml::NotFinite, Yaml::Number)
}
