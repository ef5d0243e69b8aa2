"""Pack audio into shards, inspect, check and repair them, freeze test sets, list mixtures."""

import argparse
from importlib import import_module

EXAMPLES = """\
examples:
  rased data pack speech/ --out shards/speech --role speech      pack any folder of audio files
  rased data info shards/speech                                  show what is in it
  rased data verify shards/*                                     check files, and that splits are disjoint
  rased data corpora                                             list public corpora
  rased data prepare musan --root musan --out shards/musan --download
  rased data VERB --help                                         options of a verb, with examples
"""

VERBS = {
    "pack": "audio files into tar shards with an index",
    "info": "contents of folders of shards, split by split",
    "verify": "check shards, index, splits and test sets",
    "push": "upload shards to s3://, gs:// or hf://",
    "freeze": "a fixed test set of mixtures",
    "rooms": "simulated rooms as shards",
    "corpora": "public corpora: licence, splits, how to get them",
    "prepare": "a public corpus, or a folder of your own, into shards",
    "stream": "the mixtures of an epoch, as a table",
    "frames": "frame features of a corpus in one file",
}
"""Verbs below `data`; a module of that name defines EXAMPLES, `add_arguments(parser)` and `run(arguments) -> int`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `rased data`."""
    parser.epilog = EXAMPLES
    verbs = parser.add_subparsers(dest="data_verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        module = import_module(f"{__name__}.{name}")
        description = summary[0].upper() + summary[1:] + "."
        verb = verbs.add_parser(name, help=summary, description=description, epilog=module.EXAMPLES)
        module.add_arguments(verb)


def run(arguments: argparse.Namespace) -> int:
    """Run one verb and return its exit code."""
    code: int = import_module(f"{__name__}.{arguments.data_verb}").run(arguments)
    return code
