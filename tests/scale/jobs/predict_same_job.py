"""Answers of a run and of its exported file: from two nodes, and from this machine."""

import tellapart
from tellapart.ship.predict_to import answers_to


def job(nodes, *models_and_folder):
    *models, folder = models_and_folder
    differences = {}
    for model in models:
        predictor = tellapart.load(model)
        here = list(answers_to(predictor, folder))
        there = list(answers_to(predictor, folder, engine="ray", address=nodes.address))
        apart = [
            abs(a.probabilities - b.probabilities).max() for a, b in zip(here, there, strict=True)
        ]
        same = [(a.path, a.label, a.verdict) for a in here] == [
            (b.path, b.label, b.verdict) for b in there
        ]
        tellapart.predict_to(predictor, folder, f"{model}-here", rows=16)
        ray = {"engine": "ray", "address": nodes.address}
        tellapart.predict_to(predictor, folder, f"{model}-there", rows=16, **ray)
        tellapart.predict_to(predictor, folder, f"{model}-table", rows=16, format="parquet", **ray)
        differences[model] = [len(there), same, float(max(apart))]
    return differences
