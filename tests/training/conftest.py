"""What tests of several trainings use."""

from collections.abc import Iterator

import pytest

from rased.evaluation import closing


@pytest.fixture(scope="module")
def unpublished() -> Iterator[None]:
    """Trainings end with their last step, for tests of the steps: the entry that follows takes a third of the time.

    What a whole training leaves at its end is tested in test_run.py, test_tracking.py, and test_origin.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "close", lambda *words, **more: None)
        yield
