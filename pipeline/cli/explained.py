"""A call as a person asks for it: what it came to, then what it was, each a label and a text; no console."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.lookup.told import events, net_charge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.instants import Clock
    from pipeline.lookup.rules.history import (
        CallRow,
        DispositionRow,
        FailureRow,
        History,
        LineRow,
        ProvidersSide,
        Version,
    )
    from pipeline.recordings.rules.row import RecordingOfCall


class Part(NamedTuple):
    """A heading and what stands below it, in lines of as many texts each."""

    title: str
    facts: Sequence[tuple[str, ...]]


def parts_of(
    history: History, times: Clock, page: str | None = None, provider: ProvidersSide | None = None
) -> Iterator[Part]:
    """Everything there is to say, what matters most first; a part without facts is left out.

    Args:
        history: the call's.
        times: how times are shown.
        page: where Flower shows it; None: nowhere.
        provider: what the provider charges for it; None: nothing is said of that.
    """
    call = history.call
    outcome = [*_outcome(history, times), *([] if page is None else [("page", page)])]
    parts = (
        Part(f"Call {call.call_ref} of {call.source}", outcome),
        Part("The call", list(_call(call, times))),
        Part("What its end means", [] if history.disposition is None else list(_disposition(history.disposition))),
        Part("Charges", [(f"{line.kind} {line.revision}", _line(line)) for line in history.charges]),
        Part("The provider's side", [] if provider is None else list(_provider(provider))),
        Part("Recording", [] if history.recording is None else list(_recording(history.recording, times))),
        Part("Replaced versions", list(_versions(history, times))),
        Part("History", [(times.show(each.at), each.event, each.detail) for each in events(history)]),
    )
    return (part for part in parts if part.facts)


def _outcome(history: History, times: Clock) -> Iterator[tuple[str, str]]:
    yield "charge", _net(history)
    if history.disposition is None:
        yield "ended", "not classified yet"
    else:
        uncertain = " (uncertain)" if history.disposition.uncertain else ""
        yield "ended", f"{history.disposition.disposition}{uncertain}: {history.disposition.why}"
    yield "recording", _where(history, times)
    for failure in history.failures:
        if failure.state in {"open", "retrying"}:
            yield "set aside", _set_aside(failure)
    if history.replaced:
        last = history.replaced[-1]
        yield (
            "replaced",
            f"at {times.show(last.accepted_at)} by record {last.record_id}, which {last.accepted_by} accepted",
        )


def _provider(provider: ProvidersSide) -> Iterator[tuple[str, str]]:
    """What the provider charges, line by line; of a call that is not on its side there is nothing to say."""
    if provider.charges or provider.uncharged is not None:
        yield "charge", _net(provider)
        for line in provider.charges:
            yield f"{line.kind} {line.revision}", _line(line)


def _net(of: History | ProvidersSide) -> str:
    sums = " and ".join(f"{amount:,f} {currency}" for currency, amount in net_charge(of).items())
    moves = ", ".join(
        f"{'charged' if line.kind == 'charge' else 'taken back'} {abs(line.amount):,f}" for line in of.charges
    )
    how = f" ({moves})" if len(of.charges) > 1 else ""
    if sums:
        return f"{sums}{how}"
    if of.uncharged is not None:
        return f"nothing: {of.uncharged.reason}{how}"
    return f"not yet{how}"


def _set_aside(failure: FailureRow) -> str:
    again = ", being tried again" if failure.state == "retrying" else ""
    return f"{failure.step}, {failure.failure_class}{again}: {failure.reason}. See: pipeline failures show {failure.id}"


def _where(history: History, times: Clock) -> str:
    """Where its recording is, or why there is none."""
    found, disposition = history.recording, history.disposition
    if found is None:
        if disposition is None:
            return "not known before the call is classified"
        if disposition.can_have_audio:
            return "not scheduled yet"
        return f"none: a call that ended as {disposition.disposition} has no recording"
    if found.deleted_at is not None:
        return f"deleted at {times.show(found.deleted_at)}: {found.deleted_reason}"
    if found.state == "stored":
        differs = f", but: {found.verify_problem}" if found.verify_problem else ""
        return f"stored as {found.path}{differs}"
    if found.state in {"scheduled", "downloading"}:
        due = f", next try at {times.show(found.due_at)}" if found.due_at else ""
        return f"not here yet: {(found.reason or 'it was not tried so far').rstrip('.')}{due}"
    return f"{found.state}: {found.reason}"


def _call(call: CallRow, times: Clock) -> Iterator[tuple[str, str]]:
    """What the record said, in a person's words; what it did not say is left out."""
    yield "dialled", times.show(call.dialed_at)
    yield "direction", call.direction
    yield "campaign", call.campaign_ref
    if call.contact_ref is not None:
        yield "contact", call.contact_ref
    if call.extension is not None:
        yield "agent", call.extension
    called = _number(call.client_number, call.client_number_original, is_e164=call.client_number_is_e164)
    shown = _number(call.dial_number, call.dial_number_original, is_e164=call.dial_number_is_e164)
    # The contact's number and the dialler's own: who called whom depends on the direction.
    names = ("number called", "from number") if call.direction != "inbound" else ("caller", "number called")
    yield from ((name, number) for name, number in zip(names, (called, shown), strict=True) if number)
    yield "talk", f"{call.talk_seconds:,} s"
    if call.hold_seconds is not None:
        yield "hold", f"{call.hold_seconds:,} s"
    yield "end reason", call.end_reason
    if call.end_code is not None:
        yield "end code", str(call.end_code)
    if call.recording_url is not None:
        yield "recording URL", call.recording_url
    if call.extra:
        yield "also sent", json.dumps(call.extra, ensure_ascii=False)


