//! The structure of a bundle's zip archive, read strictly. Anything that two zip readers could
//! interpret differently is rejected: a duplicate name, a local header that differs from the
//! central directory, bytes outside all entries, compression, links.

use crate::fsx::calls::File;
use std::io;
use std::os::unix::fs::FileExt;

/// More entries than a grid of a million cells needs.
const MOST_ENTRIES: u64 = 5_000_000;
/// The size limit of the central directory.
const MOST_DIRECTORY: u64 = 2 << 30;

const END: &[u8; 4] = b"PK\x05\x06";
const END_64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR_64: &[u8; 4] = b"PK\x06\x07";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const END_BYTES: u64 = 22;
const END_64_BYTES: u64 = 56;
const LOCATOR_64_BYTES: u64 = 20;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;

/// The number is in the extra field.
const ELSEWHERE_16: u64 = 0xffff;
const ELSEWHERE_32: u64 = 0xffff_ffff;
/// Extra fields: 64-bit numbers; times and owners, which are ignored.
const NUMBERS_64: u16 = 0x0001;
const IDLE_EXTRAS: [u16; 3] = [0x5455, 0x5855, 0x7875];
/// The only permitted flag: the name is UTF-8.
const UTF_8: u16 = 1 << 11;
const ENCRYPTED: u16 = 1;
const SIZES_BEHIND: u16 = 1 << 3;
/// File types in the upper half of the external attributes.
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
/// The DOS attributes of a folder and of a volume label.
const NOT_A_FILE: u32 = 0x18;

/// The location of an entry's bytes, and their CRC-32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub from: u64,
    pub bytes: u64,
    pub crc: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Format(String),
}

fn wrong<T>(why: impl Into<String>) -> Result<T, ArchiveError> {
    Err(ArchiveError::Format(why.into()))
}

/// The entries of the archive, in file order.
pub fn entries(file: &File) -> Result<Vec<Entry>, ArchiveError> {
    let length = file.metadata()?.len();
    let directory = Directory::find(file, length)?;
    if directory.entries > MOST_ENTRIES || directory.bytes > MOST_DIRECTORY {
        return wrong("it has too many entries");
    }
    // This can't exceed the file, which contains the end of the directory.
    let mut bytes = vec![0; directory.bytes as usize];
    file.read_exact_at(&mut bytes, directory.from)?;
    let mut rest = bytes.as_slice();
    let mut headers = Vec::new();
    while !rest.is_empty() {
        headers.push(Header::take(&mut rest)?);
    }
    if headers.len() as u64 != directory.entries {
        return wrong("the number of entries in its directory is wrong");
    }
    headers.sort_by_key(|header| header.at);
    let mut at = 0;
    let mut entries = Vec::with_capacity(headers.len());
    for header in headers {
        if header.at != at {
            return wrong("its entries overlap, or there are bytes between them");
        }
        let entry = header.entry(file, directory.from)?;
        at = entry.from + entry.bytes;
        entries.push(entry);
    }
    match at == directory.from {
        true => Ok(entries),
        false => wrong("there are bytes before its directory that belong to no entry"),
    }
}

/// The location of the central directory.
struct Directory {
    from: u64,
    bytes: u64,
    entries: u64,
}

impl Directory {
    fn find(file: &File, length: u64) -> Result<Self, ArchiveError> {
        const NO_ARCHIVE: &str = "it does not end like a zip archive";
        let Some(end_at) = length.checked_sub(END_BYTES) else {
            return wrong(NO_ARCHIVE);
        };
        let mut end = [0; END_BYTES as usize];
        file.read_exact_at(&mut end, end_at)?;
        let mut fields = Fields(&end);
        if fields.take(4)? != END || fields.u32()? != 0 {
            return wrong(NO_ARCHIVE);
        }
        let (here, entries) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
        let (bytes, from) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        if fields.u16()? != 0 || here != entries {
            return wrong(NO_ARCHIVE);
        }
        let short = Self {
            from,
            bytes,
            entries,
        };
        let is_whole =
            short.entries < ELSEWHERE_16 && short.bytes < ELSEWHERE_32 && short.from < ELSEWHERE_32;
        let (directory, directory_end) = match is_whole {
            true => (short, end_at),
            false => short.in_full(file, end_at)?,
        };
        match directory.from.checked_add(directory.bytes) == Some(directory_end) {
            true => Ok(directory),
            false => wrong("its directory is not at the stated offset"),
        }
    }

