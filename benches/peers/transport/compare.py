"""Optimal transport beside the public packages, in one interleaved run.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install numpy torch pot geomloss jax ott-jax
    cargo build --release --bench transport
    /tmp/peers/bin/python benches/peers/transport/compare.py target/release/deps/transport-* [--rounds 3] [--otdd DIR]

Every round measures each program once, in turn; the output has medians, and the median and the least of
the ratios of one round. Two threads everywhere. Data: ten Gaussian classes in 768 dimensions, f32.
Costs are made before the clock starts where both programs take one.

An iteration updates both potentials, in every program: ribflow's by one pass that moves both at
once, ott-jax's and POT's by one half after the other, two passes.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.update({name: "2" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")})
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads=2"
os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np
import ot
import torch

torch.set_num_threads(2)
D = 768


def data(seed, count, classes):
    centres = 0.7 * np.random.default_rng(0).standard_normal((classes, D))
    labels = np.arange(count) % classes
    noise = 0.7 * np.random.default_rng(seed).standard_normal((count, D))
    return (centres[labels] + noise).astype(np.float32)


def ours(binary, task, files, count):
    command = [binary, "peer", task, *files, str(D), str(count)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found["seconds"], found["value"], found["peak_kib"] / 1024


def clock(work):
    begin = time.perf_counter()
    value = work()
    return time.perf_counter() - begin, float(value), None


def pot_exact(x, y, threads):
    n = len(x)
    cost = ot.dist(x.astype(np.float64), y.astype(np.float64))
    uniform = np.full(n, 1 / n)
    return clock(lambda: ot.emd2(uniform, uniform, cost, numItermax=10**8, numThreads=threads))


def per_iteration(found, iterations):
    seconds, value, memory = found
    return seconds / iterations, value, memory


def pot_sinkhorn(x, y, iterations, dtype):
    n = len(x)
    cost = ot.dist(x.astype(dtype), y.astype(dtype))
    uniform = np.full(n, 1 / n, dtype)
    work = lambda: ot.bregman.sinkhorn_log(
        uniform, uniform, cost, 1.0, numItermax=iterations, stopThr=0, warn=False
    ).sum()
    return per_iteration(clock(work), iterations)


def pot_sinkhorn_torch(x, y, iterations):
    n = len(x)
    cost = torch.cdist(torch.from_numpy(x), torch.from_numpy(y)) ** 2
    uniform = torch.full((n,), 1 / n)
    work = lambda: ot.bregman.sinkhorn_log(
        uniform, uniform, cost, 1.0, numItermax=iterations, stopThr=0, warn=False
    ).sum()
    return per_iteration(clock(work), iterations)


def geomloss_sinkhorn(x, y):
    """Its loop at a fixed cost; an iteration updates both potentials, as everywhere here."""
    from geomloss import SamplesLoss

    x, y = torch.from_numpy(x), torch.from_numpy(y)
    spread = float((torch.cat([x, y]).max(0)[0] - torch.cat([x, y]).min(0)[0]).norm())
    steps = 2 + len(np.arange(2 * np.log(spread), 0.0, 2 * np.log(0.9))) + 1
    loss = SamplesLoss("sinkhorn", p=2, blur=1.0, scaling=0.9, debias=False, backend="tensorized")
    with torch.no_grad():
        return per_iteration(clock(lambda: loss(x, y)), steps)


def ott_sinkhorn(x, y, iterations):
    import jax
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    cost = jax.numpy.asarray(ot.dist(x, y))
    solver = sinkhorn.Sinkhorn(
        lse_mode=True, threshold=-1.0, min_iterations=iterations, max_iterations=iterations
    )
    solve = jax.jit(
        lambda cost: solver(
            linear_problem.LinearProblem(geometry.Geometry(cost_matrix=cost, epsilon=1.0))
        ).f.sum()
    )
    solve(cost).block_until_ready()
    return per_iteration(clock(lambda: solve(cost).block_until_ready()), iterations)


def otdd(checkout, files, classes, limit):
    """microsoft/otdd in a process of its own; one that takes longer is given `limit` seconds."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "otdd.py")
    command = [sys.executable, script, checkout, *files, str(D), str(classes)]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit).stdout
    except subprocess.TimeoutExpired:
        return limit, math.nan, None
    found = json.loads(found.strip().splitlines()[-1])
    return found["seconds"], found["value"], found["peak_kib"] / 1024


