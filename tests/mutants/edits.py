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


INGESTOR = "tests/integration/ingest/test_loop.py"
CDR_LIST = "tests/integration/dialler/test_cdr_list.py"
STEPS = "tests/integration/batches/test_steps.py"
RELEASES = "tests/integration/batches/test_releases.py"
CAREFUL = "tests/integration/batches/test_in_parts.py"
WHOLE = "tests/integration/batches/test_whole.py"
QUEUE = "tests/integration/recordings/test_queue.py"
AT_REST = "tests/integration/ingest/test_at_rest.py"
GOES_ON = "tests/integration/ingest/test_goes_on.py"
CONTACTS = "tests/integration/contacts/test_update.py"
BALANCE = "tests/integration/balance/test_balance.py"
FEED = "tests/integration/feed/test_feed.py"
FEED_TASKS = "tests/integration/tasks/test_feed.py"
DEAD = "tests/integration/feed/test_dead.py"
FED = "tests/integration/feed/test_fed.py"
REPLAY = "tests/integration/feed/test_replay.py"
LISTS = "tests/integration/feed/test_list.py"
SIGNATURES = "tests/integration/feed/sinks/test_signatures.py"
REFUSED = "tests/integration/feed/test_refused.py"
LISTENING = "tests/integration/recordings/test_listening.py"
PROVIDER_FILES = "tests/integration/accounts/test_load.py"
RECONCILED = "tests/integration/accounts/test_runs.py"
MATCHED = "tests/unit/accounts/test_matching.py"
ZONES = "tests/integration/billing/test_tariffs.py::TestTimeZone"
ERASURE = "tests/integration/erasure/test_erase.py"
PROVIDER = "tests/integration/billing/test_provider.py"
ARCHIVED = "tests/integration/archive/test_run.py"
RESTORED = "tests/integration/archive/test_restore.py"
KEPT = "tests/integration/keeping/test_retention.py"

