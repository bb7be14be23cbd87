"""Levels 2 and 3: the dialler's API against what came, a few requests at a time, by one process at a time."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sqlalchemy import text

from pipeline.completeness import campaign_rows, witnesses
from pipeline.completeness.missing_lines import settle_missing_lines
from pipeline.completeness.missing_rows import keep_answered, keep_missing, settle_missing, who_is_here
from pipeline.completeness.rules.overdue import ASK_AGAIN, judge
from pipeline.dialler.rules.listed import Gone, Halt, ListedCall, ListedCampaign, ListedContact, Unclear
from pipeline.errors import PipelineError
from pipeline.recordings import pauses
from pipeline.recordings.rules.outcome import PauseKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from pipeline.completeness.campaign_rows import DueContact
    from pipeline.completeness.readings import NotSettled

PER_SECOND: Final = 5.0
"""Requests a second to one dialler, by all machines together."""
CONTACTS_AT_ONCE: Final = 25
_LOCK: Final = 712_004_313
"""With a number made of the source: whoever holds it asks that dialler."""


class Listing(Protocol):
    """The dialler's API, as far as it is needed here."""

    def campaigns(self) -> list[ListedCampaign] | Unclear | Gone | Halt: ...

    def contacts(self, campaign: str) -> list[ListedContact] | Unclear | Gone | Halt: ...

    def calls(self, contact: str) -> list[ListedCall] | Unclear | Gone | Halt: ...


class Compared(NamedTuple):
    """What a look came to."""

    campaigns: int = 0
    contacts: int = 0
    missing: int = 0
    unknown: int = 0
    says: str | None = None


class Pace:
    """Waits before each request, so that there are never more than so many a second.

    Args:
        per_second: requests.
        sleep: waits.
    """

    def __init__(self, per_second: float = PER_SECOND, sleep: Callable[[float], None] = time.sleep) -> None:
        self._every = 1 / per_second
        self._sleep = sleep
        self._next = time.monotonic() + self._every  # whoever asked before us may have done it just now

    def wait(self) -> None:
        """Until the next request may go out."""
        now = time.monotonic()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._every


class _HaltedError(PipelineError):
    """Nothing more is asked for now; the text says why."""


def compare(
    engine: Engine, api: Listing, cdr_list: NotSettled, *, source: str, now: datetime, most_contacts: int = 150
) -> Compared:
    """Look at the campaigns that are due, and at contacts that were called more often than we know of.

    Args:
        engine: the database.
        api: the dialler's API, which keeps to its pace by itself.
        cdr_list: its list.
        source: the dialler.
        now: the present instant, aware.
        most_contacts: the most contacts to ask about, so that this ends in time; the others wait for the next look.
    """
    with _alone(engine, source) as held:
        if not held:
            return Compared(says="another process is asking this dialler")
        look = _Look(engine, api, cdr_list, source, now)
        try:
            look.may_ask()
            campaigns = look.look_at_campaigns()
            contacts = look.ask_about_contacts(most_contacts)
        except _HaltedError as error:
            look.note("unknown", str(error))
            return Compared(says=str(error))
        finally:
            with engine.begin() as connection:
                settle_missing(connection, source, now)
                settle_missing_lines(connection, now)
        return contacts._replace(campaigns=campaigns)


@contextlib.contextmanager
def _alone(engine: Engine, source: str) -> Iterator[bool]:
    """Whether nobody else asks this dialler while this is done; the end of a process lets go of it."""
    key = {"lock": _LOCK, "source": source}
    with engine.connect() as connection:
        held = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock, hashtext(:source))"), key))
        connection.commit()
        try:
            yield held
        finally:
            if held:
                connection.execute(text("SELECT pg_advisory_unlock(:lock, hashtext(:source))"), key)
                connection.commit()


