"""The order is a function of (seed, epoch, index): laws over many sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rased.data.mixtures import order, turns
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


class TestShuffled:
    @given(
        count=st.integers(1, 150),
        group=st.integers(1, 9),
        window=st.integers(1, 5),
        seed=st.integers(0, order.SEEDS - 1),
        epoch=st.integers(0, 40),
    )
    def test_each_recording_comes_once(self, count, group, window, seed, epoch):
        found = order.Shuffled(seed, epoch, 0, count=count, group=group, window=window)
        assert sorted(found[place] for place in range(count)) == list(range(count))

    def test_any_of_its_names_gives_another_order_and_the_same_ones_the_same(self):
        names = [(s, e, t, r) for s in (0, 1) for e in (0, 1) for t in (0, 1) for r in (0, 1)]
        for shape in ({}, {"group": 10, "window": 4}):
            orders = []
            for seed, epoch, turn, stream in names * 2:
                made = order.Shuffled(seed, epoch, turn, count=60, stream=stream, **shape)
                orders.append(tuple(made[place] for place in range(60)))
            assert orders[: len(names)] == orders[len(names) :]
            assert len(set(orders)) == len(names)

    def test_it_shuffles_like_a_list(self):
        """Places are uncorrelated with recordings, and neighbours are no nearer than by chance."""
        count = 1 << 13
        found = order.Shuffled(5, 0, 0, count=count)
        numbers = np.array([found[place] for place in range(count)])
        spread = 4 / np.sqrt(count)
        for lag in (0, 1, 2, 1 << 6, 1 << 7):
            other = np.arange(count) if lag == 0 else np.roll(numbers, lag)
            assert abs(np.corrcoef(numbers, other)[0, 1]) < spread
        # Steps of a shuffled list: the mean of the distance of two uniform numbers is a third.
        steps = np.abs(np.diff(numbers)) / count
        assert abs(steps.mean() - 1 / 3) < 4 * steps.std() / np.sqrt(count)
        cells = np.histogram2d(np.arange(count), numbers, bins=16)[0]
        expected = count / 256
        assert ((cells - expected) ** 2 / expected).sum() < 255 + 4 * np.sqrt(2 * 255)

    def test_few_groups_are_in_use_at_a_time(self):
        count, group, window = 4000, 10, 8
        found = order.Shuffled(1, 2, 3, count=count, group=group, window=window)
        groups = np.array([found[place] for place in range(count)]) // group
        spans = [np.ptp(np.flatnonzero(groups == each)) for each in range(count // group)]
        # The last window has recordings of others in the places of those that do not exist.
        assert sorted(spans)[-2 * window] < window * group
        # Windows are mixed, each in its own way.
        first, second = (groups[at : at + window * group] for at in (0, window * group))
        assert len(set(first.tolist())) == len(set(second.tolist())) == window
        assert (
            np.unique(first, return_inverse=True)[1] != np.unique(second, return_inverse=True)[1]
        ).mean() > 0.5
        # The order of the groups is not that of the index.
        assert np.corrcoef(np.arange(count), groups)[0, 1] < 0.1

    def test_it_takes_no_memory(self):
        import tracemalloc

        tracemalloc.start()
        found = order.Shuffled(1, 0, 0, count=10**12, group=50, window=16)
        assert 0 <= found[10**11] < 10**12
        assert tracemalloc.get_traced_memory()[1] < 100_000
        tracemalloc.stop()


def test_large_corpora_have_functions_and_others_the_lists_that_they_had(monkeypatch):
    blocks = np.repeat(np.arange(30), 7)
    monkeypatch.setattr(order, "LARGE", 210)
    for made in (turns.samples(1, 210, 0), turns.by_blocks(1, blocks, 0, 4)):
        assert isinstance(made(0, 0), order.Shuffled)
        found = turns.Turns(made, 210)
        for epoch in (0, 1):
            for first in (0, 210):
                passed = [found(epoch, first + place) for place in range(210)]
                assert sorted(passed) == list(range(210))
    shorter = turns.samples(1, 209, 0)(0, 0)
    np.testing.assert_array_equal(shorter, order.permutation(1, 0, 0, 209))
    # Recordings that are not in the order of their shards have no groups.
    assert isinstance(turns.by_blocks(1, blocks[::-1], 0, 4)(0, 0), np.ndarray)
