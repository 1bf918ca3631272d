//! What `scontrol -o show` prints about the configuration, partitions and nodes of a cluster.

use std::collections::BTreeMap;

/// `Name=value` by name.
pub type Facts = BTreeMap<String, String>;

/// Lines of `scontrol show config`: `MaxArraySize            = 1001`.
pub fn settings(text: &str) -> Facts {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.trim().to_string(), value.trim().to_string()));
    pairs.collect()
}

/// One line of `scontrol -o show partition` or `node`: `Name=value Name=value …`. A value may hold
/// spaces and `=` (the name of a system, comments): only a word with a known form of name begins a new one.
pub fn line(text: &str) -> Facts {
    let mut facts = Facts::new();
    let mut last: Option<String> = None;
    for word in text.split(' ') {
        let named = word.split_once('=').filter(|(name, _)| {
            let mut letters = name.chars();
            letters
                .next()
                .is_some_and(|first| first.is_ascii_uppercase())
                && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        });
        match (named, &last) {
            (Some((name, value)), _) => {
                // The first one counts: a comment can't replace it.
                let value = value.to_string();
                facts.entry(name.to_string()).or_insert(value);
                last = Some(name.to_string());
            }
            (None, Some(name)) if !word.is_empty() => {
                if let Some(value) = facts.get_mut(name) {
                    value.push(' ');
                    value.push_str(word);
                }
            }
            (None, _) => {}
        }
    }
    facts
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    pub name: String,
    pub is_default: bool,
    pub is_up: bool,
    /// Seconds; `None`: no limit.
    pub max_time: Option<u64>,
    /// Empty: all.
    pub accounts: Vec<String>,
    /// Empty: all.
    pub qos: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub cpus: u32,
    /// Bytes.
    pub mem: u64,
    pub gpus: u32,
    /// `IDLE`, `MIXED+DRAIN`.
    pub state: String,
    pub partitions: Vec<String>,
    pub features: Vec<String>,
}

impl Node {
    /// Whether jobs start on it now or once others end.
    pub fn is_usable(&self) -> bool {
        let unusable = ["DOWN", "DRAIN", "FAIL", "NOT_RESPONDING", "FUTURE", "MAINT"];
        !unusable.iter().any(|word| self.state.contains(word)) && !self.state.ends_with('*')
    }
}

/// The partitions in `scontrol -o show partition`.
pub fn partitions(text: &str) -> Vec<Partition> {
    let parsed = text.lines().map(line).filter_map(|facts| {
        let get = |name: &str| facts.get(name).map_or("", String::as_str);
        Some(Partition {
            name: facts.get("PartitionName")?.clone(),
            is_default: get("Default") == "YES",
            is_up: get("State") == "UP",
            max_time: seconds(get("MaxTime")),
            accounts: names(get("AllowAccounts")),
            qos: names(get("AllowQos")),
        })
    });
    parsed.collect()
}

/// The nodes in `scontrol -o show node`.
pub fn nodes(text: &str) -> Vec<Node> {
    let parsed = text.lines().map(line).filter_map(|facts| {
        let get = |name: &str| facts.get(name).map_or("", String::as_str);
        let megabytes: u64 = get("RealMemory").parse().unwrap_or(0);
        Some(Node {
            name: facts.get("NodeName")?.clone(),
            cpus: get("CPUTot").parse().unwrap_or(0),
            mem: megabytes.saturating_mul(1 << 20),
            gpus: gpus(get("Gres")),
            state: get("State").to_string(),
            partitions: names(get("Partitions")),
            features: names(get("AvailableFeatures")),
        })
    });
    parsed.collect()
}

/// The GPUs in `gpu:a100:4(S:0-1),shard:8`.
fn gpus(text: &str) -> u32 {
    let each = text.split(',').filter_map(|gres| {
        let gres = gres.split('(').next()?;
        let mut words = gres.split(':');
        let is_gpu = words.next()? == "gpu";
        let number = words.next_back().map_or(Ok(1), str::parse);
        is_gpu.then(|| number.unwrap_or(0))
    });
    each.fold(0, u32::saturating_add)
}

/// `a,b`; `ALL` and `(null)` are empty.
fn names(text: &str) -> Vec<String> {
    match text {
        "" | "ALL" | "(null)" => Vec::new(),
        text => text.split(',').map(str::to_string).collect(),
    }
}

/// `1-02:03:04`, `02:03:04`, `03:04`; `None` for `UNLIMITED` and for anything else.
fn seconds(text: &str) -> Option<u64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (days.parse().ok()?, rest),
        None => (0_u64, text),
    };
    let mut total: u64 = 0;
    for part in rest.split(':') {
        total = total.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    days.checked_mul(86400)?.checked_add(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Slurm 22.05.8, shortened.
    const PARTITIONS: &str = "\
PartitionName=main AllowGroups=ALL AllowAccounts=ALL AllowQos=normal,high Default=YES MaxTime=1-02:03:04 Nodes=n[1-3] State=UP TotalCPUs=12
PartitionName=gpu AllowAccounts=lab Default=NO MaxTime=UNLIMITED State=DOWN
";
    const NODES: &str = "\
NodeName=n1 Arch=x86_64 CPUTot=4 AvailableFeatures=avx512,fast Gres=(null) OS=Linux 6.18.44 #1 SMP @0  RealMemory=4000 State=IDLE Partitions=main  BootTime=2026-11-30T02:56:14
NodeName=n3 CPUTot=8 Gres=gpu:fake:2(S:0),gpu:b:1,shard:4 RealMemory=1 State=MIXED+DRAIN Partitions=main,gpu Comment=CPUTot=999
";

    #[test]
    fn partitions_and_nodes_are_read() {
        let found = partitions(PARTITIONS);
        assert_eq!(found[0].max_time, Some(93_784));
        assert!(found[0].is_default && found[0].is_up && !found[1].is_up);
        assert_eq!((found[0].qos.len(), found[1].accounts.len()), (2, 1));
        assert_eq!(found[1].max_time, None);
        let found = nodes(NODES);
        assert_eq!(
            (found[0].cpus, found[0].mem, found[0].gpus),
            (4, 4000 << 20, 0)
        );
        assert_eq!(found[0].features, ["avx512", "fast"]);
        assert_eq!((found[1].cpus, found[1].gpus), (8, 3));
        assert!(found[0].is_usable() && !found[1].is_usable());
        let config = settings("MaxArraySize            = 1001\nnothing\n");
        assert_eq!(config["MaxArraySize"], "1001");
    }
}
