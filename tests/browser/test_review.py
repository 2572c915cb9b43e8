"""The review pages, written from results of `dal check` and opened in a browser."""

import copy
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from browser import assert_fits, assert_links_resolve, assert_readable, assert_self_contained, needs_chromium
from program import assert_fails, run
from reviewed import NAMES, page_of

from dal.gate.review.pages import write
from dal.gate.review.plans import distinct_plans
from dal.sql import QUERIES


@pytest.fixture(scope="module")
def measured(checked) -> dict:
    return json.loads(checked.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(checked, tmp_path_factory) -> Path:
    """The folder of the pages."""
    folder = tmp_path_factory.mktemp("review")
    done = run("review", "--from", checked, "--out", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(folder / "index.html") in done.stdout
    return folder


@pytest.fixture
def document(measured) -> dict:
    """A copy of the results, for a test to change."""
    return copy.deepcopy(measured)


def pages_of(folder):
    return sorted(folder.rglob("*.html"))


def verdict_of(query, promise):
    return next(verdict for verdict in query["verdicts"] if verdict["promised"].startswith(promise))


def test_each_query_has_a_page(folder):
    assert {path.relative_to(folder).as_posix() for path in pages_of(folder)} == {
        "glossary.html",
        "index.html",
        "schema.html",
        *(f"queries/{name}.html" for name in NAMES),
    }


@needs_chromium
def test_the_pages_are_self_contained(folder, browse):
    for path in pages_of(folder):
        assert_self_contained(browse(path), path)


@needs_chromium
def test_every_link_resolves(folder, browse):
    assert assert_links_resolve([browse(path) for path in pages_of(folder)]) == {
        path.as_uri() for path in pages_of(folder)
    }


@needs_chromium
@pytest.mark.parametrize("name", NAMES)
def test_a_chart_has_a_point_for_each_size(folder, measured, browse, name):
    query = next(query for query in measured["queries"] if query["name"] == name)
    figures = browse(page_of(folder, name)).locator("figure")
    assert figures.count() == len(query["bounds"]) > 0
    for number, bound in enumerate(query["bounds"]):
        curve = query["held_snapshot" if bound["held_snapshot"] else "curves"][bound["axis"]]
        points = figures.nth(number).locator(".point")
        drawn = points.evaluate_all("all => all.map(one => [one.dataset.size, Number(one.dataset.value)])")
        assert drawn == [[size, cost[bound["figure"]]] for size, cost in curve.items()]
        assert figures.nth(number).locator("svg").get_attribute("aria-label").startswith(bound["promise"])
        assert points.locator("title").count() == points.count()


@needs_chromium
def test_points_are_drawn_in_order_and_inside_the_chart(folder, browse):
    """Further right for a larger size, higher for a larger figure, and inside the picture."""
    figures = browse(page_of(folder, "messages.latest")).locator("figure")
    assert figures.count() > 0
    for number in range(figures.count()):
        frame = figures.nth(number).locator("svg").bounding_box()
        points = [
            (float(point.get_attribute("data-value")), point.bounding_box())
            for point in figures.nth(number).locator(".point").all()
        ]
        assert len(points) > 1
        for (value, box), (following, next_box) in pairwise(points):
            assert next_box["x"] > box["x"] + 20
            assert (following > value) == (next_box["y"] < box["y"] - 0.01)
        for _, box in points:
            assert frame["x"] <= box["x"] <= box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
            assert frame["y"] <= box["y"] <= box["y"] + box["height"] <= frame["y"] + frame["height"]


@needs_chromium
def test_held_snapshots_have_their_own_charts(folder, measured, browse):
    page = browse(page_of(folder, "messages.append"))
    held = [bound for bound in measured["queries"][0]["bounds"] if bound["held_snapshot"]]
    assert page.locator("figure", has_text="held snapshot").count() == len(held) > 0


@needs_chromium
@pytest.mark.parametrize("width", [320, 375])
def test_no_page_scrolls_sideways_on_a_phone(folder, browse, width):
    for path in pages_of(folder):
        assert_fits(browse(path, width=width), width)


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(document, tmp_path, browse, scheme):
    broken(document)
    write(document | {"base": base_of(document)}, tmp_path)
    for path in pages_of(tmp_path):
        assert_readable(browse(path, scheme=scheme), scheme)


@needs_chromium
def test_a_page_shows_the_query_file(folder, browse):
    page = browse(page_of(folder, "messages.append"))
    text = (QUERIES / "messages/append.sql").read_text(encoding="utf-8")
    assert page.locator("pre.sql").text_content() == text.rstrip()
    colours = page.locator("pre.sql span[class]").evaluate_all("all => all.map(one => getComputedStyle(one).color)")
    assert len(set(colours)) > 4


@needs_chromium
def test_a_promise_links_to_its_line(folder, browse):
    page = browse(page_of(folder, "messages.append"))
    page.locator("tr", has_text="1 row of sessions locked").locator("a").click()
    assert "Locks:" in page.locator("pre.sql span:target").text_content()


@needs_chromium
def test_scrolling_regions_are_reachable_by_keyboard(folder, browse):
    page = browse(folder / "index.html", width=375)
    assert page.locator("[tabindex='0'][role=region][aria-label]").count() == page.locator(".scroll").count() > 0


def broken(document):
    """Break a growth and a plan of messages.append."""
    query = document["queries"][0]
    verdict_of(query, "buffers O(log n)").update(outcome="broken", measured="O(n): many")
    verdict_of(query, "never Seq Scan").update(outcome="broken", measured="generic plan")
    sizes = query["plans"][next(iter(query["plans"]))]
    sizes[list(sizes)[-1]]["generic"] = {"Node Type": "Seq Scan", "Relation Name": "messages", "Plan Rows": 7}


def base_of(document):
    """A base revision with one changed, one missing and one removed query."""
    changed, same, _ = document["queries"]
    before = {"line": 1, "source": changed["source"].replace("SELECT", "select"), "promises": ["2 round trips"]}
    return {
        "revision": "main",
        "commit": "0123456789ab",
        "queries": {changed["name"]: before, same["name"]: same},
        "removed": {"messages.gone": same},
        "schema": document["schema"].replace("CREATE INDEX", "CREATE UNIQUE INDEX"),
        "has_other_fixtures": True,
        "figures": {
            changed["name"]: {"curves": more_buffers(changed["curves"])},
            same["name"]: {"not_measured": "the query failed"},
        },
    }


def more_buffers(curves):
    """The same curves, each with ten buffers more."""
    return {
        axis: {size: cost | {"buffers": cost["buffers"] + 10} for size, cost in sizes.items()}
        for axis, sizes in curves.items()
    }


@needs_chromium
def test_a_broken_promise_is_visible_without_scrolling(document, tmp_path, browse):
    broken(document)
    write(document, tmp_path)
    for path in (tmp_path / "index.html", page_of(tmp_path, "messages.append")):
        page = browse(path)
        alarm = page.locator(".alarm")
        assert alarm.bounding_box()["y"] + alarm.bounding_box()["height"] < 800
        assert alarm.locator("li").count() == 2
    assert page.locator("figcaption .broken").count() == 1
    assert page.locator("details[open] tr.never").count() == 1
    assert browse(tmp_path / "index.html").locator("tbody.is-broken").get_attribute("id") == "messages.append"
    assert browse(page_of(tmp_path, "messages.latest")).locator(".alarm, .broken").count() == 0


@needs_chromium
def test_foreign_text_is_escaped(document, tmp_path, browse):
    hostile = "</pre></style><script>document.title = 'taken'</script><img src=x onerror=alert(1)>\" onload=\"x"
    query = document["queries"][0]
    query["source"] += f"\n-- {hostile}"
    query["bounds"][0]["metric"] = hostile
    axis = query["bounds"][0]["axis"]
    for curves in ("curves", "plans"):
        query[curves][hostile] = query[curves].pop(axis)
    for bound in query["bounds"]:
        bound["axis"] = hostile if bound["axis"] == axis else bound["axis"]
    for verdict in query["verdicts"]:
        verdict["measured"] += hostile
    document |= {"server": hostile, "summary": hostile, "base": base_of(document) | {"revision": hostile}}
    write(document, tmp_path)
    for path in pages_of(tmp_path):
        page = browse(path)
        assert page.errors == []
        assert page.locator("script, img").count() == 0
        assert "taken" not in page.title()


def test_the_pages_are_reproducible(folder, checked, tmp_path):
    run("review", "--from", checked, "--out", tmp_path)
    assert [path.read_bytes() for path in pages_of(tmp_path)] == [path.read_bytes() for path in pages_of(folder)]


def test_only_pages_of_removed_queries_are_deleted(document, tmp_path):
    write(document, tmp_path)
    (tmp_path / "queries/mine.html").write_text("<p>mine</p>", encoding="utf-8")
    document["queries"].pop()
    write(document, tmp_path)
    left = {path.stem for path in (tmp_path / "queries").iterdir()}
    assert left == {"messages.append", "messages.latest", "mine"}


def node(kind, *plans, rows=1, **more):
    return {"Node Type": kind, "Plan Rows": rows, "Plans": list(plans), **more}


def test_equal_plans_are_merged():
    def scan(rows):
        return node("Limit", node("Index Scan", rows=rows, **{"Index Name": "i", "Relation Name": "t"}), rows=rows)

    seq = node("Seq Scan", **{"Relation Name": "t"})
    sizes = {
        "16": {"custom": seq, "generic": scan(1)},
        "64": {"custom": scan(20), "generic": scan(1)},
        "256": {"custom": scan(20), "generic": scan(1)},
    }
    first, second = distinct_plans(sizes, [])
    assert (first.where, first.reads) == ("custom at 16", "Seq Scan t")
    assert (second.where, second.columns) == ("generic; custom at 64 to 256", ("generic", "custom at 64 to 256"))
    assert [(node.depth, node.kind, node.index, node.rows) for node in second.nodes] == [
        (0, "Limit", "", ("1", "20")),
        (1, "Index Scan", "i", ("1", "20")),
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("<xml>", "is not JSON"),
        ("[]", "dal check"),
        ('{"server": "", "summary": "", "schema": "", "queries": [{"name": "../x"}]}', "is not a query name"),
    ],
)
def test_other_files_than_results_are_refused(tmp_path, text, part):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    assert_fails(run("review", "--from", tmp_path / "x.json", "--out", tmp_path / "out"), "--from", part)
    assert not (tmp_path / "out").exists()


def test_from_and_dsn_exclude_each_other(checked, server, tmp_path):
    assert_fails(run("review", "--from", checked, "--dsn", server.conninfo, "--out", tmp_path), "--from")


def test_review_without_results_measures(server, tmp_path):
    queries = tmp_path / "sql"
    queries.mkdir()
    text = (QUERIES / "schema/version.sql").read_text(encoding="utf-8")
    (queries / "schema").mkdir()
    (queries / "schema/version.sql").write_text(text, encoding="utf-8")
    done = run("review", "--queries", queries, "--dsn", server.conninfo, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, f"On PostgreSQL {server.version} (given): {server.place}\n")
    assert page_of(tmp_path / "out", "schema.version").exists()


@pytest.mark.parametrize("package", ["jinja2", "markupsafe"])
def test_missing_packages_are_an_error_that_says_what_to_install(checked, tmp_path, package):
    script = f"import sys; sys.modules[{package!r}] = None; import dal.cli; dal.cli.main()"
    assert_fails(run("review", "--from", checked, "--out", tmp_path, script=script), "session-dal[gate]")


def test_the_pages_show_date_and_settings(folder, measured):
    context = measured["context"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", context["date"])
    assert context["settings"]["random_page_cost"] == "4"
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert context["date"] in index
    assert "random_page_cost" in index
    assert 'href="../glossary.html"' in page_of(folder, "messages.append").read_text(encoding="utf-8")


def test_a_plan_shows_the_actual_rows_at_the_largest_size(measured):
    query = next(query for query in measured["queries"] if query["name"] == "messages.latest")
    sizes = query["plans"]["the page"]
    (plan, *_) = distinct_plans(sizes, [])[-1:]
    assert plan.actual_columns
    assert all("at " + f"{max(map(int, sizes)):,}" in column or column == "generic" for column in plan.actual_columns)
    assert len(plan.nodes[0].actual) == len(plan.actual_columns)
    assert json.loads(plan.text)[0]["Plan"]["Node Type"] == "Sort"


@needs_chromium
def test_the_overview_has_cards_on_a_phone(folder, browse):
    page = browse(folder / "index.html", width=375)
    cards = page.locator("tbody.query")
    assert cards.count() == len(NAMES)
    assert page.locator("thead").first.bounding_box()["height"] <= 1
    assert all(card.bounding_box()["width"] <= 375 for card in cards.all())
