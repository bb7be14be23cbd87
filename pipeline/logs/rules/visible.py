r"""Text from outside as a person may see it: nothing in it acts on a terminal, a log or a page, and nothing hides.

A character that shows nothing, moves the cursor or turns the line around is written as JSON escapes it. So a record's
JSON stays the same JSON; in other text a real ``\u202e`` of six characters cannot be told from an escaped one, and
neither does anything.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

# Control characters, blanks, and what Unicode says to leave out where a font has no picture of it. Written out, and not
# asked of `unicodedata`: whether two references are one must not depend on the Python that reads them.
_INVISIBLE: Final = (
    "\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
INVISIBLE: Final = f"[{_INVISIBLE}]"
"""A pattern of one character that shows nothing."""

_ONE_INVISIBLE: Final = re.compile(INVISIBLE)
_ALL_INVISIBLE: Final = re.compile(f"{INVISIBLE}*")
_SUSPECT: Final = re.compile(r"[^ -~]")
_SUSPECT_IN_LINES: Final = re.compile(r"[^ -~\n\t]")


def visible(text: str) -> str:
    r"""A text as one line, harmless wherever it is shown.

    >>> print(visible("spring\x1b[2J\u202egnirps"), visible("a\nb"), visible("Zürich 東京"))
    spring\u001b[2J\u202egnirps a\nb Zürich 東京
    """
    if text.isascii() and text.isprintable():
        return text
    return _SUSPECT.sub(_shown, text)


def visible_lines(text: str) -> str:
    r"""The same for a text of several lines, such as a traceback: line ends and tabs stay.

    >>> print(visible_lines("a\r\nb\x1b"))
    a\r
    b\u001b
    """
    if text.isascii() and text.isprintable():
        return text
    return _SUSPECT_IN_LINES.sub(_shown, text)


def visible_values(value: Any) -> Any:
    r"""What JSON will be made of, with every text in it visible, keys included.

    >>> visible_values({"source": "a\u200b", "counts": [1, None]})
    {'source': 'a\\u200b', 'counts': [1, None]}
    """
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key) if isinstance(key, str) else key: visible_values(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [visible_values(each) for each in value]
    return value


def trimmed(text: str) -> str:
    r"""A text without the blanks around it; nothing, where no character of it shows.

    >>> trimmed(" a\u200b "), trimmed("\u200b \u2066"), trimmed("")
    ('a\u200b', '', '')
    """
    text = text.strip()
    if not text or "!" <= text[0] <= "~":  # nearly every text, and at once
        return text
    return "" if _ALL_INVISIBLE.fullmatch(text) else text


def _shown(match: re.Match[str]) -> str:
    return _shown_character(match[0])


@lru_cache(maxsize=4_096)
def _shown_character(character: str) -> str:
    if character.isprintable() and not _ONE_INVISIBLE.fullmatch(character):
        return character
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"
