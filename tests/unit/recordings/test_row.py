"""A recording's fields are named once, and come in the order that scripts know."""

from __future__ import annotations

from dataclasses import fields

from pipeline.recordings.rules.row import Recording, RecordingOfCall

FETCHING = "state reason attempts due_at scheduled_at tried_at ended_at path size_bytes sha256"
KEEPING = (
    "verified_at verify_problem held_at held_by deleted_at deleted_reason delete_tried_at delete_problem key_month"
)


def names(row: type) -> str:
    return " ".join(each.name for each in fields(row))


def test_a_recording_in_a_list_begins_with_its_call() -> None:
    """As ``recordings list --json`` has it."""
    assert names(Recording) == f"call_id source call_ref campaign_ref dialed_at {FETCHING} {KEEPING}"


def test_the_recording_of_a_call_tells_its_place_in_the_queue() -> None:
    """As ``explain --json`` has it."""
    queued = "dialed_at counts_from released_at releases suspect losses"
    assert names(RecordingOfCall) == f"source call_ref {FETCHING} {queued} {KEEPING}"
