"""Planted leaks are found."""

import pytest

from service.errors import DataLeakError
from service.learning.datasets.leakage import require_no_leak
from tests.labelled_history import history

TRAIN = history([True, False] * 5)


def test_parts_that_share_nothing_pass() -> None:
    """Parts without shared data pass; events without a group are not of one group."""
    require_no_leak({"train": TRAIN, "test": history([True, False], first=10), "empty": history([])})
    require_no_leak({})


def test_a_planted_duplicate_is_caught() -> None:
    """The same features and label under another id are found in any two parts."""
    planted = history([False, False], contents=[100.0, 1.5], first=10)
    with pytest.raises(
        DataLeakError, match=r"one content in the train part \(events\[0\]@1\) and the test part \(.*@11\)"
    ):
        require_no_leak({"train": TRAIN, "validation": history([True], first=20), "test": planted})
    require_no_leak({"train": TRAIN, "test": planted}, by_content=False)


def test_equal_features_with_another_label_are_no_duplicate() -> None:
    """Equal features with another label are no duplicate, because the concept may have changed."""
    require_no_leak({"train": TRAIN, "test": history([True], contents=[1.5], first=10)})


def test_a_planted_id_is_caught() -> None:
    """A shared id is found even if the content differs."""
    planted = history([True], contents=[100.0], first=3)
    with pytest.raises(DataLeakError, match="one id in"):
        require_no_leak({"train": TRAIN, "test": planted}, by_content=False)


@pytest.mark.parametrize("group", ["user", 7])
def test_a_planted_group_leak_is_caught(group: str | int) -> None:
    """A shared group is found, whether its name is text or a number."""
    train = history([True, False], groups=[group, None])
    with pytest.raises(DataLeakError, match="one group in"):
        require_no_leak({"train": train, "test": history([True, True], groups=[None, group], first=2)})


def test_a_number_and_its_text_are_two_groups() -> None:
    """A number and its text are two groups, and two ids."""
    require_no_leak({"train": history([True], groups=[7]), "test": history([True], groups=["7"], first=1)})


def test_duplicates_within_a_part_are_no_leak() -> None:
    """Duplicates within one part are no leak."""
    twice = history([True, True], contents=[1.0, 1.0])
    require_no_leak({"train": twice, "test": history([True, True], contents=[2.0, 2.0], first=2)})
