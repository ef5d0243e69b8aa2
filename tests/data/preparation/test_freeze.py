"""The frozen test set: the same everywhere, balanced, and each mixture the sum of its parts."""

import hashlib
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from rased.cli import main
from rased.data.integrity.verify import verify
from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.balanced import Corpora, FrozenRecipe, plan
from rased.data.preparation.freeze import freeze, mix
from rased.data.preparation.frozen import put_in_place
from rased.data.shards.index import bundle
from rased.data.testset import list_sha256, read
from rased.disk import sha256
from rased.errors import RasedError
from rased.signal import levels, ratios, room

RATE = 16_000
FROZEN = bundle() / "frozen"


def stored_set() -> dict:
    return json.loads((FROZEN / "testset.json").read_text())


@pytest.fixture(scope="module")
def sources() -> Corpora:
    return Corpora(
        *(Corpus(["bundle"], role=role, split="test") for role in ("speech", "noise", "rir"))
    )


def audio(part: str, item: dict) -> np.ndarray:
    return soundfile.read(FROZEN / part / f"{item['id']}.flac")[0]


class TestBundledSet:
    def test_is_large_and_balanced(self):
        """Its sources are made by experiments/0006-bundled-test-set and do not come with the project."""
        items = stored_set()["items"]
        assert Counter(item["condition"] for item in items) == {
            "noise": 92,
            "reverb+noise": 46,
            "reverb": 16,
        }
        assert set(Counter(item["speaker"] for item in items).values()) == {11}
        assert len({item["speaker"] for item in items}) == 14
        assert len({item["noise_type"] for item in items} - {None}) >= 20
        for name in ("room", "snr_db"):
            counts = Counter(item[name] for item in items if item[name] is not None).values()
            assert max(counts) - min(counts) <= 1
        assert {item["snr_db"] for item in items} == {0.0, 5.0, 10.0, 15.0, None}
        assert stored_set()["list_sha256"] == list_sha256(items)

    def test_nothing_of_it_is_in_train_or_valid(self):
        items = stored_set()["items"]
        for split in ("train", "valid"):
            for role, field, label in (
                ("speech", "speech", "speaker"),
                ("noise", "noise", "noise_type"),
                ("rir", "rir", "room"),
            ):
                corpus = Corpus(["bundle"], role=role, split=split)
                assert not {item[field] for item in items} & set(corpus.key.tolist())
                if role != "noise":  # kinds of noise may be shared, recordings are not
                    assert not {item[label] for item in items} & set(corpus.label.tolist())

    def test_files_have_the_level_and_the_length_they_say(self):
        for item in stored_set()["items"]:
            noisy, target = audio("noisy", item), audio("target", item)
            assert len(noisy) == len(target) == pytest.approx(item["seconds"] * RATE, abs=2)
            assert np.abs(noisy).max() < 1
            level = 20 * np.log10(np.sqrt(np.mean(noisy**2)))
            assert level == pytest.approx(item["level_dbfs"], abs=0.02)

    def test_targets_lie_where_the_speech_lies(self):
        """Without a room noisy - target is the noise: its level gives the SNR, and no shift fits better."""
        for item in stored_set()["items"]:
            if item["condition"] != "noise":
                continue
            noisy, target = (torch.from_numpy(audio(part, item)) for part in ("noisy", "target"))
            snr = 20 * torch.log10(levels.active_rms(target) / levels.rms(noisy - target))
            assert float(snr) == pytest.approx(item["snr_db"], abs=0.05)

    def test_rooms_are_described(self, sources: Corpora):
        for item in stored_set()["items"]:
            if item["rir"] is None:
                assert item["t60"] is item["drr_db"] is item["room"] is None
                continue
            assert sources.rir is not None
            number = sources.rir.key.tolist().index(item["rir"])
            response = torch.from_numpy(sources.rir.read(number))
            assert room.t60(response) == pytest.approx(item["t60"], abs=1e-3)
            drr = room.direct_to_reverberant_ratio_db(response)
            assert drr == pytest.approx(item["drr_db"], abs=1e-2)


