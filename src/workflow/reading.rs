//! For modules that read similar files, such as published values: YAML with places, fields that are
//! reported at their place, and selectors.

pub use super::expression::selector::{Pick, Picked, Selector};
pub use super::expression::{SyntaxError, report_syntax};
pub use super::fields::{Fields, Text, strings};
pub use crate::yaml::{Content, Entry, Tree, parse_with_numbers, read};
