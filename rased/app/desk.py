"""What the page can do: open a recording, enhance it, score it. Audio is in a temporary folder until the end."""

import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from rased import audio
from rased.audio import BadAudioError
from rased.data import testset
from rased.data.shards.index import bundle
from rased.errors import RasedError, nearest, shown
from rased.evaluation.report.site.pictures import level_db, narrowed, png
from rased.extras import install_command
from rased.files import enhance
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.models.limited import checked_limit
from rased.shelves import DEFAULT_MODEL
from rased.zoo import list_checkpoints, load

EXAMPLES = bundle() / "frozen"
"""The bundled test set."""
MINUTES = 5
"""Longest recording: the page keeps all versions in the browser."""
LARGEST = 512 << 20
"""Bytes of an upload, and of a recording in 32 bits: five minutes of eight channels at 48 kHz, and more."""
SCORES = ("dnsmos-ovrl", "dnsmos-sig", "dnsmos-bak")
NOISY, TARGET = "noisy", "target"

_RECORDINGS, _VERSIONS, _MODELS = 8, 64, 6
"""How many are kept; the oldest is removed."""
_BYTES = 4 * LARGEST
"""Size of all versions of a recording from which on the oldest enhanced ones are removed."""
_COLUMNS = 1500
_PICTURE_RATES = (16_000, 48_000)
_COMPARED = "log-mmse"


@dataclass
class _Version:
    """One version of a recording: its sound, its picture, what the page shows, and its scores once they are known."""

    sound: Path
    picture: Path
    facts: dict[str, Any]
    scores: dict[str, Any] | None = None


@dataclass
class _Recording:
    """A recording and its versions, by name."""

    folder: Path
    info: audio.AudioInfo
    title: str
    top_db: float
    versions: dict[str, _Version] = field(default_factory=dict)

    @property
    def picture_rate(self) -> int:
        """Return the sample rate of the pictures: with the upper band if the recording has one."""
        low, high = _PICTURE_RATES
        return low if self.info.sample_rate <= low else high

    def trim(self, newest: str) -> None:
        """Delete the oldest enhanced versions, except for the newest one, if there are too many or too large ones."""
        left = [name for name in self.versions if name not in (NOISY, TARGET, newest)]
        sizes = {name: one.sound.stat().st_size for name, one in self.versions.items()}
        while left and (len(sizes) > _VERSIONS or sum(sizes.values()) > _BYTES):
            oldest = left.pop(0)
            gone = self.versions.pop(oldest)
            del sizes[oldest]
            gone.sound.unlink()
            gone.picture.unlink()


