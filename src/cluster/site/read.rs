//! Parses the file into a [`Site`]: reports unknown fields and wrong values at their places.

use super::super::launch_line::LaunchLine;
use super::super::slurm::Request;
use super::Site;
use crate::diag::{Diagnostics, Problems, SourceText};
use crate::quantity::{read_bytes, read_seconds};
use crate::yaml::{self, Content, Entry, Limits, Tree};

const TOP: &[&str] = &["workers", "work", "batch", "slurm", "command"];
const REQUEST: &[&str] = &[
    "partition",
    "account",
    "qos",
    "constraint",
    "gres",
    "time",
    "mem",
    "options",
    "setup",
];
/// Fields of `slurm` besides [`REQUEST`].
const SLURM: &[&str] = &["max_time", "poll", "gpus"];
const COMMAND: &[&str] = &["launch", "join", "mem", "time"];

pub fn read(source: SourceText) -> Result<Site, Diagnostics> {
    let mut problems = Problems::default();
    let id = problems.add_source(source);
    let tree = yaml::parse(&mut problems, id, &Limits::default());
    let mut site = Site::default();
    if let Some(tree) = tree
        && !matches!(tree.content, Content::Null)
    {
        Reader(&mut problems).top(&tree, &mut site);
    }
    problems.finish()?;
    Ok(site)
}

struct Reader<'a>(&'a mut Problems);

