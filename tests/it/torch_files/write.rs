//! Files of `torch.save`, byte by byte.

/// What a file from before PyTorch 1.6 begins with: a magic number and a protocol, both pickled.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// A text as Python 2 pickles it.
pub fn short(text: &str) -> Vec<u8> {
    [b"U", [text.len() as u8].as_slice(), text.as_bytes()].concat()
}

/// A text as Python 3 does.
pub fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", length.as_slice(), text.as_bytes()].concat()
}

pub fn class(name: &str) -> Vec<u8> {
    let (module, name) = name.rsplit_once('.').unwrap();
    format!("c{module}\n{name}\n").into_bytes()
}

/// The tensor of a whole storage of `count` elements.
pub fn tensor(rebuild: &str, storage: &str, key: &str, count: u8, more: &[u8]) -> Vec<u8> {
    [
        class(&format!("torch._utils.{rebuild}")),
        b"((".to_vec(),
        text("storage"),
        class(storage),
        text(key),
        text("cpu"),
        vec![
            b'K', count, b't', b'Q', b'K', 0, b'K', count, 0x85, b'K', 1, 0x85,
        ],
        more.to_vec(),
        b"tR".to_vec(),
    ]
    .concat()
}

/// Three floats as `_rebuild_tensor_v2` makes them.
pub fn floats(key: &str) -> Vec<u8> {
    tensor("_rebuild_tensor_v2", "torch.FloatStorage", key, 3, b"\x89N")
}

pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter();
    let entries: Vec<u8> = entries
        .flat_map(|(name, value)| [text(name), value.clone()].concat())
        .collect();
    [b"}(".to_vec(), entries, b"u".to_vec()].concat()
}

pub fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02".as_slice(), body, b"."].concat()
}

pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_le_bytes()).collect()
}

pub fn three(value: f32) -> Vec<u8> {
    bytes(&[value; 3])
}

/// The format from before PyTorch 1.6, with storages of `count` elements each.
pub fn legacy(body: &[u8], storages: &[(&str, u64, Vec<u8>)]) -> Vec<u8> {
    let keys = storages.iter().flat_map(|(key, ..)| text(key));
    let keys = [b"](".to_vec(), keys.collect(), b"e".to_vec()].concat();
    let behind = storages.iter();
    let behind: Vec<u8> = behind
        .flat_map(|(_, count, bytes)| [count.to_le_bytes().as_slice(), bytes].concat())
        .collect();
    [MAGIC.to_vec(), pickle(body), pickle(&keys), behind].concat()
}

/// An archive as PyTorch's writer lays it out: contents at multiples of 64, a data descriptor
/// behind each, and an end in the 64-bit form.
pub fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for (name, content) in entries {
        let begin = file.len() as u32;
        let size = (content.len() as u32).to_le_bytes();
        let checks = [&crc32fast::hash(content).to_le_bytes(), &size, &size].map(|it| it.to_vec());
        let checks = checks.concat();
        let name_length = (name.len() as u16).to_le_bytes();
        let padding = 63 - (file.len() + 30 + name.len() + 4 + 63) % 64;
        file.extend(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0");
        file.extend([0; 12]);
        file.extend(name_length);
        file.extend((padding as u16 + 4).to_le_bytes());
        file.extend(name.bytes());
        file.extend(b"FB");
        file.extend((padding as u16).to_le_bytes());
        file.extend(vec![b'Z'; padding]);
        assert_eq!(file.len() % 64, 0);
        file.extend(content);
        file.extend(b"PK\x07\x08");
        file.extend(&checks);
        directory.extend(b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0");
        directory.extend(&checks);
        directory.extend(name_length);
        directory.extend([0; 12]);
        directory.extend(begin.to_le_bytes());
        directory.extend(name.bytes());
    }
    let (begin, size) = (file.len() as u64, directory.len() as u64);
    let count = (entries.len() as u64).to_le_bytes();
    file.extend(&directory);
    let end = file.len() as u64;
    file.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x1e\x03\x2d\0\0\0\0\0\0\0\0\0");
    file.extend([count, count, size.to_le_bytes(), begin.to_le_bytes()].concat());
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(end.to_le_bytes());
    file.extend(b"\x01\0\0\0PK\x05\x06\0\0\0\0");
    file.extend([&count[..2], &count[..2], &size.to_le_bytes()[..4]].concat());
    file.extend(&begin.to_le_bytes()[..4]);
    file.extend([0; 2]);
    file
}

/// The entries of an archive in PyTorch's order.
pub fn entries(stem: &str, body: &[u8], storages: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let mut entries = vec![
        ("data.pkl".to_string(), pickle(body)),
        (".format_version".to_string(), b"1".to_vec()),
        (".storage_alignment".to_string(), b"64".to_vec()),
        ("byteorder".to_string(), b"little".to_vec()),
    ];
    let storages = storages.iter().enumerate();
    entries.extend(storages.map(|(key, bytes)| (format!("data/{key}"), bytes.clone())));
    entries.push(("version".to_string(), b"3\n".to_vec()));
    entries.push((".data/serialization_id".to_string(), vec![b'0'; 40]));
    let named = entries.into_iter();
    named
        .map(|(name, bytes)| (format!("{stem}/{name}"), bytes))
        .collect()
}

pub fn zipped(body: &[u8], storages: &[Vec<u8>]) -> Vec<u8> {
    archive(&entries("archive", body, storages))
}
