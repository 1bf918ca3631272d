"""Counts the most frequent words and pairs of words of each post."""

import collections
import json
import os
import sys

parameters = json.load(open("params.json"))


def read(path):
    lines = open(path, encoding="utf-8").read().splitlines()
    return [line.split("\t") for line in lines]


def terms(text):
    words = text.lower().split()
    sizes = range(1, parameters["ngrams"] + 1)
    return [" ".join(words[at : at + size]) for size in sizes for at in range(len(words) - size + 1)]


train, test = read(sys.argv[1]), read(sys.argv[2])
found = collections.Counter(term for _, text in train for term in terms(text))
vocabulary = sorted(found, key=lambda term: (-found[term], term))[: parameters["max_features"]]
index = {term: place for place, term in enumerate(vocabulary)}
os.makedirs("out/features")
json.dump(vocabulary, open("out/features/vocabulary.json", "w"))
for name, posts in [("train", train), ("test", test)]:
    rows = []
    for label, text in posts:
        counts = collections.Counter(index[term] for term in terms(text) if term in index)
        rows.append({"label": int(label), "counts": sorted(counts.items())})
    json.dump(rows, open(f"out/features/{name}.json", "w"))
