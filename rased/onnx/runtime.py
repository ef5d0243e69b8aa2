"""An exported enhancer: one graph from a chunk and a state to an enhanced chunk and the next state."""

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rased.errors import RasedError
from rased.shelves import CARD, DEFAULT_MODEL, shelves

Samples = NDArray[np.float32]
State = dict[str, Samples]
"""Named tensors, as in PyTorch: the output NAME.next is the input NAME of the next chunk."""

GRAPH, FACTS = "model.onnx", "rased"
"""Name of the graph in a folder, and of the facts in its metadata."""
NEXT = ".next"
RATES = (1_000, 768_000)
"""As `rased.audio.RATES`, which needs more packages."""
_LONGEST_LATENCY = 60
"""Seconds: a file decides by its latency how much silence is appended."""


class Enhancer:
    """An enhancer that `rased export NAME --to onnx` wrote.

    Attributes:
        sample_rate: Hz of input and output.
        chunk_length: samples of a chunk; `step` takes any multiple.
        latency: samples by which the output of `step` is late.
        streams: how many streams `step` takes at once (`rased export --streams N`); usually 1.
        facts: all that the file says: name, licence, version, SHA-256 of the weights and more.
    """

    def __init__(
        self, session: Any, facts: Mapping[str, Any], *, opened: tuple[Path, int] | None = None
    ) -> None:
        """Wrap a session.

        Args:
            session: of ONNX Runtime.
            facts: what the graph says about itself.
            opened: its file and number of threads, so that another process can open it, too.
        """
        self.facts, self._opened = dict(facts), opened
        self.sample_rate: int = facts["sample_rate"]
        self.chunk_length: int = facts["chunk_length"]
        self.latency: int = facts["latency"]
        self.streams: int = facts.get("streams", 1)
        self._session = session
        self._states = list(facts["state"])
        self._outputs = ["estimate", *(f"{name}{NEXT}" for name in self._states)]

    def __repr__(self) -> str:
        return f"rased.onnx.Enhancer({self.facts['name']!r}, {self.sample_rate} Hz)"

    def __deepcopy__(self, memo: Any) -> "Enhancer":
        """Return itself: nothing in it changes."""
        return self

    def __reduce__(self) -> Any:
        """Pickle the name of the file: another process opens it."""
        if self._opened is None:
            raise TypeError("an exported graph without a file cannot be pickled")
        file, threads = self._opened
        return partial(load, threads=threads), (file,)

    def initial_state(self) -> State:
        """Return the state before the first chunk of a stream.

        For several streams, each tensor has an axis for them in front: copy a row of this state to begin one anew.
        """
        # One value for all, or all of them; infinity is a word.
        state = {
            name: np.resize(np.asarray(one["start"]).astype(np.float32), one["shape"])
            for name, one in self.facts["state"].items()
        }
        if self.streams == 1:
            return state
        return {name: np.stack([one] * self.streams) for name, one in state.items()}

    def step(self, chunk: np.ndarray, state: State) -> tuple[Samples, State]:
        """Enhance the next samples of a stream: (time) in float32, a multiple of `chunk_length`.

        For several streams: (stream, time), of one length. The output is `latency` samples late. The given state is not
        changed.

        Raises:
            RasedError: the chunk has another length, shape or type, or the state is of another graph.
        """
        length, streams = self.chunk_length, self.streams
        rows = chunk[None] if streams == 1 and isinstance(chunk, np.ndarray) else chunk
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype != np.float32:
            shape = "(time)" if streams == 1 else f"({streams}, time)"
            raise RasedError(
                f"a chunk is a NumPy array of shape {shape} in float32: use array.astype(np.float32)."
            )
        if len(rows) != streams:
            raise RasedError(
                f"the chunk has {len(rows)} rows: give one for each of {streams} streams."
            )
        time = rows.shape[1]
        if not time or time % length:
            raise RasedError(
                f"the chunk has {time} samples: give a multiple of {length}, or use stream(), which takes any."
            )
        if state.keys() != set(self._states):
            raise RasedError(
                "the state is not one of this graph: begin with initial_state(), and give what step() returned."
            )
        parts, state = [], dict(state)
        for start in range(0, time, length):
            state["chunk"] = rows[:, start : start + length]
            part, *after = self._session.run(self._outputs, state)
            state = dict(zip(self._states, after, strict=True))
            parts.append(part)
        estimate = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return (estimate[0] if streams == 1 else estimate), state

    def stream(self) -> "Stream":
        """Return a stream, which takes blocks of any length and returns aligned output.

        Raises:
            RasedError: the graph takes several streams at once.
        """
        self.refuse_several()
        return Stream(self)

    def refuse_several(self) -> None:
        """Check that the graph takes one stream.

        Raises:
            RasedError: it takes several.
        """
        if self.streams > 1:
            raise RasedError(
                f"the graph of {self.facts['name']} takes {self.streams} live streams at once, through step(): for "
                "recordings, export it without --streams."
            )

    def __call__(
        self,
        noisy: np.ndarray,
        sample_rate: int | None = None,
        *,
        band: Literal["full", "model"] = "full",
    ) -> Samples:
        """Enhance a whole recording: (time) or (channel, time), full scale 1; the output is aligned, of equal shape.

        Channels are enhanced one by one.

        Args:
            noisy: the samples.
            sample_rate: their rate in Hz; None: that of the model. Another rate is converted both ways, which
                needs soxr.
            band: "full" keeps what lies above half the model's rate, under a gain that follows the model; "model"
                removes it.

        Raises:
            RasedError: the array is not audio.
        """
        samples = _checked_samples(noisy)
        _check_conversion(sample_rate, band)
        rows = np.atleast_2d(samples)
        if sample_rate in (None, self.sample_rate):
            estimate = np.stack([self._whole(row) for row in rows])
        else:
            from rased.onnx.files import open_rates

            stream = open_rates(self, int(sample_rate), len(rows), band=band)
            estimate = np.concatenate([*stream.through([rows])], axis=1)
        return np.reshape(estimate, samples.shape)

    def _whole(self, row: Samples) -> Samples:
        stream = self.stream()
        return np.concatenate([stream.push(row), stream.finish()])


