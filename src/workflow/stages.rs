//! Stages with their names bound: their axes, their variants (the stage itself and its cases), and
//! the inputs of each variant.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::compiled::{Compiled, Test};
use super::fields::Text;
use super::join::{self, Join, StageHeader};
use super::kind::{Kind, Kinds};
use super::names::{Names, Scope};
use super::resources;
use super::spec::{Block, Body, NeedSpec, StageSpec};
use crate::diag::{Place, Problems};
use crate::yaml::{Content, Entry, Tree};

/// A stage that can be expanded.
pub struct Stage<'a> {
    pub skip: Option<Test>,
    /// The first case that holds determines the variant of a point.
    pub cases: Vec<(Test, Variant<'a>)>,
    /// The variant if no case holds; `None` if the stage itself has no `use`.
    pub default: Option<Variant<'a>>,
}

impl Stage<'_> {
    fn variants(&self) -> impl Iterator<Item = &Variant<'_>> {
        let cases = self.cases.iter().map(|(_, variant)| variant);
        cases.chain(&self.default)
    }

    /// The kinds that its nodes may have.
    pub fn kinds(&self) -> impl Iterator<Item = &dyn Kind> {
        self.variants().map(|variant| &*variant.kind)
    }

    /// The stages that it refers to.
    pub fn upstream(&self) -> impl Iterator<Item = usize> {
        let needs = self.variants().flat_map(|variant| &variant.needs);
        needs
            .flat_map(|need| &need.joins)
            .flatten()
            .map(|join| join.stage)
    }
}

/// A stage as written, or one of its cases.
pub struct Variant<'a> {
    pub kind: Arc<dyn Kind>,
    /// The place of the block as a whole.
    pub with_place: Place,
    pub with: Vec<Field<'a>>,
    pub needs_place: Place,
    pub needs: Vec<Rc<Need>>,
    pub resources: Vec<Field<'a>>,
    /// The axes that `with` and `resources` depend on, as positions in `each`.
    pub slots: Vec<usize>,
}

/// An entry of `with:` or `resources:`.
#[derive(Clone)]
pub struct Field<'a> {
    pub entry: Cow<'a, Entry>,
    pub value: Rc<Compiled>,
}

/// A named input.
pub struct Need {
    pub name: String,
    pub place: Place,
    pub list: bool,
    /// As written. `None`: a reported problem, not checked further.
    pub joins: Vec<Option<Join>>,
}

/// Resolves the axes of `spec`.
pub fn head(spec: &StageSpec, names: &mut Names, problems: &mut Problems) -> StageHeader {
    let mut axes = Vec::new();
    let mut sound = true;
    for name in &spec.each {
        match names.axis_by_name(&name.text, name.place, problems) {
            Some(axis) => axes.push(axis),
            None => sound = false,
        }
    }
    let each: Vec<String> = spec.each.iter().map(|name| name.text.clone()).collect();
    let distinct: BTreeSet<&String> = each.iter().collect();
    sound &= distinct.len() == each.len();
    StageHeader {
        name: spec.name.text.clone(),
        place: spec.name.place,
        each,
        axes: sound.then_some(axes),
    }
}

/// Binds the names in `spec`. `None` if the stage can't be expanded.
pub fn compile<'a>(
    spec: &'a StageSpec,
    head: &StageHeader,
    heads: &[StageHeader],
    of_file: &'a [Entry],
    kinds: &Kinds,
    names: &mut Names,
    problems: &mut Problems,
) -> Option<Stage<'a>> {
    let mut compiler = Compiler {
        scope: Scope {
            each: Some(&head.each),
        },
        stage: &spec.name,
        heads,
        of_file,
        kinds,
        names,
        problems,
        fields: HashMap::new(),
        needs: HashMap::new(),
    };
    let skip = match &spec.skip {
        Some(condition) => compiler.test(condition).map(Some),
        None => Some(None),
    };
    let default = compiler.default(&spec.body, spec.cases.is_empty());
    let mut cases = Some(Vec::new());
    for case in &spec.cases {
        let test = compiler.test(&case.when);
        let variant = compiler.case(&spec.body, &case.body, case.when.place);
        match (test, variant, &mut cases) {
            (Some(test), Some(variant), Some(cases)) => cases.push((test, variant)),
            _ => cases = None,
        }
    }
    Some(Stage {
        skip: skip?,
        default: default?,
        cases: cases?,
    })
}

