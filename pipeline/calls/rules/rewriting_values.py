"""A number taken out of what was read already: JSON, the columns of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.calls.rules.spellings import Spelled

KEPT: Final = frozenset(
    {
        *("id", "source", "call_ref", "campaign_ref", "ref", "record_id", "content_hash"),
        *("dialed_at", "call_time", "hold_time", "talk_seconds", "hold_seconds", "end_code", "end_reason"),
    }
)
"""What is no number however it looks: by these a call is known, charged and classified."""

CONTACT: Final = "contact_ref"
"""The reference of whose number it is: where the number goes, it goes."""

_LARGEST_WHOLE: Final = 2**53


def plain_figure(text: str) -> str:
    """A JSON number in plain digits, where it is whole.

    >>> plain_figure("2.7820001234e10"), plain_figure("1.5")
    ('27820001234', '1.5')
    """
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if abs(value) < _LARGEST_WHOLE and value.is_integer() else text


def rewrite_json(value: Any, spelled: Spelled, name: str) -> Any:
    """What JSON says without a number, and without the reference of its owner; what is neither text nor number stays.

    Args:
        value: as it is read.
        spelled: the number.
        name: what takes its place.
    """
    new = _walked(value, spelled, name)
    return new if new == value else _without_contact(new)


def _walked(value: Any, spelled: Spelled, name: str) -> Any:
    match value:
        case str():
            return spelled.replaced(value, name)
        case bool() | None:
            return value
        case int() | float():
            text = plain_figure(str(value))
            new = spelled.replaced(text, name)
            return value if new == text else new
        case list():
            return [_walked(each, spelled, name) for each in value]
        case dict():
            return {
                spelled.replaced(key, name): each if _stays(key, each) else _walked(each, spelled, name)
                for key, each in value.items()
            }
        case _:
            return value


def _stays(key: str, value: Any) -> bool:
    return key in KEPT and not isinstance(value, dict | list)


def _without_contact(value: Any) -> Any:
    match value:
        case list():
            return [_without_contact(each) for each in value]
        case dict():
            return {key: None if key == CONTACT else _without_contact(each) for key, each in value.items()}
        case _:
            return value


def rewrite_call(call: Mapping[str, Any], spelled: Spelled, name: str) -> dict[str, Any]:
    """The columns of a call, or a copy of them in JSON, without a number and the reference of its owner.

    Args:
        call: by the names of the columns.
        spelled: the number.
        name: what takes its place.
    """
    new: dict[str, Any] = rewrite_json(dict(call), spelled, name)
    for side in ("client", "dial"):
        if new[f"{side}_number"] != call[f"{side}_number"]:
            new[f"{side}_number_is_e164"] = False
    return new
