"""Accuracy, average precision and area under the ROC curve, on training and test posts."""

import csv
import json
import sys

model = json.load(open(sys.argv[1]))


def scored(name):
    rows = json.load(open(f"{sys.argv[2]}/{name}.json"))
    score = lambda row: model["bias"] + sum(model["weights"][term] * count for term, count in row["counts"])
    return sorted(((score(row), row["label"]) for row in rows), reverse=True)


def average_precision(ranked):
    hits, total = 0, 0.0
    for place, (_, label) in enumerate(ranked, 1):
        if label:
            hits += 1
            total += hits / place
    return total / max(hits, 1)


def roc(ranked):
    positives = sum(label for _, label in ranked)
    negatives = len(ranked) - positives
    true, false, points = 0, 0, [(0.0, 0.0)]
    for place, (score, label) in enumerate(ranked):
        true, false = true + label, false + 1 - label
        if place + 1 == len(ranked) or ranked[place + 1][0] != score:
            points.append((false / negatives, true / positives))
    return points


def area(points):
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in zip(points, points[1:]))


scores = {}
for name in ["train", "test"]:
    ranked = scored(name)
    right = sum((score > 0) == bool(label) for score, label in ranked)
    percent = {"unit": "percent", "direction": "higher", "n": len(ranked)}
    scores[name] = {
        "accuracy": {"value": 100 * right / len(ranked), "chance": 50, **percent},
        "avg_prec": {"value": average_precision(ranked), "direction": "higher"},
        "roc_auc": {"value": area(roc(ranked)), "direction": "higher", "chance": 0.5},
    }
json.dump(scores, open("out/scores.json", "w"), indent=1)

ranked = scored("test")
with open("out/confusion.csv", "w", newline="") as out:
    table = csv.writer(out)
    table.writerow(["is about R", "said to be", "posts"])
    for label in [0, 1]:
        for said in [0, 1]:
            count = sum(1 for score, is_r in ranked if is_r == label and (score > 0) == bool(said))
            table.writerow([["no", "yes"][label], ["no", "yes"][said], count])
points = roc(ranked)
with open("out/roc.csv", "w", newline="") as out:
    csv.writer(out).writerows([["false positive rate", "true positive rate"], *points])
line = " ".join(f"{10 + 200 * x:.1f},{210 - 200 * y:.1f}" for x, y in points)
with open("out/curve.svg", "w") as out:
    out.write(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 220 220" width="330" height="330">'
        '<rect x="10" y="10" width="200" height="200" fill="none" stroke="#888"/>'
        '<line x1="10" y1="210" x2="210" y2="10" stroke="#bbb"/>'
        f'<polyline points="{line}" fill="none" stroke="#036" stroke-width="2"/></svg>\n'
    )
