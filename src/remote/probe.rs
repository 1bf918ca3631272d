//! What a remote can do, found out by trying once.

use super::transport::{Created, Remote, RemoteError};

/// What a remote can do. Nothing's correctness rests on it: it is for messages, and for sparing
/// requests that would be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It can be written to.
    pub writes: bool,
    /// It refuses to create what is there already.
    pub conditional: bool,
    /// It lists folders, without which no record is found.
    pub lists: bool,
    /// Why not, in the words of the remote.
    pub why: Vec<String>,
}

/// Tries with a file under `tmp/` that is removed again.
///
/// # Errors
/// Where the remote can't be reached. One that refuses has fewer abilities.
pub fn probe(remote: &dyn Remote) -> Result<Abilities, RemoteError> {
    let mut abilities = Abilities::default();
    let name = random_name()?;
    let path = format!("tmp/{name}");
    match remote.create(&path, b"one") {
        Ok(_) => {
            abilities.writes = true;
            let tried = conditional(remote, &path, &mut abilities)
                .and_then(|()| lists(remote, "tmp", Some(&name), &mut abilities));
            // Left where even this fails: it is small, and named as what it is.
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

/// A list is right where it has the `known` name, if there is one.
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
                let why = format!("its list of {folder} lacks what was just written");
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

/// What nobody else writes at the same time.
fn random_name() -> Result<String, RemoteError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| RemoteError::Io {
        path: "the system's random numbers".into(),
        source: std::io::Error::other(error.to_string()),
    })?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("probe-{digits}"))
}
