"""The tab "Integrators": who gets what happens to calls, how far each is, and having one wait or go on."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tornado import web

from pipeline.feed import subscribers
from pipeline.feed.standing import Standing, standings
from pipeline.feed.subscribers import Subscriber, SubscriberError
from pipeline.flower.failures import filters
from pipeline.flower.failures.actions import LONGEST_REASON
from pipeline.flower.figures import SharedAnswer
from pipeline.flower.handlers import RefusalError, TabHandler
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

LATE_SECONDS: Final = 600.0
"""How old what waits may be before it is said to be late; as the alert and the doctor have it."""

RATE_SECONDS: Final = 60.0
SHORTEST_SECONDS: Final = 1.5
"""The shortest time that says how much a minute brings."""

DONE: Final = {"pause": "is paused", "resume": "goes on"}

STATES: Final[Mapping[str, str]] = {
    "active": "it gets what happens",
    "paused": "somebody has it wait; what waits is kept as long as the feed is",
    "expired": "it fell behind what is kept, and misses something",
    "disabled": "its other side said never to send again",
}


class Rates:
    """How many events a minute each subscriber took, by what was seen while somebody looked."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def see(self, delivered: Mapping[str, int], now: float) -> None:
        """Take note of the counts of all subscribers; of one that was added anew it begins anew."""
        self._seen = {name: self._seen.get(name, deque()) for name in delivered}
        for name, count in delivered.items():
            seen = self._seen[name]
            if seen and (count < seen[-1][1] or now - seen[-1][0] > RATE_SECONDS):
                seen.clear()
            seen.append((now, count))
            while now - seen[0][0] > RATE_SECONDS:
                seen.popleft()

    def a_minute(self, name: str) -> float | None:
        """Of one of them; None: it was not looked at for long enough."""
        seen = self._seen.get(name)
        if not seen or seen[-1][0] - seen[0][0] < SHORTEST_SECONDS:
            return None
        return 60.0 * (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])


RATES = Rates()
LOOKED = SharedAnswer(2.0)


class Line(NamedTuple):
    """One subscriber in the list."""

    subscriber: Subscriber
    standing: Standing
    a_minute: float | None
    late_seconds: float

    @property
    def is_late(self) -> bool:
        """Whether what waits is old, of one that nobody has wait."""
        return self.subscriber.state != "paused" and self.late_seconds > LATE_SECONDS

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to look at it."""
        return self.subscriber.state in {"active", "paused"} and not (self.subscriber.misses or self.is_late)

    @property
    def says_nothing(self) -> bool:
        """Whether there is nothing to be said of it, now or of before."""
        of = self.subscriber
        return of.state == "active" and not (of.last_error or self.is_late) and of.hole_from is None

    @property
    def acts(self) -> list[tuple[str, str, str]]:
        """What can be done from here, what that is called, and its button; a hole is accepted by a command alone."""
        name, state = self.subscriber.name, self.subscriber.state
        if state in {"paused", "disabled"}:
            return [("resume", "Resume", f"Resume {name}")]
        tries = [("resume", "Try now", f"Try {name} now")] if self.subscriber.misses else []
        return [*tries, ("pause", "Pause", f"Pause {name}")] if state == "active" else []


class ListHandler(TabHandler):
    """The subscribers, and how far each is."""

    @web.authenticated
    async def get(self) -> None:
        """Show them."""
        await self.show()

    async def show(self, problem: str | None = None) -> None:
        """Show them; with what was wrong with an attempt at one of them."""
        looked = await LOOKED.get(lambda: self.ask(_look))
        self.set_status(422 if problem else 200)
        self.render(
            "integrators.html",
            lines=looked["lines"],
            as_of=datetime.fromisoformat(looked["as_of"]),
            age=age,
            states=STATES,
            problem=problem,
            notice=self._notice(looked["lines"]),
            days=current_settings().feed_retention_days,
            refused_query=lambda name: filters.as_query({"class": "delivery", "subscriber": name}),
            why_not=self.why_not,
            longest_reason=LONGEST_REASON,
        )

    def _notice(self, lines: list[Line]) -> str | None:
        """What was done before this page: never a text out of the address."""
        did, name = self.get_argument_as_typed("did"), self.get_argument_as_typed("to")
        if did not in DONE or name not in {line.subscriber.name for line in lines}:
            return None
        return f"{name} {DONE[did]}."


class ActHandler(ListHandler):
    """One subscriber waits, or goes on."""

    def get(self, *_: str) -> None:
        """Actions are asked for by POST only."""
        raise RefusalError(405, "This is done with the buttons of the tab Integrators.")

    @web.authenticated
    async def post(self, name: str, action: str) -> None:
        """Do it, or say why not on the page."""
        who = self.acting_person()
        reason = self.get_argument_as_typed("reason")[:LONGEST_REASON] or None

        def act(connection: Connection) -> None:
            if action == "pause":
                subscribers.pause(connection, name, who=who, reason=reason)
            else:
                subscribers.resume(connection, name, who=who, reason=reason)

        try:
            await self.ask(act, writes=True)
        except SubscriberError as error:
            LOOKED.forget()
            await self.show(str(error))
            return
        LOOKED.forget()
        self.redirect(f"{self.reverse_url('integrators')}?did={action}&to={name}")


def _look(connection: Connection) -> dict[str, Any]:
    found = subscribers.all_subscribers(connection)
    how = standings(connection)
    RATES.see({each.name: each.delivered for each in found}, time.monotonic())
    now = datetime.now(tz=UTC)
    return {
        "lines": [
            Line(each, standing, RATES.a_minute(each.name), max(0.0, (now - (standing.since or now)).total_seconds()))
            for each in found
            for standing in [how.get(each.name, Standing(0, None, 0))]
        ]
    }


def age(seconds: float) -> str:
    """A time as long as a person says it.

    >>> age(90), age(4_000), age(10_000), age(400_000)
    ('90 s', '67 min', '2.8 h', '4.6 days')
    """
    for below, unit, of in ((120, 1, "s"), (7_200, 60, "min")):
        if seconds < below:
            return f"{seconds / unit:.0f} {of}"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