def written(folder, name, *sides):
    """Points as files that other programs read."""
    files = []
    for side, points in zip("ab", sides):
        files.append(f"{folder}/{side}{name}")
        points.tofile(files[-1])
    return files


def compare(task, programs, rounds):
    """Every program once a round, in turn; prints medians, and the ratio to ribflow's."""
    found = {name: [] for name in programs}
    for _ in range(rounds):
        for name, measure in programs.items():
            try:
                found[name].append(measure())
            except Exception as error:
                print(f"{task}, {name}: {error}", file=sys.stderr)
    base = found["ribflow"]
    print(f"\n{task} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
    for name, runs in found.items():
        if not runs:
            continue
        seconds = statistics.median(each[0] for each in runs)
        least = min(each[0] for each in runs)
        # Of one round each, so that what else the machine does falls on both.
        ratios = [each[0] / own[0] for each, own in zip(runs, base)]
        memory = f"  peak {runs[0][2]:.0f} MiB" if runs[0][2] else ""
        print(
            f"  {name:<28} {1e3 * seconds:10.2f} ms (least {1e3 * least:.2f})  x{statistics.median(ratios):8.2f}"
            f" (least {min(ratios):.2f})  value {runs[0][1]:.9g}{memory}",
            flush=True,
        )


def unlabelled(binary, folder, n, rounds):
    x, y = data(1, n, 10), data(2, n, 10)
    files = written(folder, n, x, y)
    iterations = 20 if n < 5000 else 5
    programs = {
        "ribflow": lambda: ours(binary, "exact", files, 0),
        "POT emd2": lambda: pot_exact(x, y, 1),
        "POT emd2, 2 threads": lambda: pot_exact(x, y, 2),
    }
    compare(f"exact W2, n = {n}", programs, rounds)
    if n < 2000:
        return
    programs = {
        "ribflow": lambda: ours(binary, "sinkhorn", files, 100),
        "ott-jax f32": lambda: ott_sinkhorn(x, y, 20),
        "geomloss tensorized f32": lambda: geomloss_sinkhorn(x, y),
        "POT sinkhorn_log f32": lambda: pot_sinkhorn(x, y, iterations, np.float32),
        "POT sinkhorn_log torch f32": lambda: pot_sinkhorn_torch(x, y, iterations),
        "POT sinkhorn_log f64": lambda: pot_sinkhorn(x, y, iterations, np.float64),
    }
    compare(f"Sinkhorn in the log domain, an iteration, n = {n}", programs, rounds)


def labelled(binary, folder, classes, n, options):
    files = written(folder, f"{classes}classes", data(1, n, classes), data(2, n, classes))
    programs = {"ribflow": lambda: ours(binary, "otdd_reference", files, classes)}
    if options.otdd:
        programs["microsoft/otdd"] = lambda: otdd(options.otdd, files, classes, options.limit)
    compare(f"OTDD, mode reference, {classes} classes, n = {n}", programs, options.rounds if classes < 50 else 1)
    for task in ("otdd_exact", "otdd_converged"):
        compare(f"{task}, {classes} classes, n = {n}", {"ribflow": lambda: ours(binary, task, files, classes)}, 1)


def large(binary, folder):
    files = written(folder, "large", data(1, 20000, 10), data(2, 20000, 10))
    programs = {"ribflow": lambda: ours(binary, "sinkhorn", files, 20)}
    compare("Sinkhorn in the log domain, an iteration, n = 20000", programs, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 2000, 5000])
    parser.add_argument("--classes", type=int, nargs="*", default=[10, 100])
    parser.add_argument("--otdd", metavar="DIR", help="a checkout of microsoft/otdd, which is on no package index")
    parser.add_argument("--limit", type=float, default=900, help="seconds that one of its runs may take")
    options = parser.parse_args()
    binaries = [path for path in options.binary if os.access(path, os.X_OK) and not path.endswith(".d")]
    binary = max(binaries, key=os.path.getmtime)
    with tempfile.TemporaryDirectory() as folder:
        for n in options.sizes:
            unlabelled(binary, folder, n, options.rounds)
        for classes in options.classes:
            labelled(binary, folder, classes, 2000, options)
        large(binary, folder)


main()
