//! The CUDA kernels run on the host (`tests/cuda`), against the same formulas in f64.

mod images;
mod networks;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use half::bf16;
use ribflow::rng::Stream;

/// Relative to the largest value of a result.
const FLOAT: f64 = 3e-6;
/// One rounding to bf16, of a value.
const HALF: f64 = 1.0 / 256.0;

/// The program that runs kernels; `None` where there is no compiler.
static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-kernels-on-host");
    let compiled = Command::new("g++")
        .args(["-O1", "-std=c++17", "-w", "-I"])
        .arg(root.join("tests/cuda"))
        .arg("-I")
        .arg(root.join("src/ml/ops/gpu/kernels"))
        .arg("-o")
        .arg(&program)
        .arg(root.join("tests/cuda/kernels.cpp"))
        .status();
    match compiled {
        Ok(status) => {
            assert!(status.success(), "the kernels don't compile");
            Some(program)
        }
        Err(_) => None,
    }
});

/// Numbers that a kernel is given or gives, as f32 or as bf16.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    F32,
    Bf16,
}

impl Stored {
    fn bytes(self, values: &[f64]) -> Vec<u8> {
        let encode = |value: &f64| match self {
            Self::F32 => (*value as f32).to_le_bytes().to_vec(),
            Self::Bf16 => bf16::from_f64(*value).to_le_bytes().to_vec(),
        };
        values.iter().flat_map(encode).collect()
    }

    fn values(self, bytes: &[u8]) -> Vec<f64> {
        match self {
            Self::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                words.map(|word| f32::from_le_bytes(*word).into()).collect()
            }
            Self::Bf16 => {
                let words = bytes.as_chunks::<2>().0.iter();
                words
                    .map(|word| bf16::from_le_bytes(*word).into())
                    .collect()
            }
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Values that this type holds exactly.
    fn random(self, name: &str, count: usize) -> Vec<f64> {
        let mut stream = Stream::new(0, name);
        let values: Vec<f64> = (0..count).map(|_| stream.range(-2.0, 2.0)).collect();
        self.values(&self.bytes(&values))
    }

    #[track_caller]
    fn check(self, what: &str, found: &[f64], exact: &[f64]) {
        assert_eq!(found.len(), exact.len(), "{what}");
        let top = exact
            .iter()
            .fold(1e-3_f64, |top, value| top.max(value.abs()));
        for (found, exact) in found.iter().zip(exact) {
            let most = match self {
                Self::F32 => FLOAT * top,
                Self::Bf16 => HALF * exact.abs() + FLOAT * top,
            };
            assert!(
                (found - exact).abs() <= most,
                "{what}: {found}, not {exact}"
            );
        }
    }
}

enum Given {
    Read(Vec<u8>),
    /// Written, or changed.
    Written(Vec<u8>),
    Integer(i32),
    Count(u64),
    Number(f32),
}

fn read(stored: Stored, values: &[f64]) -> Given {
    Given::Read(stored.bytes(values))
}

/// Filled with what no result may hold.
fn blank(stored: Stored, count: usize) -> Given {
    Given::Written(vec![0xff; count * stored.size()])
}

/// What kernel `name` leaves behind the pointers that it writes through.
fn run(name: &str, grid: [usize; 2], block: usize, given: &[Given]) -> Vec<Vec<u8>> {
    let program = PROGRAM.as_ref().expect("a compiler");
    let mut input = format!("{name} {} {} {block}\n", grid[0], grid[1]).into_bytes();
    let mut sizes = Vec::new();
    for one in given {
        match one {
            Given::Read(bytes) | Given::Written(bytes) => {
                input.extend((bytes.len() as u64).to_le_bytes());
                input.extend(bytes);
                if let Given::Written(bytes) = one {
                    sizes.push(bytes.len());
                }
            }
            Given::Integer(value) => input.extend(value.to_le_bytes()),
            Given::Count(value) => input.extend(value.to_le_bytes()),
            Given::Number(value) => input.extend(value.to_le_bytes()),
        }
    }
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{name}: {}", output.status);
    assert_eq!(output.stdout.len(), sizes.iter().sum::<usize>(), "{name}");
    let mut rest = output.stdout.as_slice();
    let take = |size: &usize| {
        let (taken, left) = rest.split_at(*size);
        rest = left;
        taken.to_vec()
    };
    sizes.iter().map(take).collect()
}

/// Under `RIBFLOW_TEST_ALL` a missing compiler is a failure, otherwise a line that says so.
fn can_run(test: &str) -> bool {
    let there = PROGRAM.is_some();
    assert!(
        there || std::env::var_os("RIBFLOW_TEST_ALL").is_none(),
        "g++ is not installed"
    );
    if !there {
        println!("skipped: {test}: g++ is not installed");
    }
    there
}

const BOTH: [Stored; 2] = [Stored::F32, Stored::Bf16];

/// The sums of the columns of `[chunks, width]`.
fn folded(parts: &[u8], chunks: usize, width: usize) -> Vec<f64> {
    let given = [
        Given::Read(parts.to_vec()),
        blank(Stored::F32, width),
        Given::Integer(chunks as i32),
        Given::Integer(width as i32),
    ];
    let sum = run("fold", [width.div_ceil(64), 1], 64, &given);
    Stored::F32.values(&sum[0])
}
