"""The time that a short command takes: ribflow beside git and ninja.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install ninja
    cargo build --release
    /tmp/peers/bin/python benches/peers/start/start.py target/release/ribflow [--rounds 50] [--only NAME]

Each round starts each program of a case once, in turn. The table has the least and the median wall
time in milliseconds, and the least processor time of the process and its children. Files are in a
temporary folder.

version   `--version`
validate  `ribflow validate workflows/mini-rib.yaml`, 495 nodes; `ninja -n` of 495 edges whose outputs exist;
          `git status` of this repository
done      one command that copies a file, its result present: `ribflow run`; ninja with the same
          edge; `git status` of a repository with that file
cold      the same with an empty store; ninja without the output and its log; a commit in a new
          repository of git
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
# A younger file or record is checked again by its content.
REST = 3

FLOW = """ribflow: 1
name: one
stages:
  copied:
    use: command
    with: { run: cp given.txt out/copy, files: [given.txt], outputs: [copy], shell: sh }
"""

NINJA = "rule copy\n  command = cp $in $out\nbuild copy: copy given.txt\n"


def main():
    arguments = parsed()
    # Before the first case changes the working folder.
    ribflow = arguments.ribflow.absolute()
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            if arguments.only in [None, name]:
                measure(name, case(ribflow, Path(folder) / name), arguments.rounds)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("ribflow", type=Path)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--only", choices=list(CASES))
    return parser.parse_args()


def measure(name, commands, rounds):
    figures = {program: [] for program in commands}
    for _ in range(rounds):
        for program, (before, command, folder) in commands.items():
            before()
            figures[program].append(timed(command, folder))
    for program, values in figures.items():
        wall, processor = ([1000 * value for value in column] for column in zip(*values))
        print(
            f"{name:9} {program:8} wall {min(wall):6.1f} ms (median {statistics.median(wall):6.1f})   "
            f"CPU {min(processor):6.1f} ms",
            flush=True,
        )


def timed(command, folder):
    os.chdir(folder)
    words = [str(word) for word in command]
    nothing = [(os.POSIX_SPAWN_OPEN, at, os.devnull, os.O_RDWR, 0) for at in range(3)]
    started = time.perf_counter()
    process = os.posix_spawnp(words[0], words, os.environ, file_actions=nothing)
    _, status, used = os.wait4(process, 0)
    wall = time.perf_counter() - started
    if status:
        sys.exit(f"{words} ended with {status}")
    return wall, used.ru_utime + used.ru_stime


def ninja():
    return Path(sys.executable).parent / "ninja"


def nothing():
    pass


def version(ribflow, _folder):
    programs = {"ribflow": ribflow, "git": "git", "ninja": ninja()}
    return {name: (nothing, [program, "--version"], REPOSITORY) for name, program in programs.items()}


def validate(ribflow, folder):
    folder.mkdir()
    edges = [f"build out{at}: copy given.txt\n" for at in range(495)]
    (folder / "build.ninja").write_text("rule copy\n  command = cp $in $out\n" + "".join(edges))
    (folder / "given.txt").write_text("given\n")
    subprocess.run([ninja()], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return {
        "ribflow": (nothing, [ribflow, "validate", "workflows/mini-rib.yaml"], REPOSITORY),
        "git": (nothing, ["git", "status"], REPOSITORY),
        "ninja": (nothing, [ninja(), "-n"], folder),
    }


def one(ribflow, folder):
    """The commands of one node in a folder of each program."""
    commands = {
        "ribflow": [ribflow, "run", "flow.yaml", "--store", "store", "--out", "report"],
        "git": ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--message", "one"],
        "ninja": [ninja()],
    }
    for name in commands:
        (folder / name).mkdir(parents=True)
        (folder / name / "given.txt").write_text("given\n")
    (folder / "ribflow/flow.yaml").write_text(FLOW)
    (folder / "ninja/build.ninja").write_text(NINJA)
    return commands


def renew_git(folder):
    shutil.rmtree(folder / ".git", ignore_errors=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "given.txt"], cwd=folder, check=True)


def done(ribflow, folder):
    commands = one(ribflow, folder)
    renew_git(folder / "git")
    # The second run sees files that have rested, and leaves the receipt that the third one reads.
    for name, times in [("git", 1), ("ninja", 1), ("ribflow", 3)]:
        for _ in range(times):
            time.sleep(REST)
            subprocess.run(commands[name], cwd=folder / name, check=True, stdout=subprocess.DEVNULL)
    commands["git"] = ["git", "status"]
    return {name: (nothing, command, folder / name) for name, command in commands.items()}


def cold(ribflow, folder):
    commands = one(ribflow, folder)

    def renew_ninja():
        for name in ["copy", ".ninja_log", ".ninja_deps"]:
            (folder / "ninja" / name).unlink(missing_ok=True)

    def renew_ribflow():
        for name in ["store", "report"]:
            shutil.rmtree(folder / "ribflow" / name, ignore_errors=True)

    before = {"ribflow": renew_ribflow, "git": lambda: renew_git(folder / "git"), "ninja": renew_ninja}
    return {name: (before[name], command, folder / name) for name, command in commands.items()}


CASES = {"version": version, "validate": validate, "done": done, "cold": cold}

if __name__ == "__main__":
    main()
