//! `ribflow key`: manages the signing keys of this lab.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use crate::remote::config::Config;
use crate::remote::home::Home;
use crate::remote::keys::{self, KeyError, OwnKey};
use crate::remote::user_profile::{UserProfile, UserProfileError};
use crate::ui::table::Table;

/// What `ribflow key --help` begins with.
const ABOUT: &str = "\
Manage signing keys

Every record that you push is signed, so that others can verify its origin. The private key is in a
file that only you can read, never in a store. Others add the public key to their trusted keys.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow key generate                  once, before the first push; picks a random name
  ribflow key generate --name aachen    with a name of your choice
  ribflow key show                      print what others need: aachen:mS1o…=

Private keys are in $XDG_DATA_HOME/ribflow/keys (~/.local/share/ribflow/keys). With several keys,
RIBFLOW_KEY selects the one that signs.";

/// Manage signing keys
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct KeyArguments {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Generate a key
    Generate(GenerateArguments),
    /// Print the public key in the format of `ribflow trust add`
    Show,
    /// List the keys and mark the one that signs
    List,
    /// Select the key that signs
    Use(UseArguments),
}

#[derive(Clone, Debug, Args)]
pub struct GenerateArguments {
    /// The name of the key [default: random words]
    ///
    /// Everyone who receives the public key sees the name. The default reveals nothing about you
    /// or your machine.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct UseArguments {
    /// One of `ribflow key list`
    #[arg(value_name = "NAME")]
    pub name: String,
}

pub fn run(arguments: &KeyArguments, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let common = call.common;
    let home = Home::of_user().map_err(UserProfileError::from)?;
    match &arguments.command {
        KeyCommand::Generate(arguments) => generate(home, arguments, common, output),
        KeyCommand::Show => show(home, common, output),
        KeyCommand::List => list(home, common, output),
        KeyCommand::Use(arguments) => choose(&home, arguments, common, output),
    }
}

fn generate(
    home: Home,
    arguments: &GenerateArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let lab = UserProfile::open(home)?;
    let name = arguments.name.as_deref();
    if name.is_none()
        && let Some(key) = lab.key()?
    {
        return Err(KeyError::Exists(key.name).into());
    }
    if let Some(name) = name.filter(|name| lab.config.trust.contains_key(*name)) {
        let message = format!("`{name}` is the name of a lab that you trust");
        return Err(Failure::usage("name-taken", message).hint("choose another name"));
    }
    let key = keys::generate(&lab.home, name)?;
    if common.json {
        print(output, &document(&key, true))?;
    } else if !common.quiet {
        let path = lab.home.keys().join(format!("{}.key", key.name));
        writeln!(output, "{}: keep this file secret", path.display())?;
        writeln!(output, "to trust you, others run:")?;
        writeln!(output, "  ribflow trust add {}", public(&key))?;
        note_of_choice(&lab, &key, output)?;
    }
    Ok(Exit::Done)
}

/// With several keys, the user has to select the one that signs.
fn note_of_choice(lab: &UserProfile, key: &OwnKey, output: &mut dyn Write) -> Result<(), Failure> {
    match lab.key() {
        Ok(Some(used)) if used.name == key.name => Ok(()),
        Ok(Some(used)) => Ok(writeln!(
            output,
            "`{}` still signs; switch with `ribflow key use {}`",
            used.name, key.name
        )?),
        _ => Ok(writeln!(
            output,
            "there are several keys now: select this one with `ribflow key use {}`",
            key.name
        )?),
    }
}

fn show(home: Home, common: &Common, output: &mut dyn Write) -> Result<Exit, Failure> {
    let Some(key) = UserProfile::open(home)?.key()? else {
        return Err(no_key());
    };
    match common.json {
        true => print(output, &document(&key, true))?,
        false => writeln!(output, "{}", public(&key))?,
    }
    Ok(Exit::Done)
}

/// There is no signing key.
pub fn no_key() -> Failure {
    let failure = Failure::usage("no-key", "there is no key to sign with");
    failure.hint("create one with `ribflow key generate`")
}

fn list(home: Home, common: &Common, output: &mut dyn Write) -> Result<Exit, Failure> {
    let lab = UserProfile::open(home)?;
    // If no key is selected, none signs. Users need this list to select one.
    let used = lab.key().ok().flatten().map(|key| key.name);
    let keys = keys::all(&lab.home)?;
    if common.json {
        let keys: Vec<Value> = keys
            .iter()
            .map(|key| document(key, used.as_ref() == Some(&key.name)))
            .collect();
        print(output, &json!({ "keys": keys }))?;
        return Ok(Exit::Done);
    }
    if keys.is_empty() {
        writeln!(
            output,
            "there is no key yet: create one with `ribflow key generate`"
        )?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["name", "public key", ""]);
    for key in &keys {
        let public = key.secret.public();
        let state = match lab.trust.revocation_of(&public) {
            Some(_) => "revoked",
            None if used.as_ref() == Some(&key.name) => "signs",
            None => "",
        };
        table.row([key.name.clone(), public.to_string(), state.to_string()]);
    }
    for line in table.lines() {
        writeln!(output, "{line}")?;
    }
    Ok(Exit::Done)
}

fn choose(
    home: &Home,
    arguments: &UseArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let name = &arguments.name;
    let known = keys::names(home)?;
    if !known.contains(name) {
        let name = name.clone();
        return Err(KeyError::Unknown { name, known }.into());
    }
    Config::edit(home, |config| {
        config.key = Some(name.clone());
        Ok::<_, Failure>(())
    })?;
    if common.json {
        print(output, &json!({ "name": name }))?;
    } else if !common.quiet {
        writeln!(output, "`{name}` is the signing key now")?;
    }
    Ok(Exit::Done)
}

fn public(key: &OwnKey) -> String {
    keys::shown(&key.name, &key.secret.public())
}

fn document(key: &OwnKey, signs: bool) -> Value {
    json!({ "name": key.name, "key": key.secret.public(), "text": public(key), "signs": signs })
}

fn print(output: &mut dyn Write, document: &Value) -> Result<(), Failure> {
    Ok(writeln!(output, "{document}")?)
}
