//! Parameters that are either a word or a longer form.

use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A word of `W`, or else an `O`: a list or a map.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum WordOr<W, O> {
    Word(W),
    Other(O),
}

impl<'de, W: Deserialize<'de>, O: Deserialize<'de>> Deserialize<'de> for WordOr<W, O> {
    /// Does not try one form after the other, because that would lose the error message of each.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

struct Either<W, O>(PhantomData<(W, O)>);

impl<'de, W: Deserialize<'de>, O: Deserialize<'de>> Visitor<'de> for Either<W, O> {
    type Value = WordOr<W, O>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a word, a list or a map")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
        W::deserialize(word.into_deserializer()).map(WordOr::Word)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        O::deserialize(SeqAccessDeserializer::new(list)).map(WordOr::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        O::deserialize(MapAccessDeserializer::new(map)).map(WordOr::Other)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Large,
    }

    #[test]
    fn both_ways_are_read_and_each_says_what_is_wrong() {
        type Choice = WordOr<Size, Vec<u8>>;
        for (text, value) in [
            ("\"large\"", WordOr::Word(Size::Large)),
            ("[1,2]", WordOr::Other(vec![1, 2])),
        ] {
            let read: Choice = from_str(text).unwrap();
            assert_eq!(read, value);
            assert_eq!(to_string(&read).unwrap(), text);
        }
        let words = |text: &str| from_str::<Choice>(text).unwrap_err().to_string();
        assert!(words("\"huge\"").contains("unknown variant `huge`"));
        assert!(words("[1,\"x\"]").contains("expected u8"));
        assert!(words("3").contains("expected a word, a list or a map"));
    }
}
