"""What a node costs beside its command: thousands of commands that write one line, in an empty store.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install ninja
    cargo build --release
    /tmp/peers/bin/python benches/peers/nodes/nodes.py target/release/ribflow FOLDER [--nodes 1000] [--rounds 3]
    /tmp/peers/bin/python benches/peers/nodes/nodes.py target/release/ribflow FOLDER --calls

FOLDER is made if it is not there. Each round runs every case once, in turn, and prints milliseconds of
processor time (user and system, all processes) and of wall time for a node.

local     `ribflow run`, two cores
ninja     the same shell lines as edges of a ninja graph
joined N  a coordinator that runs no commands, and N workers with `--join`, on a store of leases; each worker
          has one core and the same folder for `--scratch`

`--calls` counts instead, with strace, the calls of one worker that name a path below the store, for a node,
and those of a worker that waits, for a second. Linux, strace.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

CALLS = (
    "open openat openat2 stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat mkdir "
    "mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat chmod fchmodat "
    "utimensat truncate statfs"
).split()


def main():
    arguments = parsed()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    ribflow = arguments.ribflow.absolute()
    written(folder, arguments.nodes, arguments.shell)
    if arguments.calls:
        counted(ribflow, folder, arguments.nodes)
        return
    cases = {"local": lambda: local(ribflow, folder), "ninja": lambda: ninja(folder)}
    for count in arguments.workers:
        cases[f"joined {count}"] = lambda count=count: joined(ribflow, folder, count)
    for _ in range(arguments.rounds):
        for name, run in cases.items():
            cpu, wall = measured(run)
            per_node = [1000 * seconds / arguments.nodes for seconds in (cpu, wall)]
            print(f"{name:10} CPU {per_node[0]:6.2f} ms   wall {per_node[1]:6.2f} ms", flush=True)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("ribflow", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=lambda text: [int(one) for one in text.split(",") if one], default=[1, 4, 16])
    parser.add_argument("--shell", choices=["sh", "bash"], default="sh")
    parser.add_argument("--calls", action="store_true")
    return parser.parse_args()


def written(folder, nodes, shell):
    """ninja runs `/bin/sh -c`; so does ribflow with `shell: sh`."""
    names = [f"{index:06}" for index in range(nodes)]
    listed = ", ".join(f'"{name}"' for name in names)
    (folder / "flow.yaml").write_text(
        f"""ribflow: 1
name: nodes
axes:
  part: [{listed}]
stages:
  line:
    each: [part]
    use: command
    with:
      run: "echo ${{part}} > out/line"
      shell: {shell}
      outputs: [line]
"""
    )
    edges = [f"build lines/{name}: line\n  part = {name}\n" for name in names]
    (folder / "build.ninja").write_text("rule line\n  command = echo $part > $out\n" + "".join(edges))


def emptied(folder):
    for name in ["store", "out", "scratch", "lines"]:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in [".ninja_log", ".ninja_deps"]:
        (folder / name).unlink(missing_ok=True)
    for name in ["scratch", "lines"]:
        (folder / name).mkdir()


def command(ribflow, folder, *more):
    return [ribflow, "run", "flow.yaml", "--store", folder / "store", "--out", folder / "out", "--quiet", *more]


def local(ribflow, folder):
    emptied(folder)
    return lambda: checked(command(ribflow, folder), folder)


def ninja(folder):
    emptied(folder)
    program = Path(sys.executable).parent / "ninja"
    program = program if program.exists() else "ninja"
    return lambda: checked([program], folder)


def joined(ribflow, folder, count):
    emptied(folder)
    subprocess.run([ribflow, "cache", "claims", "lease", "--store", folder / "store"], check=True, stdout=subprocess.DEVNULL)

    def run():
        coordinator = started(command(ribflow, folder, "--executor", "joined"), folder)
        workers = [started(worker(ribflow, folder), folder) for _ in range(count)]
        for process in [coordinator, *workers]:
            if process.wait():
                sys.exit(f"{process.args} ended with {process.returncode}")

    return run


def worker(ribflow, folder, *more):
    while not list((folder / "store/runs").glob("*/join.json")):
        time.sleep(0.05)
    scratch = ["--scratch", folder / "scratch"]
    return [ribflow, "worker", "--store", folder / "store", "--join", "--cpus", "1", *scratch, *more]


def started(words, folder):
    nothing = subprocess.DEVNULL
    return subprocess.Popen(words, cwd=folder, stdout=nothing, stderr=nothing)


def checked(words, folder):
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measured(prepared):
    run = prepared()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run()
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def counted(ribflow, folder, nodes):
    joined(ribflow, folder, 0)
    trace = folder / "trace"
    coordinator = started(command(ribflow, folder, "--executor", "joined"), folder)
    strace = ["strace", "-f", "-y", "-qq", "-o", trace, "-e", "trace=" + ",".join(f"?{name}" for name in CALLS)]
    checked([*strace, *worker(ribflow, folder)], folder)
    coordinator.wait()
    print(f"{calls(trace, folder / 'store') / nodes:.1f} calls for a node, all of a run of {nodes}")
    idle(ribflow, folder, strace, trace)


def idle(ribflow, folder, strace, trace):
    """A worker that waits while another one runs a node of a minute."""
    flow = (folder / "flow.yaml").read_text()
    (folder / "flow.yaml").write_text(re.sub(r"part: \[.*\]", 'part: ["waits"]', flow).replace("echo", "sleep 75; echo"))
    coordinator = started(command(ribflow, folder, "--executor", "joined"), folder)
    while len(list((folder / "store/runs").glob("*/join.json"))) < 2:
        time.sleep(0.05)
    first = started(worker(ribflow, folder), folder)
    time.sleep(3)
    second = started([*strace, *worker(ribflow, folder, "--idle", "70s")], folder)
    # It begins, and takes up its slowest pace.
    time.sleep(15)
    before, seconds = calls(trace, folder / "store"), 45
    time.sleep(seconds)
    after = calls(trace, folder / "store")
    print(f"{(after - before) / seconds:.2f} calls a second of a worker that waits")
    for process in [second, first, coordinator]:
        process.wait()


def calls(trace, store):
    with open(trace, errors="replace") as lines:
        return sum(names_path(line, str(store)) for line in lines)


def names_path(line, store):
    call = re.match(r"\d+ +(\w+)\((.*)", line)
    if not call or call[1] not in CALLS:
        return False
    # With -y, descriptors are followed by their paths. A call on a descriptor alone names no path.
    names = [name for name in re.findall(r'"([^"]*)"', call[2]) if name]
    descriptors = re.findall(r"<([^>]*)>", call[2].rsplit(" = ", 1)[0])
    return bool(names) and any(name.startswith(store) for name in names + descriptors)


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    main()