    /// The same with the 64-bit numbers of the record before the end, and the offset of that
    /// record.
    fn in_full(self, file: &File, end_at: u64) -> Result<(Self, u64), ArchiveError> {
        const NOT_THERE: &str = "the end of its directory is damaged";
        let bytes = END_64_BYTES + LOCATOR_64_BYTES;
        let Some(at) = end_at.checked_sub(bytes) else {
            return wrong(NOT_THERE);
        };
        let mut end = [0; (END_64_BYTES + LOCATOR_64_BYTES) as usize];
        file.read_exact_at(&mut end, at)?;
        let mut fields = Fields(&end);
        let is_end = fields.take(4)? == END_64 && fields.u64()? == END_64_BYTES - 12;
        // The versions that made it and that are needed to read it.
        fields.take(4)?;
        let is_one = fields.u64()? == 0;
        let (here, entries) = (fields.u64()?, fields.u64()?);
        let (bytes, from) = (fields.u64()?, fields.u64()?);
        let is_located = fields.take(4)? == LOCATOR_64
            && fields.u32()? == 0
            && fields.u64()? == at
            && fields.u32()? == 1;
        let agrees = |short: u64, long: u64, limit: u64| short == limit || short == long;
        let agree = agrees(self.entries, entries, ELSEWHERE_16)
            && agrees(self.bytes, bytes, ELSEWHERE_32)
            && agrees(self.from, from, ELSEWHERE_32);
        let full = Self {
            from,
            bytes,
            entries,
        };
        match is_end && is_one && here == entries && is_located && agree {
            true => Ok((full, at)),
            false => wrong(NOT_THERE),
        }
    }
}

/// An entry of the central directory.
struct Header {
    common: Common,
    at: u64,
}

/// The fields that are both in the directory and in the local header.
#[derive(PartialEq, Eq)]
struct Common {
    flags: u16,
    method: u16,
    /// Time and date.
    modified: u32,
    crc: u32,
    packed: u64,
    bytes: u64,
    name: Vec<u8>,
}

impl Header {
    fn take(rest: &mut &[u8]) -> Result<Self, ArchiveError> {
        let mut fields = Fields(rest);
        if fields.take(4)? != CENTRAL {
            return wrong("its directory is damaged");
        }
        // The versions that made it and that are needed to read it.
        fields.take(4)?;
        let mut common = Common::take(&mut fields)?;
        let (name, extra) = (fields.u16()?, fields.u16()?);
        let (comment, disk) = (fields.u16()?, fields.u16()?);
        // The flag for text.
        fields.u16()?;
        let attributes = fields.u32()?;
        let mut at = u64::from(fields.u32()?);
        common.name = fields.take(usize::from(name))?.to_vec();
        let extra = fields.take(usize::from(extra))?;
        let mut numbers = numbers_64(extra)?;
        for number in [&mut common.bytes, &mut common.packed, &mut at] {
            if *number == ELSEWHERE_32 {
                *number = numbers.u64()?;
            }
        }
        let shown = String::from_utf8_lossy(&common.name).into_owned();
        if comment != 0 || disk != 0 || !numbers.0.is_empty() {
            return wrong(format!("{shown:?}: its header is damaged"));
        }
        if !matches!((attributes >> 16) & TYPE, 0 | REGULAR) || attributes & NOT_A_FILE != 0 {
            return wrong(format!(
                "{shown:?} is a link, a folder or a device, not a file"
            ));
        }
        *rest = &rest[CENTRAL_BYTES + usize::from(name) + extra.len()..];
        common.check(&shown)?;
        Ok(Self { common, at })
    }

