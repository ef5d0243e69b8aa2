"""Choose the names of output files for input files and folders."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rased.audio.folders import audio_below
from rased.audio.names import FORMATS, SUFFIXES, output_name
from rased.audio.problems import printable
from rased.audio.video import video_name
from rased.errors import RasedError


@dataclass(frozen=True)
class Plan:
    """Outputs for all inputs.

    Attributes:
        pairs: input and output, in the order of the inputs.
        left_out: inputs that are skipped, and why; one sentence each.
    """

    pairs: list[tuple[Path, Path]]
    left_out: list[str]


def enhanced_name(source: Path) -> Path:
    """Return the default output name for an input, in the same folder.

    >>> enhanced_name(Path("a/b.wav")).as_posix(), enhanced_name(Path("c.mp3")).as_posix()
    ('a/b.enhanced.wav', 'c.enhanced.flac')
    """
    name = video_name(source, output_name(source))
    return name.with_name(f"{name.stem}.enhanced{name.suffix}")


def plan(
    inputs: Iterable[str | Path], output: str | Path | None = None, *, empty: bool = False
) -> Plan:
    """Choose the output of each input.

    Without `output`, a file gets its `enhanced_name`, and the files of a folder go to "FOLDER.enhanced". With
    `output`,
    a single input file goes to `output` itself, or into it if it is a folder or ends with a slash. Several files, and
    folders with their content, go into the folder `output`, which mirrors the structure of each input folder. A
    lossy file becomes FLAC; a video stays one, if ffmpeg is installed. Outputs that would have the same name get
    different ones.

    Args:
        inputs: files and folders.
        output: file or folder.
        empty: allow folders without audio.

    Raises:
        RasedError: an input folder without audio, one output file for several inputs, or an output that is an input.
    """
    sources = list(dict.fromkeys(Path(name) for name in inputs))
    if output is None:
        return _beside(sources, empty)
    target = Path(output)
    one_file = len(sources) == 1 and not sources[0].is_dir()
    if one_file and not target.is_dir() and not str(output).endswith("/"):
        return Plan([(sources[0], target)], [])
    _refuse_file(target, sources, slash=str(output).endswith("/"))
    wanted: list[tuple[Path, Path]] = []
    left_out: list[str] = []
    for source in sources:
        if source.is_dir():
            found, earlier = _files(source, target, empty)
            left_out += earlier
            wanted += [(source / name, name) for name in found]
        else:
            wanted.append((source, Path(source.name)))
    pairs = [(source, target / name) for source, name in _distinct(wanted)]
    _refuse_inputs(pairs)
    return Plan(pairs, left_out)


def _beside(sources: list[Path], empty: bool) -> Plan:
    """Choose outputs in the folders of the inputs; skip an input that is the output of another one."""
    files = [source for source in sources if not source.is_dir()]
    outputs = {enhanced_name(source): source for source in files}
    left_out = [
        f"'{printable(source)}' is skipped: it is the output of '{printable(outputs[source])}'"
        for source in files
        if source in outputs
    ]
    pairs: list[tuple[Path, Path]] = []
    for source in sources:
        if source.is_dir():
            there = source.resolve()
            inside = plan([source], there.with_name(f"{there.name}.enhanced"), empty=empty)
            pairs += inside.pairs
            left_out += inside.left_out
        elif source not in outputs:
            pairs.append((source, enhanced_name(source)))
    pairs = _distinct_targets(pairs)
    _refuse_inputs(pairs)
    return Plan(pairs, left_out)


def _files(folder: Path, target: Path, empty: bool) -> tuple[list[Path], list[str]]:
    """Return the audio files below a folder, sorted, without outputs of an earlier run; and a sentence about these."""
    here, there = folder.resolve(), target.resolve()
    if here == there:
        raise RasedError(
            f"the input and the output are the same folder, '{printable(folder)}'; choose another output."
        )
    found = sorted(audio_below(folder))
    kept = found
    # The output folder is inside the input folder.
    if there.is_relative_to(here):
        kept = [path for path in found if not (here / path).is_relative_to(there)]
    if not kept and not empty:
        raise RasedError(f"the folder '{printable(folder)}' contains no audio files.")
    earlier = len(found) - len(kept)
    if not earlier:
        return kept, []
    return kept, [
        f"{earlier} files in '{printable(target)}' are skipped: they are outputs of an earlier run"
    ]


def _distinct(wanted: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Name the output of each input, with different names for two that would have the same.

    A lossy file then keeps its suffix in the name: "a.mp3.flac" next to "a.flac"; others get a number: "a-2.wav".
    """
    names = [video_name(source, output_name(name)) for source, name in wanted]
    count = Counter(names)
    named = []
    for (source, name), target in zip(wanted, names, strict=True):
        if count[target] > 1 and target != name:
            target = name.with_name(f"{name.name}.flac")
        named.append((source, target))
    return _distinct_targets(named)


def _distinct_targets(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    taken = Counter(target for _, target in pairs)
    used: set[Path] = set()
    distinct = []
    for source, target in pairs:
        number, name = 1, target
        # A made-up name must not be one that another input gets anyway.
        while name in used or (number > 1 and name in taken):
            number += 1
            name = target.with_name(f"{target.stem}-{number}{target.suffix}")
        used.add(name)
        distinct.append((source, name))
    return distinct


def _refuse_file(target: Path, sources: list[Path], *, slash: bool) -> None:
    what = f"{len(sources)} inputs" if len(sources) > 1 else f"the folder '{printable(sources[0])}'"
    if target.exists() and not target.is_dir():
        raise RasedError(
            f"the output '{printable(target)}' is a file; give a folder for {what}, such as -o enhanced."
        )
    suffix = target.suffix.lower()
    if not target.exists() and not slash and suffix in {*FORMATS, *SUFFIXES}:
        raise RasedError(
            f"the output '{printable(target)}' is the name of a file, but the input is {what}: give a folder, such as "
            f"-o {printable(target.with_suffix(''))} (or -o {printable(target)}/ if the folder is to have that name)."
        )


def _refuse_inputs(pairs: list[tuple[Path, Path]]) -> None:
    """Reject an output that would replace an input, which might still have to be read."""
    inputs = {source.resolve(): source for source, _ in pairs}
    for source, target in pairs:
        other = inputs.get(target.resolve())
        if other is not None:
            whose = "itself" if other == source else f"the input '{printable(other)}'"
            raise RasedError(
                f"the output of '{printable(source)}' would replace {whose}; choose another output."
            )
