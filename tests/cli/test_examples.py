"""Every example of a `--help`, and every command of the README and of docs/, is typed once where what it names is.

Long or remote ones are parsed and not run, each with its reason in `PARSED`. Training stops after two steps.
"""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rased import audio
from rased.cli import VERBS, main
from rased.evaluation.scoring import own_metrics
from rased.metrics import METRICS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CHECKPOINT = "gru-mask-16k"

PARSED = {
    r"rased demo": "minutes of training: tests/cli/test_demo.py runs it",
    r"rased bench \w+": "measures for minutes: tests/cli/test_bench.py runs it",
    r"rased data prepare": "needs a corpus, or the network: tests/data/corpora runs it on replicas",
    r"rased data frames .*--hours": "writes hours of mixtures: tests/data/frames runs it",
    r"rased data rooms": "simulates for minutes: tests/data/preparation/test_rooms.py runs it",
    r"rased .*(https?|s3|gs|hf)://": "needs the network: tests/data/shards, tests/zoo have servers",
    r"rased export .*(--int8|--to litert)": "minutes, or another environment: tests/export runs them on a tiny model",
    r"rased export zoo/my-entry": "needs an entry of one's own: tests/onnx/test_by_name.py adds a graph to one",
    r"rased zoo pull": "needs the network: tests/zoo/test_importable.py",
    r"rased zoo push mine": "needs a checkpoint of one's own: tests/zoo/test_hub.py",
    r"rased live(?!.*--input)": "needs a sound card: tests/test_live.py has a stand-in",
    r"rased app": "goes on until Ctrl-C: tests/app runs it",
    r"rased enhance .*--watch": "goes on until Ctrl-C: tests/cli/test_enhance_folders.py runs it",
    r"rased enhance talk.mp4": "needs a video: tests/audio/test_video.py makes one",
    r"rased enhance .*--condition": "needs a model with a condition: tests/test_conditions.py has one",
    r"rased zoo import": "needs weights from elsewhere: tests/zoo/test_importers.py",
    r"rased train .*--submit": "needs Slurm: tests/training/test_cluster.py has the job",
    r"rased train .*data/frames": "needs an hour of mixtures: tests/training/test_frames.py runs it",
    r"rased train .*data/(dns|librispeech-musan|voicebank-demand)": "needs a corpus",
}
pytestmark = pytest.mark.slow
"""`make examples` runs them, and so does `.ci/run`, behind the fast tests."""

NEW = {
    r"rased train .*--name mine": "runs/mine",
    r"rased data pack": "shards",
    r"rased data freeze .*my/testset": "my/testset",
}
"""What a command makes: no such folder is there when it begins."""

SHORT = (
    *(
        "--trainer.max_steps",
        "2",
        "--trainer.limit_val_batches",
        "1",
        "--trainer.accelerator",
        "cpu",
    ),
    *("--data.batch_size", "2", "--data.scene.segment", "1.0", "--run.examples", "0"),
)
"""Behind every `rased train`: two steps."""


MY_METRIC = """
from rased.metrics import Metric


class MyMetric(Metric):
    name, title, range = "my-metric", "Mine", (0.0, 1.0)

    def measure(self, estimate, target):
        return 1.0 - (estimate - target).abs().mean()
"""


def commands_of_help(words):
    """The commands in the help of a verb, of the verbs below it, and so on; their remarks cut off."""
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr(sys.stdout, "write", said.append)
        main([*words, "--help"])
    text = "".join(said)
    examples = _joined(text.partition("examples:\n")[2])
    yield from (
        re.split(r"\s{2,}", line.strip())[0] for line in re.findall(r"^  rased .*", examples, re.M)
    )
    listed = re.search(
        r"^(?:verbs:|  VERB)\n((?: +\S.*\n)+)", text, re.M
    )  # a long name fills its line
    names = re.findall(r"^ {2,4}(\w+)", listed[1], re.M) if listed else []
    for name in names:
        yield from commands_of_help([*words, name])


def _joined(text):
    """The text with lines that end in a backslash joined to the next."""
    return re.sub(r"\\\n\s*", "", text)


def commands_of_pages():
    for page in PAGES:
        text = _joined(page.read_text(encoding="utf-8"))
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M):
            if not language:
                yield from (line for line in block.splitlines() if line.startswith("rased "))


ALL = sorted({*commands_of_help([]), *commands_of_pages()})


def why_not_run(command):
    return next((why for pattern, why in PARSED.items() if re.match(pattern, command)), None)


def words_of(command, here):
    """The words of a command line as a shell gives them, in the folder `here`."""
    words = shlex.split(command, comments=True)[1:]
    stands_for = {"NAME": CHECKPOINT, "VERB": "info" if "data" in words else "loader", "1200": "1"}
    words = [stands_for.get(word, word) for word in words]
    if words[0] == "loader":  # rased VERB --help
        words[0] = "data"
    words = [one for word in words for one in _expanded(word, here)]
    return [*words, *SHORT] if words[0] == "train" else words


