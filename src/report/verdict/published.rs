//! A file of published numbers as written: values with their sources and precision, the setting
//! they were measured in, and claims. `bind` finds the nodes they belong to.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diag::{Problems, suggest};
use crate::workflow::reading::{Content, Entry, Fields, Text, Tree, strings};

/// The whole file.
#[derive(Debug, Default)]
pub struct Published {
    /// The publication, as text: `arXiv 2410.21582 v2, 2025-02-04`.
    pub paper: String,
    /// The unit of values and differences, for headings.
    pub unit: String,
    pub sources: BTreeMap<String, Source>,
    pub setting: Vec<Setting>,
    pub values: Vec<Values>,
    pub claims: Vec<Claim>,
}

/// Where numbers were read.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub what: String,
    pub version: Option<String>,
    /// The precision of its numbers.
    pub precision: Option<f64>,
}

/// One condition of the published setting.
#[derive(Debug)]
pub struct Setting {
    pub what: Condition,
    /// Whether numbers from another setting are still judged, and marked.
    pub judge: bool,
    /// The note on numbers from another setting, instead of the bare facts.
    pub note: Option<String>,
}

#[derive(Debug)]
pub enum Condition {
    /// The selected nodes have these parameters.
    With {
        stage: Text,
        with: Vec<(Text, Value)>,
    },
    /// Nodes that gather the axis gather these ids.
    Gathers { axis: Text, ids: Vec<String> },
}

/// Published numbers of one metric.
#[derive(Debug)]
pub struct Values {
    pub metric: Text,
    /// The axis that distinguishes the numbers; without one there is a single number.
    pub by: Option<Text>,
    pub tolerance: f64,
    pub from: String,
    pub note: Option<String>,
    /// Must be reproduced before anything else is judged.
    pub calibration: bool,
    pub published: Vec<(Option<Text>, f64)>,
}

/// A statement that can be checked by selectors.
#[derive(Debug)]
pub struct Claim {
    pub says: String,
    pub from: Option<String>,
    /// Which of several selected nodes counts.
    pub take: Option<Take>,
    pub check: Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Highest,
    Lowest,
}

#[derive(Debug)]
pub enum Check {
    /// Each is larger than the one before it.
    Ascending(Vec<Text>),
    Positive(Vec<Text>),
    Negative(Vec<Text>),
    /// One is larger than all others in `among`.
    Highest {
        it: Text,
        among: Vec<Text>,
    },
    /// One is smaller than all others in `among`.
    Lowest {
        it: Text,
        among: Vec<Text>,
    },
}

impl Check {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ascending(_) => "ascending",
            Self::Positive(_) => "positive",
            Self::Negative(_) => "negative",
            Self::Highest { .. } => "highest",
            Self::Lowest { .. } => "lowest",
        }
    }
}

const FILE: [&str; 6] = ["paper", "unit", "sources", "setting", "values", "claims"];
const SOURCE: [&str; 3] = ["what", "version", "precision"];
const SETTING: [&str; 6] = ["stage", "with", "axis", "ids", "judge", "note"];
const VALUES: [&str; 7] = [
    "metric",
    "by",
    "tolerance",
    "from",
    "note",
    "calibration",
    "published",
];
const CLAIM: [&str; 9] = [
    "says",
    "from",
    "take",
    "ascending",
    "positive",
    "negative",
    "highest",
    "lowest",
    "among",
];

/// Reads `tree` and reports problems.
pub fn read(tree: &Tree, problems: &mut Problems) -> Published {
    let Some(fields) = Fields::of_value(tree, "a file of published values", &FILE, problems) else {
        return Published::default();
    };
    let words = |name: &str, problems: &mut Problems| -> Option<String> {
        fields.value(name)?;
        Some(fields.text(name, problems)?.text)
    };
    let paper = words("paper", problems).unwrap_or_default();
    let unit = words("unit", problems).unwrap_or_default();
    let sources = fields.map("sources", problems).iter();
    let sources: BTreeMap<String, Source> = sources
        .filter_map(|entry| Some((entry.key.clone(), source(entry, problems)?)))
        .collect();
    check_precision(&fields, problems);
    let items = |name: &str, problems: &mut Problems| fields.list(name, problems);
    let setting = items("setting", problems).iter();
    let setting = setting.filter_map(|item| read_setting(item, problems));
    let setting = setting.collect();
    let values = items("values", problems).iter();
    let values = values.filter_map(|item| read_values(item, &sources, problems));
    let values = values.collect();
    let claims = items("claims", problems).iter();
    let claims = claims.filter_map(|item| claim(item, &sources, problems));
    let claims: Vec<Claim> = claims.collect();
    let nothing = ["values", "claims"].map(|name| fields.list(name, &mut Problems::default()));
    if nothing.iter().all(|items| items.is_empty()) {
        let empty = fields.value("values").or(fields.value("claims"));
        let place = empty.map_or(fields.place, |tree| tree.place);
        let message = "there is no published value and no claim: nothing can be judged";
        let found = problems.warning(place, "nothing-published", message);
        found.hint("`values` lists numbers, `claims` lists statements: docs/verify.md");
    }
    Published {
        paper,
        unit,
        sources,
        setting,
        values,
        claims,
    }
}

