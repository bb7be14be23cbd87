"""The archive of calls: which file holds a dialler's calls of a day"""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

# A new table alone: code of the version before knows nothing of it, and goes on beside it.
TABLE = """
CREATE TABLE archive_parts (
    source TEXT NOT NULL,
    month TEXT NOT NULL,
    name TEXT NOT NULL,
    day DATE NOT NULL,
    first_record BIGINT NOT NULL,
    last_record BIGINT NOT NULL,
    rows BIGINT NOT NULL CONSTRAINT archive_parts_rows_check CHECK (rows > 0),
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    written_at TIMESTAMP WITH TIME ZONE NOT NULL,
    replaced_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT archive_parts_pkey PRIMARY KEY (source, month, name)
);
CREATE UNIQUE INDEX archive_parts_day_idx ON archive_parts (source, day) WHERE replaced_at IS NULL;
"""


def upgrade() -> None:
    op.execute(TABLE)


def downgrade() -> None:
    op.drop_table("archive_parts")
