"""Promises are parsed strictly: what is not understood is an error with its file and line."""

import pytest

from dal.files import QUERIES
from dal.measure.promises import Growth, PromiseError, Rows, parse

GOOD = """-- name: one(a)
-- Read.
-- Promises: 2 round trips; HOT; buffers O(log n) in the list's tasks;
--   WAL O(1) in the list's tasks
-- Held snapshot: buffers O(n) in the appends since, at most n/50
-- Locks: RowExclusive on sessions, messages; AccessShare on tasks; 1 row of sessions
-- Never: Seq Scan; Sort on messages
SELECT :a::int;
"""


def written(tmp_path, text):
    path = tmp_path / "one.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_understood(tmp_path):
    promises = parse(written(tmp_path, GOOD), "one")
    assert (promises.round_trips, promises.hot, promises.line) == (2, True, 3)
    assert [str(bound) for bound in promises.bounds] == [
        "buffers O(log n) in the list's tasks",
        "WAL O(1) in the list's tasks",
    ]
    assert [str(bound) for bound in promises.held] == ["buffers O(n) in the appends since, at most n/50"]
    assert promises.bounds[0].growth is Growth.LOGARITHMIC
    assert promises.held[0].divisor == 50
    assert promises.locks == {"sessions": "RowExclusive", "messages": "RowExclusive", "tasks": "AccessShare"}
    assert promises.rows == (Rows(1, "sessions", None),)
    assert [str(never) for never in promises.never] == ["Seq Scan", "Sort on messages"]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("2 round trips", "few round trips", 3, "'few round trips' is not understood"),
        ("buffers O(log n)", "pages O(log n)", 3, "metric 'pages' is unknown; there are buffers, WAL, rows"),
        ("O(log n)", "O(sqrt n)", 3, r"O\(sqrt n\) is unknown"),
        ("WAL O(1) in", "WAL O(1) of", 3, "is not understood; expected `METRIC"),
        ("at most n/50", "at most 50", 5, "is not understood"),
        ("HOT", "hot", 3, "'hot' is not understood"),
        ("RowExclusive", "RowExclusiv", 6, "with a mode of AccessShare"),
        ("1 row of", "a row of", 6, "is not understood"),
        ("1 row of sessions", "1 row of sessions for each of the turns", 6, "no growth in the turns is promised"),
        ("Seq Scan;", "seq scan;", 7, "'seq scan' is not understood"),
        ("-- Never: Seq Scan; Sort on messages\n", "", 1, "promises nothing: it needs a line `-- Never: …`"),
        ("-- Never", "-- Locks: none\n-- Never", 7, "Locks stands twice"),
        ("-- name: one", "-- name: two", 1, "holds no query one"),
    ],
)
def test_what_is_not_understood_is_told_with_its_line(tmp_path, old, new, line, said):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(PromiseError, match=said) as error:
        parse(path, "one")
    assert str(error.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("path", sorted(QUERIES.rglob("*.sql")), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_every_file_of_ours_promises(path):
    promises = parse(path, path.stem)
    assert promises.round_trips == 1
    assert promises.bounds
