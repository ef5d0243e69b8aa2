"""The systems that can be evaluated: resolve a name or a folder into an object that enhances.

SYSTEM is `noisy`, `target`, a classical method, a checkpoint of the zoo (by name or folder), a run
folder, or a folder of enhanced files (with the facts that its `system.yaml` states).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from rased import zoo
from rased.conditions import Condition
from rased.disk import sha256
from rased.errors import RasedError
from rased.evaluation.stated import read_stated
from rased.evaluation.testset import EvaluationSet, audio_files, given
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.models.cost import count_parameters, macs_per_second
from rased.models.identity import fingerprint
from rased.names import component
from rased.zoo.card import CARD, read_card
from rased.zoo.runs import checkpoint_path, is_run

Kind = Literal["noisy", "target", "classical", "zoo", "run", "files"]


@dataclass(frozen=True)
class System:
    """A system, small enough to be sent to another process.

    Attributes:
        name: its name in results; usable in a file name.
        kind: its origin.
        source: the name or the folder.
        allow: packages besides rased whose classes it may name.
    """

    name: str
    kind: Kind
    source: str
    allow: tuple[str, ...] = ()

    def load(self) -> Enhancer | None:
        """Return the enhancer in evaluation mode; None for noisy, target and enhanced files."""
        if self.kind in ("noisy", "target", "files"):
            return None
        return zoo.Source(cast(Any, self.kind), self.source).load(allow=self.allow)


def resolve(word: str, testset: EvaluationSet, *, allow: Sequence[str] = ()) -> System:
    """Return the system that a word on the command line names.

    Args:
        word: noisy, target, a folder of enhanced files, or what `rased.load` takes.
        testset: the test set for the evaluation.
        allow: packages besides rased whose classes it may name.

    Raises:
        RasedError: unknown name (the message suggests similar ones), or files that do not fit the test set.
    """
    if word == "noisy":
        return System("noisy", "noisy", "noisy")
    if word == "target":
        if any(item.target is None for item in testset.items):
            raise RasedError(f"the test set '{testset.name}' has no target to evaluate.")
        return System("target", "target", "target")
    path = Path(word)
    if "://" not in word and zoo.is_graph(path):
        raise RasedError(
            f"'{word}' is an exported graph without a card: evaluate the checkpoint that it was made from, or a folder "
            "of files that the graph enhanced."
        )
    # A URL is no folder, and a folder named like a method does not hide it.
    if "://" not in word and word not in METHODS and path.is_dir() and not _holds_model(path):
        known = [*zoo.list_checkpoints(), *zoo.list_importable()]
        # An empty folder that happens to have the name of a checkpoint does not hide the checkpoint.
        if word not in known or audio_files(path):
            return _files(path, testset)
    source = zoo.resolve(word, others=("noisy", "target")).here()
    return System(_name(source), cast(Any, source.kind), source.place, tuple(allow))


def _holds_model(folder: Path) -> bool:
    return (folder / CARD).is_file() or is_run(folder)


def _name(source: zoo.Source) -> str:
    """Return its name in results."""
    match source.kind:
        case "zoo":
            return str(read_card(Path(source.place))["name"])
        case "run":
            name = Path(source.place).resolve().name
            return component(name, what=f"the name of the run '{source.place}'")
    return source.place


def describe(system: System, testset: EvaluationSet) -> dict[str, Any]:
    """Return the facts of a system that a result records; see `Result.system`.

    Raises:
        RasedError: the test set lacks a condition that the system needs.
    """
    enhancer = system.load()
    if enhancer is None:
        stated = read_stated(Path(system.source)) if system.kind == "files" else None
        return {
            "name": system.name,
            "kind": system.kind,
            "sha256": _files_sha256(system, testset),
            "checkpoint_sha256": None,
            "parameters": None,
            "macs_per_second": None,
            "sample_rate": testset.sample_rate,
            "latency": None,
            "buffering": None,
            "look_ahead": None,
            "causal": None,
            **({} if stated is None else {"stated": stated}),
        }
    condition = given(enhancer, testset.items[0])
    card = enhancer.card or {}
    return {
        "name": system.name,
        "kind": system.kind,
        "sha256": fingerprint(enhancer),
        "checkpoint_sha256": _checkpoint_sha256(system, card),
        "parameters": count_parameters(enhancer),
        "macs_per_second": _macs(system, enhancer, condition),
        "sample_rate": enhancer.sample_rate,
        "latency": enhancer.latency,
        "buffering": enhancer.buffering,
        "look_ahead": _look_ahead(enhancer),
        "causal": enhancer.causal,
        **_imported(card),
    }


def _imported(card: dict[str, Any]) -> dict[str, str]:
    """Return the source of weights that others published; empty for own weights."""
    imported = card.get("training", {}).get("imported")
    return {"imported": str(imported.get("source", "others"))} if imported else {}


def _files(path: Path, testset: EvaluationSet) -> System:
    """Return the system of a folder of enhanced files."""
    files = audio_files(path)
    if not files:
        raise RasedError(
            f"the folder '{path}' is not a system: it has neither checkpoints/ (a run), card.yaml (a "
            "zoo entry) nor enhanced audio files."
        )
    absent = [item.id for item in testset.items if item.id not in files]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise RasedError(
            f"the folder '{path}' lacks '{absent[0]}'{more} of the test set '{testset.name}': enhance "
            "all of noisy/ and keep the names."
        )
    name = component(path.resolve().name, what=f"the name of the folder '{path}'")
    return System(name, "files", str(path))


def _files_sha256(system: System, testset: EvaluationSet) -> str:
    if system.kind != "files":
        return testset.list_sha256
    files = audio_files(Path(system.source))
    digest = hashlib.sha256()
    for item in testset.items:
        digest.update(f"{item.id} ".encode())
        digest.update(hashlib.sha256(files[item.id].read_bytes()).digest())
    return digest.hexdigest()


def _checkpoint_sha256(system: System, card: dict[str, Any]) -> str | None:
    if system.kind == "run":
        return sha256(checkpoint_path(system.source))
    digest = card.get("files", {}).get("model.safetensors")
    return None if digest is None else str(digest)


def _look_ahead(enhancer: Enhancer) -> int | None:
    """Return the samples of latency beyond those of the transform; None if the latency is undefined."""
    if enhancer.latency is None:
        return None
    transform = enhancer.transform
    return enhancer.latency - transform.latency if transform is not None else 0


def _macs(system: System, enhancer: Enhancer, condition: Condition) -> int | None:
    if system.kind == "classical":
        return None
    counted = (enhancer.card or {}).get("macs_per_second")
    return (
        round(macs_per_second(enhancer, condition=condition)) if counted is None else int(counted)
    )
