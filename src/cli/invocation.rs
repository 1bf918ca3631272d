//! Commands that hints propose, with the workflow as it was typed: what is shown can be run.

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

/// With what profiles and values a run was: `with --profile tiny`.
pub fn with_settings(run: &Header) -> String {
    match settings(&run.profiles, &run.overrides).as_slice() {
        [] => "without `--profile` and `--set`".to_string(),
        settings => format!("with `{}`", settings.join(" ")),
    }
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./=:,+@%".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// That the last run of a workflow had other profiles or values, where something of what is
/// asked for is not here.
pub fn other_settings(store: &Store, graph: &Graph) -> Option<String> {
    // Only ever a note.
    let last = journal::latest(store, &WorkflowIdentity::of(graph, store)).ok()??;
    let run = Some(last).filter(|run| !run.header.is_like(graph))?;
    Some(format!(
        "the last run was {}, and its results are found with the same",
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
