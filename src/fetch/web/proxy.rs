//! Chooses the proxy for a URL by the variables that curl and other tools read: `http_proxy`,
//! `https_proxy`, `all_proxy`, `no_proxy`, in lower or upper case. Lower case takes precedence.

use std::net::IpAddr;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;

use crate::diag::secrets;
use crate::fetch::urls::decoded;

/// The addresses at which cloud machines find their own credentials, which never go through a
/// proxy.
const OWN_MACHINE: [&str; 5] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::254",
    "metadata.google.internal",
];

/// The proxies from the environment.
#[derive(Debug, Default)]
pub struct Proxies {
    http: Option<ProxyAddress>,
    https: Option<ProxyAddress>,
    except: Vec<Exception>,
}

/// The address of a proxy, and its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    url: String,
    /// Without user and password.
    address: String,
    /// As in the URL.
    user: Option<String>,
}

impl std::fmt::Debug for ProxyAddress {
    /// Omits the password, which must not end up in a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ProxyAddress({})", self.address)
    }
}

/// The proxies of this process.
pub fn proxies() -> &'static Proxies {
    static PROXIES: OnceLock<Proxies> = OnceLock::new();
    PROXIES.get_or_init(|| Proxies::of_environment(|name| std::env::var(name).ok()))
}

impl Proxies {
    /// The proxies that these variables name.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        // A server passes a request's header `Proxy:` to its CGI programs as HTTP_PROXY.
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let value = |name: &str| {
            let upper = name.to_ascii_uppercase();
            let upper = (!is_cgi || name != "http_proxy").then(|| variable(&upper));
            variable(name).or(upper.flatten())
        };
        let proxy = |name: &str| {
            let text = value(name).or_else(|| value("all_proxy"))?;
            ProxyAddress::parse(&text)
        };
        let except = value("no_proxy").unwrap_or_default();
        let except = except.split(|letter: char| letter == ',' || letter.is_whitespace());
        Self {
            http: proxy("http_proxy"),
            https: proxy("https_proxy"),
            except: except.filter_map(Exception::parse).collect(),
        }
    }

    /// The proxy for a URL, if it uses one.
    ///
    /// # Errors
    /// A message that names the proxy if its kind is not supported.
    pub fn of(&self, uri: &Uri) -> Result<Option<&ProxyAddress>, String> {
        let (proxy, usual) = match uri.scheme_str() {
            Some("http") => (&self.http, 80),
            Some("https") => (&self.https, 443),
            _ => return Ok(None),
        };
        let host = bare(uri.host().unwrap_or_default());
        let port = uri.port_u16().unwrap_or(usual);
        let (Some(proxy), false) = (proxy, self.excepts(&host, port)) else {
            return Ok(None);
        };
        match proxy.address.split("://").next() {
            Some("http" | "https") => Ok(Some(proxy)),
            _ => Err(format!(
                "the proxy {} is not supported: use http:// or https://",
                proxy.address
            )),
        }
    }

    fn excepts(&self, host: &str, port: u16) -> bool {
        OWN_MACHINE.contains(&host) || self.except.iter().any(|one| one.holds(host, port))
    }
}

impl ProxyAddress {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_string()), host),
            None => (None, rest),
        };
        let scheme = scheme.to_ascii_lowercase();
        let proxy = Self {
            url: format!("{scheme}://{rest}"),
            address: format!("{scheme}://{host}"),
            user,
        };
        if let Some(user) = proxy.plain_user() {
            secrets::keep(&user);
            secrets::keep(user.split_once(':').map_or("", |(_, password)| password));
        }
        Some(proxy)
    }

    /// With user and password, if it has any.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Without user and password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The value of `Proxy-Authorization`.
    pub fn authorization(&self) -> Option<String> {
        let user = self.plain_user()?;
        Some(format!("Basic {}", STANDARD.encode(user)))
    }

    /// `user:password`
    fn plain_user(&self) -> Option<String> {
        let user = self.user.as_ref()?;
        let user = decoded(user).unwrap_or_else(|| user.clone());
        Some(match user.contains(':') {
            true => user,
            false => format!("{user}:"),
        })
    }
}

