"""Maps reads to a genome: the place with the fewest mismatches among those that share a seed.

Prints a line for each mapped read: its name, its strand, its place (from 1), its bases on the forward
strand, and the number of mismatches.
"""

import collections
import sys

SEED = 12
MOST_MISMATCHES = 4

genome = "".join(line.strip() for line in open(sys.argv[1]) if not line.startswith(">"))
places = collections.defaultdict(list)
for at in range(len(genome) - SEED + 1):
    places[genome[at : at + SEED]].append(at)


def reverse_complement(bases):
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


def candidates(read):
    for strand, bases in [("+", read), ("-", reverse_complement(read))]:
        for offset in range(0, len(bases) - SEED + 1, SEED):
            for place in places[bases[offset : offset + SEED]]:
                start = place - offset
                if 0 <= start <= len(genome) - len(bases):
                    window = genome[start : start + len(bases)]
                    yield sum(a != b for a, b in zip(bases, window)), start, strand, bases


lines = open(sys.argv[2]).read().splitlines()
for name, read in zip(lines[0::4], lines[1::4]):
    found = min(candidates(read), default=None)
    if found and found[0] <= MOST_MISMATCHES:
        mismatches, start, strand, bases = found
        print(name[1:], strand, start + 1, bases, mismatches, sep="\t")
