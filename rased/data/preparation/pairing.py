"""Recorded pairs: which noisy file belongs to a clean one, and how late it is."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from rased.audio import SUFFIXES, BadAudioError, audio_below, printable
from rased.data.corpora.listing import Listing, SourceFile, size_of
from rased.data.preparation.waveform import Decoded, decode_pair
from rased.data.schemas import PARTS
from rased.errors import RasedError
from rased.signal import alignment

MAX_DELAY_MS = 1.0
"""Largest delay between noisy and clean that is packed by default."""
_SEARCHED = 0.5
"""Largest delay that is searched, in seconds."""
_DISTINCT = 0.2
"""Correlation of the aligned signals below which a delay counts as not measurable."""
_LEVEL_DB = 6.0
"""Difference of level between clean and the same sound in noisy from which on a pair gets a warning."""
_EMPHASIS = 0.97
"""Factor of the difference that makes a spectrum of speech flatter, and so the peak of its correlation sharper."""


@dataclass(frozen=True)
class Pairing:
    """How clean files get their noisy ones.

    Attributes:
        noisy: folder with the noisy files, with the names and folders of the clean ones.
        max_delay_ms: largest delay between both.
        digest: SHA-256 over names and sizes of the noisy files.
    """

    noisy: Path
    max_delay_ms: float
    digest: str

    def request(self) -> dict[str, Any]:
        """Return what a run depends on."""
        return {"noisy_sha256": self.digest, "max_delay_ms": self.max_delay_ms}

    def decode(self, source: SourceFile, sample_rate: int) -> "Pair":
        """Read a pair as two channels, clean and noisy, and compare them.

        Raises:
            BadAudioError: a file cannot be read, both are not alike, or noisy is too late, too early or inverted.
        """
        noisy = next(partners(self.noisy, source.path), self.noisy / source.path)
        decoded = decode_pair(source.file, noisy, sample_rate=sample_rate)
        if _equal(decoded):
            return Pair(decoded, 0.0, "its noisy file is the same sound")
        found = compared(decoded, sample_rate)
        if found is None:
            return Pair(decoded)
        delay, gain = found
        if abs(delay) > self.max_delay_ms:
            raise BadAudioError(
                source.file,
                f"has a noisy file that is {abs(delay):.2f} ms {'late' if delay > 0 else 'early'}; at most "
                f"{self.max_delay_ms:g} ms is packed: align both files, or allow more with --max-delay",
            )
        if gain < 0:
            raise BadAudioError(
                source.file, "has a noisy file of opposite polarity: change the sign of one of them"
            )
        return Pair(decoded, delay, _level(gain))


class Pair(NamedTuple):
    """What is packed of a pair: its audio, its delay in milliseconds (None: not measurable), and a warning or ""."""

    decoded: Decoded
    delay_ms: float | None = None
    remark: str = ""


def pairing(listing: Listing, clean: Path, noisy: Path, max_delay_ms: float) -> Pairing:
    """Find the noisy file of each clean one: the same path below the other folder; the suffix may differ.

    Raises:
        RasedError: a file of one folder has no counterpart in the other, or two.
    """
    if not max_delay_ms >= 0:
        raise RasedError(f"The largest delay is {max_delay_ms} ms; give 0 or more.")
    digest = hashlib.sha256()

    def of_clean() -> Iterator[str]:
        for source in listing.sources:
            for found in partners(noisy, source.path):
                digest.update(f"{source.path}\0{size_of(found)}\n".encode(errors="surrogateescape"))
            yield source.path

    _check_partners(of_clean(), clean, noisy)
    others = [name for name in PARTS if name != "speech"]
    _check_partners((p.as_posix() for p in audio_below(noisy, without=others)), noisy, clean)
    return Pairing(noisy, max_delay_ms, digest.hexdigest())


def partners(folder: Path, path: str) -> Iterator[Path]:
    """Yield the file of a folder with this path; if there is none, the audio files with another suffix."""
    plain = PurePosixPath(path)
    if (folder / path).is_file():
        yield folder / path
        return
    for suffix in sorted(SUFFIXES):
        for found in (plain.with_suffix(suffix), plain.with_suffix(suffix.upper())):
            if (folder / found).is_file():
                yield folder / found


def _check_partners(paths: Iterable[str], here: Path, there: Path) -> None:
    """Check that each path has one counterpart.

    Raises:
        RasedError: it has none, or several.
    """
    alone, total = 0, 0
    examples: list[str] = []
    for path in paths:
        total += 1
        found = list(partners(there, path))
        # Both ways: of two files that differ in their suffix alone, one has no counterpart.
        if len(found) == 1 and [here / path] == list(
            partners(here, found[0].relative_to(there).as_posix())
        ):
            continue
        alone += 1
        if len(examples) < 3:
            examples.append(f"'{printable(path)}'{' (several)' if found else ''}")
    if alone:
        raise RasedError(
            f"{alone} of {total} files in '{here}' do not have one counterpart in '{there}', such as "
            f"{', '.join(examples)}: give both files of a pair the same path below the two folders, and remove or move "
            "the others."
        )


def compared(decoded: Decoded, sample_rate: int) -> tuple[float, float] | None:
    """Look for clean in noisy, where clean is loudest.

    Returns:
        By how many milliseconds it is later (negative: earlier), and the factor of its amplitude (negative: inverted);
        None if the signals have too little in common to tell.
    """
    loudest: NDArray[np.int16] = max(decoded.blocks(), key=_energy)
    clean, noisy = (_flatter(channel) for channel in loudest.T)
    limit = round(_SEARCHED * sample_rate)
    found = alignment.delay(estimate=noisy, reference=clean, limit=limit) if len(clean) else None
    if found is None:
        return None
    moved = alignment.undelay(noisy, found)
    common, power = float((clean * moved).sum()), float(clean.square().sum())
    if abs(common) < _DISTINCT * np.sqrt(power) * float(moved.norm()):
        return None
    return 1000 * found / sample_rate, common / power


def _level(gain: float) -> str:
    """Return a warning on the level of clean in noisy."""
    level_db = 20 * float(np.log10(gain))
    if abs(level_db) < _LEVEL_DB:
        return ""
    way = "higher" if level_db > 0 else "lower"
    return f"the clean sound is {abs(level_db):.0f} dB {way} in its noisy file: bring both to one level"


def _equal(decoded: Decoded) -> bool:
    return all(np.array_equal(block[:, 0], block[:, 1]) for block in decoded.blocks())


def summary(delays: Sequence[float | None]) -> dict[str, float | int | None]:
    """Return the number of pairs, of delays that could not be measured, their median, and the furthest one."""
    known = [delay for delay in delays if delay is not None]
    return {
        "pairs": len(delays),
        "not_measurable": len(delays) - len(known),
        "median_ms": float(np.median(known)) if known else None,
        "furthest_ms": max(known, key=abs) if known else None,
    }


def told(delays: Sequence[float | None]) -> str:
    """Return a sentence about the delays of pairs."""
    found = summary(delays)
    parts = []
    if found["median_ms"] is not None:
        parts.append(f"median {found['median_ms']:.2f} ms, furthest {found['furthest_ms']:.2f} ms")
    if found["not_measurable"]:
        parts.append(f"not measurable in {found['not_measurable']} of {found['pairs']} pairs")
    return f"noisy after clean: {'; '.join(parts)}"


def _energy(block: NDArray[np.int16]) -> float:
    return float(np.square(block[:, 0], dtype=np.float64).sum())


def _flatter(samples: NDArray[np.int16]) -> Float[torch.Tensor, " time"]:
    wide = samples.astype(np.float64)
    return torch.from_numpy(wide[1:] - _EMPHASIS * wide[:-1])
