//! Amounts as options take them: bytes, shares, spans of time.

use std::str::FromStr;

use crate::remote::trust::share;
use crate::workflow::resources::{bytes, seconds};

/// An amount of bytes: `64GB`, `500GiB`, `0`.
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
            "a share is expected: 5%, 0.05, at most 100%; FILE stands before --recompute"
                .to_string()
        })
    }
}

/// A span of time: `30d`, `12h`, `0`.
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
