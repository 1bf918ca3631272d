//! Parses the file into a [`Config`]: rejects unknown fields and wrong types, with their locations.

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, ConfigError, Configured, is_variable};
use crate::diag::{Diagnostics, Problems, SourceText};
use crate::digest::Digest;
use crate::remote::keys::is_name;
use crate::remote::signing::PublicKey;
use crate::remote::trust::{Policy, share};
use crate::workflow::fields::{Fields, strings};
use crate::yaml::{self, Content, Entry, Limits, Tree};

const TOP: &[&str] = &["remotes", "trust", "commands", "key"];
/// The diagnostic code of values that may contain a password or a token.
const SECRET: &str = "secret";
const REMOTE: &[&str] = &[
    "url",
    "endpoint",
    "region",
    "write",
    "token_env",
    "require",
    "quorum",
    "recheck",
];

pub fn read(source: SourceText) -> Result<Config, ConfigError> {
    let mut problems = Problems::default();
    let id = problems.add_source(source);
    let tree = yaml::parse(&mut problems, id, &Limits::default());
    let config = tree.and_then(|tree| config(&tree, &mut problems));
    problems.finish().map_err(without_secrets)?;
    // A parser that returns `None` has reported a problem.
    config.ok_or_else(|| ConfigError::Wrong(Diagnostics(Vec::new())))
}

/// Hides the source line of secrets, which could otherwise end up in a log.
fn without_secrets(Diagnostics(mut problems): Diagnostics) -> Diagnostics {
    let secret = problems.iter().filter(|problem| problem.code == SECRET);
    let lines: BTreeSet<usize> = secret.map(|problem| problem.line).collect();
    for problem in &mut problems {
        if lines.contains(&problem.line) {
            problem.source_line.clear();
        }
    }
    Diagnostics(problems)
}

fn config(tree: &Tree, problems: &mut Problems) -> Option<Config> {
    if matches!(tree.content, Content::Null) {
        return Some(Config::default());
    }
    let top = Fields::of_value(tree, "the configuration", TOP, problems)?;
    let remotes = top.map("remotes", problems);
    let remotes = remotes.iter().filter_map(|entry| {
        check_name(entry, "a remote", problems);
        let remote = remote(entry, problems)?;
        Some((entry.key.clone(), remote))
    });
    Some(Config {
        remotes: remotes.collect(),
        trust: trust(&top, problems),
        commands: commands(&top, problems),
        key: name_of_key(&top, problems),
    })
}

fn check_name(entry: &Entry, what: &str, problems: &mut Problems) {
    if !is_name(&entry.key) {
        let message = format!("`{}` can't be the name of {what}", entry.key);
        let found = problems.error(entry.key_place, "bad-name", message);
        found.hint("letters, digits, `_`, `.`, `+` and `-`, at most 64, a letter or digit first");
    }
}

fn remote(entry: &Entry, problems: &mut Problems) -> Option<Configured> {
    let fields = Fields::of_entry(entry, "a remote", REMOTE, problems)?;
    let text =
        |name: &str, problems: &mut Problems| fields.text(name, problems).map(|text| text.text);
    let url = text("url", problems);
    match &url {
        None if fields.lacks("url") => {
            let found = problems.error(fields.place, "missing-field", "a remote has a `url`");
            found.hint("url: \"s3://bucket/folder\", \"https://…\" or \"file:///…\"");
        }
        Some(url) if Configured::has_secret(url) => {
            let place = fields
                .value("url")
                .map_or(fields.place, |value| value.place);
            let message = "a URL must not contain a user or a password";
            let found = problems.error(place, SECRET, message);
            found.hint("`token_env:` names the variable that holds the token");
        }
        _ => {}
    }
    Some(Configured {
        url: url.unwrap_or_default(),
        endpoint: text("endpoint", problems),
        region: text("region", problems),
        write: write(&fields, problems),
        token_env: token_env(&fields, problems),
        policy: Policy {
            require: require(&fields, problems),
            quorum: quorum(&fields, problems),
            recheck: recheck(&fields, problems),
        },
    })
}

