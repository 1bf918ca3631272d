//! Connections to web servers for all other modules: the choice of proxy, and the time limit for a
//! server that has never responded. It handles connections, and does not know what is requested.

mod forward;
pub mod proxy;
pub mod silence;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ureq::http::{HeaderValue, Request, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, AsSendBody, Body, Proxy};

use super::pace::Limits;
use proxy::{ProxyAddress, proxies};
use silence::{Arriving, Silent};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(transparent)]
    Request(ureq::Error),
    #[error(transparent)]
    Silent(#[from] Silent),
    #[error("{0}")]
    Proxy(String),
}

/// An HTTP client. It follows no redirects, and no status is an error.
pub struct Web {
    /// Connects directly or through a proxy's tunnel.
    agent: Agent,
    /// Connects through proxies that forward requests, by proxy.
    forwards: Mutex<BTreeMap<String, Agent>>,
    limits: Limits,
}

impl Web {
    pub fn new(limits: Limits) -> Self {
        Self {
            agent: Agent::new_with_config(configuration(limits)),
            forwards: Mutex::default(),
            limits,
        }
    }

    /// Sends a request, and returns the response after its headers have arrived.
    pub fn run<S: AsSendBody>(&self, mut request: Request<S>) -> Result<Response<Body>, WebError> {
        let uri = request.uri().clone();
        let server = silence::of_url(&uri.to_string());
        let wait = server.begin(&self.limits)?;
        let expected = server.expect(&self.limits);
        let limits = wait.limits;
        let proxy = proxies().of(&uri).map_err(WebError::Proxy)?;
        let forward = proxy.filter(|_| uri.scheme_str() == Some("http"));
        let agent = match forward {
            Some(proxy) => {
                if let Some(authorization) = proxy.authorization()
                    && let Ok(value) = HeaderValue::from_str(&authorization)
                {
                    request.headers_mut().insert("proxy-authorization", value);
                }
                self.forward(proxy)?
            }
            None => self.agent.clone(),
        };
        let tunnel = proxy.filter(|_| forward.is_none());
        let tunnel = tunnel.map(|proxy| Proxy::new(proxy.url()));
        let configured = agent
            .configure_request(request)
            .proxy(tunnel.transpose().map_err(WebError::Request)?)
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.answer))
            .timeout_per_read(Some(limits.window))
            .timeout_per_write(Some(limits.window))
            .build();
        match agent.run(configured) {
            Ok(response) => {
                wait.answered();
                Ok(response.map(|body| {
                    let body = Arriving::new(body.into_reader(), expected);
                    Body::builder().reader(body)
                }))
            }
            Err(error) => Err(wait
                .over()
                .map_or(WebError::Request(error), WebError::Silent)),
        }
    }

    fn forward(&self, proxy: &ProxyAddress) -> Result<Agent, WebError> {
        let mut forwards = self.forwards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = forwards.get(proxy.url()) {
            return Ok(agent.clone());
        }
        let uri: Uri = proxy.address().parse().map_err(|error| {
            WebError::Proxy(format!("the proxy's address is not a URL: {error}"))
        })?;
        let agent = Agent::with_parts(
            configuration(self.limits),
            forward::Forward::new(uri.clone()),
            forward::OfProxy::new(uri),
        );
        forwards.insert(proxy.url().to_string(), agent.clone());
        Ok(agent)
    }
}

fn configuration(limits: Limits) -> ureq::config::Config {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_per_read(Some(limits.window))
        .timeout_per_write(Some(limits.window))
        .max_idle_connections(64)
        .max_idle_connections_per_host(32)
        .user_agent(concat!("ribflow/", env!("CARGO_PKG_VERSION")))
        .build()
}
