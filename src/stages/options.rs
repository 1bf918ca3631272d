//! Parameters of a kind with a choice (a method, a distance), where each choice has its own
//! options. A workflow file lists all options at the same level.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::ml::declaration::{Choice, Declared, OptionDeclaration, OptionProblem};
use crate::workflow::kind::ParameterProblem;

/// The parameters that all choices share, including the choice itself.
pub trait Common: Serialize + DeserializeOwned + Default + JsonSchema {
    /// The trait of the options.
    type Options: ?Sized + Declared;

    /// The selected choices. Never empty.
    fn chosen(&self) -> Vec<Choice<Self::Options>>;
}

/// The parameters of a kind with a choice.
pub struct WithOptions<C> {
    pub common: C,
    /// The options of any choice that differ from their defaults.
    given: Map<String, Value>,
}

impl<C: Common> WithOptions<C> {
    /// The typed options of `choice`.
    pub fn options(&self, choice: Choice<C::Options>) -> Box<C::Options> {
        let options = (choice.0.parse)(self.given.clone());
        options.expect("each option was typed when it was read")
    }

    /// Options that belong to none of the selected choices.
    pub fn misplaced_options(&self) -> Vec<ParameterProblem> {
        let chosen = self.common.chosen();
        let declared = &C::Options::list().options;
        let mut problems = Vec::new();
        for name in self.given.keys() {
            let owners = &declared[name].owners;
            if !chosen.iter().any(|choice| owners.contains(&choice.name())) {
                let message = format!("`{name}` is not an option of `{}`", chosen[0].name());
                let owners: Vec<String> = owners.iter().map(|of| format!("`{of}`")).collect();
                let hint = format!("it is an option of {}", owners.join(", "));
                problems.push(ParameterProblem::value(name, message).hint(hint));
            }
        }
        problems
    }
}

impl From<OptionProblem> for ParameterProblem {
    fn from(problem: OptionProblem) -> Self {
        Self {
            hint: problem.hint,
            ..Self::value(problem.option, problem.message)
        }
    }
}

impl<C: Clone> Clone for WithOptions<C> {
    fn clone(&self) -> Self {
        Self {
            common: self.common.clone(),
            given: self.given.clone(),
        }
    }
}

impl<C: Default> Default for WithOptions<C> {
    fn default() -> Self {
        Self {
            common: C::default(),
            given: Map::new(),
        }
    }
}

impl<C: Common> Serialize for WithOptions<C> {
    /// Leaves out options that equal their defaults, as in the canonical encoding.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = fields(&self.common);
        fields.extend(self.given.clone());
        fields.serialize(serializer)
    }
}

fn fields<C: Common>(common: &C) -> Map<String, Value> {
    match serde_json::to_value(common) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

impl<'de, C: Common> Deserialize<'de> for WithOptions<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<C>(PhantomData<C>);

impl<'de, C: Common> Visitor<'de> for Reader<C> {
    type Value = WithOptions<C>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        let mut given = Map::new();
        let fields = fields(&C::default()).into_iter();
        let split = Split::<M, C::Options> {
            map,
            fields: fields.map(|(name, _)| name).collect(),
            given: &mut given,
            _options: PhantomData,
        };
        let common = C::deserialize(MapAccessDeserializer::new(split))?;
        Ok(WithOptions { common, given })
    }
}

/// Collects the options of a map in `given` and forwards the other fields.
struct Split<'a, M, T: ?Sized> {
    map: M,
    /// The names of the other fields.
    fields: BTreeSet<String>,
    given: &'a mut Map<String, Value>,
    _options: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized + Declared, M> Split<'_, M, T> {
    /// The message that serde gives for a struct.
    fn unknown(&self, name: &str) -> String {
        let options = T::list().options.keys();
        let names: BTreeSet<&String> = self.fields.iter().chain(options).collect();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = names.join(", ");
        format!("unknown field `{name}`, expected one of {names}")
    }
}

impl<'de, M: MapAccess<'de>, T: ?Sized + Declared> MapAccess<'de> for Split<'_, M, T> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, M::Error> {
        while let Some(name) = self.map.next_key::<String>()? {
            if let Some(option) = T::list().options.get(&name) {
                let typed = Typed {
                    name: &name,
                    option,
                };
                if let Some(value) = self.map.next_value_seed(typed)? {
                    self.given.insert(name, value);
                }
            } else if self.fields.contains(&name) {
                return seed.deserialize(name.into_deserializer()).map(Some);
            } else {
                return Err(M::Error::custom(self.unknown(&name)));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, M::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Reads the value of one option; `None` if it is the default.
struct Typed<'a, T: ?Sized> {
    name: &'a str,
    option: &'a OptionDeclaration<T>,
}

impl<'de, T: ?Sized> DeserializeSeed<'de> for Typed<'_, T> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let typed = self.option.typed(self.name, value);
        typed.map_err(|error| D::Error::custom(error.to_string()))
    }
}

impl<C: Common> JsonSchema for WithOptions<C> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        C::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = C::json_schema(generator);
        let list = C::Options::list();
        let mut options = Map::new();
        for declaration in &list.all {
            let own = (declaration.schema)(generator);
            let own = own.get("properties").and_then(Value::as_object);
            options.extend(own.cloned().unwrap_or_default());
        }
        for (name, option) in &mut options {
            if let Some(Value::String(words)) = option.get_mut("description") {
                let owners = list.options[name].owners.join(", ");
                *words = format!("{} ({owners}).", words.trim_end_matches('.'));
            }
        }
        if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            fields.extend(options);
        }
        schema
    }
}
