//! The workflow as written: the content of the file before anything is resolved. Knows the names of
//! the language and their places, but no kinds.

use super::fields::{Fields, Text, is_identifier, is_label, strings};
use crate::diag::{Place, Problems, nearest};
use crate::yaml::{Content, Entry, Tree};

/// The whole file.
pub struct Workflow {
    pub name: String,
    pub description: Option<String>,
    pub params: Vec<Entry>,
    pub axes: Vec<AxisSpec>,
    pub stages: Vec<StageSpec>,
    pub profiles: Vec<ProfileSpec>,
    pub strict: bool,
    /// Fields of `with:` for all stages of the kinds that have them.
    pub with: Vec<Entry>,
}

/// A named list of values. `values` is a list, or a reference to one.
#[derive(Clone)]
pub struct AxisSpec {
    pub name: Text,
    pub values: Tree,
    /// Its values repeat one experiment.
    pub repeats: bool,
}

pub struct StageSpec {
    pub name: Text,
    pub description: Option<String>,
    /// Axis names.
    pub each: Vec<Text>,
    pub body: Body,
    pub cases: Vec<CaseSpec>,
    pub skip: Option<Tree>,
}

/// What a stage does, and what a case overrides.
#[derive(Default)]
pub struct Body {
    pub using: Option<Text>,
    pub with: Option<Block>,
    pub needs: Option<(Place, Vec<NeedSpec>)>,
    pub resources: Option<Block>,
}

/// A map, and the place of its name.
pub struct Block {
    pub place: Place,
    pub entries: Vec<Entry>,
}

/// A named input.
pub struct NeedSpec {
    pub name: Text,
    pub selectors: Vec<Text>,
    /// Written as a list.
    pub list: bool,
}

pub struct CaseSpec {
    pub when: Tree,
    pub body: Body,
}

/// Overrides under a name.
pub struct ProfileSpec {
    pub name: Text,
    pub params: Vec<Entry>,
    pub axes: Vec<AxisSpec>,
    pub goals: Option<Vec<Text>>,
}

/// The field that marks an axis.
const REPEATS: &str = "repeats";

const TOP: &[&str] = &[
    "ribflow",
    "name",
    "description",
    "params",
    "axes",
    "stages",
    "profiles",
    "determinism",
    "runner",
];
/// The fields among them that belong to the `with:` of stages.
const OF_STAGES: &[&str] = &["runner"];
const STAGE: &[&str] = &[
    "use",
    "with",
    "needs",
    "each",
    "cases",
    "skip",
    "resources",
    "description",
];
const CASE: &[&str] = &["when", "use", "with", "needs", "resources"];
const PROFILE: &[&str] = &["params", "axes", "goals"];

/// The first names of paths, and keywords of conditions: not allowed as axis names.
const RESERVED: &[&str] = &[
    "params", "env", "axes", "true", "false", "not", "and", "or", "in", "null",
];

/// Reads the tree of the file. `None` if there is nothing to continue with.
pub fn read(tree: &Tree, problems: &mut Problems) -> Option<Workflow> {
    if matches!(tree.content, Content::Null) {
        let found = problems.error(tree.place, "empty-file", "the file contains no workflow");
        found.hint("a workflow begins with `ribflow: 1`, a `name` and `stages`");
        return None;
    }
    let top = Fields::of_value(tree, "a workflow", TOP, problems)?;
    version(&top, problems)?;
    let strict = determinism(&top, problems);
    Some(Workflow {
        name: name(&top, problems),
        description: top.text("description", problems).map(|text| text.text),
        params: params(&top, problems),
        axes: axes(&top, problems),
        stages: stages(&top, problems),
        profiles: profiles(&top, problems),
        strict,
        with: OF_STAGES
            .iter()
            .filter_map(|name| top.entry(name).cloned())
            .collect(),
    })
}

/// `None` for a version that this build does not know.
fn version(top: &Fields, problems: &mut Problems) -> Option<()> {
    let Some(entry) = top.entry("ribflow") else {
        if !top.lacks("ribflow") {
            return Some(());
        }
        let message = "the first line of a workflow is the version of the language: `ribflow: 1`";
        problems.error(top.place, "missing-field", message);
        return Some(());
    };
    let scalar = entry.value.scalar();
    match scalar.as_ref().and_then(|value| value.as_u64()) {
        Some(1) => Some(()),
        Some(newer) if newer > 1 => {
            let message =
                format!("this is version {newer} of the language; this ribflow reads version 1");
            let found = problems.error(entry.value.place, "unsupported-version", message);
            found.hint("a newer ribflow reads it");
            None
        }
        _ => {
            let message = "the version of the language is a number: `ribflow: 1`";
            problems.error(entry.value.place, "wrong-type", message);
            Some(())
        }
    }
}

