"""``pipeline doctor`` with each thing it looks at broken in turn, on servers of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time

import fsspec
import psycopg
import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipeline.batches.reconcile import reconcile
from pipeline.database.migrations import upgrade
from pipeline.doctor import checks, redis_facts
from pipeline.doctor.checks import Check, run_checks
from pipeline.doctor.rules.verdict import Level, ok
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.stops import raise_stop
from pipeline.monitoring.heartbeats import ARCHIVER, beat
from pipeline.recordings.keys import RecordingKeys
from pipeline.recordings.rules.encrypted import KeyName
from pipeline.sandbox.dialler import SimulatedDialler
from pipeline.sandbox.process import spawn
from pipeline.sandbox.servers import PostgresServer, RedisServer, free_port
from pipeline.sandbox.stack import ROOT
from pipeline.settings import load_settings
from tests.conftest import LIST
from tests.factories import make_record
from tests.integration.flow import load, receive
from tests.integration.recording_rows import change, scheduled
from tests.patience import eventually
from tests.warm import warm

pytestmark = pytest.mark.usefixtures("settings_env")

HUSH = "hush%40Pass/word".replace("/", "%2F")


@pytest.fixture
def look(monkeypatch):
    """The verdicts of one check, by name, with some settings changed."""

    def run(check, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        return {verdict.check: verdict for verdict in run_checks(load_settings(), [Check("tested", check)])}

    return run


@pytest.fixture
def own_redis(tmp_path):
    """A Redis that may be broken."""
    with RedisServer(tmp_path / "redis", appendonly=False) as server, redis.Redis.from_url(server.url) as client:
        yield server, client


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory):
    """A PostgreSQL that may be broken."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), fsync=False) as server:
        yield server


def problems(verdicts):
    return {name: verdict.remedy for name, verdict in verdicts.items() if verdict.level is Level.PROBLEM}


def test_a_misspelt_variable_is_told(look):
    """With the name that was meant; Flower's own are known too, and what a variable holds is not shown."""
    good = look(checks.check_settings, FLOWER_PORT="5555", FLOWER_UNAUTHENTICATED_API="false")
    assert [verdict.level for verdict in good.values()] == [Level.OK]
    verdict = look(checks.check_settings, PIPELINE_CURENCY="hush")["settings"]
    assert verdict.level is Level.WARNING
    assert (verdict.says.partition(" ")[0], verdict.remedy.partition(",")[0]) == (
        "PIPELINE_CURENCY",
        "Call it PIPELINE_CURRENCY",
    )
    assert "hush" not in str(verdict)


def test_a_misspelt_variable_is_logged_at_the_start_of_a_process():
    """Each process begins its log like this; a command does not."""
    code = "from pipeline.settings import start_logging; start_logging()"
    done = warm().python(code, env=os.environ | {"PIPELINE_CURENCY": "hush"})
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["name"], line["nearest"]) == (
        "setting_not_read",
        "PIPELINE_CURENCY",
        "PIPELINE_CURRENCY",
    )
    assert "hush" not in done.stderr


def test_an_open_api_of_flower_is_told(look):
    """Flower does not start with it, and its log may be elsewhere."""
    assert "Leave it out" in problems(look(checks.check_settings, FLOWER_UNAUTHENTICATED_API="true"))["flower"]


def test_a_good_dialler_redis_is_told_in_full(look, dialler_redis):
    """Version, method of claiming, eviction, persistence, the list, its oldest end, and that nobody drains it."""
    dialler_redis.rpush(LIST, *(make_record(dialed_at=1_790_000_000 + second) for second in range(50)))
    verdicts = look(checks.check_dialler_redis)
    assert list(verdicts) == [
        "dialler redis", "claim method", "dialler memory", "dialler persistence", "dialler list", "oldest end",
        "open claims", "ingestor",
    ]  # fmt: skip
    assert verdicts["dialler persistence"].level is Level.WARNING, "the tests' Redis keeps nothing"
    assert "holds 50 records" in verdicts["dialler list"].says
    assert "ENIGMA_POP_END=left" in verdicts["oldest end"].remedy
    assert list(problems(verdicts)) == ["ingestor"]
    assert dialler_redis.llen(LIST) == 50
    assert problems(look(checks.check_dialler_redis, ENIGMA_POP_END="left")) == {
        "ingestor": verdicts["ingestor"].remedy
    }


