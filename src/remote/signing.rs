//! Ed25519 keys and signed envelopes (DSSE, <https://github.com/secure-systems-lab/dsse>).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// The payload type of every envelope: an in-toto statement.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The size limit of an envelope: provenance and the digests of a node's outputs.
pub const MOST_ENVELOPE: u64 = 1 << 20;

/// The public key of a lab, written in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// The signing key of a lab.
pub struct SecretKey(SigningKey);

/// Why an envelope is rejected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    #[error("the signature is not a signed envelope: {0}")]
    Format(String),
    #[error("the signature does not match the signed content")]
    Forged,
    #[error("`{0}` is not a key: expected 32 bytes in base64")]
    Key(String),
}

impl SecretKey {
    /// A new key, from the system's source of random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self::from_seed(&seed))
    }

    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for the key file.
    pub fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
}

/// Never shows the secret.
impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey(of {})", self.public())
    }
}

impl PublicKey {
    /// The key's bytes as used in file names.
    pub fn in_names(&self) -> Digest {
        Digest::from_bytes(self.0)
    }

    pub fn from_name(name: &Digest) -> Self {
        Self(*name.as_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let wrong = || SealError::Key(text.to_string());
        let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| wrong())?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| wrong())?;
        // With a weak key, many messages have the same signature.
        match key.is_weak() {
            true => Err(wrong()),
            false => Ok(Self(bytes)),
        }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Sealed>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    keyid: String,
    sig: String,
}

/// Wraps `payload` in an envelope signed with `key`.
pub fn seal(payload: &[u8], key: &SecretKey) -> Vec<u8> {
    let signature = key.0.sign(&encoding(payload));
    let envelope = Envelope {
        payload: STANDARD.encode(payload),
        payload_type: PAYLOAD_TYPE.to_string(),
        signatures: vec![Sealed {
            keyid: key.public().in_names().to_hex(),
            sig: STANDARD.encode(signature.to_bytes()),
        }],
    };
    // Encoding strings can't fail.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// The payload of an envelope, if `signer` signed it.
pub fn unseal(envelope: &[u8], signer: &PublicKey) -> Result<Vec<u8>, SealError> {
    let format = |why: &str| SealError::Format(why.to_string());
    if envelope.len() as u64 > MOST_ENVELOPE {
        return Err(format("it is too large"));
    }
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|error| format(&error.to_string()))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(format("its payload has another type"));
    }
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| format("it is not base64"))
    };
    let payload = decode(&envelope.payload)?;
    let [sealed] = envelope.signatures.as_slice() else {
        return Err(format("expected one signature"));
    };
    if sealed.keyid != signer.in_names().to_hex() {
        return Err(format("it names another key"));
    }
    let signature =
        Signature::from_slice(&decode(&sealed.sig)?).map_err(|_| format("expected 64 bytes"))?;
    let key = VerifyingKey::from_bytes(&signer.0).map_err(|_| SealError::Forged)?;
    // Strict: rejects keys and signatures that other verifiers may interpret differently.
    key.verify_strict(&encoding(&payload), &signature)
        .map_err(|_| SealError::Forged)?;
    Ok(payload)
}

/// The signed bytes: DSSE's pre-authentication encoding, which is unambiguous.
fn encoding(payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}
