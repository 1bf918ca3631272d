//! What is handed to `sbatch`: the options and the script of one job array.

use std::ffi::OsString;
use std::path::Path;

use super::settings::{Request, SlurmSettings};
use crate::cluster::launch_line::quoted;
use crate::cluster::place::{PlaceClass, WorkerLine};

/// Seconds before the end of a job at which its worker is warned.
const WARNING: u64 = 90;

/// One job array: workers of one class.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    pub line: &'a WorkerLine,
    pub settings: &'a SlurmSettings,
    pub class: &'a PlaceClass,
    /// Distinguishes this submission from all others.
    pub nonce: &'a str,
    pub workers: u32,
    /// Whether the cluster has job arrays; otherwise `workers` is 1.
    pub is_array: bool,
}

/// The beginning of the names of all jobs of a run.
pub fn prefix(run: &str) -> String {
    format!("rf-{run}-")
}

/// The class and nonce in the name of a job of the run with `prefix`.
pub fn parts<'a>(name: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    name.strip_prefix(prefix)?.rsplit_once('-')
}

impl Submission<'_> {
    pub fn job_name(&self) -> String {
        format!(
            "{}{}-{}",
            prefix(&self.line.run),
            self.class.name,
            self.nonce
        )
    }

    /// The name of a worker, up to its index.
    fn base(&self) -> String {
        format!("{}-{}", self.class.name, self.nonce)
    }

    fn request(&self) -> Request {
        self.settings.request(self.class)
    }

    /// Minutes that the job may run.
    pub fn minutes(&self) -> u64 {
        Self::minutes_of(self.settings, self.class)
    }

    /// Minutes that a job of `class` may run.
    pub fn minutes_of(settings: &SlurmSettings, class: &PlaceClass) -> u64 {
        let time = settings.request(class).time;
        // Some time to start, and to find out that it ends.
        let needed = class.time.map_or(0, |time| time + 2 * WARNING);
        let most = settings.max_time.unwrap_or(u64::MAX);
        time.max(needed).min(most).div_ceil(60).max(1)
    }

    /// What the class asks for, as options of `sbatch`.
    pub fn resources(&self) -> Vec<OsString> {
        let request = self.request();
        let mut options = Options::default();
        options.pair("-t", self.minutes().to_string());
        options.pair("-n", "1");
        options.pair("-c", self.class.cpus.max(1).to_string());
        if let Some(mem) = self.class.mem.or(request.mem) {
            options.pair("--mem", format!("{}M", mem.div_ceil(1 << 20).max(1)));
        }
        if self.class.gpus > 0 {
            let gres = request.gres.as_deref().unwrap_or("gpu:{gpus}");
            options.pair(
                "--gres",
                gres.replace("{gpus}", &self.class.gpus.to_string()),
            );
        }
        for (option, value) in [
            ("-p", &request.partition),
            ("-A", &request.account),
            ("-q", &request.qos),
            ("-C", &request.constraint),
        ] {
            if let Some(value) = value {
                options.pair(option, value);
            }
        }
        options.0.extend(request.options.iter().map(OsString::from));
        options.0
    }

    /// All options of `sbatch`; the script comes after them.
    pub fn options(&self) -> Vec<OsString> {
        let mut options = Options::default();
        options.0.push("--parsable".into());
        options.pair("-J", self.job_name());
        options.pair("--comment", format!("rf:{}:{}", self.line.run, self.nonce));
        if self.is_array {
            options.pair("-a", format!("0-{}", self.workers.saturating_sub(1)));
        }
        options.0.push("--no-requeue".into());
        options.0.push("--open-mode=append".into());
        options.0.push(format!("--signal=B:USR1@{WARNING}").into());
        let index = if self.is_array { "%a" } else { "0" };
        let logs = escaped(&self.line.logs);
        options.pair("-o", format!("{logs}/{}-{index}.log", self.base()));
        options.pair("-D", &self.line.folder);
        options.0.extend(self.resources());
        options.0
    }

    /// The script of the job. `exec`: the signal before the end reaches the worker itself.
    pub fn script(&self) -> String {
        let request = self.request();
        let shell = match request.setup.is_empty() {
            true => "#!/bin/sh",
            // `module` is a function that a login shell defines.
            false => "#!/bin/bash -l",
        };
        let mut lines = vec![shell.to_string()];
        for line in &request.setup {
            lines.push(format!(
                "{line} || {{ echo {} >&2; exit 78; }}",
                quoted(&[format!("ribflow: a line of `setup:` failed: {line}")])
            ));
        }
        let time = self.minutes() * 60;
        let class = PlaceClass {
            mem: self.class.mem.or(request.mem),
            ..self.class.clone()
        };
        let words = self.line.at(&class, NAME, Some(time));
        let name = format!("\"{}-${{SLURM_ARRAY_TASK_ID:-0}}\"", self.base());
        lines.push(format!("exec {}", quoted(&words).replace(NAME, &name)));
        lines.join("\n") + "\n"
    }
}

