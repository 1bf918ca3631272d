//! Files made to cost more than they hold: each small, each past any limit of memory or time if
//! what is shared in it were copied.

use std::fs;

use super::{found, values, write::*};

/// Each pair of a dict: a name, and the value that `body` pushes.
fn many(count: usize, body: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let pairs = (0..count).flat_map(|at| [text(&format!("t{at}")), body(at)].concat());
    [b"}(".to_vec(), pairs.collect(), b"u".to_vec()].concat()
}

/// Pushes the value of `body` once, keeps it under `name` and takes it off.
fn kept(name: u8, body: Vec<u8>) -> Vec<u8> {
    [body, vec![b'q', name, b'0']].concat()
}

fn refused(body: Vec<u8>) -> String {
    found(zipped(&body, &[three(1.0)])).err().unwrap()
}

/// 300,000 arguments shared by 100,000 calls, as a call's own or as a shape: 3e10 copies.
#[test]
fn long_arguments_are_not_copied_for_each_call() {
    let long = kept(
        1,
        [b"(".to_vec(), b"K\x01".repeat(300_000), b"t".to_vec()].concat(),
    );
    let rebuild = kept(2, class("torch._utils._rebuild_tensor_v2"));
    let call = many(100_000, |_| b"h\x02h\x01R".to_vec());
    let error = refused([long.clone(), rebuild.clone(), call].concat());
    assert!(error.contains("its pickle describes no tensor"), "{error}");

    let storage = [
        text("storage"),
        class("torch.FloatStorage"),
        text("0"),
        text("cpu"),
        b"K\x03t".to_vec(),
    ];
    let storage = kept(3, [b"(".to_vec(), storage.concat()].concat());
    let call = many(100_000, |_| b"h\x02(h\x03QK\x00h\x01h\x01tR".to_vec());
    let error = refused([long, rebuild, storage, call].concat());
    assert!(error.contains("its pickle describes no tensor"), "{error}");
}

/// A name of a megabyte for the storage of 50,000 tensors: 50 GB.
#[test]
fn long_names_of_storages_are_not_copied_for_each_tensor() {
    let name = "n".repeat(1 << 20);
    let storage = [
        text("storage"),
        class("torch.FloatStorage"),
        text(&name),
        text("cpu"),
        b"K\x03t".to_vec(),
    ];
    let storage = kept(1, [b"(".to_vec(), storage.concat()].concat());
    let rebuild = kept(2, class("torch._utils._rebuild_tensor_v2"));
    let call = many(50_000, |_| {
        b"h\x02(h\x01QK\x00K\x03\x85K\x01\x85tR".to_vec()
    });
    let error = refused([storage, rebuild, call].concat());
    assert!(
        error.contains("names a storage in an unknown way"),
        "{error}"
    );
}

/// A dict of 200,000 pairs under 20,000 keys: 4e9 pairs to look through.
#[test]
fn a_wide_dict_under_many_keys_is_not_searched_for_each() {
    let wide = kept(1, many(200_000, |_| b"N".to_vec()));
    let error = refused([wide, many(20_000, |_| b"h\x01".to_vec())].concat());
    assert!(error.contains("there is no state dict in it"), "{error}");
}

/// A tensor of `count` floats from `offset` on, of a storage of 1,048,576.
fn view(offset: u32, count: u32) -> Vec<u8> {
    strided(offset, count, 1)
}

fn strided(offset: u32, count: u32, stride: u32) -> Vec<u8> {
    let number = |value: u32| [b"J".as_slice(), &value.to_le_bytes()].concat();
    [
        class("torch._utils._rebuild_tensor_v2"),
        b"((".to_vec(),
        text("storage"),
        class("torch.FloatStorage"),
        text("0"),
        text("cpu"),
        number(1 << 20),
        b"tQ".to_vec(),
        number(offset),
        number(count),
        b"\x85".to_vec(),
        number(stride),
        b"\x85\x89NtR".to_vec(),
    ]
    .concat()
}

/// Tied weights share one tensor however often they are named; different views of one storage are
/// copies, which are bounded by its size.
#[test]
fn views_of_one_storage_are_bounded() {
    let storage = bytes(&vec![1.0; 1 << 20]);
    let tied = many(200, |_| view(0, 1 << 20));
    let tied = found(zipped(&tied, std::slice::from_ref(&storage))).unwrap();
    assert_eq!(tied.tensors.len(), 200);
    assert_eq!(values(&tied.tensors, "t199").len(), 1 << 20);

    let slices = many(256, |at| view(at as u32 * 4096, 4096));
    let slices = found(zipped(&slices, std::slice::from_ref(&storage))).unwrap();
    assert_eq!(slices.tensors.len(), 256);

    let views = many(200, |at| view(at as u32, (1 << 20) - 200));
    let error = found(zipped(&views, &[storage])).err().unwrap();
    assert!(
        error.contains("times as large as their storages"),
        "{error}"
    );
}

/// Written by Python: a storage of 64 MiB of zeros in a ZipFile(…, ZIP_DEFLATED), 65 kB of file.
#[test]
fn a_compressed_archive_does_not_grow_without_bound() {
    let file = fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/checkpoints/zeros.deflated.pth"
    ));
    let error = found(file.unwrap()).err().unwrap();
    assert!(error.contains("times the size of the file"), "{error}");
}

/// A module of a megabyte in the names of 20,000 classes: 20 GB.
#[test]
fn long_names_of_classes_are_not_copied_for_each_class() {
    let module = kept(1, text(&"m".repeat(1 << 20)));
    let name = kept(2, text("C"));
    let classes = many(20_000, |_| b"h\x01h\x02\x93".to_vec());
    let error = refused([module, name, classes].concat());
    assert!(error.contains("malformed"), "{error}");
}

/// A list of 200,000 storages that are one name of a megabyte.
#[test]
fn a_list_of_storages_is_not_copied() {
    let list = [
        b"](".to_vec(),
        text(&"k".repeat(1 << 20)),
        b"2".repeat(200_000),
        b"e".to_vec(),
    ];
    let mut file = legacy(&dict(&[("a", floats("0"))]), &[]);
    let end = file.len() - pickle(b"](e").len();
    file.truncate(end);
    file.extend(pickle(&list.concat()));
    let error = found(file).err().unwrap();
    assert!(error.contains("storage"), "{error}");
}

/// `legacy` writes the number of elements before each storage; the pickle says 3.
#[test]
fn a_storage_of_another_length_than_its_tensors_say_is_refused() {
    let body = dict(&[("a", floats("0"))]);
    assert!(found(legacy(&body, &[("0", 3, three(1.0))])).is_ok());
    let error = found(legacy(&body, &[("0", 4, three(1.0))])).err().unwrap();
    assert!(error.contains("number of elements"), "{error}");
    let twice = [("0", 3, three(1.0)), ("0", 3, three(2.0))];
    let error = found(legacy(&body, &twice)).err().unwrap();
    assert!(error.contains("twice"), "{error}");
}

/// 1,000 tensors of two elements that are a whole storage apart.
#[test]
fn strided_views_count_with_what_is_between_their_elements() {
    let storage = bytes(&vec![1.0; 1 << 20]);
    let ends = many(1000, |at| strided(at as u32, 2, (1 << 20) - 1001));
    let error = found(zipped(&ends, &[storage])).err().unwrap();
    assert!(
        error.contains("times as large as their storages"),
        "{error}"
    );
}
