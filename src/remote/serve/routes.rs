//! Dispatches a request to its handler.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::access::Verdict;
use super::body::linger;
use super::connection::Connection;
use super::target::Target;
use super::{Shared, answers, reading, upload};

/// The maximum length of a path in the log.
const MOST_LOGGED: usize = 250;

/// Handles one request and logs it. Headers and queries are never logged.
pub async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let _busy = connection.busy();
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(MOST_LOGGED).collect();
    let response = dispatch(&shared, request).await;
    let bytes = length(&response);
    tracing::info!(%method, path, status = response.status().as_u16(), bytes);
    response
}

async fn dispatch(shared: &Arc<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().strip_prefix('/').unwrap_or_default();
    let reads = [Method::GET, Method::HEAD].contains(&parts.method);
    let refusal = match (&parts.method, name) {
        (&Method::POST, "has") => match shared.access.reading(&parts.headers) {
            Verdict::Allowed => return reading::has(shared, body).await,
            _ => answers::who_are_you(&parts.headers),
        },
        _ if reads && name == "has" => {
            answers::not_allowed("POST", "use POST with a JSON list of names here")
        }
        _ if reads => match (shared.access.reading(&parts.headers), Target::parse(name)) {
            (Verdict::Allowed, Some(target)) => {
                return reading::read(shared, target, &parts).await;
            }
            (Verdict::Allowed, None) => answers::nothing_there(),
            _ => answers::who_are_you(&parts.headers),
        },
        (&Method::PUT, _) => match may_write(shared, name, &parts) {
            Ok(target) => return upload::put(shared, target, &parts.headers, body).await,
            Err(refusal) => *refusal,
        },
        (&Method::DELETE, _) if is_trial(shared, name, &parts) => {
            answers::text(StatusCode::OK, "removed")
        }
        (&Method::DELETE, _) => answers::not_allowed(
            "GET, HEAD, PUT",
            "this server deletes nothing; use `ribflow cache gc` on the store's machine",
        ),
        _ => answers::not_allowed("GET, HEAD, PUT", "use GET, HEAD or PUT here"),
    };
    linger(&parts.headers, body, &shared.limits);
    refusal
}

fn may_write(
    shared: &Shared,
    name: &str,
    parts: &axum::http::request::Parts,
) -> Result<Target, Box<Response>> {
    let Some(target) = Target::parse(name) else {
        return Err(answers::nothing_there().into());
    };
    if matches!(
        target,
        Target::Description
            | Target::RecordsOf(_)
            | Target::Revocations
            | Target::RevocationsOf(_)
            | Target::Trials
    ) {
        let message = "this is read-only";
        return Err(answers::not_allowed("GET, HEAD", message).into());
    }
    let refusal = match shared.access.writing(&parts.headers) {
        Verdict::Allowed => return Ok(target),
        Verdict::Never => answers::not_allowed(
            "GET, HEAD",
            "this store is served read-only; `ribflow serve --tokens FILE` lets clients with a \
             token write",
        ),
        Verdict::Unknown => answers::who_are_you(&parts.headers),
        Verdict::ReadsOnly => answers::text(
            StatusCode::FORBIDDEN,
            "this token only permits reading; writing needs one of `ribflow serve --tokens`",
        ),
    };
    Err(refusal.into())
}

/// Removes a client's trial; nothing else can be removed.
fn is_trial(shared: &Shared, name: &str, parts: &axum::http::request::Parts) -> bool {
    match may_write(shared, name, parts) {
        Ok(Target::Trial(number)) => {
            shared.trials.remove(number);
            true
        }
        _ => false,
    }
}

/// The size of a response body, if it is known before sending.
fn length(response: &Response) -> u64 {
    let header = response.headers().get(CONTENT_LENGTH);
    let said = header.and_then(|value| value.to_str().ok()?.parse().ok());
    said.or_else(|| response.body().size_hint().exact())
        .unwrap_or_default()
}
