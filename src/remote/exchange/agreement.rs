//! The agreement of several labs on the outcome of one key.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::store::Record;
use crate::workflow::kind::Comparison;

/// How the outcomes of trusted labs for one key compare with the chosen outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Labs with the same bits, including the signers of the chosen outcome.
    pub equal: BTreeSet<String>,
    /// Labs with the same outcome only within the kind's tolerance.
    pub within: BTreeSet<String>,
    /// Labs with a different outcome.
    pub different: BTreeSet<String>,
}

impl Agreement {
    /// Adds the outcome of `labs`, compared with the chosen one, `taken`.
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

    /// Whether more than one lab has an outcome.
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

/// Whether two outcomes of a key are the same according to the comparison of their kind.
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
