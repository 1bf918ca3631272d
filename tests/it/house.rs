//! The structure of the code, as the map in `src/lib.rs` states it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::imports::{Package, rust_files};

/// Who imports whom: every arrow between the modules of the map, and no other.
/// `ml` stands for the package `ribflow-ml`, whatever part of it is imported.
const IMPORTS: &[(&str, &str)] = &[
    (
        "cli",
        "bench ui engine remote stages report cluster fetch store workflow contract digest fsx process memory diag quantity ml",
    ),
    ("bench", "engine store workflow digest diag ml"),
    ("ui", "engine workflow contract digest diag quantity"),
    (
        "engine",
        "cluster remote stages store workflow contract digest fsx process memory diag quantity ml",
    ),
    (
        "report",
        "store workflow contract yaml digest fsx diag quantity ml",
    ),
    (
        "stages",
        "fetch store workflow contract digest fsx process diag ml",
    ),
    ("remote", "fetch store workflow yaml digest fsx diag"),
    ("cluster", "yaml fsx process diag quantity"),
    ("fetch", "digest fsx diag"),
    ("store", "contract digest fsx diag"),
    ("workflow", "contract yaml digest diag quantity"),
    ("contract", "digest"),
    ("yaml", "diag"),
    ("fsx", "digest"),
];

