//! Binds the names in values and conditions, once for each stage.

use super::compiled::{Bound, BoundFallback, BoundReference, Compiled, EvalError, MixedPart, Test};
use super::expression::condition::{Condition, Members, Operand};
use super::expression::template::{Fallback, Part, Reference, Template};
use super::expression::{Path, Range, report_syntax};
use super::ids::{alike, label_of};
use super::names::{Names, Scope};
use super::values::Resolved;
use crate::diag::{Place, Problems, nearest};
use crate::yaml::{Content, Tree};

/// A text that contains expressions.
#[derive(Clone, Copy)]
struct ExpressionText<'t> {
    text: &'t str,
    place: Place,
}

impl ExpressionText<'_> {
    fn part(&self, range: Range, problems: &Problems) -> Place {
        problems.inside(self.place, self.text, range.start, range.end)
    }
}

fn report_eval(error: EvalError, problems: &mut Problems) {
    let found = problems.error(error.place, error.code, error.message);
    found.maybe_hint(error.hint);
}

impl Names<'_> {
    /// The value of `tree`, which is in `params` or `axes`.
    pub fn value(&mut self, tree: &Tree, problems: &mut Problems) -> Option<Resolved> {
        match self.compile(tree, Scope::FILE, problems)? {
            Compiled::Fixed(resolved) => Some(resolved),
            // The scope of the file does not depend on a point.
            _ => None,
        }
    }

    /// `tree` with its references bound. `None` after a problem.
    pub fn compile(
        &mut self,
        tree: &Tree,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<Compiled> {
        let compiled = match &tree.content {
            Content::List(items) => {
                let items = items.iter().map(|item| self.compile(item, scope, problems));
                let items: Vec<Option<Compiled>> = items.collect();
                Compiled::List(items.into_iter().collect::<Option<_>>()?)
            }
            Content::Map(entries) => {
                let entries = entries.iter().map(|entry| {
                    let value = self.compile(&entry.value, scope, problems)?;
                    Some((entry.key.clone(), value))
                });
                let entries: Vec<Option<(String, Compiled)>> = entries.collect();
                Compiled::Map(entries.into_iter().collect::<Option<_>>()?)
            }
            Content::Text(text) if text.contains("${") => {
                let written = ExpressionText {
                    text,
                    place: tree.place,
                };
                return match scope.each {
                    None => self.file_text(written, problems).map(Compiled::Fixed),
                    Some(_) => self.text(written, scope, problems),
                };
            }
            _ => Compiled::Fixed(Resolved::of(tree.scalar().unwrap_or_default())),
        };
        self.fold(compiled, tree.place, problems)
    }

    /// A text in `params` or `axes`, resolved once.
    fn file_text(&mut self, written: ExpressionText, problems: &mut Problems) -> Option<Resolved> {
        if let Some(resolved) = self.memo.get(&written.place) {
            return resolved.clone();
        }
        if self.open.contains(&written.place) {
            self.circle(written.place, problems);
            return None;
        }
        self.open.push(written.place);
        let compiled = self.text(written, Scope::FILE, problems);
        self.open.pop();
        let resolved = match compiled {
            Some(Compiled::Fixed(resolved)) => Some(resolved),
            _ => None,
        };
        self.memo.insert(written.place, resolved.clone());
        resolved
    }

    fn text(
        &mut self,
        written: ExpressionText,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<Compiled> {
        let template = match Template::parse(written.text) {
            Ok(template) => template,
            Err(error) => {
                report_syntax(written.text, written.place, error, problems);
                return None;
            }
        };
        let compiled = match template {
            Template::Plain(text) => Compiled::Fixed(Resolved::of(text)),
            Template::Whole(reference) => {
                let reference = self.reference(&reference, written, scope, problems)?;
                Compiled::Reference(Box::new(reference))
            }
            Template::Mixed(parts) => {
                let parts = parts.into_iter().map(|part| match part {
                    Part::Plain(text) => Some(MixedPart::Plain(text)),
                    Part::Reference(reference) => self
                        .reference(&reference, written, scope, problems)
                        .map(MixedPart::Reference),
                });
                let parts: Vec<Option<MixedPart>> = parts.collect();
                Compiled::Mixed(parts.into_iter().collect::<Option<_>>()?)
            }
        };
        self.fold(compiled, written.place, problems)
    }

    fn reference(
        &mut self,
        reference: &Reference,
        written: ExpressionText,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<BoundReference> {
        let place = written.part(reference.path.range, problems);
        let source = self.bind(&reference.path, scope, place, problems);
        let fallback = match &reference.fallback {
            Fallback::None => BoundFallback::None,
            Fallback::LeaveOut => BoundFallback::LeaveOut,
            Fallback::Literal(value) => {
                BoundFallback::Other(Bound::Fixed(Resolved::of(value.clone())))
            }
            Fallback::Word { path, value } => BoundFallback::Other(match path {
                Some(path) if self.begins_path(path, scope) => {
                    let place = written.part(path.range, problems);
                    self.bind(path, scope, place, problems)?
                }
                _ => Bound::Fixed(Resolved::of(value.clone())),
            }),
        };
        Some(BoundReference {
            source: source?,
            fallback,
            place: written.part(reference.range, problems),
            path: reference.path.text(),
        })
    }

    /// Evaluates parts that don't depend on a point.
    fn fold(
        &mut self,
        compiled: Compiled,
        place: Place,
        problems: &mut Problems,
    ) -> Option<Compiled> {
        let mut slots = std::collections::BTreeSet::new();
        compiled.slots(&mut slots);
        if !slots.is_empty() {
            return Some(compiled);
        }
        match compiled.eval(&[]) {
            Ok(resolved) => {
                self.pay(&resolved, place, problems)?;
                Some(Compiled::Fixed(resolved))
            }
            Err(error) => {
                report_eval(error, problems);
                None
            }
        }
    }

    /// Compiles the condition in `tree`.
    pub fn condition(
        &mut self,
        tree: &Tree,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<Test> {
        let text = match &tree.content {
            Content::Bool(flag) => return Some(Test::Constant(*flag)),
            Content::Text(text) => text,
            _ => {
                let message = format!("a condition is a text, not {}", tree.what());
                problems.error(tree.place, "wrong-type", message);
                return None;
            }
        };
        let written = ExpressionText {
            text,
            place: tree.place,
        };
        match Condition::parse(text) {
            Ok(condition) => self.test(&condition, written, scope, problems),
            Err(error) => {
                report_syntax(text, tree.place, error, problems);
                None
            }
        }
    }

    fn test(
        &mut self,
        condition: &Condition,
        written: ExpressionText,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<Test> {
        let mut tests = |this: &mut Self, conditions: &[Condition]| {
            let tests = conditions.iter();
            let tests = tests.map(|one| this.test(one, written, scope, problems));
            let tests: Vec<Option<Test>> = tests.collect();
            tests.into_iter().collect::<Option<Vec<Test>>>()
        };
        Some(match condition {
            Condition::Any(conditions) => Test::Any(tests(self, conditions)?),
            Condition::All(conditions) => Test::All(tests(self, conditions)?),
            Condition::Not(inner) => {
                Test::Not(Box::new(self.test(inner, written, scope, problems)?))
            }
            Condition::Constant(flag) => Test::Constant(*flag),
            Condition::Present(path) => {
                let place = written.part(path.range, problems);
                Test::Present(self.bind(path, scope, place, problems)?)
            }
            Condition::Equal(a, b) => {
                let (a, b) = self.sides(a, b, written, scope, problems)?;
                Test::Equal(a, b)
            }
            Condition::Unequal(a, b) => {
                let (a, b) = self.sides(a, b, written, scope, problems)?;
                Test::Unequal(a, b)
            }
            Condition::In(a, Members::List(list)) => {
                let left = self.operand(a, written, scope, problems);
                let list = list.iter();
                let list = list.map(|item| self.operand(item, written, scope, problems));
                let list: Vec<Option<Bound>> = list.collect();
                let (left, list) = (left?, list.into_iter().collect::<Option<Vec<Bound>>>()?);
                for item in &list {
                    self.check_label(&left, item, written, scope, problems);
                }
                Test::InList(left, list)
            }
            Condition::In(a, Members::Path(path)) => {
                let left = self.operand(a, written, scope, problems);
                let place = written.part(path.range, problems);
                let right = self.bind(path, scope, place, problems);
                let right =
                    right.and_then(|right| self.check_list(right, path, place, scope, problems));
                Test::InPath(left?, right?)
            }
        })
    }

    fn sides(
        &mut self,
        a: &Operand,
        b: &Operand,
        written: ExpressionText,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<(Bound, Bound)> {
        let a = self.operand(a, written, scope, problems);
        let b = self.operand(b, written, scope, problems);
        let (a, b) = (a?, b?);
        self.check_label(&a, &b, written, scope, problems);
        self.check_label(&b, &a, written, scope, problems);
        Some((a, b))
    }

    /// Warns if an axis is compared with a label that none of its values has in the file.
    fn check_label(
        &mut self,
        axis: &Bound,
        other: &Bound,
        written: ExpressionText,
        scope: Scope,
        problems: &mut Problems,
    ) {
        let (Bound::Axis { slot, fields }, Bound::Fixed(resolved)) = (axis, other) else {
            return;
        };
        let name = scope.each.and_then(|each| each.get(*slot));
        let label = resolved.present().and_then(label_of);
        let (Some(name), Some(label), []) = (name, label, fields.as_slice()) else {
            return;
        };
        let known = self.known(name);
        let known_id = known.ids.contains(&label) || known.ids.iter().any(|id| alike(id, &label));
        if !known_id {
            let message = format!("axis `{name}` has no value `{label}`, so this never holds");
            let found = problems.warning(written.place, "unknown-value", message);
            found.suggest(&label, "values", known.ids.iter().map(String::as_str));
        }
    }

    /// The operand after `in` must be a list wherever it is present.
    fn check_list(
        &mut self,
        bound: Bound,
        path: &Path,
        place: Place,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<Bound> {
        let no_list =
            |resolved: Resolved| resolved.present().is_some_and(|value| !value.is_array());
        let wrong = match &bound {
            Bound::Fixed(resolved) => no_list(resolved.clone()),
            Bound::Axis { slot, fields } => {
                let axis = scope.each?.get(*slot)?;
                let axis = self.axis_by_name(axis, place, problems)?;
                axis.values.iter().any(|value| no_list(value.field(fields)))
            }
        };
        if wrong {
            let message = format!("`in` takes a list, and `{}` is not a list", path.text());
            problems
                .error(place, "wrong-type", message)
                .hint("compare with `==`");
            return None;
        }
        Some(bound)
    }

    fn operand(
        &mut self,
        operand: &Operand,
        written: ExpressionText,
        scope: Scope,
        problems: &mut Problems,
    ) -> Option<Bound> {
        let path = match operand {
            Operand::Literal(value) => return Some(Bound::Fixed(Resolved::of(value.clone()))),
            Operand::Path(path) => path,
        };
        let place = written.part(path.range, problems);
        if self.is_bare_word(path, scope) {
            let word = path.text();
            let message = format!("`{word}` is not an axis; in a condition bare words are paths");
            let found = problems.error(place, "bare-word", message);
            let axes = scope.each.unwrap_or(&[]);
            found.hint(match nearest(&word, axes.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`? a label goes in quotes: \"{word}\""),
                None => format!("a label goes in quotes: \"{word}\""),
            });
            return None;
        }
        self.bind(path, scope, place, problems)
    }

    /// Whether `path` is a word that is not a name: most likely a label without quotes.
    fn is_bare_word(&self, path: &Path, scope: Scope) -> bool {
        let first = path.first();
        path.names.len() == 1
            && scope.slot(first).is_none()
            && self.axis_position(first).is_none()
            && !matches!(first, "params" | "env" | "axes")
    }
}
