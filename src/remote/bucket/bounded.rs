//! The connection under a bucket: answers that are held in memory have a limit, and an unusual
//! status becomes an error that still knows it.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};

use super::failure::Answered;

/// The most of an answer that is no part of an object: a page of a list has a thousand names.
const LARGEST_ANSWER: usize = 16 << 20;

/// Connects as usual, and bounds what comes.
#[derive(Debug, Default)]
pub struct BoundedConnector(ReqwestConnector);

impl HttpConnector for BoundedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        self.0
            .connect(options)
            .map(|client| HttpClient::new(Bounded(client)))
    }
}

#[derive(Debug)]
struct Bounded(HttpClient);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Bounded {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.bounded(request))
    }
}

impl Bounded {
    async fn bounded(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.execute(request).await?;
        let status = response.status();
        // Part of an object: whoever asked for it counts.
        if status.as_u16() == 206 {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = whole(body).await?;
        // For these `object_store` has errors of its own.
        let is_usual = status.is_success()
            || status.is_redirection()
            || [404, 409, 412].contains(&status.as_u16());
        match is_usual {
            true => Ok(HttpResponse::from_parts(parts, body.into())),
            false => Err(Answered {
                status: status.as_u16(),
                said: String::from_utf8_lossy(&body).into_owned(),
            }
            .into_error()),
        }
    }
}

async fn whole(body: HttpResponseBody) -> Result<Bytes, HttpError> {
    let mut pieces = body.bytes_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if bytes.len() + piece.len() > LARGEST_ANSWER {
            let error = std::io::Error::other("its answer is larger than any could be");
            return Err(HttpError::new(HttpErrorKind::Unknown, error));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}
