"""Several players: steps are batches, and clipping, average, resume, replay and skipping are as for one."""

import copy
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from torch import nn

from rased.cli.replay import replay
from rased.cli.train import train
from rased.errors import RasedError
from rased.losses.waveform import L1
from rased.tensors import read_checkpoint
from rased.training.checkpoint import load_module
from rased.training.history import read_launches
from rased.training.players import Optimisation, Player, Team
from rased.training.skipping import MOST_SKIPPED
from rased.training.waveform import WaveformEnhancement
from tests.forks import ended, script
from tests.training.synthetic import Adversarial, TinyMask, TinyWaveform, Tones
from tests.training.test_by_hand import QUICK
from tests.training.test_resume import DATA, curve, weights

pytestmark = pytest.mark.usefixtures("unpublished")

STEPS = 10
PLATEAU = {
    "class_path": "rased.training.schedules.Plateau",
    "init_args": {"factor": 0.5, "patience": 0, "threshold": 100.0},
}


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def config(
    *callbacks: tuple[str, dict[str, Any]], trainer: dict[str, Any] | None = None, **model: Any
) -> dict[str, Any]:
    """Five batches an epoch, two epochs, clipping."""
    hooks = [
        {"class_path": f"tests.training.synthetic.{name}", "init_args": arguments}
        for name, arguments in callbacks
    ]
    plain = {
        "accelerator": "cpu",
        "max_epochs": -1,
        "max_steps": STEPS,
        "log_every_n_steps": 1,
        "gradient_clip_val": 0.5,
        "num_sanity_val_steps": 1,
        "val_check_interval": 2,
        "callbacks": hooks,
    }
    arguments = {"enhancer": {"class_path": "tests.training.synthetic.TinyMask"}, **model}
    return {
        "trainer": {**plain, **(trainer or {})},
        "model": {"class_path": "tests.training.synthetic.Adversarial", "init_args": arguments},
        "data": DATA,
        "run": {"examples": 0, "evaluate": []},
    }


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted; what the module got is in heard/."""
    root = tmp_path_factory.mktemp("players")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        heard = ("Heard", {"folder": str(root / "heard")})
        assert train(config(heard, critic_schedule=PLATEAU), root / "run") == 0
    return root / "run"


def test_steps_are_batches(whole: Path) -> None:
    logged = [int(row["step"]) for row in rows(whole) if row["train/loss"]]
    assert logged == list(range(STEPS))
    stored = read_checkpoint(whole / "checkpoints" / "last.ckpt")
    assert (stored["global_step"], stored["epoch"]) == (STEPS, STEPS // 5)
    assert [launch.step for launch in read_launches(whole)] == [0]
    validated = [int(row["step"]) for row in rows(whole) if row["valid/loss"]]
    assert validated == [1, 3, 6, 8, 9]


def test_the_terms_of_every_player_are_logged_and_add_up(whole: Path) -> None:
    for row in rows(whole):
        if row["train/loss"]:
            ours = float(row["train/loss/l1"]) + float(row["train/loss/pleasing"])
            assert float(row["train/loss"]) == pytest.approx(ours, rel=1e-5)
            theirs = float(row["train/critic/loss/clean"]) + float(row["train/critic/loss/made"])
            assert float(row["train/critic/loss"]) == pytest.approx(theirs, rel=1e-5)
            assert float(row["train/grad_norm"]) > 0
            assert float(row["train/critic/grad_norm"]) > 0


def test_a_plateau_lowers_the_rate_of_its_player_alone(whole: Path) -> None:
    """No validation after the first one is better by 100: each halves the rate."""
    rates = [float(row["train/critic/lr"]) for row in rows(whole) if row["train/critic/lr"]]
    expected = [2e-3] * 4 + [1e-3] * 3 + [0.5e-3] * 2 + [0.25e-3]
    assert rates[1:] == pytest.approx(expected[1:])
    ours = [float(row["train/lr"]) for row in rows(whole) if row["train/lr"]]
    assert len({*ours[1:]}) == 9


@pytest.mark.parametrize(
    ("hook", "count"),
    [
        ("on_train_batch_start", 3),
        ("on_train_batch_end", 7),
        pytest.param("on_validation_end", 4, marks=pytest.mark.slow),
        pytest.param("on_train_batch_start", 6, marks=pytest.mark.slow),
    ],
)
def test_resumed_equals_uninterrupted(whole: Path, tmp_path: Path, hook: str, count: int) -> None:
    run = tmp_path / "run"
    stop = ("Signal", {"hook": hook, "count": count})
    assert train(config(stop, critic_schedule=PLATEAU), run) == 143
    assert 0 < read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] < STEPS
    assert train(config(critic_schedule=PLATEAU), run) == 0
    assert curve(run) == curve(whole)
    for name in ("last", "best"):
        ours, theirs = weights(run, name), weights(whole, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    states = [
        read_checkpoint(folder / "checkpoints" / "last.ckpt")["optimizer_states"][0]
        for folder in (run, whole)
    ]
    for player in ("critic", "enhancer"):
        ours, theirs = (state[player]["state"] for state in states)
        for index, item in theirs.items():
            assert all(torch.equal(ours[index][key], item[key]) for key in item)


def test_replay_writes_the_batch_of_the_step(whole: Path, tmp_path: Path) -> None:
    for step in (1, 4, 8):
        replayed = replay(whole, step, tmp_path / str(step))
        (path,) = (whole.parent / "heard").glob(f"{step:03d}-*.pt")
        mixture = torch.load(path, weights_only=True)
        assert mixture["index"].tolist() == [sample["index"] for sample in replayed["samples"]]
        for row, index in enumerate(mixture["index"].tolist()):
            audio, _ = soundfile.read(tmp_path / str(step) / f"{index:06d}-noisy.wav")
            np.testing.assert_array_equal(audio.astype("float32"), mixture["noisy"][row].numpy())


def test_the_checkpoint_builds_the_story_again(whole: Path) -> None:
    path = whole / "checkpoints" / "best.ckpt"
    module = load_module(path, allow=["tests"])
    assert isinstance(module, Adversarial)
    stored = read_checkpoint(path)["state_dict"]
    assert torch.equal(module.critic.layers[0].weight, stored["critic.layers.0.weight"])


class Watch(pl.Callback):
    """Keeps the weights of both players after every batch."""

    def __init__(self) -> None:
        self.kept: list[dict[str, list[torch.Tensor]]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *arguments: Any) -> None:
        self.kept.append(
            {
                name: [item.detach().clone() for item in getattr(pl_module, name).parameters()]
                for name in ("enhancer", "critic", "average")
            }
        )


def by_hand(module: Adversarial, tmp_path: Path, **trainer: Any) -> Watch:
    watch = Watch()
    pl.Trainer(default_root_dir=tmp_path, callbacks=[watch], **{**QUICK, **trainer}).fit(
        module, datamodule=Tones(batches=6)
    )
    return watch


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize("critic_first", [True, False])
def test_the_average_moves_once_a_batch(tmp_path: Path, critic_first: bool) -> None:
    torch.manual_seed(0)
    module = Adversarial(TinyWaveform(), ema_decay=0.5, critic_first=critic_first)
    average = [item.detach().clone() for item in module.average.parameters()]
    watch = by_hand(module, tmp_path)
    assert len(watch.kept) == 6
    for step, kept in enumerate(watch.kept):
        decay = min(0.5, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, kept["enhancer"], 1 - decay)
        for ours, theirs in zip(average, kept["average"], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)


class Apart(Adversarial):
    """Two players who have nothing to do with each other."""

    def losses(self, batch: Any, player: str) -> dict[str, torch.Tensor]:
        if player == "enhancer":
            return self.terms_of(self.enhancer.predict(batch["noisy"]), batch)
        return {"clean": (self.critic(batch["target"]) - 1).square().mean()}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize("critic_first", [True, False])
def test_a_second_player_changes_no_digit_of_the_first(tmp_path: Path, critic_first: bool) -> None:
    """Dropout, clipping, schedule and average of the enhancer are those of a training of its own."""
    torch.manual_seed(0)
    enhancer = TinyMask()
    alone = WaveformEnhancement(copy.deepcopy(enhancer), L1(), warmup_steps=2, ema_decay=0.9)
    beside = Apart(copy.deepcopy(enhancer), critic_first=critic_first)
    for module in (alone, beside):
        pl.Trainer(default_root_dir=tmp_path, **QUICK, gradient_clip_val=0.01).fit(
            module, datamodule=Tones(batches=6)
        )
    for part in ("enhancer", "average"):
        ours, theirs = (getattr(module, part).state_dict() for module in (beside, alone))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not torch.equal(alone.enhancer.network[0].weight, enhancer.network[0].weight)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
def test_the_gradient_of_every_player_is_clipped_by_itself(tmp_path: Path) -> None:
    """By SGD at a rate of 1, a step is as long as the clipped gradient."""
    torch.manual_seed(0)
    bound = 1e-3
    sgd = {"class_path": "torch.optim.SGD"}
    module = Adversarial(
        TinyWaveform(), lr=1.0, critic_lr=1.0, warmup_steps=0, optimizer=sgd, critic_schedule=None
    )
    before = {
        name: [item.detach().clone() for item in getattr(module, name).parameters()]
        for name in ("enhancer", "critic")
    }
    first = by_hand(module, tmp_path, gradient_clip_val=bound).kept[0]
    for name, old in before.items():
        moved = [new - item for new, item in zip(first[name], old, strict=True)]
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(moved)))
        assert float(length) == pytest.approx(bound, rel=1e-2)


def test_a_batch_that_is_not_finite_moves_no_player_and_counts_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config(("NotFinite", {"steps": [2, 3, 7]})), run) == 0
    logged = [float(row["train/skipped_steps"]) for row in rows(run) if row["train/skipped_steps"]]
    assert logged == [0, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    for name in ("last", "best"):
        assert all(bool(item.isfinite().all()) for item in weights(run, name).values())


class Blind(Adversarial):
    """Its critic gets a gradient that is not finite in the third step."""

    def losses(self, batch: Any, player: str) -> dict[str, torch.Tensor]:
        terms = super().losses(batch, player)
        if player == "critic" and self.global_step == 2:
            terms["made"] = terms["made"] * float("nan")
        return terms


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize("critic_first", [True, False])
def test_a_player_that_cannot_move_holds_no_other(tmp_path: Path, critic_first: bool) -> None:
    module = Blind(TinyWaveform(), critic_first=critic_first)
    kept = by_hand(module, tmp_path).kept

    def moved(name: str, step: int) -> bool:
        pairs = zip(kept[step - 1][name], kept[step][name], strict=True)
        return any(not torch.equal(old, new) for old, new in pairs)

    for step in range(1, 6):
        assert moved("critic", step) == (step != 2)
        assert moved("enhancer", step)
        assert moved("average", step)
    assert (module.skipping.total, module.skipping.in_row) == (1, 0)


def test_too_many_of_them_stop_the_run_with_the_batch_named(tmp_path: Path) -> None:
    settings = config(
        ("NotFinite", {"steps": [*range(2, 100)]}), trainer={"max_steps": 100}, lr=0.01
    )
    step = 2 + MOST_SKIPPED
    with pytest.raises(RasedError, match=f"not finite in step {step}, .*--step {step}"):
        train(settings, tmp_path / "run")


def test_accumulation_is_refused_in_one_sentence(tmp_path: Path) -> None:
    settings = config(trainer={"accumulate_grad_batches": 2})
    with pytest.raises(RasedError, match=r"accumulate_grad_batches is 2, .* trains 2 players"):
        train(settings, tmp_path / "run")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"optimizer": {"class_path": "torch.optim.SGD"}}, "the optimiser AdamW, .* has SGD"),
        ({"enhancer": {"class_path": "tests.training.synthetic.Normed"}}, r"fit|size|shape|key"),
    ],
)
def test_another_optimiser_cannot_go_on(
    tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    run = tmp_path / "run"
    assert train(config(("Signal", {"hook": "on_train_batch_end", "count": 2})), run) == 143
    with pytest.raises(Exception, match=sentence):
        train(config(**changed), run)


def test_players_that_cannot_be_are_refused() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    frozen = nn.Linear(2, 2).requires_grad_(False)
    for players, sentence in (
        ([], "returned no player"),
        ([Player("a", one), Player("a", other)], "two players named 'a'"),
        ([Player("a", one), Player("b", nn.Sequential(one, other))], "'a' and 'b' share"),
        ([Player("a", frozen)], "'a' has no parameter to train"),
        ([Player("a/b", one)], "the name of a player is 'a/b'"),
    ):
        with pytest.raises(RasedError, match=sentence):
            Team(players)


def test_the_rates_of_players_are_their_own() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    team = Team([Player("a", one, Optimisation(lr=0.1)), Player("b", other, Optimisation(lr=0.2))])
    together = team.build()
    assert [group["lr"] for group in together.param_groups] == [0.1, 0.1, 0.2, 0.2]
    state = together.state_dict()
    together.load_state_dict(state)
    assert together.param_groups[0] is team.optimizers["a"].param_groups[0]


RANKS = """
import json, sys
from pathlib import Path
import pytorch_lightning as pl
import torch
from tests.training.synthetic import Adversarial, TinyWaveform, Tones

