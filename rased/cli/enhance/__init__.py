"""Enhance files, folders, videos, or a raw PCM stream.

The output has the rate, length, channels and level of the input; its suffix determines the format. Files in a
folder keep their names (a lossy file becomes FLAC). Memory does not grow with the length of a file. The band above
half the model's sample rate is kept under a gain that follows the model.

A folder is enhanced into a folder of the same structure. A file that is done is skipped next time: its input has the
same size and time of change, the model and the options are the same, and the output is as it was written (recorded in
.enhanced.jsonl beside the outputs). A video keeps its picture unchanged and gets the enhanced audio (needs ffmpeg).
"""

import argparse

from rased.cli.options import add_allow, add_band, add_condition, add_json, add_limit
from rased.errors import RasedError
from rased.shelves import DEFAULT_MODEL

EXAMPLES = """\
examples:
  rased enhance noisy.wav                                  write noisy.enhanced.wav to the same folder
  rased enhance noisy.mp3 -o clean.flac                    choose name and format of the output
  rased enhance recordings/ -o enhanced/ --model NAME      enhance a folder with its subfolders, with another model
  rased enhance recordings/ -o enhanced/ --jobs 4          enhance four files at a time
  rased enhance recordings/ -o enhanced/ --watch           enhance what arrives in a folder, until Ctrl-C
  rased enhance a.wav b.flac -o enhanced/                  enhance several files
  rased enhance talk.mp4                                   write talk.enhanced.mp4, with the same picture
  rased enhance noisy.wav --band model                     remove what lies above half the sample rate of the model
  rased enhance noisy.wav --limit-db 12                    keep some of the noise: 12 dB below the input
  rased enhance noisy.wav --model NAME --condition enrolment=anna.wav
                                                           use a model that needs a recording of the speaker
  rased enhance noisy.wav --model exported                 run what `rased export` wrote, in ONNX Runtime
  arecord -t raw -f S16_LE -r 16000 | rased enhance - -o - | aplay -t raw -f S16_LE -r 16000
                                                           enhance live: 16-bit mono PCM at the model's rate
  ffmpeg -i talk.mp4 -f f32le -ac 2 -ar 48000 - | rased enhance - -o - --raw f32le --rate 48000 --channels 2 > out.raw
                                                           other raw formats, sample rates and channels

WAV, FLAC, MP3, Ogg Vorbis, Opus, AIFF and others are read directly; M4A, AAC, MP4, WebM, WMA and others need
ffmpeg. A file that cannot be read to its end is reported, and the exit code is 1.
"""

RAW = ("s16le", "s16be", "s32le", "f32le", "f32be")
"""Formats of a raw stream, named as in ffmpeg."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased enhance`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "input", nargs="+", metavar="IN", help="files, folders, or - for raw PCM from stdin"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="file, folder, or - for stdout (default: NAME.enhanced.wav in the folder of NAME.wav)",
    )
    add_model(parser)
    add_limit(parser)
    add_band(parser)
    add_condition(parser)
    folders = parser.add_argument_group("folders")
    folders.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="files at a time (default: 1)"
    )
    folders.add_argument("--again", action="store_true", help="enhance files that are done, too")
    folders.add_argument(
        "--watch", action="store_true", help="go on with files that arrive later, until Ctrl-C"
    )
    raw = parser.add_argument_group("raw PCM")
    raw.add_argument(
        "--raw", choices=RAW, default=RAW[0], help=f"format of the samples (default: {RAW[0]})"
    )
    raw.add_argument("--rate", type=int, metavar="HZ", help="sample rate (default: the model's)")
    raw.add_argument("--channels", type=int, default=1, metavar="N", help="channels (default: 1)")
    add_allow(parser)
    add_json(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    parser.add_argument(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="name in the zoo (`rased zoo list`), folder of an entry, of a run or of `rased export`, URL of a card, "
        f"hf://ORG/NAME, or a classical method such as log-mmse (default: {DEFAULT_MODEL})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Enhance files or a stream; a bad file in a folder does not stop the others."""
    if arguments.jobs < 1:
        raise RasedError(f"--jobs is {arguments.jobs}; give 1 or more.")
    if "-" in (*arguments.input, arguments.output):
        if arguments.input != ["-"] or arguments.output != "-":
            raise RasedError("'-' streams from stdin to stdout: write `rased enhance - -o -`.")
        from rased.cli.enhance.raw import stream

        return stream(arguments)
    from rased.cli.enhance.batch import enhance_files, watch_folder

    return watch_folder(arguments) if arguments.watch else enhance_files(arguments)
