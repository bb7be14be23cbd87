"""TEMPORARY: the tables and columns that the ledger's sides and the provider's files bring, until these are merged.

The merger deletes this module and the calls of `make`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Engine

SIDES = """
ALTER TABLE ledger ADD COLUMN IF NOT EXISTS side TEXT DEFAULT 'client' NOT NULL;
ALTER TABLE ledger DROP CONSTRAINT ledger_pkey,
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (call_id, side, kind, revision) INCLUDE (currency, amount);
ALTER TABLE uncharged ADD COLUMN IF NOT EXISTS side TEXT DEFAULT 'client' NOT NULL;
ALTER TABLE uncharged DROP CONSTRAINT uncharged_pkey, ADD CONSTRAINT uncharged_pkey PRIMARY KEY (call_id, side);
ALTER TABLE tariffs ADD COLUMN IF NOT EXISTS side TEXT DEFAULT 'client' NOT NULL;
ALTER TABLE tariffs ADD COLUMN IF NOT EXISTS provider TEXT;
CREATE TABLE IF NOT EXISTS provider_assignments (
    dial_number TEXT DEFAULT '' NOT NULL,
    campaign_ref TEXT DEFAULT '' NOT NULL,
    source TEXT DEFAULT '' NOT NULL,
    tariff_id INTEGER NOT NULL,
    assigned_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    assigned_by TEXT NOT NULL,
    PRIMARY KEY (dial_number, campaign_ref, source)
);
"""

FILES = """
CREATE TABLE IF NOT EXISTS provider_files (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    mapping_id BIGINT NOT NULL,
    since TIMESTAMP WITH TIME ZONE,
    until TIMESTAMP WITH TIME ZONE,
    zone TEXT NOT NULL,
    lines INTEGER NOT NULL,
    read_lines INTEGER NOT NULL,
    bad_lines INTEGER NOT NULL,
    skipped_lines INTEGER NOT NULL,
    seconds BIGINT NOT NULL,
    money JSONB NOT NULL,
    stated JSONB,
    first_at TIMESTAMP WITH TIME ZONE,
    last_at TIMESTAMP WITH TIME ZONE,
    state TEXT NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    loaded_by TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS provider_lines (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    number TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    seconds INTEGER NOT NULL,
    billed_seconds INTEGER,
    amount NUMERIC NOT NULL,
    currency TEXT NOT NULL,
    rate NUMERIC,
    caller TEXT,
    reference TEXT,
    raw TEXT NOT NULL,
    UNIQUE (file_id, line)
);
CREATE TABLE IF NOT EXISTS provider_bad_lines (
    file_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    raw TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (file_id, line)
);
"""


def make(engine: Engine) -> None:
    """What is not there yet."""
    with engine.begin() as connection:
        connection.execute(text(SIDES))
        connection.execute(text(FILES))
