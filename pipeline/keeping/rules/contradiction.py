"""Rules that cannot stand beside each other: what must be kept longer than it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.keeping.rules.policy import cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.keeping.rules.policy import Kind, Rule, Scope


class ContradictionError(PipelineError):
    """Something would have to be kept longer than it may be."""


def check(kind: Kind, rules: Mapping[Scope, Rule]) -> None:
    """Whether the rules of a kind can stand beside each other.

    A maximum that no rule but a setting gives is no contradiction: a minimum wins over it.

    Args:
        kind: which, for the sentence.
        rules: all of it as they would be.

    Raises:
        ContradictionError: naming both rules.
    """
    for scope, found in cells(rules):
        least, most = found
        if least.days is not None and most.days is not None and least.days > most.days:
            raise ContradictionError(
                f"{kind} of {scope} would have to be kept at least {least.days} days by the rule of {least.scope}, "
                f"and at most {most.days} days by the rule of {most.scope}: say --at-most or --forever together with "
                "the longer --at-least, or change the other rule first"
            )