/// Checks that precisions are not negative: no number would be reproduced.
fn check_precision(file: &Fields, problems: &mut Problems) {
    for entry in file.map("sources", &mut Problems::default()) {
        let Content::Map(fields) = &entry.value.content else {
            continue;
        };
        for field in fields.iter().filter(|field| field.key == "precision") {
            let precision = field.value.scalar().and_then(|value| value.as_f64());
            if precision.is_some_and(|precision| precision < 0.0) {
                let message = "`precision` is 0 or more";
                problems.error(field.value.place, "bad-value", message);
            }
        }
    }
}

fn source(entry: &Entry, problems: &mut Problems) -> Option<Source> {
    let fields = Fields::of_entry(entry, "a source", &SOURCE, problems)?;
    let text = |name: &str, problems: &mut Problems| fields.text(name, problems);
    Some(Source {
        what: text("what", problems)
            .map(|text| text.text)
            .unwrap_or_default(),
        version: text("version", problems).map(|text| text.text),
        precision: optional_number(&fields, "precision", problems),
    })
}

fn read_setting(item: &Tree, problems: &mut Problems) -> Option<Setting> {
    let fields = Fields::of_value(item, "a setting", &SETTING, problems)?;
    let what = match (fields.value("stage"), fields.value("axis")) {
        (Some(_), None) => Condition::With {
            stage: fields.text("stage", problems)?,
            with: with(&fields, problems),
        },
        (None, Some(_)) => Condition::Gathers {
            axis: fields.text("axis", problems)?,
            ids: ids(&fields, problems),
        },
        _ => {
            let message =
                "a setting is of a `stage` (with what parameters) or of an `axis` (which ids)";
            problems.error(fields.place, "bad-value", message);
            return None;
        }
    };
    Some(Setting {
        what,
        judge: flag(&fields, "judge", problems),
        note: fields.text("note", problems).map(|text| text.text),
    })
}

fn with(fields: &Fields, problems: &mut Problems) -> Vec<(Text, Value)> {
    let entries = fields.map("with", problems);
    if entries.is_empty() {
        let message = "`with` names the parameters that the numbers were found with";
        problems.error(fields.place, "missing-field", message);
    }
    let parameter = |entry: &Entry| {
        let name = Text {
            text: entry.key.clone(),
            place: entry.key_place,
        };
        (name, plain(&entry.value))
    };
    entries.iter().map(parameter).collect()
}

fn ids(fields: &Fields, problems: &mut Problems) -> Vec<String> {
    let items = fields.list("ids", problems);
    if items.is_empty() {
        problems.error(
            fields.place,
            "missing-field",
            "`ids` names the values of the axis",
        );
    }
    items.iter().filter_map(label).collect()
}

/// An id, which may be written as a number.
fn label(tree: &Tree) -> Option<String> {
    match tree.scalar()? {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// The value as plain data.
fn plain(tree: &Tree) -> Value {
    match &tree.content {
        Content::List(items) => items.iter().map(plain).collect(),
        Content::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), plain(&entry.value)))
            .collect(),
        _ => tree.scalar().unwrap_or_default(),
    }
}

fn read_values(
    item: &Tree,
    sources: &BTreeMap<String, Source>,
    problems: &mut Problems,
) -> Option<Values> {
    let fields = Fields::of_value(item, "an entry of `values`", &VALUES, problems)?;
    for name in ["metric", "published", "from"] {
        if fields.lacks(name) {
            let message = format!("a published value needs `{name}`");
            problems.error(fields.place, "missing-field", message);
        }
    }
    let by = match fields.value("by") {
        Some(_) => Some(fields.text("by", problems)?),
        None => None,
    };
    let from = fields.text("from", problems)?;
    known_source(&from, sources, problems);
    let known = sources.get(&from.text).and_then(|source| source.precision);
    let tolerance = optional_number(&fields, "tolerance", problems).or(known);
    let Some(tolerance) = tolerance.filter(|tolerance| *tolerance >= 0.0) else {
        let found = problems.error(
            from.place,
            "missing-field",
            "the precision of these numbers is not known",
        );
        found.hint("give `tolerance`, 0 or more, or the source a `precision`");
        return None;
    };
    Some(Values {
        metric: fields.text("metric", problems)?,
        published: published(&fields, by.as_ref(), problems)?,
        by,
        tolerance,
        from: from.text,
        note: fields.text("note", problems).map(|text| text.text),
        calibration: flag(&fields, "calibration", problems),
    })
}

