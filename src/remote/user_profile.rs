//! Turns the remotes named on a command line into an [`Exchange`]: opens them, assembles trust, and
//! pulls revocations first.

use std::collections::BTreeSet;

use super::address::{self, Options};
use super::config::{Config, ConfigError, Configured};
use super::exchange::{Exchange, Peer};
use super::home::{Home, NoHome};
use super::keys::{self, KeyError, OwnKey};
use super::patience::{Patience, Patient};
use super::revocations;
use super::transport::{Remote, RemoteError};
use super::trust::Trust;
use crate::diag::{self, secrets};

/// The environment variable that names the signing key.
pub const KEY_VARIABLE: &str = "RIBFLOW_KEY";

#[derive(Debug, thiserror::Error)]
pub enum UserProfileError {
    #[error(transparent)]
    Home(#[from] NoHome),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("there is no remote `{name}`")]
    Unknown { name: String, known: Vec<String> },
}

impl UserProfileError {
    /// How to fix it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) => error.hint(),
            Self::Unknown { name, known } if !known.is_empty() => Some(diag::suggest(
                name,
                "remotes",
                known.iter().map(String::as_str),
            )),
            Self::Unknown { .. } => Some(
                "`ribflow remote add NAME URL` adds one; a URL or a path works, too".to_string(),
            ),
            Self::Home(_) | Self::Config(_) | Self::Remote(_) => None,
        }
    }
}

/// The user's configuration, keys and trust.
#[derive(Debug)]
pub struct UserProfile {
    pub home: Home,
    pub config: Config,
    /// Own keys, keys in the configuration, and known revocations.
    pub trust: Trust,
    /// Problems with files in the user's folders.
    pub complaints: Vec<String>,
}

impl UserProfile {
    /// Reads the user's folders.
    pub fn open(home: Home) -> Result<Self, UserProfileError> {
        let config = Config::read(&home)?;
        let mut trust = Trust::default();
        for key in keys::all(&home)? {
            trust.add(&key.name, key.secret.public());
        }
        for (name, key) in &config.trust {
            trust.add(name, *key);
        }
        let complaints = revocations::apply(&home, &mut trust);
        Ok(Self {
            home,
            config,
            trust,
            complaints,
        })
    }

    /// The signing key, if there is one: from RIBFLOW_KEY, `key:` in the configuration, or the only
    /// key.
    pub fn key(&self) -> Result<Option<OwnKey>, KeyError> {
        let variable = std::env::var(KEY_VARIABLE).ok();
        let variable = variable.filter(|name| !name.is_empty());
        let chosen = variable.or_else(|| self.config.key.clone());
        keys::used(&self.home, chosen.as_deref(), &self.trust)
    }

    /// A remote by its configured name, by URL or by path. The latter two have no configuration, so
    /// the default policy applies and runs do not write to them.
    pub fn configured(&self, name: &str) -> Result<Configured, UserProfileError> {
        if let Some(remote) = self.config.remotes.get(name) {
            return Ok(remote.clone());
        }
        if is_address(name) {
            return Ok(Configured {
                url: name.to_string(),
                ..Configured::default()
            });
        }
        Err(UserProfileError::Unknown {
            name: name.to_string(),
            known: self.config.remotes.keys().cloned().collect(),
        })
    }

