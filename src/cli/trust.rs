//! `ribflow trust`: manages trusted keys, and the command stages of others that may run.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

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
Manage trusted keys

A result from another lab is used only if a trusted key has signed it. The list is your own: a list
that comes with a workflow or a store is never read.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow trust add aachen:mS1o…=    the output of `ribflow key show` at the other lab
  ribflow trust list                 trusted keys, and which are revoked
  ribflow trust remove aachen        use no further results of this lab
  ribflow trust allow --all grid/grid.yaml    review and allow the commands of an imported workflow

Get the key through a channel that you trust: nothing else identifies the lab. The list is in
$XDG_CONFIG_HOME/ribflow/config.yaml (~/.config/ribflow/config.yaml).";

/// Manage trusted keys
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct TrustArguments {
    #[command(subcommand)]
    pub command: TrustCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum TrustCommand {
    /// Trust a key: use results that it has signed
    Add(AddArguments),
    /// Stop trusting a lab; results already fetched stay
    Remove(RemoveArguments),
    /// List trusted keys and allowed command stages
    List,
    /// Allow a command stage of an imported workflow
    ///
    /// Command stages can run any program, so those of an imported workflow are disabled. Review
    /// them first: the error message names the digest, and `--all FILE` shows every command of a
    /// file. The digest covers the command line, its shell, the content of its files and the names
    /// of its environment variables.
    Allow(AllowArguments),
    /// Disallow a command stage again
    Disallow(DigestArguments),
}

#[derive(Clone, Debug, Args)]
pub struct AddArguments {
    /// The output of `ribflow key show` at the other lab; you can put another name before the colon
    #[arg(value_name = "NAME:KEY")]
    pub key: String,
}

#[derive(Clone, Debug, Args)]
pub struct RemoveArguments {
    /// A name from `ribflow trust list`
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
pub struct DigestArguments {
    /// The digest of the command stage: 64 hexadecimal digits
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

/// The result of a command, as text and as JSON.
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
                .hint(format!("use another name for them: OTHER:{key}")));
        }
        if same {
            let message = format!("this is your own key `{}`", own.name);
            return Err(
                Failure::usage("own-key", message).hint("your own results are always trusted")
            );
        }
    }
    Config::edit(home, |config| {
        check_free(config, &name, &key)?;
        config.trust.insert(name.clone(), key);
        Ok::<_, Failure>(())
    })?;
    Ok(Change {
        words: format!("results signed by `{name}` are trusted now"),
        document: json!({ "name": name, "key": key }),
    })
}

/// Refuses a name or key that is already in use, so that no lab can take over another's name.
fn check_free(config: &Config, name: &str, key: &PublicKey) -> Result<(), Failure> {
    if let Some(known) = config.trust.get(name).filter(|known| *known != key) {
        let message = format!("`{name}` is trusted with another key: {known}");
        let hint = format!(
            "if they have a new key, run `ribflow trust remove {name}` first; otherwise choose \
             another name"
        );
        return Err(Failure::usage("name-taken", message).hint(hint));
    }
    let mut others = config.trust.iter();
    if let Some((other, _)) = others.find(|(other, known)| *known == key && *other != name) {
        let message = format!("this key is already trusted as `{other}`");
        let hint = format!("to rename it, run `ribflow trust remove {other}` first");
        return Err(Failure::usage("same-key", message).hint(hint));
    }
    Ok(())
}

/// `NAME:KEY`
fn read(text: &str) -> Result<(String, PublicKey), Failure> {
    let hint = "expected NAME:KEY, as `ribflow key show` prints it";
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
            let message = format!("you do not trust a lab called `{name}`");
            Err(Failure::usage("unknown-lab", message).hint(hint))
        }
    })?;
    Ok(Change {
        words: format!("results signed by `{name}` are no longer used; those already fetched stay"),
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
    // The command of an imported workflow with other parameters is not in the list, so this is not
    // an error.
    let imported = imported::read(home).map_err(|error| Failure::from_error(&error))?;
    let known = imported.contains(&digest);
    let word = if allowed { "may run" } else { "may not run" };
    let mut words = format!("command stages with the digest {digest} {word}");
    if allowed && !known {
        words.push_str(
            "\nnote: no command stage imported here has this digest; if you mistyped it, undo this \
             with `ribflow trust disallow`",
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
                let revocation = lab.trust.revocation_of(key);
                json!({ "name": name, "key": key, "taken_back": revocation })
            })
            .collect();
        let commands = &lab.config.commands;
        let document = json!({ "trusted": trusted, "commands": commands });
        writeln!(output, "{document}")?;
        return Ok(Exit::Done);
    }
    if trust.is_empty() {
        writeln!(
            output,
            "no key is trusted, so no results of other labs are used"
        )?;
    } else {
        let mut table = Table::new(["name", "public key", ""]);
        for (name, key) in trust {
            let revocation = lab.trust.revocation_of(key);
            let state = revocation.map(|why| format!("revoked: {why}"));
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
