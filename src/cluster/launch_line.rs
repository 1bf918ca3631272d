//! The launch line of a user: words with placeholders, split without a shell.

use super::ClusterError;
use crate::diag::suggest;

/// What a launch line may name, in braces.
pub const PLACEHOLDERS: &[&str] = &[
    "worker", "name", "cpus", "gpus", "mem", "mem_mib", "time", "minutes", "log",
];

/// The values of the placeholders for one worker.
#[derive(Clone, Debug)]
pub struct Values {
    /// The worker's command line.
    pub worker: Vec<String>,
    pub name: String,
    pub cpus: u32,
    pub gpus: u32,
    /// Bytes.
    pub mem: Option<u64>,
    /// Seconds.
    pub time: Option<u64>,
    pub log: String,
}

/// A parsed launch line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchLine {
    words: Vec<Vec<Piece>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// One of [`PLACEHOLDERS`].
    Value(&'static str),
}

impl LaunchLine {
    /// Reads a line: quotes and backslashes as in a shell, nothing else of a shell.
    ///
    /// # Errors
    /// A quote that is not closed, a placeholder that does not exist, a line without `{worker}`.
    pub fn parse(line: &str) -> Result<Self, ClusterError> {
        let words = shlex::split(line).ok_or_else(|| {
            wrong(
                "a quote is not closed",
                "quotes come in pairs; `\\` stands before a character that is taken as it is",
            )
        })?;
        let words: Vec<Vec<Piece>> = words
            .iter()
            .map(|word| pieces(word))
            .collect::<Result<_, _>>()?;
        if !words
            .iter()
            .flatten()
            .any(|piece| *piece == Piece::Value("worker"))
        {
            return Err(wrong(
                "it has no `{worker}`",
                "`{worker}` stands for the command line of a worker: hq submit --cpus {cpus} -- {worker}",
            ));
        }
        if matches!(words.first().map(Vec::as_slice), Some([Piece::Value(name)]) if *name != "worker")
        {
            return Err(wrong(
                "it begins with a placeholder",
                "the first word is a program",
            ));
        }
        Ok(Self { words })
    }

    /// The words to start for one worker.
    ///
    /// # Errors
    /// The line names an amount that the class does not have.
    pub fn words(&self, values: &Values) -> Result<Vec<String>, ClusterError> {
        let mut words = Vec::new();
        for word in &self.words {
            if *word == [Piece::Value("worker")] {
                words.extend(values.worker.iter().cloned());
                continue;
            }
            let mut text = String::new();
            for piece in word {
                match piece {
                    Piece::Text(piece) => text.push_str(piece),
                    Piece::Value(name) => text.push_str(&values.value(name)?),
                }
            }
            words.push(text);
        }
        Ok(words)
    }
}

impl Values {
    fn value(&self, name: &str) -> Result<String, ClusterError> {
        let given = |value: Option<u64>, setting: &str| {
            let message = format!(
                "`{{{name}}}` has no value: the nodes of {} name none",
                self.name
            );
            let hint =
                format!("set `{setting}:` under `command:` in cluster.yaml, or in `resources:`");
            let value = value.ok_or_else(|| wrong(&message, &hint))?;
            Ok::<u64, ClusterError>(value)
        };
        Ok(match name {
            "worker" => quoted(&self.worker),
            "name" => self.name.clone(),
            "cpus" => self.cpus.to_string(),
            "gpus" => self.gpus.to_string(),
            "mem" => given(self.mem, "mem")?.to_string(),
            "mem_mib" => given(self.mem, "mem")?.div_ceil(1 << 20).to_string(),
            "time" => given(self.time, "time")?.to_string(),
            "minutes" => given(self.time, "time")?.div_ceil(60).to_string(),
            _ => self.log.clone(),
        })
    }
}

/// Words as one line for a shell.
pub fn quoted(words: &[String]) -> String {
    let quoted = words.iter().map(|word| match shlex::try_quote(word) {
        Ok(word) => word.into_owned(),
        // A NUL byte, which no command line can have.
        Err(_) => word.replace('\0', ""),
    });
    quoted.collect::<Vec<String>>().join(" ")
}

/// Splits a word at its placeholders. Other braces, as in JSON, are text.
fn pieces(word: &str) -> Result<Vec<Piece>, ClusterError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let length = after.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        let length = length.unwrap_or(after.len());
        match after[length..].strip_prefix('}') {
            Some(behind) if length > 0 => {
                let name = &after[..length];
                let known = PLACEHOLDERS.iter().find(|known| **known == name);
                let known = known.ok_or_else(|| {
                    let message = format!("there is no `{{{name}}}`");
                    wrong(
                        &message,
                        &suggest(name, "placeholders", PLACEHOLDERS.iter().copied()),
                    )
                })?;
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Value(known));
                rest = behind;
            }
            _ => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn wrong(message: &str, hint: &str) -> ClusterError {
    ClusterError::Launch {
        message: message.to_string(),
        hint: hint.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values {
            worker: ["/opt/rib flow", "worker", "--store", "/a b"]
                .map(str::to_string)
                .to_vec(),
            name: "cpu-1".to_string(),
            cpus: 2,
            gpus: 0,
            mem: Some((1 << 30) + 1),
            time: Some(90),
            log: "/logs/cpu-1.log".to_string(),
        }
    }

    fn line(text: &str) -> String {
        let words = LaunchLine::parse(text).and_then(|line| line.words(&values()));
        words.map_or_else(
            |error| format!("{error}; {}", error.hint()),
            |words| words.join("|"),
        )
    }

    #[test]
    fn a_worker_is_words_of_its_own_or_quoted_inside_a_word() {
        assert_eq!(
            line("hq submit --cpus={cpus} -- {worker}"),
            "hq|submit|--cpus=2|--|/opt/rib flow|worker|--store|/a b"
        );
        assert_eq!(
            line("ssh host 'exec {worker} > {log}'"),
            "ssh|host|exec '/opt/rib flow' worker --store '/a b' > /logs/cpu-1.log"
        );
        assert_eq!(
            line(
                r#"qsub -l mem={mem_mib}mb,walltime={time} -N {name} '--x={"a":{}}' "" -- {worker}"#
            ),
            "qsub|-l|mem=1025mb,walltime=90|-N|cpu-1|--x={\"a\":{}}||--|/opt/rib flow|worker|--store|/a b"
        );
        assert_eq!(
            line("bsub -W {minutes} -M {mem} -- {worker}"),
            "bsub|-W|2|-M|1073741825|--|/opt/rib flow|worker|--store|/a b"
        );
        assert_eq!(line("{worker}"), "/opt/rib flow|worker|--store|/a b");
    }

    #[test]
    fn a_wrong_line_is_refused_with_what_would_be_right() {
        for (text, expected) in [
            ("hq 'submit {worker}", "a quote is not closed"),
            ("hq submit", "it has no `{worker}`"),
            (
                "hq {workers} {worker}",
                "there is no `{workers}`; did you mean `worker`?",
            ),
            ("{name} {worker}", "it begins with a placeholder"),
        ] {
            assert!(line(text).contains(expected), "{text}: {}", line(text));
        }
        let parsed = LaunchLine::parse("x {mem} {worker}").unwrap();
        let without = Values {
            mem: None,
            ..values()
        };
        let error = parsed.words(&without).unwrap_err();
        assert!(
            error.to_string().contains("`{mem}` has no value"),
            "{error}"
        );
    }
}
