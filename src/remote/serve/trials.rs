//! The probe files of clients (`remote::probe`): remembered for a short time, so that the responses
//! are consistent, and never stored.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

use super::target::Target;

/// The maximum number of trials; the oldest is dropped first.
const MOST: usize = 64;

/// The most recent trials.
#[derive(Debug, Default)]
pub struct Trials(Mutex<VecDeque<u128>>);

impl Trials {
    fn held(&self) -> MutexGuard<'_, VecDeque<u128>> {
        self.0.lock().unwrap_or_else(|held| held.into_inner())
    }

    pub fn has(&self, number: u128) -> bool {
        self.held().contains(&number)
    }

    pub fn add(&self, number: u128) {
        let mut held = self.held();
        if held.contains(&number) {
            return;
        }
        if held.len() == MOST {
            held.pop_front();
        }
        held.push_back(number);
    }

    pub fn remove(&self, number: u128) {
        self.held().retain(|known| *known != number);
    }

    /// The trials as a folder listing.
    pub fn listed(&self) -> Value {
        let held = self.held();
        let names = held.iter().map(|number| {
            let name = Target::Trial(*number).name();
            let name = name.rsplit('/').next().unwrap_or_default();
            json!({ "name": name, "type": "file", "size": 0 })
        });
        Value::Array(names.collect())
    }
}
