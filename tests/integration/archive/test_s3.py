"""The archive in a real S3 server on loopback: moto's, as for recordings."""

from __future__ import annotations

import pytest

from pipeline.archive.restore import restore_month
from pipeline.archive.rules.refused import ArchiveAwayError
from pipeline.archive.store import ArchiveStore
from pipeline.archive.verify import verify_month
from tests.integration.archive.conftest import MONTH
from tests.integration.recordings.test_s3_store import SECRET, credentials, endpoint  # noqa: F401 - a fixture


@pytest.fixture
def in_s3(september, endpoint, tmp_path):  # noqa: F811
    """The same, with its archive in a bucket."""
    return september._replace(store=ArchiveStore(f"s3://calls/{tmp_path.name}", credentials(endpoint)))


def test_a_month_goes_there_and_comes_back(in_s3):
    before = in_s3.contents()
    assert in_s3.run().rows == 41
    in_s3.change("UPDATE calls SET campaign_ref = campaign_ref WHERE call_ref = '1038'")
    assert in_s3.run().written == 0
    in_s3.change("UPDATE recordings SET attempts = attempts + 1 WHERE state = 'stored'")
    assert in_s3.run().written == 1
    names = [part.name for part in in_s3.manifest().parts]
    assert in_s3.store.names(MONTH) == sorted(names)
    assert in_s3.store.places() == [MONTH]
    assert verify_month(in_s3.engine, in_s3.store, MONTH).problems == ()
    in_s3.change("UPDATE recordings SET attempts = attempts - 1 WHERE state = 'stored'")
    in_s3.run()
    in_s3.drop("source = 'enigma' AND dialed_at >= '2026-09-01 00:00+00' AND dialed_at < '2026-10-01 00:00+00'")
    assert restore_month(in_s3.engine, in_s3.store, MONTH, who="thandi").calls == 41
    assert in_s3.contents() == before


def test_a_refusal_is_told_without_the_secret(september, endpoint):  # noqa: F811
    """Of a bucket that is not there."""
    store = ArchiveStore("s3://nowhere/archive", credentials(endpoint))
    with pytest.raises(ArchiveAwayError, match="the archive's store: cannot ") as refused:
        september.run(store=store)
    assert SECRET not in str(refused.value)
    assert september.manifest() is None