    /// The entry, after checking that the local header agrees.
    fn entry(self, file: &File, end: u64) -> Result<Entry, ArchiveError> {
        let name = String::from_utf8_lossy(&self.common.name).into_owned();
        let mut fixed = [0; LOCAL_BYTES];
        let past = |at: Option<u64>| at.filter(|at| *at <= end);
        let Some(fixed_end) = past(self.at.checked_add(LOCAL_BYTES as u64)) else {
            return wrong(format!("{name:?} is not where the directory says"));
        };
        file.read_exact_at(&mut fixed, self.at)?;
        let mut fields = Fields(&fixed);
        let is_local = fields.take(4)? == LOCAL;
        fields.u16()?;
        let mut common = Common::take(&mut fields)?;
        let (name_bytes, extra_bytes) = (fields.u16()?, fields.u16()?);
        let rest = usize::from(name_bytes) + usize::from(extra_bytes);
        let from = fixed_end + rest as u64;
        let mut variable = vec![0; rest];
        if past(Some(from)).is_none() {
            return wrong(format!("{name:?} claims more bytes than there are"));
        }
        file.read_exact_at(&mut variable, fixed_end)?;
        let extra = variable.split_off(usize::from(name_bytes));
        common.name = variable;
        let mut numbers = numbers_64(&extra)?;
        for number in [&mut common.bytes, &mut common.packed] {
            if *number == ELSEWHERE_32 {
                *number = numbers.u64()?;
            }
        }
        if !is_local || common != self.common {
            return wrong(format!(
                "{name:?} differs from what the directory says of it"
            ));
        }
        let bytes = common.bytes;
        match past(from.checked_add(bytes)) {
            Some(_) => Ok(Entry {
                name,
                from,
                bytes,
                crc: common.crc,
            }),
            None => wrong(format!("{name:?} claims more bytes than there are")),
        }
    }
}

impl Common {
    /// The fields from the flags to the sizes; the name comes later.
    fn take(fields: &mut Fields) -> Result<Self, ArchiveError> {
        Ok(Self {
            flags: fields.u16()?,
            method: fields.u16()?,
            modified: fields.u32()?,
            crc: fields.u32()?,
            packed: u64::from(fields.u32()?),
            bytes: u64::from(fields.u32()?),
            name: Vec::new(),
        })
    }

    fn check(&self, shown: &str) -> Result<(), ArchiveError> {
        let says = |why: &str| wrong(format!("{shown:?} {why}"));
        if self.method != 0 || self.packed != self.bytes {
            return says("is compressed");
        }
        if self.flags & ENCRYPTED != 0 {
            return says("is encrypted");
        }
        if self.flags & SIZES_BEHIND != 0 {
            return says("has its size after its data, not before");
        }
        if self.flags & !UTF_8 != 0 {
            return says("has flags that are not allowed in a bundle");
        }
        let is_read = match self.flags & UTF_8 {
            0 => self.name.is_ascii(),
            _ => std::str::from_utf8(&self.name).is_ok(),
        };
        match is_read {
            true => Ok(()),
            false => says("has a name that is not UTF-8"),
        }
    }
}

/// The 64-bit numbers in an extra field; empty if there are none.
fn numbers_64(extra: &[u8]) -> Result<Fields<'_>, ArchiveError> {
    let mut fields = Fields(extra);
    let mut numbers = None;
    while !fields.0.is_empty() {
        let (id, bytes) = (fields.u16()?, fields.u16()?);
        let content = fields.take(usize::from(bytes))?;
        match id {
            NUMBERS_64 if numbers.is_none() => numbers = Some(Fields(content)),
            id if IDLE_EXTRAS.contains(&id) => {}
            _ => return wrong("an entry has an extra field that is not allowed in a bundle"),
        }
    }
    Ok(numbers.unwrap_or(Fields(&[])))
}

/// Reads little-endian numbers in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ArchiveError> {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => wrong("it ends inside a header"),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u16(&mut self) -> Result<u16, ArchiveError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ArchiveError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ArchiveError> {
        self.array().map(u64::from_le_bytes)
    }
}