/// A rule for hosts that are accessed without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    whom: Whom,
    /// Only on this port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    All,
    /// A prefix of an address.
    Network(IpAddr, u8),
    /// A host, or all hosts of a domain.
    Domain(String),
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            let whom = Whom::All;
            return Some(Self { whom, port: None });
        }
        // In an IPv6 address without brackets, no colon precedes a port.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (text, None),
        };
        let (address, bits) = match host.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (host, None),
        };
        let whom = match (bare(address).parse::<IpAddr>(), bits) {
            (Ok(address), bits) => {
                let all = if address.is_ipv4() { 32 } else { 128 };
                let bits = bits.unwrap_or(all);
                (bits <= all).then_some(Whom::Network(address, bits))?
            }
            (Err(_), Some(_)) => return None,
            (Err(_), None) => {
                let domain = host.trim_start_matches('*').trim_start_matches('.');
                Whom::Domain(bare(domain))
            }
        };
        Some(Self { whom, port })
    }

    fn holds(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|only| only != port) {
            return false;
        }
        match &self.whom {
            Whom::All => true,
            Whom::Network(network, bits) => host
                .parse()
                .is_ok_and(|address| is_in(address, *network, *bits)),
            Whom::Domain(domain) => {
                let above = host.strip_suffix(domain.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        }
    }
}

/// Whether the first `bits` of two addresses are the same.
fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |one: u128, other: u128, width: u32| {
        let shift = width - u32::from(bits);
        one.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same(one.to_bits().into(), other.to_bits().into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

/// A host in lower case, without brackets and trailing dot.
fn bare(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    fn of(proxies: &Proxies, url: &str) -> Option<String> {
        let proxy = proxies.of(&url.parse().unwrap()).unwrap();
        proxy.map(|proxy| proxy.address().to_string())
    }

    #[test]
    fn variables_are_read_as_curl_reads_them() {
        let both = proxies(&[
            ("http_proxy", "http://low:1"),
            ("HTTP_PROXY", "http://up:2"),
        ]);
        assert_eq!(of(&both, "http://host/").as_deref(), Some("http://low:1"));
        assert_eq!(of(&both, "https://host/"), None);
        let all = proxies(&[
            ("ALL_PROXY", "proxy:3128"),
            ("https_proxy", "https://tls:9"),
        ]);
        assert_eq!(
            of(&all, "http://host/").as_deref(),
            Some("http://proxy:3128")
        );
        assert_eq!(of(&all, "https://host/").as_deref(), Some("https://tls:9"));
        let cgi = proxies(&[("HTTP_PROXY", "http://up:2"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(of(&cgi, "http://host/"), None);
        // An empty variable means no proxy, even if the other case is set.
        let none = proxies(&[("http_proxy", ""), ("HTTP_PROXY", "http://up:2")]);
        assert_eq!(of(&none, "http://host/"), None);
        let socks = proxies(&[("all_proxy", "socks5://user:word@host:1080")]);
        let refused = socks.of(&"http://host/".parse().unwrap()).unwrap_err();
        assert!(refused.contains("socks5://host:1080") && !refused.contains("word"));
        let user = proxies(&[("http_proxy", "http://Aladdin:open%20sesame@p:1/")]);
        let user = user.of(&"http://host/".parse().unwrap()).unwrap().unwrap();
        // The example of RFC 7617.
        let expected = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(user.authorization().as_deref(), Some(expected));
    }

    #[test]
    fn exceptions_are_read_as_curl_reads_them() {
        for (except, direct, through) in [
            ("*", "http://any:1/", ""),
            (
                "lab.example",
                "http://lab.example/",
                "http://notlab.example/",
            ),
            (
                ".lab.example",
                "http://a.lab.example/",
                "http://lab.example.org/",
            ),
            ("*.lab.example", "http://lab.example/", "http://example/"),
            ("LAB.example.", "http://lab.EXAMPLE./", "http://example/"),
            (
                "a, lab.example:8080",
                "http://lab.example:8080/",
                "http://lab.example/",
            ),
            (
                "lab.example:80",
                "http://lab.example/",
                "http://lab.example:81/",
            ),
            ("10.0.0.0/8", "http://10.255.0.1/", "http://11.0.0.1/"),
            (
                "192.168.1.128/25",
                "http://192.168.1.200/",
                "http://192.168.1.1/",
            ),
            ("0.0.0.0/0", "http://1.2.3.4/", "http://host/"),
            ("127.0.0.1", "http://127.0.0.1:99/", "http://127.0.0.2/"),
            ("127.0.0.1:99", "http://127.0.0.1:99/", "http://127.0.0.1/"),
            ("::1", "http://[::1]:99/", "http://[::2]/"),
            ("[::1]:99", "http://[::1]:99/", "http://[::1]/"),
            ("fd00::/8", "http://[fd12::3]/", "http://[fe80::1]/"),
            (
                "10.0.0.0/33 /8 host:port",
                "http://169.254.169.254/",
                "http://10.0.0.1/",
            ),
        ] {
            let proxies = proxies(&[("http_proxy", "http://proxy:1"), ("NO_PROXY", except)]);
            assert_eq!(of(&proxies, direct), None, "{except}: {direct}");
            if !through.is_empty() {
                assert!(of(&proxies, through).is_some(), "{except}: {through}");
            }
        }
    }
}
