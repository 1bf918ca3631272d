//! `ribflow trust allow --all FILE`: shows every command of a workflow and allows them together.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::{ArgAction, Args, ValueHint};
use serde_json::json;

use super::command_permissions::{self, CommandSpec};
use super::common::Common;
use super::failure::{Exit, Failure};
use super::invocation::quoted;
use super::target::WorkflowArguments;
use super::{load, locations};
use crate::digest::Digest;
use crate::quantity::count;
use crate::remote::config::Config;
use crate::remote::home::Home;
use crate::stages;
use crate::ui::text::visible;

#[derive(Clone, Debug, Args)]
pub struct AllowArguments {
    /// The digest of the command stage: 64 hexadecimal digits
    #[arg(
        value_name = "DIGEST",
        value_parser = digest,
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub digest: Option<Digest>,

    /// Show every distinct command of this workflow and its profiles, then ask once for all of them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub all: Option<PathBuf>,

    /// With `--all`: include the commands that result from this override; repeatable
    #[arg(long = "set", value_name = "PATH=VALUE", action = ArgAction::Append, conflicts_with = "digest")]
    pub sets: Vec<String>,

    /// With `--all`: include the commands of these profiles combined; repeatable
    #[arg(long = "profile", value_name = "NAME", action = ArgAction::Append, conflicts_with = "digest")]
    pub profiles: Vec<String>,

    /// With `--all`: allow the commands without asking
    #[arg(long, conflicts_with = "digest")]
    pub yes: bool,
}

fn digest(text: &str) -> Result<Digest, String> {
    text.parse()
        .map_err(|error| match Path::new(text).is_file() {
            true => format!(
                "this is a file; `ribflow trust allow --all {}` shows all its commands, then asks",
                quoted(text)
            ),
            false => {
                format!("{error}; `--all FILE` shows every command of a workflow with its digest")
            }
        })
}

pub fn all(
    home: &Home,
    arguments: &AllowArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let Some(file) = &arguments.all else {
        return Err(Failure::usage(
            "command-line",
            "expected a DIGEST or `--all FILE`",
        ));
    };
    let found = every_command(file, arguments, common)?;
    let allowed = Config::read(home)?.commands;
    if !common.json {
        show(&found, &allowed, file, output)?;
    }
    let new: BTreeSet<Digest> = found
        .iter()
        .map(|command| command.terms.digest)
        .filter(|digest| !allowed.contains(digest))
        .collect();
    if !new.is_empty() {
        ask(arguments, common, new.len(), output)?;
        Config::edit(home, |config| {
            config.commands.extend(&new);
            Ok::<_, Failure>(())
        })?;
    }
    if common.json {
        let commands = found.iter();
        let commands: Vec<_> = commands
            .map(|command| json!({ "stages": command.stages, "terms": *command.terms }))
            .collect();
        let document = json!({ "commands": commands, "newly_allowed": new });
        writeln!(output, "{document}")?;
    } else if !common.quiet {
        writeln!(output, "newly allowed: {}", count(new.len(), "command"))?;
    }
    Ok(Exit::Done)
}

/// A command and the stages that run it.
struct DistinctCommand {
    terms: Rc<CommandSpec>,
    stages: BTreeSet<String>,
}

/// The distinct commands of a workflow, with each of its profiles and with the overrides of the
/// command line, in file order.
fn every_command(
    file: &Path,
    arguments: &AllowArguments,
    common: &Common,
) -> Result<Vec<DistinctCommand>, Failure> {
    load::refuse_unfinished(file)?;
    let asked = WorkflowArguments {
        file: file.to_path_buf(),
        sets: arguments.sets.clone(),
        profiles: arguments.profiles.clone(),
    };
    let graphs = load::variants(&asked, &stages::registry())?;
    let mut found: Vec<DistinctCommand> = Vec::new();
    let mut places: BTreeMap<Digest, usize> = BTreeMap::new();
    for graph in &graphs {
        for command in command_permissions::of(graph, common)? {
            let stage = graph.dag[command.node].stage.clone();
            let place = *places.entry(command.terms.digest).or_insert(found.len());
            match found.get_mut(place) {
                Some(known) => {
                    known.stages.insert(stage);
                }
                None => found.push(DistinctCommand {
                    terms: command.terms,
                    stages: BTreeSet::from([stage]),
                }),
            }
        }
    }
    Ok(found)
}

fn show(
    found: &[DistinctCommand],
    allowed: &BTreeSet<Digest>,
    file: &Path,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    if found.is_empty() {
        writeln!(output, "{} has no command stage", locations::shown(file))?;
    }
    for DistinctCommand { terms, stages } in found {
        let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
        let is_allowed = match allowed.contains(&terms.digest) {
            true => " (allowed)",
            false => "",
        };
        writeln!(output, "{}{is_allowed}:", stages.join(", "))?;
        for line in terms.line.split('\n') {
            writeln!(output, "    {}", visible(line))?;
        }
        if let Some(shell) = &terms.shell {
            writeln!(output, "  shell: {}", visible(shell))?;
        }
        if !terms.runner.is_empty() {
            writeln!(output, "  runner: {}", visible(&terms.runner.join(" ")))?;
        }
        for (name, content) in &terms.files {
            let content = content.map_or("can't be read".to_string(), |digest| digest.short());
            writeln!(output, "  {}: {content}", visible(name))?;
        }
        if !terms.variables.is_empty() {
            writeln!(
                output,
                "  variables: {}",
                visible(&terms.variables.join(", "))
            )?;
        }
        writeln!(output, "  digest: {}", terms.digest)?;
    }
    Ok(())
}

/// Succeeds only if the user agrees, at the terminal or with `--yes`.
fn ask(
    arguments: &AllowArguments,
    common: &Common,
    number: usize,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    if arguments.yes {
        return Ok(());
    }
    let commands = count(number, "command");
    if common.json || !io::stdin().is_terminal() {
        let message = "standard input is not a terminal, so nothing was allowed";
        return Err(Failure::usage("not-allowed", message)
            .hint("read the commands, then allow them with `--yes`"));
    }
    output.flush()?;
    write!(io::stderr(), "Allow {commands}, with their files? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was allowed")),
    }
}
