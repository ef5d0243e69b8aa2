"""Enhance the microphone live, or a file as if it were live.

Sound goes from the input device to the output device in blocks of 10 ms. Use headphones, or the microphone hears the
output. The Enter key switches the enhancement off and on, with the same delay; q and Enter, or Ctrl-C, end it. The
meter shows the levels of input and output, the load (processing time relative to real time), and the gaps that the
sound card reports.

With --input and --output, the same loop reads and writes a file; the output is that of `rased enhance`, later by the
delay that is printed.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rased.cli.enhance import add_model
from rased.cli.options import add_allow, add_band, add_condition, add_json, add_limit
from rased.errors import RasedError

if TYPE_CHECKING:
    from rased.live import Live
    from rased.models.base import Enhancer
    from rased.rates import Block

EXAMPLES = """\
examples:
  rased live                                       microphone to headphones, with the default model
  rased live --model fastenhancer-mid-16k --limit-db 15
                                                   another model; keep some of the noise
  rased live --model exported                      what `rased export` wrote: less load than PyTorch
  rased live --devices                             list the devices
  rased live --from 3 --to 5 --rate 48000          choose devices and sample rate
  rased live --input noisy.wav --output live.wav   a file through the same loop
"""

_WIDTH = 20
"""Characters of a meter."""
_FLOOR_DB = -60.0
_REFRESH_SECONDS = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased live`."""
    parser.epilog = EXAMPLES
    add_model(parser)
    add_limit(parser)
    add_band(parser)
    add_condition(parser)
    parser.add_argument("--devices", action="store_true", help="list the devices and exit")
    parser.add_argument("--from", dest="source", metavar="DEVICE", help="input: number or name")
    parser.add_argument("--to", dest="sink", metavar="DEVICE", help="output: number or name")
    parser.add_argument(
        "--rate", type=int, metavar="HZ", help="sample rate (default: that of the output device)"
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="read a file instead")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a file instead")
    add_allow(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the loop on devices or files."""
    if (arguments.input is None) != (arguments.output is None):
        raise RasedError("--input and --output belong together: give both files, or neither.")
    if arguments.rate is not None and arguments.rate < 1:
        raise RasedError(f"--rate is {arguments.rate}: give a sample rate in Hz, such as 48000.")
    if arguments.devices:
        print(_sounddevice().query_devices())
        return 0
    if arguments.input is not None:
        return _files(arguments)
    return _devices(arguments, _sounddevice())


def _enhancer(arguments: argparse.Namespace) -> "tuple[Enhancer, dict[str, Any]]":
    from rased.conditions import parse
    from rased.zoo import load

    files = parse(arguments.condition)
    enhancer = load(arguments.model, allow=arguments.allow, limit_db=arguments.limit_db)
    return enhancer, {"condition": files, "band": arguments.band}


def _files(arguments: argparse.Namespace) -> int:
    """Enhance a file block by block; the output is longer by the delay."""
    from rased import audio
    from rased.live import Live
    from rased.streaming import output_channels

    with audio.open_audio(arguments.input) as recording:
        info = recording.info
        if arguments.output.exists() and arguments.output.samefile(arguments.input):
            raise RasedError(
                f"the output '{audio.printable(arguments.output)}' is the input; choose another output."
            )
        container, coding = audio.output_coding(arguments.output, info)
        enhancer, options = _enhancer(arguments)
        live = Live(enhancer, info.sample_rate, info.channels, **options)
        if not arguments.json:
            _say(_introduction(live, info.sample_rate))
        with audio.AudioWriter(
            arguments.output,
            sample_rate=info.sample_rate,
            channels=output_channels(enhancer, info.channels),
            container=container,
            coding=coding,
        ) as writer:
            for block, count in _blocks(recording.blocks(), live, info.channels):
                writer.write(live.push(block)[:, :count])
    _report(live, arguments)
    return 0


def _blocks(
    pieces: "Iterator[Block]", live: "Live", channels: int
) -> "Iterator[tuple[Block, int]]":
    """Yield audio in blocks, with silence after it until its last sample is out; and how many samples count."""
    import numpy as np

    length, held = live.block_length, np.zeros((channels, 0), np.float32)
    for piece in chain(pieces, [np.zeros((channels, live.delay), np.float32)]):
        held = np.concatenate([held, piece], axis=1)
        whole = held.shape[1] // length * length
        yield from ((held[:, at : at + length], length) for at in range(0, whole, length))
        held = held[:, whole:]
    count = held.shape[1]
    if count:
        yield np.pad(held, [(0, 0), (0, length - count)]), count


def _devices(arguments: argparse.Namespace, sounddevice: Any) -> int:
    """Run the loop in the callback of the sound card until the user ends it."""
    import numpy as np

    from rased.live import Live

    devices = (_device(arguments.source), _device(arguments.sink))
    try:
        found = sounddevice.query_devices(devices[1], "output")
        rate = arguments.rate or round(found["default_samplerate"])
    except (ValueError, sounddevice.PortAudioError) as error:
        raise RasedError(f"there is no such device: {error}; see `rased live --devices`.") from None
    enhancer, options = _enhancer(arguments)
    live = Live(enhancer, rate, 1, **options)
    gaps, failures = [0], list[Exception]()

    def callback(indata: Any, outdata: Any, frames: int, when: Any, status: Any) -> None:
        gaps[0] += bool(status)
        try:
            outdata[:] = live.push(np.ascontiguousarray(indata.T)).T
        except Exception as error:  # in a thread of the sound card: raised below, where it is seen
            failures.append(error)
            raise sounddevice.CallbackAbort from error

    try:
        stream = sounddevice.Stream(
            samplerate=rate,
            blocksize=live.block_length,
            device=devices,
            channels=1,
            dtype="float32",
            latency="low",
            callback=callback,
        )
        with stream:
            # With the buffers of the sound card.
            device = round(1000 * sum(stream.latency))
            _say(
                f"{_introduction(live, rate)}, and {device} ms in the sound card; Enter: off and on; q: end"
            )
            _meter(live, gaps, failures)
    except sounddevice.PortAudioError as error:
        raise RasedError(
            f"the sound card refuses: {error}; try --rate 48000 or another device."
        ) from None
    if failures:
        raise failures[0]
    _report(live, arguments, gaps[0])
    return 0


def _meter(live: "Live", gaps: list[int], failures: list[Exception]) -> None:
    """Show the meter until q, Ctrl-C or a failure; Enter switches."""
    from rich.live import Live as Display
    from rich.text import Text

    from rased.terminal import open_console

    ended = threading.Event()

    def keys() -> None:
        for line in sys.stdin:
            if line.strip().lower() == "q":
                break
            live.on = not live.on
        else:
            return  # no keyboard: only Ctrl-C ends
        ended.set()

    threading.Thread(target=keys, daemon=True).start()
    console = open_console(stderr=True)
    try:
        if not console.is_terminal:
            while not (ended.is_set() or failures):
                time.sleep(_REFRESH_SECONDS)
            return
        with Display(console=console, transient=True, auto_refresh=False) as display:
            while not (ended.is_set() or failures):
                display.update(Text(meter(live, gaps[0])), refresh=True)
                time.sleep(_REFRESH_SECONDS)
    except KeyboardInterrupt:
        return


def meter(live: "Live", gaps: int = 0) -> str:
    """Return one line with levels, load, gaps, and whether the enhancement is on."""
    levels = [f"{name} {_bar(db)} {db:4.0f} dB" for name, db in _levels(live)]
    return "  ".join(
        [*levels, f"load {100 * live.load:3.0f} %", f"gaps {gaps}", "ON " if live.on else "OFF"]
    )


def _levels(live: "Live") -> list[tuple[str, float]]:
    return [("in", live.input_db), ("out", live.output_db)]


def _bar(level_db: float) -> str:
    filled = round(_WIDTH * min(1.0, max(0.0, 1 - level_db / _FLOOR_DB)))
    return "#" * filled + "." * (_WIDTH - filled)


def _introduction(live: "Live", rate: int) -> str:
    block = 1000 * live.block_length / rate
    return f"{rate} Hz, blocks of {block:g} ms, delay {1000 * live.delay / rate:.1f} ms ({live.delay} samples)"


def _report(live: "Live", arguments: argparse.Namespace, gaps: int | None = None) -> None:
    from rased.cli.report import print_json

    if arguments.json:
        print_json(
            {
                "sample_rate": live.sample_rate,
                "block_length": live.block_length,
                "delay": live.delay,
                "load": live.load,
                "late_blocks": live.late,
                "lost_samples": live.lost,
                "gaps": gaps,
            }
        )
        return
    said = "" if gaps is None else f", {gaps} gaps of the sound card"
    _say(f"load {100 * live.load:.0f} %, {live.late} late blocks{said}")


def _device(word: str | None) -> int | str | None:
    return int(word) if word is not None and word.isdecimal() else word


def _sounddevice() -> Any:
    """Return the module for sound devices.

    Raises:
        RasedError: PortAudio is not installed.
    """
    try:
        import sounddevice
    except OSError as error:  # the package is there, the library is not
        raise RasedError(
            f"{error}: install it (Debian and Ubuntu: apt install libportaudio2)."
        ) from None
    return sounddevice


def _say(sentence: str) -> None:
    print(f"rased: {sentence}.", file=sys.stderr)
