//! Applies profiles and `--set` to `params` and `axes`, before anything is resolved.

use super::expression::report_syntax;
use super::expression::selector::Selector;
use super::fields::Text;
use super::fields::is_identifier;
use super::options::LoadOptions;
use super::spec::{self, AxisSpec, ProfileSpec, Workflow};
use crate::diag::{Diagnostic, Place, Problems, SourceText, Span, suggest};
use crate::yaml::{self, Content, Entry, Tree};

/// The file with its overrides applied.
pub struct Layered {
    pub params: Vec<Entry>,
    pub axes: Vec<AxisLayers>,
    /// The goals of the last profile that has any.
    pub goals: Option<Vec<Text>>,
}

/// An axis with all its lists of values: the file's, then the overrides in order.
#[derive(Clone)]
pub struct AxisLayers {
    pub name: Text,
    pub layers: Vec<Tree>,
    /// Lists of profiles that were not applied; their ids and fields are known names.
    pub elsewhere: Vec<Tree>,
    /// Its values repeat one experiment. A list of an override keeps the mark.
    pub repeats: bool,
}

/// Applies the profiles and the `--set` options to `workflow`, in that order.
pub fn apply(workflow: &Workflow, options: &LoadOptions, problems: &mut Problems) -> Layered {
    let mut layered = Layered {
        params: workflow.params.clone(),
        axes: workflow.axes.iter().map(AxisLayers::of).collect(),
        goals: None,
    };
    for profile in &workflow.profiles {
        check_names(profile, workflow, problems);
        if !options.profiles.contains(&profile.name.text) {
            for axis in &profile.axes {
                if let Some(known) = layered.axis(&axis.name.text) {
                    known.elsewhere.push(axis.values.clone());
                }
            }
        }
    }
    for name in &options.profiles {
        let taken = workflow.profiles.iter().find(|one| one.name.text == *name);
        match taken {
            Some(profile) => layered.take(profile),
            None => unknown_profile(name, workflow, problems),
        }
    }
    for set in &options.sets {
        layered.set(set, options, problems);
    }
    layered
}

impl AxisLayers {
    fn of(axis: &AxisSpec) -> Self {
        Self {
            name: axis.name.clone(),
            layers: vec![axis.values.clone()],
            elsewhere: Vec::new(),
            repeats: axis.repeats,
        }
    }
}

impl Layered {
    fn axis(&mut self, name: &str) -> Option<&mut AxisLayers> {
        self.axes.iter_mut().find(|axis| axis.name.text == name)
    }

    fn take(&mut self, profile: &ProfileSpec) {
        for entry in &profile.params {
            if self.params.iter().any(|known| known.key == entry.key) {
                merge(&mut self.params, entry);
            }
        }
        for axis in &profile.axes {
            if let Some(known) = self.axis(&axis.name.text) {
                known.layers.push(axis.values.clone());
                known.repeats |= axis.repeats;
            }
        }
        if profile.goals.is_some() {
            self.goals.clone_from(&profile.goals);
        }
    }

    /// Applies one `PATH=VALUE`.
    fn set(&mut self, set: &str, options: &LoadOptions, problems: &mut Problems) {
        let source = problems.add_source(SourceText::new("--set", set));
        let at = |start, end| Place {
            source,
            span: Span { start, end },
        };
        let Some(equals) = set.find('=') else {
            let message = "`--set` takes PATH=VALUE";
            let found = problems.error(at(0, set.len()), "bad-set", message);
            found.hint("for example `--set params.epochs=2` or `--set 'axes.seed=[0, 1]'`");
            return;
        };
        let path: Vec<&str> = set[..equals].split('.').collect();
        let place = at(0, equals);
        if !path.iter().all(|name| is_identifier(name)) || path.len() < 2 {
            let message = format!("`{}` is not a path that can be set", &set[..equals]);
            let found = problems.error(place, "bad-set", message);
            found.hint("only `params.NAME` and `axes.NAME` can be set");
            return;
        }
        // The value keeps its position in the option, so that its errors point there.
        let blank = " ".repeat(equals + 1);
        problems.replace_source(source, SourceText::new("--set", blank + &set[equals + 1..]));
        let value = yaml::parse(problems, source, &options.limits.of_text());
        problems.replace_source(source, SourceText::new("--set", set));
        let Some(value) = value else {
            return;
        };
        match (path[0], &path[2..]) {
            ("params", _) => self.set_param(&path[1..], place, value, problems),
            ("axes", []) => self.set_axis(path[1], place, value, problems),
            _ => {
                let message = format!("`{}` can't be set", &set[..equals]);
                let found = problems.error(place, "bad-set", message);
                found
                    .hint("only `params.NAME`, a field of a parameter, and `axes.NAME` can be set");
            }
        }
    }