class TestMixing:
    @pytest.mark.parametrize("target", ["anechoic", "direct", "early", "reverberant"])
    def test_parts_add_up_before_they_are_rounded(self, sources: Corpora, target: str):
        recipe = FrozenRecipe(
            count=6, seed=3, proportions=(1.0, 1.0, 1.0), seconds=2.0, target=target
        )
        for item in plan(recipe, sources):
            mixture, _ = mix(item, recipe, sources)
            total = mixture["early"] + mixture["late"] + mixture["noise"]
            assert torch.allclose(mixture["noisy"], total, atol=1e-12)
            assert float(mixture["noisy"].abs().max()) < 1
            assert float(mixture["target"].abs().max()) < 1
            if item.condition == "reverb":
                assert not mixture["noise"].any()
            else:
                speech = mixture["early"] + mixture["late"]
                snr = 20 * torch.log10(levels.active_rms(speech) / levels.rms(mixture["noise"]))
                assert float(snr) == pytest.approx(item.snr_db, abs=1e-6)
            if item.condition == "noise":
                assert not mixture["late"].any()

    def test_early_target_is_the_early_part_in_the_mixture(self, sources: Corpora):
        recipe = FrozenRecipe(count=2, seed=3, proportions=(0.0, 0.0, 1.0), seconds=2.0)
        for item in plan(recipe, sources):
            mixture, _ = mix(item, recipe, sources)
            assert torch.equal(mixture["target"], mixture["early"])
            ratio = ratios.si_sdr(estimate=mixture["noisy"], target=mixture["target"])
            assert 0 < float(ratio) < 30

    def test_the_mixture_is_in_double_precision(self, sources: Corpora):
        """Single precision would round to other 16-bit samples on another processor."""
        recipe = FrozenRecipe(count=1, seed=3, proportions=(0.0, 1.0, 0.0))
        mixture, _ = mix(plan(recipe, sources)[0], recipe, sources)
        assert mixture["noisy"].dtype == mixture["target"].dtype == torch.float64


class TestPlan:
    def test_a_range_of_snrs_is_evenly_spread(self, sources: Corpora):
        recipe = FrozenRecipe(
            count=40, seed=1, snr_db=(-5.0, 20.0), snr_range=True, proportions=(1.0, 1.0, 0.0)
        )
        values = np.sort([item.snr_db for item in plan(recipe, sources)])
        edges = np.linspace(-5, 20, 41)
        assert np.all((values >= edges[:-1] - 0.01) & (values <= edges[1:] + 0.01))

    def test_shares_are_met_to_the_last_mixture(self, sources: Corpora):
        for count in (1, 2, 7, 33):
            recipe = FrozenRecipe(count=count, seed=1, proportions=(1.0, 1.0, 1.0))
            counts = Counter(item.condition for item in plan(recipe, sources))
            assert sum(counts.values()) == count
            assert all(
                abs(counts[name] - count / 3) < 1 for name in ("noise", "reverb+noise", "reverb")
            )

    def test_other_seeds_give_other_sets(self, sources: Corpora):
        first = FrozenRecipe(count=10, seed=1)
        assert plan(first, sources) == plan(first, sources)
        assert plan(first, sources) != plan(replace(first, seed=2), sources)

    def test_without_rooms_nothing_reverberates(self, sources: Corpora):
        dry = Corpora(sources.speech, sources.noise, None)
        assert {item.condition for item in plan(FrozenRecipe(count=10, seed=1), dry)} == {"noise"}

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"count": 0}, "--count must be 1 or more"),
            ({"seed": -1}, "it must be 0 or more"),
            ({"snr_db": ()}, "as 0,5,10,15"),
            ({"snr_db": (float("inf"),)}, "as 0,5,10,15"),
            ({"snr_db": (5.0, 0.0), "snr_range": True}, "a lower and an upper end"),
            ({"seconds": 1.0}, "--min-seconds"),
            ({"proportions": (0.0, 0.0, 0.0)}, "give three numbers of 0 or more"),
            ({"level_dbfs": (-20.0, -30.0)}, "lower end first"),
        ],
    )
    def test_recipes_that_make_no_sense(self, options: dict, sentence: str):
        with pytest.raises(RasedError, match=sentence):
            FrozenRecipe(**{"count": 1, "seed": 1, **options})

    def test_utterances_that_are_all_too_short(self, sources: Corpora):
        with pytest.raises(RasedError, match="--min-seconds"):
            plan(FrozenRecipe(count=1, seed=1, seconds=90.0, min_seconds=80.0), sources)


