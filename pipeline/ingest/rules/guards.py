"""When an ingestor should rather stop: the list is not the CDR list, or most of what it holds is no good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

VENDOR_INTERNAL: Final = frozenset({"queue_calls", "status", "call_update"})
"""What the dialler's own processes tell each other, on another Redis but under the same key (contract section 5)."""

FUSE_RECORDS: Final = 100
"""The fuse looks at no fewer records than this."""

FUSE_SHARE: Final = 0.5
"""The share of bad records beyond which it blows."""


class _Typed(msgspec.Struct):
    type: str = ""


_decode = msgspec.json.Decoder(_Typed).decode


def wrong_list(elements: Iterable[bytes]) -> str | None:
    """Why a list does not seem to be the one for integrators; None when nothing speaks against it.

    Taking the dialler's internal messages from it would stall its dialling.

    >>> wrong_list([b'{"type": "cdr", "payload": {}}', b"not json"])
    >>> wrong_list([b'{"type": "queue_calls", "payload": {"rate": 3, "ref": "spring"}}'])
    "holds the dialler's internal 'queue_calls' messages: it is the dialler's own Redis, not the integrator's"
    """
    for element in elements:
        try:
            found = _decode(element).type
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if found in VENDOR_INTERNAL:
            return (
                f"holds the dialler's internal '{found}' messages: it is the dialler's own Redis, not the integrator's"
            )
    return None


def fuse_blows(records: int, bad: int) -> str | None:
    """Why to stop rather than to empty the list into quarantine; None while most records are good.

    Args:
        records: how many records were looked at, the newest ones.
        bad: how many of them were quarantined as bad data.

    >>> fuse_blows(99, 99)
    >>> fuse_blows(100, 50)
    >>> fuse_blows(100, 51)
    '51 of the last 100 records were bad: a wrong list, or a format that has changed'
    """
    if records < FUSE_RECORDS or bad <= records * FUSE_SHARE:
        return None
    return f"{bad} of the last {records} records were bad: a wrong list, or a format that has changed"


def counts_again(records: int, conflicts: int) -> str | None:
    """Why to stop rather than to ask a person about each record; None while most records are of new calls.

    A dialler that was installed anew counts from 1 again. Its records are well and their calls are new; the references
    are those of other calls, stored long ago.

    Args:
        records: how many records were looked at, the newest ones.
        conflicts: how many of them have the reference of a call that is stored with other content.

    >>> counts_again(100, 50)
    >>> counts_again(100, 51).partition(":")[0]
    '51 of the last 100 records have the reference of another call that is stored'
    """
    if records < FUSE_RECORDS or conflicts <= records * FUSE_SHARE:
        return None
    return (
        f"{conflicts} of the last {records} records have the reference of another call that is stored: a dialler that "
        "was installed anew counts from 1 again. Give it a new ENIGMA_SOURCE; to accept them would overwrite old calls"
    )
