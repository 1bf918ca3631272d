//! `ribflow remote`: manages the remotes, the named stores through which labs share results.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use crate::diag;
use crate::remote::config::{Config, Configured, is_variable};
use crate::remote::home::Home;
use crate::remote::keys::is_name;
use crate::remote::probe::{Abilities, probe};
use crate::remote::trust::{Policy, share, shown_share};
use crate::remote::user_profile::{self, UserProfile, UserProfileError, is_address};
use crate::ui::table::Table;

/// What `ribflow remote --help` begins with.
const ABOUT: &str = "\
Manage remotes

A remote is a folder, a bucket or a server with the layout of a store, through which labs share
results. Everything from a remote is verified and must have a trusted signature. Commands use a
remote only with `--remote NAME`.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow remote add aachen s3://rib-results/mini --region eu-central-1
  ribflow remote add aachen https://cache.aachen.example --write --token-env RIBFLOW_TOKEN
  ribflow remote add disk /mnt/shared/rib --write
  ribflow remote add many s3://rib-results/all --quorum 2 --recheck 5%
  ribflow remote check aachen";

/// Manage remotes
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct RemoteArguments {
    #[command(subcommand)]
    pub command: RemoteCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum RemoteCommand {
    /// Add a remote
    Add(AddArguments),
    /// Remove a remote from the list; its content stays
    Remove(NameArguments),
    /// List the remotes
    List,
    /// Check whether a remote answers, and what it supports
    ///
    /// Writes a small file under tmp/ at the remote and removes it again. A missing folder is not
    /// created. Exits with 1 if the remote does not answer, can't be read, or was added with
    /// `--write` and can't be written.
    Check(NameArguments),
}

#[derive(Clone, Debug, Args)]
pub struct AddArguments {
    /// The name of the remote
    #[arg(value_name = "NAME")]
    pub name: String,

    /// s3://BUCKET/FOLDER, gs://…, az://…, http(s)://…, file:///… or the path of a folder
    ///
    /// Credentials of buckets come from the usual environment variables; the token of a server from
    /// the variable that --token-env names.
    #[arg(value_name = "URL")]
    pub url: String,

    /// The server of an S3-compatible store, if it is not Amazon: https://s3.lab.example
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// The region of an S3 bucket
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// Also write results to this remote
    #[arg(long)]
    pub write: bool,

    /// Use only results signed by this lab, a name from `ribflow trust list`; repeatable
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub require: Vec<String>,

    /// Use only results on which at least N labs agree, as far as the stage's kind can compare them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub quorum: usize,

    /// Recompute this share of the fetched results, and compare: 5%
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = read_share)]
    pub recheck: f64,

    /// The environment variable with the token for a server
    #[arg(long, value_name = "VARIABLE")]
    pub token_env: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct NameArguments {
    /// A name from `ribflow remote list`
    #[arg(value_name = "NAME")]
    pub name: String,
}

fn read_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a share: expected 5% or 0.05");
    share(text).ok_or_else(wrong)
}

pub fn run(
    arguments: &RemoteArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let home = Home::of_user().map_err(UserProfileError::from)?;
    match &arguments.command {
        RemoteCommand::Add(arguments) => add(&home, arguments, common, output),
        RemoteCommand::Remove(arguments) => remove(&home, arguments, common, output),
        RemoteCommand::List => list(&home, common, output),
        RemoteCommand::Check(arguments) => check(home, arguments, common, output),
    }
}

