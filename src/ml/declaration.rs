//! How a fine-tuning method or a distance declares itself: a name, a summary, and typed options.
//!
//! The declaration is in the file of the method. Parameters, defaults, the JSON Schema, the
//! documentation and the check for misplaced options are derived from it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A set of options: a struct with a default for every field, whose names are those in a workflow
/// file.
pub trait Options: Serialize + DeserializeOwned + Default + JsonSchema {}

impl<O: Serialize + DeserializeOwned + Default + JsonSchema> Options for O {}

/// One of several choices, with its own options. `T` is the trait of the typed options.
pub struct Declaration<T: ?Sized> {
    /// The name in a workflow file.
    pub name: &'static str,
    /// One or two sentences for the documentation.
    pub summary: &'static str,
    /// The schema of the options: an object with a default for each property.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Deserialises the options in a map. Omitted options have their defaults; options of other
    /// choices are ignored.
    pub parse: fn(Map<String, Value>) -> serde_json::Result<Box<T>>,
    /// Deserialises and serialises again: the value of every option of this choice.
    pub complete: Complete,
}

/// Deserialises the options of a choice and returns the value of every one of them.
pub type Complete = fn(Map<String, Value>) -> serde_json::Result<Map<String, Value>>;

/// Deserialises the options in `given` as `O`.
pub fn parse<O: Options>(given: Map<String, Value>) -> serde_json::Result<O> {
    serde_json::from_value(Value::Object(given))
}

/// The value of every option of `O`.
pub fn complete<O: Options>(given: Map<String, Value>) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(parse::<O>(given)?)? {
        Value::Object(options) => Ok(options),
        _ => Err(serde_json::Error::custom("options are a struct")),
    }
}

/// All choices of a list, and the options of all of them.
pub struct Declarations<T: ?Sized + 'static> {
    /// The first one is the default.
    pub all: Vec<Declaration<T>>,
    /// By name.
    pub options: BTreeMap<String, OptionDeclaration<T>>,
}

/// An option. Choices may share one, with the same type, default and documentation.
pub struct OptionDeclaration<T: ?Sized> {
    pub default: Value,
    /// The choices with this option, in the order of the list.
    pub owners: Vec<&'static str>,
    complete: Complete,
    _of: std::marker::PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> Declarations<T> {
    pub fn new(all: Vec<Declaration<T>>) -> Self {
        let mut options = BTreeMap::new();
        for declaration in &all {
            // A default is a valid value.
            let defaults = (declaration.complete)(Map::new()).unwrap_or_default();
            for (name, default) in defaults {
                let option = options.entry(name).or_insert_with(|| OptionDeclaration {
                    default,
                    owners: Vec::new(),
                    complete: declaration.complete,
                    _of: std::marker::PhantomData,
                });
                option.owners.push(declaration.name);
            }
        }
        Self { all, options }
    }
}

impl<T: ?Sized> OptionDeclaration<T> {
    /// Deserialises `value` as the option `name`; `None` if it is the default.
    ///
    /// # Errors
    /// The value has another type.
    pub fn typed(&self, name: &str, value: Value) -> serde_json::Result<Option<Value>> {
        let given = Map::from_iter([(name.to_string(), value)]);
        let value = (self.complete)(given)?.remove(name);
        Ok(value.filter(|value| *value != self.default))
    }
}

/// A list of choices. Implemented for the `dyn` trait of their options.
pub trait Declared: 'static {
    /// Title and description in the JSON Schema.
    const TITLE: &'static str;
    const DESCRIPTION: Option<&'static str>;

    fn list() -> &'static Declarations<Self>;
}

/// One choice of a list: the value of `method:` or `distance:`.
pub struct Choice<T: ?Sized + 'static>(pub &'static Declaration<T>);

impl<T: ?Sized> Choice<T> {
    pub fn name(self) -> &'static str {
        self.0.name
    }
}

impl<T: ?Sized> Clone for Choice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Choice<T> {}

impl<T: ?Sized> fmt::Debug for Choice<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.0.name)
    }
}

impl<T: ?Sized> PartialEq for Choice<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl<T: ?Sized + Declared> Default for Choice<T> {
    fn default() -> Self {
        Self(&T::list().all[0])
    }
}

impl<T: ?Sized> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

impl<'de, T: ?Sized + Declared> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let all = &T::list().all;
        let unknown = || {
            let names: Vec<String> = all.iter().map(|it| format!("`{}`", it.name)).collect();
            let names = names.join(", ");
            // Worded as serde does for an enum.
            D::Error::custom(format!("unknown variant `{name}`, expected one of {names}"))
        };
        let found = all.iter().find(|it| it.name == name);
        found.map(Self).ok_or_else(unknown)
    }
}

impl<T: ?Sized + Declared> JsonSchema for Choice<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::TITLE.into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let choice = |declaration: &Declaration<T>| {
            serde_json::json!({
                "const": declaration.name,
                "description": declaration.summary,
                "type": "string",
            })
        };
        let choices: Vec<Value> = T::list().all.iter().map(choice).collect();
        let mut schema = json_schema!({ "oneOf": choices });
        if let Some(description) = T::DESCRIPTION {
            schema.insert("description".to_string(), description.into());
        }
        schema
    }
}

/// A problem with the value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionProblem {
    pub option: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl OptionProblem {
    pub fn new(option: &'static str, message: impl Into<String>) -> Self {
        Self {
            option,
            message: message.into(),
            hint: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Choices that share an option declare the same default and the same schema.
    pub(crate) fn shared_options_agree<T: ?Sized + Declared>() {
        let mut properties: BTreeMap<String, Value> = BTreeMap::new();
        for declaration in &T::list().all {
            let mut generator = SchemaGenerator::default();
            let schema = (declaration.schema)(&mut generator).to_value();
            let own = schema["properties"].as_object().cloned();
            for (name, property) in own.unwrap_or_default() {
                assert!(
                    property.get("description").is_some(),
                    "`{name}` has no doc comment"
                );
                let first = properties.entry(name.clone());
                let first = first.or_insert_with(|| property.clone());
                assert_eq!(*first, property, "`{name}` of `{}`", declaration.name);
            }
        }
        let options: Vec<&String> = T::list().options.keys().collect();
        assert_eq!(options, properties.keys().collect::<Vec<_>>());
    }
}
