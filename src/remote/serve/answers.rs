//! Responses without a file.

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A text response.
pub fn text(status: StatusCode, message: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

pub fn json(value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

pub fn nothing_there() -> Response {
    text(StatusCode::NOT_FOUND, "nothing exists under this name")
}

pub fn not_allowed(allow: &'static str, message: &str) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, message);
    let allow = HeaderValue::from_static(allow);
    response.headers_mut().insert(ALLOW, allow);
    response
}

/// The response to a missing or invalid token.
pub fn who_are_you(headers: &HeaderMap) -> Response {
    let message = match headers.contains_key(AUTHORIZATION) {
        true => "this token is not valid here",
        false => "a token is required: `Authorization: Bearer TOKEN`",
    };
    let mut response = text(StatusCode::UNAUTHORIZED, message);
    let bearer = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    response
}

/// An internal error. The details are in the log, not in the response.
pub fn failed(what: &dyn std::fmt::Display) -> Response {
    tracing::error!("{what}");
    let message = "internal error; see the server's log";
    text(StatusCode::INTERNAL_SERVER_ERROR, message)
}
