"""Times as people type and read them: one set of forms, and always with a zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

FORMS: Final = "a date or a time such as 2026-11-24, 2026-11-24T21:00 or 2026-11-24 21:00:05+02:00"

_FORM: Final = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(?: ?(?P<zone>Z|[+-]\d{2}(?::?\d{2})?|[A-Z]{2,5}))?)?",
    re.ASCII,
)


class Clock:
    """The zone that times are typed and shown in.

    Args:
        zone: an IANA name, such as PIPELINE_TIMEZONE has.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._zone = ZoneInfo(zone)

    def read(self, text: str) -> datetime:
        """An instant as it is typed, in UTC; without an offset it is this zone's.

        A time that `show` wrote is read back. Where the clocks are set back, a time that is there twice is the first of
        the two, unless its zone or offset says otherwise.

        >>> clock = Clock("Africa/Johannesburg")
        >>> clock.read("2026-11-24").isoformat(), clock.read("2026-11-24 21:00").isoformat()
        ('2026-11-23T22:00:00+00:00', '2026-11-24T19:00:00+00:00')
        >>> clock.read("2026-11-24T21:00:05Z").isoformat(), clock.read("2026-11-24 21:00:05 SAST").isoformat()
        ('2026-11-24T21:00:05+00:00', '2026-11-24T19:00:05+00:00')

        Raises:
            ValueError: it is none, or has another zone's name; the text is a sentence that begins with "must be".
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"must be {FORMS}, got {text!r}")
        zone = found["zone"] or ""
        try:
            at = datetime.fromisoformat(f"{found['date']}T{found['time'] or '00:00'}")
            if zone in {"Z", "UTC"}:
                return self._showable(at.replace(tzinfo=UTC))
            if zone[:1] in {"+", "-"} and zone != at.replace(tzinfo=self._zone).tzname():
                return self._showable(datetime.fromisoformat(f"{at.isoformat()}{zone}").astimezone(UTC))
            for fold in (0, 1):
                local = at.replace(tzinfo=self._zone, fold=fold)
                if zone in {"", local.tzname()}:
                    return local.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError(f"must be {FORMS}, got {text!r}") from None
        raise ValueError(f"must be in {self.zone}, in UTC or with an offset such as +02:00, got {text!r}")

    def _showable(self, at: datetime) -> datetime:
        """The same, unless this zone's calendar ends before it: what is read can be shown."""
        at.astimezone(self._zone)
        return at

    def typed(self, at: datetime) -> str:
        """An instant as a browser's field for date and time holds it, in this zone and without it.

        >>> Clock("Africa/Johannesburg").typed(datetime(2026, 11, 24, 19, 0, 5, tzinfo=UTC))
        '2026-11-24T21:00:05'
        """
        return f"{at.astimezone(self._zone):%Y-%m-%dT%H:%M:%S}"

    def show(self, at: datetime | None, *, seconds: bool = True) -> str:
        """An instant with its zone; nothing for none.

        >>> Clock("Africa/Johannesburg").show(datetime(2026, 11, 24, 19, 0, 5, tzinfo=UTC))
        '2026-11-24 21:00:05 SAST'
        >>> Clock("UTC").show(datetime(2026, 11, 24, 19, 0, 5, tzinfo=UTC), seconds=False)
        '2026-11-24 19:00 UTC'
        """
        if at is None:
            return ""
        return f"{at.astimezone(self._zone):%Y-%m-%d %H:%M{':%S' if seconds else ''} %Z}"
