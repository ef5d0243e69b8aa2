"""Manage checkpoints: list, inspect, verify, publish, pull, push and import them."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rased.cli.options import add_allow, add_condition, add_json
from rased.cli.zoo.listing import show_info, show_list
from rased.errors import ProblemsFound, RasedError

EXAMPLES = """\
examples:
  rased zoo list                                    list our checkpoints and third-party weights
  rased zoo list --markdown                         print the tables of docs/zoo.md
  rased zoo info NAME                               show purpose, scores, cost and licence
  rased zoo verify                                  check hashes, golden output and stream of every entry
  rased zoo pull nsnet2                             fetch third-party weights by name
  rased zoo pull nsnet2 --from FILE                 import them from a file that you already have
  rased zoo pull https://.../card.yaml              fetch an entry by the URL of its card
  rased zoo publish runs/mine --name mine-16k       publish a run as an entry in zoo/
  rased zoo push mine-16k --out hub/mine-16k        write a folder to upload to the Hugging Face Hub
  rased zoo import gtcrn FILE --out zoo/gtcrn       import the weights of an architecture's authors

Entries are searched in $RASED_ZOO (folders, as in PATH), zoo/ of a checkout, the installed
package, and the cache of pulled entries.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `rased zoo`."""
    parser.epilog = EXAMPLES
    verbs = parser.add_subparsers(dest="sub_verb", required=True, metavar="VERB")
    for name, (summary, add, _) in VERBS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        add(verbs.add_parser(name, help=summary, description=description, epilog=EXAMPLES))


def run(arguments: argparse.Namespace) -> int:
    """Run one verb and return its exit code."""
    _, _, verb = VERBS[arguments.sub_verb]
    return verb(arguments)


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", help='names to list, such as "*16k*"')
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print all fields as JSON")
    form.add_argument("--markdown", action="store_true", help="print the tables of docs/zoo.md")


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name, folder or card")
    add_json(parser, "the whole card")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="names or folders (default: all)")
    add_allow(parser)
    add_json(parser, "the checks")


def _add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="NAME|URL",
        help="name of third-party weights (`rased zoo list`), hf://ORG/NAME, or http(s) URL of a card; append "
        "#sha256=... to accept only a card with that hash",
    )
    parser.add_argument(
        "--from",
        dest="given",
        type=Path,
        metavar="PATH",
        help="import the authors' file, or a folder with their files, instead of downloading",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of entries (default: the user's cache)"
    )


def _add_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a run, such as runs/mine")
    parser.add_argument("--name", required=True, help="name of the entry")
    parser.add_argument("--out", type=Path, default=Path("zoo"), help="folder of entries")
    parser.add_argument("--summary", default="", help="one line for the card")
    parser.add_argument("--purpose", default="", help='what it removes, such as "noise"')
    parser.add_argument(
        "--licence",
        metavar="NAME",
        help="licence of the weights (default: that of the checkpoint that the run started from, else Apache-2.0)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        nargs="*",
        default=[],
        metavar="JSON",
        help="results of `rased evaluate`; their means are written to the card",
    )
    parser.add_argument(
        "--attenuation-limit-db",
        type=float,
        metavar="DB",
        help="largest attenuation by the entry (default: that of the run)",
    )
    add_condition(parser)
    add_allow(parser)
    parser.add_argument(
        "--not-repeatable",
        action="store_true",
        help="publish a run whose weights cannot be reproduced by commands; the card says why",
    )
    parser.add_argument(
        "--replace", action="store_true", help="replace an existing entry of that name"
    )


def _add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name or folder of a checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--org",
        default="ORG",
        metavar="NAME",
        help="user or organisation of the repository on the Hub",
    )
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="TESTSET=ORG/NAME",
        help="dataset of the Hub that contains a test set, for .eval_results (default: the organisation's dataset of "
        "that name); repeat the option for several",
    )
    parser.add_argument("--replace", action="store_true", help="replace an existing folder")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("architecture", help="name of the architecture, such as gtcrn")
    parser.add_argument("file", type=Path, help="the authors' file")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the entry, such as zoo/gtcrn"
    )
    parser.add_argument("--replace", action="store_true", help="replace an existing entry")


def _verify(arguments: argparse.Namespace) -> int:
    from rased.zoo import find, list_checkpoints, list_importable
    from rased.zoo.loading import verify

    here, importable = list_checkpoints(), list_importable()
    names = arguments.names or here
    # Verifying must not download anything by itself.
    away = [name for name in names if name in importable and name not in here]
    if away:
        raise RasedError(
            f"'{away[0]}' has not been fetched yet: run `rased zoo pull {away[0]}`, which also verifies it."
        )
    found = {name: verify(find(name), allow=arguments.allow) for name in names}
    if arguments.json:
        plain = {name: [vars(check) for check in checks] for name, checks in found.items()}
        print(json.dumps(plain, indent=1))
    else:
        for name, checks in found.items():
            for check in checks:
                print(f"{'ok  ' if check.passed else 'BAD '} {name}: {check.name}: {check.detail}")
    bad = [name for name, checks in found.items() if not all(check.passed for check in checks)]
    if bad:
        raise ProblemsFound(f"{len(bad)} of {len(found)} entries failed: {', '.join(bad)}.")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    from rich.text import Text

    from rased.terminal import open_console
    from rased.zoo.hub import SCHEME, card_url
    from rased.zoo.importable import importable
    from rased.zoo.importing import pull_importable
    from rased.zoo.pull import pull
    from rased.zoo.registry import entries

    source, given = arguments.source, arguments.given
    if source in entries() and source not in importable():
        raise RasedError(f"'{source}' is a checkpoint that is here already: use it by its name.")
    named = source in importable() or "://" not in source
    if given is not None and not named:
        raise RasedError("--from needs an importable name, not a URL.")
    console = open_console(stderr=True)
    with console.status(Text("fetching")) as status:

        def told(name: str, done: int) -> None:
            status.update(Text(f"{name}  {done / 1e6:.1f} MB"))

        if named:
            folder = pull_importable(source, folder=arguments.out, given=given, progress=told)
        else:
            url = card_url(source) if source.startswith(f"{SCHEME}://") else source
            folder = pull(url, folder=arguments.out, progress=told)
    print(folder)
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    from rased.conditions import parse
    from rased.evaluation.result import mean_scores
    from rased.zoo.card import read_card
    from rased.zoo.publish import publish

    folder = publish(
        arguments.run,
        arguments.name,
        arguments.out,
        summary=arguments.summary,
        purpose=arguments.purpose,
        licence=arguments.licence,
        scores=mean_scores(arguments.results),
        attenuation_limit_db=arguments.attenuation_limit_db,
        replace=arguments.replace,
        allow=arguments.allow,
        repeatable_only=not arguments.not_repeatable,
        condition=parse(arguments.condition),
    )
    print(folder)
    reason = read_card(folder)["training"].get("not_repeatable")
    if reason:
        print(f"its training cannot be reproduced by a command: {reason}", file=sys.stderr)
    print(f"verified; try: rased enhance IN -o OUT --model {folder}", file=sys.stderr)
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from rased.zoo import find
    from rased.zoo.hub import write_repository

    org = arguments.org
    folder = write_repository(
        find(arguments.name),
        arguments.out,
        org=org,
        datasets=dict(_pair(word) for word in arguments.dataset),
        replace=arguments.replace,
    )
    print(folder)
    print(
        f"upload it: hf upload {org}/{folder.name} {folder}; then: rased.load('hf://{org}/{folder.name}')",
        file=sys.stderr,
    )
    return 0


def _pair(word: str) -> tuple[str, str]:
    testset, equals, dataset = word.partition("=")
    if not equals:
        raise RasedError(f"--dataset '{word}' names no test set: write TESTSET=ORG/NAME.")
    return testset, dataset


def _import(arguments: argparse.Namespace) -> int:
    from rased.zoo.importing import import_weights

    print(
        import_weights(
            arguments.architecture, arguments.file, arguments.out, replace=arguments.replace
        )
    )
    return 0


VERBS: dict[
    str,
    tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]],
] = {
    "list": (
        "list checkpoints with purpose, cost, latency, licence and scores",
        _add_list,
        show_list,
    ),
    "info": ("show purpose, scores, cost and licence of an entry", _add_info, show_info),
    "verify": ("check hashes, golden output and stream of entries", _add_verify, _verify),
    "pull": ("fetch third-party weights by name, or an entry by URL", _add_pull, _pull),
    "publish": ("publish a run as an entry", _add_publish, _publish),
    "push": ("write a folder to upload to the Hugging Face Hub", _add_push, _push),
    "import": (
        "import weights from a file of an architecture's authors",
        _add_import,
        _import,
    ),
}
"""Each verb: its summary, its arguments, and what runs it."""
