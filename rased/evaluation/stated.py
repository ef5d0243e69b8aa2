"""Read `system.yaml` from a folder of enhanced files: what the submitter states about the system.

Nothing in it is measured. A result stores it separately (`Result.system["stated"]`), and tables mark it.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from rased import documents, yaml_reader
from rased.documents import Count, SampleRate
from rased.errors import RasedError, cut, nearest, shown
from rased.evaluation.schema import Milliseconds, Positive, Said, Url

SIDECAR = "system.yaml"
"""Name of the file, in the folder of the enhanced audio."""

_LARGEST = 64 << 10  # 64 KiB
Delay = Annotated[int, msgspec.Meta(ge=0, le=10**6)]
"""Latency in samples; at the lowest sample rate still within `Milliseconds`."""
_DELAYS = ("algorithmic_latency", "buffering")


class _Sidecar(msgspec.Struct, forbid_unknown_fields=True):
    """Content of system.yaml; every key is optional.

    Attributes:
        parameters: number of trainable parameters.
        macs_per_second: multiply-accumulates for one second of audio.
        algorithmic_latency_ms: window and look-ahead.
        buffering_ms: the hop.
        algorithmic_latency: the same in samples of `sample_rate`.
        buffering: the same in samples of `sample_rate`.
        sample_rate: Hz.
        training_data: what the system was trained on.
        paper: title, or how to cite it.
        url: address with more information.
    """

    parameters: Count | None = None
    macs_per_second: Positive | None = None
    algorithmic_latency_ms: Milliseconds | None = None
    buffering_ms: Milliseconds | None = None
    algorithmic_latency: Delay | None = None
    buffering: Delay | None = None
    sample_rate: SampleRate | None = None
    training_data: Said | None = None
    paper: Said | None = None
    url: Url | None = None


KEYS = tuple(_Sidecar.__struct_fields__)
"""Keys allowed in system.yaml."""

_REPAIR = "Correct it, or remove it."


def read_stated(folder: Path) -> dict[str, Any] | None:
    """Return what system.yaml in a folder states; None if there is no such file.

    Returns:
        parameters, macs_per_second, algorithmic_latency_ms, buffering_ms, training_data, paper and url, if they
        are stated.

    Raises:
        RasedError: the file cannot be read, a key is unknown, or a value is not possible.
    """
    path = folder / SIDECAR
    # A dangling link is not "no file": reading it below gives an error, instead of silently no statement.
    if not path.exists() and not path.is_symlink():
        return None
    content = documents.read_bytes(path, repair=_REPAIR, largest=_LARGEST)
    plain = yaml_reader.parse(content, of=f"'{path}'", largest=_LARGEST)
    if not isinstance(plain, dict) or not plain:
        raise RasedError(
            f"'{path}' must contain keys and values, such as `parameters: 48200`, but contains {shown(plain)}."
        )
    odd = next((key for key in plain if key not in KEYS), None)
    if odd is not None:
        raise RasedError(f"'{path}' has the key {cut(repr(odd), 60)}; {nearest(str(odd), KEYS)}")
    fields = documents.fit(plain, _Sidecar, of=path, repair=_REPAIR, verdict="is wrong")
    stated = msgspec.structs.asdict(fields)
    stated |= _in_milliseconds(stated, path)
    return {name: stated[name] for name in KEYS if stated.get(name) is not None} or None


def _in_milliseconds(stated: dict[str, Any], path: Path) -> dict[str, float | None]:
    """Convert both delays to ms, and drop samples and sample rate.

    Raises:
        RasedError: only one of the delays, one of them twice, or samples without a rate.
    """
    rate = stated.pop("sample_rate")
    found: dict[str, float | None] = {}
    for name in _DELAYS:
        samples, milliseconds = stated.pop(name), stated[f"{name}_ms"]
        if samples is not None and milliseconds is not None:
            raise RasedError(f"'{path}' states both {name} and {name}_ms: keep one of them.")
        if samples is not None and rate is None:
            raise RasedError(
                f"'{path}' states {name} in samples: add sample_rate (Hz), or state {name}_ms instead."
            )
        if samples is not None:
            milliseconds = round(1000 * samples / rate, 6)
        found[f"{name}_ms"] = milliseconds
    absent = [name for name in _DELAYS if found[f"{name}_ms"] is None]
    if len(absent) == 1:
        (present,) = set(_DELAYS) - set(absent)
        raise RasedError(
            f"'{path}' states {present} but not {absent[0]}: the latency is the sum of both, so state both."
        )
    return found
