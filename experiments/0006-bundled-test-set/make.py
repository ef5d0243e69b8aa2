"""Build the sources of the bundled test set from Debian packages: joined words of 14 voices, and noises.

    python make.py FOLDER     # downloads about 1.7 GB with apt-get, writes FOLDER/speech and FOLDER/noise

Equal packages give equal files. README.md beside this file has the commands that follow.
"""

import csv
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from rased.data.mixtures.corpus import Corpus
from rased.data.shards.index import bundle

RATE = 16_000
PER_VOICE = 11
SECONDS = (2.3, 3.3)
"""Length of an utterance that is joined from words."""
NOISE_SECONDS = 10.0
PACKAGES = ("0ad-data", "unknown-horizons", "gcin-voice", "pocketsphinx-testdata")

Audio = Float64[np.ndarray, " time"]


@dataclass(frozen=True)
class Source:
    """Recordings of one voice or of one kind of noise.

    Attributes:
        label: speaker or noise type.
        package: where they come from.
        pattern: of the files inside the package.
        licence: of all of them.
        words: whether they are short and have to be joined.
    """

    label: str
    package: str
    pattern: str
    licence: str
    words: bool = True


SA, BY = "CC-BY-SA-3.0", "CC-BY-3.0"
VOICES = (
    *(
        Source(f"0ad_{voice}", "0ad-data", f"audio/voice/{people}/civ/civ_{sex}_*.ogg", SA)
        for voice, people, sex in (
            ("greek_woman", "greek", "female"),
            ("latin_woman", "latin", "female"),
            ("latin_man", "latin", "male"),
            ("napatan_woman", "napatan", "female"),
            ("napatan_man", "napatan", "male"),
            ("persian_woman", "persian", "female"),
            ("persian_man", "persian", "male"),
        )
    ),
    *(
        Source(
            f"horizons_{language}", "unknown-horizons", f"**/voice/{language}/**/*.ogg", SA, False
        )
        for language in ("de", "en", "fr")
    ),
    Source("chu_lo", "gcin-voice", "**/5.ogg", BY),
    Source("cmu_cards", "pocketsphinx-testdata", "**/cards/*.wav", "BSD-2-Clause"),
)
NOISES = (
    Source("farm", "0ad-data", "audio/ambient/building/amb_farm_1[013].ogg", SA, False),
    Source("port", "0ad-data", "audio/ambient/building/amb_port_1[012].ogg", SA, False),
    Source("market", "0ad-data", "audio/ambient/building/amb_trade_1[023].ogg", SA, False),
    Source("river", "0ad-data", "audio/ambient/water/river_*_21.ogg", SA, False),
    Source("waterfall", "0ad-data", "audio/ambient/water/waterfall_31.ogg", SA, False),
    Source("surf", "0ad-data", "audio/ambient/water/wave_21.ogg", SA, False),
    Source("rain", "0ad-data", "audio/ambient/weather/rain_1[12].ogg", SA, False),
    Source("storm", "0ad-data", "audio/ambient/weather/windstorm_11.ogg", SA, False),
    Source("fire", "0ad-data", "audio/attack/fire/c_1[1-4].ogg", SA),
    Source("chopping", "0ad-data", "audio/resource/lumbering/lumber_tree_*.ogg", SA),
    Source("mining", "0ad-data", "audio/resource/mining/mine_metal_*.ogg", SA),
    Source("sheep", "unknown-horizons", "**/sounds/sheepfield.ogg", SA, False),
    Source("windmill", "unknown-horizons", "**/sounds/windmill.ogg", SA, False),
    Source("warehouse", "unknown-horizons", "**/sounds/warehouse.ogg", SA, False),
)


def main(out: Path) -> None:
    """Write both folders with their manifests."""
    packages = {name: unpacked(name, out / "packages") for name in PACKAGES}
    speech = [row for voice in VOICES for row in spoken(voice, packages, out)]
    noise = [row for kind in NOISES for row in heard(kind, packages, out)]
    speech += list(bundled("speech", out))
    noise += list(bundled("noise", out))
    for role, rows in (("speech", speech), ("noise", noise)):
        with (out / role / "manifest.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "role", "split", "label", "licence", "source"))
            writer.writerows(rows)


def unpacked(package: str, folder: Path) -> Path:
    """Download and unpack a Debian package; the sounds of 0 A.D. lie in a zip inside theirs."""
    place = folder / package
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(place)], check=True)
    for inner in place.rglob("public.zip"):
        if not (place / "audio").is_dir():
            with zipfile.ZipFile(inner) as content:
                content.extractall(place, [n for n in content.namelist() if n.startswith("audio/")])
    return place


