"""Optimisers by configuration: which one, with which groups, and what is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from rased.cli.train import main, train
from rased.errors import RasedError
from rased.tensors import read_checkpoint
from rased.training.adamp import AdamP
from rased.training.checkpoint import build_module, load_module
from rased.training.optimisation import Budget
from rased.training.players import Optimisation, Player, Team
from rased.training.waveform import WaveformEnhancement
from tests.training.synthetic import TinyMask, Tones
from tests.training.test_by_hand import QUICK
from tests.training.test_checks import WORDS
from tests.training.test_resume import DATA, MODEL, curve, weights

pytestmark = pytest.mark.usefixtures("unpublished")


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def config(*callbacks: dict[str, Any], **model: Any) -> dict[str, Any]:
    trainer = {
        "accelerator": "cpu",
        "log_every_n_steps": 1,
        "max_epochs": 1,
        "gradient_clip_val": 1.0,
    }
    return {
        "trainer": {**trainer, "callbacks": list(callbacks)},
        "model": {**MODEL, "init_args": {**MODEL["init_args"], **model}},
        "data": DATA,
        "run": {"examples": 0, "evaluate": []},
    }


def named(path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


OPTIMISERS = {
    "amsgrad": (named("torch.optim.Adam", amsgrad=True), torch.optim.Adam),
    "adamw": (named("torch.optim.AdamW", betas=[0.8, 0.99]), torch.optim.AdamW),
    "sgd": (named("torch.optim.SGD", momentum=0.9, nesterov=True), torch.optim.SGD),
    "adamp": (named("rased.training.adamp.AdamP", nesterov=True), AdamP),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_configuration_names_the_optimiser(name: str) -> None:
    spec, kind = OPTIMISERS[name]
    module = build_module(
        named(
            "rased.training.mask.MaskEnhancement",
            enhancer=named("tests.training.synthetic.TinyMask"),
            lr=0.01,
            optimizer=spec,
        )
    )
    optimizer = module.configure_optimizers()
    assert type(optimizer) is kind
    for key, value in spec["init_args"].items():
        expected = tuple(value) if isinstance(value, list) else value
        assert all(group[key] == expected for group in optimizer.param_groups)
    assert all(group["lr"] == 0.01 for group in optimizer.param_groups)
    assert optimizer.param_groups[1]["weight_decay"] == 0


@pytest.mark.parametrize("name", ["amsgrad", "adamp"])
def test_a_run_trains_with_it_and_a_resumed_one_goes_on(name: str, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    spec, kind = OPTIMISERS[name]
    assert train(config(optimizer=spec), whole) == 0
    stop = named("tests.training.synthetic.Signal", hook="on_train_batch_end", count=2)
    assert train(config(stop, optimizer=spec), run) == 143
    assert train(config(optimizer=spec), run) == 0
    assert curve(run) == curve(whole)
    ours, theirs = weights(run, "last"), weights(whole, "last")
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    stored = read_checkpoint(whole / "checkpoints" / "last.ckpt")
    assert stored["hyper_parameters"]["optimizer"] == spec
    assert stored["players"]["enhancer"]["optimizer"] == kind.__name__
    load_module(whole / "checkpoints" / "best.ckpt", allow=["tests"])


def test_adamw_by_its_name_gives_the_digits_of_the_default(tmp_path: Path) -> None:
    for folder, settings in (
        ("default", {}),
        ("named", {"optimizer": named("torch.optim.AdamW")}),
        ("decay", {"weight_decay": 0.01}),
    ):
        assert train(config(**settings), tmp_path / folder) == 0
    assert curve(tmp_path / "named") == curve(tmp_path / "default") == curve(tmp_path / "decay")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_a_fused_optimiser_is_clipped_in_bfloat16_too(tmp_path: Path, algorithm: str) -> None:
    """With momentum 0 a step of SGD is the clipped gradient."""
    torch.manual_seed(0)
    spec = named("torch.optim.SGD", fused=True)
    module = WaveformEnhancement(TinyMask(), lr=1.0, warmup_steps=0, optimizer=spec)
    before = [item.detach().clone() for item in module.enhancer.parameters()]
    trainer = {"precision": "bf16-mixed", "gradient_clip_val": 1e-3}
    pl.Trainer(
        default_root_dir=tmp_path,
        max_steps=1,
        gradient_clip_algorithm=algorithm,
        **{**QUICK, **trainer},
    ).fit(module, datamodule=Tones(batches=6))
    moved = [
        old - new.detach() for old, new in zip(before, module.enhancer.parameters(), strict=True)
    ]
    if algorithm == "norm":
        size = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(moved))))
    else:
        size = max(float(item.abs().max()) for item in moved)
    assert size == pytest.approx(1e-3, rel=1e-2)


def test_other_groups_of_parameters_cannot_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    stop = named("tests.training.synthetic.Signal", hook="on_train_batch_end", count=2)
    assert train(config(stop), run) == 143
    with pytest.raises(
        RasedError, match=r"lr_factors or the model\) \[2, 2\], .* has \[1, 1, 1, 1\]"
    ):
        train(config(lr_factors={"network.0.*": 0.1}), run)


def test_options_of_this_launch_count_after_a_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    stop = named("tests.training.synthetic.Signal", hook="on_train_batch_end", count=2)
    assert train(config(stop, weight_decay=0.01), run) == 143
    assert train(config(weight_decay=0.5), run) == 0
    stored = read_checkpoint(run / "checkpoints" / "last.ckpt")
    groups = stored["optimizer_states"][0]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.5, 0.0}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--model.optimizer", "{class_path: torch.optim.Adan}"],
            r"^model\.optimizer: there is no class 'torch\.optim\.Adan'",
        ),
        (
            ["--model.optimizer", "{class_path: torch.nn.Linear}"],
            r"^model\.optimizer: 'torch\.nn\.Linear' is not a Optimizer",
        ),
        (
            ["--model.optimizer", "{class_path: torch.optim.Adam, init_args: {amsgard: true}}"],
            r"^model\.optimizer.* has no key 'amsgard'; did you mean 'amsgrad'",
        ),
        (
            ["--model.optimizer", "{class_path: torch.optim.Adam, init_args: {amsgrad: 3}}"],
            r"^model\.optimizer\.amsgrad is 3; it must be true or false",
        ),
        (
            ["--model.optimizer", "{class_path: torch.optim.Adam, init_args: {betas: [2, 0.9]}}"],
            r"^model\.optimizer: Adam cannot be built from these values",
        ),
        (
            ["--model.optimizer", "{class_path: torch.optim.Adam, init_args: {lr: 0.1}}"],
            r"^model\.optimizer\.init_args contains lr: .* model\.lr",
        ),
        (
            [
                *["--model.weight_decay", "0.1"],
                "--model.optimizer",
                "{class_path: torch.optim.AdamW, init_args: {weight_decay: 0.1}}",
            ],
            r"^model\.weight_decay and model\.optimizer\.init_args\.weight_decay are both given",
        ),
        (["--model.optimizer", "adam"], r"^model\.optimizer"),
        (["--model.weight_decay=-1"], r"^model\.weight_decay is -1"),
        (
            ["--model.lr_factors", "{network.deocder.*: 0.1}"],
            r"^model\.lr_factors: 'network\.deocder\.\*' matches no parameter of ",
        ),
        (["--model.lr_factors", "{'*': 0}"], r"^model\.lr_factors: the factor of '\*' is 0"),
        (["--model.lr_factors", "{'*': fast}"], r"^model\.lr_factors"),
        (
            ["--model.schedule", "{class_path: rased.training.schedules.Stepp}"],
            r"did you mean .*schedules\.Step",
        ),
    ],
)
def test_nonsense_is_one_sentence_and_nothing_is_left(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(RasedError, match=sentence) as refused:
        main([*WORDS, *words, "--runs", str(tmp_path)])
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_the_last_pattern_that_matches_sets_the_rate_of_a_layer() -> None:
    enhancer = TinyMask()
    factors = {"network.*": 0.5, "network.3.*": 0.1}
    module = WaveformEnhancement(enhancer, lr=0.01, warmup_steps=0, lr_factors=factors)
    optimizer = module.configure_optimizers()
    assert module.team is not None
    module.team.set_rates(Budget(0, 100))
    rates = {id(item): group["lr"] for group in optimizer.param_groups for item in group["params"]}
    expected = {"network.0": 0.005, "network.3": 0.001}
    for name, item in enhancer.named_parameters():
        assert rates[id(item)] == pytest.approx(expected[name.rpartition(".")[0]])
    assert module.team.rate("enhancer") == pytest.approx(0.01)
    for group in optimizer.param_groups:
        assert {item.ndim > 1 for item in group["params"]} == {group["weight_decay"] > 0}


def test_layers_move_by_their_rates() -> None:
    """By SGD, a layer with a tenth of the rate moves a tenth as far."""
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    settings = Optimisation(lr=1.0, optimizer=named("torch.optim.SGD"), lr_factors={"1.*": 0.1})
    team = Team([Player("one", network, settings)])
    optimizer = team.build()
    team.set_rates(Budget(0, 1))
    before = [item.detach().clone() for item in network.parameters()]
    for item in network.parameters():
        item.grad = torch.ones_like(item)
    share = team.rate("one")
    optimizer.step()
    moved = [
        float((old - new).mean().detach())
        for old, new in zip(before, network.parameters(), strict=True)
    ]
    assert moved == pytest.approx([share, share, 0.1 * share, 0.1 * share])


def gradients(shape: tuple[int, ...], count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("shape", [(5,), (4, 6), (3, 2, 5)])
def test_adamp_without_projection_is_adamw(shape: tuple[int, ...]) -> None:
    one, other = (torch.ones(shape).requires_grad_(True) for _ in range(2))
    ours = AdamP([one], lr=0.01, weight_decay=0.1, delta=0.0)
    theirs = torch.optim.AdamW([other], lr=0.01, weight_decay=0.1)
    for gradient in gradients(shape, 10):
        one.grad, other.grad = gradient.clone(), gradient.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 5), (7,)])
def test_adamp_is_the_formula_of_the_paper(shape: tuple[int, ...], nesterov: bool) -> None:
    """Against numpy, with every weight that the bound allows projected (delta is large)."""
    lr, first, second, eps, decay, ratio = 0.02, 0.9, 0.99, 1e-8, 0.1, 0.3
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    ours = weight.clone().requires_grad_(True)
    optimizer = AdamP(
        [ours], lr, (first, second), eps, decay, delta=100.0, wd_ratio=ratio, nesterov=nesterov
    )
    theirs, mean, square = weight.numpy().copy(), 0.0, 0.0
    for step, gradient in enumerate(gradients(shape, 6), 1):
        g = gradient.double().numpy()
        ours.grad = gradient.double()
        optimizer.step()
        mean = first * mean + (1 - first) * g
        square = second * square + (1 - second) * g**2
        ahead = first * mean + (1 - first) * g if nesterov else mean
        update = ahead / (np.sqrt(square) / math.sqrt(1 - second**step) + eps)
        scale = 1.0
        if theirs.ndim > 1:
            flat, rows = update.reshape(len(update), -1), theirs.reshape(len(theirs), -1)
            unit = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + eps)
            update = (flat - unit * (unit * flat).sum(1, keepdims=True)).reshape(theirs.shape)
            scale = ratio
        theirs = theirs * (1 - lr * decay * scale) - lr / (1 - first**step) * update
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-9)


def test_adamp_keeps_the_length_of_a_weight_that_a_norm_follows() -> None:
    """Gradients of a scale-invariant function are orthogonal to the weight; AdamW lengthens it, AdamP hardly."""

    def length_after(optimizer_of: Any) -> float:
        weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
        start, optimizer = float(weight.detach().norm()), optimizer_of([weight])
        inputs = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
        wanted = torch.randn(64, 8, generator=torch.Generator().manual_seed(2))
        for _ in range(100):
            optimizer.zero_grad()
            unit = weight / weight.norm(dim=1, keepdim=True)
            (inputs @ unit.T - wanted).square().mean().backward()
            optimizer.step()
        return float(weight.detach().norm()) / start

    assert length_after(lambda given: torch.optim.AdamW(given, lr=0.05, weight_decay=0.0)) > 1.1
    assert length_after(lambda given: AdamP(given, lr=0.05)) < 1.05


def test_adamp_refuses_numbers_out_of_range() -> None:
    with pytest.raises(RasedError, match="AdamP: betas is"):
        AdamP([torch.zeros(1, requires_grad=True)], betas=(1.0, 0.9))
    with pytest.raises(RasedError, match="AdamP: lr is -1"):
        AdamP([torch.zeros(1, requires_grad=True)], lr=-1.0)
