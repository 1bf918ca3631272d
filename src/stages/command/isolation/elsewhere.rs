//! Systems that can't isolate a line.

use std::convert::Infallible;
use std::io;
use std::process::Command;

use super::places::Place;

/// Never exists: no line is isolated here.
pub struct Restrictions(Infallible);

impl Restrictions {
    pub fn prepare(_places: &[Place], _network: bool) -> Result<Self, String> {
        Err("isolation needs Landlock and seccomp of Linux".to_string())
    }

    pub fn bind(&self, _command: &mut Command) {}

    pub fn refusal(&self, _error: &io::Error) -> Option<String> {
        match self.0 {}
    }

    pub fn name(&self) -> String {
        match self.0 {}
    }
}