def test_an_ingestor_at_work_is_seen(look, cdr_list, engine):
    """By its lease from here, and by its sign of life from elsewhere."""
    Ingestor(cdr_list, engine, source="enigma", send=lambda _: True).run_once()
    assert look(checks.check_dialler_redis)["ingestor"].says == "test drains the list of enigma"
    assert look(checks.check_database, ENIGMA_SOURCE="another")["ingestor enigma"].level is Level.OK


def test_a_claim_left_behind_is_told(look, cdr_list, dialler_redis):
    """Its age is read from the register."""
    dialler_redis.rpush(LIST, make_record())
    cdr_list.claim(1)
    (claim,) = dialler_redis.hkeys(cdr_list.register_key)
    dialler_redis.hset(cdr_list.register_key, claim, f"host|{int(time.time()) - 500}")
    assert "Start an ingestor" in problems(look(checks.check_dialler_redis))["open claims"]


def test_the_diallers_internal_redis_is_refused(look, dialler_redis):
    """Before anybody drains it."""
    dialler_redis.rpush(LIST, b'{"type": "queue_calls", "payload": {}}')
    assert "client Redis" in problems(look(checks.check_dialler_redis))["dialler list"]


def test_a_key_of_another_type_is_told(look, dialler_redis):
    """The wrong key or database."""
    dialler_redis.set(LIST, "x")
    assert "Correct ENIGMA_LIST" in problems(look(checks.check_dialler_redis))["dialler list"]


def test_a_stopped_redis_is_told(look):
    """Nobody listens."""
    verdicts = look(checks.check_dialler_redis, ENIGMA_REDIS_URL=f"redis://:{HUSH}@127.0.0.1:{free_port()}/0")
    assert problems(verdicts) == {
        "dialler redis": "Start it, or correct the host and port in ENIGMA_REDIS_URL.",
    }
    assert verdicts["ingestor"].level is Level.UNKNOWN


def test_a_redis_that_takes_and_never_answers_is_told(look, own_redis, monkeypatch):
    """Within its own time limit, not never."""
    times = checks.DEADLINE_SECONDS / redis_facts.TIMEOUT_SECONDS
    monkeypatch.setattr(redis_facts, "TIMEOUT_SECONDS", 1.0)
    server, _ = own_redis
    server.pause()
    began = time.monotonic()
    verdicts = look(checks.check_dialler_redis, ENIGMA_REDIS_URL=server.url)
    assert "Check the host in ENIGMA_REDIS_URL" in problems(verdicts)["dialler redis"]
    assert time.monotonic() - began < times


@pytest.mark.parametrize("password", ["", f":{HUSH}@"])
def test_a_wrong_password_is_told_and_never_shown(look, own_redis, password):
    """None where one is needed, and another."""
    server, client = own_redis
    client.config_set("requirepass", "right")
    url = server.url.replace("redis://", f"redis://{password}")
    verdicts = look(checks.check_dialler_redis, ENIGMA_REDIS_URL=url)
    assert problems(verdicts)["dialler redis"] == "Correct the user and password in ENIGMA_REDIS_URL."
    verdicts |= look(checks.check_broker, CELERY_BROKER_URL=url)
    assert problems(verdicts)["broker"] == "Correct the user and password in CELERY_BROKER_URL."
    assert "hush" not in str(verdicts)
    assert "***" not in str(verdicts), "what the server said can be read"


def test_a_user_that_may_not_run_scripts_is_told(look, own_redis):
    """What it may not do is named."""
    server, client = own_redis
    client.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+@all", "-eval")
    url = server.url.replace("redis://", "redis://guest:pw@")
    assert "deploy/README.md" in problems(look(checks.check_dialler_redis, ENIGMA_REDIS_URL=url))["dialler redis"]


def test_eviction_is_told(look, own_redis):
    """Of the broker and of the dialler, with the command that mends it."""
    server, client = own_redis
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    found = problems(look(checks.check_dialler_redis, ENIGMA_REDIS_URL=server.url))
    assert found["dialler memory"].startswith("CONFIG SET maxmemory-policy noeviction")
    found = problems(look(checks.check_broker, CELERY_BROKER_URL=server.url))
    assert found["broker memory"].startswith("CONFIG SET maxmemory-policy noeviction")


def test_a_replica_is_told(look, own_redis, servers):
    """It takes no claims."""
    server, client = own_redis
    client.replicaof("127.0.0.1", servers.broker.port)
    assert "primary" in problems(look(checks.check_dialler_redis, ENIGMA_REDIS_URL=server.url))["dialler redis"]


