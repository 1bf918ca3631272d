"""Draws the qualities of the variants as a histogram."""

import collections
import csv
import sys

STEP = 20
qualities = [int(row["quality"]) // STEP for row in csv.DictReader(open(sys.argv[1]))]
counts = collections.Counter(qualities)
high = max(counts.values(), default=1)
bars = []
for place in range(max(counts, default=0) + 1):
    tall = 160 * counts[place] / high
    bars.append(f'<rect x="{20 + 24 * place}" y="{180 - tall:.1f}" width="20" height="{tall:.1f}" fill="#036"/>')
    bars.append(f'<text x="{20 + 24 * place}" y="195" font-size="10">{place * STEP}</text>')
print('<svg xmlns="http://www.w3.org/2000/svg" width="480" height="200">' + "".join(bars) + "</svg>")
