"""Fits a naive Bayes classifier with Laplace smoothing."""

import json
import math
import sys

alpha = json.load(open("params.json"))["alpha"]
rows = json.load(open(f"{sys.argv[1]}/train.json"))
terms = len(json.load(open(f"{sys.argv[1]}/vocabulary.json")))
counts = [[alpha] * terms, [alpha] * terms]
posts = [0, 0]
for row in rows:
    posts[row["label"]] += 1
    for term, count in row["counts"]:
        counts[row["label"]][term] += count
totals = [sum(one) for one in counts]
weights = [
    math.log(counts[1][term] / totals[1]) - math.log(counts[0][term] / totals[0]) for term in range(terms)
]
bias = math.log(posts[1]) - math.log(posts[0])
json.dump({"bias": bias, "weights": weights}, open("out/model.json", "w"))