fn published(
    fields: &Fields,
    by: Option<&Text>,
    problems: &mut Problems,
) -> Option<Vec<(Option<Text>, f64)>> {
    let tree = fields.value("published")?;
    if matches!(&tree.content, Content::Map(entries) if entries.is_empty()) {
        problems.error(tree.place, "missing-field", "`published` holds no number");
        return None;
    }
    if by.is_none() {
        return Some(vec![(None, number(tree, problems)?)]);
    }
    let Content::Map(entries) = &tree.content else {
        let message = "with `by`, `published` is a map from ids to numbers";
        problems.error(tree.place, "wrong-type", message);
        return None;
    };
    let value = |entry: &Entry, problems: &mut Problems| {
        let id = Text {
            text: entry.key.clone(),
            place: entry.key_place,
        };
        Some((Some(id), number(&entry.value, problems)?))
    };
    let values: Vec<_> = entries.iter().map(|entry| value(entry, problems)).collect();
    values.into_iter().collect()
}

/// If the file lists its sources, checks that every number and claim refers to one of them.
fn known_source(from: &Text, sources: &BTreeMap<String, Source>, problems: &mut Problems) {
    if sources.is_empty() || sources.contains_key(&from.text) {
        return;
    }
    let message = format!("there is no source `{}`", from.text);
    let found = problems.error(from.place, "unknown-source", message);
    let names = sources.keys().map(String::as_str);
    found.hint(suggest(&from.text, "sources", names));
}

fn claim(
    item: &Tree,
    sources: &BTreeMap<String, Source>,
    problems: &mut Problems,
) -> Option<Claim> {
    let fields = Fields::of_value(item, "a claim", &CLAIM, problems)?;
    let says = fields.text("says", problems);
    if fields.lacks("says") {
        problems.error(fields.place, "missing-field", "a claim `says` something");
    }
    let many = |name: &str, problems: &mut Problems| -> Option<Vec<Text>> {
        let value = fields.value(name)?;
        match &value.content {
            Content::List(_) => Some(strings(value, "a selector", problems)),
            _ => Some(vec![fields.text(name, problems)?]),
        }
    };
    let from = fields.text("from", problems);
    if let Some(from) = &from {
        known_source(from, sources, problems);
    }
    let among = many("among", problems);
    let mut checks = Vec::new();
    checks.extend(many("ascending", problems).map(Check::Ascending));
    checks.extend(many("positive", problems).map(Check::Positive));
    checks.extend(many("negative", problems).map(Check::Negative));
    for name in ["highest", "lowest"] {
        if fields.value(name).is_none() {
            continue;
        }
        let Some(among) = among.clone() else {
            let message = format!("`{name}` needs `among`: what it is compared with");
            problems.error(fields.place, "missing-field", message);
            return None;
        };
        let it = fields.text(name, problems)?;
        checks.push(match name {
            "highest" => Check::Highest { it, among },
            _ => Check::Lowest { it, among },
        });
    }
    match (checks.pop(), checks.is_empty()) {
        (Some(check), true) => Some(Claim {
            says: says?.text,
            from: from.map(|text| text.text),
            take: take(&fields, problems),
            check: compares(check, &fields, problems)?,
        }),
        _ => {
            let message = "a claim has one check";
            let found = problems.error(fields.place, "bad-value", message);
            found.hint("`ascending`, `positive`, `negative`, `highest` or `lowest`");
            None
        }
    }
}

/// Checks that the check has enough numbers to compare.
fn compares(check: Check, fields: &Fields, problems: &mut Problems) -> Option<Check> {
    let message = match &check {
        Check::Ascending(texts) if texts.len() < 2 => "`ascending` compares two numbers or more",
        Check::Positive(texts) | Check::Negative(texts) if texts.is_empty() => {
            "a claim names the numbers that it is about"
        }
        Check::Highest { among, .. } | Check::Lowest { among, .. } if among.is_empty() => {
            "`among` names the numbers to compare with"
        }
        Check::Ascending(_) | Check::Positive(_) | Check::Negative(_)
            if fields.value("among").is_some() =>
        {
            "`among` belongs to `highest` or `lowest`"
        }
        _ => return Some(check),
    };
    problems.error(fields.place, "bad-value", message);
    None
}

fn take(fields: &Fields, problems: &mut Problems) -> Option<Take> {
    let word = fields.text("take", problems)?;
    match word.text.as_str() {
        "highest" => Some(Take::Highest),
        "lowest" => Some(Take::Lowest),
        other => {
            let message = format!("`take` is `highest` or `lowest`, not `{other}`");
            problems.error(word.place, "bad-value", message);
            None
        }
    }
}

fn number(tree: &Tree, problems: &mut Problems) -> Option<f64> {
    let number = tree.scalar().and_then(|value| value.as_f64());
    if number.is_none() {
        let message = format!("this is a number, not {}", tree.what());
        problems.error(tree.place, "wrong-type", message);
    }
    number
}

fn optional_number(fields: &Fields, name: &str, problems: &mut Problems) -> Option<f64> {
    number(fields.value(name)?, problems)
}

fn flag(fields: &Fields, name: &str, problems: &mut Problems) -> bool {
    match fields.value(name).map(|tree| (tree, &tree.content)) {
        None | Some((_, Content::Null)) => false,
        Some((_, Content::Bool(flag))) => *flag,
        Some((tree, _)) => {
            let message = format!("`{name}` is true or false, not {}", tree.what());
            problems.error(tree.place, "wrong-type", message);
            false
        }
    }
}