class TestFolder:
    words = (
        "data",
        "freeze",
        "--speech",
        "bundle",
        "--noise",
        "bundle",
        "--rir",
        "bundle",
        "--seconds",
        "2",
    )

    def command(self, out: Path, seed: int) -> list[str]:
        return [*self.words, "--out", str(out), "--count", "4", "--seed", str(seed)]

    def test_again_is_the_same_and_another_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert main(self.command(tmp_path / "a", 7)) == 0
        assert main(self.command(tmp_path / "b", 7)) == 0
        assert main(self.command(tmp_path / "a", 7)) == 0
        first, second = ((tmp_path / name / "testset.json").read_text() for name in "ab")
        assert first.replace('"name": "a"', '"name": "b"') == second
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
        capsys.readouterr()
        assert main(self.command(tmp_path / "a", 8)) == 2
        assert "a frozen set never changes" in capsys.readouterr().err
        assert (tmp_path / "a" / "testset.json").read_text() == first
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

    def test_a_full_disk_is_one_sentence(
        self, small_disk: Path, capsys: pytest.CaptureFixture[str]
    ):
        words = [*self.words, "--out", str(small_disk / "set"), "--count", "30", "--seed", "1"]
        assert main(words) == 2
        assert (
            "no space left on device. Nothing of the set is kept: free" in capsys.readouterr().err
        )
        assert list(small_disk.iterdir()) == []

    def test_a_used_folder_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        (tmp_path / "mine.txt").write_text("keep")
        assert main(self.command(tmp_path, 7)) == 2
        assert "mine.txt" in capsys.readouterr().err
        assert (tmp_path / "mine.txt").read_text() == "keep"

    def test_tampering_is_found(self, tmp_path: Path):
        freeze(
            "bundle",
            "bundle",
            None,
            tmp_path / "a",
            recipe=FrozenRecipe(count=3, seed=1, seconds=2.0),
        )
        folder = tmp_path / "a"
        assert verify([folder]).problems == ()
        first, second, third = sorted((folder / "noisy").iterdir())
        data = bytearray(first.read_bytes())
        data[-100] ^= 1
        first.write_bytes(data)
        second.rename(folder / "noisy" / "other.flac")
        found = [problem.what for problem in verify([folder]).problems]
        assert [what.split(" ")[0] for what in found] == [
            "noisy/m0000.flac",
            "noisy/m0001.flac",
            "noisy/other.flac",
        ]
        assert third.exists()
        stored = json.loads((folder / "testset.json").read_text())
        stored["items"][2]["sha256_noisy"] = "0" * 64
        (folder / "testset.json").write_text(json.dumps(stored))
        assert any("list_sha256" in problem.what for problem in verify([folder]).problems)

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--snr-db", "loud"], "is not a list of numbers"),
            (["--level-dbfs=-30"], "give two, lower end first"),
            (["--proportions", "1,1"], "give three numbers of 0 or more"),
            (["--split", "tset"], "No speech in split 'tset' of"),
            (["--speech", "nowhere"], "No shards of role speech in 'nowhere'"),
        ],
    )
    def test_wrong_words(
        self, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
    ):
        assert main([*self.command(tmp_path / "a", 1), *words]) == 2
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_the_wheel_carries_the_bundle(tmp_path: Path):
    root = Path(__file__).parents[3]
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "-w",
        str(tmp_path),
        str(root),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("rased-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        carried = {
            name: archive.read(name)
            for name in archive.namelist()
            if name.startswith("rased/assets/bundle/")
        }
    for path in bundle().rglob("*"):
        if path.is_file():
            name = f"rased/assets/bundle/{path.relative_to(bundle()).as_posix()}"
            assert carried.pop(name) == path.read_bytes()
    assert not carried


class TestTwoAtOnce:
    """Whoever says that a set was made left a whole one."""

    @pytest.mark.parametrize("equal", [True, False], ids=["equal", "different"])
    def test_the_set_is_whole(self, tmp_path: Path, equal: bool):
        for trial in range(25):
            out, start = tmp_path / f"set{trial}", Barrier(3)
            with ThreadPoolExecutor(3) as pool:
                jobs = [
                    pool.submit(_put, out, 0 if equal else number, start, trial + number)
                    for number in range(3)
                ]
            made = [job.exception() is None for job in jobs]
            there = read(out)
            for item in there.items:
                assert sha256(out / "noisy" / f"{item.id}.flac") == item.sha256_noisy
            assert made.count(True) == (3 if equal else 1)
            for job in jobs:
                assert job.exception() is not None or job.result() == there.list_sha256
                assert isinstance(job.exception(), RasedError | None)
            assert [path.name for path in out.parent.glob(f"*set{trial}*")] == [out.name]

    def test_a_killed_one_leaves_nothing_that_matters(self, tmp_path: Path):
        out = tmp_path / "set"
        words = [sys.executable, "-c", _KILLED, str(out)]
        assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
        assert not out.exists()
        assert any(tmp_path.iterdir())
        _put(out, 0, Barrier(1), 0)
        assert [path.name for path in tmp_path.iterdir()] == ["set"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from rased.data.preparation.frozen import put_in_place
def fill(work):
    (work / "noisy").mkdir()
    (work / "noisy" / "a.flac").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
put_in_place(Path(sys.argv[1]), fill)
"""


def _put(out: Path, number: int, start: Barrier, seed: int) -> str:
    """Make a set of three files in slightly random time; return its fingerprint."""
    random = np.random.default_rng(seed)

    def fill(work: Path) -> dict[str, Any]:
        (work / "noisy").mkdir()
        items = []
        for name in "abc":
            content = f"{number} {name}".encode()
            (work / "noisy" / f"{name}.flac").write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            items.append({"id": name, "sha256_noisy": digest, "sha256_target": digest})
            time.sleep(random.uniform(0, 2e-3))
        head = {"schema": 1, "name": "x", "sample_rate": 16_000, "count": 3, "target": "clean"}
        return {**head, "list_sha256": list_sha256(items), "items": items}

    start.wait()
    return str(put_in_place(out, fill)["list_sha256"])
