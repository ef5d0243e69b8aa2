"""Every command on a cluster of two nodes writes what it writes here; a node that dies loses and doubles nothing."""

import json
import os
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

from rased.data.corpora import find
from rased.data.frames.file import Framing
from rased.data.frames.sources import MixtureRecipe, Mixtures, Recordings
from rased.data.frames.writer import write_frames
from rased.data.preparation.balanced import FrozenRecipe
from rased.data.preparation.freeze import freeze
from rased.data.preparation.geometry import RoomRecipe
from rased.data.preparation.pack import pack
from rased.data.preparation.prepare import prepare
from rased.data.preparation.rooms import simulate
from rased.evaluation import collect, evaluate
from rased.evaluation.scoring.recheck import recheck
from rased.evaluation.scoring.run import score
from rased.evaluation.scoring.systems import resolve
from rased.evaluation.testset import BUNDLE, read_testset
from rased.layers.frontend import Features
from rased.parallel import cluster, in_order
from rased.signal.stft import STFT
from tests.clusters import Killing, local_cluster, two_nodes
from tests.tasks import squared

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("ray") is None or os.name == "nt", reason="needs Ray, and not Windows"
    ),
]
FRAMING = Framing(Features(("log_mel", "mfcc")), STFT(), 16_000)


@pytest.fixture(scope="module")
def nodes():
    with two_nodes() as found:
        yield found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Speech of six speakers and some noise, of different length; one file is damaged."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for number in range(60):
        role = "noise" if number % 4 == 3 else "speech"
        path = (
            folder
            / role
            / ("valid" if number % 5 == 4 else "train")
            / f"{number % 6}-{number % 5 == 4:d}"
        )
        path.mkdir(parents=True, exist_ok=True)
        audio = 0.1 * rng.standard_normal(rng.integers(8_000, 40_000))
        soundfile.write(path / f"{number:03d}.wav", audio, 22_050, subtype="PCM_16")
    (folder / "speech/train/0-0/damaged.wav").write_bytes(b"RIFF of nothing")
    return folder


def packing(corpus, out, engine):
    pack([corpus], out, role="speech", shard_mb=0.3, engine=engine)


def preparing(corpus, out, engine):
    prepare(find("folder"), corpus, out, shard_mb=0.3, engine=engine)


def simulating(corpus, out, engine):
    recipe = RoomRecipe(count=8, seed=5, t60=(0.15, 0.25), positions=2)
    simulate(out, recipe=recipe, shard_mb=0.02, jobs=0 if engine else 1, engine=engine)


def framing(corpus, out, engine):
    jobs = 0 if engine else 1
    write_frames(Recordings(["bundle"]), FRAMING, out / "speech.h5", jobs=jobs, engine=engine)
    recipe = MixtureRecipe()
    mixtures = Mixtures(recipe.plan(), recipe.mixing, 30)
    write_frames(mixtures, FRAMING, out / "mixtures.h5", jobs=jobs, engine=engine)


def freezing(corpus, out, engine):
    recipe = FrozenRecipe(count=16, seed=3, seconds=2.0, enrolment=1.0)
    jobs = 0 if engine else 1
    freeze("bundle", "bundle", "bundle", out / "set", recipe=recipe, jobs=jobs, engine=engine)


def scoring(corpus, out, engine):
    testset = read_testset(BUNDLE)
    systems = [resolve(word, testset) for word in ("noisy", "log-mmse")]
    # Without cost, which decides what is enhanced together, and is another one each time.
    options = {"save_audio": True, "jobs": 0 if engine else 1, "cost": False, "engine": engine}
    score(systems, testset, out, ("si-sdr",), **options)
    for path in out.glob("*.json"):
        result = json.loads(path.read_text())
        # Another time, and other seconds.
        path.write_text(json.dumps({name: result[name] for name in ("utterances", "protocol")}))


COMMANDS = (packing, preparing, simulating, framing, freezing, scoring)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.usefixtures("little_cost")
@pytest.mark.parametrize("command", COMMANDS)
def test_two_nodes_of_which_three_die_write_the_bytes_of_this_machine(
    command, nodes, corpus, tmp_path
):
    for name in ("here", "ray"):
        (tmp_path / name).mkdir()
    command(corpus, tmp_path / "here", None)
    deaths = {2, 4, 6}
    engine = Killing(nodes.address, nodes, deaths)
    try:
        command(corpus, tmp_path / "ray", engine)
    finally:
        engine.leave()
    assert deaths == set()
    here, ray = contents(tmp_path / "here"), contents(tmp_path / "ray")
    assert sorted(ray) == sorted(here)
    assert [name for name, content in here.items() if ray[name] != content] == []


@pytest.mark.usefixtures("little_cost")
def test_rechecked_on_two_nodes(nodes, tmp_path):
    evaluate(["noisy", "log-mmse"], BUNDLE, tmp_path, metrics=["si-sdr"])
    rows, testsets = collect([tmp_path]), [read_testset(BUNDLE)]
    with cluster(nodes.address) as engine:
        here, ray = (
            recheck(rows, testsets, count=2, random=random, jobs=jobs, engine=one)
            for random, jobs, one in (
                (np.random.default_rng(1), 1, None),
                (np.random.default_rng(1), 0, engine),
            )
        )
    assert ray == here
    assert [(row.scores, row.why_not) for row in ray] == [(2, ""), (2, "")]


def test_several_clusters_on_one_machine_do_not_meet(nodes):
    with cluster(nodes.address) as found:
        assert list(in_order(squared, range(4), engine=found)) == [0, 1, 4, 9]
    with local_cluster(1) as found:
        assert list(in_order(squared, range(4), engine=found)) == [0, 1, 4, 9]