fn write(fields: &Fields, problems: &mut Problems) -> bool {
    match fields.value("write") {
        None => false,
        Some(value) => match value.content {
            Content::Bool(write) => write,
            _ => {
                let message = format!("`write` is true or false, not {}", value.what());
                problems.error(value.place, "wrong-type", message);
                false
            }
        },
    }
}

fn token_env(fields: &Fields, problems: &mut Problems) -> Option<String> {
    let name = fields.text("token_env", problems)?;
    if !is_variable(&name.text) {
        // The value may be the token itself, so it is not shown.
        let message = "`token_env` is the name of an environment variable";
        let found = problems.error(name.place, SECRET, message);
        found.hint("the token itself is in that variable, never in a file: `RIBFLOW_TOKEN`");
    }
    Some(name.text)
}

fn require(fields: &Fields, problems: &mut Problems) -> BTreeSet<String> {
    let Some(value) = fields.value("require") else {
        return BTreeSet::new();
    };
    let names = strings(value, "a name", problems);
    names.into_iter().map(|name| name.text).collect()
}

fn quorum(fields: &Fields, problems: &mut Problems) -> usize {
    let Some(value) = fields.value("quorum") else {
        return Policy::default().quorum;
    };
    let number = value.scalar().and_then(|number| number.as_u64());
    match number.map(usize::try_from) {
        Some(Ok(quorum)) if quorum > 0 => quorum,
        _ => {
            let message = "`quorum` is a number of labs, from 1 on";
            problems.error(value.place, "bad-value", message);
            1
        }
    }
}

fn recheck(fields: &Fields, problems: &mut Problems) -> f64 {
    let Some(value) = fields.value("recheck") else {
        return Policy::default().recheck;
    };
    let read = match &value.content {
        Content::Text(text) => share(text),
        Content::Number(number) => share(&number.to_string()),
        _ => None,
    };
    read.unwrap_or_else(|| {
        let message = "`recheck` is a share of the nodes, from nothing to all";
        let found = problems.error(value.place, "bad-value", message);
        found.hint("`5%` or `0.05`");
        0.0
    })
}

fn trust(top: &Fields, problems: &mut Problems) -> BTreeMap<String, PublicKey> {
    let mut trust = BTreeMap::new();
    let mut names: BTreeMap<PublicKey, &str> = BTreeMap::new();
    for entry in top.map("trust", problems) {
        check_name(entry, "a lab", problems);
        let key = entry.value.text().and_then(|text| text.parse().ok());
        let Some(key) = key else {
            let message = format!(
                "`{}` has no key: 32 bytes in base64 are expected",
                entry.key
            );
            let found = problems.error(entry.value.place, "bad-public-key", message);
            found.hint("`ribflow key show` prints it, there");
            continue;
        };
        if let Some(other) = names.insert(key, &entry.key) {
            let message = format!("`{}` and `{other}` have the same key", entry.key);
            let found = problems.error(entry.key_place, "same-key", message);
            found.hint("a key belongs to one lab, which has one name");
        }
        trust.insert(entry.key.clone(), key);
    }
    trust
}

fn commands(top: &Fields, problems: &mut Problems) -> BTreeSet<Digest> {
    let mut commands = BTreeSet::new();
    for item in top.list("commands", problems) {
        match item.text().map(str::parse) {
            Some(Ok(digest)) => {
                commands.insert(digest);
            }
            _ => {
                let message = "a command stage is allowed by its digest: 64 hexadecimal digits";
                let found = problems.error(item.place, "bad-value", message);
                found.hint("`ribflow trust allow DIGEST` writes it here");
            }
        }
    }
    commands
}

fn name_of_key(top: &Fields, problems: &mut Problems) -> Option<String> {
    let name = top.text("key", problems)?;
    if !is_name(&name.text) {
        let message = "`key` is the name of the key that signs";
        let found = problems.error(name.place, "bad-name", message);
        found.hint("`ribflow key list` shows them");
    }
    Some(name.text)
}