/// Circles inside a module that are not mended yet: the folder, its files, and why they need one
/// another. A circle may lose files; one that is gone must leave this list.
const CIRCLES: &[(&str, &str, &str)] = &[
    (
        "report",
        "relation verdict view",
        "the view carries the published values, and verdicts read the view",
    ),
    (
        "stages",
        "derived images model task",
        "a task's context offers derived work, which is made with a task's context",
    ),
    (
        "ml::data::mini_rib",
        "colour nature object things",
        "an object is drawn by the file of its group, from parts that `object` defines",
    ),
    (
        "ml::data::resize",
        "taps wide",
        "the weights are laid out for the kernel that reads them",
    ),
    (
        "ml::models",
        "config resnet vit",
        "a config names its family, and each family reads its part of the config",
    ),
    (
        "ml::ops",
        "convolution cpu elementwise linear precision tape",
        "kernels take the types of the operations that call them; the tape sums gradients",
    ),
    (
        "ml::ops::gpu",
        "cuda fused",
        "the kernels of a device take the types of the operations that call them",
    ),
    (
        "ml::ot",
        "cost exponents kernel near sweep",
        "the cost's layout in memory is that of the kernel that reads it",
    ),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn program() -> Package {
    Package::read(&source(), &["ml"])
}

/// `ribflow-ml`, a package of its own: the compiler ensures that it imports nothing of ours.
fn library() -> Package {
    Package::read(&source().join("ml"), &["build"])
}

/// The lines of the map in the head of `src/lib.rs`.
fn map() -> String {
    let head = fs::read_to_string(source().join("lib.rs")).unwrap();
    let (_, map) = head.split_once("```text\n").expect("src/lib.rs has a map");
    let (map, _) = map.split_once("//! ```").unwrap();
    let lines = map
        .lines()
        .map(|line| line.trim_start_matches("//!").trim());
    lines.map(|line| format!("{line}\n")).collect()
}

/// Each module of the map with its floor and its place on that floor.
fn places() -> BTreeMap<String, (usize, usize)> {
    let mut places = BTreeMap::new();
    for line in map().lines() {
        let (floor, rest) = line.split_once("  ").expect("a floor has a number");
        let (names, _) = rest.split_once("  ").expect("a floor has a description");
        for (room, name) in names.split(" · ").enumerate() {
            places.insert(name.to_string(), (floor.parse().unwrap(), room));
        }
    }
    places
}

fn package_of(name: &str) -> &str {
    match name {
        "isa" | "rng" | "ot" => "ml",
        other => other,
    }
}

#[test]
fn modules_import_whom_they_may() {
    let mut arrows: BTreeMap<(String, String), String> = BTreeMap::new();
    for import in program().imports {
        if let (Some(from), Some(to)) = (import.from.first(), import.to.first())
            && from != to
            && places().contains_key(package_of(to))
        {
            let place = format!("src/{}:{}", import.file, import.line);
            arrows.insert((from.clone(), package_of(to).to_string()), place);
        }
    }
    let listed: BTreeSet<(String, String)> = IMPORTS
        .iter()
        .flat_map(|(from, names)| {
            names
                .split(' ')
                .map(|to| (from.to_string(), to.to_string()))
        })
        .collect();
    let mut wrong = Vec::new();
    for ((from, to), place) in &arrows {
        if !listed.contains(&(from.clone(), to.clone())) {
            wrong.push(format!("{place}: `{from}` may not import `{to}`"));
        }
    }
    for (from, to) in &listed {
        if !arrows.contains_key(&(from.clone(), to.clone())) {
            wrong.push(format!(
                "`{from}` no longer imports `{to}`: remove it from IMPORTS"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_go_one_way() {
    let places = places();
    for (from, names) in IMPORTS {
        for to in names.split(' ') {
            let (above, below) = (places[*from], places[to]);
            let is_left = above.0 == below.0 && above.1 > below.1;
            assert!(
                above.0 > below.0 || is_left,
                "`{from}` imports `{to}`, which is not below it"
            );
        }
    }
}

#[test]
fn every_module_is_on_the_map() {
    let root = fs::read_to_string(source().join("lib.rs")).unwrap();
    let declared = root
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut declared: BTreeSet<String> = declared.map(str::to_string).collect();
    declared.insert("ml".to_string());
    assert_eq!(declared, places().into_keys().collect());
}

#[test]
fn architecture_shows_the_map() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains(&format!("```text\n{}```", map())),
        "ARCHITECTURE.md must contain the map of src/lib.rs:\n{}",
        map()
    );
}

#[test]
fn no_circles_inside_modules() {
    let mut wrong = Vec::new();
    let mut open: BTreeSet<(&str, &str)> = CIRCLES
        .iter()
        .map(|(folder, files, _)| (*folder, *files))
        .collect();
    let library = library().circles().into_iter();
    let library = library.map(|(folder, files)| (format!("ml::{folder}"), files));
    for (folder, files) in program().circles().into_iter().chain(library) {
        let known = CIRCLES.iter().find(|(known, names, _)| {
            *known == folder
                && files
                    .iter()
                    .all(|file| names.split(' ').any(|name| name == file))
        });
        match known {
            Some((folder, names, _)) => drop(open.remove(&(*folder, *names))),
            None => wrong.push(format!(
                "a circle in {folder}: {}",
                Vec::from_iter(files).join(" ")
            )),
        }
    }
    for (folder, files) in open {
        wrong.push(format!(
            "the circle in {folder} is gone ({files}): remove it from CIRCLES"
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_forgotten() {
    let tests = Package::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"), &[]);
    for package in [program(), library(), tests] {
        assert_eq!(
            package.forgotten(),
            Vec::<String>::new(),
            "no `mod` declares these files"
        );
    }
}

/// Everything else returns data or emits events.
#[test]
fn only_the_command_line_prints() {
    let mut wrong = Vec::new();
    for file in rust_files(&source()) {
        let relative = file.strip_prefix(source()).unwrap();
        if ["cli", "ui", "ml"].contains(&relative.iter().next().unwrap().to_str().unwrap()) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let prints = ["print!(", "println!(", "stdout()", "stderr()"];
        if prints.iter().any(|print| text.contains(print)) {
            wrong.push(relative.display().to_string());
        }
    }
    // A worker answers on its standard output, and says on standard error why it ends.
    wrong.retain(|file| file != "engine/worker.rs");
    assert_eq!(wrong, Vec::<String>::new());
}

/// `engine::decide` is a state machine: it reads no file, starts no process and has no clock.
#[test]
fn decisions_are_pure() {
    let decide = ["engine", "decide"];
    for import in program().imports {
        if import.from.starts_with(&decide.map(str::to_string)) {
            let allowed = ["digest", "workflow", "engine"];
            let to = import.to.first().map_or("", String::as_str);
            assert!(allowed.contains(&to), "{}:{}", import.file, import.line);
            assert!(
                to != "engine" || import.to[1] == "decide",
                "{}",
                import.file
            );
        }
    }
    for file in rust_files(&source().join("engine/decide")) {
        let text = fs::read_to_string(&file).unwrap();
        for outside in ["std::fs", "std::process", "std::time", "std::env", "tokio"] {
            assert!(!text.contains(outside), "{} uses {outside}", file.display());
        }
    }
}

/// YAML comes from strangers too, and serde_yaml's parser is unsafe code without a maintainer.
/// One module calls it, after the other reader has held every text to its limits.
#[test]
fn one_module_calls_the_readers_of_yaml() {
    let source = source();
    let mut callers: Vec<(&str, String)> = Vec::new();
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: String = code.collect();
        for reader in ["serde_yaml", "saphyr", "yaml_rust", "unsafe_libyaml"] {
            if code.contains(reader) {
                callers.push((reader, relative.clone()));
            }
        }
    }
    callers.sort();
    let allowed = [
        ("saphyr", "yaml/outline.rs"),
        ("serde_yaml", "yaml/tree/tests.rs"),
        ("serde_yaml", "yaml/values.rs"),
    ];
    let callers: Vec<(&str, &str)> = callers.iter().map(|(a, b)| (*a, b.as_str())).collect();
    assert_eq!(callers, allowed);
}

/// The files with `unsafe` code, and why they need it. Clippy asks for a reason at each block
/// (`undocumented_unsafe_blocks`).
const UNSAFE: &[(&str, &str)] = &[
    ("engine/worker.rs", "keeps the protocol's descriptor"),
    ("lib.rs", "a section that runs before `main`, in tests"),
    ("main.rs", "a section that runs before the first allocation"),
    ("memory.rs", "an option of the allocator, which is C"),
    (
        "ml/data/idct/simd.rs",
        "calls of functions for an instruction set",
    ),
    ("ml/data/jpeg.rs", "libjpeg-turbo, which is C"),
    ("ml/data/resize/wide.rs", "AVX-512 and AVX2"),
    ("ml/isa.rs", "a section that runs before `main`"),
    (
        "ml/isa/trap.rs",
        "a system call that hides instruction sets",
    ),
    (
        "ml/ops/cpu/convolution/winograd/transform.rs",
        "AVX-512 and AVX2",
    ),
    ("ml/ops/cpu/gemm.rs", "`gemm` takes raw pointers"),
    ("ml/ops/cpu/packed/dots.rs", "AVX-512 and AVX2"),
    ("ml/ops/cpu/packed/mod.rs", "AVX-512 and AVX2"),
    ("ml/ops/cpu/packed/pack.rs", "AVX-512"),
    ("ml/ops/cpu/packed/pack_avx2.rs", "AVX2"),
    ("ml/ops/cpu/packed/runs.rs", "AVX-512 and AVX2"),
    ("ml/ops/cpu/packed/segment.rs", "AVX-512 and AVX2"),
    ("ml/ops/cpu/packed/tile.rs", "AVX-512"),
    ("ml/ops/cpu/packed/tile_avx2.rs", "AVX2"),
    (
        "ml/ops/cpu/uninit.rs",
        "memory that a kernel writes before it is read",
    ),
    ("ml/ops/gpu/cuda/launch.rs", "kernels of the GPU"),
    ("ml/ot/prefetch.rs", "a hint to the processor"),
    ("process.rs", "a call between `fork` and `exec`"),
    (
        "stages/command/isolation/linux.rs",
        "system calls between `fork` and `exec`",
    ),
    ("store/derived_cache.rs", "maps a file"),
    ("store/packed.rs", "maps a file"),
];

#[test]
fn unsafe_code_is_in_named_files() {
    let mut found = BTreeSet::new();
    for file in rust_files(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        let words = |line: &str| -> bool {
            let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
            line.split(|letter: char| !is_letter(letter))
                .any(|word| word == "unsafe")
        };
        if code.into_iter().any(words) {
            let relative = file.strip_prefix(source()).unwrap();
            found.insert(relative.display().to_string());
        }
    }
    let listed = UNSAFE.iter().map(|(file, _)| file.to_string());
    assert_eq!(found, listed.collect());
}

/// Files that change no store: they read folders of the user's data, or write to the home folder.
const OUTSIDE_STORES: &[&str] = &[
    "remote/aws_profile.rs",
    "remote/keys.rs",
    "remote/projects.rs",
    "store/imagefolder.rs",
    "store/sources.rs",
    "store/walk.rs",
];

/// Tests make every call of `fsx::calls` fail; what calls the file system past it is not tested so.
#[test]
fn one_module_calls_the_file_system() {
    let source = source();
    let mut past = BTreeSet::new();
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).unwrap().display().to_string();
        let is_concerned = ["store/", "remote/", "engine/journal/", "fsx"]
            .iter()
            .any(|folder| relative.starts_with(folder));
        let is_layer = relative == "fsx/calls.rs" || relative.starts_with("fsx/faults/");
        if !is_concerned || is_layer || relative.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let (code, _) = text
            .split_once("#[cfg(test)]\nmod tests")
            .unwrap_or((&text, ""));
        let found = code.lines().any(calls_files);
        if found {
            past.insert(relative);
        }
    }
    let allowed: BTreeSet<String> = OUTSIDE_STORES.iter().map(|file| file.to_string()).collect();
    assert_eq!(past, allowed);
}

/// Whether a line calls a function of `std::fs`, `rustix::fs` or `tempfile`, or names their `File`.
fn calls_files(line: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with("//") {
        return false;
    }
    let calls = line.match_indices("fs::").any(|(at, _)| {
        let name = &line[at + 4..];
        let imports = name.starts_with('{') && line.contains("std::fs::{");
        name.starts_with(|letter: char| letter.is_ascii_lowercase())
            || name.starts_with("File::")
            || name.starts_with("File;")
            || name.starts_with("DirBuilder")
            || imports
                && ["self", "File", "DirBuilder"]
                    .iter()
                    .any(|it| imported(name).any(|name| name == *it))
    });
    calls || line == "use std::fs;" || line.contains("tempfile::")
}

/// The names of `{a, b}`.
fn imported(list: &str) -> impl Iterator<Item = &str> {
    let list = list.trim_start_matches('{');
    let (names, _) = list.split_once('}').unwrap_or((list, ""));
    names.split(", ")
}

/// Folders whose head lists every file. Elsewhere names of kinds and subcommands say enough.
#[test]
fn heads_list_the_files_of_their_folder() {
    for folder in ["store", "remote", "engine"] {
        let head = fs::read_to_string(source().join(folder).join("mod.rs")).unwrap();
        let (_, map) = head.split_once("```text\n").expect("the head has a map");
        let (map, _) = map.split_once("//! ```").unwrap();
        let columns = map.lines().filter_map(|line| {
            let line = line.trim_start_matches("//! ");
            let names = line.split("  ").filter(|column| !column.is_empty()).nth(1);
            names.map(|names| names.trim().split(' '))
        });
        let listed: BTreeSet<&str> = columns.flatten().collect();
        let declared = head.lines().filter_map(|line| {
            let (_, name) = line.strip_suffix(';')?.split_once("mod ")?;
            (!line.starts_with("//")).then_some(name)
        });
        assert_eq!(listed, declared.collect(), "src/{folder}/mod.rs");
    }
}
