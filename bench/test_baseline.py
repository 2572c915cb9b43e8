"""The comparison with the baseline fails where it must."""

import pytest
from baseline import Baseline, BaselineError, compare, parse, updated

KNOWN = Baseline({"append: buffers": "O(log n)", "append: round trips": "1"}, ("the first figures",))
SAME = dict(KNOWN.figures)


def test_the_same_figures_agree():
    assert compare(KNOWN, SAME, whole=True) == []


def test_a_changed_figure_is_told():
    assert compare(KNOWN, SAME | {"append: buffers": "O(n)"}, whole=True) == [
        "changed: append: buffers was O(log n) and is O(n)"
    ]


def test_a_missing_figure_is_told_after_a_whole_run_alone():
    measured = {"append: buffers": "O(log n)"}
    assert compare(KNOWN, measured, whole=True) == [
        "missing: append: round trips = 1 is in the baseline and was not measured"
    ]
    assert compare(KNOWN, measured, whole=False) == []


@pytest.mark.parametrize("whole", [True, False])
def test_an_orphaned_figure_is_told(whole):
    assert compare(KNOWN, SAME | {"read: rows": "3"}, whole=whole) == [
        "orphaned: read: rows = 3 is not in the baseline"
    ]


def test_an_update_takes_figures_over_and_keeps_every_reason():
    after = updated(KNOWN, {"append: buffers": "O(n)"}, "a second\n index", whole=True)
    assert after.figures == {"append: buffers": "O(n)"}
    assert after.reasons == ("a second index", "the first figures")
    assert parse(str(after)) == after


def test_an_update_after_a_part_of_the_benchmarks_leaves_the_others():
    after = updated(KNOWN, {"append: buffers": "O(n)"}, "a second index", whole=False)
    assert after.figures == {"append: buffers": "O(n)", "append: round trips": "1"}


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_an_update_without_a_reason_is_refused(reason):
    with pytest.raises(BaselineError, match="reason"):
        updated(KNOWN, {"append: buffers": "O(n)"}, reason, whole=True)


def test_an_update_that_changes_nothing_needs_no_reason():
    assert updated(KNOWN, SAME, None, whole=True) == KNOWN


def test_the_file_is_sorted_one_line_a_figure():
    lines = str(Baseline({"b": "2", "a": "1"}, ("why",))).splitlines()
    assert lines[-3:] == ["", "a = 1", "b = 2"]
    assert "# - why" in lines


@pytest.mark.parametrize("line", ["append: buffers", "a = 1\na = 2"])
def test_a_line_that_is_not_understood_is_refused(line):
    with pytest.raises(BaselineError, match="line"):
        parse(line)
