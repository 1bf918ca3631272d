//! How far several labs came to the same outcome of one key.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::store::Record;
use crate::workflow::kind::Comparison;

/// What those who are trusted have to say of one key, seen from the outcome that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Who came to the same bits, those who made it among them.
    pub equal: BTreeSet<String>,
    /// Who came to the same only as far as the kind's tolerance goes.
    pub within: BTreeSet<String>,
    /// Who came to something else.
    pub different: BTreeSet<String>,
}

impl Agreement {
    /// Counts what `labs` came to, beside what was `taken`.
    pub(super) fn count(
        &mut self,
        comparison: Comparison,
        taken: &Record,
        other: &Record,
        labs: &BTreeSet<String>,
    ) {
        let group = match () {
            () if same_bits(taken, other) => &mut self.equal,
            () if same_outcome(comparison, taken, other) => &mut self.within,
            () => &mut self.different,
        };
        group.extend(labs.iter().cloned());
    }

    /// Whether there is more than one lab to compare.
    pub fn is_of_several(&self) -> bool {
        let all = self.equal.iter().chain(&self.within).chain(&self.different);
        all.collect::<BTreeSet<_>>().len() > 1
    }
}

/// Whether two outcomes are equal to the last bit.
pub fn same_bits(one: &Record, two: &Record) -> bool {
    let digests = |record: &Record| -> BTreeMap<String, Digest> {
        let ports = record.ports.iter();
        ports
            .map(|(name, port)| (name.clone(), port.digest))
            .collect()
    };
    digests(one) == digests(two)
}

/// Whether two outcomes of a key are the same as far as their kind can tell.
pub fn same_outcome(comparison: Comparison, one: &Record, two: &Record) -> bool {
    use crate::store::Artifact::Metrics;
    let Comparison::MetricsWithin(tolerance) = comparison else {
        return same_bits(one, two);
    };
    let metrics = |record: &Record| -> BTreeMap<String, f64> {
        let inline = record.ports.iter().filter_map(|(name, port)| {
            let Some(Metrics(metrics)) = &port.inline else {
                return None;
            };
            let values = metrics.values.iter();
            let values =
                values.map(move |(metric, value)| (format!("{name}.{metric}"), value.value));
            Some(values.collect::<Vec<_>>())
        });
        inline.flatten().collect()
    };
    let (first, second) = (metrics(one), metrics(two));
    if first.is_empty() {
        return same_bits(one, two);
    }
    let mut values = first.values().zip(second.values());
    first.keys().eq(second.keys()) && values.all(|(a, b)| (a - b).abs() <= tolerance)
}
