"""What the classes, steps and states of failures mean, as a newcomer may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.failures.listing import Failure

CLASSES: Mapping[str, str] = {
    "data": "the record itself is wrong",
    "conflict": "the dialler sent this call before, with other content",
    "reference": "something it needs is missing, mostly a rate",
    "bug": "the pipeline failed",
    "delivery": "a subscriber's other side refused an event",
}

STEPS: Mapping[str, str] = {
    "normalize": "records become calls",
    "classify": "calls get their disposition",
    "bill": "calls get their charge",
    "schedule_recordings": "calls get a row for their recording",
    "update_contacts": "contacts come to what their calls come to",
}

EVERY_STEP: Mapping[str, str] = {**STEPS, "deliver": "events are brought to subscribers"}
"""With what is no step of a batch."""

STATES: Mapping[str, str] = {
    "open": "it waits",
    "retrying": "it is being tried again",
    "resolved": "it is done with",
    "discarded": "somebody gave it up, which can be taken back",
}

ADVICE: Mapping[str, str] = {
    "data": "It will fail again as it is. Edit it into what it should have been, or discard it.",
    "conflict": "One of the two versions is right. Compare them and choose.",
    "reference": "Load or assign the right tariff: it is then tried again by itself.",
    "bug": "It is tried again by itself a few times; the traceback says where to look.",
    "delivery": "Have its cause mended on the other side, then retry: that subscriber alone gets it again, under the "
    "same id, and then what waits behind it. Or discard it.",
}
"""What to do about each class of failure."""

ORDERINGS: Mapping[str, str] = {
    "strict": "nothing overtakes it",
    "per call": "nothing of its call overtakes it",
    "none": "what follows goes on",
}

_TITLES: Mapping[str, str] = {
    "data": "A record that is wrong",
    "conflict": "Two versions of a call",
    "reference": "A call that waits for a rate",
    "bug": "A record the pipeline failed at",
    "delivery": "An event that was refused",
}


def title_of(failure: Failure) -> str:
    """What a failure's page is called."""
    title = _TITLES[failure.failure_class]
    return title if failure.call_ref is None else f"{title}: {failure.call_ref}"