impl Reader<'_> {
    fn top(&mut self, tree: &Tree, site: &mut Site) {
        for entry in self.entries(tree, "the file", &[TOP]) {
            match entry.key.as_str() {
                "workers" => self.number(entry, 1, 10_000, &mut site.limits.workers),
                "batch" => self.number(entry, 1, 1000, &mut site.limits.batch),
                "work" => {
                    if let Some(seconds) = self.seconds(entry) {
                        site.limits.target = seconds as f64;
                    }
                }
                "slurm" => self.slurm(entry, site),
                "command" => self.command(entry, site),
                _ => {}
            }
        }
    }

    fn slurm(&mut self, entry: &Entry, site: &mut Site) {
        let slurm = &mut site.slurm;
        for entry in self.entries(&entry.value, "`slurm`", &[REQUEST, SLURM]) {
            match entry.key.as_str() {
                "max_time" => slurm.max_time = self.seconds(entry),
                "poll" => {
                    if let Some(seconds) = self.seconds(entry) {
                        slurm.poll = seconds;
                    }
                }
                "gpus" => {
                    for entry in self.entries(&entry.value, "`gpus`", &[REQUEST]) {
                        self.request(entry, &mut slurm.gpus);
                    }
                }
                _ => self.request(entry, &mut slurm.request),
            }
        }
    }

    fn request(&mut self, entry: &Entry, request: &mut Request) {
        match entry.key.as_str() {
            "partition" => request.partition = self.word(entry),
            "account" => request.account = self.word(entry),
            "qos" => request.qos = self.word(entry),
            "constraint" => request.constraint = self.word(entry),
            "gres" => request.gres = self.word(entry),
            "time" => request.time = self.seconds(entry).unwrap_or(request.time),
            "mem" => request.mem = self.bytes(entry),
            "options" => request.options = self.options(entry),
            "setup" => request.setup = self.lines(entry),
            _ => {}
        }
    }

    fn command(&mut self, entry: &Entry, site: &mut Site) {
        let command = &mut site.command;
        for entry in self.entries(&entry.value, "`command`", &[COMMAND]) {
            match entry.key.as_str() {
                "launch" => command.launch = self.launch(entry),
                "join" => command.join = self.seconds(entry).unwrap_or(command.join),
                "mem" => command.mem = self.bytes(entry),
                "time" => command.time = self.seconds(entry),
                _ => {}
            }
        }
    }

    /// The entries of a map with known keys; the others are reported.
    fn entries<'t>(&mut self, tree: &'t Tree, what: &str, known: &[&[&str]]) -> Vec<&'t Entry> {
        let known = known.concat();
        let Content::Map(entries) = &tree.content else {
            let message = format!("{what} is a map, not {}", tree.what());
            self.0.error(tree.place, "wrong-type", message);
            return Vec::new();
        };
        let is_known = |entry: &&Entry| known.contains(&entry.key.as_str());
        for entry in entries.iter().filter(|entry| !is_known(entry)) {
            let message = format!("{what} has no field `{}`", entry.key);
            let found = self.0.error(entry.key_place, "unknown-field", message);
            found.suggest(&entry.key, "fields", known.iter().copied());
        }
        entries.iter().filter(is_known).collect()
    }

    fn wrong(&mut self, entry: &Entry, expected: &str) {
        let shown = match entry.value.scalar() {
            Some(value) => value
                .as_str()
                .map_or_else(|| value.to_string(), |it| format!("`{it}`")),
            None => entry.value.what().to_string(),
        };
        let message = format!("`{}` is {expected}, not {shown}", entry.key);
        let span = entry.value.place.span;
        let is_shown = span.start < span.end;
        let place = if is_shown {
            entry.value.place
        } else {
            entry.key_place
        };
        self.0.error(place, "bad-value", message);
    }

    fn number(&mut self, entry: &Entry, least: u64, most: u64, field: &mut usize) {
        let number = entry.value.scalar().and_then(|value| value.as_u64());
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => *field = number as usize,
            None => self.wrong(entry, &format!("a whole number from {least} to {most}")),
        }
    }

    /// A number or a text, as `resources:` of a workflow takes it.
    fn amount(
        &mut self,
        entry: &Entry,
        read: fn(&str) -> Option<u64>,
        expected: &str,
    ) -> Option<u64> {
        let value = entry.value.scalar().unwrap_or_default();
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_string);
        let amount = read(&text);
        if amount.is_none() {
            self.wrong(entry, expected);
        }
        amount
    }

    fn seconds(&mut self, entry: &Entry) -> Option<u64> {
        self.amount(entry, read_seconds, "a time such as `90s`, `30m` or `2h`")
    }

    fn bytes(&mut self, entry: &Entry) -> Option<u64> {
        self.amount(entry, read_bytes, "an amount of memory such as `8GiB`")
    }

    /// A value of an option of `sbatch`.
    fn word(&mut self, entry: &Entry) -> Option<String> {
        let text = entry
            .value
            .text()
            .filter(|text| !text.trim().is_empty() && !text.starts_with('-'));
        if text.is_none() {
            self.wrong(entry, "a text");
        }
        text.map(str::to_string)
    }

    fn lines(&mut self, entry: &Entry) -> Vec<String> {
        let Content::List(items) = &entry.value.content else {
            self.wrong(entry, "a list of texts");
            return Vec::new();
        };
        let texts: Option<Vec<String>> = items
            .iter()
            .map(|item| {
                item.text()
                    .filter(|text| !text.contains(['\n', '\0']))
                    .map(str::to_string)
            })
            .collect();
        if texts.is_none() {
            self.wrong(entry, "a list of texts of one line");
        }
        texts.unwrap_or_default()
    }

    /// Options of `sbatch` that do not break what ribflow relies on.
    fn options(&mut self, entry: &Entry) -> Vec<String> {
        let options = self.lines(entry);
        for (option, item) in options.iter().zip(entry.value.items()) {
            let name = option.split('=').next().unwrap_or_default();
            if let Some((_, instead)) = OWN_OPTIONS.iter().find(|(own, _)| *own == name) {
                let message = format!("`{name}` is given by ribflow itself");
                let found = self.0.error(item.place, "bad-value", message);
                if !instead.is_empty() {
                    found.hint(format!("use `{instead}:`"));
                }
            }
        }
        options
    }

    fn launch(&mut self, entry: &Entry) -> Option<String> {
        let Some(text) = entry.value.text() else {
            self.wrong(entry, "a text");
            return None;
        };
        if let Err(error) = LaunchLine::parse(text) {
            let found = self
                .0
                .error(entry.value.place, "bad-value", error.to_string());
            found.hint(error.hint());
        }
        Some(text.to_string())
    }
}

/// Options that ribflow gives, with the field that sets them.
const OWN_OPTIONS: &[(&str, &str)] = &[
    ("-J", ""),
    ("--job-name", ""),
    ("--comment", ""),
    ("-a", "workers"),
    ("--array", "workers"),
    ("-o", ""),
    ("--output", ""),
    ("-D", ""),
    ("--chdir", ""),
    ("-d", ""),
    ("--dependency", ""),
    ("-W", ""),
    ("--wait", ""),
    ("--wrap", ""),
    ("--requeue", ""),
    ("--parsable", ""),
    ("--signal", ""),
    ("-M", ""),
    ("--clusters", ""),
    ("-c", ""),
    ("--cpus-per-task", ""),
    ("-N", ""),
    ("--nodes", ""),
    ("-n", ""),
    ("--ntasks", ""),
    ("-t", "time"),
    ("--time", "time"),
    ("--mem", "mem"),
    ("--gres", "gres"),
    ("-p", "partition"),
    ("--partition", "partition"),
    ("-A", "account"),
    ("--account", "account"),
    ("-q", "qos"),
    ("--qos", "qos"),
    ("-C", "constraint"),
    ("--constraint", "constraint"),
];
