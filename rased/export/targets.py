"""Write the files of an exported enhancer: graph, description and examples."""

import hashlib
import html
import shutil
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch

from rased import disk
from rased.errors import RasedError
from rased.export.graph import describe, step_graph
from rased.export.step import random_state, refuse, stacked, starts
from rased.models.base import Enhancer
from rased.onnx import Enhancer as Exported
from rased.onnx.runtime import GRAPH, session_of
from rased.zoo.card import read_card, write_card

DESCRIPTION = "model.json"
EXAMPLES = {
    "onnx": ("example.py", "example.cpp", "example.mjs"),
    "web": ("enhancer.mjs", "index.html", "package.json"),
    "litert": ("example_litert.py",),
    "streams": ("example_streams.py",),
}
"""Files that stand beside the graph, for each target."""
TEMPLATES = Path(__file__).parent / "templates"
TOLERANCE = 1e-5
CHECKED = 64
"""Chunks that the check of a graph compares, from each of its states."""


def facts_of(enhancer: Enhancer, name: str) -> dict[str, Any]:
    """Return what an exported file says about itself."""
    from rased import __version__

    card = enhancer.card or {}
    licence = card.get("licence", {}).get("weights", "unknown: no card")
    return {
        "name": card.get("name", Path(name).name),
        "summary": card.get("summary", ""),
        "sample_rate": enhancer.sample_rate,
        "chunk_length": enhancer.chunk_length,
        "latency": enhancer.latency,
        "total_latency_ms": 1000 * (enhancer.total_latency or 0) / enhancer.sample_rate,
        "licence": licence if isinstance(licence, str) else ", ".join(licence),
        "paper": enhancer.paper,
        "weights_sha256": card.get("files", {}).get("model.safetensors") or _digest(enhancer),
        "rased_version": __version__,
        "quantised": False,
        "state": starts(enhancer.initial_state()),
    }


def _digest(enhancer: Enhancer) -> str:
    """Return the SHA-256 of all weights, for an enhancer without a card."""
    found = hashlib.sha256()
    for name, tensor in enhancer.state_dict().items():
        found.update(name.encode() + tensor.cpu().numpy().tobytes())
    return found.hexdigest()


@torch.no_grad()
def difference(enhancer: Enhancer, exported: Exported, *, seeds: int = 3) -> float:
    """Return the largest difference of the outputs of PyTorch and a graph, from random states.

    A graph of several streams is compared with PyTorch stream by stream.
    """
    largest, streams = 0.0, exported.streams
    for seed in range(seeds):
        states = [random_state(enhancer, seed + 10 * number) for number in range(streams)]
        theirs = {name: tensor.numpy() for name, tensor in stacked(states).items()}
        generator = torch.Generator().manual_seed(100 + seed)
        noisy = 0.1 * torch.randn(streams, CHECKED * exported.chunk_length, generator=generator)
        for chunk in noisy.split(exported.chunk_length, dim=-1):
            found, theirs = exported.step(
                chunk.numpy() if streams > 1 else chunk[0].numpy(), theirs
            )
            for number, row in enumerate(np.atleast_2d(found)):
                wanted, states[number] = enhancer.step(chunk[number : number + 1], states[number])
                largest = max(largest, float(np.abs(row - wanted[0].numpy()).max()))
    return largest


def described_graph(
    enhancer: Enhancer, name: str, *, int8: bool = False, streams: int = 1
) -> tuple[bytes, dict[str, Any]]:
    """Return a graph that was compared with PyTorch, and what it says about itself.

    Args:
        enhancer: any enhancer.
        name: its name, for messages and the description.
        int8: weights of 8 bits, for one stream.
        streams: how many streams get a chunk at once.

    Raises:
        RasedError: the enhancer cannot be exported, or the graph gives other numbers.
    """
    refuse(enhancer, name)
    facts, model = facts_of(enhancer, name), step_graph(enhancer, name, streams)
    if streams > 1:
        facts["streams"] = streams
    describe(model, facts)
    facts["max_error"] = checked(enhancer, model.SerializeToString(), facts)
    if int8:
        from rased.export.quantise import quantised

        model, facts = quantised(model, facts)
        written = Exported(session_of(model.SerializeToString()), facts)
        facts["max_error"] = difference(enhancer, written)
    describe(model, facts)
    return model.SerializeToString(), facts


def checked(enhancer: Enhancer, content: bytes, facts: dict[str, Any]) -> float:
    """Return the difference of a graph to PyTorch.

    Raises:
        RasedError: it is above 1e-5.
    """
    exported = Exported(session_of(content), facts)
    found = difference(enhancer, exported, seeds=3 if exported.streams == 1 else 1)
    if not found <= TOLERANCE:
        raise RasedError(
            f"'{facts['name']}' cannot be exported: the graph differs from PyTorch by {found:.2g}, more than "
            f"{TOLERANCE:g}. Please report it with the name of the checkpoint."
        )
    return found


def write(out: Path, graph: bytes, facts: dict[str, Any], to: str) -> None:
    """Write a folder: graph, description, and examples with the facts filled in."""
    out.mkdir(parents=True, exist_ok=True)
    with disk.replacing(out / GRAPH) as path:
        path.write_bytes(graph)
    write_facts(out, facts, to)


def add_to_entry(folder: Path, graph: bytes) -> None:
    """Write a graph into an entry of the zoo, and its SHA-256 into the card: `rased.onnx` finds it by name.

    Raises:
        RasedError: the folder is no entry.
    """
    card = read_card(folder)
    card["files"][GRAPH] = hashlib.sha256(graph).hexdigest()
    # The whole folder at once: a kill never leaves a graph beside the card of another.
    with disk.new_folder(folder.resolve(), replace=True) as part:
        shutil.copytree(folder, part, dirs_exist_ok=True)
        (part / GRAPH).write_bytes(graph)
        write_card(part, card)


def write_facts(out: Path, facts: dict[str, Any], to: str) -> None:
    """Write the description, and the examples with the facts filled in."""
    disk.write_json(out / DESCRIPTION, facts)
    first = ", ".join(_cpp(one["start"]) for one in facts["state"].values())
    for name in EXAMPLES[to]:
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        # A card may come from a stranger: in a page, its words are text.
        said = {key: html.escape(str(fact)) for key, fact in facts.items()}
        words = said if name.endswith(".html") else facts
        disk.write_text(out / name, Template(text).safe_substitute(words, starts=first))


def _cpp(start: Any) -> str:
    """Return the values that begin a state, in C++: one for all, or all of them."""
    words = {"Infinity": "INFINITY", "-Infinity": "-INFINITY"}
    values = start if isinstance(start, list) else [start]
    return "{" + ", ".join(words.get(value) or f"{value}f" for value in values) + "}"
