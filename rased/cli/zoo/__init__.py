"""The zoo of checkpoints: list, inspect, verify, publish, pull, import."""

import argparse
import json
import sys
from pathlib import Path

from rased.cli.options import add_allow, add_condition
from rased.cli.zoo.listing import show_info, show_list
from rased.errors import ProblemsFound, RasedError

EXAMPLES = """\
examples:
  rased zoo list                                    what for, cost, latency, licence, scores; own and imported
  rased zoo list --markdown                         the tables of docs/zoo.md
  rased zoo info NAME                               what it is for, how good, how fast, its licence
  rased zoo verify                                  hashes, golden output, stream of every entry
  rased zoo pull nsnet2                             fetch weights that others published, by name
  rased zoo pull nsnet2 --from FILE                 the same from a file that you have already
  rased zoo pull https://.../card.yaml              fetch an entry by the URL of its card
  rased zoo publish runs/mine --name mine-16k       a run becomes an entry below zoo/
  rased zoo push mine-16k --out hub/mine-16k        a folder to upload to the Hugging Face Hub
  rased zoo import gtcrn FILE --out zoo/gtcrn       authors' weights become an entry

Entries are looked for in $RASED_ZOO (folders, as in PATH), zoo/ of a checkout, the installed
package, and the cache of pulled ones.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the sub-verbs of `rased zoo`."""
    parser.epilog = EXAMPLES
    verbs = parser.add_subparsers(dest="sub_verb", required=True, metavar="VERB")

    listing = verbs.add_parser(
        "list", help="what for, cost, latency, licence, scores", epilog=EXAMPLES
    )
    listing.add_argument("pattern", nargs="?", default="*", help='such as "*16k*"')
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all fields as JSON")
    form.add_argument("--markdown", action="store_true", help="the tables of docs/zoo.md")

    info = verbs.add_parser(
        "info", help="what an entry is for, how good, its licence", epilog=EXAMPLES
    )
    info.add_argument("name", help="name, folder or card")
    info.add_argument("--json", action="store_true", help="the whole card as JSON")

    verify = verbs.add_parser("verify", help="hashes, golden output and stream", epilog=EXAMPLES)
    verify.add_argument("names", nargs="*", metavar="NAME", help="names or folders; none: all")
    add_allow(verify)
    verify.add_argument("--json", action="store_true", help="print the checks as JSON")

    pull = verbs.add_parser(
        "pull", help="fetch weights of others by name, or an entry by URL", epilog=EXAMPLES
    )
    pull.add_argument(
        "source",
        metavar="NAME|URL",
        help="importable name (`rased zoo list`), hf://ORG/NAME, or http or https URL of a card; #sha256=... pins it",
    )
    pull.add_argument(
        "--from",
        dest="given",
        type=Path,
        metavar="PATH",
        help="the authors' file, or a folder with their files, instead of fetching it",
    )
    pull.add_argument("--out", type=Path, help="folder of entries (default: the user's cache)")

    publish = verbs.add_parser("publish", help="a run becomes an entry", epilog=EXAMPLES)
    publish.add_argument("run", type=Path, help="folder of a run, such as runs/mine")
    publish.add_argument("--name", required=True, help="name of the entry")
    publish.add_argument("--out", type=Path, default=Path("zoo"), help="folder of entries")
    publish.add_argument("--summary", default="", help="one line for the card")
    publish.add_argument("--purpose", default="", help='what it takes away, such as "noise"')
    publish.add_argument("--licence", default="Apache-2.0", help="of the weights")
    publish.add_argument(
        "--results",
        type=Path,
        nargs="*",
        default=[],
        metavar="JSON",
        help="results of `rased evaluate` whose means go into the card",
    )
    publish.add_argument(
        "--attenuation-limit-db",
        type=float,
        metavar="DB",
        help="let the entry take away no more than this (default: as the run)",
    )
    add_condition(publish)
    add_allow(publish)
    publish.add_argument(
        "--not-repeatable",
        action="store_true",
        help="publish a run whose weights no command makes again; the card says why",
    )
    publish.add_argument("--replace", action="store_true", help="replace an entry of that name")

    push = verbs.add_parser(
        "push", help="write a repository of the Hugging Face Hub", epilog=EXAMPLES
    )
    push.add_argument("name", help="name or folder of a checkpoint")
    push.add_argument("--out", type=Path, required=True, help="the folder to write")
    push.add_argument("--replace", action="store_true", help="replace an existing folder")

    importing = verbs.add_parser("import", help="authors' weights become an entry", epilog=EXAMPLES)
    importing.add_argument("architecture", help="such as gtcrn")
    importing.add_argument("file", type=Path, help="the authors' file")
    importing.add_argument("--out", type=Path, required=True, help="the entry, such as zoo/gtcrn")
    importing.add_argument("--replace", action="store_true", help="replace an existing entry")


def run(arguments: argparse.Namespace) -> int:
    """Dispatch."""
    verbs = {
        "list": show_list,
        "info": show_info,
        "verify": _verify,
        "pull": _pull,
        "publish": _publish,
        "push": _push,
        "import": _import,
    }
    return verbs[arguments.sub_verb](arguments)


def _verify(arguments: argparse.Namespace) -> int:
    from rased.zoo import find, list_checkpoints, list_importable
    from rased.zoo.loading import verify

    names = arguments.names or list_checkpoints()
    away = [name for name in names if name in list_importable() and name not in list_checkpoints()]
    if away:
        raise RasedError(
            f"'{away[0]}' is not here yet: fetch it with `rased zoo pull {away[0]}`, which verifies it."
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
        raise ProblemsFound(f"{len(bad)} of {len(found)} entries are bad: {', '.join(bad)}.")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    from rich.text import Text

    from rased.terminal import open_console
    from rased.zoo.hub import SCHEME, card_url
    from rased.zoo.importable import importable
    from rased.zoo.importing import pull_importable
    from rased.zoo.pull import pull

    source, given = arguments.source, arguments.given
    named = source in importable() or "://" not in source
    if given is not None and not named:
        raise RasedError("--from goes with an importable name, not with a URL.")
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
        print(f"no command repeats its training: {reason}", file=sys.stderr)
    print(f"verified; try: rased enhance IN -o OUT --model {folder}", file=sys.stderr)
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from rased.zoo import find
    from rased.zoo.hub import write_repository

    folder = write_repository(find(arguments.name), arguments.out, replace=arguments.replace)
    print(folder)
    print(
        f"upload it: hf upload ORG/{folder.name} {folder}; then: rased.load('hf://ORG/{folder.name}')",
        file=sys.stderr,
    )
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from rased.zoo.importing import import_weights

    print(
        import_weights(
            arguments.architecture, arguments.file, arguments.out, replace=arguments.replace
        )
    )
    return 0