fn add(
    home: &Home,
    arguments: &AddArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = &arguments.name;
    if !is_name(name) || is_address(name) {
        let hint = "letters, digits, `_`, `.`, `+` and `-`, at most 64, a letter or digit first";
        let message = format!("`{name}` can't be the name of a remote");
        return Err(Failure::usage("bad-name", message).hint(hint));
    }
    let remote = configured(arguments)?;
    // Report an invalid address now, not at the first run.
    user_profile::open(&remote)?;
    let lab = UserProfile::open(home.clone())?;
    check_known(&lab, &remote.policy.require)?;
    let document = document(name, &remote);
    Config::edit(home, |config| match config.remotes.get(name) {
        Some(known) if *known != remote => {
            let message = format!("the remote `{name}` already exists: {}", known.url);
            let hint = format!("run `ribflow remote remove {name}` first, or choose another name");
            Err(Failure::usage("name-taken", message).hint(hint))
        }
        _ => {
            config.remotes.insert(name.clone(), remote);
            Ok(())
        }
    })?;
    if common.json {
        writeln!(output, "{document}")?;
    } else if !common.quiet {
        writeln!(
            output,
            "added `{name}`; test it with `ribflow remote check {name}`"
        )?;
        if lab.config.trust.is_empty() {
            let word =
                "no key is trusted yet, so no results are used: add one with `ribflow trust add`";
            writeln!(output, "{word}")?;
        }
    }
    Ok(Exit::Done)
}

fn configured(arguments: &AddArguments) -> Result<Configured, Failure> {
    if Configured::has_secret(&arguments.url) {
        let message = "a URL in the configuration can't contain a user or a password";
        let is_web = arguments.url.to_ascii_lowercase().starts_with("http");
        let hint = match is_web {
            true => "name the variable with the token: `--token-env VARIABLE`",
            false => {
                "a bucket's credentials come from the environment: AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, AZURE_…"
            }
        };
        return Err(Failure::usage("secret", message).hint(hint));
    }
    let variable = arguments.token_env.as_deref();
    if variable.is_some_and(|variable| !is_variable(variable)) {
        // Not printed: it may be the token itself.
        let message = "`--token-env` expects the name of an environment variable";
        let hint = "put the token in that variable, never in a file: RIBFLOW_TOKEN";
        return Err(Failure::usage("bad-variable", message).hint(hint));
    }
    if arguments.quorum == 0 {
        return Err(Failure::usage(
            "bad-quorum",
            "`--quorum` must be at least 1",
        ));
    }
    Ok(Configured {
        url: user_profile::url(&arguments.url),
        endpoint: arguments.endpoint.clone(),
        region: arguments.region.clone(),
        write: arguments.write,
        token_env: arguments.token_env.clone(),
        policy: Policy {
            require: arguments.require.iter().cloned().collect(),
            quorum: arguments.quorum,
            recheck: arguments.recheck,
        },
    })
}

/// Required labs must be trusted, or no result would ever be used.
fn check_known(lab: &UserProfile, require: &BTreeSet<String>) -> Result<(), Failure> {
    let known: BTreeSet<&str> = lab.trust.signers().map(|(_, name)| name).collect();
    match require.iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let message = format!("you do not trust a lab called `{name}`");
            let hint = match diag::nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("run `ribflow trust add {name}:KEY` first"),
            };
            Err(Failure::usage("unknown-lab", message).hint(hint))
        }
    }
}

fn remove(
    home: &Home,
    arguments: &NameArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = &arguments.name;
    let removed = Config::edit(home, |config| match config.remotes.remove(name) {
        Some(remote) => Ok(remote),
        None => Err(Failure::from(UserProfileError::Unknown {
            name: name.clone(),
            known: config.remotes.keys().cloned().collect(),
        })),
    })?;
    if common.json {
        writeln!(output, "{}", document(name, &removed))?;
    } else if !common.quiet {
        writeln!(
            output,
            "removed `{name}`; the files at {} stay",
            removed.url
        )?;
    }
    Ok(Exit::Done)
}

fn list(home: &Home, common: &Common, output: &mut dyn Write) -> Result<Exit, Failure> {
    let config = Config::read(home)?;
    if common.json {
        let remotes = config.remotes.iter();
        let remotes: Vec<Value> = remotes
            .map(|(name, remote)| document(name, remote))
            .collect();
        writeln!(output, "{}", json!({ "remotes": remotes }))?;
        return Ok(Exit::Done);
    }
    if config.remotes.is_empty() {
        writeln!(
            output,
            "there are no remotes: add one with `ribflow remote add NAME URL`"
        )?;
        return Ok(Exit::Done);
    }
    for (name, remote) in &config.remotes {
        writeln!(output, "{name}  {}", remote.url)?;
        let terms = terms(remote);
        if !terms.is_empty() {
            writeln!(output, "    {}", terms.join("; "))?;
        }
    }
    Ok(Exit::Done)
}

