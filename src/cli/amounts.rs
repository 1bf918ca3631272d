//! Quantities as option values: sizes, shares, durations.

use std::str::FromStr;

use crate::remote::trust::share;
use crate::workflow::resources::{bytes, seconds};

/// A size in bytes: `64GB`, `500GiB`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0" => Ok(Self(0)),
            _ => bytes(&text.into()).map(Self),
        }
    }
}

/// A share of some nodes: `5%`, `0.05`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = share(text).filter(|share| *share > 0.0);
        share.map(Self).ok_or_else(|| {
            "expected a share of at most 100%: 5%, 0.05; put FILE before --recompute".to_string()
        })
    }
}

/// A duration: `30d`, `12h`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub u64);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()) {
            "0" => Ok(Self(0)),
            _ => seconds(&text.into()).map(Self),
        }
    }
}
