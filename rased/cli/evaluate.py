"""Score systems on a test set: one value or status for each utterance and metric.

SYSTEM is one of: `noisy`; `target`; a classical method (log-mmse, om-lsa and others, see `rased models`); a
checkpoint of the zoo (name or folder); the folder of a run; a folder of files that another program has
enhanced, with the file names of the test set. TESTSET is a folder with noisy/ and target/ (or clean/),
or `bundle`. An interrupted evaluation continues where it stopped and keeps the finished scores. It enhances
again even if audio was saved: the saved files have 16 bits, which would change the scores.

A folder of enhanced files may hold a system.yaml with parameters, macs_per_second, algorithmic_latency_ms and
buffering_ms (or algorithmic_latency and buffering in samples, with sample_rate), training_data, paper and url.
Tables show these values, marked as stated by the author.

Utterances of similar length are enhanced in batches if that is faster on this machine. The scores are the same.
Cost is measured once for each system, before the scores: the real-time factor on 10 s of the test set as one file
(one thread, processor seconds), and, in a separate process, the memory that loading the system and
enhancing 10 s adds.
"""

import argparse
from pathlib import Path

from rased.cli.options import add_allow, add_engine, engine

EXAMPLES = """\
examples:
  rased evaluate noisy log-mmse --on bundle --out results           use the bundled test set
  rased evaluate noisy gru-mask-16k runs/mine --on bundle --out results --save-audio
  rased evaluate noisy other-toolkit/enhanced --on voicebank/test --out results
  rased evaluate noisy om-lsa wpe --on bundle --out results --metrics quick --jobs 4
  rased evaluate noisy om-lsa --on bundle --out results --metrics quick --engine ray --jobs 2
  rased evaluate noisy log-mmse --on bundle --out results --metrics stoi my_metric.py:MyMetric
  rased leaderboard results --html page                             compare the results
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased evaluate`."""
    parser.epilog = EXAMPLES
    parser.add_argument("system", nargs="+", metavar="SYSTEM", help="system to score (see above)")
    parser.add_argument(
        "--on", required=True, metavar="TESTSET", help="folder of a test set, or `bundle`"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for the results"
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["default"],
        metavar="NAME",
        help="metrics (see `rased metrics`), a list in configs/eval (default, quick, full), or FILE.py:CLASS "
        "for a class of your own that derives from rased.metrics.Metric",
    )
    add_engine(parser, "number of processes, one thread each")
    parser.add_argument(
        "--save-audio", action="store_true", help="also write DIR/audio/TESTSET/SYSTEM/ID.wav"
    )
    parser.add_argument(
        "--align",
        action="store_true",
        help="remove delays of up to 0.25 s before scoring; the protocol of the result says so",
    )
    add_allow(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write one result for each system, and print the table."""
    import json

    from rased.evaluation import evaluate, print_table
    from rased.evaluation.report.terminal import as_plain
    from rased.evaluation.testset import locate

    with engine(arguments):
        rows = evaluate(
            arguments.system,
            locate(arguments.on),
            arguments.out,
            metrics=arguments.metrics,
            jobs=arguments.jobs,
            save_audio=arguments.save_audio,
            align=arguments.align,
            allow=arguments.allow,
            engine=arguments.engine,
        )
    if arguments.json:
        print(json.dumps(as_plain(rows), indent=1))
    else:
        print_table(rows)
    return 0
