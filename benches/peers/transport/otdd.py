"""One measurement of microsoft/otdd: its Gaussian distance with its own defaults.

    python otdd.py CHECKOUT A B D CLASSES

CHECKOUT is a folder with its package `otdd` (github.com/microsoft/otdd at 72f1b22; it is on no
package index). A and B hold rows of D numbers in f32, classes in turn. Prints a line of JSON:
seconds from two datasets in memory to the distance, its value, and the peak of the process.

What today's packages no longer have is put back before it is imported: torch's `symeig`, an alias
of `linalg.eigh`; `geomloss.utils`; and the names of `torchtext`, of which this distance uses nothing.
"""

import importlib
import json
import logging
import os
import resource
import sys
import time
import types

os.environ.update({name: "2" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")})
# Threads that wait do not spin: on a busy machine they would take time from those that work.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import geomloss
import numpy as np
import torch

torch.set_num_threads(2)
logging.disable(logging.WARNING)


def put_back():
    torch.Tensor.symeig = lambda self, eigenvectors=False, upper=True: torch.linalg.eigh(self, UPLO="U")
    if not hasattr(np, "float_"):
        np.float_ = np.float64
    if not hasattr(geomloss, "utils"):
        geomloss.utils = importlib.import_module("geomloss._legacy.utils")
    for name in ("torchtext", "torchtext.data", "torchtext.data.utils", "torchtext.datasets"):
        sys.modules.setdefault(name, types.ModuleType(name))


def main():
    checkout, a, b, dimension, classes = sys.argv[1:]
    sys.path.insert(0, checkout)
    put_back()
    from otdd.pytorch.distance import DatasetDistance

    def read(path):
        points = np.fromfile(path, np.float32).reshape(-1, int(dimension))
        labels = torch.arange(len(points)) % int(classes)
        return torch.utils.data.TensorDataset(torch.from_numpy(points), labels)

    a, b = read(a), read(b)
    begin = time.perf_counter()
    found = DatasetDistance(a, b, inner_ot_method="gaussian_approx", device="cpu").distance(maxsamples=10000)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "value": float(found), "peak_kib": peak}))


main()