/// Stands for the name of the worker until the line is quoted.
const NAME: &str = "RIBFLOW-NAME-OF-THE-WORKER";

/// `%` begins a placeholder in the name of a log.
fn escaped(folder: &Path) -> String {
    folder.display().to_string().replace('%', "%%")
}

#[derive(Default)]
struct Options(Vec<OsString>);

impl Options {
    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> WorkerLine {
        WorkerLine {
            run: "20261130-1".to_string(),
            words: ["/s t/ribflow", "worker", "--join", "20261130-1"]
                .map(str::to_string)
                .to_vec(),
            folder: "/work".into(),
            logs: "/lo%gs".into(),
        }
    }

    fn submission<'a>(
        line: &'a WorkerLine,
        settings: &'a SlurmSettings,
        class: &'a PlaceClass,
    ) -> Submission<'a> {
        Submission {
            line,
            settings,
            class,
            nonce: "ab12",
            workers: 3,
            is_array: true,
        }
    }

    #[test]
    fn a_job_array_says_all_that_it_needs() {
        let settings = SlurmSettings {
            request: Request {
                partition: Some("main".to_string()),
                time: 3600,
                ..Request::default()
            },
            gpus: Request {
                partition: Some("gpu".to_string()),
                gres: Some("gpu:a100:{gpus}".to_string()),
                options: vec!["--exclusive".to_string()],
                ..Request::default()
            },
            ..SlurmSettings::default()
        };
        let class = PlaceClass {
            name: "cpu2".to_string(),
            cpus: 2,
            mem: Some((1 << 30) + 1),
            ..PlaceClass::default()
        };
        let line = line();
        let shown = |class: &PlaceClass| {
            let options = submission(&line, &settings, class).options();
            let words = options.iter().map(|word| word.to_str().unwrap());
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            shown(&class),
            "--parsable -J rf-20261130-1-cpu2-ab12 --comment rf:20261130-1:ab12 -a 0-2 --no-requeue \
             --open-mode=append --signal=B:USR1@90 -o /lo%%gs/cpu2-ab12-%a.log -D /work -t 60 -n 1 -c 2 \
             --mem 1025M -p main"
        );
        let gpu = PlaceClass {
            gpus: 2,
            time: Some(7200),
            ..class.clone()
        };
        assert!(
            shown(&gpu)
                .ends_with("-t 123 -n 1 -c 2 --mem 1025M --gres gpu:a100:2 -p gpu --exclusive")
        );
        assert_eq!(
            submission(&line, &settings, &class).script(),
            "#!/bin/sh\nexec '/s t/ribflow' worker --join 20261130-1 --name \
             \"cpu2-ab12-${SLURM_ARRAY_TASK_ID:-0}\" --cpus 2 --gpus 0 --mem 1073741825 --time 3600\n"
        );
        let name = submission(&line, &settings, &class).job_name();
        assert_eq!(parts(&name, "rf-20261130-1-"), Some(("cpu2", "ab12")));
    }

    #[test]
    fn a_line_of_setup_that_fails_ends_the_job() {
        let mut settings = SlurmSettings::default();
        settings.request.setup = vec!["module load 'x'".to_string()];
        let class = PlaceClass::default();
        let script = submission(&line(), &settings, &class).script();
        assert!(
            script.starts_with("#!/bin/bash -l\nmodule load 'x' || { echo "),
            "{script}"
        );
    }
}
