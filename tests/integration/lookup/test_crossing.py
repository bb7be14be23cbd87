"""What two indexes have at once: found by the instants of both, with hardly a call looked at that does not match."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import pytest
from sqlalchemy import text

from pipeline.lookup import crossing, plan, search
from pipeline.lookup.rules.call_filter import NO_WALL, CallFilter, Cursor, Wall
from pipeline.lookup.search import count_calls, search_calls
from tests.integration.lookup.conftest import BEGINS, EVERYTHING, found, matches
from tests.integration.tuples import reading

WAYS = {
    "crossed": {"CROSSED": 1_000_000, "FAR_NARROWER": 1_000_000},
    "too many to cross": {"CROSSED": 0, "FAR_NARROWER": 1_000_000},
    "begun with the calls": {"FAR_NARROWER": 0},
}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request, monkeypatch):
    """However a search goes, in however small slices."""
    for name, value in request.param.items():
        monkeypatch.setattr(crossing if hasattr(crossing, name) else plan, name, value)
    monkeypatch.setattr(search, "_FIRST_SLICE", 3)


@pytest.fixture
def seldom(called):
    """Some calls with recordings that ended as few do, some of them as code of the version before classified them."""
    with called.begin() as connection:
        connection.execute(
            text(
                "UPDATE dispositions SET disposition = 'error', "
                "  call_dialed_at = CASE WHEN call_id % 3 > 0 THEN calls.dialed_at END "
                "FROM calls "
                "WHERE calls.id = call_id AND call_id IN (SELECT call_id FROM recordings) AND call_id % 5 < 3"
            )
        )
    return called


def drawn(chance, like):
    """A filter of something seldom and something else, or of several things that indexes of calls have, and a wall."""
    fields = {}
    if chance.random() < 0.6:
        fields["recording"] = chance.choice(["absent", "failed"])
    if chance.random() < 0.5:
        fields["disposition"] = chance.choice(["error", "abandoned"])
    own = {
        "agent": like.agent,
        "campaign": like.campaign_ref,
        "direction": chance.choice(["inbound", "outbound"]),
        "source": like.source,
        "dial_numbers": (like.dial_number,),
        "until": BEGINS + timedelta(seconds=chance.randrange(1, 40)),
    }
    fields |= {name: own[name] for name in chance.sample(list(own), chance.choice([0, 1, 1, 2] if fields else [2, 3]))}
    walls = [NO_WALL, NO_WALL, Wall(sources={"south"}), Wall(campaigns={"spring", "winter"}), Wall(campaigns=())]
    return EVERYTHING._replace(**fields), chance.choice(walls)


def seen(call, wall):
    return (wall.sources is None or call.source in wall.sources) and (
        wall.campaigns is None or call.campaign_ref in wall.campaigns
    )


def leafed(engine, wanted, wall, *, limit, newer, seconds):
    """All pages one after the other, from the newest on or from the oldest."""
    place = Cursor(BEGINS, 0) if newer else None
    while True:
        towards = {"before" if newer else "after": place}
        page = found(engine, wanted, wall, limit=limit, seconds=seconds, **towards)
        yield page.calls
        place = page.newer if newer else page.older
        if place is None:
            return


@pytest.mark.parametrize("newer", [False, True], ids=["towards older", "towards newer"])
def test_pages_are_what_all_calls_looked_at_one_by_one_come_to(seldom, way, newer):
    """In order and nothing twice, though many calls were dialled at the same instants and match only in part."""
    chance = random.Random(9)
    everything = found(seldom, EVERYTHING).calls
    many = 0
    for _ in range(40):
        wanted, wall = drawn(chance, chance.choice(everything))
        expected = [call for call in everything if matches(call, wanted) and seen(call, wall)]
        limit, seconds = chance.choice([2, 5, 50]), chance.choice([0, 60])
        pages = list(leafed(seldom, wanted, wall, limit=limit, newer=newer, seconds=seconds))
        whole = list(itertools.chain(*(reversed(page) if newer else page for page in pages)))
        assert whole == (expected[::-1] if newer else expected), (wanted, wall)
        with seldom.connect() as connection:
            assert count_calls(connection, wanted, wall).calls == len(expected)
        many += len(expected)
    assert many > 40


FILL = [
    """INSERT INTO calls (id, source, call_ref, campaign_ref, extension, client_number_is_e164, dial_number_is_e164,
                          direction, dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash)
       SELECT 100000 + n, CASE n % 2 WHEN 0 THEN 'enigma' ELSE 'south' END, n,
              CASE n % 2 WHEN 0 THEN 'spring' ELSE 'autumn' END, 2000 + n % 2, false, false,
              CASE n % 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END,
              cast(:begins AS timestamptz) + n * interval '1 second', 1, 'hungup', true, ''
       FROM generate_series(1, :many) AS n""",
    """INSERT INTO dispositions (call_id, disposition, call_dialed_at, uncertain, why, person_reached, contact_done,
                                 can_be_billed, can_have_audio)
       SELECT id, CASE WHEN id % 4 = 3 OR id % 1000 = 0 THEN 'abandoned' ELSE 'answered' END,
              CASE WHEN id % 4 = 3 OR id % 1000 = 0 THEN dialed_at END, false, '', true, true, true, true FROM calls""",
    """INSERT INTO recordings (call_id, source, call_ref, dialed_at, state)
       SELECT id, source, call_ref, dialed_at,
              CASE WHEN id % 4 = 1 OR id % 1000 = 0 THEN 'absent' ELSE 'stored' END FROM calls""",
]
"""Half of all calls are of each agent, a quarter is abandoned, and a quarter has no recording; four are all of it."""
MANY = 4_000


@pytest.fixture
def apart(engine):
    """Calls of which hardly any is two things at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in FILL:
            values = {"begins": BEGINS, "many": MANY}
            connection.execute(text(statement), {name: v for name, v in values.items() if f":{name}" in statement})
        connection.execute(text("VACUUM ANALYZE calls, dispositions, recordings"))
    return engine