def spoken(voice: Source, packages: dict[str, Path], out: Path) -> Iterator[tuple[str, ...]]:
    """Utterances of one voice: its recordings, or its words joined in drawn order with short pauses."""
    random = np.random.default_rng([5, *voice.label.encode()])
    clips = [trimmed(read(path)) for path in files(voice, packages)]
    clips = [clip / rms(clip) for clip in clips if len(clip) > 0.15 * RATE]
    utterances: Iterable[Audio] = clips
    if voice.words:
        order = rounds(len(clips), random)
        utterances = [
            joined(lambda: clips[next(order)], random.uniform(*SECONDS), random)
            for _ in range(PER_VOICE)
        ]
    for number, utterance in enumerate(utterances):
        yield written(utterance / rms(utterance), voice, "speech", number, out)


def heard(kind: Source, packages: dict[str, Path], out: Path) -> Iterator[tuple[str, ...]]:
    """Noises: the middle of each recording, or short ones joined."""
    random = np.random.default_rng([6, *kind.label.encode()])
    clips = [read(path) for path in files(kind, packages)]
    if kind.words:
        order = rounds(len(clips), random)
        clips = [joined(lambda: clips[next(order)], NOISE_SECONDS, random) for _ in range(2)]
    for number, clip in enumerate(clips):
        frames = min(len(clip), round(NOISE_SECONDS * RATE))
        start = (len(clip) - frames) // 2
        middle = clip[start : start + frames]
        yield written(middle / rms(middle), kind, "noise", number, out)


def bundled(role: str, out: Path) -> Iterator[tuple[str, ...]]:
    """The recordings of the bundle's test split, as they are, under the keys that they have there."""
    corpus = Corpus(["bundle"], role=role, split="test")
    numbers = {str(key): number for number, key in enumerate(corpus.key)}
    with (bundle() / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith(f"{role}/test/")]
    for row in rows:
        name = row["path"].removeprefix(f"{role}/")
        number = numbers[name.removesuffix(".flac").replace("/", "-")]
        path = out / role / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.rint(corpus.read(number) * np.float32(32768)).astype(np.int16)
        soundfile.write(path, samples, RATE)
        yield name, role, "test", row["label"], row["licence"], "bundle"


def files(source: Source, packages: dict[str, Path]) -> list[Path]:
    """The files of a source, in order."""
    found = sorted(packages[source.package].glob(source.pattern))
    if not found:
        raise SystemExit(f"the package {source.package} holds no {source.pattern}")
    return found


def read(path: Path) -> Audio:
    """One channel at 16 kHz, without offset and what is below 40 Hz (some recordings are mostly that)."""
    samples, rate = soundfile.read(io.BytesIO(path.read_bytes()), always_2d=True)
    at_rate = soxr.resample(samples.mean(1), rate, RATE)
    return sosfiltfilt(butter(2, 40, "highpass", fs=RATE, output="sos"), at_rate)


def rms(signal: Audio) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(signal**2)))


def trimmed(signal: Audio) -> Audio:
    """Without the silence at both ends: what is 40 dB below the loudest 20 ms."""
    power = np.convolve(signal**2, np.ones(320) / 320, "same")
    loud = np.flatnonzero(power > 1e-4 * power.max())
    return signal[max(0, loud[0] - 480) : loud[-1] + 800]


def joined(clip: Callable[[], Audio], seconds: float, random: np.random.Generator) -> Audio:
    """Clips with faded ends and pauses of 80 to 200 ms between them, until it is long enough."""
    parts: list[Audio] = []
    while sum(map(len, parts)) < seconds * RATE:
        if parts:
            parts.append(np.zeros(int(random.uniform(0.08, 0.2) * RATE)))
        parts.append(faded(clip()))
    return np.concatenate(parts)


def faded(signal: Audio) -> Audio:
    """With 10 ms of a raised cosine at both ends."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(160) / 160)
    ends = np.ones(len(signal))
    ends[:160] *= ramp
    ends[-160:] *= ramp[::-1]
    return signal * ends


def rounds(count: int, random: np.random.Generator) -> Iterator[int]:
    """All numbers in drawn order, again and again."""
    while True:
        yield from random.permutation(count).tolist()


def written(
    signal: Audio, source: Source, role: str, number: int, out: Path
) -> tuple[str, str, str, str, str, str]:
    """Write a signal of unit power at -26 dBFS, lower where it would clip; return its manifest row."""
    gain = min(10 ** (-26 / 20), 0.9 / float(np.abs(signal).max()))
    samples: NDArray[np.int16] = np.rint(signal * gain * 32768).astype(np.int16)
    path = out / role / "test" / source.label / f"{source.label}_{number:02d}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)
    name = str(path.relative_to(out / role))
    return name, role, "test", source.label, source.licence, source.package


if __name__ == "__main__":
    main(Path(sys.argv[1]))
