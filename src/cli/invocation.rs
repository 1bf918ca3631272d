//! Command lines for hints: the workflow as the user typed it, quoted for a shell, so that a
//! suggested command can be copied and run.

use super::target::WorkflowArguments;
use crate::engine::journal::{self, Header, WorkflowIdentity};
use crate::store::Store;
use crate::workflow::graph::Graph;

impl WorkflowArguments {
    /// `grid.yaml --profile tiny --set 'axes.seed=[0, 1]'`
    pub fn typed(&self) -> String {
        let mut words = vec![quoted(&self.file.display().to_string())];
        words.extend(settings(&self.profiles, &self.sets));
        words.join(" ")
    }
}

/// `--profile tiny`, `--set 'axes.seed=[0, 1]'`
pub fn settings(profiles: &[String], sets: &[String]) -> Vec<String> {
    let profiles = profiles.iter().map(|profile| ("--profile", profile));
    let sets = sets.iter().map(|set| ("--set", set));
    let option = |(option, value): (&str, &String)| format!("{option} {}", quoted(value));
    profiles.chain(sets).map(option).collect()
}

/// The profiles and overrides of a run: `with --profile tiny`.
pub fn with_settings(run: &Header) -> String {
    match settings(&run.profiles, &run.overrides).as_slice() {
        [] => "without `--profile` and `--set`".to_string(),
        settings => format!("with `{}`", settings.join(" ")),
    }
}

/// A word quoted for a shell.
pub fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./=:,+@%".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A note for requests with missing results: the last run of the workflow used other profiles or
/// overrides.
pub fn other_settings(store: &Store, graph: &Graph) -> Option<String> {
    // Errors do not matter: this is only a note.
    let last = journal::latest(store, &WorkflowIdentity::of(graph, store)).ok()??;
    let run = Some(last).filter(|run| !run.header.is_like(graph))?;
    Some(format!(
        "the last run was {}; use the same options to find its results",
        with_settings(&run.header)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_can_be_typed() {
        let workflow = WorkflowArguments {
            file: "my grid.yaml".into(),
            sets: vec!["axes.seed=[0, 1]".to_string()],
            profiles: vec!["tiny".to_string()],
        };
        assert_eq!(
            workflow.typed(),
            "'my grid.yaml' --profile tiny --set 'axes.seed=[0, 1]'"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