def _checked_samples(noisy: np.ndarray) -> np.ndarray:
    """Return samples in float32.

    Raises:
        RasedError: they are not audio.
    """
    samples = np.asarray(noisy)
    if samples.ndim not in (1, 2) or not np.issubdtype(samples.dtype, np.floating):
        raise RasedError(
            f"give floating-point samples of shape (time) or (channel, time), not {samples.dtype} {samples.shape}; "
            "divide 16-bit samples by 32768."
        )
    if not samples.size:
        raise RasedError(f"the array of shape {samples.shape} has no samples.")
    with np.errstate(over="ignore"):
        single = samples.astype(np.float32)
    if not np.isfinite(single).all():
        raise RasedError("the array contains NaN or infinite samples; repair it first.")
    return single


def _check_conversion(sample_rate: Any, band: Any) -> None:
    """Check the sample rate of an array, and what to do above that of the model.

    Raises:
        RasedError: the rate is not a whole number of Hz, or not one of audio; or an unknown band.
    """
    if band not in ("full", "model"):
        raise RasedError(f"the band is {band!r}: give 'full' or 'model'.")
    if sample_rate is None:
        return
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | np.integer):
        raise RasedError(f"the sample rate is {sample_rate!r}: give it in whole Hz, such as 48000.")
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise RasedError(
            f"the sample rate is {sample_rate} Hz; allowed are {RATES[0]} to {RATES[1]} Hz."
        )


