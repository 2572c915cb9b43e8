"""The comparison with the baseline."""

import pytest
from baseline import Baseline, BaselineError, compare, parse, updated

BASELINE = Baseline({"append: buffers": "O(log n)", "append: round trips": "1"}, ("the first figures",))
SAME = dict(BASELINE.figures)


def test_equal_figures_are_no_difference():
    assert compare(BASELINE, SAME, whole=True) == []


def test_a_changed_figure_is_a_difference():
    assert compare(BASELINE, SAME | {"append: buffers": "O(n)"}, whole=True) == [
        "changed: append: buffers was O(log n) and is O(n)"
    ]


def test_a_missing_figure_is_a_difference_only_after_a_whole_run():
    measured = {"append: buffers": "O(log n)"}
    assert compare(BASELINE, measured, whole=True) == [
        "missing: append: round trips = 1 is in the baseline and was not measured"
    ]
    assert compare(BASELINE, measured, whole=False) == []


@pytest.mark.parametrize("whole", [True, False])
def test_an_orphaned_figure_is_a_difference(whole):
    assert compare(BASELINE, SAME | {"read: rows": "3"}, whole=whole) == [
        "orphaned: read: rows = 3 is not in the baseline"
    ]


def test_an_update_replaces_figures_and_keeps_reasons():
    after = updated(BASELINE, {"append: buffers": "O(n)"}, "a second\n index", whole=True)
    assert after.figures == {"append: buffers": "O(n)"}
    assert after.reasons == ("a second index", "the first figures")
    assert parse(str(after)) == after


def test_an_update_after_a_partial_run_keeps_the_other_figures():
    after = updated(BASELINE, {"append: buffers": "O(n)"}, "a second index", whole=False)
    assert after.figures == {"append: buffers": "O(n)", "append: round trips": "1"}


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_an_update_without_a_reason_is_refused(reason):
    with pytest.raises(BaselineError, match="reason"):
        updated(BASELINE, {"append: buffers": "O(n)"}, reason, whole=True)


def test_an_update_that_changes_nothing_needs_no_reason():
    assert updated(BASELINE, SAME, None, whole=True) == BASELINE


def test_the_file_is_sorted_with_one_figure_per_line():
    lines = str(Baseline({"b": "2", "a": "1"}, ("why",))).splitlines()
    assert lines[-3:] == ["", "a = 1", "b = 2"]
    assert "# - why" in lines


@pytest.mark.parametrize("line", ["append: buffers", "a = 1\na = 2"])
def test_an_invalid_line_is_refused(line):
    with pytest.raises(BaselineError, match="line"):
        parse(line)
