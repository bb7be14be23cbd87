"""`pipeline keeping`: first shown, then done; rubbish changes nothing; all of it is written down."""

from __future__ import annotations

import io
import json
import threading

import pytest

from pipeline.keeping.change import MeanwhileError, changed, make
from pipeline.keeping.rules.policy import Kind, Scope
from tests.integration.keeping.conftest import told


def test_a_rule_is_shown_then_set_then_written_down(world):
    """With what it comes to today."""
    dry = world.keeping("set", "recordings", "--campaign", "spring", "--at-most", "30", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "now no rule, then at most 30 days" in dry.stdout
    assert "files due for deletion\t0\t2" in dry.stdout
    assert "bytes due for deletion\t0\t42" in dry.stdout
    assert world.rules() == []
    done = world.set("recordings", "--campaign", "spring", "--at-most", "30", "--who", "ann")
    assert "It is so from now on" in done.stdout
    assert world.rules() == [("recordings", "", "spring", None, 30, False)]
    [(who, detail)] = world.rows("SELECT who, detail FROM actions WHERE action = 'keeping set'")
    assert who == "ann"
    assert detail == {
        "kind": "recordings",
        "campaign": "spring",
        "is": {"at_least": None, "at_most": 30, "forever": False},
        "reason": "contract 5",
    }
    again = world.set("recordings", "--campaign", "spring", "--at-most", "30")
    assert "So it is already" in again.stdout
    assert len(world.rows("SELECT FROM actions")) == 1


@pytest.mark.parametrize("answer", ["", "n\n"], ids=["nobody is there", "no"])
def test_it_asks_and_takes_no_for_an_answer(world, monkeypatch, answer):
    """And so does whoever is not there to answer, as in a script without --yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    done = world.keeping("set", "recordings", "--at-most", "30")
    assert done.returncode == 1
    assert "Do it?" in done.stderr
    assert world.rules() == []


def test_what_is_not_said_stays_and_can_be_taken_away(world):
    """One side, or all of it."""
    world.set("calls", "--at-least", "100")
    world.set("calls", "--at-most", "400")
    assert world.rules() == [("calls", "", "", 100, 400, False)]
    world.set("calls", "--forever")
    assert world.rules() == [("calls", "", "", 100, None, True)]
    assert world.keeping("unset", "calls", "--at-most", "--yes").returncode == 0
    assert world.rules() == [("calls", "", "", 100, None, False)]
    assert world.keeping("unset", "calls", "--at-most", "--yes").returncode == 1
    assert world.keeping("unset", "calls", "--dry-run").returncode == 0
    assert world.keeping("unset", "calls", "--yes").returncode == 0
    assert world.rules() == []
    gone = world.keeping("unset", "calls", "--yes")
    assert gone.returncode == 1
    assert "no rule of every dialler and campaign says how long calls are kept" in gone.stderr
    actions = [action for (action,) in world.rows("SELECT action FROM actions ORDER BY id")]
    assert actions == ["keeping set"] * 4 + ["keeping unset"]


@pytest.mark.parametrize(
    ("first", "then", "named"),
    [
        (["--at-least", "90"], ["--campaign", "spring", "--at-most", "30"], "rule of every dialler and campaign"),
        (["--at-most", "30"], ["--campaign", "spring", "--at-least", "90"], "rule of every dialler and campaign"),
        (["--source", "north", "--at-least", "9"], ["--campaign", "spring", "--at-most", "3"], "rule of dialler north"),
        (["--campaign", "spring", "--at-least", "90"], ["--at-most", "30"], "rule of campaign spring"),
        (["--at-least", "90"], ["--at-most", "89"], "at most 89 days"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused_and_the_other_rule_named(world, first, then, named):
    """Whichever comes first; nothing is changed."""
    world.set("calls", *first)
    before = world.rules()
    done = world.keeping("set", "calls", *then, "--yes")
    assert done.returncode == 1
    assert named in done.stderr
    assert world.rules() == before
    assert len(world.rows("SELECT FROM actions")) == 1


def test_a_rule_that_keeps_two_others_apart_is_not_taken_away(world):
    """Without it the campaign would have the maximum of all."""
    world.set("calls", "--campaign", "spring", "--at-least", "90", "--forever")
    world.set("calls", "--at-most", "30")
    done = world.keeping("unset", "calls", "--campaign", "spring", "--at-most", "--yes")
    assert done.returncode == 1
    assert "at most 30 days by the rule of every dialler" in done.stderr
    assert len(world.rules()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tapes", "--at-most", "30"], "tapes"),
        (["calls"], "say how long"),
        (["calls", "--at-most", "0"], "greater than or equal to 1"),
        (["calls", "--at-most", "-1"], "greater than or equal to 1"),
        (["calls", "--at-least", "0"], "greater than or equal to 1"),
        (["calls", "--at-most", "36501"], "less than or equal to 36500"),
        (["calls", "--at-least", "9" * 30], "less than or equal to 36500"),
        (["calls", "--at-least", "1.5"], "must be a whole number"),
        (["calls", "--at-least", "a year"], "must be a whole number"),
        (["calls", "--at-most", "30", "--forever"], "leave --at-most out"),
        (["calls", "--at-most", "30", "--campaign", ""], "left out, it is every one"),
        (["calls", "--at-most", "30", "--source", "  "], "left out, it is every one"),
        (["calls", "--at-most", "30", "--campaign", "a\tb"], "characters that can be seen"),
        (["calls", "--at-most", "30", "--campaign", "x" * 5_000], "1 to 230 characters"),
        (["access_log", "--at-most", "30", "--campaign", "spring"], "kept alike for all"),
        (["access_log", "--at-most", "30", "--source", "north"], "kept alike for all"),
    ],
)
def test_rubbish_is_2_and_changes_nothing(world, words, said):
    """In a sentence that says what would do."""
    done = world.keeping("set", *words, "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert world.rules() == []


def test_a_blank_reason_is_none(world):
    """It has to be said why."""
    done = world.command("keeping", "set", "calls", "--at-most", "30", "--because", " ")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--campaign", "sprnig"], "there is no call of campaign sprnig"),
        (["--source", "nroth"], "there is north, south"),
        (["--campaign", "spring", "--source", "west"], "dialler 'west'"),
    ],
)
def test_what_has_never_come_is_refused_unless_one_insists(world, words, said):
    """A misspelt name would protect nothing, and one may be set ahead of its first call."""
    done = world.keeping("set", "calls", "--at-least", "30", *words, "--yes")
    assert done.returncode == 1
    assert said in done.stderr
    assert "--anyway" in done.stderr
    assert world.rules() == []
    world.set("calls", "--at-least", "30", *words, "--anyway")
    assert len(world.rules()) == 1


def test_a_campaign_of_another_dialler_is_told_from_this_ones(world):
    """Both names are known, and not together."""
    world.run("UPDATE calls SET campaign_ref = 'summer' WHERE call_ref = 'north-spring'")
    done = world.keeping("set", "calls", "--at-least", "30", "--campaign", "summer", "--source", "south", "--yes")
    assert done.returncode == 1
    assert "no call of campaign summer of dialler south" in done.stderr


def test_show_tells_rules_defaults_and_what_is_due(world):
    """For people and for scripts."""
    empty = told(world.keeping("show", "--json"))
    assert (empty["rules"], empty["defaults"]["recordings"]) == ([], None)
    world.set("recordings", "--at-least", "35")
    world.set("calls", "--campaign", "spring", "--at-most", "30")
    world.set("calls", "--at-least", "20")
    found = told(world.keeping("show", "--json", RECORDINGS_RETENTION_DAYS="30"))
    assert [
        (each["kind"], each["campaign"], each["keep_at_least"], each["keep_at_most"]) for each in found["rules"]
    ] == [
        ("calls", None, 20, None),
        ("calls", "spring", None, 30),
        ("recordings", None, 35, None),
    ]
    assert found["defaults"] == dict.fromkeys(Kind) | {"recordings": 30}
    assert found["today"]["recordings"]["files due for deletion"] == {"number": 6, "estimated": False}
    assert found["today"]["calls"]["calls past their maximum"]["number"] == 2
    assert found["today"]["calls"]["calls within their minimum"]["number"] == 2
    shown = world.keeping("show", RECORDINGS_RETENTION_DAYS="30")
    assert "calls\tevery\tspring\t\t30" in shown.stdout
    assert "recordings for 30 days (RECORDINGS_RETENTION_DAYS)" in shown.stderr
    assert "contract 5" in shown.stdout


def test_many_calls_are_estimated(world, monkeypatch):
    """By the planner, who knows each dialler and campaign."""
    monkeypatch.setattr("pipeline.keeping.effects.COUNTED_UP_TO", 0)
    world.run(
        "INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, dial_number_is_e164, direction, "
        "dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash) "
        "SELECT 1000000000 + n, 'north', 'n' || n, 'spring', false, false, 'outbound', "
        "  now() - make_interval(days => n % 100), 0, 'hungup', false, '' FROM generate_series(1, 10000) AS n"
    )
    world.run("ANALYZE calls")
    done = world.keeping("set", "calls", "--campaign", "spring", "--at-most", "50", "--dry-run")
    [line] = [line for line in done.stdout.splitlines() if line.startswith("calls past")]
    number = int(line.rpartition("about ")[2].replace(",", ""))
    assert 4_000 < number < 6_000


def test_two_who_set_at_once_do_not_contradict_each_other(world):
    """Each looked before the other wrote: the second is told to look again."""
    with world.engine.connect() as connection:
        one = changed(connection, Kind.CALLS, Scope(), at_least=90)
        other = changed(connection, Kind.CALLS, Scope("", "spring"), at_most=30)
    outcomes = []

    def setting(change):
        try:
            with world.engine.begin() as connection:
                make(connection, change, who="ann", because="x")
            outcomes.append("set")
        except MeanwhileError:
            outcomes.append("refused")

    threads = [threading.Thread(target=setting, args=[change]) for change in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "set"]
    assert len(world.rules()) == 1


def test_a_call_is_held_by_its_reference(world):
    """Of one dialler, if two have it; and let go once."""
    world.run("UPDATE calls SET call_ref = '7' WHERE call_ref IN ('north-spring', 'south-spring')")
    both = world.keeping("hold", "7")
    assert both.returncode == 1
    assert "add --source, one of north, south" in both.stderr
    assert world.keeping("hold", "no-such").returncode == 1
    assert "Call 7 of south is held." in world.keeping("hold", "7", "--source", "south").stdout
    assert "held already" in world.keeping("hold", "7", "--source", "south").stdout
    [held] = json.loads(world.command("keeping", "holds", "--json").stdout)
    assert (held["what"], held["source"], held["call_ref"], held["because"]) == ("call", "south", "7", "contract 5")
    assert "7" in world.command("keeping", "holds").stdout
    assert world.keeping("release", "7", "--source", "north").returncode == 1
    assert world.keeping("release", "7", "--source", "south").returncode == 0
    assert world.keeping("release", "7", "--source", "south").returncode == 1
    assert world.command("keeping", "holds", "--json").stdout.strip() == "[]"
    explained = world.command("explain", "7", "--source", "south").stdout
    assert "call held" in explained
    assert "call hold released" in explained