class _Look:
    """One look at one dialler."""

    def __init__(self, engine: Engine, api: Listing, cdr_list: NotSettled, source: str, now: datetime) -> None:
        self._engine = engine
        self._api = api
        self._list = cdr_list
        self._source = source
        self._now = now
        with engine.begin() as connection:
            self._from = campaign_rows.watched_from(connection, source, now)

    def may_ask(self) -> None:
        """Stop where the recordings of this dialler wait too, but for their own store, or somebody asked us to."""
        with self._engine.begin() as connection:
            for pause in pauses.standing(connection, self._source):
                if pause.kind is not PauseKind.STORE_AWAY:
                    raise _HaltedError(f"its recordings wait, and so does this: {pause.reason}")
            row = connection.execute(
                text("SELECT reason FROM api_halts WHERE source = :source AND until > :now"),
                {"source": self._source, "now": self._now},
            ).one_or_none()
        if row is not None:
            raise _HaltedError(row.reason)

    def _halt(self, halt: Halt) -> _HaltedError:
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO api_halts (source, until, reason) "
                    "VALUES (:source, cast(:now AS timestamptz) + make_interval(secs => :seconds), :reason) "
                    "ON CONFLICT (source) DO UPDATE SET until = excluded.until, reason = excluded.reason"
                ),
                {"source": self._source, "now": self._now, "seconds": halt.seconds, "reason": halt.reason},
            )
        return _HaltedError(halt.reason)

    def note(self, state: str, says: str, *levels: int) -> None:
        """Say what levels can tell."""
        with self._engine.begin() as connection:
            for level in levels or (2, 3):
                witnesses.note(connection, self._source, level, state, says, now=self._now)

    def look_at_campaigns(self) -> int:
        """Look at each campaign that is due; returns how many were."""
        listed = self._api.campaigns()
        if isinstance(listed, Halt):
            raise self._halt(listed)
        if not isinstance(listed, list):
            raise _HaltedError(listed.reason if isinstance(listed, Unclear) else "the dialler lists no campaigns")
        with self._engine.begin() as connection:
            due = campaign_rows.note_campaigns(connection, self._source, listed, self._now)
        for campaign in due:
            self._look_at(campaign)
        self.note("available", f"{len(listed)} campaigns, {len(due)} of them looked at", 2)
        return len(due)

    def _look_at(self, campaign: str) -> None:
        contacts = self._api.contacts(campaign)
        if isinstance(contacts, Halt):
            raise self._halt(contacts)
        says, attempts, known = None, 0, 0
        with self._engine.begin() as connection:
            if isinstance(contacts, list):
                ours = [each for each in contacts if each.last_dialed_at and each.last_dialed_at >= self._from]
                came = campaign_rows.attempts_known(connection, self._source, campaign, self._from)
                attempts = sum(each.dial_attempts for each in ours)
                known = sum(min(each.dial_attempts, came.get(each.contact_ref, 0)) for each in ours)
                exceeding = [each for each in ours if each.dial_attempts > came.get(each.contact_ref, 0)]
                campaign_rows.note_contacts(connection, self._source, campaign, exceeding, self._now)
            else:
                says = contacts.reason if isinstance(contacts, Unclear) else "the campaign is no longer there"
            campaign_rows.looked(
                connection, self._source, campaign, now=self._now, says=says, attempts=attempts, known=known
            )

    def ask_about_contacts(self, most: int) -> Compared:
        """Ask about contacts that are due."""
        done = Compared()
        while done.contacts < most:
            with self._engine.begin() as connection:
                limit = min(CONTACTS_AT_ONCE, most - done.contacts)
                due = campaign_rows.due_contacts(connection, self._source, now=self._now, limit=limit)
            if not due:
                break
            self.may_ask()
            some = self._ask_about(due)
            done = Compared(0, done.contacts + len(due), done.missing + some.missing, done.unknown + some.unknown)
        strange = f"; {done.unknown} answers said nothing" if done.unknown else ""
        state = "unknown" if done.contacts and done.unknown == done.contacts else "available"
        self.note(state, f"{done.contacts} contacts asked about{strange}", 3)
        return done

    def _ask_about(self, due: Sequence[DueContact]) -> Compared:
        answers: list[tuple[DueContact, list[ListedCall] | Unclear | Gone]] = []
        halted: _HaltedError | None = None
        for contact in due:
            answer = self._api.calls(contact.contact_ref)
            if isinstance(answer, Halt):
                halted = self._halt(answer)
                break
            answers.append((contact, answer))
        done = self._judge(answers)
        if halted is not None:
            raise halted
        return done

    def _judge(self, answers: Sequence[tuple[DueContact, list[ListedCall] | Unclear | Gone]]) -> Compared:
        refs = [call.call_ref for _, calls in answers if isinstance(calls, list) for call in calls if call.ended]
        # Only now: whatever the dialler lists as ended was on its list before, and moves the way this looks.
        here = who_is_here(self._engine, self._list, self._source, refs)
        looked: list[tuple[str, datetime | None, str | None]] = []
        missing = unknown = 0
        with self._engine.begin() as connection:
            for contact, calls in answers:
                again: datetime | None = self._now + ASK_AGAIN
                says: str | None = None
                if isinstance(calls, Gone):
                    again, says = None, "the contact is no longer there"
                elif isinstance(calls, Unclear):
                    says = calls.reason
                elif here is None:
                    says = "too much is on its way to tell"
                else:
                    found = judge(calls, here, watched_from=self._from, now=self._now)
                    again = found.ask_again
                    missing += keep_missing(connection, self._source, contact, found.missing, self._now)
                    keep_answered(connection, self._source, calls, self._now)
                unknown += says is not None
                looked.append((contact.contact_ref, again, says))
            campaign_rows.contact_looked(connection, self._source, looked, self._now)
        return Compared(missing=missing, unknown=unknown)