MUTANTS = (
    Mutant(
        "steps hand each other what one of them stored, and no call that was there",
        "pipeline/calls/in_hand.py",
        "if of == self._records:",
        "if of:",
        f"{WHOLE}::test_a_call_that_was_there_before_is_read",
    ),
    Mutant(
        "a recording nobody can ask for is scheduled where its call is in hand",
        "pipeline/recordings/scheduling.py",
        "return call.cdr.call_ref.startswith(NAMELESS) or (",
        "return (",
        f"{WHOLE}::test_what_is_handed_on_is_what_would_be_read",
    ),
    Mutant(
        "a call that is not billed costs no attempt fee",
        "pipeline/billing/rules/pricing.py",
        "not in _billable(tariff) and not (tariff is not None and tariff.deck.has_attempt_fees)",
        "not in _billable(tariff)",
        "tests/unit/billing/test_pricing.py::test_an_attempt_fee_is_due_for_what_reached_the_network",
    ),
    Mutant(
        "a claim is settled each time it is found",
        "pipeline/ingest/inbox.py",
        "VALUES (%(claim)s, %(source)s,",
        "VALUES (gen_random_uuid(), %(source)s,",
        f"{INGESTOR}::test_a_claim_settled_but_not_dropped_is_not_settled_again",
    ),
    Mutant(
        "nobody takes up the claims of the dead",
        "pipeline/ingest/loop.py",
        "        self.recover()\n",
        "",
        f"{INGESTOR}::test_it_recovers_first_thing",
    ),
    Mutant(
        "no bound on unfinished batches",
        "pipeline/ingest/rules/pace.py",
        "if batches >= self.max_unfinished:",
        "if batches < 0:",
        f"{INGESTOR}::test_it_stops_claiming_while_too_much_is_unfinished",
    ),
    Mutant(
        "no probation for a new list",
        "pipeline/ingest/rules/pace.py",
        "if trusted else self.probation_records",
        "if trusted else self.max_unfinished_records",
        f"{INGESTOR}::test_a_list_not_known_yet_is_taken_up_slowly",
    ),
    Mutant(
        "the fuse blows at half",
        "pipeline/ingest/rules/guards.py",
        "bad <= records * FUSE_SHARE",
        "bad < records * FUSE_SHARE",
        f"{INGESTOR}::test_half_bad_is_not_most",
    ),
    Mutant(
        "whoever asks may claim",
        "pipeline/dialler/cdr_list_scripts.py",
        "if holder and holder ~= ARGV[5] then return 0 end\n",
        "",
        f"{CDR_LIST}::test_only_the_holder_of_the_lease_claims",
    ),
    Mutant(
        "a claim without a limit in bytes",
        "pipeline/dialler/cdr_list_scripts.py",
        "while #moved < limit and bytes < limit_bytes do",
        "while #moved < limit do",
        f"{CDR_LIST}::test_a_claim_stops_growing_at_its_limit_in_bytes",
    ),
    Mutant(
        "a lease that never runs out",
        "pipeline/dialler/cdr_list_scripts.py",
        "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])",
        "redis.call('SET', KEYS[1], ARGV[1])",
        f"{CDR_LIST}::test_a_lease_runs_out",
    ),
    Mutant(
        "a step without its lock",
        "pipeline/batches/progress.py",
        "    _lock_in_order(connection, [(batch_id, step) for step in steps], lock)\n",
        "",
        f"{STEPS}::test_a_step_run_at_once_by_many_workers_works_once",
    ),
    Mutant(
        "a step before its turn",
        "pipeline/batches/run.py",
        "if progress.undone & UPSTREAM[step]:",
        "if False:",
        f"{STEPS}::test_a_step_before_its_turn_does_nothing",
    ),
    Mutant(
        "a step is done again",
        "pipeline/batches/run.py",
        "if step not in progress.undone:",
        "if False:",
        f"{STEPS}::test_steps_done_again_find_nothing_to_do",
    ),
    Mutant(
        "a claim that is in no register",
        "pipeline/dialler/cdr_list_scripts.py",
        "redis.call('HSET', KEYS[3], ARGV[3], ARGV[5] .. '|' .. ARGV[8])\n",
        "",
        f"{CDR_LIST}::test_a_claim_survives_until_it_is_dropped",
    ),
    Mutant(
        "a claim is moved though the register refuses it",
        "pipeline/dialler/cdr_list_scripts.py",
        "redis.call('HSET', KEYS[3],",
        "redis.pcall('HSET', KEYS[3],",
        f"{GOES_ON}::test_a_register_of_another_type_moves_nothing",
    ),
    Mutant(
        "no bound on unfinished records",
        "pipeline/ingestor.py",
        "max_unfinished_records=10 * settings",
        "max_unfinished_records=10_000 * settings",
        f"{INGESTOR}::test_ten_batches_are_on_their_way_at_most",
    ),
    Mutant(
        "a claim whose answer was lost waits for the next round",
        "pipeline/ingest/rules/states.py",
        "(State.ASKING, Event.KEPT): State.RECOVERING,",
        "(State.ASKING, Event.KEPT): State.CLAIMING,",
        f"{GOES_ON}::test_a_claim_whose_answer_was_lost_is_settled_as_soon_as_redis_answers",
    ),
    Mutant(
        "claimed though a stop stands",
        "pipeline/ingest/loop.py",
        "if look.stop is None and limit > 0:",
        "if limit > 0:",
        f"{AT_REST}::test_a_stop_that_somebody_else_raised_is_seen",
    ),
    Mutant(
        "at rest nobody looks",
        "pipeline/ingest/loop.py",
        "        if self._gate.due():\n            return Ended(Event.SOMETHING)\n",
        "",
        f"{AT_REST}::test_bad_records_stop_it_though_nothing_more_comes",
    ),
    Mutant(
        "an empty list asks PostgreSQL at each poll",
        "pipeline/ingest/rules/due.py",
        "return now >= self._at",
        "return True",
        f"{AT_REST}::test_an_empty_list_is_waited_at_and_nothing_else_is_asked",
    ),
    Mutant(
        "who is stopped lets the lease run out",
        "pipeline/ingest/loop.py",
        "held = self._list.hold_lease() if forbidden else True",
        "held = True",
        f"{AT_REST}::test_the_lease_is_renewed_in_every_state_that_leads",
    ),
    Mutant(
        "an outage is over before the database has answered",
        "pipeline/ingest/rules/states.py",
        "(State.TELLING, Event.DONE): State.CLAIMING,",
        "(State.TELLING, Event.DONE): State.POLLING,",
        "tests/unit/ingest/test_states.py::test_an_outage_is_over_only_once_everything_answered",
    ),
    Mutant(
        "reopened batches hold up intake",
        "pipeline/ingest/inbox.py",
        "finished_at IS NULL AND reopened_at IS NULL AND source",
        "finished_at IS NULL AND source",
        f"{RELEASES}::test_reopened_batches_do_not_fill_the_bound",
    ),
    Mutant(
        "a transaction may stand still for ever",
        "pipeline/database/engine.py",
        '        "idle_in_transaction_session_timeout": "120s",\n',
        "",
        f"{GOES_ON}::test_the_server_notices_a_client_that_is_gone",
    ),
    Mutant(
        "the server does not ask whether its client lives",
        "pipeline/database/engine.py",
        '"tcp_{name}": value for name, value in KEEPALIVES.items()}',
        '"tcp_{name}": value for name, value in {}.items()}',
        f"{GOES_ON}::test_the_server_notices_a_client_that_is_gone",
    ),
    Mutant(
        "the client does not ask whether its server lives",
        "pipeline/database/engine.py",
        "            **KEEPALIVES,\n",
        "",
        f"{GOES_ON}::test_the_client_notices_a_server_that_is_gone",
    ),
    Mutant(
        "numbers far below zero are copied unseen",
        "pipeline/database/engine.py",
        "if not -_INT4 <= (row[place] or 0) < _INT4",
        "if not (row[place] or 0) < _INT4",
        "tests/integration/database/test_engine.py::test_a_refused_row_is_no_outage",
    ),
    Mutant(
        "resends without jitter",
        "pipeline/batches/progress.py",
        "* (0.75 + random() / 2)",
        "* 1",
        f"{RELEASES}::test_resends_come_later_each_time_jittered_and_capped",
    ),
    Mutant(
        "resends without a longest wait",
        "pipeline/batches/progress.py",
        "longest_seconds: float = 300.0",
        "longest_seconds: float = 300000.0",
        f"{RELEASES}::test_resends_come_later_each_time_jittered_and_capped",
    ),
    Mutant(
        "batches are locked in reverse",
        "pipeline/batches/progress.py",
        "keys = sorted(_lock_key(batch_id, step) for batch_id, step in steps)",
        "keys = sorted((_lock_key(batch_id, step) for batch_id, step in steps), reverse=True)",
        f"{RELEASES}::test_batches_are_locked_in_their_order",
    ),
    Mutant(
        "steps are locked by the order of their names",
        "pipeline/batches/progress.py",
        "keys = sorted(_lock_key(batch_id, step) for batch_id, step in steps)",
        "keys = [_lock_key(*each) for each in sorted(steps)]",
        f"{RELEASES}::test_steps_of_a_batch_are_locked_as_the_flow_goes",
    ),
    Mutant(
        "a step is reopened without its lock",
        "pipeline/batches/progress.py",
        "    lock_steps(connection, opened_by(chosen))\n",
        "",
        f"{RELEASES}::test_an_action_on_one_failure_takes_its_steps_first",
    ),
    Mutant(
        "failures are released before their steps are locked",
        "pipeline/batches/set_aside.py",
        "    lock_steps(connection, opened_by(failure.reopens for failure in found.values()))\n",
        "",
        f"{RELEASES}::test_batches_are_locked_in_their_order",
    ),
    Mutant(
        "two workers at one bulk action",
        "pipeline/failures/bulk_rows.py",
        "under_way.with_for_update(skip_locked=True)",
        "under_way",
        "tests/integration/failures/test_bulk.py::test_two_workers_do_not_both_do_it",
    ),
    Mutant(
        "calls are inserted unsorted",
        "pipeline/calls/call_rows.py",
        "rows = sorted((row_of(source, each) for each in new), key=_CALL_KEY)",
        "rows = [row_of(source, each) for each in new]",
        f"{STEPS}::test_calls_go_in_by_the_order_of_their_key",
    ),
    Mutant(
        "calls are copied unsorted",
        "pipeline/calls/call_rows.py",
        "ordered = sorted(new, key=lambda call: (call.cdr.call_ref, call.record_id))",
        "ordered = list(new)",
        f"{STEPS}::test_calls_go_in_by_the_order_of_their_key",
    ),
    Mutant(
        "only one replaced version is known",
        "pipeline/calls/call_rows.py",
        "WHERE revisions.call_id = calls.id) AS replaced",
        "WHERE revisions.call_id = calls.id LIMIT 1) AS replaced",
        "tests/integration/failures/test_operator.py::test_every_version_that_was_replaced_is_a_duplicate",
    ),
    Mutant(
        "one death names a record",
        "pipeline/batches/rules/parts.py",
        "DEATHS_ALONE = 2",
        "DEATHS_ALONE = 1",
        f"{CAREFUL}::test_one_death_names_nobody",
    ),
    Mutant(
        "an error counts as a death",
        "pipeline/batches/in_parts.py",
        "except (Exception, SystemExit, KeyboardInterrupt):",
        "except KeyboardInterrupt:",
        f"{CAREFUL}::test_what_was_caught_is_no_death",
    ),
    Mutant(
        "a restart of the database counts as a death",
        "pipeline/batches/part_in_hand.py",
        "server_started_at = pg_postmaster_start_time(), false",
        "true, false",
        f"{CAREFUL}::test_a_part_of_before_the_databases_restart_is_no_death",
    ),
    Mutant(
        "a rerate takes all batches at once",
        "pipeline/billing/rerate.py",
        "BATCHES_AT_ONCE: Final = 500",
        "BATCHES_AT_ONCE: Final = 50_000_000",
        "tests/integration/billing/test_rerate.py::test_a_transaction_locks_no_more_batches_than_postgresql_has_room_for",
    ),
    Mutant(
        "every tariff is kept in memory",
        "pipeline/billing/tariff_cache.py",
        "while len(self._loaded) > 1 and sum(",
        "while False and sum(",
        "tests/integration/billing/test_billing.py::TestAssigning::test_memory_is_bounded",
    ),
    Mutant(
        "calls are rated in the zone of whoever rates",
        "pipeline/billing/tariff_cache.py",
        "version.timezone or self._timezone",
        "self._timezone",
        f"{ZONES}::test_any_process_rates_by_the_versions_zone",
    ),
    Mutant(
        "calls are quoted in the zone of whoever asks",
        "pipeline/billing/quote.py",
        "version.timezone or timezone",
        "timezone",
        f"{ZONES}::test_any_process_rates_by_the_versions_zone",
    ),
    Mutant(
        "the balance counts dispositions only",
        "pipeline/balance/queries.py",
        " AND coalesce(c.h, 0) = coalesce(p.h, 0)",
        "",
        f"{BALANCE}::test_the_right_number_of_the_wrong_rows_does_not_do[dispositions]",
    ),
    Mutant(
        "the balance counts recordings only",
        "pipeline/balance/queries.py",
        " AND coalesce(p.audio_h, 0) = coalesce(r.h, 0)",
        "",
        f"{BALANCE}::test_the_right_number_of_the_wrong_rows_does_not_do[recordings]",
    ),
    Mutant(
        "what was under way shortens a pause",
        "pipeline/recordings/pauses.py",
        "else_=func.greatest(of.until, until)",
        "else_=until",
        f"{QUEUE}::test_what_was_under_way_never_shortens_a_pause",
    ),
    Mutant(
        "an old download ends a pause",
        "pipeline/recordings/pauses.py",
        ".where(recording_pauses.c.source == source, recording_pauses.c.since < claimed_at)",
        ".where(recording_pauses.c.source == source)",
        f"{QUEUE}::test_a_probe_does_not_end_a_pause_that_began_after_it",
    ),
    Mutant(
        "two keepers take the same files",
        "pipeline/recordings/retention_rows.py",
        ".with_for_update(skip_locked=True, of=recordings)",
        "",
        "tests/integration/cli/test_recordings.py::test_two_that_apply_retention_at_once_take_different_files",
    ),
    Mutant(
        "a repeated message gets round the bound on losses",
        "pipeline/recordings/rows.py",
        "of.losses + 1 < LOST_AT_MOST)",
        "of.losses < LOST_AT_MOST * 9)",
        "tests/integration/recordings/test_download.py::test_a_repeated_message_does_not_get_round_the_bound",
    ),
    Mutant(
        "a head may drip for as long as a body",
        "pipeline/dialler/exchange.py",
        "until = min(until, self._head_until)",
        "pass",
        "tests/integration/dialler/test_http_api.py::test_a_head_that_drips_is_given_up_on",
    ),
    Mutant(
        "what S3 does not have counts as deleted",
        "pipeline/recordings/file_store.py",
        "if not self._local and not self._files.exists(self._full(path)):",
        "if False:",
        "tests/integration/recordings/test_s3_store.py::test_what_is_missing_is_not_deleted",
    ),
    Mutant(
        "downloads that could not be sent are not given back",
        "pipeline/tasks/recordings.py",
        "recording_steps.give_back(engine(), due[sent:])",
        "pass",
        "tests/integration/tasks/test_recordings.py::test_a_release_that_could_not_be_sent_is_undone",
    ),
    Mutant(
        "messages come again after a minute",
        "celeryconfig.py",
        '"visibility_timeout": 900',
        '"visibility_timeout": 60',
        "tests/unit/test_celeryconfig.py::test_a_message_comes_again_only_when_its_task_must_have_ended",
    ),
    Mutant(
        "ticks pile up",
        "pipeline/worker/liveness.py",
        "TICKS_WAIT_AT_MOST: Final = 10",
        "TICKS_WAIT_AT_MOST: Final = 10_000",
        "tests/integration/worker/test_beat.py::test_ticks_do_not_pile_up_while_nobody_reads_them",
    ),
    Mutant(
        "rubbish keeps what a killed worker held",
        "pipeline/worker/transport.py",
        "    QoS = QoS\n",
        "    QoS = redis.QoS\n",
        "tests/integration/worker/test_transport.py::test_what_a_killed_worker_held_comes_back_though_rubbish_is_beside_it",
    ),
    Mutant(
        "positions of the feed are its ids",
        "pipeline/feed/sequence.py",
        "SET position = head.position + ready.nth ",
        "SET position = feed.id + 0 * head.position ",
        f"{FEED}::test_batches_that_finish_out_of_order_are_each_told_once",
    ),
    Mutant(
        "what is passed over is counted with the part, not with the cursor",
        "pipeline/feed/deliver.py",
        "passed = [each for each in self._passed if each <= to]",
        "passed = self._passed if not self._uncounted else []",
        f"{FED}::test_one_that_stops_in_the_middle_of_a_batch_is_counted_to_there",
    ),
    Mutant(
        "what is in hand when it is dropped is counted twice",
        "pipeline/feed/retention.py",
        "THEN NULL ELSE leased_by END ",
        "THEN leased_by ELSE leased_by END ",
        f"{FED}::test_what_is_in_hand_when_it_is_dropped_is_missed_and_not_delivered_too",
    ),
    Mutant(
        "the balance does not look at subscribers",
        "pipeline/balance/sheet.py",
        "violations += [violation for each in subscribers if (violation := _check_fed(each))]",
        "violations += []",
        f"{FED}::test_a_wrong_count_is_named",
    ),
    Mutant(
        "a replay takes its sink's main cursor",
        "pipeline/feed/deliver.py",
        'subscriber=f"{subscriber}.{lease.replay.id}"',
        "subscriber=subscriber",
        f"{REPLAY}::test_a_list_gets_its_elements_again_and_its_own_cursor_stays",
    ),
    Mutant(
        "a replay that finds nothing left is done",
        "pipeline/feed/reading.py",
        "        there = last.position + 1\n",
        "        return None\n",
        f"{REPLAY}::test_what_is_dropped_while_it_goes_ends_it_and_is_told",
    ),
    Mutant(
        "an event's position is its id",
        "pipeline/feed/sequence.py",
        "UPDATE feed SET position = head.position + ready.nth ",
        "UPDATE feed SET position = feed.id ",
        f"{FEED}::test_what_commits_late_is_not_passed_over",
    ),
    Mutant(
        "a list's cursor is not where the list is",
        "pipeline/feed/sinks/redis_list.py",
        "redis.call('SET', KEYS[2], ARGV[3])\n",
        "",
        f"{LISTS}::test_a_crash_between_the_push_and_our_cursor_repeats_nothing",
    ),
    Mutant(
        "a look at the feed holds what the sink takes at once",
        "pipeline/feed/deliver.py",
        "self._wanted, most=most, shared",
        "self._wanted, most=min(sink.most_events, most), shared",
        f"{FEED}::test_who_takes_one_at_a_time_waits_for_none_of_the_others_calls",
    ),
    Mutant(
        "a feed process never rests",
        "pipeline/feed/deliver.py",
        "if self._rest is not None:",
        "if False:",
        f"{FEED}::test_before_each_part_others_may_come_first",
    ),
    Mutant(
        "a process that serves the steps rests as well",
        "pipeline/tasks/feed.py",
        "if gives_way():",
        "if True:",
        f"{FEED_TASKS}::test_a_process_that_serves_the_steps_as_well_never_rests",
    ),
    Mutant(
        "one that is away is tried at each wake",
        "pipeline/feed/cursors.py",
        " AND due_at <= now() AND (leased_until",
        " AND (leased_until",
        f"{DEAD}::test_one_that_is_away_is_tried_once_and_then_costs_no_wake_anything",
    ),
    Mutant(
        "as much is read for one that takes nothing",
        "pipeline/feed/deliver.py",
        "most = 1 if self._lease.misses else MOST_EVENTS",
        "most = MOST_EVENTS",
        f"{FEED}::test_one_that_took_nothing_is_offered_little_until_it_takes_some",
    ),
    Mutant(
        "what is passed over is counted a part at a time",
        "pipeline/feed/deliver.py",
        "passed = [each for each in self._passed if each <= to]",
        "passed = self._passed",
        f"{FEED}::test_what_is_passed_over_is_counted_with_the_cursor",
    ),
    Mutant(
        "the newest key alone signs",
        "pipeline/feed/sinks/webhook.py",
        "for signer in self._signers)",
        "for signer in self._signers[:1])",
        f"{SIGNATURES}::test_whoever_has_any_of_them_verifies_while_keys_are_rotated",
    ),
    Mutant(
        "what waits behind a refused event of its call overtakes it",
        "pipeline/feed/again.py",
        "            if refusal.call in self._stands:\n                continue\n",
        "",
        f"{REFUSED}::test_where_the_first_is_refused_again_the_others_stay",
    ),
    Mutant(
        "retrying what was held back leaves behind what it waits for",
        "pipeline/feed/refusals.py",
        "AND chosen.ordering = 'per call' ",
        "AND chosen.ordering = 'strict' ",
        f"{REFUSED}::test_one_that_was_held_back_takes_those_before_it_along",
    ),
    Mutant(
        "what was given up is in the way for ever",
        "pipeline/feed/deliver.py",
        "        return [event for event in events if event[:2] not in self._given_up]\n",
        "        return list(events)\n",
        f"{REFUSED}::test_strict_a_refused_event_that_is_given_up_is_passed_over",
    ),
    Mutant(
        "a recording is heard and then written down",
        "pipeline/recordings/listening.py",
        "    note_listening(engine, visitor, call_id=file.call_id, source=file.source, call_ref=file.call_ref, "
        "detail=detail)\n    return Answer(answered.status, headers, _chained(first, parts))\n",
        "    def later():\n        yield first\n        yield from parts\n"
        "        note_listening(engine, visitor, call_id=file.call_id, source=file.source, call_ref=file.call_ref, "
        "detail=detail)\n    return Answer(answered.status, headers, later())\n",
        f"{LISTENING}::test_the_row_is_committed_before_the_first_byte",
    ),
    Mutant(
        "a masked number keeps its last digits",
        "pipeline/access/rules/masking.py",
        "        return HIDDEN\n",
        '        return f"***{str(value)[-5:]}"\n',
        "tests/integration/api/test_masked.py::test_nothing_of_a_number_is_in_a_list",
    ),
    Mutant(
        "a call of another campaign is told",
        "pipeline/lookup/history.py",
        "    if wall.campaigns is not None:\n        query =",
        "    if False:\n        query =",
        "tests/integration/api/test_calls.py::test_what_a_token_may_not_see_answers_like_what_is_not_there",
    ),
    Mutant(
        "a revoked token lets in",
        "pipeline/access/tokens.py",
        "            of.revoked_at.is_(None),\n            or_(",
        "            or_(",
        "tests/integration/api/test_who_asks.py::test_a_revoked_or_expired_token_lets_nobody_in",
    ),
    Mutant(
        "a search for a number is not written down",
        "pipeline/api/calls.py",
        "        _note_search(request, grant, asked)\n",
        "",
        "tests/integration/api/test_calls.py::test_looking_for_a_number_is_written_down",
    ),
    Mutant(
        "a contact's other campaigns are told to all",
        "pipeline/api/contacts.py",
        "    if grant.only_campaigns is not None and",
        "    if False and",
        "tests/integration/api/test_contacts.py::test_other_campaigns_are_told_to_who_may_see_them",
    ),
    Mutant(
        "a contact is only counted when it is new",
        "pipeline/contacts/update.py",
        "elif looked.contacts > len(looked.made):",
        "elif False:",
        f"{CONTACTS}::test_every_order_and_batching_of_six_calls_comes_to_the_same",
    ),
    Mutant(
        "the first of the best calls decides",
        "pipeline/contacts/rows.py",
        "c.disposition), c.dialed_at DESC, c.call_ref DESC",
        "c.disposition), c.dialed_at, c.call_ref",
        f"{CONTACTS}::test_what_the_statements_count_is_what_the_rules_say",
    ),
    Mutant(
        "the contact that a call left is forgotten",
        "pipeline/contacts/rows.py",
        "OR EXISTS (SELECT FROM revisions WHERE call_id {_IN_SPAN}) AS thorough",
        "AS thorough",
        f"{CONTACTS}::test_an_accepted_conflict_moves_a_call_from_one_contact_to_another",
    ),
    Mutant(
        "contacts are counted before they are locked",
        "pipeline/contacts/rows.py",
        "DO UPDATE SET source = excluded.source WHERE false",
        "DO NOTHING",
        "tests/integration/contacts/test_at_once.py::test_a_known_contact_is_locked_before_it_is_counted",
    ),
    Mutant(
        "old code's batches never get their contacts",
        "pipeline/batches/progress.py",
        "    rows += connection.execute(_TAKE_OWING, values)\n",
        "",
        f"{CONTACTS}::test_a_batch_that_a_version_before_left_without_the_step_is_sent_for_it",
    ),
    Mutant(
        "a batch that old code finished is told of again",
        "pipeline/batches/progress.py",
        "{' AND told_at IS NULL' if may_be_finished else ''}",
        "",
        f"{CONTACTS}::test_a_batch_that_a_version_before_left_without_the_step_is_sent_for_it",
    ),
    Mutant(
        "a provider's file is committed chunk by chunk",
        "pipeline/accounts/load.py",
        "        progress(opened.read_bytes)\n\n\ndef _copy_some",
        "        connection.commit()\n        progress(opened.read_bytes)\n\n\ndef _copy_some",
        f"{PROVIDER_FILES}::test_killed_in_the_middle_nothing_is_there",
    ),
    Mutant(
        "a provider's calls are paid twice where one file has a line more",
        "pipeline/accounts/load.py",
        "        _refuse_the_same(connection, file_id, overlapping)\n",
        "",
        f"{PROVIDER_FILES}::test_the_same_calls_in_another_file_of_that_time_are_refused",
    ),
    Mutant(
        "a provider's totals are not compared",
        "pipeline/accounts/load.py",
        "if found.differences and not wanted.despite_totals:",
        "if False:",
        f"{PROVIDER_FILES}::test_totals_that_differ_load_nothing",
    ),
    Mutant(
        "a quote that is not closed swallows the lines behind it",
        "pipeline/accounts/rules/rows.py",
        "            self._waiting.extendleft(reversed(taken[1:]))\n",
        "",
        "tests/unit/accounts/test_files.py::test_a_bad_line_costs_itself_and_says_why",
    ),
    Mutant(
        "a time that the clocks skip is some other",
        "pipeline/accounts/rules/moments.py",
        "if first.astimezone(zone).replace(tzinfo=None) != at:",
        "if False:",
        "tests/unit/accounts/test_cells.py::test_an_hour_that_is_there_twice_is_what_the_mapping_says",
    ),
    Mutant(
        "a bug of the provider's side stops the client's charge",
        "pipeline/billing/provider_side.py",
        "        insert_uncharged(connection, [Uncharged(call.call_id, reason) for call in rated], Side.PROVIDER)\n",
        "        raise\n",
        f"{PROVIDER}::TestBilling::test_a_bug_of_this_side_holds_nothing_up",
    ),
    Mutant(
        "seconds nobody knows are none",
        "pipeline/billing/rules/rating.py",
        "return None if self is DurationBasis.ANSWERED and not seconds else seconds",
        "return seconds",
        f"{PROVIDER}::TestBilling::test_seconds_nobody_knows_are_a_reason",
    ),
    Mutant(
        "rerating one side takes the other's charge back",
        "pipeline/billing/ledger.py",
        "WHERE call_id = wanted.id AND side = :side ",
        "WHERE call_id = wanted.id ",
        f"{PROVIDER}::TestCorrecting::test_rerating_a_side_touches_no_line_of_the_other",
    ),
    Mutant(
        "integrators read what the provider charges",
        "pipeline/lookup/history.py",
        "charges = _lines(connection, ids, Side.CLIENT)",
        "charges = _lines(connection, ids, Side.PROVIDER)",
        f"{PROVIDER}::TestApart::test_integrators_are_told_nothing_of_it",
    ),
    Mutant(
        "two calls to a number compete for a line",
        "pipeline/accounts/rules/matching.py",
        "(min(before, after, far) - 1) // 2",
        "(min(before, after, far) - 1)",
        f"{MATCHED}::test_calls_tried_again_40_seconds_later_never_take_each_others_line",
    ),
    Mutant(
        "a charge that was taken back is compared",
        "pipeline/accounts/reconcile_sides.py",
        "AND back.kind = 'reversal'",
        "AND back.kind = 'reversed'",
        f"{RECONCILED}::test_only_the_charge_in_force_counts",
    ),
    Mutant(
        "money of the classes is not held against the inputs",
        "pipeline/accounts/rules/reconciling.py",
        "            for name in counted\n",
        "            for name in list(counted)[:4]\n",
        "tests/unit/accounts/test_classes.py::test_what_does_not_add_up_is_said",
    ),
    Mutant(
        "another offset nearly as common does not matter",
        "pipeline/accounts/rules/offset.py",
        "found.runner_up_agreeing > RUNNER_UP_AT_MOST * found.agreeing",
        "found.runner_up_agreeing > found.agreeing",
        "tests/unit/accounts/test_offset.py::test_what_is_ambiguous_is_refused",
    ),
    Mutant(
        "what may have been answered makes the least abandoned part no smaller",
        "pipeline/lookup/rules/traffic.py",
        "self.calls.get(Kind.ANSWERED, 0) + undecided + abandoned)",
        "self.calls.get(Kind.ANSWERED, 0) + abandoned)",
        "tests/unit/lookup/test_traffic.py::test_whatever_became_of_them_the_truth_is_between_the_bounds",
    ),
    Mutant(
        "a rate that fell by just as much as counts has not fallen",
        "pipeline/monitoring/rules/fallen.py",
        "return kept <= (100",
        "return kept < (100",
        "tests/unit/monitoring/test_fallen.py::test_it_is_as_deep_as_it_counts_with_enough_calls",
    ),
    Mutant(
        "calls that came in count as answered less",
        "pipeline/monitoring/fallen.py",
        "c.direction = 'outbound' AND ",
        "",
        "tests/integration/monitoring/test_fallen.py::test_only_calls_that_went_out_and_are_classified_count",
    ),
    Mutant(
        "a day that was dropped is written without what it had",
        "pipeline/archive/day.py",
        "kept = set() if before is None else gone_from(connection, before, ids)",
        "kept: set[int] = set()",
        f"{ARCHIVED}::TestWhatTheDatabaseHasNoLonger::test_a_late_record_of_a_day_that_was_dropped",
    ),
    Mutant(
        "the manifest names a part that is not there yet",
        "pipeline/archive/run.py",
        """                self._store.put(file, self._place, new.name)
                self.rows += new.sums.rows
            self._swap(self.manifest.with_part(day, new, now=datetime.now(tz=UTC)))
""",
        """                self.rows += new.sums.rows
            self._swap(self.manifest.with_part(day, new, now=datetime.now(tz=UTC)))
            if new is not None:
                self._store.put(file, self._place, new.name)
""",
        f"{ARCHIVED}::test_killed_at_every_step_and_run_again_it_ends_the_same",
    ),
    Mutant(
        "what differs is restored over",
        "pipeline/archive/restore.py",
        "            if differing:\n",
        "            if differing and not manifest.parts:\n",
        f"{RESTORED}::TestRestoring::test_what_differs_is_refused_and_nothing_is_changed",
    ),
    Mutant(
        "a replay brings an erased number back",
        "pipeline/calls/erased.py",
        "    if not known:\n",
        "    if known:\n",
        f"{ERASURE}::test_the_day_is_replayed",
    ),
    Mutant(
        "what was deleted is not looked for again",
        "pipeline/recordings/erasing.py",
        "    if store.size(path) is not None:\n",
        "    if False:\n",
        "tests/integration/recordings/test_erasing.py::test_a_file_that_is_there_all_the_same_is_an_error",
    ),
    Mutant(
        "an erased call is known by a hash of its number",
        "pipeline/erasure/records.py",
        "    done.hashes[old.content_hash] = new.content_hash\n",
        "    done.hashes[old.content_hash] = old.content_hash\n",
        f"{ERASURE}::test_the_day_is_replayed",
    ),
    Mutant(
        "an encrypted recording can be cut off at a chunk",
        "pipeline/recordings/rules/encrypted.py",
        "+ bytes([last])",
        '+ b"\\0"',
        "tests/unit/recordings/test_encryption.py::test_what_was_changed_is_told[cut]",
    ),
    Mutant(
        "a key is made again for a month that was shredded",
        "pipeline/recordings/keys.py",
        "        if self._destroyed_at(name) is not None:\n",
        "        if False:\n",
        "tests/unit/recordings/test_keys.py::test_a_destroyed_key_is_gone_and_stays_gone[file]",
    ),
    Mutant(
        "a key is made in a folder where nothing is mounted",
        "pipeline/recordings/keys.py",
        "        if needed is not None:\n",
        "        if False:\n",
        "tests/integration/recordings/test_encryption.py::test_where_the_needed_key_is_missing_none_is_made",
    ),
    Mutant(
        "a hold that is placed while a key is destroyed is not seen",
        "pipeline/recordings/key_destroying.py",
        "        _check(connection, name, also)  # what was held meanwhile is not marked, and is seen now\n",
        "",
        "tests/integration/recordings/test_key_destroying.py::test_a_hold_that_is_placed_meanwhile_is_seen",
    ),
    Mutant(
        "a minimum loses against the setting",
        "pipeline/keeping/rules/policy.py",
        "max(self.most.days, self.least.days or 0)",
        "self.most.days",
        f"{KEPT}::test_the_narrowest_rule_that_says_it_counts",
    ),
    Mutant(
        "a dialler goes before its campaigns",
        "pipeline/keeping/rules/policy.py",
        "(scope, Scope(campaign_ref=scope.campaign_ref), Scope(source=scope.source), Scope())",
        "(scope, Scope(source=scope.source), Scope(campaign_ref=scope.campaign_ref), Scope())",
        "tests/unit/keeping/test_policy.py::test_a_campaign_goes_before_a_dialler",
    ),
    Mutant(
        "a recording of a held call goes by its age",
        "pipeline/recordings/retention_rows.py",
        "        not_(OF_A_HELD_CALL),\n",
        "",
        f"{KEPT}::test_a_recording_of_a_held_call_is_not_even_taken",
    ),
    Mutant(
        "a hold that comes meanwhile is not looked for",
        "pipeline/recordings/retention.py",
        "[each for each in batch if each.file.call_id not in held]",
        "batch",
        f"{KEPT}::test_a_hold_that_comes_while_files_go_waits_or_is_seen",
    ),
    Mutant(
        "what must be kept is erased",
        "pipeline/keeping/minimum.py",
        "if kept.until > now]",
        "if kept.until < now]",
        "tests/integration/erasure/test_minimum.py::test_a_minimum_that_is_not_over_is_named_with_its_day",
    ),
    Mutant(
        "a key is entered and not asked for",
        "pipeline/calls/columns.py",
        " WHERE id IN (SELECT record_id FROM entered) ",
        " ",
        "tests/integration/ranges/test_move.py::TestKeys::test_a_replay_in_another_range_is_a_duplicate",
    ),
    Mutant(
        "a call of a dropped range is a new one's conflict",
        "pipeline/calls/normalize.py",
        " or call.is_gone:",
        ":",
        "tests/integration/ranges/test_drop.py::TestDropping::test_its_calls_are_known_for_all_time",
    ),
    Mutant(
        "a range that is being dropped counts twice",
        "pipeline/balance/queries.py",
        "WHERE NOT ({is_dropped('batches.id << 16')})",
        "WHERE true",
        "tests/integration/ranges/test_drop.py::TestDropping::test_its_rows_go_and_its_sums_stay",
    ),
    Mutant(
        "a contact is asked for from its first call's range on, whichever batch names it",
        "pipeline/contacts/rows.py",
        "r.first_record <= key.cause AND ",
        "",
        "tests/integration/ranges/test_contacts.py::test_a_batch_that_waited_in_the_first_range_is_counted_after_all",
    ),
    Mutant(
        "a key that a replay entered stays wrong",
        "pipeline/ranges/move.py",
        "  WHERE k.record_id <> excluded.record_id RETURNING 1",
        "  WHERE false RETURNING 1",
        "tests/integration/ranges/test_move.py::TestKeys::test_what_a_replay_entered_before_its_call_is_put_right",
    ),
    Mutant(
        "the contacts step reads every call that names one",
        "pipeline/contacts/rows.py",
        "WITH span AS MATERIALIZED",
        "WITH span AS NOT MATERIALIZED",
        f"{CONTACTS}::test_a_batch_reads_its_own_calls_whatever_the_planner_believes",
    ),
    Mutant(
        "a month is due by the shortest maximum of its kinds",
        "pipeline/ranges/due.py",
        "timedelta(days=max(",
        "timedelta(days=min(",
        "tests/integration/ranges/test_drop.py::TestCommands::test_those_that_are_due",
    ),
    Mutant(
        "what sends goes on with a pool that was given up",
        "pipeline/worker/transport.py",
        "if self._sender is None or self._sender.connection_pool is not self.pool:",
        "if self._sender is None:",
        "tests/integration/worker/test_transport.py::test_what_sends_is_made_once_for_each_pool",
    ),
)