fn name(top: &Fields, problems: &mut Problems) -> String {
    if top.lacks("name") {
        let found = problems.error(top.place, "missing-field", "a workflow needs a `name`");
        found.hint("results are written to `out/<name>`");
        return String::new();
    }
    let Some(name) = top.text("name", problems) else {
        return String::new();
    };
    if !is_label(&name.text) {
        let message = format!("`{}` can't be the name of a folder of results", name.text);
        let found = problems.error(name.place, "bad-name", message);
        found.hint("letters, digits, `_`, `.`, `+` and `-`; a letter, a digit or `_` first");
    }
    name.text
}

fn determinism(top: &Fields, problems: &mut Problems) -> bool {
    let Some(choice) = top.text("determinism", problems) else {
        return false;
    };
    if choice.text != "strict" && choice.text != "default" {
        let message = format!(
            "`determinism` is `default` or `strict`, not `{}`",
            choice.text
        );
        let found = problems.error(choice.place, "bad-value", message);
        let near = nearest(&choice.text, ["default", "strict"]);
        found.maybe_hint(near.map(|near| format!("did you mean `{near}`?")));
    }
    choice.text == "strict"
}

fn params(fields: &Fields, problems: &mut Problems) -> Vec<Entry> {
    let entries = fields.map("params", problems);
    for entry in entries {
        check_name(&entry.key, entry.key_place, "a parameter", problems);
    }
    entries.to_vec()
}

fn axes(fields: &Fields, problems: &mut Problems) -> Vec<AxisSpec> {
    let mut axes = Vec::new();
    for entry in fields.map("axes", problems) {
        check_name(&entry.key, entry.key_place, "an axis", problems);
        if RESERVED.contains(&entry.key.as_str()) {
            let message = format!(
                "an axis can't be called `{}`: the language uses that word",
                entry.key
            );
            problems.error(entry.key_place, "bad-name", message);
        }
        let (values, is_marked) = match repeats(&entry.value, problems) {
            Some(values) => (values, true),
            None => (&entry.value, false),
        };
        axes.push(AxisSpec {
            name: text_of_key(entry),
            values: values.clone(),
            repeats: is_marked,
        });
    }
    axes
}

/// The list in `{ repeats: [0, 1, 2] }`, which marks an axis as repeats of one experiment; `None`
/// for an axis without the mark.
pub fn repeats<'a>(axis: &'a Tree, problems: &mut Problems) -> Option<&'a Tree> {
    let Content::Map(entries) = &axis.content else {
        return None;
    };
    let values = axis.get(REPEATS)?;
    for other in entries.iter().filter(|entry| entry.key != REPEATS) {
        let message = format!("an axis of repeats has no field `{}`", other.key);
        let found = problems.error(other.key_place, "unknown-field", message);
        found.hint("write `{ repeats: [0, 1, 2] }`");
    }
    Some(values)
}

fn stages(top: &Fields, problems: &mut Problems) -> Vec<StageSpec> {
    let entries = top.map("stages", problems);
    if entries.is_empty() && (top.entry("stages").is_some() || top.lacks("stages")) {
        let place = top
            .entry("stages")
            .map_or(top.place, |entry| entry.key_place);
        let message = "a workflow needs at least one stage under `stages:`";
        problems.error(place, "missing-field", message);
    }
    let stages = entries.iter().map(|entry| stage(entry, problems));
    let stages: Vec<Option<StageSpec>> = stages.collect();
    stages.into_iter().flatten().collect()
}

fn stage(entry: &Entry, problems: &mut Problems) -> Option<StageSpec> {
    check_name(&entry.key, entry.key_place, "a stage", problems);
    let fields = Fields::of_entry(entry, "a stage", STAGE, problems)?;
    let stage = StageSpec {
        name: text_of_key(entry),
        description: fields.text("description", problems).map(|text| text.text),
        each: each(&fields, problems),
        body: body(&fields, problems),
        cases: cases(&fields, problems),
        skip: fields.value("skip").cloned(),
    };
    if fields.lacks("use") && stage.cases.is_empty() {
        let message = format!("stage `{}` has no kind", entry.key);
        let found = problems.error(entry.key_place, "missing-field", message);
        found.hint("add `use:` with the kind of the stage");
    }
    Some(stage)
}

