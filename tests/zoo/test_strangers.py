"""Files of strangers: whatever they hold, nothing of it runs, is imported, leaves its folder or grows without bound."""

import hashlib
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

import rased
from rased.cli import main
from rased.errors import RasedError
from rased.zoo.card import CARD, GOLDEN, WEIGHTS
from rased.zoo.loading import verify
from rased.zoo.pull import SOURCE
from rased.zoo.runs import load_run
from tests.zoo import fuzzing
from tests.zoo.conftest import SPEC, tiny
from tests.zoo.fuzzing import MARK, TEXTS, Bench, attempt, places


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rased.zoo.publish.macs_per_second", lambda enhancer, condition=None: 1e6)
        return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(autouse=True)
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Run in an empty folder; afterwards nothing is there, and no module was imported because a file says so.

    A configuration of one's own may import: the user wrote it.
    """
    place = tmp_path / "watched"
    place.mkdir()
    monkeypatch.chdir(place)
    before = set(sys.modules)
    yield
    assert list(place.iterdir()) == []
    assert not Path("/tmp/escaped").exists()
    if "config" not in request.node.name:
        assert "tabnanny" not in set(sys.modules) - before


TARGETS = [
    "card, bytes",
    "card, values",
    "spec, values",
    "manifest, bytes",
    "manifest, values",
    "weights, bytes",
    "weights, header",
    "golden, bytes",
    "config, bytes",
    "config, values",
    "launches, bytes",
    "launches, values",
    "checkpoint, bytes",
    "checkpoint, values",
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_spoiled_file_is_read_or_refused_in_one_sentence(bench: Bench, target: str) -> None:
    read = bench.targets()[target]
    outcomes = {number: attempt(read, f"test/{number}") for number in range(25)}
    bad = {number: said for number, said in outcomes.items() if said not in ("clean", "refused")}
    assert bad == {}


def test_all_targets_are_tried(bench: Bench) -> None:
    assert list(bench.targets()) == TARGETS


def string_places(document: Any) -> list[tuple[Any, Any]]:
    """Where strings stand in a document, those that are keys of mappings aside."""
    return [(box, key) for box, key in places(document) if isinstance(box[key], str)]


@pytest.mark.parametrize("text", TEXTS[:14], ids=range(14))
def test_a_payload_at_any_string_of_a_card_does_nothing(bench: Bench, text: str) -> None:
    count = len(string_places(yaml.safe_load(bench.files[CARD])))
    for number in range(count):
        card = yaml.safe_load(bench.files[CARD])
        box, key = string_places(card)[number]
        box[key] = text
        (bench.entry / CARD).write_bytes(fuzzing.as_yaml(card))
        outcome = attempt(lambda _: rased.load(bench.entry), "")
        (bench.entry / CARD).write_bytes(bench.files[CARD])
        assert outcome in ("clean", "refused"), outcome


@pytest.mark.parametrize("text", TEXTS[:8], ids=range(8))
def test_a_payload_at_any_string_of_a_checkpoint_does_nothing(bench: Bench, text: str) -> None:
    settings = bench.checkpoint["hyper_parameters"]
    for number in range(len(string_places(settings))):
        changed = yaml.safe_load(yaml.safe_dump(settings))
        box, key = string_places(changed)[number]
        box[key] = text
        content = bench._saved({**bench.checkpoint, "hyper_parameters": changed})
        outcome = attempt(lambda _, content=content: bench._run(content), "")
        assert outcome in ("clean", "refused"), outcome


# Ten files that try to run something, each in its own way.


def card_with(bench: Bench, enhancer: Any) -> None:
    card = {**bench.card, "enhancer": enhancer}
    bench._load({CARD: fuzzing.as_yaml(card)})


def network_as_text(bench: Bench) -> None:
    card_with(bench, {**SPEC, "init_args": {**SPEC["init_args"], "network": TEXTS[0]}})


def network_as_a_function(bench: Bench) -> None:
    spec = {"class_path": "os.system", "init_args": {"command": f"touch {MARK}"}}
    card_with(bench, {**SPEC, "init_args": {**SPEC["init_args"], "network": spec}})


def enhancer_as_a_function(bench: Bench) -> None:
    card_with(bench, {"class_path": "subprocess.getoutput", "init_args": {"cmd": f"touch {MARK}"}})


def class_through_a_module_of_ours(bench: Bench) -> None:
    card_with(bench, {"class_path": "rased.cli.demo.Path", "init_args": {}})


def tag_of_python(bench: Bench) -> None:
    bench._load({CARD: f"summary: !!python/object/apply:os.system ['touch {MARK}']\n".encode()})


def weights_as_a_pickle(bench: Bench) -> None:
    bench._signed(WEIGHTS, pickle.dumps(_Harm()))


def golden_as_a_pickle(bench: Bench) -> None:
    bench._signed(GOLDEN, pickle.dumps(_Harm()))


def checkpoint_with_an_object(bench: Bench) -> None:
    bench._run(bench._saved({**bench.checkpoint, "epoch": _Harm()}))


def checkpoint_with_text_for_a_class(bench: Bench) -> None:
    spec = {**SPEC, "init_args": {**SPEC["init_args"], "stft": TEXTS[0], "features": TEXTS[1]}}
    bench._run(bench._saved({**bench.checkpoint, "hyper_parameters": {"enhancer": spec}}))


def launches_that_name_data_of_their_own(bench: Bench) -> None:
    from rased.cli.replay import replay

    harm = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", MARK]}}
    launches = [{**bench.launches[0], "config": {"data": harm, "trainer": {}}, "step": 0}]
    folder = bench.folder / "replayed"
    folder.mkdir(exist_ok=True)
    (folder / "launches.yaml").write_bytes(fuzzing.as_yaml(launches))
    (folder / "metrics.csv").write_text("step,epoch,time\n5,0,1\n")
    replay(folder, 1, folder / "out")


class _Harm:
    def __reduce__(self) -> tuple[Any, Any]:
        return (Path.touch, (Path(MARK),))


ATTACKS = [
    network_as_text,
    network_as_a_function,
    enhancer_as_a_function,
    class_through_a_module_of_ours,
    tag_of_python,
    weights_as_a_pickle,
    golden_as_a_pickle,
    checkpoint_with_an_object,
    checkpoint_with_text_for_a_class,
    launches_that_name_data_of_their_own,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_ten_files_that_would_run_something_run_nothing(bench: Bench, attack: Any) -> None:
    with pytest.raises(RasedError) as refusal:
        attack(bench)
    assert "\n" not in str(refusal.value)
    assert not Path(MARK).exists()


# Growth: what is small on the disk stays small in memory.


@pytest.mark.parametrize(
    "arguments",
    [
        {"layers": 18446744073709551615},
        {"layers": 2**53},
        {"layers": 100_000},
        {"hidden": 2**40},
        {"hidden": 1_000_000},
        {"expansion": 2**31},
        {"hidden": 0},
        {"hidden": -1},
    ],
    ids=str,
)
def test_a_network_larger_than_its_weights_is_not_built(
    bench: Bench, arguments: dict[str, int]
) -> None:
    network = {
        "class_path": "rased.models.gru.NSNet2",
        "init_args": {"hidden": 8, "layers": 1, "expansion": 8, **arguments},
    }
    spec = {**SPEC, "init_args": {**SPEC["init_args"], "network": network}}
    largest = torch.nn.Linear.__init__
    sizes: list[int] = []

    def watch(self: Any, inputs: int, outputs: int, *rest: Any, **options: Any) -> None:
        if torch.get_default_device().type != "meta":
            sizes.append(inputs * outputs)
        largest(self, inputs, outputs, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Linear, "__init__", watch)
        with pytest.raises(RasedError):
            card_with(bench, spec)
    assert max(sizes, default=0) < 1_000_000


@pytest.mark.parametrize(
    "enhancer",
    [
        {"class_path": "rased.models.gtcrn.GTCRN", "init_args": {"stft": {"n_fft": 10**9}}},
        {"class_path": "rased.models.gtcrn.GTCRN", "init_args": {"erb_bands": 10**9}},
        {"class_path": "rased.models.classical.omlsa.OMLSA", "init_args": {"n_fft": 2**40}},
        {
            "class_path": SPEC["class_path"],
            "init_args": {
                **SPEC["init_args"],
                "network": {"class_path": "rased.models.dnn.DNN", "init_args": {"layers": 10**9}},
            },
        },
    ],
    ids=range(4),
)
def test_sizes_beyond_any_enhancer_are_refused_before_a_window_is_made(
    bench: Bench, enhancer: dict[str, Any]
) -> None:
    with pytest.raises(RasedError, match=r"is \d+; the maximum is 65536"):
        card_with(bench, enhancer)


def test_weights_that_repeat_one_number_are_refused(bench: Bench) -> None:
    """They would let a network of any size pass as no larger than its weights."""
    state = dict(bench.checkpoint["state_dict"])
    name = next(iter(state))
    state[name] = torch.zeros(1).expand(10**9)
    with pytest.raises(RasedError, match="is not a plain tensor"):
        bench._run(bench._saved({**bench.checkpoint, "state_dict": state}))


def test_aliases_are_refused_before_they_grow(bench: Bench) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(RasedError, match="anchor or alias"):
        bench._load({CARD: "\n".join(lines).encode()})


def test_shared_lists_in_a_checkpoint_are_refused_before_they_grow(bench: Bench) -> None:
    value: list[Any] = ["x"]
    for _ in range(60):
        value = [value, value]
    spec = {**SPEC, "init_args": {**SPEC["init_args"], "target": value}}
    with pytest.raises(RasedError, match="too many values"):
        bench._run(bench._saved({**bench.checkpoint, "hyper_parameters": {"enhancer": spec}}))


def test_a_checkpoint_that_unpacks_to_more_than_itself_is_refused(
    bench: Bench, tmp_path: Path
) -> None:
    content = bench._saved(bench.checkpoint)
    plain, packed = tmp_path / "plain.ckpt", tmp_path / "packed.ckpt"
    plain.write_bytes(content)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member), zipfile.ZIP_DEFLATED)
    with pytest.raises(RasedError, match="truncated or is not a checkpoint"):
        bench._run(packed.read_bytes())


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "folder", "missing", "list"])
def test_a_checkpoint_that_is_none_is_one_sentence(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    content = bench._saved(bench.checkpoint)
    match kind:
        case "empty":
            path.touch()
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "text":
            path.write_text("words")
        case "folder":
            path.mkdir()
        case "list":
            path.write_bytes(bench._saved([1, 2]))
    with pytest.raises(RasedError) as refusal:
        load_run(tmp_path / "run")
    assert "best.ckpt" in str(refusal.value)
    words = ["enhance", str(tmp_path / "in.wav"), "-o", str(tmp_path / "o.wav")]
    assert main([*words, "--model", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# Names: none leads out of its folder.


@pytest.mark.parametrize(
    "name", ["../x", "/abs", "a/b", ".hidden", "..", "", "a\\b", CARD, SOURCE, "x" * 300, "a\nb"]
)
def test_a_name_in_a_card_is_one_part_of_a_path(bench: Bench, name: str) -> None:
    for card in (
        {**bench.card, "files": {**bench.card["files"], name: "0" * 64}},
        {**bench.card, "name": name} if name not in (CARD, SOURCE) else {},
    ):
        with pytest.raises(RasedError):
            bench._load({CARD: fuzzing.as_yaml(card)})


def test_weights_with_a_hash_that_agrees_and_a_header_that_lies(bench: Bench) -> None:
    for header in (
        b"[]",
        b'{"__metadata__": "x"}',
        b'{"a": 1}',
        b'{"a": {"dtype": "F32"}}',
        b"\xff",
    ):
        content = len(header).to_bytes(8, "little") + header
        with pytest.raises(RasedError, match=r"not a safetensors file|truncated"):
            bench._signed(WEIGHTS, content)
    golden = safetensors.torch.save({"estimate": torch.zeros(1, 10)})
    with pytest.raises(RasedError, match="must contain `noisy` and `estimate`"):
        bench._signed(GOLDEN, golden)
    assert hashlib.sha256(bench.files[GOLDEN]).hexdigest() == bench.card["files"][GOLDEN]
    assert all(check.passed for check in verify(bench._place({})))
    assert tiny().sample_rate == 16_000
