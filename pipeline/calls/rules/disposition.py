"""How a call ended, and what follows from it for the bill, the contact and the recording.

`contact_done` follows the dialler's own defaults: a contact who spoke to an agent is closed, every other one
may be tried again. An error or a failure closes nothing either: it says something about us, not about them.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from pipeline.calls.rules import q850
from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Mapping


class Disposition(StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    ABANDONED = "abandoned"
    VOICEMAIL = "voicemail"
    BUSY = "busy"
    REJECTED = "rejected"
    NO_ANSWER = "no_answer"
    ERROR = "error"
    FAILED = "failed"
    UNKNOWN = "unknown"


COMMON: Final = frozenset({Disposition.ANSWERED, Disposition.NO_ANSWER, Disposition.BUSY, Disposition.VOICEMAIL})
"""Those of which there is no lack anywhere; each of the others has an index of its calls as they were dialled."""


class Consequences(NamedTuple):
    """What a disposition means for the contact, the bill and the recording."""

    person_reached: bool
    contact_done: bool
    can_be_billed: bool
    can_have_audio: bool


_NOTHING = Consequences(person_reached=False, contact_done=False, can_be_billed=False, can_have_audio=False)

CONSEQUENCES: Final[Mapping[Disposition, Consequences]] = MappingProxyType(
    {
        Disposition.ANSWERED: Consequences(
            person_reached=True, contact_done=True, can_be_billed=True, can_have_audio=True
        ),
        Disposition.ABANDONED: _NOTHING._replace(person_reached=True),  # somebody picked up, and heard music
        Disposition.VOICEMAIL: _NOTHING,
        Disposition.BUSY: _NOTHING,
        Disposition.REJECTED: _NOTHING,
        Disposition.NO_ANSWER: _NOTHING,
        Disposition.ERROR: _NOTHING,
        Disposition.FAILED: _NOTHING,
        Disposition.UNKNOWN: _NOTHING,
    }
)

# A tariff may bill more than this; which dispositions it bills is then its own setting.
BILLABLE_BY_DEFAULT: Final = frozenset(d for d, follows in CONSEQUENCES.items() if follows.can_be_billed)

# Whether the call was tried at all: a call the dialler itself failed to place never reached the network.
ATTEMPTED: Final = frozenset(Disposition) - {Disposition.FAILED}


class Classification(msgspec.Struct, frozen=True, gc=False):
    """A disposition with its consequences and the sentence that explains it."""

    disposition: Disposition
    uncertain: bool
    why: str
    end_code_meaning: str | None
    person_reached: bool
    contact_done: bool
    can_be_billed: bool
    can_have_audio: bool


# Every spelling the dialler has used for a hang-up, and who did it. The extension tells if anyone spoke.
_HANGUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hungup": "one side hung up",
        "hangup": "one side hung up",
        "callee_hungup": "the callee hung up",
        "callee_hangup": "the callee hung up",
        "agent_hungup": "the agent or the dialler hung up",
        "agent_hangup": "the agent or the dialler hung up",
        "hangup_command": "the dialler was told to hang up",
        "answer": "the call was answered",
        "cancel": "the call was cancelled",
    }
)

_REASONS: Final[Mapping[str, Disposition]] = MappingProxyType(
    {
        "voicemail": Disposition.VOICEMAIL,
        "busy": Disposition.BUSY,
        "reject": Disposition.REJECTED,
        "dontcall": Disposition.REJECTED,
        "timeout": Disposition.NO_ANSWER,
        "noanswer": Disposition.NO_ANSWER,
        "error": Disposition.ERROR,
        "congestion": Disposition.ERROR,
        "chanunavail": Disposition.ERROR,
        "torture": Disposition.ERROR,
        "failed": Disposition.FAILED,
        "invalidargs": Disposition.FAILED,
    }
)

_HANGUP_CODES: Final = frozenset({0, 16})
_CODES: Final[Mapping[int, Disposition]] = MappingProxyType(
    {
        17: Disposition.BUSY,
        18: Disposition.NO_ANSWER,
        102: Disposition.NO_ANSWER,
        19: Disposition.REJECTED,
        21: Disposition.REJECTED,
        22: Disposition.REJECTED,
    }
)

_CONNECTED: Final = frozenset({Disposition.ANSWERED, Disposition.ABANDONED, Disposition.VOICEMAIL})

# How a call that was going on can end as well: the dialler says "error" of every cause it has no word for, a cut line
# among them, and "timeout" of cause 102, which may also strike in the middle of a call.
_ENDS_A_TALK_TOO: Final = frozenset({Disposition.ERROR, Disposition.NO_ANSWER, Disposition.UNKNOWN})


INBOUND_NOT_BILLED: Final = "inbound calls are not billed"
"""Why an inbound call is not charged, by a tariff that does not rate those."""


def not_billed(disposition: str) -> str:
    """Why a call of a disposition that its tariff does not bill is not charged; kept with the call.

    >>> not_billed("busy")
    'a call that ended as busy is not billed'
    """
    return f"a call that ended as {disposition} is not billed"


def classify(
    end_reason: str, end_code: int | None, extension: str | None, hold_seconds: int | None, talk_seconds: int = 0
) -> Classification:
    """The disposition of a call, from all that the dialler says about it; total over any input.

    An agent and talk seconds mean that they talked, however the call then ended: see `_ENDS_A_TALK_TOO`.
    """
    return _classify(end_reason, end_code, bool(extension), hold_seconds is not None, talk_seconds > 0)


_DECIDED_LATER: Final = frozenset({"retry", "closed", "remove_number"})
"""What the API has in the place of an outcome once somebody decided about the contact (contract section 3)."""


def classify_pulled(
    end_reason: str, end_code: int | None, extension: str | None, hold_seconds: int | None, talk_seconds: int = 0
) -> Classification:
    """The disposition of a call that was pulled from the dialler's API, whose word may have been overwritten since.

    >>> classify_pulled("closed", None, "2001", 3, 60).why
    "The dialler's API has 'closed', which was decided about the contact later and says not how the call ended."
    >>> [str(classify_pulled(word, None, None, None).disposition) for word in ("agent_hungup", "busy")]
    ['unknown', 'busy']
    """
    word = end_reason.strip().lower()
    if word in _DECIDED_LATER:
        why = "which was decided about the contact later and says not how the call ended"
    elif word in {"agent_hungup", "agent_hangup"} and not (extension and talk_seconds):
        why = "which may have been set later, and no agent is known to have talked"
    else:
        return classify(end_reason, end_code, extension, hold_seconds, talk_seconds)
    return Classification(
        Disposition.UNKNOWN,
        True,
        f"The dialler's API has {shown(end_reason)}, {why}.",
        None,
        *CONSEQUENCES[Disposition.UNKNOWN],
    )


@lru_cache(maxsize=4_096)
def _classify(
    end_reason: str,
    end_code: int | None,
    has_agent: bool,  # noqa: FBT001
    held: bool,  # noqa: FBT001
    talked: bool,  # noqa: FBT001
) -> Classification:
    word = end_reason.strip().lower()
    if word in _HANGUPS:
        disposition, uncertain, why = _hangup(_HANGUPS[word], has_agent=has_agent, held=held)
        why += _contradiction(disposition, end_code)
    elif word in _REASONS:
        disposition, uncertain = _REASONS[word], False
        why = f"the dialler gave {shown(end_reason)} as the reason" + _contradiction(disposition, end_code)
    else:
        disposition, uncertain, why = _by_code(end_reason, end_code, has_agent=has_agent, held=held)
    if has_agent and talked and disposition in _ENDS_A_TALK_TOO:
        disposition, uncertain = Disposition.ANSWERED, True
        why += "; but an agent was on the call and seconds were talked, so it was answered and cut off"
    return Classification(
        disposition,
        uncertain,
        f"{why[0].upper()}{why[1:]}.",
        q850.meaning(end_code),
        *CONSEQUENCES[disposition],
    )


def _hangup(who: str, *, has_agent: bool, held: bool) -> tuple[Disposition, bool, str]:
    if has_agent:
        return Disposition.ANSWERED, False, f"{who}, and an agent was on the call"
    if held:
        return (
            Disposition.ABANDONED,
            False,
            f"{who} while the callee waited in the queue, before an agent took the call",
        )
    return (
        Disposition.ABANDONED,
        True,
        f"{who} and no agent took the call, but without a hold time this may be a call nobody answered",
    )


def _by_code(end_reason: str, end_code: int | None, *, has_agent: bool, held: bool) -> tuple[Disposition, bool, str]:
    """For a reason nobody has described: the code decides, and the answer is marked uncertain."""
    unknown = f"the reason {shown(end_reason)} is not known"
    if end_code is None:
        return Disposition.UNKNOWN, True, f"{unknown}, and there is no end_code to go by"
    if end_code in _HANGUP_CODES:
        disposition, _, why = _hangup("the call was cleared", has_agent=has_agent, held=held)
        return disposition, True, f"{unknown}; by {_code(end_code)} {why}"
    disposition = _usual(end_code)
    return disposition, True, f"{unknown}; {_code(end_code)} stands for {disposition}"


def _contradiction(disposition: Disposition, end_code: int | None) -> str:
    """What to add when the code tells another story than the reason; the reason wins."""
    if end_code is None or disposition is Disposition.FAILED:  # a failure has no codes of its own
        return ""
    connected = disposition in _CONNECTED
    if end_code in _HANGUP_CODES:
        return "" if connected else f", although {_code(end_code)} stands for a hang-up: the reason wins"
    usual = _usual(end_code)
    return "" if usual is disposition else f", although {_code(end_code)} stands for {usual}: the reason wins"


def _usual(end_code: int) -> Disposition:
    return _CODES.get(end_code, Disposition.ERROR)


def _code(end_code: int) -> str:
    meaning = q850.meaning(end_code)
    return f"end_code {shown(end_code)}" + (f" ({meaning})" if meaning else "")