class Desk:
    """Opens recordings, enhances and scores them; every answer is plain data for the page.

    Args:
        folder: an empty folder for audio and pictures.
        models: names for `rased.load`; () for the checkpoints in the zoo and the classical methods.
        allow: see `rased.load`.

    Raises:
        RasedError: a model cannot be loaded.
    """

    def __init__(
        self, folder: Path, models: Sequence[str] = (), *, allow: Sequence[str] = ()
    ) -> None:
        self._folder, self._allow, self._lock = folder, tuple(allow), Lock()
        self._models: OrderedDict[str, Enhancer] = OrderedDict()
        self._recordings: OrderedDict[str, _Recording] = OrderedDict()
        self._count = 0
        self.models = list(dict.fromkeys(models)) or [*list_checkpoints(), *METHODS]
        self.chosen = list(dict.fromkeys(models)) or [DEFAULT_MODEL, _COMPARED]
        for name in models:  # a mistake is reported before the page opens
            self._enhancer(name)
        self._examples = {item.id: item for item in testset.read(EXAMPLES).items}

    def offer(self) -> dict[str, Any]:
        """Return what the page offers."""
        return {
            "models": self.models,
            "chosen": self.chosen,
            "examples": [
                {"id": name, "facts": _facts(item)} for name, item in self._examples.items()
            ],
            "minutes": MINUTES,
            "bytes": LARGEST,
            "scores": _missing(),
        }

    def open(self, path: Path, title: str) -> dict[str, Any]:
        """Open a file.

        Raises:
            RasedError: it cannot be read, or is too long.
        """
        with self._lock:
            return self._open(path, title)

    def open_example(self, name: str) -> dict[str, Any]:
        """Open an utterance of the bundled test set, with its target.

        Raises:
            RasedError: there is no such utterance.
        """
        if name not in self._examples:
            raise RasedError(
                f"there is no example {shown(name)}; {nearest(name, list(self._examples))}"
            )
        with self._lock:
            answer = self._open(EXAMPLES / NOISY / f"{name}.flac", name)
            recording = self._recordings[answer["recording"]]
            target = recording.folder / f"{TARGET}.wav"
            _copy(EXAMPLES / TARGET / f"{name}.flac", target, name)
            answer["versions"].append(self._add(answer["recording"], TARGET, TARGET, target))
            return answer

    def enhance(
        self, recording: str, model: str, limit_db: float | int | None = None
    ) -> dict[str, Any]:
        """Enhance an opened recording; the same again costs nothing.

        Raises:
            RasedError: the model or the limit is not allowed, or the model needs more than this recording.
        """
        if model not in self.models:
            raise RasedError(
                f"the page does not offer {shown(model)}; {nearest(model, self.models)}"
            )
        limit = None if limit_db is None else checked_limit(limit_db)
        with self._lock:
            opened = self._found(recording)
            name = f"{self.models.index(model)}-{'all' if limit is None else f'{limit:.17g}'}"
            if name in opened.versions:
                return opened.versions[name].facts
            target = opened.folder / f"{name}.wav"
            noisy = opened.versions[NOISY].sound
            report = enhance(noisy, target, model=self._enhancer(model), limit_db=limit)
            facts = self._add(recording, name, model, target)
            facts["notes"] = list(report.notes)
            facts["real_time_factor"] = report.real_time_factor
            return facts

    def scores(self, recording: str, version: str) -> dict[str, Any]:
        """Return DNSMOS of the first channel at 16 kHz: a value, or why there is none, for each part.

        Raises:
            RasedError: there is no such recording or version.
        """
        with self._lock:
            found = self._version(recording, version)
            if found.scores is None:
                found.scores = _scored(found.sound)
            return found.scores

    def file(self, recording: str, name: str) -> Path:
        """Return a sound or picture by its name, such as "noisy.wav".

        Raises:
            RasedError: there is no such file.
        """
        stem, _, suffix = name.rpartition(".")
        version = self._version(recording, stem)
        if suffix not in ("wav", "png"):
            raise RasedError(f"there is no file {shown(name)}; the page has .wav and .png.")
        return version.sound if suffix == "wav" else version.picture

    def _open(self, path: Path, title: str) -> dict[str, Any]:
        self._count += 1
        key = f"r{self._count}"
        folder = self._folder / key
        folder.mkdir()
        try:
            info = _copy(path, folder / f"{NOISY}.wav", title)
            recording = _Recording(folder, info, title, 0.0)
            recording.top_db = float(_level_db(recording, folder / f"{NOISY}.wav").max())
        except BaseException:
            shutil.rmtree(folder)
            raise
        self._recordings[key] = recording
        if len(self._recordings) > _RECORDINGS:
            _, old = self._recordings.popitem(last=False)
            shutil.rmtree(old.folder)
        return {
            "recording": key,
            "title": title,
            "seconds": (info.frames or 0) / info.sample_rate,
            "sample_rate": info.sample_rate,
            "channels": info.channels,
            "note": info.note,
            "top_khz": recording.picture_rate // 2000,
            "versions": [self._add(key, NOISY, NOISY, folder / f"{NOISY}.wav")],
        }

    def _add(self, key: str, name: str, label: str, sound: Path) -> dict[str, Any]:
        """Draw a version and keep it."""
        recording = self._recordings[key]
        picture = sound.with_suffix(".png")
        level = _level_db(recording, sound) - recording.top_db
        picture.write_bytes(png(narrowed(level, _COLUMNS)))
        facts: dict[str, Any] = {
            "version": name,
            "label": label,
            "sound": f"files/{key}/{sound.name}",
            "picture": f"files/{key}/{picture.name}",
            "download": f"{Path(recording.title).stem}.{label.replace('/', '-')}.wav",
        }
        recording.versions[name] = _Version(sound, picture, facts)
        recording.trim(newest=name)
        return facts

    def _enhancer(self, name: str) -> Enhancer:
        if name not in self._models:
            self._models[name] = load(name, allow=self._allow)
            if len(self._models) > _MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(name)
        return self._models[name]

    def _found(self, recording: str) -> _Recording:
        if recording not in self._recordings:
            raise RasedError("this recording is no longer kept: open it again.")
        return self._recordings[recording]

    def _version(self, recording: str, name: str) -> _Version:
        versions = self._found(recording).versions
        if name not in versions:
            raise RasedError(f"the version {shown(name)} is no longer kept: enhance again.")
        return versions[name]


