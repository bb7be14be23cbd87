"""Whatever comes from outside is shown as text: nothing of it acts, and nothing of it hides."""

import json
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipeline.logs.rules.visible import trimmed, visible, visible_lines, visible_values

ANY_TEXT = st.text(st.characters(exclude_categories=()))
HARMFUL = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")


def test_no_character_that_acts_or_hides_is_left() -> None:
    """All of Unicode: control characters, those of no width, those that turn the line around, strange blanks."""
    harmful = [chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) in HARMFUL]
    fillers = ["\u115f", "\u3164", "\uffa0", "\u2800", "\ufe0f", "\u034f", "\U000e0100"]
    assert {character for character in (*harmful, *fillers) if character in visible(character)} == {" "}
    assert len(visible("".join(harmful))) > 5 * len(harmful)


@given(ANY_TEXT)
def test_what_is_shown_is_shown_as_it_is(text: str) -> None:
    """Once is enough, one line stays one, and what was harmless is untouched."""
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == visible_lines(shown) == shown
    assert visible_lines(text).replace("\n", "\\n").replace("\t", "\\t") == shown
    if text.isascii() and text.isprintable():
        assert shown == text


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_still_the_same_json(value: object) -> None:
    """What is escaped in a document is read as what it was."""
    assert json.loads(visible_lines(json.dumps(value, ensure_ascii=False))) == value
    assert json.dumps(visible_values(value), ensure_ascii=False).isprintable()


@given(ANY_TEXT)
def test_blanks_go_and_nothing_else(text: str) -> None:
    """As far as a text shows anything."""
    assert trimmed(text) in ("", text.strip())
    assert (trimmed(text) == "") == (trimmed(f" {text}\u200b") == "")
