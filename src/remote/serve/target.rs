//! What a path of a request means. A path means something only if it is, letter for letter, a name
//! that this build would give: nothing is decoded, shortened or resolved.

use crate::digest::Digest;
use crate::remote::names::{self, COMPRESSED, InRecords, REVOCATIONS, in_records};

/// The file that says which format a store has.
const DESCRIPTION: &str = "store.json";

/// Begins the names of what a client writes to see whether it may.
const TRIAL: &str = "probe-";

/// A name in a store that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Description,
    Object { digest: Digest, compressed: bool },
    RecordsOf(Digest),
    Record { key: Digest, record: Digest },
    Signature(Signed),
    Revocations,
    RevocationsOf(Digest),
    Revocation { signer: Digest, envelope: Digest },
    Trials,
    Trial(u128),
}

/// A signature's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    pub key: Digest,
    pub record: Digest,
    pub signer: Digest,
}

impl Target {
    /// Reads a name relative to the store's root.
    pub fn parse(name: &str) -> Option<Self> {
        Self::read(name).filter(|target| target.name() == name)
    }

    fn read(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.splitn(5, '/').collect();
        match parts.as_slice() {
            [DESCRIPTION] => Some(Self::Description),
            ["objects", head, rest] => {
                let (rest, compressed) = match rest.strip_suffix(COMPRESSED) {
                    Some(rest) => (rest, true),
                    None => (*rest, false),
                };
                let digest = format!("{head}{rest}").parse().ok()?;
                Some(Self::Object { digest, compressed })
            }
            ["records", _, key, ""] => Some(Self::RecordsOf(key.parse().ok()?)),
            ["records", _, key, name] => {
                let key = key.parse().ok()?;
                Some(match in_records(name)? {
                    InRecords::Record(record) => Self::Record { key, record },
                    InRecords::Signature { record, signer } => Self::Signature(Signed {
                        key,
                        record,
                        signer,
                    }),
                })
            }
            [REVOCATIONS, ""] => Some(Self::Revocations),
            [REVOCATIONS, signer, ""] => Some(Self::RevocationsOf(signer.parse().ok()?)),
            [REVOCATIONS, signer, name] => Some(Self::Revocation {
                signer: signer.parse().ok()?,
                envelope: name.strip_suffix(".sig")?.parse().ok()?,
            }),
            ["tmp", ""] => Some(Self::Trials),
            ["tmp", name] => {
                let digits = name.strip_prefix(TRIAL)?;
                let number = u128::from_str_radix(digits, 16).ok()?;
                Some(Self::Trial(number))
            }
            _ => None,
        }
    }

    /// The one name that it has.
    pub fn name(&self) -> String {
        match self {
            Self::Description => DESCRIPTION.to_string(),
            Self::Object {
                digest,
                compressed: true,
            } => names::compressed(digest),
            Self::Object { digest, .. } => names::object(digest),
            Self::RecordsOf(key) => format!("{}/", names::records(key)),
            Self::Record { key, record } => names::record(key, record),
            Self::Signature(signed) => {
                names::signature(&signed.key, &signed.record, &signed.signer)
            }
            Self::Revocations => format!("{REVOCATIONS}/"),
            Self::RevocationsOf(signer) => format!("{REVOCATIONS}/{signer}/"),
            Self::Revocation { signer, envelope } => names::revocation(signer, envelope),
            Self::Trials => "tmp/".to_string(),
            Self::Trial(number) => format!("tmp/{TRIAL}{number:024x}"),
        }
    }
}
