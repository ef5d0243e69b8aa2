"""The data module without a trainer: a loop of one's own over mixtures."""

import pytest
import torch

from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.plan import Scene
from rased.errors import RasedError


def module() -> MixtureDataModule:
    return MixtureDataModule(
        scene=Scene(segment=0.25), samples_per_epoch=6, validation_samples=4, batch_size=2
    )


def test_every_epoch_of_a_plain_loop_has_new_batches() -> None:
    """One loader for all epochs, or a new one for each: the same, and what a trainer would give."""
    one, many, expected = module(), module(), module()
    loader = one.train_dataloader()
    epochs = [[batch["key"] for batch in loader] for _ in range(3)]
    assert epochs == [[batch["key"] for batch in many.train_dataloader()] for _ in range(3)]
    wanted = expected._new_loader("train")
    for number, epoch in enumerate(epochs):
        wanted.epoch = number
        assert epoch == [batch["key"] for batch in wanted]
    assert len({str(epoch) for epoch in epochs}) == 3


def test_mixtures_are_mixed_and_new_in_every_epoch() -> None:
    data = module()
    first, second = ([one["noisy"] for one in data.mixtures("train")] for _ in range(2))
    assert [tuple(one.shape) for one in first] == [(2, 4000)] * 3
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    valid = [torch.cat([one["noisy"] for one in data.mixtures("valid")]) for _ in range(2)]
    assert torch.equal(*valid)
    with pytest.raises(RasedError, match="unknown split 'test'"):
        next(data.mixtures("test"))


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_plain_loop_goes_on_where_it_was(stop: int) -> None:
    """Saved after so many batches of the second epoch's three (4: of the third)."""
    whole = module()
    expected = [one["index"].tolist() for _ in range(3) for one in whole.mixtures()]
    data, seen, state = module(), [], {}
    for _ in range(3):
        for one in data.mixtures():
            if len(seen) == 3 + stop:
                break
            seen.append(one["index"].tolist())
            state = data.state_dict()
        if len(seen) == 3 + stop:
            break
    again = module()
    again.load_state_dict(state)
    while len(seen) < 9:
        seen += [one["index"].tolist() for one in again.mixtures()]
    assert seen == expected