struct Compiler<'c, 'a, 'n> {
    scope: Scope<'c>,
    stage: &'a Text,
    heads: &'c [StageHeader],
    /// Fields for the `with:` of all stages of the kinds that have them.
    of_file: &'a [Entry],
    kinds: &'c Kinds,
    names: &'c mut Names<'n>,
    problems: &'c mut Problems,
    /// Compiled fields by the place of their name, and by whether they keep the order of a map:
    /// cases share them with their stage.
    fields: HashMap<(Place, bool), Option<Rc<Compiled>>>,
    needs: HashMap<Place, Rc<Need>>,
}

impl<'a> Compiler<'_, 'a, '_> {
    fn test(&mut self, condition: &Tree) -> Option<Test> {
        self.names.condition(condition, self.scope, self.problems)
    }

    /// The variant if no case holds; the outer `None` after a problem.
    fn default(&mut self, body: &'a Body, required: bool) -> Option<Option<Variant<'a>>> {
        if body.using.is_none() {
            // Cases override these entries; their problems are reported even if all cases do.
            let with = self.fields(&merged(&body.with, None), &[]);
            self.needs(body, None);
            return with.filter(|_| !required).map(|_| None);
        }
        self.variant(body, None, self.stage.place).map(Some)
    }

    fn case(&mut self, base: &'a Body, case: &'a Body, place: Place) -> Option<Variant<'a>> {
        if case.using.is_some() {
            return self.variant(case, None, place);
        }
        if base.using.is_none() {
            let message = "neither this case nor its stage has a kind";
            let found = self.problems.error(place, "missing-field", message);
            found.hint("add `use:` to the case or to the stage");
            return None;
        }
        self.variant(base, Some(case), place)
    }

