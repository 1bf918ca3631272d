//! Two labs, each with a home and a store of its own, that share what they compute: through a
//! folder, an S3 server, a web server, `ribflow serve`, a bundle; and what one of them does when
//! the other is down, unknown, or not to be believed.

mod archives;
mod bundles;
mod crates;
mod lock;
mod places;
mod policies;
mod revocation;
mod telling;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::space::{Outcome, TestSpace};

/// The nodes of mini-RIB's smallest profile.
const NODES: u64 = 32;

/// A lab: a folder with mini-RIB, a home, and what its environment adds.
struct Laboratory {
    space: TestSpace,
    environment: Vec<(String, String)>,
}

impl Laboratory {
    fn new() -> Self {
        let space = TestSpace::new();
        let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/mini-rib.yaml");
        space.write("mini-rib.yaml", std::fs::read(workflow).unwrap());
        Self {
            space,
            environment: Vec::new(),
        }
    }

    fn with(mut self, environment: &[(String, String)]) -> Self {
        self.environment.extend(environment.iter().cloned());
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.space.command(arguments);
        command.envs(self.environment.iter().cloned());
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.space.finish(&mut self.command(arguments))
    }

    /// Its public key, as others take it.
    fn key(&self, name: &str) -> String {
        self.run(&["key", "generate", "--name", name]).ok();
        let shown = self.run(&["key", "show"]).expect(0).stdout;
        shown.lines().next().unwrap().trim().to_string()
    }

    fn add_remote(&self, name: &str, url: &str, options: &[&str]) {
        let words = [&["remote", "add", name, url], options].concat();
        self.run(&words).ok();
    }

    /// Runs mini-RIB's smallest profile; its summary, and what was said.
    fn mini_rib(&self, options: &[&str]) -> (Value, String) {
        let words = ["run", "mini-rib.yaml", "--profile", "tiny", "--json"];
        let outcome = self.run(&[&words[..], options].concat()).expect(0);
        let summary = outcome.json_lines().pop().unwrap();
        (summary, outcome.stderr)
    }

    fn results(&self) -> String {
        self.space.read("out/mini-rib-tiny/results.json")
    }

    /// The names of its records, which are their digests.
    fn records(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        collect(&self.space.path("cache/records"), &mut names);
        names
    }
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true => collect(&path, names),
            false if name.ends_with(".json") => {
                names.insert(name.to_string());
            }
            false => {}
        }
    }
}

/// The number in a field of a summary.
fn number(summary: &Value, field: &str) -> u64 {
    summary[field].as_u64().unwrap_or_default()
}