def _copy(source: Path, target: Path, title: str) -> audio.AudioInfo:
    """Write any audio file as WAV, which every browser plays; return its properties.

    Raises:
        RasedError: it cannot be read, or is too long.
    """
    try:
        with audio.open_audio(source) as recording:
            info = recording.info
            container, coding = audio.output_coding(target, info)
            with audio.AudioWriter(
                target,
                sample_rate=info.sample_rate,
                channels=info.channels,
                container=container,
                coding="FLOAT" if coding == "DOUBLE" else coding,
            ) as writer:
                frames = 0
                for block in recording.blocks():
                    frames += block.shape[1]
                    _check_length(frames, info, title)
                    writer.write(block)
    except BadAudioError as error:
        raise RasedError(f"'{title}' {error.reason}.") from None
    return replace(info, path=target, frames=frames)


def _check_length(frames: int, info: audio.AudioInfo, title: str) -> None:
    """Check so many samples of each channel.

    Raises:
        RasedError: they are too long, or too many.
    """
    if frames > 60 * MINUTES * info.sample_rate:
        what = f"is longer than {MINUTES} minutes"
    elif 4 * frames * info.channels > LARGEST:
        what = f"has more than {LARGEST >> 20} MB in 32 bits"
    else:
        return
    raise RasedError(
        f"'{title}' {what}: shorten it, or use `rased enhance`, which takes any length."
    )


def _level_db(recording: _Recording, sound: Path) -> Float[np.ndarray, "freq frames"]:
    rate = recording.picture_rate
    return level_db(torch.from_numpy(_first_channel(sound, rate)), rate)


def _first_channel(sound: Path, rate: int) -> Float[np.ndarray, " time"]:
    """Read the first of any number of channels, with the memory of one."""
    with audio.open_audio(sound) as recording:
        before = recording.info.sample_rate
        blocks = [block[:1].copy() for block in recording.blocks()]
    return audio.resample(np.concatenate(blocks, axis=1), before, rate)[0]


def _facts(item: testset.Mixture) -> str:
    """Return the facts of an utterance in a line."""
    noise = None if item.noise_type is None else item.noise_type.replace("_", " ")
    snr = None if item.snr_db is None else f"{item.snr_db:g} dB SNR"
    return ", ".join(part for part in (item.condition, noise, snr) if part)


def _missing() -> str:
    """Return what to install before there are scores; "" if nothing is missing."""
    try:
        from rased.metrics import METRICS
    except ModuleNotFoundError as error:
        return install_command(error.name or "", prefer="eval")
    return METRICS[SCORES[0]].unavailable()


def _scored(sound: Path) -> dict[str, Any]:
    titles = {name: name.removeprefix("dnsmos-").upper() for name in SCORES}
    if missing := _missing():
        status = f"unavailable: {missing}"
        return {
            name: {"title": title, "value": None, "status": status}
            for name, title in titles.items()
        }
    from rased.metrics import METRICS

    first = torch.from_numpy(_first_channel(sound, 16_000))
    found = {name: METRICS[name](estimate=first, sample_rate=16_000) for name in SCORES}
    return {
        name: {"title": titles[name], "value": score.value, "status": score.status}
        for name, score in found.items()
    }