@pytest.mark.parametrize("other", [{"recording": "absent"}, {"disposition": "abandoned"}], ids=str)
@pytest.mark.parametrize(
    "own",
    [
        {"agent": "2000"},
        {"campaign": "spring"},
        {"source": "enigma"},
        {"direction": "inbound"},
        {"recording": "absent", "disposition": "abandoned"},
    ],
    ids=str,
)
def test_what_few_calls_have_at_once_is_found_without_looking_at_many(apart, own, other):
    """Nor on a deep page, nor counted: a thousand calls have the one, two thousand the other."""
    wanted = CallFilter(since=BEGINS, **own | other)
    with apart.connect() as connection, reading(connection, "^(calls|dispositions|recordings)_") as read:
        page = search_calls(connection, wanted, limit=50)
    assert [call.call_id for call in page.calls] == [104_000, 103_000, 102_000, 101_000]
    assert page.older is None
    deep = Cursor(BEGINS + timedelta(seconds=2_900), 0)
    with apart.connect() as connection, reading(connection, "^(calls|dispositions|recordings)_") as read_deep:
        page = search_calls(connection, wanted, limit=50, after=deep)
    assert [call.call_id for call in page.calls] == [102_000, 101_000]
    with apart.connect() as connection, reading(connection, "^(calls|dispositions|recordings)_") as read_counted:
        assert count_calls(connection, wanted).calls == 4
    for each in (*read, *read_deep, *read_counted):
        assert each.rows < 100
        assert each.entries < 4 * MANY


@pytest.mark.parametrize(
    ("wanted", "wall"),
    [
        ({"agent": "2000", "campaign": "autumn"}, NO_WALL),
        ({"agent": "2001", "direction": "inbound"}, NO_WALL),
        ({"campaign": "autumn", "direction": "inbound"}, NO_WALL),
        ({"agent": "2000"}, Wall(campaigns=("autumn", "winter"))),
    ],
    ids=str,
)
def test_what_no_call_has_at_once_is_not_looked_for_call_by_call(apart, wanted, wall):
    """An agent who is not of a campaign, though both have two thousand calls."""
    with apart.connect() as connection, reading(connection, "^(calls|dispositions|recordings)_") as read:
        page = search_calls(connection, CallFilter(since=BEGINS, **wanted), wall, limit=50)
    assert (page.calls, page.older) == ([], None)
    assert read[0].rows == 0
    assert read[0].entries < 4 * MANY