fn each(fields: &Fields, problems: &mut Problems) -> Vec<Text> {
    let names = match fields.value("each") {
        Some(value) if value.text().is_some() => {
            let found = problems.error(value.place, "wrong-type", "`each` is a list of axis names");
            found.hint(format!("write [{}]", value.text().unwrap_or_default()));
            Vec::new()
        }
        Some(value) => strings(value, "an axis name", problems),
        None => Vec::new(),
    };
    for (index, name) in names.iter().enumerate() {
        if names[..index]
            .iter()
            .any(|earlier| earlier.text == name.text)
        {
            let message = format!("axis `{}` is in `each` twice", name.text);
            problems.error(name.place, "duplicate-axis", message);
        }
    }
    names
}

fn body(fields: &Fields, problems: &mut Problems) -> Body {
    Body {
        using: fields.text("use", problems),
        with: block(fields, "with", problems),
        needs: fields.entry("needs").map(|entry| {
            let needs = fields.map("needs", problems);
            let needs = needs.iter().map(|need| self::need(need, problems));
            (entry.key_place, needs.collect())
        }),
        resources: block(fields, "resources", problems),
    }
}

fn block(fields: &Fields, name: &str, problems: &mut Problems) -> Option<Block> {
    let place = fields.entry(name)?.key_place;
    let entries = fields.map(name, problems).to_vec();
    Some(Block { place, entries })
}

fn need(entry: &Entry, problems: &mut Problems) -> NeedSpec {
    // The inputs of a command are files of that name.
    if !is_label(&entry.key) {
        let message = format!("`{}` can't be the name of an input", entry.key);
        let found = problems.error(entry.key_place, "bad-name", message);
        found.hint(
            "letters, digits, `_`, `.`, `+` and `-`, beginning with a letter, a digit or `_`",
        );
    }
    let list = matches!(entry.value.content, Content::List(_));
    let selectors = match &entry.value.content {
        Content::Text(text) => vec![Text {
            text: text.clone(),
            place: entry.value.place,
        }],
        Content::List(items) => {
            if items.is_empty() {
                let message = format!("input `{}` is given an empty list", entry.key);
                problems.error(entry.value.place, "empty-input", message);
            }
            strings(&entry.value, "a selector", problems)
        }
        _ => {
            let message = format!(
                "an input is a selector or a list of them, not {}",
                entry.value.what()
            );
            problems.error(entry.value.place, "wrong-type", message);
            Vec::new()
        }
    };
    NeedSpec {
        name: text_of_key(entry),
        selectors,
        list,
    }
}

fn cases(fields: &Fields, problems: &mut Problems) -> Vec<CaseSpec> {
    let items = fields.list("cases", problems).iter();
    let cases = items.map(|item| {
        let case = Fields::of_value(item, "a case", CASE, problems)?;
        let body = body(&case, problems);
        let Some(when) = case.value("when") else {
            if !case.lacks("when") {
                return None;
            }
            let message = "a case needs a condition under `when:`";
            problems.error(case.place, "missing-field", message);
            return None;
        };
        Some(CaseSpec {
            when: when.clone(),
            body,
        })
    });
    let cases: Vec<Option<CaseSpec>> = cases.collect();
    cases.into_iter().flatten().collect()
}

fn profiles(top: &Fields, problems: &mut Problems) -> Vec<ProfileSpec> {
    let entries = top.map("profiles", problems).iter();
    let profiles = entries.map(|entry| {
        if !is_label(&entry.key) {
            let message = format!("`{}` can't be the name of a profile", entry.key);
            problems.error(entry.key_place, "bad-name", message);
        }
        let fields = Fields::of_entry(entry, "a profile", PROFILE, problems)?;
        Some(ProfileSpec {
            name: text_of_key(entry),
            params: params(&fields, problems),
            axes: axes(&fields, problems),
            goals: fields
                .value("goals")
                .map(|goals| strings(goals, "a selector", problems)),
        })
    });
    let profiles: Vec<Option<ProfileSpec>> = profiles.collect();
    profiles.into_iter().flatten().collect()
}

fn text_of_key(entry: &Entry) -> Text {
    Text {
        text: entry.key.clone(),
        place: entry.key_place,
    }
}

fn check_name(name: &str, place: Place, what: &str, problems: &mut Problems) {
    if !is_identifier(name) {
        let message = format!("`{name}` can't be the name of {what}");
        let found = problems.error(place, "bad-name", message);
        found.hint("letters, digits and `_`, no digit first");
    }
}
