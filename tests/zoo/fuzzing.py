"""Hostile files for the readers of entries, runs and configurations: mutations of bytes and of values.

`python -m tests.zoo.fuzzing --count 20000 --seed 1` runs many, each with an alarm and a bound on memory.
"""

import argparse
import collections
import copy
import hashlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml

from rased.config import load_yaml
from rased.errors import RasedError
from rased.zoo.card import CARD, GOLDEN, MANIFEST, MANIFEST_SHA256, WEIGHTS
from rased.zoo.loading import load_folder, summed_up, verify
from rased.zoo.runs import load_run
from tests.zoo.conftest import SPEC, tiny, write_tiny

MARK = "fuzzing-was-here"
"""A file that payloads would make."""

TEXTS = [
    f"{{class_path: os.system, init_args: {{command: 'touch {MARK}'}}}}",
    f"!!python/object/apply:os.system ['touch {MARK}']",
    f"__import__('os').system('touch {MARK}')",
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    "os.system",
    "subprocess.getoutput",
    "rased.models.gru.NSNet2",
    "rased.config.os.system",
    "tabnanny.check",
    "../../escaped",
    "/tmp/escaped",
    "..",
    ".",
    "",
    "a\0b",
    "\x1b[31m",
    "\u202e",
    "[/b]",
    "| a | b |",
    "{0}",
    "%s%n",
    "*alias",
    "&anchor",
    "1e999",
    "nan",
    "x" * 20_000,
]
NUMBERS = [
    0,
    -1,
    1,
    2,
    3,
    255,
    65_536,
    10**6,
    2**31,
    2**53,
    2**64 - 1,
    10**30,
    0.5,
    -0.0,
    1e-320,
    1e308,
    float("nan"),
    float("inf"),
]
PLAIN: list[Any] = [None, True, False, [], {}, [[]], [{}], {"class_path": "os.system"}]
SPECS = [
    {"class_path": "os.system", "init_args": {"command": f"touch {MARK}"}},
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", MARK]}},
    {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 2}},
    {"class_path": "rased.losses.waveform.SNR"},
    {"class_path": "rased.models.gtcrn.GTCRN"},
    {"class_path": "rased.models.conv_tasnet.ConvTasNet"},
    SPEC,
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every value within another."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def hostile(rng: random.Random, old: Any) -> Any:
    """A value that should not be there."""
    choices: list[Callable[[], Any]] = [
        lambda: rng.choice(TEXTS),
        lambda: rng.choice(NUMBERS),
        lambda: copy.deepcopy(rng.choice(PLAIN)),
        lambda: copy.deepcopy(rng.choice(SPECS)),
        lambda: [copy.deepcopy(old)] * (rng.choice((1, 2, 1000)) if len(str(old)) < 100 else 1),
        lambda: {"class_path": old, "init_args": old},
    ]
    if isinstance(old, int | float) and not isinstance(old, bool):
        choices += [lambda: rng.choice(NUMBERS), lambda: type(old)(old * rng.choice((2, 3, -1)))]
        choices += [lambda: old + rng.choice((-1, 1, 7))]
    if isinstance(old, str) and old:
        choices += [lambda: old[: rng.randrange(len(old))], lambda: old * 300]
        choices += [lambda: rng.choice(TEXTS)] * 2
    return rng.choice(choices)()


