//! Failures of the system, made for one process: a small library that is loaded before the C
//! library and stands in for some of its calls.

use std::path::PathBuf;
use std::process::Command;

use crate::space::TestSpace;

/// - `RIBFLOW_TEST_NO_FLOCK`: no file can be locked.
/// - `RIBFLOW_TEST_FULL`: no byte can be written below that folder.
/// - `RIBFLOW_TEST_READS_BELOW`: the first `RIBFLOW_TEST_READS_FAIL` reads of files below that folder
///   fail as those of a bad disk.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int below(int file, const char *variable) {
    const char *folder = getenv(variable);
    char link[64], path[PATH_MAX];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    size_t prefix = strlen(folder);
    return !strncmp(path, folder, prefix) && path[prefix] == '/';
}

int flock(int file, int operation) {
    static int (*next)(int, int);
    if (!next) next = dlsym(RTLD_NEXT, "flock");
    if (getenv("RIBFLOW_TEST_NO_FLOCK")) { errno = ENOLCK; return -1; }
    return next(file, operation);
}

ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "write");
    if (count && below(file, "RIBFLOW_TEST_FULL")) { errno = ENOSPC; return -1; }
    return next(file, bytes, count);
}

static int spent;

ssize_t read(int file, void *bytes, size_t count) {
    static ssize_t (*next)(int, void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "read");
    const char *times = getenv("RIBFLOW_TEST_READS_FAIL");
    if (times && below(file, "RIBFLOW_TEST_READS_BELOW")
        && __atomic_add_fetch(&spent, 1, __ATOMIC_SEQ_CST) <= atoi(times)) {
        errno = EIO;
        return -1;
    }
    return next(file, bytes, count);
}
"#;

/// The library, built in the space; `None`, with a line, where there is no C compiler or no such way
/// to load it. Under `RIBFLOW_TEST_ALL` that is a failure.
pub fn preloaded(space: &TestSpace) -> Option<PathBuf> {
    let source = space.write("shim.c", SHIM);
    let library = space.path("shim.so");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl");
    let built = cfg!(target_os = "linux") && compiler.status().is_ok_and(|status| status.success());
    assert!(
        built || std::env::var_os("RIBFLOW_TEST_ALL").is_none(),
        "no library can be built with `cc` to make calls fail"
    );
    if !built {
        println!("skipped: no library can be built with `cc` to make calls fail");
    }
    built.then_some(library)
}
