"""The steps of a batch and their order: the one table that says it, and how far a batch has come."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

    from pipeline.batches.rules.batch import Batch


RESEND_AFTER_SECONDS = 10.0
"""How long a batch may stand still before its message counts as lost."""


class Step(StrEnum):
    """The steps of a batch, in the order of the flow; the table below says the rest of them."""

    NORMALIZE = "normalize"
    CLASSIFY = "classify"
    BILL = "bill"
    SCHEDULE_RECORDINGS = "schedule_recordings"
    UPDATE_CONTACTS = "update_contacts"


class StepRow(NamedTuple):
    """All there is to say of a step but what it does."""

    step: Step
    mark: LiteralString
    """The column of ``batches`` that says when it was done."""
    after: tuple[Step, ...]
    """What must be done right before it. What neither waits for it nor is waited for may run at the same time."""
    task: str
    queue: str


TABLE: Final = (
    StepRow(Step.NORMALIZE, "normalized_at", after=(), task="cdr.normalize", queue="cdr.normalize"),
    StepRow(Step.CLASSIFY, "classified_at", after=(Step.NORMALIZE,), task="cdr.classify", queue="cdr.classify"),
    StepRow(Step.BILL, "billed_at", after=(Step.CLASSIFY,), task="cdr.bill", queue="cdr.bill"),
    StepRow(
        Step.SCHEDULE_RECORDINGS,
        "recordings_scheduled_at",
        after=(Step.CLASSIFY,),
        task="cdr.schedule_recordings",
        queue="cdr.schedule_recordings",
    ),
    StepRow(
        Step.UPDATE_CONTACTS,
        "contacts_updated_at",
        after=(Step.CLASSIFY,),
        task="cdr.update_contacts",
        queue="cdr.update_contacts",
    ),
)
"""The one table of steps. A row stands below those it comes after; what follows here is read off it."""


def _upstream(table: Sequence[StepRow]) -> dict[Step, frozenset[Step]]:
    found: dict[Step, frozenset[Step]] = {}
    for row in table:
        found[row.step] = frozenset(row.after).union(*(found[before] for before in row.after))
    return found


MARK: Final = {row.step: row.mark for row in TABLE}
"""The column of ``batches`` that says when a step was done."""

TASK: Final = {row.step: row.task for row in TABLE}
"""The name of the task that does a step, as messages say it."""

QUEUE: Final = {row.step: row.queue for row in TABLE}

UPSTREAM: Final = _upstream(TABLE)
"""The steps that must be done before a step can be."""

DOWNSTREAM: Final = {step: tuple(each for each in Step if each is step or step in UPSTREAM[each]) for step in Step}
"""A step and all that follow from it."""

ADDED: Final = (Step.UPDATE_CONTACTS,)
"""Steps that versions before do not know: they finish batches without them, and reopen them without their mark. All of
them come after classify."""

FIRST_STEPS: Final = 4
"""How many steps the first version had: every version, and the database, numbers their locks by it."""

CONCURRENT: Final = {
    step: frozenset(each for each in Step if each not in UPSTREAM[step] and step not in UPSTREAM[each]) for step in Step
}
"""A step and those that may run at the same time."""


class Progress(NamedTuple):
    """A batch and which of its steps are still to do."""

    batch: Batch
    undone: frozenset[Step]
    resends: int = 0
    """How often the reconciler sent the batch again since it last moved."""
    retrying: bool = False
    """Whether failures of the step that is locked were released, to be tried again."""

    def next_steps(self) -> tuple[Step, ...]:
        """The steps to send now: those undone that wait for no other; several of them run side by side.

        >>> from pipeline.batches.rules.batch import Batch
        >>> Progress(Batch(1, "enigma", 2), frozenset(Step)).next_steps()
        (<Step.NORMALIZE: 'normalize'>,)
        >>> Progress(Batch(1, "enigma", 2), frozenset({Step.BILL})).next_steps()
        (<Step.BILL: 'bill'>,)
        """
        return tuple(step for step in Step if step in self.undone and not self.undone & UPSTREAM[step])

    def steps_after(self, step: Step) -> tuple[Step, ...]:
        """The steps to send when one has ended: not one that runs meanwhile: its message is on its way.

        >>> from pipeline.batches.rules.batch import Batch
        >>> Progress(Batch(1, "enigma", 2), frozenset({Step.BILL})).steps_after(Step.SCHEDULE_RECORDINGS)
        ()
        >>> Progress(Batch(1, "enigma", 2), frozenset({Step.CLASSIFY, Step.BILL})).steps_after(Step.BILL)
        (<Step.CLASSIFY: 'classify'>,)
        """
        return tuple(following for following in self.next_steps() if following not in CONCURRENT[step])
