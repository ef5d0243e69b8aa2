"""After kills and changes of workers, ranks and batch size: from real shards, the mixtures that would have followed."""

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rased.data.mixtures import order
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.mixing import Mixer, Mixing
from rased.data.mixtures.plan import Plan, Scene
from tests.data.conftest import write_corpus

LEG = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1), st.floats(0, 1))
"""Batch size, ranks and workers of a launch, and the share of the steps left that it does before it is killed."""


def _plan(speech, *, seed, count, shuffle="auto"):
    return Plan(
        speech=speech,
        noise=Corpus(["bundle"], role="noise", split="train"),
        rir=Corpus(["bundle"], role="rir", split="train"),
        scene=Scene(segment=0.1, rir_seconds=0.1, shaping_probability=0.3),
        seed=seed,
        count=count,
        shuffle=shuffle,
    )


@pytest.fixture(scope="module")
def bundled():
    return Corpus(["bundle"], role="speech", split="train")


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """Speech in folders of one shard each, with 1, 2 and 20 recordings."""
    random = np.random.default_rng(0)
    folders, before = [], 0
    for number, size in enumerate((20, 1, 2)):
        audio = [0.1 * random.standard_normal(4_000 + 100 * n) for n in range(size)]
        others = [("valid", "nobody", audio[0])] * before  # keys count on from folder to folder
        recordings = [*others, *(("train", f"speaker{number}", sound) for sound in audio)]
        before += size
        folder = tmp_path_factory.mktemp("unequal") / f"speech{number}"
        folders.append(write_corpus(folder, "speech", recordings))
    return Corpus(folders, role="speech", split="train")


def _mixtures(plan, epoch, legs):
    """[(index, hash)] in the order in which all ranks together had them, launch after launch."""
    mixer, position, found = Mixer(Mixing()), 0, []
    for number, (batch_size, world_size, workers, share) in enumerate(legs):
        sizes = {"batch_size": batch_size, "world_size": world_size}
        total = order.steps(position, plan.count, **sizes)
        done = total if number == len(legs) - 1 else int(share * total)
        ranks = []
        for rank in range(world_size if done else 0):
            loader = Loader(plan, num_workers=workers, rank=rank, **sizes)
            loader.epoch, loader.position = epoch, position
            ranks.append([mixer(batch) for batch in loader])
            assert len(ranks[-1]) == total
        for step in range(done):
            for mixture in (rank[step] for rank in ranks):
                for row, index in enumerate(mixture["index"].tolist()):
                    parts = (mixture[n][row].numpy().tobytes() for n in ("noisy", "target", "late"))
                    found.append((index, hashlib.sha256(b"".join(parts)).hexdigest()))
        position = order.consumed(done, position, plan.count, **sizes)
    return found


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("source", ["bundled", "unequal"])
@pytest.mark.parametrize("shuffle", ["samples", "blocks"])
@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 1 << 31),
    epoch=st.integers(0, 1000),
    count=st.integers(8, 30),
    legs=st.lists(LEG, min_size=1, max_size=4),
)
def test_mixtures_after_any_kills_and_changes(request, source, shuffle, seed, epoch, count, legs):
    plan = _plan(request.getfixturevalue(source), seed=seed, count=count, shuffle=shuffle)
    whole = _mixtures(plan, epoch, [(count, 1, 0, 1.0)])
    assert [index for index, _ in whole] == list(range(count))
    found = _mixtures(plan, epoch, legs)
    # The last rest alone may be dealt out more than once, where it has fewer samples than ranks.
    assert list(dict.fromkeys(found)) == whole
    assert len(found) < count + legs[-1][1]
