//! Plain `http://` through a proxy according to RFC 9112: requests name the absolute URL (`GET
//! http://host/path`) instead of using a tunnel, which most proxies allow only to port 443.

use std::fmt;

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Error, config::Config};

/// Connects to a proxy, whatever the requested host is.
#[derive(Debug)]
pub struct Forward {
    proxy: Uri,
    inner: DefaultConnector,
}

impl Forward {
    pub fn new(proxy: Uri) -> Self {
        Self {
            proxy,
            inner: DefaultConnector::new(),
        }
    }
}

impl Connector<()> for Forward {
    type Out = Forwarded;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Forwarded>, Error> {
        let to_proxy = ConnectionDetails {
            uri: &self.proxy,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let authority = details.uri.authority().map_or("", |it| it.as_str());
        let connected = self.inner.connect(&to_proxy, chained)?;
        Ok(connected.map(|inner| Forwarded {
            inner,
            origin: format!("http://{authority}"),
            head: Vec::new(),
            body: 0,
        }))
    }
}

/// A connection to a proxy. Inserts the host before the path in the first line of every request.
pub struct Forwarded {
    inner: Box<dyn Transport>,
    origin: String,
    /// The sent part of incomplete headers.
    head: Vec<u8>,
    /// The remaining bytes of the current request body.
    body: u64,
}

impl Forwarded {
    /// Processes outgoing bytes; returns the number of bytes added.
    fn prepare(&mut self, amount: usize) -> Result<usize, Error> {
        if self.body > 0 {
            self.body = self.body.saturating_sub(amount as u64);
            return Ok(0);
        }
        let output = self.inner.buffers().output();
        let mut added = 0;
        if self.head.is_empty() {
            let space = output[..amount].iter().position(|byte| *byte == b' ');
            let place = space.map_or(amount, |space| space + 1);
            added = self.origin.len();
            if amount + added > output.len() {
                return Err(Error::Other(
                    "the headers of the request are too long".into(),
                ));
            }
            output.copy_within(place..amount, place + added);
            output[place..place + added].copy_from_slice(self.origin.as_bytes());
        }
        self.head.extend_from_slice(&output[..amount + added]);
        if let Some((end, length)) = complete(&self.head) {
            let after = (self.head.len() - end) as u64;
            self.body = length.saturating_sub(after);
            self.head.clear();
        }
        Ok(added)
    }
}

/// The end of complete headers, and the length of the body after them.
fn complete(head: &[u8]) -> Option<(usize, u64)> {
    let end = head.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&head[..end]);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    });
    Some((end, length.unwrap_or(0)))
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let added = self.prepare(amount)?;
        self.inner.transmit_output(amount + added, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Forwarded({})", self.origin)
    }
}

/// Resolves the proxy instead of the requested host, whose name may only be known behind the proxy.
#[derive(Debug)]
pub struct OfProxy {
    proxy: Uri,
    inner: DefaultResolver,
}

impl OfProxy {
    pub fn new(proxy: Uri) -> Self {
        Self {
            proxy,
            inner: DefaultResolver::default(),
        }
    }
}

impl Resolver for OfProxy {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}
