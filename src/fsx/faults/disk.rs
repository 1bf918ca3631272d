//! A model of a folder on a disk: what is there, and what a power failure may leave of it.
//!
//! A name becomes durable when its folder is synced, bytes when their file is; nothing else orders
//! them. This promises less than the common file systems do.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Call, Step, Survives};

/// The path of an open file that the system itself resolves.
pub(super) fn handle_path(handle: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{handle}"))
}

/// A file or folder, under whatever names.
type Id = usize;
/// The folder at the top.
const TOP: Id = 0;
/// A name in a folder, and what it names.
type Names = BTreeMap<(Id, OsString), Id>;

#[derive(Debug)]
enum Node {
    Folder { mode: u32 },
    File(Bytes),
    Link { target: PathBuf },
}

#[derive(Debug)]
struct Bytes {
    /// Open since the file was created or written, so that its bytes can be read without its name.
    open: Option<File>,
    durable: Vec<u8>,
    written: bool,
    mode: u32,
    modified: SystemTime,
}

/// A change of names.
#[derive(Debug)]
struct Change {
    removed: Option<(Id, OsString)>,
    added: Option<((Id, OsString), Id)>,
    synced: bool,
}

impl Change {
    fn apply(&self, names: &mut Names) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, id)) = &self.added {
            names.insert(name.clone(), *id);
        }
    }

    fn concerns(&self, folder: Id) -> bool {
        let removed = self.removed.as_ref().map(|name| name.0);
        let added = self.added.as_ref().map(|(name, _)| name.0);
        removed == Some(folder) || added == Some(folder)
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    by_inode: HashMap<u64, Id>,
    /// The names as programs see them.
    live: Names,
    /// The names at the last sync of everything.
    durable: Names,
    /// The changes since, in their order.
    changes: Vec<Change>,
}

