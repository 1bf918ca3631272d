//! From the names on a command line to an [`Exchange`]: remotes opened, trust put together, what
//! was taken back pulled first.

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

/// The variable that names the key that signs.
pub const KEY_VARIABLE: &str = "RIBFLOW_KEY";

#[derive(Debug, thiserror::Error)]
pub enum NeighbourError {
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

impl NeighbourError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) => error.hint(),
            Self::Unknown { name, known } if !known.is_empty() => Some(diag::suggest(
                name,
                "remotes",
                known.iter().map(String::as_str),
            )),
            Self::Unknown { .. } => Some(
                "`ribflow remote add NAME URL` makes one known; a URL or a path works too"
                    .to_string(),
            ),
            Self::Home(_) | Self::Config(_) | Self::Remote(_) => None,
        }
    }
}

/// The user's word on all of it: configuration, keys, trust.
#[derive(Debug)]
pub struct UserProfile {
    pub home: Home,
    pub config: Config,
    /// Own keys, those in the configuration, and what is taken back as far as is known here.
    pub trust: Trust,
    /// What can't be used of what lies in the user's folders.
    pub complaints: Vec<String>,
}

impl UserProfile {
    /// Reads it all.
    pub fn open(home: Home) -> Result<Self, NeighbourError> {
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

    /// The key that signs, if there is one: RIBFLOW_KEY, `key:` in the configuration, or the only
    /// one.
    pub fn key(&self) -> Result<Option<OwnKey>, KeyError> {
        let variable = std::env::var(KEY_VARIABLE).ok();
        let variable = variable.filter(|name| !name.is_empty());
        let chosen = variable.or_else(|| self.config.key.clone());
        keys::used(&self.home, chosen.as_deref(), &self.trust)
    }

    /// A remote by the name that the user gave it, by URL or by path. Of the latter two nothing
    /// is known, so the usual policy holds and nothing is written there by the way.
    pub fn configured(&self, name: &str) -> Result<Configured, NeighbourError> {
        if let Some(remote) = self.config.remotes.get(name) {
            return Ok(remote.clone());
        }
        if is_address(name) {
            return Ok(Configured {
                url: name.to_string(),
                ..Configured::default()
            });
        }
        Err(NeighbourError::Unknown {
            name: name.to_string(),
            known: self.config.remotes.keys().cloned().collect(),
        })
    }

    /// Opens the remotes that are named, and learns from each what is taken back. One that is
    /// down costs a complaint ([`Exchange::complaints`]).
    pub fn exchange(mut self, names: &[String]) -> Result<Exchange, NeighbourError> {
        let mut neighbours = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names.iter().filter(|name| seen.insert(name.as_str())) {
            let configured = self.configured(name)?;
            self.complaints.extend(lacks_token(name, &configured));
            neighbours.push(neighbour(name, configured)?);
        }
        self.exchange_with(neighbours)
    }

    /// As [`UserProfile::exchange`], with remotes that are open.
    pub fn exchange_with(mut self, neighbours: Vec<Peer>) -> Result<Exchange, NeighbourError> {
        let mut complaints = std::mem::take(&mut self.complaints);
        // Whoever only reads needs none.
        let key = self.key().unwrap_or_else(|error| {
            complaints.push(format!("nothing can be signed: {error}"));
            None
        });
        for neighbour in &neighbours {
            complaints.extend(self.unmet(neighbour));
            match revocations::pull(&neighbour.remote, &self.home, &mut self.trust) {
                Ok(pulled) => complaints.extend(pulled.complaints),
                Err(error) => complaints.push(format!(
                    "what has been taken back is not known from `{}`: {error}",
                    neighbour.name
                )),
            }
        }
        let signing = key.filter(|key| {
            let taken_back = self.trust.taken_back(&key.secret.public());
            complaints.extend(taken_back.map(|why| {
                format!(
                    "the key `{}` has been taken back ({why}) and does not sign",
                    key.name
                )
            }));
            taken_back.is_none()
        });
        let own = keys::all(&self.home)?.into_iter();
        let own: Vec<_> = own.map(|key| key.secret.public()).collect();
        let exchange = Exchange::new(neighbours, self.trust, signing.map(|key| key.secret))
            .with_own_keys(own.into_iter());
        for complaint in complaints {
            exchange.complain(complaint);
        }
        Ok(exchange)
    }

    /// What a remote's policy asks for and can't get.
    fn unmet(&self, neighbour: &Peer) -> Option<String> {
        let require = &neighbour.policy.require;
        let known: BTreeSet<&str> = self.trust.signers().map(|(_, name)| name).collect();
        let met = require.is_empty() || require.iter().any(|name| known.contains(name.as_str()));
        (!met).then(|| {
            let wanted = diag::listed(require.iter().map(String::as_str));
            format!(
                "nothing is taken from `{}`: it requires {wanted}, whose key is not trusted",
                neighbour.name
            )
        })
    }
}

fn neighbour(name: &str, configured: Configured) -> Result<Peer, NeighbourError> {
    let remote = open(&configured)?;
    Ok(Peer {
        name: name.to_string(),
        remote: Patient::new(remote, Patience::default()),
        policy: configured.policy,
        writes: configured.write,
    })
}

/// A variable that should hold a token and does not. Reading may go without.
fn lacks_token(name: &str, configured: &Configured) -> Option<String> {
    let variable = configured.token_env.as_ref()?;
    let lacks = token(configured).is_none();
    lacks.then(|| format!("`{name}` is asked without a token: {variable} is not set"))
}

/// The token for a server, from the variable that the configuration names.
fn token(configured: &Configured) -> Option<String> {
    let token = std::env::var(configured.token_env.as_ref()?).ok();
    let token = token.filter(|token| !token.is_empty());
    // By its variable's name it may not be known for one.
    token.as_deref().inspect(|token| secrets::keep(token));
    token
}

/// Whether a word can't be a remote's name, and so is a URL or a path.
pub fn is_address(word: &str) -> bool {
    word.contains('/') || matches!(word, "." | "..")
}

/// The URL of a remote that is given by URL or by path.
pub fn url(address: &str) -> String {
    if address.contains("://") {
        return address.to_string();
    }
    // Fails only for an empty path or without a current folder; then it stays as it is.
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

/// Opens a remote as it is configured. Nothing is asked of it yet.
pub fn open(configured: &Configured) -> Result<Box<dyn Remote>, NeighbourError> {
    let options = Options {
        endpoint: configured.endpoint.clone(),
        region: configured.region.clone(),
        token: token(configured),
        ..Options::default()
    };
    Ok(address::open(&url(&configured.url), &options)?)
}

/// Tells every neighbour what has been taken back, after something was written to them; where that fails it costs a
/// complaint, and the next time brings it there.
pub fn pass_on(home: &Home, exchange: &Exchange) {
    for neighbour in exchange.neighbours() {
        if let Err(error) = revocations::push(&neighbour.remote, home) {
            let name = &neighbour.name;
            exchange.complain(format!(
                "`{name}` does not know yet what has been taken back: {error}"
            ));
        }
    }
}
