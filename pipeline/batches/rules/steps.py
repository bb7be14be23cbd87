"""The steps of a batch and their order: the one table that says it, and how far a batch has come."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from typing import LiteralString

    from pipeline.batches.rules.batch import Batch


RESEND_AFTER_SECONDS = 10.0
"""How long a batch may stand still before its message counts as lost."""


class Step(StrEnum):
    """The steps of a batch, in the order of the flow; the last two run side by side."""

    NORMALIZE = "normalize"
    CLASSIFY = "classify"
    BILL = "bill"
    SCHEDULE_RECORDINGS = "schedule_recordings"


MARK: Final[dict[Step, LiteralString]] = {
    Step.NORMALIZE: "normalized_at",
    Step.CLASSIFY: "classified_at",
    Step.BILL: "billed_at",
    Step.SCHEDULE_RECORDINGS: "recordings_scheduled_at",
}
"""The column of ``batches`` that says when a step was done."""


DOWNSTREAM = {
    Step.NORMALIZE: tuple(Step),
    Step.CLASSIFY: (Step.CLASSIFY, Step.BILL, Step.SCHEDULE_RECORDINGS),
    Step.BILL: (Step.BILL,),
    Step.SCHEDULE_RECORDINGS: (Step.SCHEDULE_RECORDINGS,),
}
"""A step and all that follow from it."""


SIDE_BY_SIDE = (Step.BILL, Step.SCHEDULE_RECORDINGS)


UPSTREAM = {
    Step.NORMALIZE: frozenset[Step](),
    Step.CLASSIFY: frozenset({Step.NORMALIZE}),
    Step.BILL: frozenset({Step.NORMALIZE, Step.CLASSIFY}),
    Step.SCHEDULE_RECORDINGS: frozenset({Step.NORMALIZE, Step.CLASSIFY}),
}
"""The steps that must be done before a step can be."""


class Progress(NamedTuple):
    """A batch and which of its steps are still to do."""

    batch: Batch
    undone: frozenset[Step]
    resends: int = 0
    """How often the reconciler sent the batch again since it last moved."""
    retrying: bool = False
    """Whether failures of the step that is locked were released, to be tried again."""

    def next_steps(self) -> tuple[Step, ...]:
        """The steps to send now: the first undone one, or both last ones side by side.

        >>> from pipeline.batches.rules.batch import Batch
        >>> Progress(Batch(1, "enigma", 2), frozenset(Step)).next_steps()
        (<Step.NORMALIZE: 'normalize'>,)
        >>> Progress(Batch(1, "enigma", 2), frozenset({Step.BILL})).next_steps()
        (<Step.BILL: 'bill'>,)
        """
        for step in (Step.NORMALIZE, Step.CLASSIFY):
            if step in self.undone:
                return (step,)
        return tuple(step for step in SIDE_BY_SIDE if step in self.undone)

    def steps_after(self, step: Step) -> tuple[Step, ...]:
        """The steps to send when one has ended: not the one beside it, whose message is on its way already.

        >>> from pipeline.batches.rules.batch import Batch
        >>> Progress(Batch(1, "enigma", 2), frozenset({Step.BILL})).steps_after(Step.SCHEDULE_RECORDINGS)
        ()
        >>> Progress(Batch(1, "enigma", 2), frozenset({Step.CLASSIFY, Step.BILL})).steps_after(Step.BILL)
        (<Step.CLASSIFY: 'classify'>,)
        """
        beside = SIDE_BY_SIDE if step in SIDE_BY_SIDE else ()
        return tuple(following for following in self.next_steps() if following not in beside)
