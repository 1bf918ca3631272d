//! Resolves names: parameters, axes, environment variables. Resolves on demand, refuses cycles, and
//! records which names are used.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::compiled::Bound;
use super::expression::Path;
use super::expression::template::spliced;
use super::ids::label_of;
use super::overrides::AxisLayers;
use super::values::{AxisValues, Resolved, descend, weight};
use crate::diag::credentials;
use crate::diag::{Place, Problems, listed, nearest};
use crate::yaml::{Content, Entry, Tree};

/// The maximum length of a chain of references.
const CHAIN: usize = 64;

/// Everything in a file that has a name.
pub struct Names<'a> {
    params: Arc<Vec<Entry>>,
    param_index: HashMap<String, usize>,
    pub axes: Arc<Vec<AxisLayers>>,
    environment: &'a BTreeMap<String, String>,
    /// The variables that were read, and their values.
    pub variables: BTreeMap<String, Option<String>>,
    /// Resolved axes; the inner value is `None` if one could not be resolved.
    pub(super) resolved_axes: Vec<Option<Option<Arc<AxisValues>>>>,
    /// Resolved texts of params and axes, by place.
    pub(super) memo: HashMap<Place, Option<Resolved>>,
    /// What is being resolved, outermost first.
    pub(super) open: Vec<Place>,
    pub(super) trail: Vec<String>,
    /// The remaining budget for the weight of all resolved values.
    budget: usize,
    used_params: BTreeSet<String>,
    used_axes: BTreeSet<String>,
    known: HashMap<String, Arc<AxisNames>>,
}

/// The ids and fields of an axis anywhere in the file, including all profiles.
#[derive(Default)]
pub struct AxisNames {
    pub ids: BTreeSet<String>,
    pub fields: BTreeSet<String>,
}

/// Where a path is written: in `params` and `axes`, or in a stage.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The axes of the stage, in the order of its `each`.
    pub each: Option<&'a [String]>,
}

impl Scope<'_> {
    pub const FILE: Scope<'static> = Scope { each: None };

    pub fn slot(&self, axis: &str) -> Option<usize> {
        self.each?.iter().position(|name| name == axis)
    }
}

impl<'a> Names<'a> {
    pub fn new(
        params: Vec<Entry>,
        axes: Vec<AxisLayers>,
        environment: &'a BTreeMap<String, String>,
        budget: usize,
    ) -> Self {
        let keys = params.iter().map(|entry| entry.key.clone());
        Self {
            param_index: keys.zip(0..).collect(),
            params: Arc::new(params),
            resolved_axes: axes.iter().map(|_| None).collect(),
            axes: Arc::new(axes),
            environment,
            variables: BTreeMap::new(),
            memo: HashMap::new(),
            open: Vec::new(),
            trail: Vec::new(),
            budget,
            used_params: BTreeSet::new(),
            used_axes: BTreeSet::new(),
            known: HashMap::new(),
        }
    }

    /// Resolves the params and axes that no stage uses, so that their problems are reported too.
    pub fn resolve_rest(&mut self, problems: &mut Problems) {
        let axes = Arc::clone(&self.axes);
        for (position, axis) in axes.iter().enumerate() {
            self.axis(position, axis.name.place, problems);
        }
        let params = Arc::clone(&self.params);
        for entry in params.iter() {
            let name = format!("params.{}", entry.key);
            self.enter(name, entry.key_place, problems, |this, problems| {
                this.value(&entry.value, problems)
            });
        }
    }