def change(rng: random.Random, value: Any) -> Any:
    """Put hostile values, keys and gaps into a copy of a document."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = list(places(value))
        if not found:
            return hostile(rng, value)
        container, key = rng.choice(found)
        what = rng.random()
        if what < 0.75:
            container[key] = hostile(rng, container[key])
        elif what < 0.85:
            del container[key]
        elif isinstance(container, dict):
            container[rng.choice([*TEXTS, 3, None, True])] = hostile(rng, container[key])
        else:
            container.insert(0, hostile(rng, container[key]))
    return value


SNIPPETS = [
    b"&a [*a]",
    b"*a",
    b"!!int x",
    b"!!timestamp x",
    b"!!bool x",
    b"2001-99-99",
    b"[" * 900,
    b"{" * 90,
    b"9" * 5000,
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"? ",
    b"<<: ",
    b"\t",
    b"- ",
    b"'",
    b'"',
    b"#",
    b"%YAML 9.9",
    b"---\n",
    b"NaN",
    b"1e999",
    *(text.encode("utf-8", "replace") for text in TEXTS[:12]),
]


def damage(rng: random.Random, content: bytes) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + rng.randrange(1, 40)]
            case 3:
                data[at:at] = data[at : at + rng.randrange(1, 200)]
            case 4:
                data[at:at] = rng.choice(SNIPPETS)
            case _:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 6)))
    return bytes(data)


def as_yaml(value: Any) -> bytes:
    """A document as YAML, whatever it holds."""
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace")


class Bench:
    """A tiny entry and a tiny run in a folder, and every way to spoil them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        torch.manual_seed(0)
        part = {"recordings": 1, "hours": 0.1, "sha256": "0" * 64, "keys": ["a"]}
        self.manifest = {"train": {"speech": {**part, "contents": ["1" * 12], "labels": ["b"]}}}
        manifest = json.dumps(self.manifest).encode()
        self.entry = write_tiny(
            folder / "base",
            files={MANIFEST: manifest},
            training={"audio_hours": 0.5, "data": summed_up(self.manifest)},
        )
        self.files = {path.name: path.read_bytes() for path in self.entry.iterdir()}
        self.card = yaml.safe_load(self.files[CARD])
        state = {f"average.{name}": value for name, value in tiny().state_dict().items()}
        self.checkpoint = {
            "state_dict": state,
            "hyper_parameters": {"enhancer": SPEC, "lr": 1e-3, "_class_path": "a.B"},
            "global_step": 1,
            "epoch": 0,
        }
        self.config = {
            "model": {
                "class_path": "rased.training.mask.MaskEnhancement",
                "init_args": {"enhancer": SPEC, "loss": SPECS[3], "lr": 1e-3},
            },
            "data": {
                "class_path": "rased.data.datamodule.MixtureDataModule",
                "init_args": {"speech": ["bundle"], "noise": ["bundle"], "scene": {"segment": 2.0}},
            },
            "trainer": {"max_epochs": 1},
            "run": {"examples": 0},
        }
        self.launches = [
            {
                "step": 0,
                "epoch": 0,
                "position": 0,
                "batch": 0,
                "batches_per_epoch": 3,
                "batch_size": 2,
                "world_size": 1,
                "accumulate_grad_batches": 1,
                "corpora": {"speech": "0" * 64},
                "config": self.config,
            }
        ]

    def targets(self) -> dict[str, Callable[[random.Random], None]]:
        """Each way to spoil a file and read it, by name."""
        return {
            "card, bytes": lambda rng: self._load({CARD: damage(rng, self.files[CARD])}),
            "card, values": lambda rng: self._load({CARD: as_yaml(change(rng, self.card))}),
            "spec, values": self._spec,
            "manifest, bytes": lambda rng: self._signed(
                MANIFEST, damage(rng, self.files[MANIFEST])
            ),
            "manifest, values": lambda rng: self._signed(
                MANIFEST, json.dumps(change(rng, self.manifest)).encode(), rng
            ),
            "weights, bytes": lambda rng: self._signed(WEIGHTS, damage(rng, self.files[WEIGHTS])),
            "weights, header": self._header,
            "golden, bytes": lambda rng: self._signed(GOLDEN, damage(rng, self.files[GOLDEN])),
            "config, bytes": lambda rng: self._config(damage(rng, as_yaml(self.config))),
            "config, values": lambda rng: self._config(as_yaml(change(rng, self.config))),
            "launches, bytes": lambda rng: self._launches(damage(rng, as_yaml(self.launches))),
            "launches, values": lambda rng: self._launches(as_yaml(change(rng, self.launches))),
            "checkpoint, bytes": lambda rng: self._run(damage(rng, self._saved(self.checkpoint))),
            "checkpoint, values": lambda rng: self._run(self._saved(change(rng, self.checkpoint))),
        }

    def _place(self, files: dict[str, bytes]) -> Path:
        folder = self.folder / "tried"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in {**self.files, **files}.items():
            (folder / name).write_bytes(content)
        return folder

    def _load(self, files: dict[str, bytes]) -> None:
        load_folder(self._place(files))

    def _spec(self, rng: random.Random) -> None:
        self._load({CARD: as_yaml({**self.card, "enhancer": change(rng, self.card["enhancer"])})})

    def _signed(self, name: str, content: bytes, rng: random.Random | None = None) -> None:
        """A changed file whose hash the card knows, as a careful forger makes it."""
        card = copy.deepcopy(self.card)
        files = {name: content}
        if name == MANIFEST:
            weights = safetensors.torch.load(self.files[WEIGHTS])
            named = {MANIFEST_SHA256: hashlib.sha256(content).hexdigest()}
            files[WEIGHTS] = safetensors.torch.save(weights, metadata=named)
        for one, data in files.items():
            card["files"][one] = hashlib.sha256(data).hexdigest()
        verify_one(self._place({**files, CARD: as_yaml(card)}))

    def _header(self, rng: random.Random) -> None:
        content = self.files[WEIGHTS]
        length = int.from_bytes(content[:8], "little")
        header = change(rng, json.loads(content[8 : 8 + length]))
        new = json.dumps(header).encode()
        size = rng.choice((len(new), len(new), len(new), 2**63, 0, len(new) + 1))
        self._signed(WEIGHTS, size.to_bytes(8, "little") + new + content[8 + length :])

    def _config(self, content: bytes) -> None:
        from rased.training.launch import check_config

        path = self.folder / "config.yaml"
        path.write_bytes(content)
        check_config(load_yaml(path))

    def _launches(self, content: bytes) -> None:
        from rased.training.history import LAUNCHES, read_launches

        folder = self.folder / "run"
        folder.mkdir(exist_ok=True)
        (folder / LAUNCHES).write_bytes(content)
        read_launches(folder)

    def _saved(self, content: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    def _run(self, content: bytes) -> None:
        folder = self.folder / "run" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "best.ckpt").write_bytes(content)
        load_run(folder.parent)


