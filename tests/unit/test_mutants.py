"""The list of mutants is kept up with the code and the tests it names; `make mutants` tries them."""

from __future__ import annotations

import ast

import pytest

from pipeline.sandbox.stack import ROOT
from tests.mutants.edits import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_finds_its_place_and_its_test(mutant):
    """The text stands in the file once, what takes its place is Python, and the test exists."""
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1
    ast.parse(source.replace(mutant.old, mutant.new))
    module, *names = mutant.test.partition("[")[0].split("::")
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    for name in names:
        (tree,) = (each for each in ast.walk(tree) if getattr(each, "name", None) == name)


def test_names_are_each_given_once():
    """`make mutants` is told by them which to try."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
