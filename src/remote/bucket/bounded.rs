//! The HTTP connection of a bucket: limits responses that are held in memory, and turns an unusual
//! status into an error that keeps the status.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::redirect::Policy;

use crate::fetch::pace::Limits;
use crate::fetch::web::proxy::proxies;
use crate::fetch::web::silence::Server;

use super::failure::UnusualStatus;

/// The size limit of a response that is not object data: a page of a list has a thousand names.
const LARGEST_ANSWER: usize = 16 << 20;

/// Connects through the configured proxy, follows no redirects (a request is signed for one
/// server), and limits responses.
#[derive(Debug)]
pub struct BoundedConnector {
    pub limits: Limits,
    pub server: Arc<Server>,
}

impl HttpConnector for BoundedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed = |error: reqwest::Error| object_store::Error::Generic {
            store: "HTTP client",
            source: Box::new(error),
        };
        let is_plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let proxy = reqwest::Proxy::custom(|url| {
            let uri = url.as_str().parse().ok()?;
            // An unusable proxy is rejected by its scheme.
            proxies().of(&uri).map_or_else(
                |_| Some("unsupported://proxy".to_string()),
                |proxy| proxy.map(|proxy| proxy.url().to_string()),
            )
        });
        let client = reqwest::Client::builder()
            .user_agent(concat!("ribflow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout(options).unwrap_or(self.limits.connect))
            .redirect(Policy::none())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .no_proxy()
            .proxy(proxy)
            .https_only(is_plain.as_deref() != Some("true"))
            .build()
            .map_err(failed)?;
        Ok(HttpClient::new(Bounded {
            client: HttpClient::new(client),
            server: self.server.clone(),
            limits: self.limits,
        }))
    }
}

/// The timeout for the machine's own credentials is short.
fn connect_timeout(options: &ClientOptions) -> Option<Duration> {
    let text = options.get_config_value(&ClientConfigKey::ConnectTimeout)?;
    let seconds = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[derive(Debug)]
struct Bounded {
    client: HttpClient,
    server: Arc<Server>,
    limits: Limits,
}

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
        let response = self.client.execute(request).await?;
        self.server.has_answered();
        let status = response.status();
        // Object data: the caller counts its bytes.
        if status.as_u16() == 206 {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = self.whole(body).await?;
        // `object_store` has its own errors for these.
        let leads_elsewhere = parts
            .headers
            .get("location")
            .filter(|_| status.is_redirection());
        if let Some(place) = leads_elsewhere {
            let place = place.to_str().unwrap_or_default().split('?').next();
            return Err(UnusualStatus {
                status: status.as_u16(),
                said: format!("it redirects to {}", place.unwrap_or_default()),
            }
            .into_error());
        }
        let is_usual = status.is_success()
            || status.is_redirection()
            || [404, 409, 412].contains(&status.as_u16());
        match is_usual {
            true => Ok(HttpResponse::from_parts(parts, body.into())),
            false => Err(UnusualStatus {
                status: status.as_u16(),
                said: String::from_utf8_lossy(&body).into_owned(),
            }
            .into_error()),
        }
    }

    async fn whole(&self, body: HttpResponseBody) -> Result<Bytes, HttpError> {
        let mut pieces = body.bytes_stream();
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            self.server.moved(piece.len() as u64, &self.limits);
            if bytes.len() + piece.len() > LARGEST_ANSWER {
                let error = std::io::Error::other("its response is too large");
                return Err(HttpError::new(HttpErrorKind::Unknown, error));
            }
            bytes.extend_from_slice(&piece);
        }
        self.server.has_arrived();
        Ok(bytes.freeze())
    }
}
