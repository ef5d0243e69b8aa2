"""The ring of a worker: what arrives is what was sent, whatever comes late, is large, or is kept."""

from types import SimpleNamespace

import pytest
import torch

from rased.data.mixtures import ring
from rased.data.mixtures.ring import Message, Receiver, Sender


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.setattr(ring, "get_worker_info", lambda: SimpleNamespace(id=3))


def batch_of(number, *, time=4096):
    random = torch.Generator().manual_seed(number)
    return {
        "clean": torch.randn(2, time, generator=random),
        "samples": torch.randint(-99, 99, (3 * time + 1,), generator=random, dtype=torch.int16),
        "index": torch.tensor([number, number + 1]),
        "key": [f"a{number}", f"b{number}"],
        "nested": {"samples": torch.arange(number)},
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
        elif name != "nested":
            assert found[name] == value
    assert torch.equal(found["nested"]["samples"], expected["nested"]["samples"])


def test_batches_arrive_and_stay_as_they_were_when_their_slots_are_used_again(worker):
    send, receive = Sender(2), Receiver()
    received = []
    for number in range(7):
        message = send(batch_of(number))
        assert isinstance(message, Message)
        assert (message.ring is None) == (number > 0)
        received.append(receive(message))
    for number, found in enumerate(received):
        assert_same(found, batch_of(number))


def test_what_is_on_its_way_is_not_written_over(worker):
    send, receive = Sender(2), Receiver()
    sent = [send(batch_of(number)) for number in range(5)]
    assert [isinstance(message, Message) for message in sent] == [True, True, False, False, False]
    for number, message in enumerate(sent):
        assert_same(receive(message), batch_of(number))
    assert isinstance(send(batch_of(9)), Message)


def test_a_larger_batch_takes_a_larger_ring_while_others_are_on_their_way(worker):
    """The first batch of a worker may lack samples that could not be read, or all of them."""
    send, receive = Sender(2), Receiver()
    lengths = (0, 3000, 5000, 9000, 9000, 3000)
    sent = [send(batch_of(number, time=time)) for number, time in enumerate(lengths[:5])]
    assert [message.ring is not None for message in sent] == [True, True, True, True, False]
    for number, message in enumerate(sent):
        assert_same(receive(message), batch_of(number, time=lengths[number]))
    message = send(batch_of(5, time=lengths[5]))
    assert message.ring is None
    assert_same(receive(message), batch_of(5, time=lengths[5]))


def test_without_a_worker_a_batch_is_handed_on(monkeypatch):
    batch = batch_of(0)
    assert Sender(2)(batch) is batch
    assert Receiver()(batch) is batch
