//! The outside data of nodes: each source is identified once in a run.

use std::collections::BTreeSet;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::{Identified, Keys, Missing, SourcePlace};
use crate::contract::source::{Source, SourceShape};
use crate::digest::Digest;
use crate::engine::join::PlannedSource;
use crate::store::{IdentifiedSource, ResolvedSource, SourceError};
use crate::workflow::graph::Node;

impl Keys<'_> {
    /// The digests of a node's outside data, by name: from the data, or if it is missing, from the
    /// lock file.
    pub(super) fn source_digests(&mut self, node: &Node) -> Result<Vec<(String, Digest)>, Missing> {
        let graph = self.graph;
        let sources = node.parameters.sources();
        let locked: Vec<Option<Digest>> = sources
            .iter()
            .map(|source| graph.locked.find(node, source).copied())
            .collect();
        // An unset variable may affect only the location of locked data.
        let all_locked = !locked.is_empty() && locked.iter().all(Option::is_some);
        if !node.missing_env.is_empty() && !all_locked {
            return Err(Missing::Environment(node.missing_env.clone()));
        }
        let mut digests = Vec::with_capacity(sources.len());
        for (source, locked) in sources.into_iter().zip(locked) {
            if let Some(planned) = self.planned.get(&place_of(&source)) {
                digests.push((source.name, *planned));
                continue;
            }
            let resolved = self.source(&source);
            let name = source.name;
            let digest = match (resolved, locked) {
                (Ok(found), None) => found.digest,
                (Ok(found), Some(locked)) if found.digest == locked => locked,
                (Ok(found), Some(locked)) => {
                    let found = found.digest;
                    return Err(Missing::Differs {
                        name,
                        locked,
                        found,
                        workflow: graph.file.clone(),
                    });
                }
                (Err(error), Some(locked)) if error.is_absence() => locked,
                (Err(source), _) => return Err(Missing::Data { name, source }),
            };
            digests.push((name, digest));
        }
        Ok(digests)
    }

    /// The current outside data of a node, by name; each source is checked once in a run.
    pub fn sources(
        &mut self,
        node: &Node,
    ) -> Result<Vec<(Source, Arc<IdentifiedSource>)>, Missing> {
        let sources = node.parameters.sources();
        let mut identified = Vec::with_capacity(sources.len());
        for source in sources {
            match self.source(&source) {
                Ok(found) => identified.push((source, found)),
                Err(error) => {
                    return Err(Missing::Data {
                        name: source.name,
                        source: error,
                    });
                }
            }
        }
        Ok(identified)
    }

    /// The outside data that the node was keyed with, by name.
    pub fn contents(&mut self, node: &Node) -> Result<Vec<(String, Arc<ResolvedSource>)>, Missing> {
        let sources = self.sources(node)?;
        let contents = sources.into_iter().map(|(source, identified)| {
            let content = match &identified.content {
                Some(content) => Ok(Arc::clone(content)),
                None => self.read_again(&source, &identified),
            };
            match content {
                Ok(content) => Ok((source.name, content)),
                Err(error) => Err(Missing::Data {
                    name: source.name,
                    source: Arc::new(error),
                }),
            }
        });
        contents.collect()
    }

    /// Reads the content of a source of which only the digest was known.
    fn read_again(
        &self,
        source: &Source,
        identified: &IdentifiedSource,
    ) -> Result<Arc<ResolvedSource>, SourceError> {
        let content = self.stats.resolve(source, &self.base)?;
        match content.digest == identified.digest {
            true => Ok(Arc::new(content)),
            false if source.sealed => Err(SourceError::Unsealed(content.root)),
            false => Err(SourceError::Changing(content.root)),
        }
    }

    /// How the packages of a program's lock file differ from those under the digest `before`, if
    /// that is known.
    pub fn package_changes(&self, node: &Node, before: &Digest) -> Option<Vec<String>> {
        let sources = node.parameters.sources();
        let is_lock = |source: &&Source| source.shape == SourceShape::UvLock;
        let lock = sources.iter().find(is_lock)?;
        let place = self.base.join(&lock.location);
        self.store.package_changes(before, &place)
    }

    /// The sealed data above `node` that has changed since it was hashed. Reads it, so that the
    /// next run uses the new content.
    pub fn broken_seals(&mut self, node: NodeIndex) -> Vec<SourceError> {
        let (mut todo, mut above) = (vec![node], BTreeSet::new());
        while let Some(node) = todo.pop() {
            if above.insert(node) {
                let inputs = self.graph.dag[node].inputs.iter();
                todo.extend(inputs.flat_map(|input| input.members.iter().map(|it| it.node)));
            }
        }
        let mut places = BTreeSet::new();
        for node in above {
            let sources = self.graph.dag[node].parameters.sources();
            for source in sources.into_iter().filter(|source| source.sealed) {
                let Ok(taken) = self.source(&source) else {
                    continue;
                };
                if self.is_broken(source, &taken.digest) {
                    places.insert(taken.root.clone());
                }
            }
        }
        places.into_iter().map(SourceError::Unsealed).collect()
    }

    /// Checks sealed data, once in a run.
    fn is_broken(&mut self, source: Source, taken: &Digest) -> bool {
        let what = (
            source.location.as_os_str().to_os_string(),
            source.shape.clone(),
        );
        if let Some(known) = self.seals.get(&what) {
            return *known;
        }
        let unsealed = Source {
            sealed: false,
            ..source
        };
        let found = self.stats.identify(&unsealed, &self.base);
        let broken = found.is_ok_and(|found| found.digest != *taken);
        self.seals.insert(what, broken);
        broken
    }

    /// Refuses data that differs from what the plan of a shared run says.
    pub(super) fn as_planned(&self, source: &Source, found: &Digest) -> Result<(), Missing> {
        match self.planned.get(&place_of(source)) {
            Some(planned) if planned != found => Err(Missing::Unplanned {
                name: source.name.clone(),
                planned: *planned,
                found: *found,
            }),
            _ => Ok(()),
        }
    }

    /// The digests of all outside data of the graph that can be read here.
    pub fn planned_sources(&mut self) -> Vec<PlannedSource> {
        let graph = self.graph;
        for node in graph.dag.node_weights() {
            for source in node.parameters.sources() {
                // What is missing is reported when its node is keyed.
                let _ = self.source(&source);
            }
        }
        let known = self.sources.iter().filter_map(|(place, found)| {
            let (location, shape, sealed) = place;
            Some(PlannedSource {
                location: location.into(),
                shape: shape.clone(),
                sealed: *sealed,
                digest: found.as_ref().ok()?.digest,
            })
        });
        known.collect()
    }

    fn source(&mut self, source: &Source) -> Identified {
        let what = place_of(source);
        if let Some(identified) = self.sources.get(&what) {
            return identified.clone();
        }
        let identified = match source.sealed && self.check_sealed {
            true => {
                let unsealed = Source {
                    sealed: false,
                    ..source.clone()
                };
                self.stats.identify(&unsealed, &self.base)
            }
            false => self.stats.identify(source, &self.base),
        };
        let identified = identified.map(Arc::new).map_err(Arc::new);
        self.sources.insert(what, identified.clone());
        identified
    }
}

fn place_of(source: &Source) -> SourcePlace {
    let place = source.location.as_os_str().to_os_string();
    (place, source.shape.clone(), source.sealed)
}
