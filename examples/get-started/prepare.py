"""Splits the posts at random into training and test posts."""

import json
import random
import sys

parameters = json.load(open("params.json"))
posts = open(sys.argv[1], encoding="utf-8").read().splitlines()[1:]
random.Random(parameters["seed"]).shuffle(posts)
tested = int(len(posts) * parameters["split"])
for name, part in [("test", posts[:tested]), ("train", posts[tested:])]:
    with open(f"out/{name}.tsv", "w", encoding="utf-8") as out:
        out.writelines(post + "\n" for post in part)
