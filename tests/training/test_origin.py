"""A run that starts from a checkpoint: its weights, what they had heard, and what is kept fixed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from rased import zoo
from rased.cli.train import main
from rased.data.manifest import UNKNOWN, unknown
from rased.errors import RasedError
from rased.evaluation.scoring.provenance import training_of
from rased.evaluation.scoring.systems import System
from rased.evaluation.testset import BUNDLE, read_testset
from rased.training.origin import read_origin
from rased.zoo.card import read_card
from rased.zoo.publish import publish, write_entry
from rased.zoo.runs import load_run

SHORT = {
    "trainer": {"accelerator": "cpu", "max_epochs": -1, "max_steps": 2, "log_every_n_steps": 1},
    "data": {
        "class_path": "rased.data.datamodule.MixtureDataModule",
        "init_args": {
            "scene": {"segment": 0.5},
            "batch_size": 2,
            "samples_per_epoch": 4,
            "validation_samples": 2,
        },
    },
    "run": {"examples": 0, "evaluate": []},
}
SMALL = {
    "class_path": "rased.training.mask.MaskEnhancement",
    "init_args": {
        "statistics_batches": 1,
        "enhancer": {
            "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
            "init_args": {
                "features": {"kinds": ["log_power"]},
                "inputs": {"normalisation": "global"},
                "network": {
                    "class_path": "rased.models.gru.NSNet2",
                    "init_args": {"hidden": 8, "layers": 2, "expansion": 8},
                },
                "target": "ratio_mask",
                "phase": {"source": "noisy"},
            },
        },
    },
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with short.yaml, runs/first (trained), zoo/old (published) and zoo/foreign (imported)."""
    folder = tmp_path_factory.mktemp("origin")
    (folder / "short.yaml").write_text(yaml.safe_dump(SHORT))
    (folder / "first.yaml").write_text(yaml.safe_dump({"model": SMALL}))
    words = ["-c", str(folder / "short.yaml"), "-c", str(folder / "first.yaml")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert main([*words, "--runs", str(folder / "runs"), "--name", "first"]) == 0
    publish(folder / "runs" / "first", "old", folder / "zoo")
    enhancer = load_run(folder / "runs" / "first")
    write_entry(
        folder / "zoo" / "foreign",
        enhancer=enhancer,
        spec=read_card(folder / "zoo" / "old")["enhancer"],
        summary="somebody else's",
        paper="",
        licence={"code": "MIT", "weights": "MIT", "data": "see there"},
        training={"imported": {"source": "https://example.org"}},
    )
    return folder


def started(made: Path, tmp_path: Path, source: str, *words: str) -> Path:
    code = main(["--from", source, "-c", str(made / "short.yaml"), "--runs", str(tmp_path), *words])
    assert code == 0
    return next(path.parent for path in tmp_path.glob("*/config.yaml"))


def frozen_weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_run(run).state_dict())


@pytest.mark.parametrize("source", ["runs/first", "zoo/old", "zoo/foreign"])
def test_a_run_starts_where_the_checkpoint_is(made: Path, tmp_path: Path, source: str) -> None:
    """At a learning rate of zero it is the checkpoint still: weights, average and statistics."""
    run = started(made, tmp_path, str(made / source), "--model.lr", "0")
    assert run.name == f"{Path(source).name}-tuned"
    expected = frozen_weights(made / "runs" / "first")
    assert any("mean" in name for name in expected)
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in expected.items():
        assert torch.equal(content[f"average.{name}"], value), name
        assert torch.equal(content[f"enhancer.{name}"], value), name


@pytest.mark.parametrize("pad_mode", ["reflect", "centred"])
def test_padding_is_no_part_of_the_architecture(made: Path, tmp_path: Path, pad_mode: str) -> None:
    words = ["-c", str(made / "first.yaml"), "--model.enhancer.stft.pad_mode", pad_mode]
    run = started(made, tmp_path, str(made / "zoo" / "old"), *words, "--model.lr", "0")
    expected = frozen_weights(made / "runs" / "first")
    assert all(torch.equal(value, expected[name]) for name, value in frozen_weights(run).items())
    assert load_run(run).stft.pad_mode == pad_mode


def test_a_setting_that_is_named_may_change(made: Path, tmp_path: Path) -> None:
    words = ["-c", str(made / "first.yaml"), "--model.enhancer.stft.hop_length", "64"]
    words += ["--change", "stft", "inputs.decay", "inputs.rise", "--model.lr", "0"]
    run = started(made, tmp_path, str(made / "zoo" / "old"), *words)
    expected = frozen_weights(made / "runs" / "first")
    assert all(torch.equal(value, expected[name]) for name, value in frozen_weights(run).items())
    assert load_run(run).stft.hop_length == 64 != load_run(made / "runs" / "first").stft.hop_length


