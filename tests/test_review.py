"""The review pages, made of what `dal check` measures and opened in a browser."""

import copy
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from playwright.sync_api import sync_playwright

from dal.files import QUERIES
from dal.review.pages import write
from dal.review.plans import fold

NAMES = ("messages.append", "messages.latest", "sessions.delete_idle")

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no {CHROMIUM}: apt-get install chromium")

DIM_TEXT = r"""
// Every text whose contrast with what is behind it is less than asked, by the formula of WCAG 2.
least => {
  const parts = colour => (colour.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const dim = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.localName === "title") continue;
    const style = getComputedStyle(element);
    const colour = parts(element instanceof SVGElement ? style.fill : style.color);
    const [low, high] = [luminance(colour), luminance(behind(element))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least) dim.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 80)}`);
  }
  return [...new Set(dim)];
}
"""


def run(*arguments, script=None):
    program = ["-m", "dal.cli"] if script is None else ["-c", script]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def checked(server, tmp_path_factory) -> Path:
    """What dal check has measured, as JSON."""
    path = tmp_path_factory.mktemp("checked") / "check.json"
    done = run("check", *NAMES, "--dsn", server.conninfo, "--also", f"json={path}")
    assert done.returncode in {0, 1}, done.stderr
    return path


@pytest.fixture(scope="module")
def measured(checked) -> dict:
    return json.loads(checked.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(checked, tmp_path_factory) -> Path:
    """The pages."""
    folder = tmp_path_factory.mktemp("review")
    done = run("review", "--from", checked, "--out", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(folder / "index.html") in done.stdout
    return folder


@pytest.fixture
def document(measured) -> dict:
    """What was measured, to be changed."""
    return copy.deepcopy(measured)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium):
    """Open pages; gives each, with all that went wrong and all that was asked for on the way."""
    contexts = []

    def browse(path, *, width=1280, scheme="light"):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.wrong, page.asked = [], []
        page.on("console", lambda message: page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("requestfailed", lambda request: page.wrong.append(request.url))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield browse
    for context in contexts:
        context.close()


def pages_of(folder):
    return sorted(folder.rglob("*.html"))


def page_of(folder, name):
    return folder / "queries" / f"{name}.html"


def verdict_of(query, promise):
    return next(verdict for verdict in query["verdicts"] if verdict["promised"].startswith(promise))


def test_there_is_a_page_for_each_query_and_one_with_all(folder):
    assert {path.relative_to(folder).as_posix() for path in pages_of(folder)} == {
        "index.html",
        "schema.html",
        *(f"queries/{name}.html" for name in NAMES),
    }


@needs_chromium
def test_the_pages_open_without_an_error_and_ask_for_nothing_else(folder, browse):
    for path in pages_of(folder):
        page = browse(path)
        assert page.wrong == []
        assert [url for url in page.asked if not url.startswith("data:")] == [path.as_uri()]
        assert page.locator("script, link[rel=stylesheet], img, iframe").count() == 0
        assert page.locator("h1").count() == 1


@needs_chromium
def test_every_link_leads_somewhere(folder, browse):
    ids, links = {}, []
    for path in pages_of(folder):
        page = browse(path)
        found = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
        assert len(found) == len(set(found)), f"an id stands twice in {path.name}"
        ids[path.as_uri()] = set(found)
        links += page.eval_on_selector_all("a", "all => all.map(one => one.href)")
    for link in links:
        target, fragment = urldefrag(link)
        assert target in ids, link
        assert not fragment or unquote(fragment) in ids[target], link
    reached = {urldefrag(link)[0] for link in links}
    assert reached == ids.keys()


@needs_chromium
@pytest.mark.parametrize("name", NAMES)
def test_a_chart_has_a_point_for_each_size_that_was_measured(folder, measured, browse, name):
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
def test_the_points_stand_where_their_figures_are(folder, browse):
    """Further right for a larger size, higher for a larger figure, and inside the picture."""
    figures = browse(page_of(folder, "messages.latest")).locator("figure")
    for number in range(figures.count()):
        frame = figures.nth(number).locator("svg").bounding_box()
        points = [
            (float(point.get_attribute("data-value")), point.bounding_box())
            for point in figures.nth(number).locator(".point").all()
        ]
        for (value, box), (following, next_box) in pairwise(points):
            assert next_box["x"] > box["x"] + 20
            assert (following > value) == (next_box["y"] < box["y"] - 0.01)
        for _, box in points:
            assert frame["x"] <= box["x"] <= box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
            assert frame["y"] <= box["y"] <= box["y"] + box["height"] <= frame["y"] + frame["height"]


@needs_chromium
def test_held_snapshots_are_drawn_apart(folder, measured, browse):
    page = browse(page_of(folder, "messages.append"))
    held = [bound for bound in measured["queries"][0]["bounds"] if bound["held_snapshot"]]
    assert page.locator("figure", has_text="held snapshot").count() == len(held) > 0


@needs_chromium
@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_scrolls_no_page_sideways(folder, browse, width):
    for path in pages_of(folder):
        page = browse(path, width=width)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        beside = page.locator("main :is(p, h1, h2, h3, summary, figure, figcaption, svg[role])").evaluate_all(
            "(all, width) => all.filter(one => one.getBoundingClientRect().right > width).map(one => one.textContent)",
            width,
        )
        assert beside == []


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(document, tmp_path, browse, scheme):
    broken(document)
    write(document | {"base": base_of(document)}, tmp_path)
    backgrounds = set()
    for path in pages_of(tmp_path):
        page = browse(path, scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate(DIM_TEXT, 4.5) == [], path.name
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 1
    assert (sum(map(int, re.findall(r"\d+", backgrounds.pop()))) < 200) == (scheme == "dark")


@needs_chromium
def test_the_statement_is_the_file_with_its_comments(folder, browse):
    page = browse(page_of(folder, "messages.append"))
    text = (QUERIES / "messages/append.sql").read_text(encoding="utf-8")
    assert page.locator("pre.sql").text_content() == text.rstrip()
    colours = page.locator("pre.sql span[class]").evaluate_all("all => all.map(one => getComputedStyle(one).color)")
    assert len(set(colours)) > 4


@needs_chromium
def test_a_promise_leads_to_its_line(folder, browse):
    page = browse(page_of(folder, "messages.append"))
    page.locator("tr", has_text="1 row of sessions locked").locator("a").click()
    assert "Locks:" in page.locator("pre.sql span:target").text_content()


@needs_chromium
def test_the_keyboard_reaches_what_scrolls(folder, browse):
    page = browse(folder / "index.html", width=375)
    assert page.locator("[tabindex='0'][role=region][aria-label]").count() == page.locator(".scroll").count() > 0


def broken(document):
    """Break a growth and a plan of messages.append."""
    query = document["queries"][0]
    verdict_of(query, "buffers O(log n)").update(kept=False, measured="O(n): many")
    verdict_of(query, "never Seq Scan").update(kept=False, measured="generic plan")
    sizes = query["plans"][next(iter(query["plans"]))]
    sizes[list(sizes)[-1]]["generic"] = {"Node Type": "Seq Scan", "Relation Name": "messages", "Plan Rows": 7}


def base_of(document):
    """A base in which one query was another, one was not there, and one more was."""
    changed, same, _ = document["queries"]
    before = {"line": 1, "source": changed["source"].replace("SELECT", "select"), "promises": ["2 round trips"]}
    return {
        "revision": "main",
        "commit": "0123456789ab",
        "queries": {changed["name"]: before, same["name"]: same},
        "removed": {"messages.gone": same},
    }


@needs_chromium
def test_a_broken_promise_is_seen_at_once(document, tmp_path, browse):
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
def test_text_of_others_stays_text(document, tmp_path, browse):
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
        assert page.wrong == []
        assert page.locator("script, img").count() == 0
        assert "taken" not in page.title()


def test_the_same_measurements_give_the_same_pages(folder, checked, tmp_path):
    run("review", "--from", checked, "--out", tmp_path)
    assert [path.read_bytes() for path in pages_of(tmp_path)] == [path.read_bytes() for path in pages_of(folder)]


def test_a_page_whose_query_is_gone_is_removed_and_nothing_else(document, tmp_path):
    write(document, tmp_path)
    (tmp_path / "queries/mine.html").write_text("<p>mine</p>", encoding="utf-8")
    document["queries"].pop()
    write(document, tmp_path)
    left = {path.stem for path in (tmp_path / "queries").iterdir()}
    assert left == {"messages.append", "messages.latest", "mine"}


def node(kind, *plans, rows=1, **more):
    return {"Node Type": kind, "Plan Rows": rows, "Plans": list(plans), **more}


def test_equal_plans_stand_once_with_all_their_estimates():
    def scan(rows):
        return node("Limit", node("Index Scan", rows=rows, **{"Index Name": "i", "Relation Name": "t"}), rows=rows)

    seq = node("Seq Scan", **{"Relation Name": "t"})
    sizes = {
        "16": {"custom": seq, "generic": scan(1)},
        "64": {"custom": scan(20), "generic": scan(1)},
        "256": {"custom": scan(20), "generic": scan(1)},
    }
    first, second = fold(sizes, [])
    assert (first.where, first.reads) == ("custom at 16", "Seq Scan t")
    assert (second.where, second.columns) == ("generic; custom at 64 to 256", ("generic", "custom at 64 to 256"))
    assert [(node.depth, node.kind, node.index, node.rows) for node in second.nodes] == [
        (0, "Limit", "", ("1", "20")),
        (1, "Index Scan", "i", ("1", "20")),
    ]


@pytest.fixture
def repository(tmp_path):
    """A git repository with two revisions of query files: one changed, one added, one removed since the first."""
    queries = tmp_path / "repository" / "sql"

    def git(*arguments):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        subprocess.run(["git", "-C", queries.parent, *who, *arguments], check=True, capture_output=True)

    (queries / "messages").mkdir(parents=True)
    append, latest = ((QUERIES / f"messages/{name}.sql").read_text(encoding="utf-8") for name in ("append", "latest"))
    (queries / "messages/append.sql").write_text(
        append.replace("Never: Seq Scan; Sort", "Never: Seq Scan").replace("FROM prior;", "FROM prior; -- old"), "utf-8"
    )
    (queries / "messages/gone.sql").write_text(latest.replace("name: latest", "name: gone"), "utf-8")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "before")
    (queries / "messages/append.sql").write_text(append, "utf-8")
    (queries / "messages/latest.sql").write_text(latest, "utf-8")
    (queries / "messages/gone.sql").unlink()
    return queries


@needs_chromium
def test_a_base_shows_what_changed(repository, checked, tmp_path, browse):
    out = tmp_path / "out"
    done = run("review", "--from", checked, "--out", out, "--queries", repository, "--base", "before")
    assert (done.returncode, done.stderr) == (0, "")
    index = browse(out / "index.html")
    assert index.wrong == []
    since = index.locator("section", has=index.locator("#changes"))
    assert [one.strip() for one in since.locator("li").all_text_contents()] == [
        "messages.append changed; 1 promised, 0 no longer",
        "messages.latest added",
        "sessions.delete_idle added",
        "messages.gone removed",
    ]
    assert "-- name: gone" in since.locator("details pre").text_content()
    page = browse(page_of(out, "messages.append"))
    change = page.locator("section", has=page.locator("#change"))
    assert change.locator("li").all_text_contents() == ["never Sort"]
    assert change.locator("del").all_text_contents() == ["- -- Never: Seq Scan", "- FROM prior; -- old"]
    assert change.locator("ins").all_text_contents() == ["+ -- Never: Seq Scan; Sort", "+ FROM prior;"]


@needs_chromium
def test_a_base_that_is_the_same_shows_no_change(repository, checked, tmp_path, browse):
    out = tmp_path / "out"
    subprocess.run(["git", "-C", repository, "add", "."], check=True)
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", repository, *identity, "commit", "-qm", "second"], check=True)
    run("review", "--from", checked, "--out", out, "--queries", repository, "--base", "HEAD")
    assert "has not changed" in browse(page_of(out, "messages.append")).locator("main").text_content()
    assert browse(out / "index.html").locator("li", has_text="messages.").all_text_contents() == []


def is_refused(done, *parts):
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"dal: [^\n]+\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize("revision", ["nonsense", "--output=x"])
def test_an_unknown_revision_is_told(repository, checked, tmp_path, revision):
    done = run("review", "--from", checked, "--out", tmp_path, "--queries", repository, "--base", revision)
    is_refused(done, "--base", revision)


def test_queries_outside_of_git_have_no_base(checked, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "sql").mkdir()
    done = run("review", "--from", checked, "--out", tmp_path, "--queries", tmp_path / "sql", "--base", "HEAD")
    is_refused(done, "--base", "not a git repository")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("<xml>", "is no JSON"),
        ("[]", "dal check"),
        ('{"server": "", "summary": "", "schema": "", "queries": [{"name": "../x"}]}', "is no query's name"),
    ],
)
def test_another_file_than_the_check_writes_is_refused(tmp_path, text, part):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    is_refused(run("review", "--from", tmp_path / "x.json", "--out", tmp_path / "out"), "--from", part)
    assert not (tmp_path / "out").exists()


def test_what_was_measured_is_not_measured_again(checked, server, tmp_path):
    is_refused(run("review", "--from", checked, "--dsn", server.conninfo, "--out", tmp_path), "--from")


def test_it_measures_by_itself(server, tmp_path):
    queries = tmp_path / "sql"
    queries.mkdir()
    text = (QUERIES / "schema/version.sql").read_text(encoding="utf-8")
    (queries / "schema").mkdir()
    (queries / "schema/version.sql").write_text(text, encoding="utf-8")
    done = run("review", "--queries", queries, "--dsn", server.conninfo, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert page_of(tmp_path / "out", "schema.version").exists()


@pytest.mark.parametrize("package", ["jinja2", "vl_convert"])
def test_without_its_packages_it_says_what_to_install(checked, tmp_path, package):
    script = f"import sys; sys.modules[{package!r}] = None; import dal.cli; dal.cli.main()"
    is_refused(run("review", "--from", checked, "--out", tmp_path, script=script), "session-dal[review]")
