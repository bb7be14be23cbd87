"""What is said of the environment and of the code."""

from __future__ import annotations

from pipeline.doctor.rules.variables import judge_copies, judge_erasure_key
from pipeline.doctor.rules.verdict import Level


def test_a_second_copy_of_the_code_is_told(tmp_path):
    """A checkout in the working folder, where another one is installed."""
    installed, checkout = tmp_path / "site-packages" / "pipeline", tmp_path / "checkout" / "pipeline"
    for folder in (installed, checkout):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
    (verdict,) = judge_copies(installed, checkout.parent)
    assert verdict.level is Level.WARNING
    assert str(checkout) in verdict.says
    assert not [*judge_copies(checkout, checkout.parent)], "a checkout with an editable install is the one copy"
    assert not [*judge_copies(installed, tmp_path)]


def test_a_key_that_cannot_tell_what_was_erased_is_told():
    """Missing, or another; where nothing was erased none is needed."""
    for ours in (None, "b" * 16):
        (verdict,) = judge_erasure_key("a" * 16, ours)
        assert verdict.level is Level.PROBLEM
        assert "a" * 16 in verdict.says
    assert not [*judge_erasure_key(None, None), *judge_erasure_key(None, "a"), *judge_erasure_key("a", "a")]
