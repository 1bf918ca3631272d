//! `ribflow remote`: the places that results are shared through, by name.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use clap::{Args, Subcommand};

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
Name the places that results are shared through

A remote is a folder, a bucket or a server that is laid out as a store. What comes from it is
checked and must be signed by somebody whom you trust; it is used where a command says so
(`--remote NAME`).";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow remote add aachen s3://rib-results/mini --region eu-central-1
  ribflow remote add aachen https://cache.aachen.example --write --token-env RIBFLOW_TOKEN
  ribflow remote add disk /mnt/shared/rib --write
  ribflow remote add many s3://rib-results/all --quorum 2 --recheck 5%
  ribflow remote check aachen";

/// Name the places that results are shared through
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct RemoteArguments {
    #[command(subcommand)]
    pub command: RemoteCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum RemoteCommand {
    /// Give a remote a name
    Add(AddArguments),
    /// Forget a remote; nothing is removed there
    Remove(NameArguments),
    /// List the remotes
    List,
    /// Try whether a remote answers, and what it can do
    ///
    /// Writes a small file there under tmp/ and removes it again; a folder that is not there is not
    /// made. Ends with 1 where it does not answer, can't be read, or is to be written (`--write`)
    /// and can't be.
    Check(NameArguments),
}

#[derive(Clone, Debug, Args)]
pub struct AddArguments {
    /// What to call it
    #[arg(value_name = "NAME")]
    pub name: String,

    /// s3://BUCKET/FOLDER, gs://…, az://…, http(s)://…, file:///… or a folder's path
    ///
    /// A bucket's credentials come from the environment, as other tools have them; a server's
    /// token from the variable that --token-env names.
    #[arg(value_name = "URL")]
    pub url: String,

    /// The server of an S3-compatible store, where that is not Amazon: https://s3.lab.example
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// The region of an S3 bucket
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// Write there what is made here
    #[arg(long)]
    pub write: bool,

    /// Take only what one of these has signed: names of `ribflow trust list`; repeatable
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub require: Vec<String>,

    /// Take only what so many labs have come to, as far as the stage's kind can tell
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub quorum: usize,

    /// Compute this share of what is taken once more, and compare: 5%
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = read_share)]
    pub recheck: f64,

    /// The environment variable that holds the token for a server
    #[arg(long, value_name = "VARIABLE")]
    pub token_env: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct NameArguments {
    /// One of `ribflow remote list`
    #[arg(value_name = "NAME")]
    pub name: String,
}

fn read_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share: 5% or 0.05");
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
    // An address that can't be right is told now, not at the first run.
    user_profile::open(&remote)?;
    let lab = UserProfile::open(home.clone())?;
    check_known(&lab, &remote.policy.require)?;
    let document = document(name, &remote);
    Config::edit(home, |config| match config.remotes.get(name) {
        Some(known) if *known != remote => {
            let message = format!("there is a remote `{name}` already: {}", known.url);
            let hint = format!("`ribflow remote remove {name}` first, or take another name");
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
            "`{name}` is known; does it answer? `ribflow remote check {name}`"
        )?;
        if lab.config.trust.is_empty() {
            let word = "nobody is trusted yet, so nothing is taken from it: `ribflow trust add`";
            writeln!(output, "{word}")?;
        }
    }
    Ok(Exit::Done)
}

fn configured(arguments: &AddArguments) -> Result<Configured, Failure> {
    if Configured::has_secret(&arguments.url) {
        let message = "a URL in the configuration holds no user and no password";
        let is_web = arguments.url.to_ascii_lowercase().starts_with("http");
        let hint = match is_web {
            true => "`--token-env VARIABLE` names the variable that holds the token",
            false => {
                "a bucket's credentials come from the environment: AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, AZURE_…"
            }
        };
        return Err(Failure::usage("secret", message).hint(hint));
    }
    let variable = arguments.token_env.as_deref();
    if variable.is_some_and(|variable| !is_variable(variable)) {
        // Not shown: it may be the token itself.
        let message = "`--token-env` takes the name of an environment variable";
        let hint = "the token itself stands in that variable, never in a file: RIBFLOW_TOKEN";
        return Err(Failure::usage("bad-variable", message).hint(hint));
    }
    if arguments.quorum == 0 {
        return Err(Failure::usage(
            "bad-quorum",
            "`--quorum` counts labs, from 1 on",
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

/// Whoever is required must be trusted, or nothing would ever be taken.
fn check_known(lab: &UserProfile, require: &BTreeSet<String>) -> Result<(), Failure> {
    let known: BTreeSet<&str> = lab.trust.signers().map(|(_, name)| name).collect();
    match require.iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let message = format!("you trust nobody called `{name}`");
            let hint = match diag::nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("first: `ribflow trust add {name}:KEY`"),
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
            "`{name}` is forgotten; what is at {} stays",
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
        writeln!(output, "no remote is known: `ribflow remote add NAME URL`")?;
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

/// On what terms a remote is used.
fn terms(remote: &Configured) -> Vec<String> {
    let policy = &remote.policy;
    let mut terms = Vec::new();
    if remote.write {
        terms.push("written to".to_string());
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
        terms.push(format!("{} is computed again", shown_share(policy.recheck)));
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
        failure.hint("a run goes on without it: only the reuse is lost")
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
            let message = format!("`{name}` is to be written (`--write`), and can't be");
            Err(Failure::failed(message)
                .hint("until it can, `run` only reads it; without `--write` that is no error"))
        }
    }
}

/// A folder that is not there: looking must not make it, since it may be mistyped.
fn refuse_lacking(name: &str, remote: &Configured, shown: &str) -> Result<(), Failure> {
    let Some(folder) = shown.strip_prefix("file://") else {
        return Ok(());
    };
    if Path::new(folder).is_dir() {
        return Ok(());
    }
    let message = format!("`{name}`: there is no folder {folder}");
    Err(Failure::failed(message).hint(match remote.write {
        true => "if it is not mistyped: the first `ribflow push` makes it",
        false => "is it mistyped, or not mounted?",
    }))
}

fn rows(abilities: &Abilities) -> [(&'static str, bool); 3] {
    [
        ("can be read: it lists what it has", abilities.lists),
        ("can be written to", abilities.writes),
        ("creates only what is not there", abilities.conditional),
    ]
}
