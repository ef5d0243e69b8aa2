"""Combine runs of one configuration with several seeds into one row."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from rased.evaluation.result import Result
from rased.metrics import Score


def folded(group: Sequence[Result]) -> list[list[Result]]:
    """Group results with equal configuration, data and protocol but different seeds; all others stay alone."""
    found: dict[Hashable, list[Result]] = {}
    for row in group:
        training = row.training or {}
        recipe, data = training.get("recipe_sha256"), training.get("manifest_sha256")
        key: Hashable = row.name if recipe is None else (recipe, data, repr(row.protocol))
        others = found.get(key, [])
        if any(
            other.training["seed"] == row.training["seed"]
            for other in others
            if other.training and row.training
        ):
            # The same seed again is no further seed: the row stays alone.
            key = row.name
        found.setdefault(key, []).append(row)
    return list(found.values())


def mean_of(seeds: Sequence[Result]) -> Result:
    """Return the first result with scores averaged over all seeds, for utterances where each seed has a value."""
    if len(seeds) == 1:
        return seeds[0]
    scores = [{u.id: u.scores for u in row.utterances} for row in seeds]
    merged = []
    for utterance in seeds[0].utterances:
        own = {}
        for metric in utterance.scores:
            each = [of.get(utterance.id, {}).get(metric) for of in scores]
            values = [s.value for s in each if s is not None and s.value is not None]
            # A mean over fewer seeds would compare different sets of runs from utterance to utterance.
            if len(values) == len(seeds):
                own[metric] = Score(float(np.mean(values)))
            elif all(s is not None for s in each):
                # Every seed was measured and some have no value: keep the reason of the first of these.
                own[metric] = next(s for s in each if s is not None and s.value is None)
        merged.append(dataclasses.replace(utterance, scores=own))
    return dataclasses.replace(seeds[0], utterances=merged)
