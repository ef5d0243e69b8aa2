"""Side information by concatenation, FiLM and attention: it decides what is heard, in files and streams alike."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rased
from rased.building import build
from rased.classes import STRANGERS
from rased.construction import spec_of
from rased.errors import RasedError
from rased.layers.conditioning import Conditioning
from rased.models.base import Enhancer
from rased.models.frequency import FrequencyDomainEnhancer, Inputs
from rased.models.gru import NSNet2
from rased.signal.ratios import si_sdr
from rased.signal.stft import STFT
from rased.streaming import CausalStream
from rased.zoo.publish import write_entry
from tests.training.stories import assert_continues, assert_continues_and_replays

WAYS = [
    Conditioning("concatenation", size=6),
    Conditioning("film", size=6),
    Conditioning("attention", size=6),
    Conditioning("concatenation", "speaker", "embedding", 3),
    Conditioning("film", "speaker", "embedding", 3),
]


def made(conditioning: Conditioning, **parts: Any) -> FrequencyDomainEnhancer:
    torch.manual_seed(0)
    return FrequencyDomainEnhancer(
        partial(NSNet2, hidden=12, layers=1, expansion=12),
        inputs=parts.pop("inputs", Inputs("running_mean")),
        stft=STFT(128, 64, 128),
        conditioning=conditioning,
        **parts,
    )


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given(conditioning: Conditioning, rows: int) -> dict[str, Tensor]:
    """Embeddings, or recordings of noise and of a tone."""
    if conditioning.of == "embedding":
        return {conditioning.name: 10 * noise(rows, 3, seed=5)}
    tone = 0.1 * torch.sin(torch.arange(4_000) / 3)
    return {conditioning.name: torch.stack([noise(4_000), tone])[:rows]}


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.by}-{way.of}")
def test_every_row_hears_its_own_condition_in_files_and_streams(way: Conditioning) -> None:
    enhancer = made(way, inputs=Inputs("running", past_frames=1, future_frames=1)).eval()
    assert enhancer.conditions == (way.name,)
    noisy, condition = noise(2, 1_500), given(way, 2)
    estimate = enhancer(noisy, condition=condition)
    stream = CausalStream(enhancer, 2, condition=condition)
    parts = [stream.push(part) for part in noisy.split(177, dim=-1)]
    streamed = torch.cat([*parts, stream.finish()], -1)
    torch.testing.assert_close(streamed, estimate, rtol=0, atol=1e-5)
    for row in range(2):
        own = {way.name: condition[way.name][row : row + 1]}
        alone = enhancer(noisy[row], condition=own)
        torch.testing.assert_close(alone, estimate[row], rtol=0, atol=1e-5)
    other = enhancer(noisy, condition={way.name: condition[way.name].flip(0)})
    assert float((other - estimate).abs().max()) > 1e-5


def voices(rows: int, seed: int, time: int = 2_000) -> tuple[Tensor, Tensor, Tensor]:
    """Two speakers at once, with a low and a high voice; which of them is wanted, and another utterance of that one."""
    generator = torch.Generator().manual_seed(seed)
    clock = torch.arange(time) / 16_000
    pitch = torch.tensor([500.0, 2_500.0])

    def spoken() -> Tensor:
        shift = 1 + 0.2 * torch.rand(2, rows, 1, generator=generator)
        phase = 6 * torch.rand(2, rows, 1, generator=generator)
        return 0.1 * torch.sin(2 * torch.pi * pitch[:, None, None] * shift * clock + phase)

    wanted = torch.arange(rows) % 2
    mixed, enrolments = spoken(), spoken()
    row = torch.arange(rows)
    return mixed.sum(0), mixed[wanted, row], enrolments[wanted, row]


@pytest.mark.parametrize("way", WAYS[:3], ids=lambda way: way.by)
def test_the_enrolment_chooses_the_voice(way: Conditioning) -> None:
    enhancer = made(way)
    optimizer = torch.optim.Adam(enhancer.parameters(), lr=2e-2)
    for step in range(40):
        noisy, target, enrolment = voices(8, step)
        optimizer.zero_grad()
        estimate = enhancer(noisy, condition={"enrolment": enrolment})
        (-si_sdr(estimate=estimate, target=target).mean()).backward()
        optimizer.step()
    noisy, target, enrolment = voices(16, 999)
    with torch.no_grad():
        right = enhancer(noisy, condition={"enrolment": enrolment})
        wrong = enhancer(noisy, condition={"enrolment": enrolment.roll(1, 0)})
    assert float(si_sdr(estimate=right, target=target).mean()) > 6
    assert float(si_sdr(estimate=wrong, target=target).mean()) < -6


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(RasedError, match="an embedding has none: choose of: recording"):
        Conditioning("attention", of="embedding")
    with pytest.raises(RasedError, match="size 0"):
        Conditioning(size=0)
    with pytest.raises(RasedError, match=r"shape \(1, 4\); it must be \(batch, 3\)"):
        made(WAYS[4])(noise(1, 500), condition={"speaker": torch.zeros(1, 4)})
    with pytest.raises(RasedError, match="needs the condition 'speaker'"):
        made(WAYS[4])(noise(1, 500))


def test_it_is_published_and_loaded(tmp_path: Path) -> None:
    enhancer = made(WAYS[1]).eval()
    spec = spec_of(enhancer)
    build(Enhancer, spec, classes=STRANGERS)
    condition = given(WAYS[1], 1)
    entry = write_entry(
        tmp_path / "personal",
        enhancer=enhancer,
        spec=spec,
        summary="one speaker",
        paper=enhancer.paper,
        licence={"code": "Apache-2.0", "weights": "CC0-1.0", "data": []},
        training={},
        condition=condition,
    )
    noisy = noise(1, 1_000)
    np.save(tmp_path / "who.npy", condition["enrolment"].numpy())
    found = rased.load(str(entry))(noisy, condition={"enrolment": tmp_path / "who.npy"})
    torch.testing.assert_close(found, enhancer(noisy, condition=condition))


NAME = "mask.MaskEnhancement"
ARGUMENTS: dict[str, Any] = {
    "enhancer": {
        "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
        "init_args": {
            "network": {
                "class_path": "rased.models.gru.NSNet2",
                "init_args": {"hidden": 4, "layers": 1, "expansion": 4},
            },
            "inputs": {"normalisation": "running_mean"},
            "stft": {"n_fft": 128, "hop_length": 64, "win_length": 128},
            "conditioning": {"by": "film", "size": 4},
        },
    }
}
ENROLLED = {
    "scene": {"segment": 0.3, "enrolment": 0.5},
    "validation_scene": {"segment": 0.3, "enrolment": 0.5},
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.slow
def test_a_training_with_enrolments_continues(tmp_path: Path) -> None:
    assert_continues(NAME, ARGUMENTS, tmp_path, **ENROLLED)


@pytest.mark.slow
def test_a_run_continues_and_replays(tmp_path: Path) -> None:
    assert_continues_and_replays(NAME, ARGUMENTS, tmp_path, **ENROLLED)
