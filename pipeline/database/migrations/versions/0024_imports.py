"""Files of the vendor's backup that were imported, and the batches they became"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# New tables alone: code of the version before takes their batches for any others.
TABLES = """
CREATE TABLE imports (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    source TEXT NOT NULL,
    sha256 BYTEA NOT NULL,
    file_name TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    records BIGINT NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    began_by TEXT NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT imports_pkey PRIMARY KEY (id),
    CONSTRAINT imports_sha256_source_key UNIQUE (sha256, source)
);
CREATE TABLE import_chunks (
    import_id BIGINT NOT NULL,
    chunk INTEGER NOT NULL,
    batch_id BIGINT NOT NULL,
    CONSTRAINT import_chunks_pkey PRIMARY KEY (import_id, chunk),
    CONSTRAINT import_chunks_batch_id_key UNIQUE (batch_id)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.drop_table("import_chunks")
    op.drop_table("imports")
