"""Enhance files and folders: any rate, channels, length and format in, the same out, in flat memory."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from rased import audio
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.streaming import open_stream
from rased.zoo import load

Block = Float32[np.ndarray, "channel time"]
Progress = Callable[[float], None]
"""Called with the seconds of audio that were just read."""


@dataclass(frozen=True)
class Report:
    """What became of a file.

    Attributes:
        input: the file read.
        output: the file written.
        seconds: length of the audio.
        elapsed: seconds that it took.
    """

    input: Path
    output: Path
    seconds: float
    elapsed: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio; below 1 is faster than real time."""
        return self.elapsed / self.seconds


def enhance(
    input: str | Path,
    output: str | Path,
    *,
    model: str | Path | Enhancer,
    progress: Progress | None = None,
) -> Report:
    """Enhance a file of any rate, channels, length and format that libsndfile reads.

    The output has the input's rate, length, channels and level; its name says its format, and the
    input its bits (never fewer than 16). Channels are enhanced one by one. What lies above half the
    model's sample rate is not in the output. Memory does not grow with the length of the file.

    Args:
        input: an audio file.
        output: the file to write; it appears when it is complete, and replaces an older one.
        model: name, folder or card URL of a checkpoint, a classical method ("log-mmse"), the folder
            of a run, or an enhancer.
        progress: called with the seconds of audio just read.

    Raises:
        RasedError: a bad input, output or model; an older output is left as it was.
    """
    source, target = Path(input), Path(output)
    started = time.perf_counter()
    info = audio.inspect(source)
    if target.exists() and target.samefile(source):
        raise RasedError(f"the output '{target}' is the input; name another output.")
    container, coding = audio.output_coding(target, info)
    enhancer = resolve(model)
    with audio.AudioWriter(
        target,
        sample_rate=info.sample_rate,
        channels=info.channels,
        container=container,
        coding=coding,
        frames=info.frames,
    ) as writer:
        frames = 0
        for block in enhanced_blocks(enhancer, audio.blocks(source), info, progress):
            writer.write(block)
            frames += block.shape[1]
    return Report(source, target, frames / info.sample_rate, time.perf_counter() - started)


def resolve(model: str | Path | Enhancer) -> Enhancer:
    """An enhancer as it is, a classical method by name, a run by its folder, or from the zoo."""
    if isinstance(model, Enhancer):
        return model
    if str(model) in METHODS:
        return METHODS[str(model)]().eval()
    if (Path(model) / "checkpoints").is_dir():
        from rased.training.base import load_run

        return load_run(model)
    return load(model)


def enhanced_blocks(
    enhancer: Enhancer,
    blocks: Iterable[Block],
    info: audio.AudioInfo,
    progress: Progress | None = None,
) -> Iterator[Block]:
    """Resample in, enhance, resample out; as many samples come out as went in, without delay.

    Raises:
        RasedError: the model gave values that are not finite.
    """
    inward = audio.Resampler(info.sample_rate, enhancer.sample_rate, info.channels)
    outward = audio.Resampler(enhancer.sample_rate, info.sample_rate, info.channels)
    stream = open_stream(enhancer, info.channels)
    taken = given = 0

    def checked(ready: torch.Tensor) -> Block:
        estimate = ready.numpy()
        if not np.isfinite(estimate).all():
            raise RasedError(
                f"the model {type(enhancer).__name__} gave values that are not finite for "
                f"'{info.path}'; nothing was written."
            )
        return estimate

    for block in blocks:
        taken += block.shape[1]
        ready = checked(stream.push(torch.from_numpy(inward.push(block))))
        out = outward.push(ready)[:, : taken - given]
        given += out.shape[1]
        if out.shape[1]:
            yield out
        if progress is not None:
            progress(block.shape[1] / info.sample_rate)
    last = stream.push(torch.from_numpy(inward.finish()))
    rest = checked(torch.cat([last, stream.finish()], dim=-1))
    out = outward.push(rest)
    out = np.concatenate([out, outward.finish(taken)], axis=1)
    yield out[:, : taken - given]


def plan(inputs: Iterable[str | Path], output: str | Path) -> list[tuple[Path, Path]]:
    """Which file becomes which: pairs of input and output.

    One input file goes to `output` itself, or into it where it is a folder or ends with a slash.
    Several files, and folders with all they hold, go into the folder `output`, which mirrors the
    structure of each input folder. Files of other kinds in a folder are left out; a lossy file
    becomes FLAC.

    Raises:
        RasedError: no input, no audio in a folder, an output file for several inputs, or two inputs
            with one output.
    """
    target = Path(output)
    sources = [Path(name) for name in inputs]
    one_file = len(sources) == 1 and not sources[0].is_dir()
    if one_file and not target.is_dir() and not str(output).endswith("/"):
        return [(sources[0], target)]
    if target.exists() and not target.is_dir():
        raise RasedError(f"the output '{target}' is a file; name a folder for several inputs.")
    pairs = []
    for source in sources:
        if source.is_dir():
            found = [path for path in audio_files(source) if not path.is_relative_to(target)]
            if not found:
                raise RasedError(f"the folder '{source}' holds no audio files.")
            names = [path.relative_to(source) for path in found]
        else:
            found, names = [source], [Path(source.name)]
        pairs += [
            (path, target / audio.output_name(name))
            for path, name in zip(found, names, strict=True)
        ]
    _refuse_clashes(pairs)
    return pairs


def audio_files(folder: Path) -> list[Path]:
    """Files below a folder whose names end like audio, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in audio.FORMATS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _refuse_clashes(pairs: list[tuple[Path, Path]]) -> None:
    seen: dict[Path, Path] = {}
    for source, target in pairs:
        other = seen.setdefault(target, source)
        if other != source:
            raise RasedError(
                f"'{other}' and '{source}' would both become '{target}'; enhance them one by one."
            )
