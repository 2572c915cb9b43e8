"""The page and the chart of a small benchmark run, opened in a browser."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import program
import pytest
from browser import assert_fits, assert_links_resolve, assert_readable, assert_self_contained, needs_chromium
from page import page as written
from paths import ROOT
from results import NotResults, load

from dal.gate.header.promises import Growth
from dal.gate.measure.growth import fit

CHART = ROOT / "docs/append.svg"
SOME = "(append and (Ours or Count) and not bare_insert) or third"
"""Benchmarks with figures and times, over n, over the appends since, and with a single value."""

POINT = re.compile(r"(?P<row>.+): (?P<value>[\d,]+) (?P<metric>[^\d]+)(?: at (?P<n>[\d,]+))?")


@pytest.fixture(scope="module")
def results(server, tmp_path_factory) -> Path:
    """The results of a small run."""
    path = tmp_path_factory.mktemp("bench") / "small.json"
    files = [f"bench/test_{name}.py" for name in ("append", "held", "lazy")]
    command = [sys.executable, "-m", "pytest", "-q", *files, "-k", SOME, "--results", path, "-p", "no:cacheprovider"]
    # pytest-benchmark takes no times in a worker of pytest-xdist.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [*command, f"--postgres={server.conninfo}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.fixture
def document(results) -> dict:
    """A copy of the results, for a test to change."""
    return json.loads(results.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(results, tmp_path_factory) -> Path:
    """The path of the page."""
    path = tmp_path_factory.mktemp("report") / "bench.html"
    done = show(results, "--out", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(path) in done.stdout
    return path


def show(*arguments):
    command = [sys.executable, ROOT / "bench/show.py", *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240, check=False)


def assert_fails(done, *parts):
    program.assert_fails(done, *parts, status=2, name="bench/show.py")


def rewritten(document, tmp_path):
    """Write the page of changed results."""
    (tmp_path / "changed.json").write_text(json.dumps(document), encoding="utf-8")
    path = tmp_path / "changed.html"
    path.write_text(written(load(tmp_path / "changed.json")), encoding="utf-8")
    return path


def table_of(document, title):
    return next(table for table in document["tables"] if table["title"].startswith(title))


def test_a_run_saves_its_figures(document):
    costs = table_of(document, "cost of an append")
    assert [row["name"] for row in costs["rows"]] == ["ours", "get, COUNT, INSERT, UPDATE"]
    ours, count = costs["rows"]
    assert (ours["cells"]["round trips"], count["cells"]["round trips"]) == ("1", "6")
    assert list(ours["curves"]["buffers"]["points"]) == ["10", "100", "1000", "3000", "10000"]
    assert (ours["curves"]["rows read"]["growth"], count["curves"]["rows read"]["growth"]) == ("O(1)", "O(n)")
    assert count["curves"]["rows read"]["points"]["10000"] > 10_000
    assert (document["large"], document["whole"], document["differs"]) == (False, False, [])


def test_a_run_saves_times_only_as_ratios(document):
    ours, count = table_of(document, "time of an append")["rows"]
    for row in (ours, count):
        assert list(row["curves"]["time"]["points"]) == ["10", "1000", "10000"]
        assert [column for column, cell in row["cells"].items() if isinstance(cell, float)] == [
            "at 1,000, replies delayed by 1 ms"
        ]
    # Six round trips of a millisecond each, compared with one: usually 6, but a benchmark is not a timed test.
    assert count["cells"]["at 1,000, replies delayed by 1 ms"] > 1
    assert ours["curves"]["time"]["points"]["1000"] > 0


@needs_chromium
def test_the_page_is_self_contained(report, browse):
    assert_self_contained(browse(report), report)


@needs_chromium
def test_each_table_is_linked(report, document, browse):
    page = browse(report)
    assert assert_links_resolve([page]) == {report.as_uri()}
    headings = page.locator("h2").all_text_contents()
    assert page.locator("nav a").all_text_contents() == headings
    assert [heading.lower() for heading in headings] == [
        table["title"].partition("; ")[0].lower() for table in document["tables"]
    ]


def section_of(page, document, title):
    place = document["tables"].index(table_of(document, title)) + 1
    return page.locator("section", has=page.locator(f"#table-{place}"))


@needs_chromium
def test_a_chart_has_a_point_for_each_figure(report, document, browse):
    page = browse(report)
    for table in document["tables"]:
        section = section_of(page, document, table["title"])
        metrics = dict.fromkeys(metric for row in table["rows"] for metric in row["curves"])
        for metric in metrics:
            caption = page.locator("figcaption", has_text=re.compile(f"^{metric}$", re.IGNORECASE))
            figure = section.locator("figure", has=caption)
            drawn = figure.locator(".point").evaluate_all(
                "all => all.map(one => [one.dataset.row, one.dataset.size, Number(one.dataset.value)])"
            )
            assert sorted(drawn) == sorted(
                [row["name"], size, value]
                for row in table["rows"]
                for size, value in row["curves"].get(metric, {"points": {}})["points"].items()
            )
            assert figure.locator(".point title").count() == len(drawn) > 0
        assert section.locator("figure", has=page.locator(".point")).count() == len(metrics)


@needs_chromium
def test_points_are_drawn_in_order_and_inside_the_chart(report, browse):
    """Larger n further right, larger figures higher, and all inside the chart."""
    figures = browse(report).locator("figure", has_text=re.compile("Buffers|Rows|Time")).all()
    assert figures
    for figure in figures:
        frame = figure.locator("svg").bounding_box()
        points = [
            (float(point.get_attribute("data-size")), float(point.get_attribute("data-value")), point.bounding_box())
            for point in figure.locator(".point").all()
        ]
        middles = [(n, y, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for n, y, box in points]
        for (n, _, x, _), (next_n, _, next_x, _) in pairwise(sorted(middles)):
            assert (next_n > n) == (next_x > x + 5)
        for (_, y, _, down), (_, next_y, _, next_down) in pairwise(sorted(middles, key=lambda one: one[1])):
            assert next_down <= down + 2
            assert next_y < y * 1.5 or next_down < down - 2
        for _, _, box in points:
            assert frame["x"] - 1 <= box["x"] <= box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
            assert frame["y"] - 1 <= box["y"] <= box["y"] + box["height"] <= frame["y"] + frame["height"] + 1


@needs_chromium
def test_round_trips_are_drawn_as_bars(report, document, browse):
    bars = section_of(browse(report), document, "cost of an append").locator(".bar")
    points_of = bars.evaluate_all("all => all.map(one => [one.dataset.row, one.dataset.value])")
    assert points_of == [["ours", "1"], ["get, COUNT, INSERT, UPDATE", "6"]]
    ours, count = (bar.bounding_box()["width"] for bar in bars.all())
    assert count == pytest.approx(6 * ours, rel=0.05)


@needs_chromium
def test_a_row_has_the_same_colour_in_legend_and_charts(report, document, browse):
    section = section_of(browse(report), document, "cost of an append")
    legend = section.locator(".legend li").all()
    assert [one.text_content().strip() for one in legend] == ["ours", "get, COUNT, INSERT, UPDATE"]
    fills = set()
    for one in legend:
        name = one.text_content().strip()
        colours = section.locator(f"[data-row='{name}']").evaluate_all("all => all.map(x => getComputedStyle(x).fill)")
        colours += one.locator("path[fill]:not([fill=none])").evaluate_all(
            "all => all.map(x => getComputedStyle(x).fill)"
        )
        assert len(colours) > 12
        assert len(set(colours)) == 1
        fills |= set(colours)
    assert len(fills) == 2


@needs_chromium
def test_the_tables_show_the_figures(report, document, browse):
    page = browse(report)
    cells = section_of(page, document, "cost of an append").locator("table").first.locator("tbody tr").nth(1)
    shown = [" ".join(text.split()) for text in cells.locator("th, td").all_text_contents()]
    assert shown[:3] == ["get, COUNT, INSERT, UPDATE", "6", "6"]
    assert "13 → 10,003" in shown
    ratios = section_of(page, document, "time of an append").locator("tbody td").all_text_contents()
    assert len(ratios) == 8
    assert all(re.fullmatch(r"\d+\.\d\d ×", ratio) for ratio in ratios)


@needs_chromium
@pytest.mark.parametrize("width", [320, 375])
def test_the_page_does_not_scroll_sideways_on_a_phone(report, browse, width):
    assert_fits(browse(report, width=width), width)


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(document, tmp_path, browse, scheme):
    assert_readable(browse(rewritten(document | {"differs": ["changed: it"]}, tmp_path), scheme=scheme), scheme)


@needs_chromium
def test_scrolling_regions_are_reachable_by_keyboard(report, browse):
    page = browse(report, width=375)
    assert page.locator("[tabindex='0'][role=region][aria-label]").count() == page.locator(".scroll").count() > 0


@needs_chromium
def test_the_header_describes_the_run(report, document, tmp_path, browse):
    header = browse(report).locator("header")
    assert document["server"] in header.text_content()
    assert "Only a part of the benchmarks" in header.text_content()
    assert "sizes of CI" in header.text_content()
    assert header.locator(".alarm").count() == 0
    differs = ["changed: append, ours: round trips was 1 and is 2"]
    page = browse(rewritten(document | {"whole": True, "large": True, "differs": differs}, tmp_path))
    assert page.locator(".alarm li").all_text_contents() == differs
    assert page.locator(".alarm").bounding_box()["y"] < 600
    assert "Only a part of the benchmarks" not in page.locator("header").text_content()
    assert "the full sizes" in page.locator("header").text_content()
    assert "bench --large" in page.locator("footer").text_content()


@needs_chromium
def test_foreign_text_is_escaped(document, tmp_path, browse):
    hostile = "</style><script>document.title = 'taken'</script><img src=x onerror=alert(1)>\" onload=\"x"
    document |= {"server": hostile, "differs": [hostile]}
    for table in document["tables"]:
        table["title"] += hostile
        table["notes"] = [hostile]
        for row in table["rows"]:
            row["name"] += hostile
            row["cells"] = {f"{column}{hostile}": cell for column, cell in row["cells"].items()} | {"x": hostile}
            row["curves"] = {f"{metric}{hostile}": curve for metric, curve in row["curves"].items()}
    page = browse(rewritten(document, tmp_path))
    assert page.errors == []
    assert page.locator("script, img").count() == 0
    assert "taken" not in page.title()


def test_a_single_point_is_shown_only_in_the_table(document, tmp_path):
    table = table_of(document, "time of an append")
    table["rows"].append({"name": "once", "cells": {}, "curves": {"time": {"points": {"1000": 0.25}, "growth": None}}})
    text = rewritten(document, tmp_path).read_text(encoding="utf-8")
    assert '<th scope="row">once</th>' in text
    assert "0.25 ×" in text
    assert 'data-row="once"' not in text


def test_the_last_run_is_shown_by_default(results, report, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_fails(show("--out", "x.html"), ".benchmarks/last.json", "uv run pytest bench")
    (tmp_path / ".benchmarks").mkdir()
    (tmp_path / ".benchmarks/last.json").write_bytes(results.read_bytes())
    assert show("--out", "new/x.html").returncode == 0
    assert (tmp_path / "new/x.html").read_bytes() == report.read_bytes()


def test_no_output_file_is_an_error(results):
    done = show(results)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--out" in done.stderr


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda text: "<xml>", "is not JSON"),
        (lambda text: "[]", "not written by the benchmarks of this release"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format is 2"),
        (lambda text: text.replace('"server": "', '"serve": "'), "server"),
        (lambda text: re.sub(r'"10": [\d.]+', '"10": "many"', text), "many"),
        (lambda text: re.sub(r'"10": [\d.]+', '"10": NaN', text), "nan"),
        (lambda text: re.sub(r'"10": [\d.]+', '"10": -1', text), "-1"),
        (lambda text: re.sub(r'"10": [\d.]+', '"ten": 1', text), "ten"),
    ],
)
def test_other_files_than_results_are_refused(results, tmp_path, change, part):
    (tmp_path / "x.json").write_text(change(results.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(NotResults, match=f"x.json.*{part}"):
        load(tmp_path / "x.json")


def test_invalid_results_are_an_error_that_says_what_to_run(tmp_path):
    (tmp_path / "x.json").write_text("<xml>", encoding="utf-8")
    done = show(tmp_path / "x.json", "--out", tmp_path / "x.html")
    assert_fails(done, "x.json", "not JSON", "uv run pytest bench")
    assert not (tmp_path / "x.html").exists()
    assert_fails(show(tmp_path, "--out", tmp_path / "x.html"), "cannot be read")


def test_a_chart_without_appends_is_an_error(document, tmp_path):
    document["tables"] = [table for table in document["tables"] if table["subject"] != "append"]
    (tmp_path / "x.json").write_text(json.dumps(document), encoding="utf-8")
    done = show(tmp_path / "x.json", "--chart", tmp_path / "x.svg")
    assert_fails(done, "append", "uv run pytest bench")


def points_of(path):
    """Return the points and bars of a chart: row, metric, n and figure."""
    titles = [title.text for title in ET.parse(path).iter("{http://www.w3.org/2000/svg}title")]
    found = [POINT.fullmatch(title) for title in titles]
    assert all(found)
    return [
        (one["row"], one["metric"], one["n"] and int(one["n"].replace(",", "")), int(one["value"].replace(",", "")))
        for one in found
    ]


def test_the_chart_shows_only_machine_independent_figures(results, document, tmp_path):
    path = tmp_path / "append.svg"
    done = show(results, "--chart", path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = table_of(document, "cost of an append")["rows"]
    curves = [
        (row["name"], metric, int(n), value)
        for row in rows
        for metric, curve in row["curves"].items()
        for n, value in curve["points"].items()
    ]
    bars = [(row["name"], "round trips", None, int(row["cells"]["round trips"])) for row in rows]
    assert sorted(points_of(path), key=str) == sorted(curves + bars, key=str)
    assert "time" not in path.read_text(encoding="utf-8")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chart_is_readable_as_an_image(browse, tmp_path, scheme):
    """As an image, without any style from outside."""
    page = browse(CHART, scheme=scheme)
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith("data:")] == [CHART.as_uri()]
    background = page.locator("rect").first
    assert background.evaluate("one => one.getBoundingClientRect().width") >= 780
    colours = page.locator("text").evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
    (fill,) = {background.evaluate("one => getComputedStyle(one).fill")}
    assert {sum(map(int, re.findall(r"\d+", colour))) > 380 for colour in colours} == {scheme == "dark"}
    assert (sum(map(int, re.findall(r"\d+", fill))) < 200) == (scheme == "dark")


def test_the_chart_in_the_docs_agrees_with_the_baseline():
    """Every run is compared with the baseline, so a chart that agrees with it is current."""
    known = dict(re.findall(r"^append, (.+) = (.+)$", (ROOT / "bench/baseline.txt").read_text("utf-8"), re.MULTILINE))
    variants = {name.rpartition(": ")[0] for name in known}
    points = points_of(CHART)
    assert {row for row, *_ in points} == variants
    for variant in variants:
        assert [value for row, metric, _, value in points if (row, metric) == (variant, "round trips")] == [
            int(known[f"{variant}: round trips"])
        ]
        for metric, name in {"buffers": "buffers", "rows read": "rows", "WAL records": "WAL"}.items():
            curve = {n: value for row, of, n, value in points if (row, of) == (variant, metric)}
            grows = known[f"{variant}: {name}"].startswith("O(n)")
            assert (bool(curve) and fit(curve).growth >= Growth.LINEAR) == grows, (variant, metric)


def test_the_chart_in_the_docs_is_small_and_names_no_machine():
    text = CHART.read_text(encoding="utf-8")
    assert len(text) < 50_000
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|file:|/home|/tmp|/work|<image|@import|url\(", text)
    command = "uv run pytest bench && uv run bench/show.py --chart docs/append.svg"
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    section = text.split("## One append, in eight ways")[1].split("\n## ")[0]
    assert "](append.svg)" in section
    assert command in section
