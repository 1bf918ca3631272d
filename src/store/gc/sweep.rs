//! Removes what the plan lists. Killed at any moment, it leaves a consistent store: it removes
//! recomputable content first, and a blob only after the removal of every record that references it
//! is durable.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::decide::{GcInput, GcPlan};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;
use crate::store::inventory::{Outcome, Piece, Transient, entries, piece};
use crate::store::layout::WITHHELD;
use crate::store::records::{MARKER, Marker, file_name, list};
use crate::store::{Store, StoreError};

impl Store {
    pub(super) fn sweep(
        &self,
        input: &GcInput,
        plan: &GcPlan,
        tmp: &Path,
    ) -> Result<(), StoreError> {
        for index in &plan.pieces {
            self.remove_piece(&input.inventory.pieces[*index], input.young, tmp)?;
        }
        for index in &plan.outcomes {
            let Outcome { key, digest, .. } = &input.inventory.outcomes[*index];
            self.remove_record(key, digest, tmp)?;
        }
        if !plan.outcomes.is_empty() {
            // Otherwise a power failure could lose the blobs and restore the records.
            self.flush(&[])?;
        }
        for digest in &plan.blobs {
            self.remove_blob(digest, input.young, tmp)?;
        }
        for folder in &plan.runs {
            remove(folder)?;
        }
        self.remove_samples(input, plan)?;
        self.remove_markers(input, plan)?;
        self.remove_stray_signatures(input.young)?;
        self.sweep_claims()
    }

    /// Removes the signatures of records that are gone: of a removal that did not come to its end.
    /// An adoption writes signatures before their record.
    fn remove_stray_signatures(&self, young: SystemTime) -> Result<(), StoreError> {
        for key in self.keys()? {
            let folder = self.record_folder(&key);
            let records = list(&folder)?;
            let mut left = 0;
            for (name, path) in entries(&folder)? {
                let of_a_record = records
                    .iter()
                    .any(|record| name.starts_with(&record.to_hex()));
                if name.ends_with(".sig") && !of_a_record && is_old(&path, young) {
                    remove(&path)?;
                } else {
                    left += 1;
                }
            }
            if left == 0 {
                // Another process may have written there.
                let _ = calls::remove_dir(&folder);
            }
        }
        Ok(())
    }

    /// Removes samples of which no record is left.
    fn remove_samples(&self, input: &GcInput, plan: &GcPlan) -> Result<(), StoreError> {
        if plan.outcomes.is_empty() {
            return Ok(());
        }
        let gone: HashSet<usize> = plan.outcomes.iter().copied().collect();
        let outcomes = input.inventory.outcomes.iter().enumerate();
        let left = outcomes.filter(|(index, _)| !gone.contains(index));
        self.drop_stale_samples(&left.map(|(_, outcome)| outcome.digest).collect())
            .map(|_| ())
    }

    /// Removes a record with its signatures, and its folder if that is then empty.
    pub(in crate::store) fn remove_record(
        &self,
        key: &Digest,
        record: &Digest,
        tmp: &Path,
    ) -> Result<(), StoreError> {
        let folder = self.record_folder(key);
        let path = folder.join(file_name(record));
        fsx::refuse_links(&self.root, &path).map_err(StoreError::io(&path))?;
        self.remove_fenced(&path, tmp)?;
        for (name, path) in entries(&folder)? {
            if name.starts_with(&record.to_hex()) && name.ends_with(".sig") {
                remove(&path)?;
            }
        }
        let left = list(&folder)?;
        // A marker without its record would look damaged.
        if left.is_empty() || Marker::read(&folder)? == Marker::Names(*record) {
            remove(&folder.join(MARKER))?;
        }
        if left.is_empty() {
            // Not empty: the folder holds files that are not the store's.
            let _ = calls::remove_dir(&folder);
        }
        Ok(())
    }

