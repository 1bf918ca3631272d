//! Probes the capabilities of a remote by trying each once.

use super::transport::{Created, Remote, RemoteError};

/// The capabilities of a remote. Correctness never depends on them: they serve messages, and avoid
/// requests that would be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Whether it can be written to.
    pub writes: bool,
    /// Whether it refuses to create an object that exists.
    pub conditional: bool,
    /// Whether it lists folders, which finding records requires.
    pub lists: bool,
    /// The remote's explanations of missing capabilities.
    pub why: Vec<String>,
}

/// Probes with a temporary file under `tmp/`, which is removed afterwards.
///
/// # Errors
/// The remote can't be reached. A refusal only reduces the capabilities.
pub fn probe(remote: &dyn Remote) -> Result<Abilities, RemoteError> {
    let mut abilities = Abilities::default();
    let name = random_name()?;
    let path = format!("tmp/{name}");
    match remote.create(&path, b"one") {
        Ok(_) => {
            abilities.writes = true;
            let tried = conditional(remote, &path, &mut abilities)
                .and_then(|()| lists(remote, "tmp", Some(&name), &mut abilities));
            // If even this fails, the file stays: it is small, and its name shows its purpose.
            let _ = remote.remove(&path);
            tried?;
        }
        Err(error) => {
            abilities.missing(error)?;
            lists(remote, "records", None, &mut abilities)?;
        }
    }
    Ok(abilities)
}

fn conditional(
    remote: &dyn Remote,
    path: &str,
    abilities: &mut Abilities,
) -> Result<(), RemoteError> {
    match remote.create(path, b"two") {
        Ok(created) => abilities.conditional = created == Created::There,
        Err(error) => abilities.missing(error)?,
    }
    Ok(())
}

/// A list is correct if it contains the `known` name, if there is one.
fn lists(
    remote: &dyn Remote,
    folder: &str,
    known: Option<&String>,
    abilities: &mut Abilities,
) -> Result<(), RemoteError> {
    match remote.list(folder) {
        Ok(names) => {
            abilities.lists = known.is_none_or(|known| names.contains(known));
            if !abilities.lists {
                let why = format!("its list of {folder} lacks the file that was just written");
                abilities.why.push(why);
            }
        }
        Err(error) => abilities.missing(error)?,
    }
    Ok(())
}

impl Abilities {
    fn missing(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        match error.is_passing() {
            true => Err(error),
            false => {
                self.why.push(error.to_string());
                Ok(())
            }
        }
    }
}

/// A name that no other process uses at the same time.
fn random_name() -> Result<String, RemoteError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| RemoteError::Io {
        path: "the system's random numbers".into(),
        source: std::io::Error::other(error.to_string()),
    })?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("probe-{digits}"))
}
