"""Every table and constraint, on one page an auditor can read.

A *record* is one element of the dialler's list. Its ``record_id`` says where it came in:
``batch_id * 65536 + place in the batch``. The call it becomes keeps that number as its ``id``, and every step's table
is keyed by it, so the work of a batch is one key range in each of them and no second index is needed.

These tables are partitioned by it: a month of records is one range in each (``ranges``), so that it can go as a whole.

Rows of ``inbox``, ``duplicates`` and ``ledger`` are only ever inserted. Those of ``calls``, ``dispositions`` and
``uncharged`` are too, but for a person's decision: an accepted conflict replaces a call, a rerating may charge it.
There are no foreign keys between these: they would cost a look-up a row on the hot path, and the balance sheet checks
the same facts over all rows at once (docs/decisions.md).
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.batches.rules.steps import MARK, Step
from pipeline.record_ids import PLACES

NOW = text("now()")
AWARE = DateTime(timezone=True)
SIDES = ("client", "provider")
"""Of the account (``pipeline.billing.rules.sides``)."""

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)


def one_of(column: str, *values: str) -> CheckConstraint:
    """A constraint that a text column holds one of these words."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=column)


batches = Table(
    "batches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # The claim on the dialler's Redis this batch was settled from: settling a claim twice meets this constraint.
    Column("claim", Uuid, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("records", Integer, CheckConstraint(f"records BETWEEN 1 AND {PLACES}", name="records"), nullable=False),
    Column("received_at", AWARE, nullable=False, server_default=NOW),
    # When each step was last done for the whole batch; null is work to do.
    *(Column(mark, AWARE) for mark in MARK.values()),
    Column("finished_at", AWARE),
    # When the reconciler should look at an unfinished batch, and how often it has.
    Column("due_at", AWARE, nullable=False),
    Column("resends", Integer, nullable=False, server_default=text("0")),
    # When a record of it was last released to be tried again; null: it is on its way for the first time, or was once.
    Column("reopened_at", AWARE),
    Index(None, "source", "received_at"),
    Index("batches_unfinished_idx", "due_at", postgresql_where=text("finished_at IS NULL")),
    # Few at any time, however many were reopened: the ingestor counts them at every turn.
    Index("batches_fresh_idx", "due_at", postgresql_where=text("finished_at IS NULL AND reopened_at IS NULL")),
    # Those that a version before finished without a step it did not know.
    Index(
        "batches_owing_idx",
        "due_at",
        postgresql_where=text(
            "finished_at IS NOT NULL AND (contacts_updated_at IS NULL OR contacts_updated_at < classified_at)"
        ),
    ),
    postgresql_with={"fillfactor": "70"},
)

# The ranges of the tables of records: a month of batches each (pipeline/database/ranges.py). A row stays when its
# range was dropped, with what it came to.
ranges = Table(
    "ranges",
    metadata,
    Column("name", Text, primary_key=True),
    Column("first_record", BigInteger, nullable=False, unique=True),
    # The first record of the next.
    Column("end_record", BigInteger, nullable=False),
    Column("made_at", AWARE, nullable=False, server_default=NOW),
    # When records began to be numbered into it; null: they were from the beginning, or are not yet.
    Column("began_at", AWARE),
    # From then on its records are counted by `sums` alone, whatever is left of them.
    Column("drop_began_at", AWARE),
    Column("dropped_at", AWARE),
    Column("dropped_by", Text),
    Column("because", Text),
    # Why the drop has not gone on.
    Column("trouble", Text),
    Column("sums", JSONB),
)

inbox = Table(
    "inbox",
    metadata,
    Column("record_id", BigInteger, primary_key=True, autoincrement=False),
    Column("raw", LargeBinary, nullable=False),
    postgresql_partition_by="RANGE (record_id)",
)

edits = Table(
    "edits",
    metadata,
    Column("record_id", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("raw", LargeBinary, nullable=False),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", AWARE, nullable=False, server_default=NOW),
)

# The included columns of this key and two below let the balance sheet read indexes alone. The reference sorts by its
# bytes: where it sorts by a locale, an upgrade of the system makes its index miss calls, and they are billed twice.
calls = Table(
    "calls",
    metadata,
    Column("id", BigInteger, autoincrement=False),
    Column("source", Text(collation="C"), nullable=False),
    Column("call_ref", Text(collation="C"), nullable=False),
    Column("campaign_ref", Text, nullable=False),
    Column("contact_ref", Text),
    Column("extension", Text),
    Column("client_number", Text),
    Column("client_number_original", Text),
    Column("client_number_is_e164", Boolean, nullable=False),
    Column("dial_number", Text),
    Column("dial_number_original", Text),
    Column("dial_number_is_e164", Boolean, nullable=False),
    # Null: the call was pulled, and the dialler's API does not say it.
    Column("direction", Text, one_of("direction", "inbound", "outbound")),
    Column("dialed_at", AWARE, nullable=False),
    Column("talk_seconds", Integer, CheckConstraint("talk_seconds >= 0", name="talk_seconds"), nullable=False),
    Column("hold_seconds", Integer),
    Column("end_reason", Text, nullable=False),
    Column("end_code", Integer),
    Column("recording_url", Text),
    Column("recording_url_sent", Boolean, nullable=False),
    Column("extra", JSONB),
    Column("content_hash", LargeBinary, nullable=False),
    Column("normalized_at", AWARE, nullable=False, server_default=NOW),
    # Null: as the dialler sent it; pulled: made of what its API lists, until the real record comes.
    Column("record_kind", Text),
    # That no two have the same reference is seen to by `call_keys`. Each range has that key for its own calls, too: the
    # reference first, so that it also finds a call whose source was not given.
    PrimaryKeyConstraint("id", postgresql_include=["talk_seconds"]),
    # Small beside a tree, and nearly free for the hot path: calls come in about the order in which they are dialled.
    Index(
        None,
        "dialed_at",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "16", "autosummarize": "on"},
    ),
    # What a search walks (pipeline/lookup/plan.py), each measured against the pipeline's speed (docs/decisions.md).
    # Their texts sort by bytes, whatever the locale (COLLATE "C"): by a locale, inserting costs much more.
    Index(None, "source", "dialed_at"),
    Index(None, "campaign_ref", "dialed_at"),
    Index(None, "extension", "dialed_at", postgresql_where=text("extension IS NOT NULL")),
    Index("calls_inbound_idx", "dialed_at", postgresql_where=text("direction = 'inbound'")),
    # The ends of numbers, backwards, so that those with the same last digits stand together; a whole number too.
    Index("calls_number_ends_idx", text("left(reverse(client_number), 7)")),
    # All calls of a contact, by the bytes of its reference, for its step and a search; and who called in, by number.
    Index(
        None,
        "contact_ref",
        "campaign_ref",
        postgresql_where=text("contact_ref IS NOT NULL"),
        postgresql_ops={"contact_ref": "text_pattern_ops", "campaign_ref": "text_pattern_ops"},
    ),
    Index("calls_inbound_number_idx", "client_number", postgresql_where=text("direction = 'inbound'")),
    postgresql_partition_by="RANGE (id)",
)

# Which record was the first of a call, over all time: it outlives the call's range. The columns that it is partitioned
# by are those that must be unique; ranges cannot give that.
call_keys = Table(
    "call_keys",
    metadata,
    Column("call_ref", Text(collation="C"), primary_key=True),
    Column("source", Text(collation="C"), primary_key=True),
    Column("record_id", BigInteger, nullable=False),
    postgresql_partition_by="HASH (call_ref, source)",
)

duplicates = Table(
    "duplicates",
    metadata,
    Column("record_id", BigInteger, primary_key=True, autoincrement=False),
    Column("call_id", BigInteger, nullable=False, index=True),
    Column("noticed_at", AWARE, nullable=False, server_default=NOW),
    postgresql_partition_by="RANGE (record_id)",
)

dispositions = Table(
    "dispositions",
    metadata,
    Column("call_id", BigInteger, autoincrement=False),
    Column("disposition", Text, nullable=False),
    Column("uncertain", Boolean, nullable=False),
    Column("why", Text, nullable=False),
    Column("end_code_meaning", Text),
    Column("person_reached", Boolean, nullable=False),
    Column("contact_done", Boolean, nullable=False),
    Column("can_be_billed", Boolean, nullable=False),
    Column("can_have_audio", Boolean, nullable=False),
    Column("classified_at", AWARE, nullable=False, server_default=NOW),
    # Where the disposition is seldom. Null too in rows that code older than this column made. Not called as in `calls`,
    # for who joins the two need not say which.
    Column("call_dialed_at", AWARE),
    PrimaryKeyConstraint("call_id", postgresql_include=["can_have_audio"]),
    # Of those that are seldom everywhere: there is no lack of the others wherever one looks.
    Index(
        "dispositions_seldom_dialed_idx",
        "disposition",
        "call_dialed_at",
        "call_id",
        postgresql_where=text("disposition NOT IN ('answered', 'no_answer', 'busy', 'voicemail')"),
    ),
    postgresql_partition_by="RANGE (call_id)",
)

# What the calls that name a contact come to: a function of the set of them (pipeline/contacts/rules/outcome.py), so
# that the row can be made anew at any time. What each of its numbers came to and what it was charged is read from the
# calls. A contact that has lost its last call to a correction keeps a row of no attempts.
contacts = Table(
    "contacts",
    metadata,
    Column("contact_ref", Text(collation="C"), nullable=False),
    Column("campaign_ref", Text(collation="C"), nullable=False),
    Column("source", Text(collation="C"), nullable=False),
    Column("attempts", Integer, nullable=False),
    # Null, and all that follows too, where there are no attempts or too many to be one person's.
    Column("outcome", Text),
    Column("final", Boolean),
    Column("first_at", AWARE),
    Column("last_at", AWARE),
    Column("reached_at", AWARE),
    Column("agent", Text),
    Column("talk_seconds", BigInteger),
    Column("best_call_id", BigInteger),
    # The call that changed it last, and when.
    Column("caused_by", BigInteger),
    Column("changed_at", AWARE, nullable=False, server_default=NOW),
    PrimaryKeyConstraint("contact_ref", "campaign_ref", "source"),
    postgresql_with={"fillfactor": "80"},
)

recordings = Table(
    "recordings",
    metadata,
    Column("call_id", BigInteger, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("call_ref", Text, nullable=False),
    Column(
        "state",
        Text,
        one_of("state", "scheduled", "downloading", "stored", "absent", "expired", "failed"),
        nullable=False,
    ),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # scheduled: when to try next. downloading: when the lease of whoever downloads it runs out.
    Column("due_at", AWARE),
    Column("scheduled_at", AWARE, nullable=False, server_default=NOW),
    Column("tried_at", AWARE),
    Column("ended_at", AWARE),
    Column("path", Text),
    Column("size_bytes", BigInteger),
    Column("sha256", LargeBinary),
    # Of the call. Null in rows that code older than this column made; whoever needs it fills it in.
    Column("dialed_at", AWARE),
    # From when its age counts since an operator had it tried again; null: from scheduled_at.
    Column("counts_from", AWARE),
    # When a message for it was sent that nobody has begun yet, and how often in a row.
    Column("released_at", AWARE),
    Column("releases", Integer, nullable=False, server_default=text("0")),
    # It paused the whole queue, and then others went through.
    Column("suspect", Boolean, nullable=False, server_default=text("false")),
    # How many workers in a row were lost while they had it.
    Column("losses", Integer, nullable=False, server_default=text("0")),
    # When the stored file was last read and compared, and what was wrong with it.
    Column("verified_at", AWARE),
    Column("verify_problem", Text),
    # Legal hold: retention leaves its file alone.
    Column("held_at", AWARE),
    Column("held_by", Text),
    # The row stays `stored`, for it was; its file is gone.
    Column("deleted_at", AWARE),
    Column("deleted_reason", Text),
    # When retention last tried to delete its file and could not, and why.
    Column("delete_tried_at", AWARE),
    Column("delete_problem", Text),
    # By whose key the file is encrypted, each dialler having one a month; null: it is there as it came. It stays when
    # the key is destroyed, until the file is gone, too.
    Column("key_month", Text),
    Index("recordings_key_month_idx", "source", "key_month", postgresql_where=text("key_month IS NOT NULL")),
    Index("recordings_waiting_idx", "source", "due_at", postgresql_where=text("state IN ('scheduled', 'downloading')")),
    Index(
        "recordings_in_flight_idx",
        "source",
        postgresql_where=text("state = 'downloading' OR released_at IS NOT NULL"),
    ),
    Index("recordings_kept_idx", "dialed_at", postgresql_where=text("state = 'stored' AND deleted_at IS NULL")),
    Index(
        "recordings_missing_dialed_idx",
        "state",
        "dialed_at",
        "call_id",
        postgresql_where=text("state IN ('absent', 'expired', 'failed')"),
    ),
    Index(None, "state", "call_id"),
    # Its ranges have a fillfactor of 80.
    postgresql_partition_by="RANGE (call_id)",
)

# A dialler whose whole queue of recordings waits; the row goes when the wait is over.
recording_pauses = Table(
    "recording_pauses",
    metadata,
    Column("source", Text, primary_key=True),
    Column("kind", Text, one_of("kind", "refused", "throttled", "dialler_away", "store_away"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", AWARE, nullable=False),
    # When one recording is tried to see whether the cause is gone, which one that is, and how often it was not.
    Column("until", AWARE, nullable=False),
    Column("probe_call_id", BigInteger),
    Column("failed_probes", Integer, nullable=False, server_default=text("0")),
    # The recording that met the cause first.
    Column("call_id", BigInteger, nullable=False),
)

# How far a dialler's allowed requests are used up: time before `paced_to` is spent. Whoever dispatches locks the row.
recording_pace = Table(
    "recording_pace",
    metadata,
    Column("source", Text, primary_key=True),
    Column("paced_to", AWARE, nullable=False),
)

# Runs of `pipeline recordings verify`; one without an end is gone on with by the next.
recording_verifications = Table(
    "recording_verifications",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("began_at", AWARE, nullable=False, server_default=NOW),
    Column("ended_at", AWARE),
    Column("who", Text, nullable=False),
    # Whose files it reads. Null in runs of code older than this column, which read every dialler's in one store.
    Column("source", Text),
)

# What stands in the marker of the store that holds a dialler's recordings. Without it nothing missing is deleted.
recording_stores = Table(
    "recording_stores",
    metadata,
    Column("source", Text, primary_key=True),
    Column("marker", Text, nullable=False),
    Column("marked_at", AWARE, nullable=False, server_default=NOW),
)

tariffs = Table(
    "tariffs",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    # Unique over both sides.
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", AWARE, nullable=False, server_default=NOW),
    Column("side", Text, one_of("side", *SIDES), nullable=False, server_default="client"),
    # Whose prices these are, of the provider's side; null of the client's.
    Column("provider", Text, CheckConstraint("(side = 'provider') = (provider IS NOT NULL)", name="provider")),
)

tariff_versions = Table(
    "tariff_versions",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("tariff_id", Integer, ForeignKey("tariffs.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("rounding", Text, nullable=False),
    Column("decimals", SmallInteger, nullable=False),
    Column("billable_dispositions", ARRAY(Text), nullable=False),
    Column(
        "duration_basis",
        Text,
        one_of("duration_basis", "call_time", "call_time+hold_time", "answered"),
        nullable=False,
        server_default="call_time",
    ),
    # Whether inbound calls are rated, by the number called; else they are not charged.
    Column("inbound_rated", Boolean, nullable=False, server_default=text("false")),
    # The zone of its hours and weekdays. Null in versions older than this column: that of whoever rates.
    Column("timezone", Text),
    Column("file_name", Text, nullable=False),
    Column("file_sha256", LargeBinary, nullable=False),
    Column("loaded_by", Text, nullable=False),
    Column("loaded_at", AWARE, nullable=False, server_default=NOW),
    UniqueConstraint("tariff_id", "version"),
)

# Which tariff a campaign has; the empty campaign stands for every one without a row of its own.
tariff_assignments = Table(
    "tariff_assignments",
    metadata,
    Column("campaign_ref", Text, primary_key=True),
    Column("tariff_id", Integer, ForeignKey("tariffs.id"), nullable=False),
    Column("assigned_at", AWARE, nullable=False, server_default=NOW),
    Column("assigned_by", Text, nullable=False),
)

# Which provider's tariff calls have: that of their own number, else of their campaign (of this dialler before any),
# else of their dialler, else of everything. Empty stands for any; a number is E.164.
provider_assignments = Table(
    "provider_assignments",
    metadata,
    Column(
        "dial_number",
        Text,
        CheckConstraint("dial_number = '' OR (campaign_ref = '' AND source = '')", name="dial_number"),
        primary_key=True,
        server_default="",
    ),
    Column("campaign_ref", Text, primary_key=True, server_default=""),
    Column("source", Text, primary_key=True, server_default=""),
    Column("tariff_id", Integer, ForeignKey("tariffs.id"), nullable=False),
    Column("assigned_at", AWARE, nullable=False, server_default=NOW),
    Column("assigned_by", Text, nullable=False),
)

# In which network a number was, from an instant up to before another; null: still. E.164 digits without +. Spans of one
# number do not overlap: whoever loads them sees to that.
ported_numbers = Table(
    "ported_numbers",
    metadata,
    Column("number", Text(collation="C"), primary_key=True),
    Column("network", Text, nullable=False),
    Column("valid_from", AWARE, primary_key=True),
    Column("valid_to", AWARE, CheckConstraint("valid_to > valid_from", name="valid_to")),
)

rates = Table(
    "rates",
    metadata,
    Column("tariff_version_id", Integer, ForeignKey("tariff_versions.id"), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("prefix", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column(
        "rate_per_minute",
        Numeric,
        CheckConstraint("rate_per_minute >= 0", name="rate_per_minute"),
        nullable=False,
    ),
    Column("connect_fee", Numeric, CheckConstraint("connect_fee >= 0", name="connect_fee"), nullable=False),
    Column(
        "first_increment",
        Integer,
        CheckConstraint("first_increment > 0", name="first_increment"),
        nullable=False,
    ),
    Column(
        "next_increment",
        Integer,
        CheckConstraint("next_increment > 0", name="next_increment"),
        nullable=False,
    ),
    Column("minimum_charge", Numeric),
    Column("maximum_charge", Numeric),
    Column("minimum_seconds", Integer, nullable=False, server_default=text("0")),
    Column("free_below_seconds", Integer, nullable=False, server_default=text("0")),
    Column("attempt_fee", Numeric, nullable=False, server_default=text("0")),
    Column("valid_from", AWARE),
    Column("valid_to", AWARE),
    Column("time_from", Time),
    Column("time_to", Time),
    Column("weekdays", ARRAY(SmallInteger)),
    # For numbers that were ported to this network alone. Null: by prefix.
    Column("network", Text),
)

ledger = Table(
    "ledger",
    metadata,
    Column("call_id", BigInteger, autoincrement=False),
    Column("kind", Text, one_of("kind", "charge", "reversal")),
    Column("revision", Integer, autoincrement=False),
    Column("tariff_version_id", Integer, nullable=False),
    # With the version it names the row of `rates`, which never changes. Null in lines older than this column.
    Column("rate_line", Integer),
    Column("prefix", Text, nullable=False),
    Column("rate_per_minute", Numeric, nullable=False),
    Column("connect_fee", Numeric, nullable=False),
    Column("talk_seconds", Integer, nullable=False),
    # What was rated, on the version's duration basis, before increments. Null in lines older than this column.
    Column("rated_seconds", Integer),
    Column("billable_seconds", Integer, nullable=False),
    Column("unrounded", Numeric, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # The id of the row in `actions` that says who rerated, when and over what; null for any other line.
    Column("rerate_id", BigInteger),
    Column("entered_at", AWARE, nullable=False, server_default=NOW),
    # Whose account it stands in: what the client is charged, or what the provider charges.
    Column("side", Text, one_of("side", *SIDES), server_default="client"),
    # One call, one side, one kind, one revision: what makes billing twice impossible.
    PrimaryKeyConstraint("call_id", "side", "kind", "revision", postgresql_include=["currency", "amount"]),
    postgresql_partition_by="RANGE (call_id)",
)

uncharged = Table(
    "uncharged",
    metadata,
    Column("call_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("decided_at", AWARE, nullable=False, server_default=NOW),
    Column("side", Text, one_of("side", *SIDES), primary_key=True, server_default="client"),
    postgresql_partition_by="RANGE (call_id)",
)

failures = Table(
    "failures",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("record_id", BigInteger, nullable=False),
    Column("step", Text, one_of("step", *Step), nullable=False),
    Column(
        "class",
        Text,
        one_of("class", "data", "conflict", "reference", "bug"),
        nullable=False,
        key="failure_class",
    ),
    Column("state", Text, one_of("state", "open", "retrying", "resolved", "discarded"), nullable=False),
    Column("source", Text, nullable=False),
    # Where known: of a record that never became a call, what could be read of it.
    Column("call_ref", Text),
    Column("campaign_ref", Text),
    Column("field", Text),
    Column("reason", Text, nullable=False),
    Column("error_type", Text),
    Column("traceback", Text),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("first_failed_at", AWARE, nullable=False, server_default=NOW),
    Column("last_failed_at", AWARE, nullable=False, server_default=NOW),
    # When a bug is tried again by itself; null: it waits for a person or, a reference, for a tariff.
    Column("retry_at", AWARE),
    UniqueConstraint("record_id", "step"),
    Index("failures_waiting_idx", "failure_class", "id", postgresql_where=text("state IN ('open', 'retrying')")),
    Index("failures_newest_waiting_idx", "id", postgresql_where=text("state IN ('open', 'retrying')")),
    Index("failures_retry_idx", "retry_at", postgresql_where=text("state = 'open' AND retry_at IS NOT NULL")),
)

# A batch that seems to kill its worker is done in parts; this says which is in hand (pipeline/batches/in_parts.py).
probes = Table(
    "probes",
    metadata,
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("step", Text, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("until", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    # How many of them in a row a part of one record has cost.
    Column("alone", Integer, nullable=False, server_default=text("0")),
    Column("began_at", AWARE, nullable=False, server_default=NOW),
    # Who took the part in hand, and when the database server had started then; null: it was given back.
    Column("in_hand", Uuid),
    Column("server_started_at", AWARE),
)

# A record that an operator accepted over the version of its call that was stored before.
revisions = Table(
    "revisions",
    metadata,
    Column("record_id", BigInteger, primary_key=True, autoincrement=False),
    Column("call_id", BigInteger, nullable=False, index=True),
    # The row of `calls` as it was, and the hash of its content: a replay of that version is a duplicate.
    Column("replaced", JSONB, nullable=False),
    Column("replaced_hash", LargeBinary, nullable=False),
    Column("accepted_by", Text, nullable=False),
    Column("accepted_at", AWARE, nullable=False, server_default=NOW),
)

# What a record says whose call is stored with other content, as the worker read it: the columns of `calls`. Accepting
# takes it from here, so that who accepts has no say in it.
conflicts = Table(
    "conflicts",
    metadata,
    Column("record_id", BigInteger, primary_key=True, autoincrement=False),
    Column("content", JSONB, nullable=False),
    Column("noticed_at", AWARE, nullable=False, server_default=NOW),
)

# Why the ingestor of a source has stopped claiming, until somebody releases it.
stops = Table(
    "stops",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("kind", Text, one_of("kind", "fuse", "wrong_list", "conflicts"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("stopped_at", AWARE, nullable=False, server_default=NOW),
    Column("released_at", AWARE),
    Column("released_by", Text),
    Index("stops_standing_idx", "source", unique=True, postgresql_where=text("released_at IS NULL")),
)

# Files of the vendor's backup. A file is known by the SHA-256 of its unpacked bytes; each of its chunks is a batch,
# whose claim is made of that and the chunk's number.
imports = Table(
    "imports",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("began_at", AWARE, nullable=False, server_default=NOW),
    Column("began_by", Text, nullable=False),
    # When all of it was in the inbox.
    Column("ended_at", AWARE),
    UniqueConstraint("sha256", "source"),
)

import_chunks = Table(
    "import_chunks",
    metadata,
    Column("import_id", BigInteger, primary_key=True, autoincrement=False),
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    Column("batch_id", BigInteger, nullable=False, unique=True),
)

# Up to which batch of a dialler all are counted by campaign, and which behind it are: each is counted once.
counting_marks = Table(
    "counting_marks",
    metadata,
    Column("source", Text, primary_key=True),
    Column("counted_to", BigInteger, nullable=False),
)

counted_batches = Table(
    "counted_batches",
    metadata,
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
)

# How many records of a campaign came since it is watched, and when the last did.
campaign_counts = Table(
    "campaign_counts",
    metadata,
    Column("source", Text, primary_key=True),
    Column("campaign_ref", Text, primary_key=True),
    Column("received", BigInteger, nullable=False),
    Column("since", AWARE, nullable=False),
    Column("last_at", AWARE, nullable=False),
    postgresql_with={"fillfactor": "70"},
)

# The dialler's counter of a campaign, minute by minute, and what had come of it (pipeline/completeness/readings.py).
counter_readings = Table(
    "counter_readings",
    metadata,
    Column("source", Text, primary_key=True),
    Column("campaign_ref", Text, primary_key=True),
    Column("read_at", AWARE, primary_key=True),
    # Which life of the counter: it is another when the counter began anew.
    Column("epoch", Integer, nullable=False),
    # Just before what came was looked at, and just after.
    Column("counted_before", BigInteger, nullable=False),
    Column("counted_after", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    # The least that the counter was ahead of what came, in that life of it.
    Column("base", BigInteger, nullable=False),
    # How often others had taken from a list on that server; null where it does not say.
    Column("pops", BigInteger),
    Index(None, "source", "read_at"),
)

# Calls of a campaign that were counted and never came, for as long as that stands.
findings = Table(
    "findings",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("campaign_ref", Text, nullable=False),
    Column("kind", Text, one_of("kind", "missing", "second consumer"), nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("since", AWARE, nullable=False),
    Column("found_at", AWARE, nullable=False),
    Column("ended_at", AWARE),
    Column("evidence", JSONB, nullable=False),
    Index("findings_open_idx", "source", "campaign_ref", unique=True, postgresql_where=text("ended_at IS NULL")),
)

# Which of a dialler's other witnesses can be heard.
witnesses = Table(
    "witnesses",
    metadata,
    Column("source", Text, primary_key=True),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("state", Text, one_of("state", "available", "not available", "unknown", "off"), nullable=False),
    Column("says", Text, nullable=False),
    Column("at", AWARE, nullable=False),
    postgresql_with={"fillfactor": "50"},
)

# What the dialler's API says of a campaign: whether it runs, how often its contacts were called, and how many of these
# calls came.
campaign_looks = Table(
    "campaign_looks",
    metadata,
    Column("source", Text, primary_key=True),
    Column("campaign_ref", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("looked_at", AWARE),
    # When to look again; null: not before its status changes.
    Column("due_at", AWARE),
    Column("attempts", BigInteger),
    Column("known", BigInteger),
    # Why the last look said nothing.
    Column("says", Text),
)

# Contacts that the dialler has called more often than calls of them came, and when to ask about each.
contact_looks = Table(
    "contact_looks",
    metadata,
    Column("source", Text, primary_key=True),
    Column("contact_ref", Text, primary_key=True),
    Column("campaign_ref", Text, nullable=False),
    Column("dial_attempts", Integer, nullable=False),
    Column("due_at", AWARE),
    Column("looked_at", AWARE),
    Column("says", Text),
    Index("contact_looks_due_idx", "source", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)

# Until when a dialler's API is left alone.
api_halts = Table(
    "api_halts",
    metadata,
    Column("source", Text, primary_key=True),
    Column("until", AWARE, nullable=False),
    Column("reason", Text, nullable=False),
)

# Each call that the dialler lists as ended and that had not come a quarter of an hour later.
missing_calls = Table(
    "missing_calls",
    metadata,
    Column("source", Text, primary_key=True),
    Column("call_ref", Text, primary_key=True),
    Column("campaign_ref", Text, nullable=False),
    Column("contact_ref", Text, nullable=False),
    Column("dialed_at", AWARE, nullable=False),
    Column("state", Text, one_of("state", "found", "imported", "arrived late", "dismissed"), nullable=False),
    Column("found_at", AWARE, nullable=False),
    # When it was found no more, and if a person said so, why.
    Column("ended_at", AWARE),
    Column("reason", Text),
    # When a record was made of the evidence.
    Column("pulled_at", AWARE),
    # As the dialler listed it.
    Column("evidence", JSONB, nullable=False),
    Index("missing_calls_found_idx", "source", "campaign_ref", postgresql_where=text("state = 'found'")),
)

# From picking up to the end, as the dialler's API has it: what a carrier bills.
answered_seconds = Table(
    "answered_seconds",
    metadata,
    Column("call_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seconds", Integer, nullable=False),
    Column("read_at", AWARE, nullable=False),
)

# How files of a provider are read: a mapping as it was checked, one row a content (pipeline/accounts/rules/mapping.py).
provider_mappings = Table(
    "provider_mappings",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("loaded_at", AWARE, nullable=False, server_default=NOW),
    Column("loaded_by", Text, nullable=False),
    UniqueConstraint("provider", "version"),
    UniqueConstraint("provider", "sha256"),
)

# Files that providers bill by; what is withdrawn stays, and counts no more.
provider_files = Table(
    "provider_files",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("mapping_id", BigInteger, nullable=False),
    # What the file is said to be of, in UTC; null: nobody said.
    Column("since", AWARE),
    Column("until", AWARE),
    Column("zone", Text, nullable=False),
    # Of all that should be calls: those that were read, and those that could not be. Others were left out.
    Column("lines", Integer, nullable=False),
    Column("read_lines", Integer, nullable=False),
    Column("bad_lines", Integer, nullable=False),
    Column("skipped_lines", Integer, nullable=False),
    Column("seconds", BigInteger, nullable=False),
    Column("money", JSONB, nullable=False),
    # What the file, or whoever loaded it, says that it comes to.
    Column("stated", JSONB),
    # When the first and the last call of it began.
    Column("first_at", AWARE),
    Column("last_at", AWARE),
    Column("state", Text, one_of("state", "loaded", "withdrawn"), nullable=False),
    Column("loaded_at", AWARE, nullable=False, server_default=NOW),
    Column("loaded_by", Text, nullable=False),
    Index("provider_files_loaded_idx", "provider", "sha256", unique=True, postgresql_where=text("state = 'loaded'")),
)

# The calls of such files; rows are only ever inserted.
provider_lines = Table(
    "provider_lines",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("file_id", BigInteger, nullable=False),
    Column("line", Integer, nullable=False),
    Column("number", Text, nullable=False),
    Column("started_at", AWARE, nullable=False),
    Column("seconds", Integer, nullable=False),
    Column("billed_seconds", Integer),
    Column("amount", Numeric, nullable=False),
    Column("currency", Text, nullable=False),
    Column("rate", Numeric),
    Column("caller", Text),
    Column("reference", Text),
    Column("raw", Text, nullable=False),
    UniqueConstraint("file_id", "line"),
    Index(None, "file_id", "number", "started_at"),
)

# Their lines that could not be read, and why.
provider_bad_lines = Table(
    "provider_bad_lines",
    metadata,
    Column("file_id", BigInteger, primary_key=True, autoincrement=False),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("raw", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

# And those that are no calls: headings, totals, and what the mapping leaves out.
provider_skipped_lines = Table(
    "provider_skipped_lines",
    metadata,
    Column("file_id", BigInteger, primary_key=True, autoincrement=False),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("raw", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

# Calls that a provider's file has and that never came: lines of the class `missing here`, by file and line.
missing_lines = Table(
    "missing_lines",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("file_id", BigInteger, nullable=False),
    Column("line", Integer, nullable=False),
    # The run that found it last.
    Column("run_id", BigInteger, nullable=False),
    Column("number", Text, nullable=False),
    # By our clock: as the file has it, its offset taken off.
    Column("dialed_at", AWARE, nullable=False),
    Column("seconds", Integer, nullable=False),
    Column("state", Text, one_of("state", "found", "arrived late", "dismissed"), nullable=False),
    Column("found_at", AWARE, nullable=False),
    # When it was found no more, and if a person said so, why.
    Column("ended_at", AWARE),
    Column("reason", Text),
    UniqueConstraint("file_id", "line"),
    Index("missing_lines_found_idx", "provider", "dialed_at", postgresql_where=text("state = 'found'")),
)

# A month of a provider's files against our calls. Triggers keep what is locked (migration 0028).
reconcile_runs = Table(
    "reconcile_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("since", AWARE, nullable=False),
    Column("until", AWARE, nullable=False),
    Column("zone", Text, nullable=False),
    Column("state", Text, one_of("state", "done", "failed", "locked"), nullable=False),
    # Every threshold and the rules' version; the files and a hash of our side; how far the clock of the files is off;
    # lines, calls, seconds and money of both sides by class. What does not add up stands in the problems.
    Column("rules", JSONB, nullable=False),
    Column("inputs", JSONB, nullable=False),
    Column("offsets", JSONB, nullable=False),
    Column("totals", JSONB, nullable=False),
    Column("problems", ARRAY(Text), nullable=False),
    Column("created_at", AWARE, nullable=False, server_default=NOW),
    Column("created_by", Text, nullable=False),
    Column("locked_at", AWARE),
    Column("locked_by", Text),
    Column("locked_because", Text),
    Index(None, "provider", "since"),
)

# Each line of the files and each call of the period once, alone or together; only ever inserted. No foreign key: it
# would cost a look-up a row of a million.
reconcile_items = Table(
    "reconcile_items",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Column("item_class", Text, nullable=False),
    Column("call_id", BigInteger),
    Column("line_id", BigInteger),
    # Of a line that could not be read.
    Column("file_id", BigInteger),
    Column("line", Integer),
    # Of a line that is listed again: the one that stands for both.
    Column("twin_line_id", BigInteger),
    # By how much the line is later than the call, the offset taken off.
    Column("apart_seconds", Integer),
    Column("seconds_here", Integer),
    Column("seconds_there", Integer),
    Column("amount_here", Numeric),
    Column("currency_here", Text),
    Column("amount_there", Numeric),
    Column("currency_there", Text),
    Column("cause", Text),
    # What makes matching a line or a call twice impossible.
    Index("reconcile_items_call_idx", "run_id", "call_id", unique=True, postgresql_where=text("call_id IS NOT NULL")),
    Index("reconcile_items_line_idx", "run_id", "line_id", unique=True, postgresql_where=text("line_id IS NOT NULL")),
    Index(
        "reconcile_items_dispute_idx",
        "run_id",
        "item_class",
        "item",
        postgresql_where=text("item_class <> 'equal'"),
    ),
)

# The files of the archive of calls: a day of a dialler each. The manifests beside the files are the truth; by this a
# call's file is found without asking the store. A part that another has taken the place of stays as a row.
archive_parts = Table(
    "archive_parts",
    metadata,
    Column("source", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("day", Date, nullable=False),
    Column("first_record", BigInteger, nullable=False),
    Column("last_record", BigInteger, nullable=False),
    Column("rows", BigInteger, CheckConstraint("rows > 0", name="rows"), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("written_at", AWARE, nullable=False),
    # When the manifest named it no longer; null: it is what is archived of that day.
    Column("replaced_at", AWARE),
    Index("archive_parts_day_idx", "source", "day", unique=True, postgresql_where=text("replaced_at IS NULL")),
)

# Numbers that were erased, each as a mark that only a key outside the database can make of it: by it a record that
# comes again is known.
erased_numbers = Table(
    "erased_numbers",
    metadata,
    Column("mark", LargeBinary, primary_key=True),
    # Of all the same: which key made them.
    Column("key_id", Text, nullable=False),
    Column("erased_at", AWARE, nullable=False, server_default=NOW),
)

# That a number was erased, who did it and why, and how much it was; nothing that leads back to it once it is done.
erasures = Table(
    "erasures",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("state", Text, one_of("state", "underway", "done"), nullable=False),
    # While it is under way: by it the run is found again when the number is given once more.
    Column("mark", LargeBinary, CheckConstraint("(state = 'underway') = (mark IS NOT NULL)", name="mark"), unique=True),
    Column("who", Text, nullable=False),
    Column("because", Text, nullable=False),
    Column("began_at", AWARE, nullable=False, server_default=NOW),
    Column("ended_at", AWARE),
    # What was rewritten or deleted, by place.
    Column("counts", JSONB, nullable=False, server_default=text("'{}'")),
)

# For how many days what is kept: of a dialler and a campaign, empty where it is each of them. What is null a wider rule
# says (pipeline/keeping/rules/policy.py).
keeping = Table(
    "keeping",
    metadata,
    Column(
        "kind",
        Text,
        one_of("kind", "raw_records", "calls", "charges", "recordings", "access_log"),
        primary_key=True,
    ),
    # Who heard what is no campaign's, and who searched no dialler's.
    Column(
        "source",
        Text,
        CheckConstraint("kind <> 'access_log' OR (source = '' AND campaign_ref = '')", name="source"),
        primary_key=True,
        server_default="",
    ),
    Column("campaign_ref", Text, primary_key=True, server_default=""),
    Column("keep_at_least", Integer, CheckConstraint("keep_at_least BETWEEN 1 AND 36500", name="keep_at_least")),
    Column(
        "keep_at_most",
        Integer,
        CheckConstraint("keep_at_most BETWEEN 1 AND 36500", name="keep_at_most"),
        CheckConstraint("keep_at_least <= keep_at_most", name="order"),
        CheckConstraint("keep_at_least IS NOT NULL OR keep_at_most IS NOT NULL OR forever", name="something"),
    ),
    # There is no maximum, whatever a wider rule or a setting says.
    Column(
        "forever",
        Boolean,
        CheckConstraint("NOT (forever AND keep_at_most IS NOT NULL)", name="forever"),
        nullable=False,
        server_default=text("false"),
    ),
    Column("set_at", AWARE, nullable=False, server_default=NOW),
    Column("set_by", Text, nullable=False),
    Column("because", Text, nullable=False),
)

# Numbers, E.164, and calls that are not to be erased, and whose recordings retention leaves alone.
holds = Table(
    "holds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("number", Text),
    # Without a foreign key: a call's row may be restored under a hold that was there before.
    Column("call_id", BigInteger, CheckConstraint("(number IS NULL) <> (call_id IS NULL)", name="of_one")),
    Column("because", Text, nullable=False),
    Column("held_at", AWARE, nullable=False, server_default=NOW),
    Column("held_by", Text, nullable=False),
    Column("released_at", AWARE),
    Column("released_by", Text),
    Column("released_because", Text),
    Index("holds_standing_idx", "number", unique=True, postgresql_where=text("released_at IS NULL")),
    Index("holds_standing_call_idx", "call_id", unique=True, postgresql_where=text("released_at IS NULL")),
)

# When a process last showed that it works: the reconciler (and with it beat), each source's ingestor.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", Text, primary_key=True),
    Column("source", Text, primary_key=True),  # empty: of no one source
    Column("who", Text, nullable=False),
    Column("at", AWARE, nullable=False, server_default=NOW),
    postgresql_with={"fillfactor": "50"},
)

actions = Table(
    "actions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", AWARE, nullable=False, server_default=NOW),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("record_id", BigInteger, index=True),
    Column("detail", JSONB),
    # The user of the database that wrote it, whatever it says in `who`. Null in rows older than this column.
    Column("role", Text, server_default=text("SESSION_USER")),
)

# Something to be done to every failure that matched a filter when a person asked for it; workers do it, a part at a
# time, and this row says how far they are.
bulk_actions = Table(
    "bulk_actions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("action", Text, one_of("action", "retry", "discard", "restore", "accept", "edit"), nullable=False),
    # What narrows the choice; nothing that failed for the first time later is in it.
    Column("wanted", JSONB, nullable=False),
    Column("who", Text, nullable=False),
    Column("reason", Text),
    Column("asked_at", AWARE, nullable=False, server_default=NOW),
    # How many matched when it was asked for, how many were looked at since, and to how many it was done.
    Column("total", BigInteger, nullable=False),
    Column("looked_at", BigInteger, nullable=False, server_default=text("0")),
    Column("done", BigInteger, nullable=False, server_default=text("0")),
    # The failure it has come to, and when it last moved.
    Column("last_id", BigInteger, nullable=False, server_default=text("0")),
    Column("moved_at", AWARE, nullable=False, server_default=NOW),
    Column("ended_at", AWARE),
    Index("bulk_actions_underway_idx", "moved_at", postgresql_where=text("ended_at IS NULL")),
)

# What happened to calls, a row a batch and kind, or one for a single call; written in the transaction in which it
# happened. Its position is given afterwards, by one sequencer, when it can be seen by all (pipeline/feed/sequence.py).
feed = Table(
    "feed",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("position", BigInteger, unique=True),
    Column(
        "kind",
        Text,
        one_of("kind", "call.received", "call.finished", "call.corrected", "recording.ended", "contact.changed"),
        nullable=False,
    ),
    Column("source", Text, nullable=False),
    # All of a batch, or one call.
    Column("batch_id", BigInteger),
    Column("call_id", BigInteger, CheckConstraint("(batch_id IS NULL) <> (call_id IS NULL)", name="about")),
    # Which of its kind about the same call: the id of the rerate's action or of the accepted record, a try's number.
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    # Of a batch: the records that this is not about, for they wait for something; or the only ones that it is about.
    Column("left_out", ARRAY(BigInteger)),
    Column("named", ARRAY(BigInteger)),
    Column("at", AWARE, nullable=False, server_default=text("clock_timestamp()")),
    Index(None, "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    Index("feed_unplaced_idx", "id", postgresql_where=text("position IS NULL")),
    Index(None, "at", postgresql_using="brin"),
    postgresql_with={"fillfactor": "80"},
)

# Who gets what of the feed, and how far each is. All that is no secret; those are in a table that few may read.
subscribers = Table(
    "subscribers",
    metadata,
    Column("name", Text, primary_key=True),
    # Tells it from another of the same name that was removed before: a sink may keep a cursor of its own.
    Column("token", Uuid, nullable=False),
    Column("sink", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    # The filter; `*` is all of them. Nothing is delivered of what is not named; no list of dispositions is all.
    Column("sources", ARRAY(Text), nullable=False),
    Column("campaigns", ARRAY(Text), nullable=False),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("dispositions", ARRAY(Text)),
    Column("fields", ARRAY(Text)),
    Column("shape", Text, one_of("shape", "raw", "call", "thin"), nullable=False),
    Column("ordering", Text, one_of("ordering", "strict", "per call", "none"), nullable=False),
    Column("state", Text, one_of("state", "active", "paused", "expired", "disabled"), nullable=False),
    # Since when it is in that state, and why.
    Column("state_since", AWARE, nullable=False, server_default=NOW),
    Column("state_reason", Text),
    # The last event that it has taken, or that was passed over.
    Column("position", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    # Who delivers to it at the moment, and until when nobody else may.
    Column("leased_by", Uuid),
    Column("leased_until", AWARE),
    # How often in a row it took nothing, when to try again, and what was wrong.
    Column("misses", Integer, nullable=False, server_default=text("0")),
    Column("due_at", AWARE, nullable=False, server_default=NOW),
    Column("last_error", Text),
    Column("last_error_at", AWARE),
    Column("delivered", BigInteger, nullable=False, server_default=text("0")),
    Column("filtered", BigInteger, nullable=False, server_default=text("0")),
    Column("refused", BigInteger, nullable=False, server_default=text("0")),
    Column("delivered_at", AWARE),
    # The positions that were gone before it had them, since it was last made to go on behind them.
    Column("hole_from", BigInteger),
    Column("hole_to", BigInteger),
    Column("created_at", AWARE, nullable=False, server_default=NOW),
    Column("created_by", Text, nullable=False),
    # Its events are counted in the feed from here on; null: older code added it. Where the feed was dropped since, how
    # many it had passed there, and how many it will never get (pipeline/balance/fed.py).
    Column("counted_from", BigInteger),
    Column("counted_from_place", Integer),
    Column("counted_before", BigInteger, nullable=False, server_default=text("0")),
    Column("missed", BigInteger, nullable=False, server_default=text("0")),
    postgresql_with={"fillfactor": "50"},
)

# What a sink's settings hold that nobody may see: passwords, keys, URLs with one in them.
subscriber_secrets = Table(
    "subscriber_secrets",
    metadata,
    Column("name", Text, ForeignKey("subscribers.name", ondelete="CASCADE"), primary_key=True),
    Column("settings", JSONB, nullable=False),
)

# Events that a subscriber's other side would not have, and those that wait behind one of these, never tried: failures
# of the class `delivery`, counted by the sequence of the others.
feed_refusals = Table(
    "feed_refusals",
    metadata,
    Column("id", BigInteger, Sequence("failures_id_seq"), primary_key=True),
    Column("subscriber", Text, ForeignKey("subscribers.name", ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("call_ref", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("refused_at", AWARE, nullable=False, server_default=NOW),
    Column(
        "state",
        Text,
        one_of("state", "open", "retrying", "resolved", "discarded"),
        nullable=False,
        server_default="open",
    ),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("last_refused_at", AWARE, nullable=False, server_default=NOW),
    # Null in rows of the version before whose event was past its retention by then.
    Column("record_id", BigInteger),
    Column("campaign_ref", Text),
    # What was sent, cut off, without secrets; kept as long as the feed is.
    Column("request", Text),
    UniqueConstraint("subscriber", "position", "place"),
    Index(None, "subscriber", "source", "call_ref"),
    Index("feed_refusals_waiting_idx", "id", postgresql_where=text("state IN ('open', 'retrying')")),
    Index("feed_refusals_retrying_idx", "subscriber", "position", "place", postgresql_where=text("state = 'retrying'")),
)

# Who may ask the HTTP API, and for what. A token is kept as its hash alone; its name is never given to another one, for
# `access_log` says it.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("name", Text, primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    # `*` is all of them.
    Column("sources", ARRAY(Text), nullable=False),
    Column("campaigns", ARRAY(Text), nullable=False),
    Column("created_at", AWARE, nullable=False, server_default=NOW),
    Column("created_by", Text, nullable=False),
    Column("expires_at", AWARE),
    Column("revoked_at", AWARE),
    Column("revoked_by", Text),
)

# Who heard a recording or looked for a number; written before they get it. A trigger keeps what is written.
access_log = Table(
    "access_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", AWARE, nullable=False, server_default=text("clock_timestamp()")),
    Column("who", Text, nullable=False),
    Column("via", Text, one_of("via", "api", "flower"), nullable=False),
    Column("action", Text, one_of("action", "listen", "search"), nullable=False),
    Column("address", Text),
    Column("reason", Text),
    # The call whose recording it is; null for a search.
    Column("call_id", BigInteger),
    Column("source", Text),
    Column("call_ref", Text),
    Column("detail", JSONB, nullable=False),
    # The user of the database that wrote it, whatever it says in `who`.
    Column("role", Text, nullable=False, server_default=text("SESSION_USER")),
    Index(None, "call_id", postgresql_where=text("call_id IS NOT NULL")),
    Index(None, "at", postgresql_using="brin"),
)

# What a subscriber gets once more: a cursor of its own, which leaves the main one alone. Columns that deliveries share
# with `subscribers` are named as there.
replays = Table(
    "replays",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subscriber", Text, ForeignKey("subscribers.name", ondelete="CASCADE"), nullable=False),
    # What happened in that time, of those campaigns; null: of all that the subscriber gets.
    Column("since", AWARE, nullable=False),
    Column("until", AWARE),
    Column("campaigns", ARRAY(Text)),
    # Events a second, and how many there are to go through.
    Column("rate", Integer, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Column("last_place", Integer, nullable=False),
    Column("state", Text, one_of("state", "active", "done", "cancelled", "expired", "stopped"), nullable=False),
    Column("state_since", AWARE, nullable=False, server_default=NOW),
    Column("state_reason", Text),
    Column("position", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Column("leased_by", Uuid),
    Column("leased_until", AWARE),
    Column("misses", Integer, nullable=False, server_default=text("0")),
    # When it goes on: by its rate, or because it took nothing.
    Column("due_at", AWARE, nullable=False, server_default=NOW),
    Column("last_error", Text),
    Column("last_error_at", AWARE),
    Column("delivered", BigInteger, nullable=False, server_default=text("0")),
    Column("filtered", BigInteger, nullable=False, server_default=text("0")),
    Column("refused", BigInteger, nullable=False, server_default=text("0")),
    Column("delivered_at", AWARE),
    Column("hole_from", BigInteger),
    Column("hole_to", BigInteger),
    Column("created_at", AWARE, nullable=False, server_default=NOW),
    Column("created_by", Text, nullable=False),
    Index(None, "subscriber"),
    Index("replays_active_idx", "subscriber", unique=True, postgresql_where=text("state = 'active'")),
    postgresql_with={"fillfactor": "50"},
)

# Events that the other side would not have the second time; they count for nothing but their replay.
replay_refusals = Table(
    "replay_refusals",
    metadata,
    Column("replay_id", BigInteger, ForeignKey("replays.id", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("call_ref", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("refused_at", AWARE, nullable=False, server_default=NOW),
    Index(None, "replay_id", "source", "call_ref"),
)