    pub fn axis_position(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.name.text == name)
    }

    pub fn axis_names(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().map(|axis| axis.name.text.as_str())
    }

    /// Whether a word after `?` is a path: it begins with the name of something in scope.
    pub fn begins_path(&self, path: &Path, scope: Scope) -> bool {
        let first = path.first();
        let axis = match scope.each {
            Some(each) => each.iter().any(|name| name == first),
            None => self.axis_position(first).is_some(),
        };
        axis || (path.names.len() > 1 && matches!(first, "params" | "env" | "axes"))
    }

    /// Binds `path`, which is at `place`.
    pub fn bind(
        &mut self,
        path: &Path,
        scope: Scope,
        place: Place,
        problems: &mut Problems,
    ) -> Option<Bound> {
        let deeper = &path.names[1..];
        match path.first() {
            "params" => self.param(deeper, place, problems).map(Bound::Fixed),
            "env" => self.variable(deeper, place, problems).map(Bound::Fixed),
            "axes" => self.axis_ids(deeper, place, problems).map(Bound::Fixed),
            name => match scope.slot(name) {
                Some(slot) => {
                    self.check_field(name, deeper, place, problems)?;
                    Some(Bound::Axis {
                        slot,
                        fields: deeper.to_vec(),
                    })
                }
                None => {
                    self.unknown(path, scope, place, problems);
                    None
                }
            },
        }
    }

    fn unknown(&self, path: &Path, scope: Scope, place: Place, problems: &mut Problems) {
        let name = path.first();
        let in_file = self.axis_position(name).is_some();
        let (message, hint) = match (in_file, scope.each) {
            (true, Some(_)) => (
                format!("the stage has no axis `{name}`"),
                format!("add `{name}` to its `each`"),
            ),
            (true, None) => (
                format!("axis `{name}` has no value here: only stages have points"),
                format!("`${{axes.{name}}}` is the list of all its values; a text goes in quotes"),
            ),
            (false, _) => {
                let message = format!("`{name}` is not an axis of the workflow");
                let hint = if self.param_index.contains_key(name) {
                    format!("a parameter is named `params.{name}`")
                } else if let Some(near) = nearest(name, self.axis_names()) {
                    format!("did you mean `{near}`?")
                } else if is_like_shell(name) {
                    format!(
                        "`$${{{name}}}` is a variable of the shell, and `${{env.{name}}}` one of the \
                         environment that enters the key"
                    )
                } else {
                    let axes = listed(self.axis_names());
                    format!("a path begins with an axis ({axes}), `params`, `env` or `axes`")
                };
                (message, hint)
            }
        };
        problems.error(place, "unknown-axis", message).hint(hint);
    }

    /// Checks that some value of the axis has the field, in the axes or in a profile.
    fn check_field(
        &mut self,
        axis: &str,
        fields: &[String],
        place: Place,
        problems: &mut Problems,
    ) -> Option<()> {
        let Some(field) = fields.first() else {
            return Some(());
        };
        let known = self.known(axis);
        if matches!(field.as_str(), "id" | "label") || known.fields.contains(field) {
            return Some(());
        }
        let message = format!("no value of axis `{axis}` has a field `{field}`");
        let found = problems.error(place, "unknown-field", message);
        found.suggest(field, "fields", known.fields.iter().map(String::as_str));
        None
    }

    fn variable(
        &mut self,
        names: &[String],
        place: Place,
        problems: &mut Problems,
    ) -> Option<Resolved> {
        let [name] = names else {
            let message = "a variable of the environment is named `env.NAME`";
            problems.error(place, "syntax", message);
            return None;
        };
        let found = self.environment.get(name);
        if let Some(why) = credentials::sign(name, found.map(String::as_str)) {
            let message =
                format!("`{name}` {why}, and what a workflow reads enters keys and reports");
            let found = problems.error(place, "secret", message);
            found.hint(
                "a `command` gets a credential by `pass`; other stages read theirs themselves",
            );
            return None;
        }
        self.variables.insert(name.clone(), found.cloned());
        Some(match found {
            Some(value) => Resolved::of(value.as_str()),
            None => Resolved {
                value: Some(format!("${{env.{name}}}").into()),
                missing: vec![name.clone()],
            },
        })
    }

    /// `axes.x`: the ids, with their types.
    fn axis_ids(
        &mut self,
        names: &[String],
        place: Place,
        problems: &mut Problems,
    ) -> Option<Resolved> {
        let [name] = names else {
            let message = "the values of an axis are named `axes.NAME`";
            problems.error(place, "syntax", message);
            return None;
        };
        let axis = self.axis_by_name(name, place, problems)?;
        let ids = axis.values.iter().map(|value| value.typed.clone());
        Some(Resolved::of(ids.collect::<Vec<_>>()))
    }

    /// The axis `name`, which is used at `place`.
    pub fn axis_by_name(
        &mut self,
        name: &str,
        place: Place,
        problems: &mut Problems,
    ) -> Option<Arc<AxisValues>> {
        let Some(position) = self.axis_position(name) else {
            let message = format!("the workflow has no axis `{name}`");
            let found = problems.error(place, "unknown-axis", message);
            found.suggest(name, "axes", self.axis_names().collect::<Vec<_>>());
            return None;
        };
        self.used_axes.insert(name.to_string());
        self.axis(position, place, problems)
    }

    /// `params.a.b`
    fn param(
        &mut self,
        names: &[String],
        place: Place,
        problems: &mut Problems,
    ) -> Option<Resolved> {
        let Some((first, deeper)) = names.split_first() else {
            problems.error(place, "syntax", "a parameter is named `params.NAME`");
            return None;
        };
        let params = Arc::clone(&self.params);
        let Some(&at) = self.param_index.get(first) else {
            let known = || params.iter().map(|entry| entry.key.as_str());
            let message = format!("the workflow has no parameter `{first}`");
            let found = problems.error(place, "unknown-parameter", message);
            found.suggest(first, "parameters", known());
            return None;
        };
        self.used_params.insert(first.clone());
        let name = format!("params.{}", names.join("."));
        self.enter(name, place, problems, |this, problems| {
            this.inside_param(&params[at].value, first, deeper, place, problems)
        })
    }

    fn inside_param(
        &mut self,
        mut tree: &Tree,
        first: &str,
        names: &[String],
        place: Place,
        problems: &mut Problems,
    ) -> Option<Resolved> {
        for (depth, name) in names.iter().enumerate() {
            let Content::Map(entries) = &tree.content else {
                // The rest is inside the value that a reference resolves to.
                let resolved = self.value(tree, problems)?;
                return Some(descend(resolved, &names[depth..]));
            };
            let Some(inner) = tree.get(name) else {
                let known = || entries.iter().map(|entry| entry.key.as_str());
                let message = format!("parameter `{first}` has no field `{name}`");
                let found = problems.error(place, "unknown-parameter", message);
                found.suggest(name, "fields", known());
                return None;
            };
            tree = inner;
        }
        self.value(tree, problems)
    }

    /// Resolves `name` by calling `resolve`, and keeps track of it to report cycles.
    pub(super) fn enter<T>(
        &mut self,
        name: String,
        place: Place,
        problems: &mut Problems,
        resolve: impl FnOnce(&mut Self, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        if self.trail.len() >= CHAIN {
            let message = format!("references lead to references more than {CHAIN} times");
            problems.error(place, "too-deep", message);
            return None;
        }
        self.trail.push(name);
        let resolved = resolve(self, problems);
        self.trail.pop();
        resolved
    }

    /// Reports that resolving the value at `place` depends on itself.
    pub(super) fn circle(&self, place: Place, problems: &mut Problems) {
        let last = self.trail.last();
        let begin = self.trail.iter().position(|name| Some(name) == last);
        let circle = self.trail[begin.unwrap_or(0)..].join(" → ");
        let message = format!("these references go in a circle: {circle}");
        problems.error(place, "circular-reference", message);
    }

    /// Subtracts the weight of `resolved` from the budget.
    pub(super) fn pay(
        &mut self,
        resolved: &Resolved,
        place: Place,
        problems: &mut Problems,
    ) -> Option<()> {
        let cost = resolved.value.as_ref().map_or(0, weight);
        if cost > self.budget {
            let message = "the resolved values of this workflow are too large together";
            problems.error(place, "too-large", message);
            return None;
        }
        self.budget -= cost;
        Some(())
    }

    /// Ids and fields of an axis and of the axes that it splices, in every list in the file.
    pub fn known(&mut self, axis: &str) -> Arc<AxisNames> {
        if let Some(known) = self.known.get(axis) {
            return Arc::clone(known);
        }
        let [mut known, elsewhere] = self.taken_and_elsewhere(axis);
        known.ids.extend(elsewhere.ids);
        known.fields.extend(elsewhere.fields);
        let known = Arc::new(known);
        self.known.insert(axis.to_string(), Arc::clone(&known));
        known
    }

    /// Ids that an axis has only in profiles that were not applied.
    pub fn elsewhere(&self, axis: &str) -> BTreeSet<String> {
        let [taken, elsewhere] = self.taken_and_elsewhere(axis);
        elsewhere.ids.difference(&taken.ids).cloned().collect()
    }

    /// The names in the lists of the file and of applied profiles, and those in the lists of other
    /// profiles.
    fn taken_and_elsewhere(&self, axis: &str) -> [AxisNames; 2] {
        let [mut taken, mut elsewhere] = [AxisNames::default(), AxisNames::default()];
        let mut seen = BTreeSet::new();
        let mut todo = vec![axis.to_string()];
        while let Some(name) = todo.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let Some(position) = self.axis_position(&name) else {
                continue;
            };
            let layers = &self.axes[position];
            for list in &layers.layers {
                collect_list(list, &mut taken, &mut todo);
            }
            for list in &layers.elsewhere {
                collect_list(list, &mut elsewhere, &mut todo);
            }
            if let Some(Some(Some(resolved))) = self.resolved_axes.get(position) {
                taken
                    .ids
                    .extend(resolved.values.iter().map(|value| value.id.clone()));
            }
        }
        [taken, elsewhere]
    }

    /// Warns about unused names.
    pub fn warn_unused(&self, problems: &mut Problems) {
        for entry in self.params.iter() {
            if !self.used_params.contains(&entry.key) {
                let message = format!("parameter `{}` is used nowhere", entry.key);
                problems.warning(entry.key_place, "unused-parameter", message);
            }
        }
        for axis in self.axes.iter() {
            if !self.used_axes.contains(&axis.name.text) {
                let message = format!("axis `{}` is used nowhere", axis.name.text);
                problems.warning(axis.name.place, "unused-axis", message);
            }
        }
    }
}

/// Adds the names in a list of values to `known`, and the axes that it splices to `todo`.
fn collect_list(list: &Tree, known: &mut AxisNames, todo: &mut Vec<String>) {
    let items = list.items().iter();
    items.for_each(|item| collect(item, known, todo));
    // A list may be a single reference.
    collect(list, known, todo);
}

/// Adds the names in an `item` of a list of values to `known`, and the axes that it splices to
/// `todo`.
fn collect(item: &Tree, known: &mut AxisNames, todo: &mut Vec<String>) {
    match &item.content {
        Content::Map(entries) => {
            for entry in entries {
                match entry.key.as_str() {
                    "id" => known
                        .ids
                        .extend(entry.value.scalar().as_ref().and_then(label_of)),
                    "label" => {}
                    field => {
                        known.fields.insert(field.to_string());
                    }
                }
            }
        }
        Content::Text(text) if text.contains("${") => todo.extend(spliced(text)),
        _ => known.ids.extend(item.scalar().as_ref().and_then(label_of)),
    }
}

/// Whether a name is written as variables of the shell are.
fn is_like_shell(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase())
        && !name.bytes().any(|byte| byte.is_ascii_lowercase())
}