class Stream:
    """Enhances one channel block by block; the output is aligned with the input and has its total length."""

    def __init__(self, enhancer: Enhancer) -> None:
        self.enhancer = enhancer
        self._state = enhancer.initial_state()
        self._pending = np.zeros(0, dtype=np.float32)
        self._drop = enhancer.latency
        self._owed = 0

    def push(self, block: Samples) -> Samples:
        """Take the next samples of one channel, any number of them; return those that are ready.

        Raises:
            RasedError: they are not of shape (time).
        """
        if np.ndim(block) != 1:
            raise RasedError(
                f"a stream has one channel, not the shape {np.shape(block)}: open one stream for each channel."
            )
        self._owed += len(block)
        return self._through(block)

    def finish(self) -> Samples:
        """Return the remaining samples."""
        length, owed = self.enhancer.chunk_length, self._owed
        if not owed:
            return np.zeros(0, dtype=np.float32)
        chunks = -(-(owed + self._drop) // length)
        silence = np.zeros(chunks * length - len(self._pending), dtype=np.float32)
        return self._through(silence)[:owed]

    def _through(self, block: Samples) -> Samples:
        waiting = np.concatenate([self._pending, block])
        whole = len(waiting) - len(waiting) % self.enhancer.chunk_length
        self._pending = waiting[whole:]
        if not whole:
            return waiting[:0]
        estimate, self._state = self.enhancer.step(waiting[:whole], self._state)
        dropped = min(self._drop, len(estimate))
        self._drop -= dropped
        self._owed -= len(estimate) - dropped
        return estimate[dropped:]


def graph_of(path: str | Path) -> Path:
    """Return the graph in a folder; a file is one itself."""
    return Path(path) / GRAPH if Path(path).is_dir() else Path(path)


def graphs() -> dict[str, Path]:
    """Return the graphs that checkpoints of the zoo have, by name."""
    found: dict[str, Path] = {}
    for shelf in shelves():
        for graph in sorted(shelf.glob(f"[!.]*/{GRAPH}")):
            found.setdefault(graph.parent.name, graph)
    return found


def load(path: str | Path = DEFAULT_MODEL, *, threads: int = 1) -> Enhancer:
    """Load an exported enhancer.

    Args:
        path: a checkpoint of the zoo that has a graph, the folder that `rased export` wrote, or the .onnx file in it.
        threads: threads of ONNX Runtime. More than one do not help a graph of small products.

    Raises:
        RasedError: there is no such file, `rased export` did not write it, or it was changed.
    """
    file = graph_of(path)
    if not file.exists() and str(path) in (there := graphs()):
        file = there[str(path)]
        _verify(file)
    if not file.is_file():
        raise RasedError(
            f"there is no '{file}': write it with `rased export NAME --to onnx --out DIR`, or choose a checkpoint that "
            f"comes with a graph ({', '.join(graphs()) or 'none is here'})."
        )
    session = session_of(file, threads=threads)
    facts = session.get_modelmeta().custom_metadata_map.get(FACTS)
    if facts is None:
        raise RasedError(
            f"'{file}' does not describe itself: write it with `rased export NAME --to onnx --out DIR`."
        )
    known = _checked(facts, {one.name: one.shape for one in session.get_inputs()})
    if known is None:
        raise RasedError(f"what '{file}' says about itself is damaged: export it again.")
    return Enhancer(session, known, opened=(file.resolve(), threads))


def _verify(graph: Path) -> None:
    """Compare a graph of the zoo with the SHA-256 in the card beside it.

    Raises:
        RasedError: they differ, or there is no card.
    """
    # One line of the card, without a package for YAML.
    line = f"  {GRAPH}: {hashlib.sha256(graph.read_bytes()).hexdigest()}\n"
    card = graph.parent / CARD
    if not card.is_file() or line not in card.read_text(encoding="utf-8", errors="replace"):
        raise RasedError(
            f"'{graph}' was changed: its SHA-256 is not that in the card; install it again, or write another with "
            "`rased export NAME --to onnx --out DIR`."
        )


def _checked(text: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the facts in the metadata of a graph, which may come from a stranger; None if they cannot be right.

    Args:
        text: the facts in JSON.
        inputs: shapes of the inputs of the graph: the chunk and the state.
    """
    try:
        facts = json.loads(text)
        rate, length, latency = (facts[name] for name in ("sample_rate", "chunk_length", "latency"))
        streams = facts.get("streams", 1)
        whole = all(type(number) is int for number in (rate, length, latency, streams))
        if not whole or not RATES[0] <= rate <= RATES[1] or length < 1:
            return None
        if not 0 <= latency <= _LONGEST_LATENCY * rate:
            return None
        # The graph has the same shapes, so that no number in the text decides how much memory is taken.
        lead = [streams] if streams > 1 else []
        shapes = {name: [*lead, *one["shape"]] for name, one in facts["state"].items()}
        if {"chunk": [streams, length], **shapes} != dict(inputs) or not isinstance(
            facts["name"], str
        ):
            return None
        for one in facts["state"].values():
            np.asarray(one["start"]).astype(np.float32)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return dict(facts)


def session_of(graph: Path | bytes, *, threads: int = 1) -> Any:
    """Return a session of ONNX Runtime on the CPU for a file or its content.

    Raises:
        RasedError: it is not a graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # Blocked layouts, the last level, cost more than they give for a chunk of one frame.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    given = graph if isinstance(graph, bytes) else str(graph)
    try:
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many exception classes without a common base class
        name = "the graph" if isinstance(graph, bytes) else f"'{graph}'"
        raise RasedError(
            f"{name} cannot be run by onnxruntime: export it again ({error})."
        ) from None
