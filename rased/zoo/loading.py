"""From a card to an enhancer: hashes first, then the class from the allow-list, then the weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from rased.config import build
from rased.data.manifest import splits
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.models.cost import count_parameters
from rased.streaming import CausalStream
from rased.zoo.card import GOLDEN, MANIFEST, MANIFEST_SHA256, WEIGHTS, read_card

ALLOWED = ("rased.",)
TOLERANCE = 1e-4


def load_folder(folder: Path) -> Enhancer:
    """Read the card, verify the hash of every file, build the class, load the weights strictly.

    Nothing is built, and no weight is parsed, before all hashes agree, that of the manifest which the
    weights name among them. The enhancer is in evaluation mode; its `card` is the card.

    Raises:
        RasedError: a card or a file that is not what it should be.
    """
    card = read_card(folder)
    files = verified_files(folder, card)
    check_manifest(folder, card, files)
    enhancer = build(Enhancer, card["enhancer"], allow=ALLOWED)
    weights = _tensors(files[WEIGHTS], folder / WEIGHTS)
    try:
        enhancer.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RasedError(f"'{folder / WEIGHTS}' does not fit its card: {reason}") from None
    _check_facts(enhancer, card, folder)
    enhancer.card = card
    return enhancer.eval()


def verified_files(folder: Path, card: Mapping[str, Any]) -> dict[str, bytes]:
    """Content of every file that the card names, each with the hash that the card says.

    Raises:
        RasedError: a file is missing, cut or changed.
    """
    contents = {}
    for name, wanted in card["files"].items():
        path = folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RasedError(f"'{path}' cannot be read: {error.strerror}.") from None
        found = hashlib.sha256(content).hexdigest()
        if found != wanted:
            raise RasedError(
                f"'{path}' is not the file that its card describes (SHA-256 {found[:12]}..., not "
                f"{wanted[:12]}...): it was changed or cut; get the checkpoint again."
            )
        contents[name] = content
    return contents


def check_manifest(folder: Path, card: Mapping[str, Any], files: Mapping[str, bytes]) -> bool:
    """Whether the weights name what they were trained on, as what publishes a run lets them.

    Raises:
        RasedError: manifest.json is not what they name, or not what the card sums up.
    """
    manifest = files.get(MANIFEST, b"")
    path = folder / MANIFEST
    named = _metadata(files[WEIGHTS], folder / WEIGHTS).get(MANIFEST_SHA256)
    if named is not None and hashlib.sha256(manifest).hexdigest() != named:
        raise RasedError(
            f"'{path}' is not what the weights were trained on: {WEIGHTS} names another SHA-256 "
            f"({named[:12]}...); get the checkpoint again."
        )
    if manifest and card["training"].get("data") != summed_up(json.loads(manifest)):
        raise RasedError(
            f"'{path}' is not what the card sums up under training.data: get the checkpoint again."
        )
    return named is not None


def summed_up(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without its long lists."""
    return {
        split: {
            role: {key: part[key] for key in ("recordings", "hours", "sha256")}
            for role, part in roles.items()
        }
        for split, roles in splits(manifest).items()
    }


@dataclass(frozen=True)
class Check:
    """One thing that `verify` looked at.

    Attributes:
        name: what.
        passed: whether it is as it should be.
        detail: the figure or the reason.
    """

    name: str
    passed: bool
    detail: str


def verify(folder: Path) -> list[Check]:
    """Hashes and facts of the card, the golden output, and the stream against the file.

    The golden output must be reproduced within 1e-4, and a causal model's stream must equal its
    `forward` within 1e-4. Stops at the first check that leaves nothing to go on with.
    """
    try:
        enhancer = load_folder(folder)
    except RasedError as error:
        return [Check("files", False, str(error))]
    assert enhancer.card is not None
    checks = [Check("files", True, f"{len(enhancer.card['files'])} SHA-256 agree")]
    golden = _tensors((folder / GOLDEN).read_bytes(), folder / GOLDEN)
    noisy, wanted = golden["noisy"], golden["estimate"]
    with torch.inference_mode():
        estimate = enhancer(noisy)
    checks.append(_compared("golden output", estimate, wanted))
    if enhancer.causal:
        # Silence around it: a stream begins with silence, whatever a file is padded with.
        quiet = functional.pad(noisy, (enhancer.sample_rate, enhancer.sample_rate))
        with torch.inference_mode():
            wanted = enhancer(quiet)
        checks.append(_compared("stream equals file", streamed(enhancer, quiet), wanted))
    return checks


def streamed(enhancer: Enhancer, noisy: Float[Tensor, "1 time"]) -> Float[Tensor, "1 time"]:
    """The output of a causal enhancer fed chunk by chunk, aligned with its input."""
    stream = CausalStream(enhancer)
    parts = [stream.push(chunk) for chunk in noisy.split(stream.chunk_length, dim=-1)]
    return torch.cat([*parts, stream.finish()], dim=-1)


def _compared(name: str, found: Tensor, wanted: Tensor) -> Check:
    if found.shape != wanted.shape:
        return Check(name, False, f"shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
    difference = float((found - wanted).abs().max())
    return Check(name, difference <= TOLERANCE, f"largest difference {difference:.1e}")


def _check_facts(enhancer: Enhancer, card: Mapping[str, Any], folder: Path) -> None:
    facts = {
        "sample_rate": enhancer.sample_rate,
        "latency": enhancer.latency,
        "algorithmic_latency": enhancer.algorithmic_latency,
        "buffering": enhancer.buffering,
        "causal": enhancer.causal,
        "parameters": count_parameters(enhancer),
    }
    for field, fact in facts.items():
        if card[field] != fact:
            raise RasedError(
                f"the card in '{folder}' says {field} {card[field]} and the model has {fact}: the "
                f"entry is damaged; get it again or publish it again."
            )


def _metadata(content: bytes, path: Path) -> dict[str, str]:
    """What a safetensors file says besides its tensors."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except ValueError as error:
        raise RasedError(f"'{path}' is no safetensors file: {error}") from None
    return dict(header.get("__metadata__", {}))


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise RasedError(f"'{path}' is no safetensors file: {error}") from None