impl Disk {
    /// The folder at `root`, all of which counts as durable.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mode = fs::metadata(root)?.mode();
        let mut disk = Self {
            root: root.to_path_buf(),
            nodes: vec![Node::Folder { mode }],
            by_inode: HashMap::from([(fs::metadata(root)?.ino(), TOP)]),
            live: Names::new(),
            durable: Names::new(),
            changes: Vec::new(),
        };
        disk.read_folder(TOP, root)?;
        disk.durable = disk.live.clone();
        Ok(disk)
    }

    fn read_folder(&mut self, folder: Id, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let id = self.add(&entry.path(), false)?;
            self.live.insert((folder, entry.file_name()), id);
            if matches!(self.nodes[id], Node::Folder { .. }) {
                self.read_folder(id, &entry.path())?;
            }
        }
        Ok(())
    }

    /// The file or folder at `path`, as a new one or as one that was there from the start.
    fn add(&mut self, path: &Path, is_new: bool) -> io::Result<Id> {
        let metadata = fs::symlink_metadata(path)?;
        let known = self.by_inode.get(&metadata.ino());
        if let (false, Some(id)) = (is_new, known) {
            return Ok(*id);
        }
        let node = if metadata.is_dir() {
            let mode = metadata.mode();
            Node::Folder { mode }
        } else if metadata.is_symlink() {
            let target = fs::read_link(path)?;
            Node::Link { target }
        } else if metadata.is_file() {
            let open = is_new.then(|| File::open(path)).transpose()?;
            let durable = match is_new {
                true => Vec::new(),
                false => fs::read(path)?,
            };
            Node::File(Bytes {
                open,
                durable,
                written: is_new,
                mode: metadata.mode(),
                modified: metadata.modified()?,
            })
        } else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let id = self.nodes.len();
        self.nodes.push(node);
        self.by_inode.insert(metadata.ino(), id);
        Ok(id)
    }

    /// Notes a call that was made.
    pub fn note(&mut self, call: Call, step: &Step) -> io::Result<()> {
        match call {
            Call::Create | Call::MakeFolder => {
                if let Some(name) = self.name(&step.path) {
                    let id = self.add(&step.path, true)?;
                    self.change(None, Some((name, id)));
                }
            }
            Call::Remove => {
                let removed = self.name(&step.path);
                self.change(removed, None);
            }
            Call::Rename | Call::Link => self.note_new_name(call, step),
            Call::Write | Call::Truncate => {
                if let Some((id, path)) = self.opened(step)
                    && let Node::File(bytes) = &mut self.nodes[id]
                {
                    bytes.written = true;
                    if bytes.open.is_none() {
                        bytes.open = Some(File::open(path)?);
                    }
                }
            }
            Call::Sync => {
                if let Some((id, _)) = self.opened(step) {
                    self.sync(id)?;
                }
            }
            Call::SyncAll => self.sync_all()?,
            _ => {}
        }
        Ok(())
    }

    fn note_new_name(&mut self, call: Call, step: &Step) {
        let from = self.name(&step.path);
        let to = step.other.as_deref().and_then(|to| self.name(to));
        let id = from.as_ref().and_then(|from| self.live.get(from)).copied();
        let removed = from.filter(|_| call == Call::Rename);
        self.change(removed, to.zip(id));
    }

    fn change(&mut self, removed: Option<(Id, OsString)>, added: Option<((Id, OsString), Id)>) {
        let change = Change {
            removed,
            added,
            synced: false,
        };
        change.apply(&mut self.live);
        self.changes.push(change);
    }

    fn sync(&mut self, id: Id) -> io::Result<()> {
        match &mut self.nodes[id] {
            Node::File(bytes) => bytes.sync(),
            _ => {
                let changes = self.changes.iter_mut();
                changes
                    .filter(|change| change.concerns(id))
                    .for_each(|change| change.synced = true);
                Ok(())
            }
        }
    }

    fn sync_all(&mut self) -> io::Result<()> {
        for node in &mut self.nodes {
            if let Node::File(bytes) = node {
                bytes.sync()?;
            }
        }
        self.changes.clear();
        self.durable = self.live.clone();
        Ok(())
    }

    /// The folder and the last part of a path; `None` outside the root.
    fn name(&self, path: &Path) -> Option<(Id, OsString)> {
        let above = path.parent()?.strip_prefix(&self.root).ok()?;
        let folder = above.iter().try_fold(TOP, |folder, part| {
            self.live.get(&(folder, part.to_os_string())).copied()
        });
        Some((folder?, path.file_name()?.to_os_string()))
    }

    /// The open file of a call, and a path to open it again.
    fn opened(&self, step: &Step) -> Option<(Id, PathBuf)> {
        let path = handle_path(step.handle?);
        let inode = fs::metadata(&path).ok()?.ino();
        Some((*self.by_inode.get(&inode)?, path))
    }

    /// Paths that are there and should not be, or the reverse.
    pub fn strangers(&self) -> io::Result<Vec<PathBuf>> {
        let found = Self::read(&self.root)?;
        let (expected, found) = (self.paths(), found.paths());
        let differ = |(path, there): &(&PathBuf, &bool)| expected.get(*path) != Some(*there);
        let more = found.iter().filter(differ);
        let less = expected.keys().filter(|path| !found.contains_key(*path));
        Ok(more.map(|(path, _)| path).chain(less).cloned().collect())
    }

    /// Every path below the root, and whether it is a folder.
    fn paths(&self) -> BTreeMap<PathBuf, bool> {
        let mut paths = BTreeMap::new();
        let mut open = vec![(TOP, PathBuf::new())];
        while let Some((folder, path)) = open.pop() {
            for (name, id) in entries(&self.live, folder) {
                let path = path.join(name);
                let is_folder = matches!(self.nodes[id], Node::Folder { .. });
                if is_folder {
                    open.push((id, path.clone()));
                }
                paths.insert(path, is_folder);
            }
        }
        paths
    }

    /// Replaces the files by those that a power failure leaves.
    pub fn cut(mut self, survives: Survives) -> io::Result<()> {
        let mut chance = Chance(match survives {
            Survives::Some { seed } => seed,
            _ => 0,
        });
        let mut names = self.durable.clone();
        for change in &self.changes {
            let survived = match survives {
                Survives::Nothing => false,
                Survives::Names => true,
                Survives::Some { .. } => chance.of(2) == 0,
            };
            if change.synced || survived {
                change.apply(&mut names);
            }
        }
        for node in &mut self.nodes {
            if let Node::File(bytes) = node {
                bytes.cut(survives, &mut chance)?;
            }
        }
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        self.write_folder(&names, TOP, &self.root)
    }

    fn write_folder(&self, names: &Names, folder: Id, path: &Path) -> io::Result<()> {
        for (name, id) in entries(names, folder) {
            let path = path.join(name);
            match &self.nodes[id] {
                Node::Folder { mode } => {
                    fs::create_dir(&path)?;
                    fs::set_permissions(&path, Permissions::from_mode(*mode))?;
                    self.write_folder(names, id, &path)?;
                }
                Node::File(bytes) => bytes.write(&path)?,
                Node::Link { target } => std::os::unix::fs::symlink(target, &path)?,
            }
        }
        Ok(())
    }
}

fn entries(names: &Names, folder: Id) -> impl Iterator<Item = (&OsString, Id)> {
    let from = (folder, OsString::new());
    let range = names.range(from..(folder + 1, OsString::new()));
    range.map(|((_, name), id)| (name, *id))
}

impl Bytes {
    fn live(&self) -> io::Result<Vec<u8>> {
        use std::os::fd::AsRawFd;
        let mut bytes = Vec::new();
        if let Some(open) = &self.open {
            // Opened anew, which does not move the place of a reader.
            File::open(handle_path(open.as_raw_fd()))?.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.written {
            self.durable = self.live()?;
            self.written = false;
        }
        Ok(())
    }

    fn cut(&mut self, survives: Survives, chance: &mut Chance) -> io::Result<()> {
        if let Some(open) = &self.open {
            let metadata = open.metadata()?;
            self.mode = metadata.mode();
            self.modified = metadata.modified()?;
        }
        if let (true, Survives::Some { .. }) = (self.written, survives) {
            let live = self.live()?;
            let half = live.len() / 2;
            match chance.of(4) {
                0 => {}
                1 => self.durable = live,
                2 => self.durable = live[..half].to_vec(),
                // The length was written, and the bytes were not.
                _ => self.durable = vec![0; live.len()],
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(&self.durable)?;
        file.set_modified(self.modified)?;
        file.set_permissions(Permissions::from_mode(self.mode))
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn of(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % count
    }
}
