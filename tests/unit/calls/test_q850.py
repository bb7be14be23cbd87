"""The hangup causes and their meanings."""

import pytest

from pipeline.calls.rules import q850


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0, "no cause given"),
        (1, "unallocated (unassigned) number"),
        (16, "normal call clearing"),
        (17, "user busy"),
        (102, "recovery on timer expiry"),
        (127, "interworking, unspecified"),
        (128, None),
        (10, None),
        (-1, None),
        (486, None),
        (None, None),
    ],
)
def test_meaning(code: int | None, meaning: str | None) -> None:
    """A defined cause has its meaning; an undefined one and none have none."""
    assert q850.meaning(code) == meaning


def test_all_defined_causes_are_there() -> None:
    """The table holds the causes Q.850 defines, and the dialler's 0."""
    ranges = [
        (0, 9),
        (14, 14),
        (16, 31),
        (34, 34),
        (38, 44),
        (46, 47),
        (49, 50),
        (53, 53),
        (55, 55),
        (57, 58),
    ]
    ranges += [(62, 63), (65, 66), (69, 70), (79, 79), (81, 88), (90, 91), (95, 103), (110, 111), (127, 127)]
    defined = {code for first, last in ranges for code in range(first, last + 1)}
    assert set(q850.MEANING) == defined


def test_the_table_cannot_be_changed() -> None:
    """Nobody alters a cause's meaning at run time."""
    with pytest.raises(TypeError):
        q850.MEANING[16] = "other"  # type: ignore[index]
