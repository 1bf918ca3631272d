//! `ribflow serve`: serves the store over HTTP. Writing needs a token.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueHint};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::amounts::Size;
use super::call::Call;
use super::common::Common;
use super::failure::{Exit, Failure};
use super::locations::{self, Locations};
use super::stores;
use crate::diag::secrets;
use crate::memory;
use crate::remote::serve::{Access, Limits, Server, TokenError, tokens};
use crate::store::Store;

/// What the command does, at length.
const ABOUT: &str = "\
Serve the store to other labs over HTTP

Clients can read everything in the store except withheld content: images of a `dataset` without \
`share: true`, and everything derived from them. Writing needs a token, and uploads are verified \
before they become visible: blobs and records must match the digest in their name, and a signature \
must be valid for its record. Nothing is ever overwritten or deleted.

Each reader decides which signers to trust. But a run that uses the served store as its own \
`--store` trusts everything in it. If others can write, serve a store that no run uses directly, \
and let your own runs use it as a remote too.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow serve                                          this machine only, read-only
  ribflow serve --address 0.0.0.0:8790                   readable from the network
  ribflow serve --store shared/ --tokens tokens.txt      clients with a token can push
  ribflow serve --address 127.0.0.1:0 --json             any free port: {\"url\":…,\"port\":…}

A token has at least 16 characters: `openssl rand -hex 32 >> tokens.txt; chmod 600 tokens.txt`. The
other lab puts it in an environment variable and passes its name to `ribflow remote add`.

The server does not support TLS. Use a proxy with a certificate:
  caddy reverse-proxy --from ribflow.example.org --to 127.0.0.1:8790
docs/protocol.md describes the same for nginx, and the protocol.";

/// Serve the store to other labs over HTTP
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct ServeArguments {
    /// The address to listen on; port 0 picks a free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8790")]
    pub address: String,

    /// Allow writes with a token from FILE, one per line
    ///
    /// Without this option the store is read-only. The environment variable RIBFLOW_SERVE_TOKENS
    /// may hold the tokens instead.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub tokens: Option<PathBuf>,

    /// Allow reads only with a token from FILE, or with a token for writing
    ///
    /// Without this option, everyone who can reach the address can read. The environment variable
    /// RIBFLOW_SERVE_READ_TOKENS may hold the tokens instead.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub read_tokens: Option<PathBuf>,

    /// Maximum size of an uploaded blob: 500MB, 64GiB
    #[arg(long, value_name = "SIZE", default_value = "16GiB")]
    pub max_upload: Size,

    /// Idle timeout for clients, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, hide = true)]
    pub patience: u64,
}

/// A thread for files ends after this time without work. The ones that wait take turns: with tokio's ten
/// seconds, a peak of a hundred threads, each with memory of its own, would stay for as long as there
/// are ten requests in a second.
const KEPT_THREAD: Duration = Duration::from_millis(500);

pub fn run(
    arguments: &ServeArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    memory::give_back_freed();
    let access = access(arguments)?;
    let store = store(common, &access)?;
    let limits = Limits {
        blob: arguments.max_upload.0,
        patience: Duration::from_secs(arguments.patience),
        ..Limits::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(KEPT_THREAD)
        .build()
        .map_err(|error| Failure::from_error(&error))?;
    let served = runtime.block_on(async {
        let address = &arguments.address;
        let server = Server::bind(store, address, access.clone(), limits);
        let server = server.await.map_err(|error| {
            Failure::usage("address", format!("can't listen on {address}: {error}"))
                .hint("`--address HOST:PORT` expects an address of this machine and a free port")
        })?;
        let stop = stop()?;
        announce(&server, &access, common, output)?;
        server
            .run(stop)
            .await
            .map_err(|error| Failure::from_error(&error))
    });
    // Abort transfers that wait for a client that is gone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.map(|()| Exit::Done)
}

/// Completes at the first termination signal. The second one ends the process.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::from_error(&error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: waiting for active transfers");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(i32::from(Exit::Interrupted.code()));
        });
    })
}

fn store(common: &Common, access: &Access) -> Result<Arc<Store>, Failure> {
    let place = Locations::of(Path::new("."), common).store;
    if !access.is_writable() && !place.exists() {
        let message = format!("there is no store at {}", locations::shown(&place.root));
        return Err(Failure::usage("store", message)
            .hint("choose one with `--store DIR`; with `--tokens FILE`, a new one is created"));
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

/// The tokens in a file, or in a variable, if there are any.
fn listed(file: Option<&Path>, variable: &str) -> Result<Option<Vec<String>>, Failure> {
    let (place, text) = match (file, std::env::var(variable)) {
        (Some(file), _) => {
            let text = fs::read_to_string(file).map_err(|error| {
                Failure::usage("tokens", format!("{}: {error}", file.display()))
            })?;
            warn_if_shown(file);
            (file.display().to_string(), text)
        }
        // An empty variable counts as unset.
        (None, Ok(text)) if !text.trim().is_empty() => {
            let words: Vec<&str> = text.split_whitespace().collect();
            (variable.to_string(), words.join("\n"))
        }
        (None, Err(std::env::VarError::NotUnicode(_))) => {
            let message = format!("{variable} is not valid UTF-8");
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
        .hint("use one token per line, at least 16 characters each: `openssl rand -hex 32`")
}

fn warn_if_shown(file: &Path) {
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let file = file.display();
        tracing::warn!("other users of this machine can read {file}: run `chmod 600 {file}`");
    }
}

/// Prints the address of the server, and how others use it.
fn announce(
    server: &Server,
    access: &Access,
    common: &Common,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    let address = server.address();
    let url = format!("http://{address}");
    if !address.ip().is_loopback() && (access.is_writable() || !access.is_open()) {
        tracing::warn!("tokens are sent to {url} unencrypted: use a proxy with TLS");
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
            (true, false) => "public, read-only",
            (true, true) => "public reads, writes with a token",
            (false, false) => "reads with a token, read-only",
            (false, true) => "reads with a token, writes with a token for writing",
        };
        writeln!(output, "serving at {url}: {who}")?;
        writeln!(
            output,
            "other labs add it with `ribflow remote add NAME {url}`"
        )?;
    }
    // Scripts wait for this line.
    output.flush()?;
    Ok(())
}