def _number(value: str | None, original: str | None, *, is_e164: bool) -> str | None:
    if value is None:
        return None
    if not value:
        return "withheld"
    remarks = [f"sent as {original}"] if original and original != value else []
    remarks += [] if is_e164 else ["no E.164 number"]
    return f"{value} ({', '.join(remarks)})" if remarks else value


_MEANS: Final = {
    "person_reached": "person reached",
    "contact_done": "contact done",
    "can_be_billed": "can be billed",
    "can_have_audio": "can have audio",
}


def _disposition(disposition: DispositionRow) -> Iterator[tuple[str, str]]:
    if disposition.end_code_meaning is not None:
        yield "end code means", disposition.end_code_meaning
    for name, words in _MEANS.items():
        yield words, "yes" if getattr(disposition, name) else "no"


def _line(line: LineRow) -> str:
    fee = f" and {line.connect_fee:f} to connect" if line.connect_fee else ""
    rated = "" if line.billable_seconds == line.talk_seconds else f", of {line.talk_seconds:,} s talk"
    if line.rated_seconds not in {None, line.talk_seconds}:
        rated = f", of {line.rated_seconds:,} s rated and {line.talk_seconds:,} s talk"
    unrounded = "" if line.unrounded == line.amount else f", unrounded {line.unrounded:f}"
    place = "" if line.rate_line is None else f", line {line.rate_line} of the file"
    return (
        f"{line.amount:,f} {line.currency} for {line.billable_seconds:,} s at {line.rate_per_minute:f} a minute{fee}"
        f"{rated}{unrounded}; prefix {line.prefix or 'any'}, tariff {line.tariff} version {line.tariff_version}"
        f"{place}; {line.reason}"
    )


def _recording(recording: RecordingOfCall, times: Clock) -> Iterator[tuple[str, str]]:
    yield "tries", str(recording.attempts)
    if recording.size_bytes is not None:
        yield "size", f"{recording.size_bytes:,} bytes"
    if recording.sha256 is not None:
        yield "SHA-256", bytes(recording.sha256).hex()
    if recording.key_month is not None:
        yield "encrypted", f"with the key of {recording.key_month}"
    if recording.held_at is not None:
        yield "legal hold", f"since {times.show(recording.held_at)}, by {recording.held_by}"
    if recording.delete_problem is not None:
        yield "not deleted", recording.delete_problem


_TOLD: Final = {
    "dialed_at": "dialled",
    "talk_seconds": "talk",
    "hold_seconds": "hold",
    "campaign_ref": "campaign",
    "contact_ref": "contact",
    "extension": "agent",
    "client_number": "contact's number",
    "dial_number": "dialler's number",
    "direction": "direction",
    "end_reason": "end reason",
    "end_code": "end code",
    "recording_url": "recording URL",
    "extra": "also sent",
}


def _versions(history: History, times: Clock) -> Iterator[tuple[str, str]]:
    """Each version that was replaced, until when it stood, and what the next one says otherwise."""
    later = [*(version.call for version in history.replaced), history.call][1:]
    for place, (version, after) in enumerate(zip(history.replaced, later, strict=True), start=1):
        changes = ", ".join(_changes(version, after, times)) or "nothing that is stored"
        yield f"version {place}", f"until {times.show(version.accepted_at)}; then {changes}"


def _changes(version: Version, after: CallRow, times: Clock) -> Iterator[str]:
    for name, words in _TOLD.items():
        before, now = getattr(version.call, name), getattr(after, name)
        if before != now:
            yield f"{words} {_value(name, before, times)} → {_value(name, now, times)}"


def _value(name: str, value: object, times: Clock) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, datetime):
        return times.show(value)
    return f"{value} s" if name.endswith("_seconds") else str(value)
