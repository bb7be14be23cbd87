"""What beat has the workers do, under their own role and their own settings."""

from __future__ import annotations

import json
import os

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.archive.store import ArchiveStore
from pipeline.database.engine import make_engine
from pipeline.database.roles import apply_roles
from tests.integration.archive.conftest import MONTH
from tests.warm import warm

pytestmark = pytest.mark.usefixtures("settings_env")


def ask(archive, expression, **settings):
    """What an expression over the tasks is in a process of its own, as Celery reads its settings once."""
    code = (
        "import json, itertools\n"
        "from pipeline.celery import app\n"
        "from pipeline.tasks import archive as tasks\n"
        f"print(json.dumps({expression}))"
    )
    env = {
        name: value
        for name, value in (os.environ | {"ARCHIVE_URL": archive.folder.as_uri()} | settings).items()
        if value
    }
    done = warm().python(code, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_closed_month_is_archived_once_a_day(september, broker):
    """Ticks come every hour, and each restart of beat begins anew."""
    assert ask(september, "tasks.run()") == "done: 7 days written, 52 calls, 0 months that cannot be"
    assert ask(september, "tasks.run()") == "nothing to do: every month was looked at within a day"
    september.change("UPDATE heartbeats SET at = now() - interval '21 hours' WHERE name = 'archive'")
    assert ask(september, "tasks.run()") == "done: 0 days written, 0 calls, 0 months that cannot be"
    assert broker.llen("cdr:pipeline") == 0


def test_what_is_left_goes_on_as_a_new_task(september, broker):
    """Month by month, and day by day, with nothing but names in the message."""
    short = "setattr(tasks, 'WORK_SECONDS', -1.0) or tasks.run()"
    assert ask(september, short).startswith("done: 0 days written")
    message = json.loads(broker.lpop("cdr:pipeline"))
    assert (message["headers"]["task"], message["headers"]["kwargsrepr"]) == (
        "archive.go_on",
        "{'source': 'enigma', 'month': '2026-08'}",
    )
    assert september.rows("SELECT * FROM heartbeats WHERE name = 'archive'") == []
    assert (
        ask(september, "tasks.go_on('enigma', '2026-09')") == "done: 6 days written, 51 calls, 0 months that cannot be"
    )
    assert ask(september, "tasks.go_on('x', 'rubbish')") == "done: 0 days written, 0 calls, 0 months that cannot be"


def test_a_month_that_cannot_be_does_not_stop_the_others(september):
    september.run()
    (september.folder / MONTH.folder / "manifest.json").unlink()
    assert ask(september, "tasks.run()") == "done: 3 days written, 11 calls, 1 months that cannot be"


def test_without_a_setting_it_is_off(september):
    assert ask(september, "tasks.run()", ARCHIVE_URL="") == "off: ARCHIVE_URL is not set"


def test_a_store_that_is_away_is_waited_for(september):
    assert ask(september, "tasks.run()", ARCHIVE_URL="file:///proc/archive").startswith("waits: the archive's store: ")


class TestRoles:
    """A worker may archive, and can neither forget what was archived nor say otherwise of it."""

    @pytest.fixture
    def as_role(self, september):
        made = []
        with september.engine.begin() as connection:
            apply_roles(connection, prefix="archive_")
            for role in ("work", "read"):
                connection.execute(text(f"CREATE USER archive_{role} IN ROLE archive_cdr_{role}"))

        def open_as(role):
            url = september.engine.url.set(username=f"archive_{role}").render_as_string(hide_password=False)
            made.append(make_engine(url, application="test"))
            return september._replace(engine=made[-1])

        yield open_as
        for engine in made:
            engine.dispose()
        with september.engine.begin() as connection:
            for role in ("archive_work", "archive_read", *(f"archive_{name}" for name in ROLE_NAMES)):
                connection.execute(text(f"DROP OWNED BY {role}"))
                connection.execute(text(f"DROP ROLE {role}"))

    def test_a_worker_archives(self, as_role, september):
        worker = as_role("work")
        assert worker.run().rows == 41
        september.change("UPDATE calls SET campaign_ref = 'x' WHERE call_ref = '1038'")
        assert worker.run().written == 1

    @pytest.mark.parametrize(
        "statement",
        ["DELETE FROM archive_parts", "UPDATE archive_parts SET sha256 = 'x'", "TRUNCATE archive_parts"],
    )
    def test_what_was_archived_stays_written_down(self, as_role, statement):
        worker = as_role("work")
        worker.run()
        with pytest.raises(DBAPIError, match="permission denied"), worker.engine.begin() as connection:
            connection.execute(text(statement))

    def test_who_reads_cannot_write(self, as_role):
        with pytest.raises(DBAPIError, match="permission denied"):
            as_role("read").run()


ROLE_NAMES = ("cdr_ingest", "cdr_work", "cdr_flower", "cdr_api", "cdr_read")


def test_any_store_of_fsspec_will_do(september):
    """One that is no folder: a put takes the manifest's place."""
    september = september._replace(store=ArchiveStore("memory://archive-of-a-test"))
    assert september.run().rows == 41
    september.change("UPDATE calls SET campaign_ref = 'x' WHERE call_ref = '1038'")
    assert september.run().written == 1
    names = [part.name for part in september.manifest().parts]
    assert september.store.names(MONTH) == sorted(names)
    assert september.store.places() == [MONTH]
