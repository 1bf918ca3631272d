//! Collects problems while a text is read, so that one run reports all of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Diagnostic, Diagnostics, Place, Severity, SourceId, SourceText, Span};

/// Further problems are counted, not shown.
const SHOWN: usize = 100;

/// The maximum number of problems that are reported separately when nodes have different ones at
/// one place.
const ALIKE: usize = 3;

/// All problems so far, and the texts they are in.
#[derive(Default)]
pub struct Problems {
    sources: Vec<Arc<SourceText>>,
    found: Vec<Draft>,
    /// Problems that have no place in any text.
    nowhere: Vec<Diagnostic>,
    /// Problems that nodes may share, by message and place.
    shared: HashMap<(Place, &'static str, String), usize>,
    /// Problems of nodes at one place that differ only in their message.
    alike: HashMap<(Place, &'static str), Vec<usize>>,
    /// Takes the hints of problems that have been reported already.
    ignored: Draft,
}

/// A problem that is being described.
#[derive(Default)]
pub struct Draft {
    severity: Severity,
    place: Place,
    code: &'static str,
    message: String,
    hint: Option<String>,
    /// The node with the problem, and the number of others.
    node: Option<(String, usize)>,
}

impl Draft {
    pub fn hint(&mut self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }

    /// A hint, if there is one to give.
    pub fn maybe_hint(&mut self, hint: Option<String>) {
        self.hint = hint.or(self.hint.take());
    }

    /// Suggests the name that was meant, or lists the known ones.
    pub fn suggest<'a>(
        &mut self,
        wrong: &str,
        what: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) {
        self.hint(super::suggest(wrong, what, known));
    }
}

impl Problems {
    pub fn add_source(&mut self, source: SourceText) -> SourceId {
        self.sources.push(Arc::new(source));
        SourceId((self.sources.len() - 1) as u32)
    }

    /// Replaces the source text that is shown. The new one must have the same number of bytes.
    pub fn replace_source(&mut self, id: SourceId, source: SourceText) {
        self.sources[id.0 as usize] = Arc::new(source);
    }

    pub fn text(&self, source: SourceId) -> &str {
        self.sources[source.0 as usize].text()
    }

    pub fn source(&self, source: SourceId) -> &SourceText {
        &self.sources[source.0 as usize]
    }

    /// All texts; places name them by their position.
    pub fn sources(&self) -> Vec<Arc<SourceText>> {
        self.sources.clone()
    }

    pub fn error(
        &mut self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Draft {
        self.add(Severity::Error, place, code, message.into())
    }

    pub fn warning(
        &mut self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Draft {
        self.add(Severity::Warning, place, code, message.into())
    }

    /// An error of one node. Nodes with the same error at the same place are reported once.
    pub fn node_error(
        &mut self,
        node: &dyn Fn() -> String,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Draft {
        let message = message.into();
        let key = (place, code, message.clone());
        let alike = self.alike.entry((place, code)).or_default();
        let known = self.shared.get(&key).copied();
        let known = known.or_else(|| (alike.len() >= ALIKE).then(|| alike[ALIKE - 1]));
        if let Some(index) = known {
            if let Some((_, others)) = &mut self.found[index].node {
                *others += 1;
            }
            self.ignored.hint = None;
            return &mut self.ignored;
        }
        alike.push(self.found.len());
        self.shared.insert(key, self.found.len());
        let found = self.add(Severity::Error, place, code, message);
        found.node = Some((node(), 0));
        found
    }

    /// An error that is the same for many nodes.
    pub fn shared_error(
        &mut self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
    ) -> &mut Draft {
        let message = message.into();
        let key = (place, code, message.clone());
        if self.shared.contains_key(&key) {
            self.ignored.hint = None;
            return &mut self.ignored;
        }
        self.shared.insert(key, self.found.len());
        self.add(Severity::Error, place, code, message)
    }

    fn add(
        &mut self,
        severity: Severity,
        place: Place,
        code: &'static str,
        message: String,
    ) -> &mut Draft {
        let index = self.found.len();
        self.found.push(Draft {
            severity,
            place,
            code,
            message,
            hint: None,
            node: None,
        });
        &mut self.found[index]
    }

    /// Adds a problem that is not at a place in a text.
    pub fn elsewhere(&mut self, diagnostic: Diagnostic) {
        self.nowhere.push(diagnostic);
    }

    /// Bytes `start` to `end` of a scalar with the value `value` at `place`; the whole scalar if
    /// the file writes it differently (escapes, several lines).
    pub fn inside(&self, place: Place, value: &str, start: usize, end: usize) -> Place {
        let written = self
            .text(place.source)
            .get(place.span.start..place.span.end)
            .unwrap_or("");
        let quote = usize::from(written.starts_with(['"', '\'']));
        let inner = written.get(quote..written.len().saturating_sub(quote));
        if inner == Some(value) {
            return place.part(quote + start, quote + end);
        }
        place
    }

    pub fn any_errors(&self) -> bool {
        let mut found = self.found.iter().map(|found| found.severity);
        let mut nowhere = self.nowhere.iter().map(|one| one.severity);
        let error = |severity| severity == Severity::Error;
        found.any(error) || nowhere.any(error)
    }

    /// The problems by place: only errors if there are any, otherwise the warnings.
    pub fn finish(mut self) -> Result<Vec<Diagnostic>, Diagnostics> {
        let failed = self.any_errors();
        if failed {
            self.found.retain(|found| found.severity == Severity::Error);
        }
        // Stable: problems at one place stay in the order they were found.
        self.found.sort_by_key(|found| found.place);
        let more = self.found.len().saturating_sub(SHOWN);

        let mut diagnostics = std::mem::take(&mut self.nowhere);
        diagnostics.extend(
            self.found
                .iter()
                .take(SHOWN)
                .map(|found| self.diagnostic(found)),
        );
        if more > 0 {
            let file = self.sources.first().map_or("", |source| source.name());
            let message = format!("there are {more} more problems");
            diagnostics.push(Diagnostic {
                severity: self.found[0].severity,
                ..Diagnostic::nowhere("more-problems", file, message)
            });
        }
        if failed {
            return Err(Diagnostics(diagnostics));
        }
        Ok(diagnostics)
    }

    fn diagnostic(&self, found: &Draft) -> Diagnostic {
        let source = self.source(found.place.source);
        let span = Span { ..found.place.span };
        let mut diagnostic = source.diagnostic(span, found.code, message_with_node(found));
        diagnostic.severity = found.severity;
        diagnostic.hint.clone_from(&found.hint);
        diagnostic
    }
}

fn message_with_node(found: &Draft) -> String {
    match &found.node {
        None => found.message.clone(),
        // Its stage has only this node, and the place identifies the stage.
        Some((node, 0)) if !node.contains('[') => found.message.clone(),
        Some((node, 0)) => format!("{} (in {node})", found.message),
        Some((node, 1)) => format!("{} (in {node} and another node)", found.message),
        Some((node, others)) => format!("{} (in {node} and {others} other nodes)", found.message),
    }
}
