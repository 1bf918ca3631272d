//! For whoever reads further files of the same making, such as published values: YAML with places,
//! fields that are reported where they stand, and selectors.

pub use super::compile::report_syntax;
pub use super::expression::SyntaxError;
pub use super::expression::selector::{Pick, Picked, Selector};
pub use super::fields::{Fields, strings};
pub use super::spec::Text;
pub use crate::yaml::{Content, Entry, Tree, parse, read};
