"""Load an enhancer from its card: verify the hashes, find the class in the table, then load the weights."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased import audio
from rased.classes import allowing
from rased.conditions import Condition
from rased.data.manifest import read, splits
from rased.data.shards.index import bundle
from rased.errors import RasedError, cut
from rased.models.base import Enhancer
from rased.models.cost import count_parameters
from rased.streaming import CausalStream
from rased.tensors import read_header, read_tensors
from rased.zoo.assembly import assemble
from rased.zoo.card import CONDITION, GOLDEN, MANIFEST, MANIFEST_SHA256, WEIGHTS, read_card

TOLERANCE = 1e-4
GOLDEN_SECONDS = 2.0
_LONGEST_GOLDEN = 60.0
"""Maximum seconds of a golden output."""
_AGAIN = "Get the checkpoint again."


def load_folder(folder: Path, *, allow: Sequence[str] = ()) -> Enhancer:
    """Read the card, verify the hash of every file, build the class, and load the weights strictly.

    Nothing is built and no weight is parsed before all hashes have been verified, including that of the manifest that
    the weights refer to. The enhancer is in eval mode, with the card as its `card`.

    Args:
        folder: folder of the entry.
        allow: packages, besides rased, whose classes may be built.

    Raises:
        RasedError: the card or a file fails a check.
    """
    card = read_card(folder)
    files = verified_files(folder, card)
    check_manifest(folder, card, files)
    weights = read_tensors(files[WEIGHTS], folder / WEIGHTS)
    enhancer = assemble(card["enhancer"], weights, classes=allowing(allow), where=f"'{folder}'")
    _check_facts(enhancer, card, folder)
    enhancer.card = card
    return enhancer


def verified_files(folder: Path, card: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the content of every file of the card, after verifying its hash.

    Raises:
        RasedError: a file is missing, truncated or changed.
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
                f"{wanted[:12]}...): it was changed or truncated; get the checkpoint again."
            )
        # The bytes that were hashed are the bytes that are used: a file changed in between is not read again.
        contents[name] = content
    return contents


def check_manifest(folder: Path, card: Mapping[str, Any], files: Mapping[str, bytes]) -> bool:
    """Return whether the weights refer to a manifest of their training data, as published runs do.

    Raises:
        RasedError: manifest.json is not the one they refer to, or does not match the summary in the card.
    """
    manifest = files.get(MANIFEST, b"")
    path = folder / MANIFEST
    named = read_header(files[WEIGHTS], folder / WEIGHTS).metadata.get(MANIFEST_SHA256)
    if named is not None and hashlib.sha256(manifest).hexdigest() != named:
        raise RasedError(
            f"'{path}' is not the manifest of the weights: {WEIGHTS} refers to another SHA-256 "
            f"({cut(named, 12)}); get the checkpoint again."
        )
    if manifest and card["training"].get("data") != summed_up(read(manifest, of=path)):
        raise RasedError(
            f"'{path}' does not match training.data in the card: get the checkpoint again."
        )
    return named is not None


def summed_up(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest without its long lists."""
    return {
        split: {
            role: {key: part[key] for key in ("recordings", "hours", "sha256")}
            for role, part in roles.items()
        }
        for split, roles in splits(manifest).items()
    }


_PIECES = (1, 2, 3, 5, 8, 13, 21)
"""Chunks that `verify` pushes at a time: the state must carry over between blocks of any length."""


@dataclass(frozen=True)
class Check:
    """Result of one check of `verify`.

    Attributes:
        name: what was checked.
        passed: whether the check succeeded.
        detail: the figure or the reason.
    """

    name: str
    passed: bool
    detail: str


def verify(folder: Path, *, allow: Sequence[str] = ()) -> list[Check]:
    """Check hashes and facts of the card, the golden output, and the stream against the file.

    The golden output must be reproduced within 1e-4, and a causal model's stream must equal its
    `forward` within 1e-4. Stops at a failure that makes the next checks impossible.
    """
    try:
        enhancer = load_folder(folder, allow=allow)
        noisy, wanted, condition = _golden(folder, enhancer)
    except RasedError as error:
        return [Check("files", False, str(error))]
    assert enhancer.card is not None
    checks = [Check("files", True, f"{len(enhancer.card['files'])} SHA-256 agree")]
    try:
        with torch.inference_mode():
            estimate = enhancer(noisy, condition=condition)
        checks.append(_compared("golden output", estimate, wanted))
        if enhancer.causal:
            # Add silence on both sides: a stream begins with silence, whatever padding a file gets.
            quiet = functional.pad(noisy, (enhancer.sample_rate, enhancer.sample_rate))
            with torch.inference_mode():
                wanted = enhancer(quiet, condition=condition)
            found = streamed(enhancer, quiet, condition, pieces=_PIECES)
            checks.append(_compared("stream equals file", found, wanted))
    except Exception as error:  # an inconsistent network may raise anything
        reason = f"{type(error).__name__}: {cut(str(error))}"
        return [*checks, Check("output", False, f"the network fails with {reason}")]
    return checks