def test_a_part_starts_where_the_checkpoint_is(made: Path, tmp_path: Path) -> None:
    """It keeps weights and statistics while the other part learns."""
    stage = SMALL["init_args"]["enhancer"]
    cascade = {
        "class_path": "rased.models.cascade.Cascade",
        "init_args": {"stages": [stage, stage, stage]},
    }
    arguments = {"enhancer": cascade, "loss": {"class_path": "rased.losses.waveform.SNR"}}
    model = {**SMALL, "init_args": {**SMALL["init_args"], **arguments}}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "cascade.yaml").write_text(yaml.safe_dump({"model": model}))
    words = [
        "-c",
        str(tmp_path / "model" / "cascade.yaml"),
        *("--into", "stages.1", "stages.2"),
        *("--freeze", "stages.1.*", "stages.2.*"),
    ]
    run = started(made, tmp_path / "runs", str(made / "runs" / "first"), *words)
    assert run.name == "cascade"
    expected, found = frozen_weights(made / "runs" / "first"), frozen_weights(run)
    for stage_ in ("stages.1", "stages.2"):
        assert all(torch.equal(found[f"{stage_}.{name}"], own) for name, own in expected.items())
    assert any(not torch.equal(found[f"stages.0.{name}"], expected[name]) for name in expected)
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(
        torch.equal(content[f"enhancer.stages.1.{name}"], expected[name]) for name in expected
    )
    assert read_origin(run).name == "first"  # whose data count as heard


def test_it_learns_from_there(made: Path, tmp_path: Path) -> None:
    run = started(made, tmp_path, str(made / "zoo" / "old"), "--model.lr", "0.01")
    before, after = frozen_weights(made / "runs" / "first"), frozen_weights(run)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved
    assert not any("mean" in name or "std" in name for name in moved), "statistics stay"


