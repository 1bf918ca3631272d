//! Parses the path of a request. A path is valid only if it is literally a name that this build
//! would generate: nothing is decoded, normalised or resolved.

use crate::digest::Digest;
use crate::remote::names::{self, COMPRESSED, InRecords, REVOCATIONS, in_records};

/// The file with the format of a store.
const DESCRIPTION: &str = "store.json";

/// The prefix of the files that a client writes to probe its permissions.
const TRIAL: &str = "probe-";

/// A valid name in a store.
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

/// The location of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    pub key: Digest,
    pub record: Digest,
    pub signer: Digest,
}

impl Target {
    /// Parses a name relative to the store's root.
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

    /// Its only name.
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