    /// Removes a record. Where locks are leases, not if another process has taken this one for dead, and
    /// so removed its folder `tmp`: the record may be in use again.
    fn remove_fenced(&self, path: &Path, tmp: &Path) -> Result<(), StoreError> {
        if !self.locks.reach_other_hosts() {
            return remove(path);
        }
        let aside = tmp.join(path.file_name().unwrap_or_default());
        match calls::rename(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && fsx::may_exist(path) => {
                Err(StoreError::io(tmp)(error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => {
                renamed.map_err(StoreError::io(path))?;
                remove(&aside)
            }
        }
    }

    /// Removes a blob unless another process has tried to write it since. A writer refreshes the
    /// blob's time and then checks that it is still in its place.
    fn remove_blob(
        &self,
        digest: &Digest,
        young: SystemTime,
        tmp: &Path,
    ) -> Result<(), StoreError> {
        let path = self.object_path(digest);
        let aside = tmp.join(format!("{digest}.gone"));
        fsx::refuse_links(&self.root, &path).map_err(StoreError::io(&path))?;
        match calls::rename(&path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(StoreError::io(&path))?,
        }
        let time = fsx::again(|| calls::symlink_metadata(&aside)?.modified());
        // A blob whose time is unknown may be in use, too.
        if !time.as_ref().is_ok_and(|time| *time < young) {
            fsx::rename(&aside, &path).map_err(StoreError::io(&path))?;
            return time.map(drop).map_err(StoreError::io(&path));
        }
        remove(&aside)
    }

    /// Removes markers of removed blobs that nothing references any more. A node that produces them
    /// again marks them again.
    fn remove_markers(&self, input: &GcInput, plan: &GcPlan) -> Result<(), StoreError> {
        let gone: HashSet<usize> = plan.outcomes.iter().copied().collect();
        let outcomes = input.inventory.outcomes.iter().enumerate();
        let stay = outcomes.filter(|(index, _)| !gone.contains(index));
        let ports = stay.flat_map(|(_, outcome)| outcome.record.ports.values());
        // This includes artifacts that are inline in their records.
        let mut named: HashSet<Digest> = ports.map(|port| port.digest).collect();
        named.extend(&plan.named);
        for (first, folder) in entries(&self.root.join(WITHHELD))? {
            for (rest, path) in entries(&folder)? {
                let name = match first.len() {
                    2 => format!("{first}{rest}"),
                    _ => rest,
                };
                let Ok(digest) = name.parse::<Digest>() else {
                    continue;
                };
                let stays = named.contains(&digest) || self.has(&digest);
                if !stays && is_old(&path, input.young) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Removes what can be recomputed or fetched again, unless it is in use.
    fn remove_piece(&self, piece: &Piece, young: SystemTime, tmp: &Path) -> Result<(), StoreError> {
        let path = &piece.path;
        match piece.kind {
            Transient::Derived | Transient::Damaged => return remove(path),
            Transient::Downloads | Transient::Environments => {}
        }
        match self.locks.try_acquire(&lock_of(path)) {
            Ok(Some(_held)) if piece.kind == Transient::Environments => {
                remove_environment(path, young, tmp)
            }
            Ok(Some(_held)) => remove(path),
            Ok(None) => Ok(()),
            Err(error) => Err(StoreError::io(path)(error)),
        }
    }
}

fn is_old(path: &Path, young: SystemTime) -> bool {
    let time = calls::symlink_metadata(path).and_then(|metadata| metadata.modified());
    time.is_ok_and(|time| time < young)
}

/// Removes an environment unless a node has begun to use it since the cleaning has looked. A node takes no
/// lock: it sets the time of the environment, and then looks whether it is still there.
fn remove_environment(path: &Path, young: SystemTime, tmp: &Path) -> Result<(), StoreError> {
    let is_used = |place: &Path| -> Result<bool, StoreError> {
        let found = piece(Transient::Environments, place.to_path_buf())?;
        Ok(found.is_some_and(|found| found.time >= young))
    };
    if is_used(path)? {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default();
    let aside = tmp.join(name).with_extension("gone");
    match calls::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(StoreError::io(path))?,
    }
    match is_used(&aside) {
        Ok(false) => remove(&aside),
        // An environment whose time is unknown may be in use, too.
        used => {
            fsx::rename(&aside, path).map_err(StoreError::io(path))?;
            used.map(drop)
        }
    }
}

/// The lock beside a download or an environment.
fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fsx::remove_tree(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(StoreError::io(path)),
    }
}
