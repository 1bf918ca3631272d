//! Serialises a [`Config`] to the text of its file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Config, Configured};
use crate::digest::Digest;
use crate::remote::signing::PublicKey;
use crate::remote::trust::{Policy, shown_share};
use crate::yaml;

const HEAD: &str = "\
# Remotes and trusted labs: docs/sharing.md describes this file. `ribflow remote`, `trust` and
# `key use` rewrite it and keep the comments above the first entry.
";

#[derive(Serialize)]
struct Document<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    remotes: BTreeMap<&'a str, Remote<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    trust: &'a BTreeMap<String, PublicKey>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    commands: &'a BTreeSet<Digest>,
}

#[derive(Serialize)]
struct Remote<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_env: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    require: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recheck: Option<String>,
}

impl<'a> Remote<'a> {
    fn of(remote: &'a Configured) -> Self {
        let usual = Policy::default();
        let policy = &remote.policy;
        Self {
            url: &remote.url,
            endpoint: remote.endpoint.as_deref(),
            region: remote.region.as_deref(),
            write: remote.write.then_some(true),
            token_env: remote.token_env.as_deref(),
            require: &policy.require,
            quorum: (policy.quorum != usual.quorum).then_some(policy.quorum),
            recheck: (policy.recheck != usual.recheck).then(|| shown_share(policy.recheck)),
        }
    }
}

/// The file's new text, under the comments at the head of the `old` one.
pub fn text(config: &Config, old: Option<&str>) -> String {
    let document = Document {
        key: config.key.as_deref(),
        remotes: config
            .remotes
            .iter()
            .map(|(name, remote)| (name.as_str(), Remote::of(remote)))
            .collect(),
        trust: &config.trust,
        commands: &config.commands,
    };
    // Encoding maps with string keys, strings and numbers can't fail.
    let body = yaml::encode(&document).unwrap_or_default();
    let head = old.map(head).filter(|head| !head.trim().is_empty());
    format!("{}{body}", head.unwrap_or_else(|| HEAD.to_string()))
}

/// The leading comments and empty lines of a text.
fn head(text: &str) -> String {
    let is_head = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let lines = text.lines().take_while(is_head);
    lines.map(|line| format!("{line}\n")).collect()
}
