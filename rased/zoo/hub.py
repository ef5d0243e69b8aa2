"""The Hugging Face Hub: find the card of a repository, and write a folder that can be uploaded as one.

A repository holds the files of an entry, a README.md, whose front matter gives licence, purpose and scores in the
format of the Hub, and the scores once more in `.eval_results`, which leaderboards of the Hub read. Its files have plain
URLs, so loading needs no package of the Hub.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rased import disk, yaml_reader
from rased.errors import RasedError, cut, nearest
from rased.fetch import hub_file
from rased.terminal import markdown_cell
from rased.zoo.card import CARD, read_card
from rased.zoo.loading import verify

SCHEME = "hf"
_HUB = "https://huggingface.co"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ADDRESS = re.compile(rf"hf://({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,95}}))?/?")
_README = "README.md"
ORG = "ORG"
"""Stands for the user or organisation until it is known."""
RESULTS = ".eval_results"
"""Folder of scores in a repository; see https://huggingface.co/docs/hub/eval-results."""
_TASK = {"type": "audio-to-audio", "name": "Speech Enhancement"}


def card_url(address: str) -> str:
    """Return the URL of the card of hf://ORG/NAME or hf://ORG/NAME@REVISION; $HF_ENDPOINT selects another hub.

    Raises:
        RasedError: not such an address.

    >>> card_url("hf://org/name@v1")
    'https://huggingface.co/org/name/resolve/v1/card.yaml'
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise RasedError(
            f"'{cut(address)}' is not a repository of the Hub: write hf://ORG/NAME or hf://ORG/NAME@REVISION."
        )
    return hub_file(found[1], found[2] or "main", CARD)


def write_repository(
    entry: Path,
    out: Path,
    *,
    org: str = ORG,
    datasets: Mapping[str, str] | None = None,
    replace: bool = False,
) -> Path:
    """Write a folder that can be uploaded to the Hub, so that `rased.load` can load it from there; return it.

    Args:
        entry: folder of a checkpoint.
        out: the folder to write.
        org: user or organisation of the repository.
        datasets: test set -> dataset on the Hub that contains it; others are named ORG/TESTSET.
        replace: replace an existing folder.

    Raises:
        RasedError: the entry fails its verification, its card lacks licences, scores or training data, or a name
            is not one of the Hub.
    """
    card = read_card(entry)
    results = _eval_results(card, org, datasets or {})
    # What is uploaded is loaded by strangers: it must pass the same checks as at its publication.
    failed = [check for check in verify(entry) if not check.passed]
    if failed:
        said = f"{failed[0].name}: {failed[0].detail.rstrip('.')}"
        raise RasedError(f"'{entry}' is not pushed: {said}.")
    lacking = [
        name
        for name, there in (
            ("the licence of its weights", card["licence"].get("weights")),
            ("the licence of its training data", card["licence"].get("data")),
            ("scores (publish it with --results)", any(card["scores"].values())),
        )
        if not there
    ]
    if lacking:
        raise RasedError(f"'{entry}' is not pushed: its card lacks {' and '.join(lacking)}.")
    try:
        with disk.new_folder(out, replace=replace) as part:
            for name in (CARD, *card["files"]):
                shutil.copyfile(entry / name, part / name)
            (part / _README).write_text(readme(card, org), encoding="utf-8")
            (part / RESULTS).mkdir()
            for name, rows in results.items():
                (part / RESULTS / name).write_text(yaml_reader.dump(rows), encoding="utf-8")
    except FileExistsError:
        raise RasedError(f"'{out}' exists; choose another name or add --replace.") from None
    except OSError as error:
        raise RasedError(f"cannot write '{out}': {error.strerror or error}.") from None
    return out


def readme(card: Mapping[str, Any], org: str = ORG) -> str:
    """Return the README.md of a repository: front matter for the Hub, a few lines for readers."""
    weights = card["licence"]["weights"]
    front = {
        "license": str(weights).lower() if isinstance(weights, str) else "other",
        "library_name": "rased",
        "pipeline_tag": "audio-to-audio",
        "tags": ["rased", "speech-enhancement", "audio"],
        "model-index": [{"name": card["name"], "results": _results(card)}],
    }
    scores = [
        f"- {markdown_cell(testset)}: "
        + ", ".join(f"{metric} {mean:.2f}" for metric, mean in means.items() if mean is not None)
        for testset, means in card["scores"].items()
    ]
    summary, paper = markdown_cell(card["summary"]), markdown_cell(card["paper"])
    return f"""---
{yaml_reader.dump(front).strip()}
---

# {card["name"]}

{summary}

```python
import rased

enhancer = rased.load("hf://{org}/{card["name"]}")
rased.enhance("noisy.wav", "enhanced.wav", model="hf://{org}/{card["name"]}")
```

`{CARD}` says what it was trained on, its latency and its licences. Paper: {paper}

Scores of `rased evaluate`:

{chr(10).join(scores)}
"""


def _results(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return scores in the format of the Hub's `model-index`."""
    return [
        {
            "task": _TASK,
            "dataset": {"name": testset, "type": testset},
            "metrics": [
                {"type": metric, "name": metric, "value": mean}
                for metric, mean in means.items()
                if mean is not None
            ],
        }
        for testset, means in card["scores"].items()
    ]


def _eval_results(
    card: Mapping[str, Any], org: str, datasets: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the files of `.eval_results`: one for each test set, with an item for each metric.

    A leaderboard of the Hub belongs to a dataset. Its tasks are named by the dataset's eval.yaml; here each metric is
    a task. The Hub ignores results of datasets that are not registered as benchmarks.

    Raises:
        RasedError: a test set that the card does not have, or a name that is not one of the Hub.
    """
    for testset in datasets:
        if testset not in card["scores"]:
            known = nearest(testset, card["scores"])
            raise RasedError(f"the card has no scores on '{cut(testset)}'; {known}")
    found = {}
    for testset, means in card["scores"].items():
        dataset = datasets.get(testset, f"{org}/{_hub_name(testset)}")
        if not re.fullmatch(rf"{_PART}/{_PART}", dataset):
            raise RasedError(
                f"'{cut(dataset)}' is not a dataset of the Hub: write --dataset {cut(testset)}=ORG/NAME."
            )
        found[f"{_hub_name(testset)}.yaml"] = [
            {
                "dataset": {"id": dataset, "task_id": metric},
                "value": mean,
                "source": {"url": f"{_HUB}/{org}/{card['name']}", "name": "rased evaluate"},
            }
            for metric, mean in means.items()
            if mean is not None
        ]
    return found


def _hub_name(testset: str) -> str:
    """Return the name of a test set with the characters that the Hub allows."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", testset).strip("._-") or "testset"