    /// Opens the named remotes, and pulls revocations from each. A remote that is down causes a
    /// complaint ([`Exchange::complaints`]).
    pub fn exchange(mut self, names: &[String]) -> Result<Exchange, UserProfileError> {
        let mut peers = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| seen.insert(name.as_str())) {
            let configured = self.configured(name)?;
            self.complaints.extend(lacks_token(name, &configured));
            peers.push(peer(name, configured)?);
        }
        self.exchange_with(peers)
    }

    /// As [`UserProfile::exchange`], with remotes that are already open.
    pub fn exchange_with(mut self, peers: Vec<Peer>) -> Result<Exchange, UserProfileError> {
        let mut complaints = std::mem::take(&mut self.complaints);
        // Reading needs no key.
        let key = self.key().unwrap_or_else(|error| {
            complaints.push(format!("can't sign: {error}"));
            None
        });
        for peer in &peers {
            complaints.extend(self.unmet(peer));
            match revocations::pull(&peer.remote, &self.home, &mut self.trust) {
                Ok(pulled) => complaints.extend(pulled.complaints),
                Err(error) => complaints.push(format!(
                    "can't read the revocations of `{}`: {error}",
                    peer.name
                )),
            }
        }
        let signing = key.filter(|key| {
            let revocation = self.trust.revocation_of(&key.secret.public());
            complaints.extend(revocation.map(|why| {
                format!(
                    "the key `{}` is revoked ({why}) and does not sign",
                    key.name
                )
            }));
            revocation.is_none()
        });
        let own = keys::all(&self.home)?.into_iter();
        let own: Vec<_> = own.map(|key| key.secret.public()).collect();
        let exchange = Exchange::new(peers, self.trust, signing.map(|key| key.secret))
            .with_own_keys(own.into_iter());
        for complaint in complaints {
            exchange.complain(complaint);
        }
        Ok(exchange)
    }

    /// The unsatisfiable requirement of a remote's policy, if there is one.
    fn unmet(&self, peer: &Peer) -> Option<String> {
        let require = &peer.policy.require;
        let known: BTreeSet<&str> = self.trust.signers().map(|(_, name)| name).collect();
        let met = require.is_empty() || require.iter().any(|name| known.contains(name.as_str()));
        (!met).then(|| {
            let wanted = diag::listed(require.iter().map(String::as_str));
            format!(
                "nothing is taken from `{}`: it requires {wanted}, whose key is not trusted",
                peer.name
            )
        })
    }
}

fn peer(name: &str, configured: Configured) -> Result<Peer, UserProfileError> {
    let remote = open(&configured)?;
    Ok(Peer {
        name: name.to_string(),
        remote: Patient::new(remote, Patience::default()),
        policy: configured.policy,
        writes: configured.write,
    })
}

/// The complaint about a token variable that is not set. Reading may work without a token.
fn lacks_token(name: &str, configured: &Configured) -> Option<String> {
    let variable = configured.token_env.as_ref()?;
    let lacks = token(configured).is_none();
    lacks.then(|| format!("`{name}` is used without a token: {variable} is not set"))
}

/// The token for a server, from the configured variable.
fn token(configured: &Configured) -> Option<String> {
    let token = std::env::var(configured.token_env.as_ref()?).ok();
    let token = token.filter(|token| !token.is_empty());
    // The name of its variable may not reveal that it is a secret.
    token.as_deref().inspect(|token| secrets::keep(token));
    token
}

/// Whether an argument is a URL or a path, rather than the name of a remote.
pub fn is_address(word: &str) -> bool {
    word.contains('/') || matches!(word, "." | "..")
}

/// The URL of a remote that was given by URL or path.
pub fn url(address: &str) -> String {
    if address.contains("://") {
        return address.to_string();
    }
    // This fails only for an empty path or without a current folder; then the path is used
    // unchanged.
    let path = std::path::absolute(address).unwrap_or_else(|_| address.into());
    let mut url = "file://".to_string();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// Opens a configured remote. Sends no request.
pub fn open(configured: &Configured) -> Result<Box<dyn Remote>, UserProfileError> {
    let options = Options {
        endpoint: configured.endpoint.clone(),
        region: configured.region.clone(),
        token: token(configured),
        ..Options::default()
    };
    Ok(address::open(&url(&configured.url), &options)?)
}

/// Pushes revocations to every peer after writing to it. A failure causes a complaint; the next
/// push tries again.
pub fn push_revocations(home: &Home, exchange: &Exchange) {
    for peer in exchange.peers() {
        if let Err(error) = revocations::push(&peer.remote, home) {
            let name = &peer.name;
            exchange.complain(format!("can't push revocations to `{name}` yet: {error}"));
        }
    }
}