def verify_one(folder: Path) -> None:
    """Verify an entry; what it finds is as good as an error."""
    failed = [check for check in verify(folder) if not check.passed]
    if failed:
        raise RasedError(f"{failed[0].name}: {failed[0].detail}")


def attempt(target: Callable[[random.Random], None], seed: str) -> str:
    """Read one spoiled file: "clean", "refused", or what went wrong."""
    try:
        target(random.Random(seed))
    except RasedError as error:
        text = str(error)
        if "\n" in text or len(text) > 1500 or not text.isprintable():
            return f"a message that is not one short sentence: {text[:200]!r}"
        return "refused"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "/rased/" in f.filename]
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else last.name
        return f"{type(error).__name__} at {where}: {str(error)[:150]}"
    return "clean"


def main() -> int:
    """Try many and tell what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=int, default=10)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        targets = {key: one for key, one in bench.targets().items() if words.only in key}
        for warm in targets.values():
            attempt(warm, "warm")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bound = pages * resource.getpagesize() + (1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
        signal.signal(signal.SIGALRM, _too_long)
        signal.signal(signal.SIGPROF, _too_long)
        outcomes: dict[str, collections.Counter[str]] = {}
        for number in range(words.count):
            if number and number % 100 == 0:
                print(f"{number} of each", flush=True)
            for key, target in targets.items():
                signal.setitimer(signal.ITIMER_PROF, words.seconds)  # of the processor
                signal.alarm(30 * words.seconds)  # a wait that never ends
                outcome = attempt(target, f"{words.seed}/{key}/{number}")
                signal.alarm(0)
                signal.setitimer(signal.ITIMER_PROF, 0)
                found = outcomes.setdefault(key, collections.Counter())
                if outcome not in ("clean", "refused") and not found[outcome]:
                    print(f"{key} {words.seed}/{number}: {outcome}", flush=True)
                found[outcome] += 1
        if Path(MARK).exists():
            print("A PAYLOAD RAN")
    for key, found in outcomes.items():
        print(f"{key:20} {dict(found)}"[:400])
    return 0


def _too_long(*_: object) -> None:
    raise TimeoutError("hangs")


if __name__ == "__main__":
    sys.exit(main())
