"""Classifies the digits that scikit-learn ships with a support vector machine.

Trains on the first half of the images and reports precision, recall and F1 of each digit on the
second half.
"""

import csv
import importlib.metadata
import json
import sys

for line in open(sys.argv[1]):
    name, version = line.strip().split("==")
    found = importlib.metadata.version(name)
    if found != version:
        sys.exit(f"{name} {found} is installed, not {version}: pip install -r workflows/digits/requirements.txt")

from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.svm import SVC

parameters = json.load(open("params.json"))
images, labels = load_digits(return_X_y=True)
half = len(images) // 2
model = SVC(gamma=parameters["gamma"]).fit(images[:half], labels[:half])
truth, found = labels[half:], model.predict(images[half:])


def scores(values, n):
    names = ["precision", "recall", "f1"]
    return {name: {"value": float(value), "n": int(n), "direction": "higher"} for name, value in zip(names, values)}


precision, recall, f1, support = precision_recall_fscore_support(truth, found)
metrics = {f"digit_{digit}": scores([precision[digit], recall[digit], f1[digit]], support[digit]) for digit in range(10)}
for average in ["macro", "weighted"]:
    values = precision_recall_fscore_support(truth, found, average=average)[:3]
    metrics[average] = scores(values, len(truth))
right = float((truth == found).mean())
metrics["accuracy"] = {"value": right, "n": len(truth), "direction": "higher", "chance": 0.1}
json.dump(metrics, open("out/scores.json", "w"))
with open("out/confusion.csv", "w", newline="") as out:
    table = csv.writer(out)
    table.writerow(["digit", *(f"said {digit}" for digit in range(10))])
    table.writerows([digit, *row] for digit, row in enumerate(confusion_matrix(truth, found).tolist()))