    fn set_param(&mut self, path: &[&str], place: Place, value: Tree, problems: &mut Problems) {
        if !self.params.iter().any(|entry| entry.key == path[0]) {
            let known = self.params.iter().map(|entry| entry.key.as_str());
            unknown_name("parameter", path[0], place, known, problems);
            return;
        }
        let mut value = value;
        for name in path[1..].iter().rev() {
            let entry = Entry {
                key: name.to_string(),
                key_place: place,
                value,
            };
            value = Tree {
                place,
                content: Content::Map(vec![entry]),
            };
        }
        let entry = Entry {
            key: path[0].to_string(),
            key_place: place,
            value,
        };
        merge(&mut self.params, &entry);
    }

    fn set_axis(&mut self, name: &str, place: Place, value: Tree, problems: &mut Problems) {
        if let Some(axis) = self.axis(name) {
            let marked = spec::repeats(&value, problems);
            axis.repeats |= marked.is_some();
            axis.layers.push(marked.cloned().unwrap_or(value));
            return;
        }
        let known = self.axes.iter().map(|axis| axis.name.text.as_str());
        unknown_name("axis", name, place, known, problems);
    }
}

/// Merges `entry` into `entries`: maps are merged, everything else is replaced.
fn merge(entries: &mut Vec<Entry>, entry: &Entry) {
    match entries.iter_mut().find(|known| known.key == entry.key) {
        None => entries.push(entry.clone()),
        Some(known) => match (&mut known.value.content, &entry.value.content) {
            (Content::Map(inner), Content::Map(over)) => {
                over.iter().for_each(|entry| merge(inner, entry));
            }
            _ => known.value = entry.value.clone(),
        },
    }
}

/// A profile may only change names that the file has.
fn check_names(profile: &ProfileSpec, workflow: &Workflow, problems: &mut Problems) {
    for entry in &profile.params {
        let mut known = workflow.params.iter().map(|param| param.key.as_str());
        if !known.clone().any(|name| name == entry.key) {
            unknown_name(
                "parameter",
                &entry.key,
                entry.key_place,
                &mut known,
                problems,
            );
        }
    }
    for axis in &profile.axes {
        let mut known = workflow.axes.iter().map(|axis| axis.name.text.as_str());
        if !known.clone().any(|name| name == axis.name.text) {
            let name = &axis.name;
            unknown_name("axis", &name.text, name.place, &mut known, problems);
        }
    }
    let stages = || workflow.stages.iter().map(|stage| stage.name.text.as_str());
    for goal in profile.goals.iter().flatten() {
        match Selector::parse(&goal.text) {
            Err(error) => report_syntax(&goal.text, goal.place, error, problems),
            Ok(selector) if !stages().any(|name| name == selector.stage) => {
                let range = selector.stage_range;
                let place = problems.inside(goal.place, &goal.text, range.start, range.end);
                unknown_name("stage", &selector.stage, place, stages(), problems);
            }
            Ok(_) => {}
        }
    }
}

fn unknown_name<'a>(
    what: &str,
    name: &str,
    place: Place,
    known: impl IntoIterator<Item = &'a str>,
    problems: &mut Problems,
) {
    let (code, plural) = match what {
        "axis" => ("unknown-axis", "axes"),
        "stage" => ("unknown-stage", "stages"),
        _ => ("unknown-parameter", "parameters"),
    };
    let known: Vec<&str> = known.into_iter().collect();
    let found = problems.error(place, code, format!("the workflow has no {what} `{name}`"));
    found.suggest(name, plural, known);
}

fn unknown_profile(name: &str, workflow: &Workflow, problems: &mut Problems) {
    let known = || {
        workflow
            .profiles
            .iter()
            .map(|profile| profile.name.text.as_str())
    };
    let hint = suggest(name, "profiles", known());
    let message = format!("the workflow has no profile `{name}`");
    problems
        .elsewhere(Diagnostic::nowhere("unknown-profile", "--profile", message).with_hint(hint));
}
