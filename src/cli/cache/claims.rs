//! `ribflow cache claims`: shows or changes the form of a store's locks.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::admission::admitted;
use crate::cli::call::Call;
use crate::cli::failure::{Exit, Failure};
use crate::cli::locations::shown;
use crate::fsx::lease;
use crate::store::{ClaimsForm, Store, StoreError, StoreUser};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache claims                        show the form, and what uses the store
  ribflow cache claims lease                  for several hosts on one file system
  ribflow cache claims flock                  for one host again";

/// The interval between two looks at processes of other hosts.
const LOOK: Duration = Duration::from_secs(1);

/// Show or change how processes lock the store
///
/// Processes lock what they run, publish and clean in a store. There are two forms of locks:
///
///   flock   for the processes of one host. The default. A lock ends with its process.
///   lease   for the processes of several hosts on one shared file system, also where `flock` does
///           not work. A lease ends with its process, or once others have seen no sign of life
///           of it for 90 seconds.
///
/// Leases need hard links, and a few more calls to the file system for each node. If the network
/// or a host stops for longer than a lease lasts, another host may run the same node once more,
/// which does no harm: the first record stays in use.
///
/// If there is no store yet, one of that form is made. Other commands make stores of the form that
/// RIBFLOW_CLAIMS names, else `flock`.
///
/// The form is changed only while nothing uses the store: no run, no other command, no server. If
/// a process of another host may have died, the command watches it for as long as a lease lasts.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct ClaimsArguments {
    /// The new form
    #[arg(value_name = "FORM")]
    pub form: Option<Form>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Flock,
    Lease,
}

impl From<Form> for ClaimsForm {
    fn from(form: Form) -> Self {
        match form {
            Form::Flock => Self::Flock,
            Form::Lease => Self::Lease,
        }
    }
}

pub fn run(
    arguments: &ClaimsArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let opened = super::existing(None, common);
    let Some(form) = arguments.form.map(ClaimsForm::from) else {
        return show(&opened?, call, output);
    };
    let place = super::locations_of(None, common).store;
    match opened {
        Ok(store) => drop(store),
        // A new store may have the form from the start.
        Err(_) if !place.exists() => drop(admitted(&place)?),
        // What another process has begun and not ended is ended now.
        Err(_) if Store::is_changing(&place.root) => {}
        Err(failure) => return Err(failure),
    }
    let root = place.root;
    let mut waiting = Waiting::default();
    Store::change_claims(&root, form, |users| {
        let waits = waiting.waits(users);
        if waits && waiting.looks == 1 && !common.quiet {
            let names: Vec<String> = users.iter().map(ToString::to_string).collect();
            // A note that can't be printed is no reason to stop.
            let _ = writeln!(
                crate::ui::streams::stderr(),
                "watching what may have died: {}",
                names.join(", ")
            );
        }
        if waits {
            std::thread::sleep(LOOK);
        }
        waits
    })?;
    if common.json {
        writeln!(output, "{}", json!({ "claims": form.word(), "users": [] }))?;
    } else if !common.quiet {
        writeln!(
            output,
            "{}: the locks are now of the form `{form}`.",
            shown(&root)
        )?;
    }
    Ok(Exit::Done)
}

fn show(store: &Store, call: &Call, output: &mut dyn Write) -> Result<Exit, Failure> {
    let form = store.claims_form();
    let users: Vec<String> = store.users()?.iter().map(ToString::to_string).collect();
    if call.common.json {
        let json = json!({ "claims": form.word(), "users": users });
        writeln!(output, "{json}")?;
        return Ok(Exit::Done);
    }
    let reach = match form {
        ClaimsForm::Flock => "the processes of one host",
        ClaimsForm::Lease => "the processes of several hosts",
    };
    writeln!(output, "{form}: {reach}")?;
    for user in users {
        writeln!(output, "in use: {user}")?;
    }
    Ok(Exit::Done)
}

/// Decides how long processes of other hosts are watched.
#[derive(Default)]
struct Waiting {
    looks: usize,
    begun: Option<Instant>,
    before: Vec<StoreUser>,
}

impl Waiting {
    /// Whether all of `users` may be dead, and one look more is worth it.
    fn waits(&mut self, users: &[StoreUser]) -> bool {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let longest = users.iter().map(|user| user.lasts()).max();
        let has_time = longest.flatten().unwrap_or(lease::LASTS) * 2 > begun.elapsed();
        // A process that has beaten since the last look lives.
        let lives = |user: &StoreUser| {
            let before = self.before.iter().find(|before| before.what == user.what);
            before.is_some_and(|before| before.holder != user.holder)
        };
        let waits =
            has_time && users.iter().all(StoreUser::may_be_dead) && !users.iter().any(lives);
        self.before = users.to_vec();
        self.looks += 1;
        waits
    }
}

/// For [`Failure`]: a store whose form can't be changed now.
pub(super) fn in_use(error: &StoreError) -> Failure {
    Failure::failed(error.to_string())
        .hint("end what uses it, then repeat this; `ribflow cache claims` shows what does")
}