out, ranks = Path(sys.argv[1]), int(sys.argv[2])

class Batches:
    def __init__(self, batches):
        self.batches = batches
    def __len__(self):
        return len(self.batches)
    def __iter__(self):
        return iter(self.batches)

class Some(Tones):
    '''Every rank has its own tones; the second batch of the last rank is empty.'''
    def train_dataloader(self):
        rank = self.trainer.global_rank
        batches = [*super().train_dataloader()][rank::ranks]
        if rank == ranks - 1 and ranks > 1:
            batches[1] = {name: value[:0] for name, value in batches[1].items()}
        return Batches(batches)

torch.manual_seed(0)
module = Adversarial(TinyWaveform())
trainer = pl.Trainer(accelerator="cpu", devices=ranks, strategy="ddp_fork", max_epochs=1, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    use_distributed_sampler=False, gradient_clip_val=0.5, callbacks=[])

class Note(pl.Callback):
    def on_train_end(self, trainer, module):
        sums = {name: [float(item.double().sum()) for item in getattr(module, name).parameters()]
                for name in ("enhancer", "critic", "average")}
        told = {"sums": sums, "step": trainer.global_step}
        (out / f"{trainer.global_rank}.json").write_text(json.dumps(told))

trainer.callbacks.append(Note())
trainer.fit(module, datamodule=Some(batches=4 * ranks, batch_size=2))
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_stay_together(tmp_path: Path, ranks: int) -> None:
    said = tmp_path / "said.txt"
    status = ended(script(RANKS, [str(tmp_path), str(ranks)], said), 300)
    assert status == 0, said.read_text()
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(ranks)]
    assert all(one == told[0] for one in told)
    assert told[0]["step"] == 4
