"""`rased data push`: upload folders of shards."""

import argparse
from pathlib import Path

from rased.cli.options import add_json
from rased.cli.report import print_json, progress_bar

EXAMPLES = """\
examples:
  rased data push shards/speech s3://bucket/corpus/speech
  rased data push shards gs://bucket/corpus                     the folders speech, noise, rir and pairs in it
  rased data push shards hf://datasets/ORG/NAME

Run the same command again to continue an interrupted upload: files that are there with the same size and checksum
are skipped, and so are, over S3, the parts of a file that arrived. index.json comes last, so that readers never see
half a corpus. Credentials come from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN. Addresses that begin with http can only be read.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data push`."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder of shards, or a folder of such folders"
    )
    parser.add_argument("address", metavar="ADDRESS", help="s3://, gs://, hf://datasets/, ...")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Upload, and print what was sent."""
    from rased.data.shards.push import push

    with progress_bar("files") as progress:
        pushed = push(arguments.folder, arguments.address, progress=progress)
    if arguments.json:
        print_json(
            [
                {
                    "folder": str(one.folder),
                    "address": one.address,
                    "files": one.files,
                    "bytes": one.bytes,
                    "sent": one.sent,
                }
                for one in pushed
            ]
        )
        return 0
    for one in pushed:
        print(
            f"{one.address}: {one.files} files, {one.bytes / 1e6:.1f} MB, {one.sent} sent, "
            f"{one.files - one.sent} already there"
        )
    return 0