/// The settings of a remote, for the list.
fn terms(remote: &Configured) -> Vec<String> {
    let policy = &remote.policy;
    let mut terms = Vec::new();
    if remote.write {
        terms.push("writable".to_string());
    }
    if let Some(endpoint) = &remote.endpoint {
        terms.push(format!("endpoint {endpoint}"));
    }
    if let Some(region) = &remote.region {
        terms.push(format!("region {region}"));
    }
    if let Some(variable) = &remote.token_env {
        terms.push(format!("token in {variable}"));
    }
    if !policy.require.is_empty() {
        let names = policy.require.iter().map(String::as_str);
        terms.push(format!("signed by one of {}", diag::listed(names)));
    }
    if policy.quorum > 1 {
        terms.push(format!("{} labs must agree", policy.quorum));
    }
    if policy.recheck > 0.0 {
        terms.push(format!("{} is recomputed", shown_share(policy.recheck)));
    }
    terms
}

fn document(name: &str, remote: &Configured) -> Value {
    json!({
        "name": name,
        "url": remote.url,
        "endpoint": remote.endpoint,
        "region": remote.region,
        "write": remote.write,
        "token_env": remote.token_env,
        "require": remote.policy.require,
        "quorum": remote.policy.quorum,
        "recheck": remote.policy.recheck,
    })
}

fn check(
    home: Home,
    arguments: &NameArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = &arguments.name;
    let lab = UserProfile::open(home)?;
    let configured = lab.configured(name)?;
    let remote = user_profile::open(&configured)?;
    refuse_lacking(name, &configured, remote.shown())?;
    let abilities = probe(&*remote).map_err(|error| {
        let failure = Failure::failed(format!("`{name}` does not answer: {error}"));
        failure.hint("runs continue without it, but can't reuse its results")
    })?;
    if common.json {
        let document = json!({
            "name": name,
            "lists": abilities.lists,
            "writes": abilities.writes,
            "conditional": abilities.conditional,
            "write": configured.write,
            "why": abilities.why,
        });
        writeln!(output, "{document}")?;
    } else {
        let mut table = Table::new([name.as_str(), remote.shown()]);
        for (what, able) in rows(&abilities) {
            table.row([what, if able { "yes" } else { "no" }]);
        }
        for line in table.lines() {
            writeln!(output, "{line}")?;
        }
        for why in &abilities.why {
            writeln!(output, "{}", crate::ui::text::printable(why))?;
        }
    }
    match (abilities.lists, configured.write && !abilities.writes) {
        (false, _) => Ok(Exit::Failed),
        (true, false) => Ok(Exit::Done),
        (true, true) => {
            let message = format!("`{name}` was added with `--write`, but can't be written");
            Err(Failure::failed(message)
                .hint("until then, `run` only reads it; without `--write` this is not an error"))
        }
    }
}

/// Refuses a missing folder: a check must not create it, since the path may be mistyped.
fn refuse_lacking(name: &str, remote: &Configured, shown: &str) -> Result<(), Failure> {
    let Some(folder) = shown.strip_prefix("file://") else {
        return Ok(());
    };
    if Path::new(folder).is_dir() {
        return Ok(());
    }
    let message = format!("`{name}`: there is no folder {folder}");
    Err(Failure::failed(message).hint(match remote.write {
        true => "if the path is right, the first `ribflow push` creates it",
        false => "is the path right, and the volume mounted?",
    }))
}

fn rows(abilities: &Abilities) -> [(&'static str, bool); 3] {
    [
        ("readable: lists its content", abilities.lists),
        ("writable", abilities.writes),
        ("supports conditional creation", abilities.conditional),
    ]
}
