//! `ribflow trust`: whose results are taken, and which command stages of others may run.

use std::io::Write;

use serde_json::{Value, json};

use clap::{Args, Subcommand};

use super::allow::{self, AllowArguments};
use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use crate::diag;
use crate::digest::Digest;
use crate::remote::config::Config;
use crate::remote::home::Home;
use crate::remote::imported;
use crate::remote::keys::{self, is_name};
use crate::remote::signing::PublicKey;
use crate::remote::user_profile::{UserProfile, UserProfileError};
use crate::ui::table::Table;

/// What `ribflow trust --help` begins with.
const ABOUT: &str = "\
Say whose results are taken

A result from elsewhere is taken only if somebody whom you trust has signed it. The list is
your own: one that comes with a workflow or a store is never read.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow trust add aachen:mS1o…=    what `ribflow key show` printed there
  ribflow trust list                 who is trusted, and who took their key back
  ribflow trust remove aachen        take nothing more from them
  ribflow trust allow --all grid/grid.yaml    show the commands of an imported workflow, then ask

Ask them for the key over a way that you trust: it is all that tells them from others. The list
lies in $XDG_CONFIG_HOME/ribflow/config.yaml (~/.config/ribflow/config.yaml).";

/// Say whose results are taken
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct TrustArguments {
    #[command(subcommand)]
    pub command: TrustCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum TrustCommand {
    /// Take the results of whoever has this key
    Add(AddArguments),
    /// Take no further results of this lab; those that were taken stay
    Remove(RemoveArguments),
    /// List who is trusted, and the command stages that are allowed
    List,
    /// Let a command stage of a workflow from elsewhere run
    ///
    /// Command stages run any program, so those of a workflow that came in a bundle are off. Read
    /// what they do; the refusal names the digest, and `--all FILE` shows every command of a file.
    /// The digest covers the line, its shell, the content of its files and the names of the
    /// environment variables that it is given.
    Allow(AllowArguments),
    /// Let it run no more
    Disallow(DigestArguments),
}

#[derive(Clone, Debug, Args)]
pub struct AddArguments {
    /// What `ribflow key show` prints there. The name is yours to choose: put another before the
    /// colon
    #[arg(value_name = "NAME:KEY")]
    pub key: String,
}

#[derive(Clone, Debug, Args)]
pub struct RemoveArguments {
    /// One of `ribflow trust list`
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
pub struct DigestArguments {
    /// Of the command stage: 64 hexadecimal digits
    #[arg(value_name = "DIGEST")]
    pub digest: Digest,
}

pub fn run(
    arguments: &TrustArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let home = Home::of_user().map_err(UserProfileError::from)?;
    let done = match &arguments.command {
        TrustCommand::Add(arguments) => add(&home, arguments)?,
        TrustCommand::Remove(arguments) => remove(&home, arguments)?,
        TrustCommand::Allow(arguments) => match &arguments.digest {
            Some(digest) => allow(&home, *digest, true)?,
            None => return allow::all(&home, arguments, common, output),
        },
        TrustCommand::Disallow(arguments) => allow(&home, arguments.digest, false)?,
        TrustCommand::List => return list(home, common, output),
    };
    if common.json {
        writeln!(output, "{}", done.document)?;
    } else if !common.quiet {
        writeln!(output, "{}", done.words)?;
    }
    Ok(Exit::Done)
}

/// What was done, for people and for scripts.
struct Change {
    words: String,
    document: Value,
}

fn add(home: &Home, arguments: &AddArguments) -> Result<Change, Failure> {
    let (name, key) = read(&arguments.key)?;
    for own in keys::all(home)? {
        let same = own.secret.public() == key;
        if own.name == name && !same {
            let message = format!("`{name}` is the name of your own key");
            return Err(Failure::usage("name-taken", message)
                .hint(format!("call them something else: OTHER:{key}")));
        }
        if same {
            let message = format!("that is your own key `{}`", own.name);
            return Err(Failure::usage("own-key", message).hint("your own results are yours"));
        }
    }
    Config::edit(home, |config| {
        check_free(config, &name, &key)?;
        config.trust.insert(name.clone(), key);
        Ok::<_, Failure>(())
    })?;
    Ok(Change {
        words: format!("results signed by `{name}` are taken from now on"),
        document: json!({ "name": name, "key": key }),
    })
}

/// One name, one key: nobody takes another's name by being added.
fn check_free(config: &Config, name: &str, key: &PublicKey) -> Result<(), Failure> {
    if let Some(known) = config.trust.get(name).filter(|known| *known != key) {
        let message = format!("`{name}` is trusted with another key: {known}");
        let hint = format!(
            "if they have a new key: `ribflow trust remove {name}` first; else call them \
             something else"
        );
        return Err(Failure::usage("name-taken", message).hint(hint));
    }
    let mut others = config.trust.iter();
    if let Some((other, _)) = others.find(|(other, known)| *known == key && *other != name) {
        let message = format!("that is the key of `{other}`, who is trusted");
        let hint = format!("for another name: `ribflow trust remove {other}` first");
        return Err(Failure::usage("same-key", message).hint(hint));
    }
    Ok(())
}

/// `NAME:KEY`
fn read(text: &str) -> Result<(String, PublicKey), Failure> {
    let hint = "NAME:KEY, as `ribflow key show` prints it there";
    let Some((name, key)) = text.split_once(':') else {
        let message = format!("`{text}` has no name before its key");
        return Err(Failure::usage("bad-public-key", message).hint(hint));
    };
    if !is_name(name) {
        let message = format!("`{name}` can't be the name of a lab");
        let hint = "letters, digits, `_`, `.`, `+` and `-`, at most 64, a letter or digit first";
        return Err(Failure::usage("bad-name", message).hint(hint));
    }
    match key.parse() {
        Ok(key) => Ok((name.to_string(), key)),
        Err(error) => {
            let message = format!("{error}");
            Err(Failure::usage("bad-public-key", message).hint(hint))
        }
    }
}

fn remove(home: &Home, arguments: &RemoveArguments) -> Result<Change, Failure> {
    let name = &arguments.name;
    let key = Config::edit(home, |config| match config.trust.remove(name) {
        Some(key) => Ok(key),
        None => {
            let known = config.trust.keys().map(String::as_str);
            let hint = diag::suggest(name, "labs", known).replace("it has", "you trust");
            let message = format!("you trust nobody called `{name}`");
            Err(Failure::usage("unknown-lab", message).hint(hint))
        }
    })?;
    Ok(Change {
        words: format!("nothing signed by `{name}` is taken any more; what was taken stays"),
        document: json!({ "name": name, "key": key }),
    })
}

fn allow(home: &Home, digest: Digest, allowed: bool) -> Result<Change, Failure> {
    Config::edit(home, |config| {
        match allowed {
            true => config.commands.insert(digest),
            false => config.commands.remove(&digest),
        };
        Ok::<_, Failure>(())
    })?;
    // One of an imported workflow with other parameters is not among them, so it is no error.
    let imported = imported::read(home).map_err(|error| Failure::from_error(&error))?;
    let known = imported.contains(&digest);
    let word = if allowed { "may run" } else { "may not run" };
    let mut words = format!("command stages with the digest {digest} {word}");
    if allowed && !known {
        words.push_str(
            "\nnote: no command stage that was imported here has this digest; if you mistyped it, \
             `ribflow trust disallow` takes it back",
        );
    }
    Ok(Change {
        words,
        document: json!({ "digest": digest, "allowed": allowed, "known": known }),
    })
}

fn list(home: Home, common: &Common, output: &mut dyn Write) -> Result<Exit, Failure> {
    let lab = UserProfile::open(home)?;
    let trust = &lab.config.trust;
    if common.json {
        let trusted: Vec<Value> = trust
            .iter()
            .map(|(name, key)| {
                let taken_back = lab.trust.revocation_of(key);
                json!({ "name": name, "key": key, "taken_back": taken_back })
            })
            .collect();
        let commands = &lab.config.commands;
        let document = json!({ "trusted": trusted, "commands": commands });
        writeln!(output, "{document}")?;
        return Ok(Exit::Done);
    }
    if trust.is_empty() {
        writeln!(output, "nobody is trusted: no result of others is taken")?;
    } else {
        let mut table = Table::new(["name", "public key", ""]);
        for (name, key) in trust {
            let taken_back = lab.trust.revocation_of(key);
            let state = taken_back.map(|why| format!("taken back: {why}"));
            table.row([name.clone(), key.to_string(), state.unwrap_or_default()]);
        }
        for line in table.lines() {
            writeln!(output, "{line}")?;
        }
    }
    for digest in &lab.config.commands {
        writeln!(output, "command stage allowed: {digest}")?;
    }
    Ok(Exit::Done)
}
