//! Removes outcomes on request, so that their nodes run again.

use super::{Store, StoreError};
use crate::digest::Digest;

impl Store {
    /// Removes a record of `key`; the blobs that it references stay until the next garbage
    /// collection. The store then uses another record of that key, if there is one.
    ///
    /// # Errors
    /// A pin holds the key.
    pub fn forget(&self, key: &Digest, record: &Digest) -> Result<(), StoreError> {
        let tmp = self.session_folder()?;
        let _publishing = self.publishing()?;
        let pins = self.pins()?;
        let pin = pins
            .iter()
            .find(|pin| pin.nodes.iter().any(|node| node.key == *key));
        if let Some(pin) = pin {
            return Err(StoreError::Pinned {
                key: *key,
                pin: pin.label(&pins),
            });
        }
        if !self.record_names(key)?.contains(record) {
            return Err(StoreError::NoSuchRecord {
                key: *key,
                record: *record,
            });
        }
        self.remove_record(key, record, &tmp)
    }
}
