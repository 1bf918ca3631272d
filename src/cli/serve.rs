//! `ribflow serve`: other labs read the store over HTTP, and write to it with a token.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use clap::{Args, ValueHint};

use super::amounts::Size;
use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::locations::{self, Locations};
use super::stores;
use crate::diag::secrets;
use crate::remote::serve::{Access, Limits, Server, TokenError, tokens};
use crate::store::Store;

/// What the command does, at length.
const ABOUT: &str = "\
Let other labs read the store over HTTP, and write to it with a token

Everything that the store holds may be read, but for what a licence withholds: images of a `dataset` \
without `share: true`, and what was made of them. Writing needs a token, and what is written is \
checked before it is there: a blob and a record must have the digest in their name, a signature \
must be its signer's for that record. Nothing is ever overwritten or deleted.

Whose word counts is decided by whoever reads, not here. But a run that has the served store as its \
own `--store` takes what is in there as its own: where others may write, serve a store that no run \
uses directly, and let your own runs share it as a remote too.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow serve                                          this machine only, read-only
  ribflow serve --address 0.0.0.0:8790                   everybody who reaches it may read
  ribflow serve --store shared/ --tokens tokens.txt      whoever has one of the tokens may push
  ribflow serve --address 127.0.0.1:0 --json             any free port: {\"url\":…,\"port\":…}

A token is at least 16 letters: `openssl rand -hex 32 >> tokens.txt; chmod 600 tokens.txt`. The
other lab puts it into an environment variable, which `ribflow remote add` takes the name of.

This server speaks no TLS. Let a proxy do that, which has a certificate:
  caddy reverse-proxy --from ribflow.example.org --to 127.0.0.1:8790
docs/protocol.md has the same for nginx, and what is asked and answered.";

/// Let other labs read the store over HTTP, and write to it with a token
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct ServeArguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8790")]
    pub address: String,

    /// Let those write who have one of the tokens in FILE, one a line
    ///
    /// Without, the store is read-only. The environment variable RIBFLOW_SERVE_TOKENS may hold
    /// the tokens instead.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub tokens: Option<PathBuf>,

    /// Let only those read who have one of the tokens in FILE, or one that lets them write
    ///
    /// Without, everybody reads who reaches the address. RIBFLOW_SERVE_READ_TOKENS likewise.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub read_tokens: Option<PathBuf>,

    /// Largest blob that may be written: 500MB, 64GiB
    #[arg(long, value_name = "SIZE", default_value = "16GiB")]
    pub max_upload: Size,

    /// Seconds that a client may do nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 30, hide = true)]
    pub patience: u64,
}

pub fn run(
    arguments: &ServeArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let access = access(arguments)?;
    let store = store(common, &access)?;
    let limits = Limits {
        blob: arguments.max_upload.0,
        patience: Duration::from_secs(arguments.patience),
        ..Limits::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(&error))?;
    let served = runtime.block_on(async {
        let address = &arguments.address;
        let server = Server::bind(store, address, access.clone(), limits);
        let server = server.await.map_err(|error| {
            Failure::usage("address", format!("can't listen at {address}: {error}"))
                .hint("`--address HOST:PORT`: an address of this machine and a port that is free")
        })?;
        let stop = stop()?;
        announce(&server, &access, common, output)?;
        server
            .run(stop)
            .await
            .map_err(|error| Failure::from_error(&error))
    });
    // Whatever still hangs on a client that is gone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.map(|()| Exit::Done)
}

/// Done at the first signal to end; at the second the process ends as it is.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::from_error(&error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: transfers that are under way may end");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(Exit::Interrupted as i32);
        });
    })
}

fn store(common: &Common, access: &Access) -> Result<Arc<Store>, Failure> {
    let place = Locations::of(Path::new("."), common).store;
    if !access.is_writable() && !place.exists() {
        let message = format!("there is no store at {}", locations::shown(&place.root));
        return Err(Failure::usage("store", message)
            .hint("`--store DIR` names one; with `--tokens FILE` a new one is made"));
    }
    stores::open_store(&place).map(Arc::new)
}

fn access(arguments: &ServeArguments) -> Result<Access, Failure> {
    let write = listed(arguments.tokens.as_deref(), "RIBFLOW_SERVE_TOKENS")?;
    let read = listed(
        arguments.read_tokens.as_deref(),
        "RIBFLOW_SERVE_READ_TOKENS",
    )?;
    Access::new(&write.unwrap_or_default(), read.as_deref())
        .map_err(|error| Failure::from_error(&error))
}

/// The tokens of a file, else those of a variable, if there are any.
fn listed(file: Option<&Path>, variable: &str) -> Result<Option<Vec<String>>, Failure> {
    let (place, text) = match (file, std::env::var(variable)) {
        (Some(file), _) => {
            let text = fs::read_to_string(file).map_err(|error| {
                Failure::usage("tokens", format!("{}: {error}", file.display()))
            })?;
            warn_if_shown(file);
            (file.display().to_string(), text)
        }
        // Set to nothing it is as good as unset.
        (None, Ok(text)) if !text.trim().is_empty() => {
            let words: Vec<&str> = text.split_whitespace().collect();
            (variable.to_string(), words.join("\n"))
        }
        (None, Err(std::env::VarError::NotUnicode(_))) => {
            let message = format!("{variable} holds what is no text");
            return Err(Failure::usage("tokens", message));
        }
        _ => return Ok(None),
    };
    tokens(&text)
        .inspect(|tokens| tokens.iter().for_each(|token| secrets::keep(token)))
        .map(Some)
        .map_err(|error| refuse(&place, &error))
}

fn refuse(place: &str, error: &TokenError) -> Failure {
    Failure::usage("tokens", format!("{place}: {error}"))
        .hint("one token a line, at least 16 letters each: `openssl rand -hex 32` makes one")
}

fn warn_if_shown(file: &Path) {
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let file = file.display();
        tracing::warn!("others on this machine can read {file}: `chmod 600 {file}`");
    }
}

/// Says where the store is served, and how others use it.
fn announce(
    server: &Server,
    access: &Access,
    common: &Common,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let address = server.address();
    let url = format!("http://{address}");
    if !address.ip().is_loopback() && (access.is_writable() || !access.is_open()) {
        tracing::warn!("tokens come to {url} in the clear: put a proxy with TLS before it");
    }
    if common.json {
        let line = json!({
            "url": url,
            "port": address.port(),
            "writable": access.is_writable(),
            "open": access.is_open(),
        });
        writeln!(output, "{line}")?;
    } else if !common.quiet {
        let who = match (access.is_open(), access.is_writable()) {
            (true, false) => "everybody reads, nobody writes",
            (true, true) => "everybody reads, those with a token write",
            (false, false) => "those with a token read, nobody writes",
            (false, true) => "those with a token read, those with a token for it write",
        };
        writeln!(output, "serving at {url}: {who}")?;
        writeln!(
            output,
            "another lab adds it with `ribflow remote add NAME {url}`"
        )?;
    }
    // Scripts wait for this line.
    output.flush()?;
    Ok(())
}
