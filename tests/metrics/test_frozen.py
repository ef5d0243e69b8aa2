"""What the metrics say of two real excerpts, for good, and that the default list says it without a network."""

import subprocess
import sys

import pytest

from rased.config import find_config, load_yaml
from rased.evaluation.scoring.run import metric_names
from rased.metrics import METRICS, metric

FROZEN = {
    "pesq-wb": (1.2192, 1.4360),
    "pesq-nb": (1.7742, 2.2078),
    "csig": (1.9831, 3.5606),
    "cbak": (2.0136, 2.5191),
    "covl": (1.5401, 2.4934),
    "stoi": (0.8159, 0.9266),
    "estoi": (0.5553, 0.7780),
    "si-sdr": (4.8006, 6.6361),
    "sdr": (4.8735, 7.1549),
    "snr": (4.6839, 6.7451),
    "segsnr": (1.9406, 5.7305),
    "fwsegsnr": (8.8065, 14.9237),
    "llr": (1.3184, 0.1843),
    "cd": (8.4883, 2.3235),
    "lsd": (6.0518, 3.3142),
    "mcd": (8.9080, 3.7049),
    "elr": (17.0934, 7.4433),
    "srmr": (2.3330, 2.2085),
    "dnsmos-sig": (1.1810, 1.2244),
    "dnsmos-bak": (1.1430, 1.1911),
    "dnsmos-ovrl": (1.0895, 1.1530),
    "dnsmos-p808": (2.8795, 3.0206),
}
"""A reader in babble at 5 dB, and a reader in a room; as torch and the packages of `constraints.txt` have it."""

WITHOUT_NETWORK = """
import socket
asked = []
def refuse(*words, **options):
    asked.append(words)
    raise OSError("there is no network")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.create_connection = refuse
import soundfile, torch
from rased.evaluation.scoring.run import metric_names
from tests import EXCERPTS
from rased.metrics import metric
target, noisy = (
    torch.from_numpy(soundfile.read(EXCERPTS / part / "m0002.flac", dtype="float32")[0])
    for part in ("target", "noisy")
)
for name in metric_names(["default"]):
    print(name, metric(name)(estimate=noisy, target=target, sample_rate=16_000).status)
assert not asked, asked
"""


@pytest.mark.parametrize("name", FROZEN)
def test_values_stay_what_they_are(name, spoken, in_babble, early, in_room):
    found = [
        metric(name)(estimate=estimate, target=target, sample_rate=16_000).value
        for estimate, target in ((in_babble, spoken), (in_room, early))
    ]
    assert found == pytest.approx(FROZEN[name], abs=1e-3)


def test_every_metric_of_the_evaluation_extra_is_frozen():
    intrusive = {n for n, ours in METRICS.items() if ours.category == "intrusive"}
    assert intrusive | set(load_yaml(find_config("eval/default"))["metrics"]) <= set(FROZEN)


def test_the_default_list_needs_no_network(tmp_path):
    """In a process of its own, with an empty home, where every connection is refused."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK],
        env={
            "HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path),
            "PYTHONPATH": ":".join(sys.path),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} ok" for name in metric_names(["default"])]
