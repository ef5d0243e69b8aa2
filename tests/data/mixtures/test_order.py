"""The order is a function of (seed, epoch, index): laws over many sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rased.data.mixtures import order
from rased.errors import RasedError

SIZES = {
    "count": st.integers(1, 400),
    "batch_size": st.integers(1, 17),
    "world_size": st.integers(1, 5),
    "workers": st.integers(1, 4),
    "start": st.floats(0, 1),
}


def _spans(position, count, batch_size, world_size, workers):
    """spans[rank] = the batches as a DataLoader with `workers` processes hands them over."""
    table = []
    for rank in range(world_size):
        parts = [
            list(
                order.batches(
                    position,
                    count,
                    batch_size=batch_size,
                    world_size=world_size,
                    rank=rank,
                    worker=worker,
                    workers=workers,
                )
            )
            for worker in range(workers)
        ]
        total = sum(map(len, parts))
        table.append([parts[step % workers][step // workers] for step in range(total)])
    return table


@given(**SIZES)
def test_every_sample_once_and_equal_batches(count, batch_size, world_size, workers, start):
    position = int(start * max(0, count - world_size))
    if count - position < world_size:
        return
    table = _spans(position, count, batch_size, world_size, workers)
    expected = order.steps(position, count, batch_size=batch_size, world_size=world_size)
    assert {len(batches) for batches in table} == {expected}
    seen = [i for batches in table for span in batches for i in range(span.start, span.stop)]
    assert sorted(seen) == list(range(position, count))
    assert all(span.stop > span.start for batches in table for span in batches)


@given(**SIZES)
def test_steps_are_runs_of_the_epoch_whatever_the_workers(
    count, batch_size, world_size, workers, start
):
    if count < world_size:
        return
    table = _spans(0, count, batch_size, world_size, workers)
    assert table == _spans(0, count, batch_size, world_size, 1)
    for step in range(len(table[0])):
        samples = [i for rank in table for i in range(rank[step].start, rank[step].stop)]
        stop = order.consumed(step + 1, 0, count, batch_size=batch_size, world_size=world_size)
        begin = order.consumed(step, 0, count, batch_size=batch_size, world_size=world_size)
        assert samples == list(range(begin, stop))


LEG = st.tuples(st.integers(1, 17), st.integers(1, 5), st.integers(1, 4), st.floats(0, 1))
"""Batch size, ranks and workers of a launch, and the share of the steps left that it does before it is killed."""


@given(count=st.integers(5, 400), legs=st.lists(LEG, min_size=1, max_size=6))
def test_whatever_is_killed_and_changed_the_samples_that_follow_are_those_that_would_have(
    count, legs
):
    """Launches one after the other, each with its own sizes; the last one goes to the end of the epoch."""
    position = 0
    for number, (batch_size, world_size, workers, share) in enumerate(legs):
        table = _spans(position, count, batch_size, world_size, workers)
        total = len(table[0])
        assert {len(batches) for batches in table} == {total}
        done = total if number == len(legs) - 1 else int(share * total)
        for step in range(done):
            spans = [batches[step] for batches in table]
            assert all(span.start < span.stop for span in spans)
            samples = [i for span in spans for i in range(span.start, span.stop)]
            after = order.consumed(
                step + 1, position, count, batch_size=batch_size, world_size=world_size
            )
            before = order.consumed(
                step, position, count, batch_size=batch_size, world_size=world_size
            )
            assert set(samples) == set(range(before, after))
            assert len(samples) == max(after - before, world_size)
        position = order.consumed(
            done, position, count, batch_size=batch_size, world_size=world_size
        )
    assert position == count


@given(left=st.integers(1, 7), more=st.integers(1, 9), batch_size=st.integers(1, 5))
def test_a_rest_of_fewer_samples_than_ranks_is_one_step_with_a_sample_for_every_rank(
    left, more, batch_size
):
    world_size = left + more
    table = _spans(50 - left, 50, batch_size, world_size, 1)
    assert [len(batches) for batches in table] == [1] * world_size
    samples = [span.start for (span,) in table]
    assert all(span.stop == span.start + 1 for (span,) in table)
    times = [samples.count(index) for index in range(50 - left, 50)]
    assert sum(times) == world_size
    assert min(times) >= 1
    assert max(times) - min(times) <= 1


def test_epochs_that_cannot_be_shared_are_named():
    with pytest.raises(RasedError, match="3 samples cannot be shared by 4 ranks"):
        order.steps(0, 3, batch_size=1, world_size=4)
    with pytest.raises(RasedError, match=r"position 12 is after .* 10 samples"):
        order.steps(12, 10, batch_size=1, world_size=1)


def test_generators_have_addresses():
    draws = {
        (seed, epoch, index): order.generator(seed, epoch, index).integers(1 << 62)
        for seed in (0, 1)
        for epoch in (-1, 0, 1)
        for index in (0, 1, 2)
    }
    assert len(set(draws.values())) == len(draws)
    again = order.generator(1, 0, 2).integers(1 << 62)
    assert again == draws[1, 0, 2]


def test_a_permutation_is_one_and_changes_with_epoch_and_turn():
    first = order.permutation(0, 0, 0, 50)
    assert sorted(first) == list(range(50))
    assert not np.array_equal(first, order.permutation(0, 1, 0, 50))
    assert not np.array_equal(first, order.permutation(0, 0, 1, 50))


@pytest.mark.parametrize("stream", [0, 1, 3])
def test_a_generator_is_philox_by_its_key(stream):
    key = np.array([7, -1 << 44 | 12], dtype=np.int64).view(np.uint64)
    ours, plain = (
        order.generator(7, -1, 12, stream),
        np.random.Generator(np.random.Philox(key=key).jumped(stream)),
    )
    assert ours.random(9).tolist() == plain.random(9).tolist()
    assert ours.permutation(50).tolist() == plain.permutation(50).tolist()
