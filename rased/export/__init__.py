"""Write an enhancer as one graph that other runtimes run: a chunk of the waveform in, a chunk out."""

from pathlib import Path
from typing import Any, Literal

from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.zoo import find

Target = Literal["onnx", "web", "litert"]


def export(
    enhancer: Enhancer,
    name: str,
    *,
    to: Target,
    out: Path | None,
    int8: bool = False,
    streams: int = 1,
) -> dict[str, Any]:
    """Write the graph of a causal enhancer, its description and examples to a folder; return the description.

    Args:
        enhancer: any enhancer.
        name: its name, for messages and the description.
        to: kind of the graph.
        out: the folder; its other files stay. None: the graph alone goes into the entry `name` of the zoo, and its
            SHA-256 into the card.
        int8: weights of 8 bits; the loss in PESQ is measured, which takes a minute.
        streams: how many streams get a chunk at once; more than one only for ONNX in 32 bits, in a folder.

    Raises:
        RasedError: the enhancer cannot be exported, with the reason.
    """
    if out is None and (to != "onnx" or int8):
        raise RasedError(
            "--into-zoo writes the graph for ONNX in 32 bits: leave out --int8 and --to web or litert."
        )
    if streams < 1:
        raise RasedError(f"--streams is {streams}: give 1 or more.")
    if streams > 1 and (to != "onnx" or int8 or out is None):
        raise RasedError("--streams is for --to onnx --out DIR in 32 bits.")
    entry = find(name) if out is None else None  # before the work of an export
    if to == "litert":
        if int8:
            raise RasedError("--int8 is for ONNX: use --to onnx or --to web.")
        from rased.export.litert import to_litert

        assert out is not None

        return to_litert(enhancer, name, out)
    from rased.export.targets import add_to_entry, described_graph, write

    graph, facts = described_graph(enhancer, name, int8=int8, streams=streams)
    if entry is not None:
        add_to_entry(entry, graph)
    else:
        assert out is not None
        write(out, graph, facts, to if streams == 1 else "streams")
    return facts