def _expanded(word, here):
    return sorted(map(str, here.glob(word))) if word.endswith("/*") else [word]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the recordings, shards, runs, results and test sets that the commands name."""
    here = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        _recordings(here)
        for source, out, role in [
            ("my-speech", "shards/speech", "speech"),
            ("my-noise", "shards/noise", "noise"),
        ]:
            assert main(["data", "pack", source, "--out", out, "--role", role]) == 0
        pairs = ["--pairs", "noisy", "clean", "--out", "shards/pairs"]
        assert main(["data", "pack", *pairs]) == 0
        frozen = [
            "--speech",
            "bundle",
            "--noise",
            "bundle",
            "--rir",
            "bundle",
            "--split",
            "test",
            "--seconds",
            "2",
        ]
        assert (
            main(["data", "freeze", *frozen, "--count", "3", "--seed", "1", "--out", "frozen"]) == 0
        )
        for place in ("my/testset", "voicebank/test", "commons-test"):
            shutil.copytree(here / "frozen", here / place)
        shutil.copytree(here / "frozen/noisy", here / "other-toolkit/enhanced")
        patch.setattr("rased.evaluation.testset.BUNDLE", here / "frozen")
        small = ["-c", "model/gru-mask", "-c", "data/bundle", *SHORT, "--run.evaluate", "[]"]
        assert main(["train", *small, "--name", "mine"]) == 0
        for name in ("gru", "gru-wide"):
            shutil.copytree(here / "runs/mine", here / "runs" / name)
        words = ["evaluate", "noisy", "log-mmse", "--on", "bundle", "--out", "results"]
        assert main([*words, "--metrics", "pesq-wb", "stoi", "si-sdr", "--save-audio"]) == 0
        assert (
            main(
                [
                    *words[:1],
                    "wiener",
                    *words[3:5],
                    "--out",
                    "zoo/leaderboard",
                    "--metrics",
                    "pesq-wb",
                    "si-sdr",
                ]
            )
            == 0
        )
        shutil.copytree(here / "runs", here / "elsewhere")
        assert main(["export", CHECKPOINT, "--to", "onnx", "--out", "exported"]) == 0
        shutil.copy(ROOT / "configs/model/gru-mask.yaml", here / "my-model.yaml")
        (here / "my_metric.py").write_text(MY_METRIC)
    return here


def _recordings(here):
    rng = np.random.default_rng(5)
    for folder, names in {
        ".": ("noisy.wav", "in.wav", "a.wav", "b.flac", "noisy.mp3", "YOUR.wav", "x.wav"),
        "recordings": ("one.wav", "deep/two.flac"),
        "speech": ("anna/one.wav", "ben/two.wav"),
        "corpus": ("drill/one.wav", "wind/two.wav"),
        "measured-responses": ("hall/one.wav", "office/two.wav"),
        "array-responses": ("hall/one.wav", "office/two.wav"),
        "my-speech": tuple(
            f"{who}/{index}.wav" for who in ("anna", "ben", "cem") for index in range(4)
        ),
        "my-noise": tuple(f"{kind}/{index}.wav" for kind in ("fan", "rain") for index in range(6)),
    }.items():
        for name in names:
            path = here / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            time = np.arange(16_000 * 2) / 16_000
            tone = np.sin(2 * np.pi * 200 * time) * (np.sin(2 * np.pi * 3 * time) > 0)
            samples = 0.1 * tone + 0.01 * rng.standard_normal(len(time))
            soundfile.write(path, samples.astype(np.float32), 16_000)
    for part in ("noisy", "clean"):
        shutil.copytree(here / "my-speech", here / part)
    rows = ["path,label", "drill/one.wav,drill", "wind/two.wav,wind"]
    (here / "corpus" / "manifest.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def here(desk, tmp_path, monkeypatch):
    """A copy of the desk to work in; metrics out of files are forgotten afterwards."""
    monkeypatch.setattr(own_metrics, "_REGISTERED", {})
    before = dict(METRICS)
    yield _copied(desk, tmp_path, monkeypatch)
    for name in METRICS.keys() - before:
        del METRICS[name]


def _linked_if_large(source, copy):
    """A checkpoint is linked: nobody writes into one, and two hundred desks would take 40 GB."""
    if Path(source).suffix == ".ckpt":
        os.link(source, copy)
    else:
        shutil.copy2(source, copy)


def _copied(desk, tmp_path, monkeypatch):
    folder = tmp_path / "desk"
    shutil.copytree(desk, folder, copy_function=_linked_if_large)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("rased.evaluation.testset.BUNDLE", folder / "frozen")
    return folder


def test_the_commands_are_found():
    assert {command.split()[1] for command in ALL} >= set(VERBS)
    found = {" ".join(command.split()[:3]) for command in ALL}
    assert {"rased data pack", "rased zoo info", "rased train -c", "rased data freeze"} <= found
    assert {
        "rased bench loader",
        "rased bench train",
        "rased data rooms",
        "rased zoo pull",
    } <= found


@pytest.mark.parametrize("command", [one for one in ALL if why_not_run(one) is None])
def test_a_command_runs_as_it_is_written(command, here, capsys):
    for pattern, folder in NEW.items():
        if re.match(pattern, command):
            shutil.rmtree(here / folder)
    code = main(words_of(command, here))
    assert code == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", [one for one in ALL if why_not_run(one)])
def test_a_command_that_is_too_long_to_run_is_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = words_of(command, tmp_path)
    parsed = []
    verb = VERBS[words[0]]
    if verb.own_parser:
        assert main([*words[: -len(SHORT)], "--print-config"]) == 0
        return
    monkeypatch.setattr(f"{verb.module}.run", lambda arguments: parsed.append(arguments) or 0)
    assert main(words) == 0
    assert parsed or words[-1] == "--help"


LINES = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    )
]


@pytest.mark.parametrize("code", LINES)
def test_lines_of_python_run(code, here):
    names = {}
    exec(compile(code, "lines", "exec"), names)
    assert any(getattr(value, "__name__", "") == "rased" for value in names.values())


def test_the_six_lines_enhance_a_file(here):
    exec(compile(LINES[0].values[0], "README.md", "exec"), {})
    noisy, enhanced = audio.inspect(Path("noisy.wav")), audio.inspect(Path("enhanced.wav"))
    assert (noisy.frames, noisy.sample_rate) == (enhanced.frames, enhanced.sample_rate)
