"""Score systems on a test set: a value or a status for each utterance and metric.

SYSTEM is `noisy`, `target`, a classical method (log-mmse, om-lsa and others: see `rased models`), a
checkpoint of the zoo by name or folder, a run folder, or a folder of files that something else has
enhanced (with the names of the test set; what a system.yaml there states, such as parameters and
latency, stands in the table, marked as stated). TESTSET is a folder with noisy/ and target/ (or clean/),
or `bundle`. An interrupted evaluation continues where it stopped; what is finished is not computed
again (estimates are: saved audio has 16 bits and would score otherwise).

system.yaml may hold parameters, macs_per_second, algorithmic_latency_ms and buffering_ms (or
algorithmic_latency and buffering in samples, with sample_rate), training_data, paper and url.

Utterances of similar length are enhanced together where that is faster on this machine, with the
scores of one at a time. Before that, cost is measured once for each system: the real-time factor on
10 s of the test set as one file, on one thread, in processor seconds; and, in a process of its own
beside the evaluation, the memory that loading the system and enhancing 10 s adds.
"""

import argparse
from pathlib import Path

from rased.cli.options import add_allow
from rased.machine import cores

EXAMPLES = """\
examples:
  rased evaluate noisy log-mmse --on bundle --out results           the bundled test set
  rased evaluate noisy gru-mask-16k runs/mine --on bundle --out results --save-audio
  rased evaluate noisy other-toolkit/enhanced --on voicebank/test --out results
  rased evaluate noisy om-lsa wpe --on bundle --out results --metrics quick --jobs 4
  rased evaluate noisy log-mmse --on bundle --out results --metrics stoi my_metric.py:MyMetric
  rased leaderboard results --html page                             then compare
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the words of `rased evaluate`."""
    parser.epilog = EXAMPLES
    parser.add_argument("system", nargs="+", metavar="SYSTEM", help="what to evaluate, see above")
    parser.add_argument("--on", required=True, metavar="TESTSET", help="a folder, or `bundle`")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="for the results")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["default"],
        metavar="NAME",
        help="metrics (see `rased metrics`), a list in configs/eval (default, quick, full), or FILE.py:CLASS: "
        "a class of your own, derived from rased.metrics.Metric",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=cores(),
        metavar="N",
        help="processes of one thread each (default: %(default)s)",
    )
    parser.add_argument(
        "--save-audio", action="store_true", help="write DIR/audio/TESTSET/SYSTEM/ID.wav as well"
    )
    parser.add_argument(
        "--align",
        action="store_true",
        help="take delays of up to 0.25 s out before scoring; marked in the protocol",
    )
    add_allow(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write a result for each system, print the table."""
    import json

    from rased.evaluation import evaluate, print_table
    from rased.evaluation.report.terminal import as_plain
    from rased.evaluation.testset import locate

    rows = evaluate(
        arguments.system,
        locate(arguments.on),
        arguments.out,
        metrics=arguments.metrics,
        jobs=arguments.jobs,
        save_audio=arguments.save_audio,
        align=arguments.align,
        allow=arguments.allow,
    )
    if arguments.json:
        print(json.dumps(as_plain(rows), indent=1))
    else:
        print_table(rows)
    return 0
