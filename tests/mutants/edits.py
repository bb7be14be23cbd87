"""The mutants: edits that break a promise, each with the test that must notice.

A line is what is broken in a word or two, the file, a text that stands in it exactly once, what takes its place, and
the test. ``tests/unit/test_mutants.py`` holds that the text and the test are there, ``make mutants`` that it fails. A
mutant is a plausible mistake, not a crash: what the test complains of, which is printed, has to be the broken promise.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One edit, and the test that fails under it."""

    name: str
    path: str
    old: str
    new: str
    test: str


INGESTOR = "tests/integration/test_ingestor.py"
CDR_LIST = "tests/integration/test_cdr_list.py"
STEPS = "tests/integration/test_steps.py"
QUEUE = "tests/integration/test_recording_queue.py"

MUTANTS = (
    Mutant(
        "a claim is settled each time it is found",
        "pipeline/storage/inbox.py",
        "VALUES (%(claim)s, %(source)s,",
        "VALUES (gen_random_uuid(), %(source)s,",
        f"{INGESTOR}::test_a_claim_settled_but_not_dropped_is_not_settled_again",
    ),
    Mutant(
        "nobody takes up the claims of the dead",
        "pipeline/ingestor.py",
        "if time.monotonic() >= self._recover_at:",
        "if False:",
        f"{INGESTOR}::test_it_recovers_first_thing",
    ),
    Mutant(
        "no bound on unfinished batches",
        "pipeline/ingestor.py",
        "if self._unfinished.batches >= self._pace.max_unfinished:",
        "if self._unfinished.batches < 0:",
        f"{INGESTOR}::test_it_stops_claiming_while_too_much_is_unfinished",
    ),
    Mutant(
        "no probation for a new list",
        "pipeline/ingestor.py",
        "if self._trusted else self._pace.probation_records",
        "if self._trusted else self._pace.max_unfinished_records",
        f"{INGESTOR}::test_a_list_not_known_yet_is_taken_up_slowly",
    ),
    Mutant(
        "the fuse blows at half",
        "pipeline/domain/guards.py",
        "bad <= records * FUSE_SHARE",
        "bad < records * FUSE_SHARE",
        f"{INGESTOR}::test_half_bad_is_not_most",
    ),
    Mutant(
        "whoever asks may claim",
        "pipeline/adapters/cdr_list.py",
        "if holder and holder ~= ARGV[5] then return 0 end\n",
        "",
        f"{CDR_LIST}::test_only_the_holder_of_the_lease_claims",
    ),
    Mutant(
        "a claim without a limit in bytes",
        "pipeline/adapters/cdr_list.py",
        "while #moved < limit and bytes < limit_bytes do",
        "while #moved < limit do",
        f"{CDR_LIST}::test_a_claim_stops_growing_at_its_limit_in_bytes",
    ),
    Mutant(
        "a lease that never runs out",
        "pipeline/adapters/cdr_list.py",
        "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])",
        "redis.call('SET', KEYS[1], ARGV[1])",
        f"{CDR_LIST}::test_a_lease_runs_out",
    ),
    Mutant(
        "a step without its lock",
        "pipeline/storage/progress.py",
        "    _lock(connection, batch_id, (step,))\n",
        "",
        f"{STEPS}::test_a_step_run_at_once_by_many_workers_works_once",
    ),
    Mutant(
        "a step before its turn",
        "pipeline/steps/run.py",
        "if progress.undone & UPSTREAM[step]:",
        "if False:",
        f"{STEPS}::test_a_step_before_its_turn_does_nothing",
    ),
    Mutant(
        "a step is done again",
        "pipeline/steps/run.py",
        "if step not in progress.undone:",
        "if False:",
        f"{STEPS}::test_steps_done_again_find_nothing_to_do",
    ),
)