def test_frozen_parameters_stay(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "first-tuned"
    names = [*dict(load_run(made / "runs" / "first").named_parameters())]
    glob = f"{names[0].rpartition('.')[0]}.*"
    source = str(made / "runs" / "first")
    started(made, tmp_path, source, "--model.lr", "0.01", "--freeze", glob)
    before, after = frozen_weights(made / "runs" / "first"), frozen_weights(run)
    moved = {name for name in names if not torch.equal(before[name], after[name])}
    fixed = {name for name in names if name.startswith(glob.rstrip("*"))}
    assert fixed
    assert moved == set(names) - fixed


def test_what_the_old_weights_heard_is_heard_by_the_new(made: Path, tmp_path: Path) -> None:
    """The old run heard the speech of the test set; the new one never reads it, and its overlap is found."""
    testset = read_testset(BUNDLE)
    path = made / "runs" / "first" / "manifest.json"
    stolen = sorted(testset.sources["speech", "keys"])[0]
    manifest = json.loads(path.read_bytes())
    manifest["train"]["speech"]["keys"].append(stolen)
    old = tmp_path / "old"
    (old / "checkpoints").mkdir(parents=True)
    content = torch.load(made / "runs" / "first" / "checkpoints" / "best.ckpt", weights_only=True)
    del content["manifest_sha256"]
    torch.save(content, old / "checkpoints" / "best.ckpt")
    (old / "manifest.json").write_text(json.dumps(manifest))

    run = started(made, tmp_path / "runs", str(old))
    told = training_of(System("new", "run", str(run)), testset)
    assert told is not None
    assert any(stolen in sentence for sentence in told["overlap"])
    entry = publish(run, "new", tmp_path / "zoo")
    assert read_card(entry)["training"]["from"]["name"] == "old"
    told = training_of(System("new", "zoo", str(entry)), testset)
    assert told is not None
    assert any(stolen in sentence for sentence in told["overlap"])


def test_weights_of_unknown_data_stay_unknown(made: Path, tmp_path: Path) -> None:
    """Over two generations: the run from an imported checkpoint, its entry, and a run from that."""
    run = started(made, tmp_path / "a", str(made / "zoo" / "foreign"))
    assert unknown(json.loads((run / "manifest.json").read_bytes())) == ["foreign"]
    entry = publish(run, "second", tmp_path / "zoo")
    card = read_card(entry)
    assert card["training"]["data_unknown_of"] == ["foreign"]
    assert all(check.passed for check in zoo.loading.verify(entry))
    third = started(made, tmp_path / "b", str(entry))
    assert json.loads((third / "manifest.json").read_bytes())[UNKNOWN] == ["foreign"]
    told = training_of(System("third", "run", str(third)), read_testset(BUNDLE))
    assert told is not None
    assert any("'foreign'" in sentence for sentence in told["unchecked"])
    assert card["licence"]["weights"] == "MIT"
    assert card["licence"]["data"][-1] == "see there"
    later = read_card(publish(third, "third", tmp_path / "zoo", licence="CC-BY-4.0"))
    facts = later["training"]["from"]
    assert (facts["name"], facts["from"]["name"]) == ("second", "foreign")
    assert later["licence"]["weights"] == ["CC-BY-4.0", "MIT"]
    assert later["licence"]["data"] == card["licence"]["data"]


def test_weights_without_a_known_licence_say_so_in_every_later_card(
    made: Path, tmp_path: Path
) -> None:
    """As in runs whose origin was stored before licences were."""
    run = started(made, tmp_path / "a", str(made / "zoo" / "foreign"))
    facts = yaml.safe_load((run / "origin" / "origin.yaml").read_text())
    assert facts.pop("licence")["weights"] == "MIT"
    (run / "origin" / "origin.yaml").write_text(yaml.safe_dump(facts))
    card = read_card(publish(run, "second", tmp_path / "zoo", licence="MIT"))
    assert card["licence"]["weights"] == ["MIT", "unknown (weights of foreign)"]


def test_a_run_goes_on_without_what_it_started_from(made: Path, tmp_path: Path) -> None:
    """Killed before its first checkpoint, and the entry is gone."""
    run = started(made, tmp_path, str(made / "zoo" / "old"), "--model.lr", "0")
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["run"]["start_from"] = "gone"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["--resume", str(run)]) == 0
    expected = frozen_weights(made / "runs" / "first")
    assert all(torch.equal(value, expected[name]) for name, value in frozen_weights(run).items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "gru-msk"], "no checkpoint or run is named 'gru-msk'.*gru-mask-16k"),
        (["--from", "gru-mask-16k", "-c", "model/gtcrn"], "not the architecture of 'gru-mask-16k'"),
        (
            ["--from", "gru-mask-16k", "--model.enhancer.stft.hop_length", "128"],
            "not the architecture of .*hop_length=128.* instead of .*hop_length=256.*--change stft",
        ),
        (
            ["--from", "gru-mask-16k", "--model.enhancer.network.hidden", "64"],
            "not the architecture of .* 64 instead of 256",
        ),
        (["--from", "gru-mask-16k", "--change", "stff"], "--change stff: no setting .*'stft'"),
        (
            ["--from", "gru-mask-16k", "--model.enhancer.stft.n_fft", "256", "--change", "stft"],
            "do not fit|instead of",
        ),
        (["--from", "gru-mask-16k", "--freeze", "netwrok.*"], "'netwrok.*' matches no parameter"),
        (["--from", "gru-mask-16k", "--freeze", "*"], "no parameter to train"),
        (["--from", "gru-mask-16k", "--resume", "x"], "remove --from"),
        (["--into", "first"], "--into needs a checkpoint"),
        (
            ["--from", "gru-mask-16k", "-c", "model/stacked", "--into", "stages.2"],
            "--into stages.2: Cascade has no part of this name; .*'stages.1'",
        ),
        (
            ["--from", "gru-mask-16k", "-c", "model/stacked", "--into", "stages.1"],
            "part 'stages.1', is not the architecture of 'gru-mask-16k'",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    made: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(RasedError, match=message):
        main([*words, "-c", str(made / "short.yaml"), "--runs", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "loss",
    [
        "{class_path: os.system, init_args: {command: touch MARK}}",
        {"class_path": "os.system", "init_args": {"command": "touch MARK"}},
        {"class_path": "rased.losses.waveform.SNR", "init_args": {"threshold_db": "os.getcwd"}},
        {"class_path": "rased.losses.waveform..SNR"},
    ],
)
def test_nothing_of_a_stranger_s_recipe_is_built_that_is_not_rased_s(
    made: Path, tmp_path: Path, loss: Any
) -> None:
    """A recipe that names anything else is left aside as a whole; the card alone says what is built."""
    from rased.zoo import origin

    folder = tmp_path / "stranger"
    folder.mkdir()
    for path in (made / "zoo" / "old").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    recipe = yaml.safe_load((folder / "training.yaml").read_text())
    recipe["model"]["init_args"]["loss"] = loss
    (folder / "training.yaml").write_text(yaml.safe_dump(recipe))
    card = read_card(folder)
    digest = hashlib.sha256((folder / "training.yaml").read_bytes()).hexdigest()
    card["files"]["training.yaml"] = digest
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    _, model = origin.read(folder)
    assert model["class_path"] == "rased.training.waveform.WaveformEnhancement"
    assert model["init_args"].keys() == {"enhancer"}


def test_the_weights_in_the_run_are_those_of_the_checkpoint(made: Path, tmp_path: Path) -> None:
    run = started(made, tmp_path, str(made / "zoo" / "old"), "--model.lr", "0.01")
    kept = safetensors.torch.load_file(run / "origin" / "model.safetensors")
    expected = frozen_weights(made / "runs" / "first")
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in kept)