    /// `base`, overridden entry by entry by `over`.
    fn variant(
        &mut self,
        base: &'a Body,
        over: Option<&'a Body>,
        place: Place,
    ) -> Option<Variant<'a>> {
        let using = base.using.as_ref()?;
        let kind = self.kind(using);
        let ordered = kind.as_ref().map_or(&[][..], |kind| kind.ordered_fields());
        let block = over.and_then(|over| over.with.as_ref());
        let mut entries = merged(&base.with, block);
        if let Some(kind) = &kind {
            entries.extend(of_file(self.of_file, kind.file_fields(), &entries));
        }
        let with = self.fields(&entries, ordered);
        let entries = merged(
            &base.resources,
            over.and_then(|over| over.resources.as_ref()),
        );
        resources::check_names(&entries, self.problems);
        let resources = self.fields(&entries, &[]);
        let needs = self.needs(base, over);
        let block = block.or(base.with.as_ref());
        let block_of_needs = over
            .and_then(|over| over.needs.as_ref())
            .or(base.needs.as_ref());
        let (with, resources) = (with?, resources?);
        let mut slots = BTreeSet::new();
        for field in with.iter().chain(&resources) {
            field.value.slots(&mut slots);
        }
        let using = if over.is_some() { place } else { using.place };
        Some(Variant {
            kind: kind?,
            with_place: block.map_or(using, |block| block.place),
            with,
            needs_place: block_of_needs.map_or(using, |(place, _)| *place),
            needs,
            resources,
            slots: slots.into_iter().collect(),
        })
    }

    fn kind(&mut self, using: &Text) -> Option<Arc<dyn Kind>> {
        if let Some(kind) = self.kinds.get(&using.text) {
            return Some(Arc::clone(kind));
        }
        let known = || self.kinds.0.keys().map(String::as_str);
        let message = format!("this build of ribflow has no stage kind `{}`", using.text);
        let found = self.problems.error(using.place, "unknown-kind", message);
        found.suggest(&using.text, "kinds", known());
        None
    }

    /// The maps of the fields in `ordered` keep their order.
    fn fields(&mut self, entries: &[&'a Entry], ordered: &[&str]) -> Option<Vec<Field<'a>>> {
        let fields = entries.iter().map(|entry| {
            let is_ordered = ordered.contains(&entry.key.as_str());
            let entry = match is_ordered.then(|| in_order(entry)).flatten() {
                Some(list) => Cow::Owned(list),
                None => Cow::Borrowed(*entry),
            };
            let value = self.field(&entry, is_ordered)?;
            Some(Field { entry, value })
        });
        let fields: Vec<Option<Field>> = fields.collect();
        fields.into_iter().collect()
    }

    fn field(&mut self, entry: &Entry, is_ordered: bool) -> Option<Rc<Compiled>> {
        let known = (entry.key_place, is_ordered);
        if let Some(known) = self.fields.get(&known) {
            return known.clone();
        }
        let compiled = self.names.compile(&entry.value, self.scope, self.problems);
        let compiled = compiled.map(Rc::new);
        self.fields.insert(known, compiled.clone());
        compiled
    }

    fn needs(&mut self, base: &'a Body, over: Option<&'a Body>) -> Vec<Rc<Need>> {
        let specs = |body: &'a Body| body.needs.iter().flat_map(|(_, needs)| needs);
        let mut merged: Vec<&NeedSpec> = specs(base).collect();
        for spec in over.into_iter().flat_map(specs) {
            match merged
                .iter_mut()
                .find(|known| known.name.text == spec.name.text)
            {
                Some(known) => *known = spec,
                None => merged.push(spec),
            }
        }
        merged.into_iter().map(|spec| self.need(spec)).collect()
    }

    fn need(&mut self, spec: &NeedSpec) -> Rc<Need> {
        if let Some(known) = self.needs.get(&spec.name.place) {
            return Rc::clone(known);
        }
        let joins = spec.selectors.iter().map(|selector| {
            join::compile(selector, self.scope, self.heads, self.names, self.problems)
        });
        let mut joins: Vec<Option<Join>> = joins.collect();
        if joins.is_empty() {
            // Reported at its place; the input counts as given.
            joins.push(None);
        }
        let need = Rc::new(Need {
            name: spec.name.text.clone(),
            place: spec.name.place,
            list: spec.list,
            joins,
        });
        self.needs.insert(spec.name.place, Rc::clone(&need));
        need
    }
}

/// A map as a list of maps with one entry each: a map of JSON does not keep the order of the file.
/// `None` for anything else.
fn in_order(entry: &Entry) -> Option<Entry> {
    let Content::Map(entries) = &entry.value.content else {
        return None;
    };
    let single = |entry: &Entry| Tree {
        place: entry.key_place,
        content: Content::Map(vec![entry.clone()]),
    };
    let content = Content::List(entries.iter().map(single).collect());
    Some(Entry {
        value: Tree {
            content,
            ..entry.value.clone()
        },
        ..entry.clone()
    })
}

/// The fields of the file that a kind has and the stage does not set.
fn of_file<'a>(of_file: &'a [Entry], known: &[&str], set: &[&Entry]) -> Vec<&'a Entry> {
    let is_set = |name: &str| set.iter().any(|entry| entry.key == name);
    let fields = of_file.iter();
    fields
        .filter(|entry| known.contains(&entry.key.as_str()) && !is_set(&entry.key))
        .collect()
}

/// The entries of `base`, replaced by those of `over` with the same name.
fn merged<'a>(base: &'a Option<Block>, over: Option<&'a Block>) -> Vec<&'a Entry> {
    let mut entries: Vec<&Entry> = base.iter().flat_map(|block| &block.entries).collect();
    for entry in over.into_iter().flat_map(|block| &block.entries) {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
    }
    entries
}