def golden_excerpt(sample_rate: int, channels: int = 1) -> Float[Tensor, "1 *channel time"]:
    """Return 2 s of the first item of the bundled test set; each additional channel is delayed by one more sample."""
    items = sorted((bundle() / "frozen" / "noisy").glob("*.flac"))
    if not items:
        raise RasedError("the bundled test set is missing from this installation: reinstall it.")
    noisy, rate = audio.read(items[0], sample_rate=sample_rate)
    excerpt = torch.from_numpy(noisy[:1, : math.ceil(GOLDEN_SECONDS * rate)].copy())
    if channels == 1:
        return excerpt
    late = [functional.pad(excerpt, (by, 0))[:, : excerpt.shape[-1]] for by in range(channels)]
    return torch.stack(late, dim=1)


def _golden(folder: Path, enhancer: Enhancer) -> tuple[Tensor, Tensor, Condition]:
    """Return golden input, golden output and condition of an entry.

    Raises:
        RasedError: they are not audio of equal length.
    """
    path = folder / GOLDEN
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RasedError(f"'{path}' cannot be read: {error.strerror}.") from None
    golden = read_tensors(content, path)
    noisy, estimate = golden.get("noisy"), golden.get("estimate")
    longest = round(_LONGEST_GOLDEN * enhancer.sample_rate)
    if (
        noisy is None
        or estimate is None
        or not _is_audio(noisy, longest, enhancer.channels)
        or not _is_audio(estimate, longest)
    ):
        shape = "each (1, time)"
        if enhancer.channels > 1:
            shape = f"(1, {enhancer.channels}, time) and (1, time)"
        raise RasedError(
            f"'{path}' must contain `noisy` and `estimate`, {shape} in float32 with at most "
            f"{_LONGEST_GOLDEN:g} s. {_AGAIN}"
        )
    condition = {
        name.removeprefix(CONDITION): tensor
        for name, tensor in golden.items()
        if name.startswith(CONDITION)
    }
    return noisy, estimate, condition


def _is_audio(tensor: Tensor, longest: int, channels: int = 1) -> bool:
    shape = (1,) if channels == 1 else (1, channels)
    plain = tensor.dtype is torch.float32 and tuple(tensor.shape[:-1]) == shape
    return plain and 0 < tensor.shape[-1] <= longest


def streamed(
    enhancer: Enhancer,
    noisy: Float[Tensor, "1 *channel time"],
    condition: Condition | None = None,
    *,
    pieces: Sequence[int] = (1,),
) -> Float[Tensor, "1 time"]:
    """Return the output of a causal enhancer that is fed block by block, aligned with its input.

    Args:
        enhancer: a causal enhancer.
        noisy: audio at its sample rate.
        condition: additional inputs of the model.
        pieces: lengths of the blocks in chunks, repeated to the end.
    """
    stream = CausalStream(enhancer, enhancer.channels, condition=condition)
    channels = noisy if enhancer.channels == 1 else noisy[0]
    parts, at, lengths = [], 0, cycle(pieces)
    while at < channels.shape[-1]:
        end = at + next(lengths) * stream.chunk_length
        parts.append(stream.push(channels[:, at:end]))
        at = end
    return torch.cat([*parts, stream.finish()], dim=-1)


def _compared(name: str, found: Tensor, wanted: Tensor) -> Check:
    if found.shape != wanted.shape:
        return Check(name, False, f"shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
    difference = float((found - wanted).abs().max())
    return Check(name, difference <= TOLERANCE, f"largest difference {difference:.1e}")


def facts_of(enhancer: Enhancer) -> dict[str, int | bool | None]:
    """Return the fields of a card that follow from the enhancer alone."""
    return {
        "sample_rate": enhancer.sample_rate,
        "latency": enhancer.latency,
        "algorithmic_latency": enhancer.algorithmic_latency,
        "buffering": enhancer.buffering,
        "causal": enhancer.causal,
        "parameters": count_parameters(enhancer),
    }


def _check_facts(enhancer: Enhancer, card: Mapping[str, Any], folder: Path) -> None:
    for field, fact in facts_of(enhancer).items():
        if card[field] != fact:
            raise RasedError(
                f"the card in '{folder}' says {field} {card[field]}, but the model has {fact}: the "
                f"entry is damaged; get it or publish it again."
            )