def test_a_broker_shared_with_the_dialler_is_told(look, servers):
    """By the server's own id, whatever the URLs look like."""
    found = problems(look(checks.check_broker, CELERY_BROKER_URL=servers.dialler_redis.url.replace("/0", "/5")))
    assert "CELERY_BROKER_URL" in found["broker dedicated"]


def test_a_broker_shared_with_others_is_told(look, own_redis):
    """Other databases, and other keys in ours."""
    server, client = own_redis
    client.mset({"cdr:ours": 1})
    assert look(checks.check_broker, CELERY_BROKER_URL=server.url)["broker dedicated"].level is Level.OK
    client.set("theirs", 1)
    with redis.Redis.from_url(server.url.replace("/0", "/3")) as other:
        other.set("x", 1)
    verdict = look(checks.check_broker, CELERY_BROKER_URL=server.url)["broker dedicated"]
    assert verdict.level is Level.WARNING
    assert "1 keys in database 3, keys that are not ours, such as 'theirs'" in verdict.says


def test_an_amqp_broker_that_is_away_is_told():
    """In a process of its own, as Celery reads its settings once."""
    env = os.environ | {"CELERY_BROKER_URL": f"amqp://guest:{HUSH}@127.0.0.1:{free_port()}//"}
    code = (
        "import json; from pipeline.doctor.checks import *; from pipeline.settings import current_settings as s;"
        "print(json.dumps([v.as_dict() for v in run_checks(s(), [Check('b', check_broker)])]))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True)
    (verdict,) = json.loads(done.stdout)
    assert verdict["level"] == "problem"
    assert verdict["remedy"] == "Start it, or correct the host and port in CELERY_BROKER_URL."
    assert "hush" not in done.stdout + done.stderr


def test_a_good_database_is_told_in_full(look, engine):
    """Nothing is wrong but what the tests' server was told to do."""
    reconcile(engine, limit=1, resend_after_seconds=1, who="tests")
    verdicts = look(checks.check_database)
    assert list(verdicts) == [
        "database", "database settings", "database connections", "database disk", "database tables", "beat", "stops",
        "recordings", "completeness", "months",
    ]  # fmt: skip
    assert not problems(verdicts)
    assert "does not wait for its disk" in verdicts["database settings"].says
    assert verdicts["beat"].says.startswith("the reconciler ran")


def test_recordings_that_could_meet_are_told(look, engine):
    """Two diallers are known from what was received."""
    for source in ("north", "south"):
        receive(engine, b"{}", source=source)
    assert "recordings paths" not in look(checks.check_database)
    verdict = look(checks.check_database, RECORDINGS_PATH="{call_ref}{ext}")["recordings paths"]
    assert "north, south" in verdict.says


def test_a_tariff_of_another_time_zone_is_told(look, engine):
    """Hours mean another time elsewhere; a tariff without hours is the same everywhere."""
    load(engine)
    assert "tariff time zone" not in look(checks.check_database, PIPELINE_TIMEZONE="Europe/London")
    load(engine, b"prefix,rate_per_minute,time_of_day\n27,1,08:00-20:00\n")
    assert "tariff time zone" not in look(checks.check_database, PIPELINE_TIMEZONE="Africa/Johannesburg")
    verdict = look(checks.check_database, PIPELINE_TIMEZONE="Europe/London")["tariff time zone"]
    assert "Africa/Johannesburg" in verdict.says


def test_beat_that_never_ran_and_stops_are_told(look, engine):
    """With the command that releases."""
    with engine.begin() as connection:
        raise_stop(connection, "enigma", "fuse", "51 of the last 100 records were bad")
    found = problems(look(checks.check_database))
    assert set(found) == {"beat", "stops"}
    assert "pipeline stops release --source enigma" in found["stops"]


def test_beat_that_stopped_is_told(look, engine):
    """When it last ran, and where."""
    reconcile(engine, limit=1, resend_after_seconds=1, who="tests")
    with engine.begin() as connection:
        connection.execute(text("UPDATE heartbeats SET at = now() - interval '2 minutes'"))
    verdict = look(checks.check_database)["beat"]
    assert verdict.level is Level.PROBLEM
    assert verdict.says == "the reconciler last ran 120 s ago, on tests"


def test_a_database_that_is_not_migrated_is_told(look, own_postgres):
    """Not at all, or not to the newest revision."""
    url = own_postgres.url
    verdicts = look(checks.check_database, DATABASE_URL=url)
    assert problems(verdicts) == {"database tables": "Run `pipeline db upgrade`."}
    assert verdicts["beat"].level is Level.UNKNOWN
    engine = create_engine(url)
    upgrade(engine, "0001")
    engine.dispose()
    assert "0001" in look(checks.check_database, DATABASE_URL=url)["database tables"].says


def test_a_wrong_database_is_told(look, servers):
    """By its name."""
    url = make_url(servers.postgres.url).set(database="nowhere").render_as_string(hide_password=False)
    assert problems(look(checks.check_database, DATABASE_URL=url)) == {
        "database": "Create the database (createdb), or correct its name in DATABASE_URL."
    }


def test_a_wrong_database_password_is_told_and_never_shown(look, own_postgres):
    """As the server refuses it."""
    own = own_postgres.url.replace("+psycopg", "")
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute("CREATE ROLE careful LOGIN PASSWORD 'right'")
    access = own_postgres.data / "pg_hba.conf"
    before = access.read_text()
    access.write_text("host all careful all scram-sha-256\n" + before)
    with psycopg.connect(own, autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
    url = own_postgres.url.replace("postgres@", f"careful:{HUSH}@")
    verdicts = look(checks.check_database, DATABASE_URL=url)
    assert problems(verdicts) == {"database": "Correct the user and password in DATABASE_URL."}
    assert "hush" not in str(verdicts)


def test_a_stopped_database_is_told(look):
    """Nobody listens."""
    url = f"postgresql+psycopg://cdr:{HUSH}@127.0.0.1:{free_port()}/cdr"
    verdicts = look(checks.check_database, DATABASE_URL=url)
    assert problems(verdicts) == {"database": "Start PostgreSQL, or correct the host and port in DATABASE_URL."}
    assert "hush" not in str(verdicts)


def test_a_database_that_takes_and_never_answers_is_told(look, own_postgres):
    """Within the driver's own time limit."""
    own_postgres.pause()
    try:
        found = problems(look(checks.check_database, DATABASE_URL=own_postgres.url))
    finally:
        own_postgres.resume()
    assert found == {"database": "Check the host in DATABASE_URL, the network and firewalls."}


def test_a_good_store_is_left_as_it_was(look, tmp_path):
    """A small file is written, read and deleted."""
    verdicts = look(checks.check_store)
    assert verdicts["recordings store"].level is Level.OK
    assert "recordings disk" in verdicts
    assert [path.name for path in (tmp_path / "recordings").rglob("*")] == [".partial"]


def test_a_store_that_cannot_be_written_is_told(look, tmp_path):
    """A file where the folder should be; root may write anywhere else."""
    (tmp_path / "file").write_text("")
    found = problems(look(checks.check_store, RECORDINGS_URL=(tmp_path / "file" / "store").as_uri()))
    assert "RECORDINGS_URL" in found["recordings store"]


def test_a_drop_that_stands_still_is_told(look, engine):
    """As the alert does, and what to do."""
    assert look(checks.check_database)["months"].level is Level.OK
    with engine.begin() as connection:
        connection.execute(text("UPDATE ranges SET trouble = 'the hook ended with 1' WHERE name = 'first'"))
    assert problems(look(checks.check_database))["months"] == "Mend that, then: pipeline ranges drop first"


def test_the_archive_is_tried_out(look, tmp_path, engine):
    """Nothing is said where there is none; nothing is left in one that is well."""
    assert look(checks.check_archive) == {}
    (tmp_path / "file").write_text("")
    lost = problems(look(checks.check_archive, ARCHIVE_URL=(tmp_path / "file" / "archive").as_uri()))
    assert "ARCHIVE_URL" in lost["archive"]
    for url in ((tmp_path / "archive").as_uri(), "memory://doctor/archive"):
        assert look(checks.check_archive, ARCHIVE_URL=url)["archive"].level is Level.OK
        files, root = fsspec.core.url_to_fs(url)
        assert files.find(root) == []
    with engine.begin() as connection:
        beat(connection, ARCHIVER, who="tests")
        connection.execute(text("UPDATE heartbeats SET at = now() - interval '5 days'"))
    assert "5 days ago" in look(checks.check_archive, ARCHIVE_URL=url)["archive"].says


def test_the_folder_of_keys_is_looked_at(look, tmp_path, engine):
    """Nothing is said where recordings are not encrypted; what is wrong with it is, and nothing is left in it."""
    assert look(checks.check_keys) == {}
    keys = tmp_path / "keys"
    url = {"RECORDINGS_KEYS_URL": keys.as_uri()}
    assert "RECORDINGS_KEYS_URL" in problems(look(checks.check_keys, **url))["recordings keys"]
    keys.mkdir(mode=0o700)
    assert look(checks.check_keys, **url)["recordings keys"].level is Level.OK
    RecordingKeys(keys.as_uri()).to_write(KeyName("enigma", "2026-03"))
    assert [path.name for path in keys.rglob("*")] == ["enigma", "2026-03.key"]
    (keys / "enigma/2026-03.key").chmod(0o644)
    assert "chmod" in problems(look(checks.check_keys, **url))["recordings keys"]


def test_a_folder_that_takes_no_key_is_told(look, tmp_path, monkeypatch):
    """Which is right for whoever only listens."""
    (tmp_path / "keys").mkdir(mode=0o700)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.recordings.keys._put_local", refuse)
    verdict = look(checks.check_keys, RECORDINGS_KEYS_URL=(tmp_path / "keys").as_uri())["recordings keys"]
    assert (verdict.level, "Permission denied" in verdict.says) == (Level.WARNING, True)


def test_a_key_that_recordings_need_is_missed(look, tmp_path, engine):
    """Set or not, the folder must have the newest by which recordings are encrypted."""
    assert "recordings key" not in look(checks.check_database)
    scheduled(engine, 1)
    change(engine, "state = 'stored', path = 'x', size_bytes = 1, sha256 = 'x', key_month = '2026-03'")
    assert "RECORDINGS_KEYS_URL" in problems(look(checks.check_database))["recordings key"]
    (tmp_path / "keys").mkdir()
    url = {"RECORDINGS_KEYS_URL": (tmp_path / "keys").as_uri()}
    found = look(checks.check_database, **url)["recordings key"]
    assert "the key of 2026-03 of enigma, and it is not there" in found.says
    RecordingKeys(url["RECORDINGS_KEYS_URL"]).to_write(KeyName("enigma", "2026-03"))
    assert "recordings key" not in look(checks.check_database, **url)


def test_credentials_of_a_store_are_never_shown(look):
    """Not even where its library quotes them."""
    verdicts = look(
        checks.check_store,
        RECORDINGS_URL="s3://bucket/folder",
        RECORDINGS_STORAGE_OPTIONS=json.dumps(
            {
                "key": "AKhush",
                "secret": "hush",
                "endpoint_url": f"http://127.0.0.1:{free_port()}",
                "config_kwargs": {"retries": {"max_attempts": 0}},
            }
        ),
    )
    assert problems(verdicts)
    assert "hush" not in str(verdicts)


def test_the_diallers_api_is_asked_for_a_call_that_cannot_exist(look, servers, dialler_redis):
    """Its own 404 is the right answer; nobody there, or a stranger's 404, is not."""
    with SimulatedDialler(servers.dialler_redis.url, seed=1) as dialler:
        assert look(checks.check_api, ENIGMA_API_URL=dialler.api_url)["dialler api"].level is Level.OK
        wrong = look(checks.check_api, ENIGMA_API_URL=f"{dialler.api_url}/elsewhere")
        assert "with its path" in problems(wrong)["dialler api"]
    away = look(checks.check_api, ENIGMA_API_URL=f"http://cdr:{HUSH}@127.0.0.1:{free_port()}")
    assert "Start it" in problems(away)["dialler api"]
    assert "hush" not in str(away)


def test_clocks_are_compared(look):
    """The servers here have this machine's clock."""
    verdict = look(checks.check_clocks)["clocks"]
    assert verdict.level is Level.OK
    assert "dialler redis" in verdict.says
    assert "database" in verdict.says
    assert look(checks.check_clocks, ENIGMA_REDIS_URL=f"redis://127.0.0.1:{free_port()}")["clocks"].level is Level.OK


def test_a_check_that_never_ends_is_given_up():
    """The others are told all the same, in their order, and none waits for the sum of all."""
    slow = Check("slow", lambda _: time.sleep(30) or [])
    quick = Check("quick", lambda _: [ok("quick", "fine")])
    broken = Check("broken", lambda _: {}["nothing"])
    began = time.monotonic()
    verdicts = run_checks(load_settings(), [slow, slow, quick, broken], deadline_seconds=0.3)
    assert time.monotonic() - began < 5
    assert [(verdict.check, verdict.level) for verdict in verdicts] == [
        ("slow", Level.PROBLEM), ("slow", Level.PROBLEM), ("quick", Level.OK), ("broken", Level.PROBLEM),
    ]  # fmt: skip
    assert "the check itself failed: KeyError" in verdicts[-1].says


def doctor(*arguments, **settings):
    return warm().pipeline("doctor", *arguments, env=os.environ | settings)


@pytest.mark.parametrize(("told", "unread"), [("cdr.normalize,pipeline", "cdr.bill"), ("steps", "pipeline")])
def test_each_queue_has_a_worker_or_is_told(tmp_path, servers, engine, told, unread):
    """A worker that reads some queues leaves the others without a reader; with none at all that is one problem."""
    with redis.Redis.from_url(servers.broker.url) as broker:
        broker.flushall()

    def asked():
        answer = json.loads(doctor("--json").stdout)
        assert not answer["healthy"]
        return {check["check"]: check for check in answer["checks"]}

    assert asked()["workers"]["says"] == "none answers"
    command = [sys.executable, "-m", "celery", "-A", "pipeline", "worker", "--pool", "solo", "--hostname", "some@%h"]
    command += ["--queues", told, "--without-mingle", "--without-gossip"]
    worker = spawn(command, folder=ROOT, log=tmp_path / "worker.log", env=dict(os.environ))
    try:
        until = time.monotonic() + 30
        while (found := asked())["workers"]["level"] != "ok":
            assert time.monotonic() < until, (tmp_path / "worker.log").read_text()
    finally:
        worker.kill()
        worker.wait()
    assert found["queue cdr.normalize"]["level"] == "ok"
    assert found[f"queue {unread}"]["level"] == "problem"
    assert "queue steps" not in found
    assert "ENIGMA_SOURCE=enigma" in found["queue recordings.enigma"]["remedy"]


def test_a_broker_that_takes_and_never_answers_is_one_problem(own_redis):
    """The check of the workers does not wait for it with the processes' patience."""
    server, _ = own_redis
    server.pause()
    answer = json.loads(doctor("--json", CELERY_BROKER_URL=server.url).stdout)
    # Past its deadline a check would be said to have found out nothing.
    found = {check["check"]: (check["level"], check["says"]) for check in answer["checks"]}
    assert found["broker"][0] == "problem"
    assert found["workers"] == ("unknown", "the broker does not answer")


def test_the_command_says_each_thing_on_a_line_and_ends_with_1(settings_env):
    """With nothing there at all: quick, one line each, advice on each problem, no traceback, no secret."""
    port = free_port()
    done = doctor(
        DATABASE_URL=f"postgresql+psycopg://cdr:{HUSH}@127.0.0.1:{port}/cdr",
        ENIGMA_REDIS_URL=f"redis://:{HUSH}@127.0.0.1:{port}/0",
        CELERY_BROKER_URL=f"redis://:{HUSH}@127.0.0.1:{port}/0",
        ENIGMA_API_URL=f"http://u:{HUSH}@127.0.0.1:{port}",
        FLOWER_BASIC_AUTH="me:hush",
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "nothing was found out within" not in done.stdout
    assert all(line.startswith(("ok ", "warning ", "problem ", "unknown ")) for line in lines), done.stdout
    assert {line.split(":")[0].split(maxsplit=1)[1] for line in lines if line.startswith("problem")} == {
        "dialler redis", "broker", "database", "dialler api",
    }  # fmt: skip
    assert done.stderr == ""
    assert "hush" not in done.stdout


def test_a_standby_for_which_no_commit_waits_is_told(look, servers):
    """One that takes over may lack the last calls."""
    url = make_url(servers.postgres.url)
    with psycopg.connect(host=url.host, port=url.port, user="postgres", replication="true", autocommit=True) as standby:
        standby.pgconn.send_query(b"START_REPLICATION PHYSICAL 0/1000000")
        deadline = time.monotonic() + 10
        while "database standbys" not in (verdicts := look(checks.check_database)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert verdicts["database standbys"].level is Level.WARNING
        assert "PIPELINE_KEEP_CLAIMS_SECONDS" in verdicts["database standbys"].remedy
        standby.pgconn.finish()


def test_a_collation_that_sorts_otherwise_now_is_told(look, servers):
    """As after an upgrade of the system below the database."""
    url = make_url(servers.postgres.url).set(database="sorted")
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(
            text("CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'")
        )
        try:
            text_url = url.render_as_string(hide_password=False)
            assert "database collation" not in look(checks.check_database, DATABASE_URL=text_url)
            connection.execute(text("UPDATE pg_database SET datcollversion = '0' WHERE datname = 'sorted'"))
            verdict = look(checks.check_database, DATABASE_URL=text_url)["database collation"]
            assert (verdict.level, "version 0" in verdict.says) == (Level.WARNING, True)
        finally:
            connection.execute(text("DROP DATABASE sorted WITH (FORCE)"))
    server.dispose()


def test_connections_are_counted_by_whoever_may_not_read_activity(look, engine, database_url):
    """Everybody's, against what is left for this user: its own limit, and none of those kept for superusers."""
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE limited LOGIN CONNECTION LIMIT 3"))
        connection.execute(text(f"GRANT CONNECT ON DATABASE {engine.url.database} TO limited"))
    url = make_url(database_url).set(username="limited").render_as_string(hide_password=False)
    plain = url.replace("+psycopg", "")
    superusers = database_url.replace("+psycopg", "")
    with contextlib.ExitStack() as stack:
        for each in (superusers, superusers, superusers, plain, plain):
            stack.enter_context(psycopg.connect(each))
        verdict = look(checks.check_database, DATABASE_URL=url)["database connections"]
        kept = int(
            stack.enter_context(psycopg.connect(superusers))
            .execute(
                "SELECT current_setting('superuser_reserved_connections')::int "
                "+ coalesce(current_setting('reserved_connections', true), '0')::int"
            )
            .fetchone()[0]
        )
        most = int(stack.enter_context(psycopg.connect(superusers)).execute("SHOW max_connections").fetchone()[0])
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY limited"))
        connection.execute(text("DROP ROLE limited"))
    counted = re.match(r"(\d+) of (\d+) connections that we may have, 3 of 3 of user limited", verdict.says)
    assert counted, verdict.says
    assert int(counted[1]) >= 6
    assert int(counted[2]) == most - kept
    assert (verdict.level, "ALTER ROLE limited" in verdict.remedy) == (Level.WARNING, True)


def test_a_standing_pause_of_recordings_is_told(look, engine):
    """Calls are billed and their recordings wait, which nobody would see."""
    assert look(checks.check_database)["recordings"].level is Level.OK
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO recording_pauses (source, kind, reason, since, until, call_id) "
                "VALUES ('enigma', 'refused', '401 Unauthorized', now(), now() + interval '5 minutes', 1)"
            )
        )
    assert "pipeline recordings resume --source enigma" in problems(look(checks.check_database))["recordings"]


def test_nothing_of_ours_stays_on_the_broker(own_redis):
    """Neither the queue for the workers' answers nor kombu's note of when that is overdue."""
    server, client = own_redis
    found = json.loads(doctor("--json", CELERY_BROKER_URL=server.url).stdout)["checks"]
    assert {check["check"]: check["says"] for check in found}["workers"] == "none answers"
    assert [key for key in client.scan_iter() if not key.endswith(b"probe")] == []


def test_a_password_that_is_a_common_word_is_not_given_away(look, own_redis):
    """The mask would stand where everybody knows what is meant."""
    server, client = own_redis
    for password in ("redis", "password", "answers"):
        client.config_set("requirepass", password)
        verdicts = look(checks.check_broker, CELERY_BROKER_URL=server.url.replace("redis://", f"redis://:{password}@"))
        assert "***" not in str(verdicts)
        assert verdicts["broker"].says.endswith("answers")
        client.config_set("requirepass", "")


def test_a_full_disk_of_a_redis_is_no_missing_right(look, own_redis):
    """It refuses every write once a snapshot has failed."""
    server, client = own_redis
    client.config_set("save", "3600 1")
    before = resource.prlimit(int(client.info()["process_id"]), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    client.bgsave()
    eventually(lambda: client.info()["rdb_last_bgsave_status"] == "err")
    resource.prlimit(int(client.info()["process_id"]), resource.RLIMIT_FSIZE, before)
    verdict = look(checks.check_broker, CELERY_BROKER_URL=server.url)["broker"]
    assert (verdict.level, verdict.remedy.startswith("Free its disk")) == (Level.PROBLEM, True)
