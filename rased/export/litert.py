"""LiteRT (TensorFlow Lite): the ONNX graph, converted in an environment of its own."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rased import disk
from rased.errors import RasedError, cut, shown
from rased.export.step import random_state
from rased.export.targets import CHECKED, TOLERANCE, described_graph, write_facts
from rased.models.base import Enhancer
from rased.onnx import Enhancer as Exported
from rased.onnx.runtime import GRAPH, session_of

VARIABLE, TFLITE = "RASED_LITERT", "model.tflite"
SCRIPT = Path(__file__).with_name("litert_convert.py")
RECIPE = (
    "LiteRT's converter needs other versions of many packages, so it has an environment of its own: "
    "`python3 -m venv litert-env && litert-env/bin/pip install torch litert-torch onnx`, then "
    f"`export {VARIABLE}=$PWD/litert-env/bin/python`"
)


def to_litert(enhancer: Enhancer, name: str, out: Path) -> dict[str, Any]:
    """Write model.tflite, model.json and an example to a folder; return the facts.

    Inputs are args_0 (the chunk), args_1 and so on (the state, in the order of model.json), outputs output_0 and so on.

    Raises:
        RasedError: there is no environment with the converter, it fails, or its graph gives other numbers.
    """
    if not installed():
        given = os.environ.get(VARIABLE)
        raise RasedError(
            f"{VARIABLE} is {shown(given)}: no such file. {RECIPE}." if given else f"{RECIPE}."
        )
    content, facts = described_graph(enhancer, name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        exported = Exported(session_of(content), facts)
        facts["max_error"] = convert(enhancer, exported, content, folder)
        out.mkdir(parents=True, exist_ok=True)
        with disk.replacing(out / TFLITE) as path:
            path.write_bytes((folder / TFLITE).read_bytes())
    write_facts(out, facts, "litert")
    return facts


def installed() -> bool:
    """Return whether the environment with the converter is named, and there."""
    return Path(os.environ.get(VARIABLE, "")).is_file()


def convert(enhancer: Enhancer, exported: Exported, content: bytes, folder: Path) -> float:
    """Write model.tflite to a folder; return the difference of its output to that of ONNX Runtime.

    Args:
        enhancer: gives a state for the comparison.
        exported: the graph in ONNX Runtime.
        content: its file.
        folder: gets the graph, and chunks and a random state in check.npz.

    Raises:
        RasedError: the converter fails, or its graph gives other numbers.
    """
    name = exported.facts["name"]
    (folder / GRAPH).write_bytes(content)
    wanted = _check(enhancer, exported, folder)
    run_there(SCRIPT, folder, name=name)
    found = np.load(folder / "checked.npz")["estimate"]
    difference = float(np.abs(found.ravel() - wanted).max())
    if not difference <= TOLERANCE:
        raise RasedError(
            f"'{name}' cannot be exported: LiteRT's graph differs by {difference:.2g}, more than {TOLERANCE:g}. Use "
            "--to onnx."
        )
    return difference


def _check(enhancer: Enhancer, exported: Exported, folder: Path) -> np.ndarray:
    """Write chunks and a random state to check.npz; return what ONNX Runtime gives for them, as PyTorch does."""
    state = {leaf: tensor.numpy() for leaf, tensor in random_state(enhancer, 1).items()}
    noise = 0.1 * np.random.default_rng(1).standard_normal((CHECKED, exported.chunk_length))
    chunks = noise.astype(np.float32)
    np.savez(folder / "check.npz", chunk=chunks, **state)  # type: ignore[arg-type]
    return exported.step(chunks.ravel(), state)[0]


def run_there(script: Path, folder: Path, *words: str, name: str) -> None:
    """Run a script with a folder in the environment of the converter.

    Raises:
        RasedError: it fails.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [os.environ[VARIABLE], "-P", str(script), str(folder), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "Error" in line]
        reason = cut(errors[-1] if errors else done.stderr[-200:])
        raise RasedError(f"'{name}' cannot be converted to LiteRT: {reason}. Use --to onnx.")
