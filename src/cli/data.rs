//! `ribflow data check DIR`: checks which of the known datasets a folder contains, and whether they
//! are complete.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use crate::contract::source::ImageSelection;
use crate::fsx;
use crate::ml::data::decode::decode_warned;
use crate::ml::data::presets::{CORRUPTIONS, Facts, ObjectnetLabels, Preset};
use crate::store::sources::{self, SourceError};
use crate::ui::table::Table;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow data check /data/imagenet-rib            folders, classes and numbers of images
  ribflow data check /data/imagenet-rib --decode   also decode every image";

/// Inspect datasets on disk
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DataArguments {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum DataCommand {
    /// Check which of ImageNet-RIB's datasets a folder contains, and what is missing
    ///
    /// Exits with 1 if a dataset is incomplete or if there is none.
    Check(DataCheckArguments),
}

#[derive(Clone, Debug, Args)]
pub struct DataCheckArguments {
    /// The folder that contains val, v2, a, r, sketch, objectnet, cartoon, drawing, c
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,

    /// Also decode every image
    #[arg(long)]
    pub decode: bool,
}

/// The number of problems shown for each dataset.
const MOST_SHOWN: usize = 10;

pub fn run(
    arguments: &DataArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    match &arguments.command {
        DataCommand::Check(arguments) => check(arguments, call.common, output),
    }
}

fn check(
    arguments: &DataCheckArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    if !arguments.folder.is_dir() {
        let message = format!("{} is not a folder", arguments.folder.display());
        return Err(Failure::usage("no-folder", message));
    }
    let found: Vec<PresetCheck> = Preset::all()
        .map(|preset| check_preset(preset, arguments))
        .collect();
    if common.json {
        let found: Vec<Value> = found.iter().map(PresetCheck::document).collect();
        serde_json::to_writer(&mut *output, &json!({ "datasets": found }))?;
        writeln!(output)?;
    } else {
        show(&found, output)?;
    }
    let whole = found.iter().all(|found| found.problems.is_empty());
    let any = found.iter().any(|found| !found.places.is_empty());
    Ok(match whole && any {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// The result for one preset.
struct PresetCheck {
    facts: &'static Facts,
    /// The folders of the preset or of its parts.
    places: Vec<PathBuf>,
    images: usize,
    /// The number of images that the folders found should have.
    expected: usize,
    problems: Vec<String>,
}

impl PresetCheck {
    fn state(&self) -> &'static str {
        match (self.places.is_empty(), self.problems.is_empty()) {
            (true, _) => "absent",
            (false, true) => "whole",
            (false, false) => "incomplete",
        }
    }

    fn document(&self) -> Value {
        json!({
            "name": self.facts.name,
            "state": self.state(),
            "places": self.places,
            "images": self.images,
            "expected": self.expected,
            "problems": self.problems,
            "home": self.facts.home,
            "terms": self.facts.terms,
        })
    }
}

fn check_preset(preset: Preset, arguments: &DataCheckArguments) -> PresetCheck {
    let mut found = PresetCheck {
        facts: preset.facts(),
        places: Vec::new(),
        images: 0,
        expected: 0,
        problems: Vec::new(),
    };
    if !preset.facts().by_parts {
        check_folder(preset, None, arguments, &mut found);
        return found;
    }
    let mut absent = Vec::new();
    for (corruption, _) in CORRUPTIONS {
        for severity in 1..=5 {
            let part = format!("{corruption}/{severity}");
            if !check_folder(preset, Some(&part), arguments, &mut found) {
                absent.push(part);
            }
        }
    }
    if !found.places.is_empty() && !absent.is_empty() {
        let first = absent[..absent.len().min(5)].join(", ");
        let more = if absent.len() > 5 { ", …" } else { "" };
        let problem = format!("{} of 75 parts are absent: {first}{more}", absent.len());
        found.problems.push(problem);
    }
    found
}

/// Adds the folder of a preset or of one of its parts; false if there is none.
fn check_folder(
    preset: Preset,
    part: Option<&str>,
    arguments: &DataCheckArguments,
    found: &mut PresetCheck,
) -> bool {
    let folders = preset.folders(ObjectnetLabels::Intended);
    let all = ImageSelection {
        classes: Some(folders.iter().map(|it| it.folder.clone()).collect()),
        limit: None,
    };
    let Ok(place) = sources::first_place(&arguments.folder, &preset.places(part), &all) else {
        return false;
    };
    found.expected += found.facts.images;
    let listed: Vec<Result<Vec<String>, SourceError>> = folders
        .par_iter()
        .map(|folder| sources::class_images(&place, &folder.folder, None))
        .collect();
    let mut files = Vec::new();
    for listed in listed {
        match listed {
            Ok(images) => files.extend(images),
            Err(error) => found.problems.push(error.to_string()),
        }
    }
    let expected = found.facts.images;
    if files.len() != expected {
        let part = part.map_or(String::new(), |part| format!("{part}: "));
        let problem = format!("{part}{} images instead of {expected}", files.len());
        found.problems.push(problem);
    }
    if arguments.decode {
        found.problems.extend(damaged(&place, &files));
    }
    found.images += files.len();
    found.places.push(place);
    true
}

/// The files that can't be decoded or that the decoder warns of, in file order.
fn damaged(place: &Path, files: &[String]) -> Vec<String> {
    let problem = |name: &String| {
        let path = place.join(name);
        let bytes = match fsx::read_regular(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Some(format!("{}: {error}", path.display())),
        };
        match decode_warned(&bytes) {
            Ok((_, warning)) => warning.map(|it| format!("{}: {it}", path.display())),
            Err(error) => Some(format!("{} {error}", path.display())),
        }
    };
    files.par_iter().filter_map(problem).collect()
}

fn show(found: &[PresetCheck], output: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new(["dataset", "state", "images", "expected", "folder"]);
    for found in found {
        let place = match found.places.as_slice() {
            [] => String::new(),
            [place] => place.display().to_string(),
            [place, ..] => format!("{} and {} more", place.display(), found.places.len() - 1),
        };
        table.row([
            found.facts.name.to_string(),
            found.state().to_string(),
            found.images.to_string(),
            found.facts.images.max(found.expected).to_string(),
            place,
        ]);
    }
    for line in table.lines() {
        writeln!(output, "{line}")?;
    }
    for found in found {
        if !found.problems.is_empty() {
            writeln!(output, "\n{}:", found.facts.name)?;
        }
        for problem in found.problems.iter().take(MOST_SHOWN) {
            writeln!(output, "  {problem}")?;
        }
        if found.problems.len() > MOST_SHOWN {
            writeln!(output, "  and {} more", found.problems.len() - MOST_SHOWN)?;
        }
    }
    let absent: Vec<&PresetCheck> = found.iter().filter(|it| it.places.is_empty()).collect();
    if !absent.is_empty() {
        writeln!(output, "\nAvailable at:")?;
    }
    for found in absent {
        writeln!(output, "  {:<18}  {}", found.facts.name, found.facts.home)?;
    }
    writeln!(output, "\nTerms:")?;
    for found in found.iter().filter(|it| !it.places.is_empty()) {
        writeln!(output, "  {:<18}  {}", found.facts.name, found.facts.terms)?;
    }
    Ok(())
}
