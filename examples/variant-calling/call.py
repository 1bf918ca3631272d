"""Calls single-nucleotide variants from the pile of reads at each place, sample by sample."""

import collections
import csv
import json
import math
import os
import sys

parameters = json.load(open("params.json"))
genome = "".join(line.strip() for line in open(sys.argv[1]) if not line.startswith(">"))
rows, called = [], {}
for folder in sorted(os.listdir(sys.argv[2])):
    sample = folder.split("=")[1]
    pile = collections.defaultdict(collections.Counter)
    for line in open(f"{sys.argv[2]}/{folder}"):
        _, _, start, bases, _ = line.rstrip("\n").split("\t")
        for offset, base in enumerate(bases):
            pile[int(start) + offset][base] += 1
    for place in sorted(pile):
        base, count = pile[place].most_common(1)[0]
        depth = sum(pile[place].values())
        if depth >= parameters["depth"] and count >= parameters["share"] * depth and base != genome[place - 1]:
            # Phred-scaled, if a base is wrong once in a hundred reads.
            quality = round(-10 * count * math.log10(0.01))
            rows.append([sample, place, genome[place - 1], base, depth, quality])
    called[sample] = sum(1 for row in rows if row[0] == sample)
with open("out/variants.csv", "w", newline="") as out:
    csv.writer(out).writerows([["sample", "place", "reference", "variant", "depth", "quality"], *rows])
json.dump({"variants": {"value": len(rows)}, "called": called}, open("out/counts.json", "w"))
