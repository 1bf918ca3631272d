"""What it costs to find that there is nothing to do: millions of input files, and ninja's own case.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install ninja
    cargo build --release
    /tmp/peers/bin/python benches/peers/noop/noop.py target/release/ribflow FOLDER [--before OLDER] [--rounds 5] [--only NAME]

FOLDER is made if it is not there and kept, so that a second call measures at once; it takes some 3 GB
and 200,000 inodes, and is to be removed by hand. Every round starts each program once, in turn. The
output is the least and the median of user and system seconds of the process and its children, and of
wall time. `--before` measures another build of ribflow beside this one.

small     100,000 files of 10,000 bytes in 100 class folders: `run` with nothing to do
cold      the same, hashed (in the page cache), with a dataset made of them: `run` in a new store
hashed    the same, hashed alone: `lock` in a new store
million   4,000,000 files in 400 class folders, hard links to 4,000 files of 300 bytes: `run` with
          nothing to do
sealed    the same with `sealed: true`
commands  10,000 `command` nodes that each copy a file, report.html and results.json written: `run`
          with nothing to do
ninja     the same copies as edges of a ninja graph
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

CASES = ["small", "cold", "hashed", "million", "sealed", "commands", "ninja"]
# Younger files than two seconds are hashed again.
REST = 3


def main():
    arguments = parsed()
    root = arguments.folder.absolute()
    cases = [arguments.only] if arguments.only else CASES
    programs = {"now": arguments.ribflow.absolute()}
    if arguments.before:
        programs["before"] = arguments.before.absolute()
    for case in cases:
        runs = prepared(root, case, programs)
        figures = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, (before, command, folder) in runs.items():
                before()
                figures[name].append(measured(command, folder))
        for name, rounds in figures.items():
            print(f"{case:9} {name:7} {shown(rounds)}", flush=True)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("ribflow", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=CASES)
    return parser.parse_args()


def prepared(root, case, programs):
    """For each program: what to do before, its command line and its folder."""
    if case == "ninja":
        folder = commands(root)
        ninja = [Path(sys.executable).parent / "ninja"]
        warm(ninja, folder, 1)
        return {"ninja": (lambda: None, ninja, folder)}
    make = {"million": linked, "sealed": linked, "commands": commands}.get(case, written)
    folder = make(root)
    # A lock beside a workflow is read by its runs.
    file = {"sealed": "sealed.yaml", "hashed": "hashed.yaml"}.get(case, "flow.yaml")
    runs = {}
    for name, program in programs.items():
        if case == "sealed" and name == "before":
            continue  # It does not know the word.
        store = folder / f"store-{name}"
        run = [program, "run", file, "--store", store, "--out", folder / f"out-{name}", "--quiet"]
        if case in ["cold", "hashed"]:
            empty = folder / f"empty-{name}"
            command = run if case == "cold" else [program, "lock", file, "--update", "--quiet"]
            command = [*command, "--store", empty] if case == "hashed" else swapped(run, store, empty)
            runs[name] = (lambda empty=empty: shutil.rmtree(empty, ignore_errors=True), command, folder)
        else:
            # The second run sees what has rested, the third one takes it from there.
            warm(run, folder, 3)
            runs[name] = (lambda: None, run, folder)
    return runs


def swapped(command, old, new):
    return [new if word == old else word for word in command]


def warm(command, folder, times):
    for _ in range(times):
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        time.sleep(REST)


def measured(command, folder):
    started = time.monotonic()
    with open(os.devnull, "w") as nothing:
        process = subprocess.Popen(command, cwd=folder, stdout=nothing, stderr=nothing)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} ended with {status}")
    return used.ru_utime + used.ru_stime, time.monotonic() - started, used.ru_maxrss // 1024


def shown(figures):
    cpu, wall, memory = zip(*figures)
    return (
        f"CPU {min(cpu):7.3f} s (median {statistics.median(cpu):7.3f})   "
        f"wall {min(wall):7.3f} s (median {statistics.median(wall):7.3f})   {max(memory)} MiB"
    )


FLOW = """ribflow: 1
name: {name}
stages:
  pictures:
    use: dataset
    with: {{ folder: images, share: true{more} }}
"""


def described(folder):
    (folder / "flow.yaml").write_text(FLOW.format(name="pictures", more=""))
    (folder / "hashed.yaml").write_text(FLOW.format(name="hashed", more=""))
    (folder / "sealed.yaml").write_text(FLOW.format(name="sealed", more=", sealed: true"))


def written(root):
    folder = root / "written"
    if not (folder / "done").exists():
        for at in range(100):
            images = folder / f"images/class{at:04}"
            images.mkdir(parents=True, exist_ok=True)
            for index in range(1000):
                (images / f"image{index:06}.jpg").write_bytes(os.urandom(10_000))
        finished(folder)
    return folder


def linked(root):
    folder = root / "linked"
    if not (folder / "done").exists():
        pool = folder / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        for index in range(4000):
            (pool / f"{index:05}").write_bytes(os.urandom(300))
        number = 0
        for at in range(400):
            images = folder / f"images/class{at:04}"
            images.mkdir(parents=True, exist_ok=True)
            for index in range(10_000):
                os.link(pool / f"{number % 4000:05}", images / f"image{index:06}.jpg")
                number += 1
        finished(folder)
    return folder


def finished(folder):
    described(folder)
    (folder / "done").touch()
    time.sleep(REST)


def commands(root):
    folder = root / "commands"
    if not (folder / "done").exists():
        (folder / "in").mkdir(parents=True, exist_ok=True)
        names = [f"{index:05}" for index in range(10_000)]
        for name in names:
            (folder / f"in/{name}.txt").write_text(f"input {name}\n")
        copies = [f"build copied/{name}.txt: copy in/{name}.txt\n" for name in names]
        (folder / "build.ninja").write_text("rule copy\n  command = cp $in $out\n" + "".join(copies))
        listed = ", ".join(f'"{name}"' for name in names)
        (folder / "flow.yaml").write_text(
            f"""ribflow: 1
name: commands
axes:
  part: [{listed}]
stages:
  copied:
    each: [part]
    use: command
    with:
      run: "cp ${{part}}.txt out/copy"
      files: ["in/${{part}}.txt"]
      outputs: [copy]
"""
        )
        (folder / "done").touch()
    return folder


if __name__ == "__main__":
    main()
