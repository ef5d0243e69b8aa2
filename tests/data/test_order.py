"""The order is a function of (seed, epoch, index): laws over many sizes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rased.data import order

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


@given(**SIZES, other=st.integers(1, 5))
def test_continuing_with_another_world_size_loses_and_repeats_nothing(
    count, batch_size, world_size, workers, start, other
):
    if count < world_size:
        return
    total = order.steps(0, count, batch_size=batch_size, world_size=world_size)
    done = int(start * total)
    position = order.consumed(done, 0, count, batch_size=batch_size, world_size=world_size)
    first = [
        i
        for rank in _spans(0, count, batch_size, world_size, workers)
        for span in rank[:done]
        for i in range(span.start, span.stop)
    ]
    if count - position < other:
        return
    rest = [
        i
        for rank in _spans(position, count, batch_size, other, 1)
        for span in rank
        for i in range(span.start, span.stop)
    ]
    assert sorted(first + rest) == list(range(count))


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
