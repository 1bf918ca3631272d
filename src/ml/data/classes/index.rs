//! Finds class names in a list. File systems and editors write accented letters as one character or
//! as two; both are the same name.

use std::borrow::Cow;
use std::collections::HashMap;

use icu_normalizer::ComposingNormalizerBorrowed;

/// `name` in Unicode's composed form (NFC).
fn composed(name: &str) -> Cow<'_, str> {
    match name.is_ascii() {
        true => Cow::Borrowed(name),
        false => ComposingNormalizerBorrowed::new_nfc().normalize(name),
    }
}

/// Whether two class names are the same text, in whichever Unicode form they are written.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || composed(one) == composed(other)
}

/// The places of names in a list.
pub struct ClassIndex<'a> {
    exact: HashMap<&'a str, Vec<u32>>,
    /// By composed form, the names that are written otherwise.
    other_forms: HashMap<Cow<'a, str>, Vec<u32>>,
}

impl<'a> ClassIndex<'a> {
    pub fn new(names: &'a [String]) -> Self {
        let mut index = Self {
            exact: HashMap::new(),
            other_forms: HashMap::new(),
        };
        for (name, place) in names.iter().zip(0..) {
            index.exact.entry(name).or_default().push(place);
            let form = composed(name);
            if form != name.as_str() {
                index.other_forms.entry(form).or_default().push(place);
            }
        }
        index
    }

    /// Whether `name` is in the list, byte for byte.
    pub fn has(&self, name: &str) -> bool {
        self.exact.contains_key(name)
    }

    /// The places of `name`: those with the same bytes, otherwise those in another Unicode form.
    pub fn find(&self, name: &str) -> Vec<u32> {
        let exact = |name: &str| self.exact.get(name).cloned();
        if let Some(places) = exact(name) {
            return places;
        }
        let form = composed(name);
        let mut places = exact(&form).unwrap_or_default();
        places.extend(self.other_forms.get(&form).into_iter().flatten());
        places.sort_unstable();
        places.dedup();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U+212B and `A` with a ring are two writings of `Å`; U+212A is a writing of `K`.
    #[test]
    fn a_name_is_found_in_every_form_and_in_its_own_first() {
        let names = ["\u{e9}", "e\u{301}", "A\u{30a}", "K", "plain"].map(String::from);
        let index = ClassIndex::new(&names);
        let cases: [(&str, &[u32]); 8] = [
            ("\u{e9}", &[0]),
            ("e\u{301}", &[1]),
            ("\u{c5}", &[2]),
            ("\u{212b}", &[2]),
            ("\u{212a}", &[3]),
            ("plain", &[4]),
            ("e", &[]),
            ("\u{c9}", &[]),
        ];
        for (name, places) in cases {
            assert_eq!(index.find(name), places, "{name:?}");
        }
        assert!(is_same("\u{212b}", "A\u{30a}") && is_same("K", "\u{212a}"));
        assert!(!is_same("e", "\u{e9}"));
    }
}
