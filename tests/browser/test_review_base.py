"""The review pages beside another revision of the query files."""

import html
import json
import re
import subprocess

import pytest
from browser import needs_chromium
from program import assert_fails, run
from reviewed import NAMES, page_of

from dal.sql import QUERIES


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
        append.replace("Never: Seq Scan; Sort", "Never: Seq Scan").replace("FROM stored\n", "FROM stored -- old\n"),
        "utf-8",
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
    assert index.errors == []
    since = index.locator("section", has=index.locator("#changes"))
    assert [one.strip() for one in since.locator("li").all_text_contents()] == [
        "messages.append changed; promises: 1 added, 0 removed",
        "messages.latest added",
        "sessions.delete_idle added",
        "messages.gone removed",
    ]
    assert "-- name: gone" in since.locator("details pre").text_content()
    page = browse(page_of(out, "messages.append"))
    change = page.locator("section", has=page.locator("#change"))
    assert change.locator("li").all_text_contents() == ["never Sort"]
    assert change.locator("del").all_text_contents() == ["- -- Never: Seq Scan", "- FROM stored -- old"]
    assert change.locator("ins").all_text_contents() == ["+ -- Never: Seq Scan; Sort", "+ FROM stored"]


@needs_chromium
def test_a_base_that_is_the_same_shows_no_change(repository, checked, tmp_path, browse):
    out = tmp_path / "out"
    subprocess.run(["git", "-C", repository, "add", "."], check=True)
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", repository, *identity, "commit", "-qm", "second"], check=True)
    run("review", "--from", checked, "--out", out, "--queries", repository, "--base", "HEAD")
    assert "No change in the file" in browse(page_of(out, "messages.append")).locator("main").text_content()
    assert browse(out / "index.html").locator("li", has_text="messages.").all_text_contents() == []


@pytest.mark.parametrize("revision", ["nonsense", "--output=x"])
def test_an_unknown_revision_is_told(repository, checked, tmp_path, revision):
    done = run("review", "--from", checked, "--out", tmp_path, "--queries", repository, "--base", revision)
    assert_fails(done, "--base", revision)


def test_queries_outside_of_git_have_no_base(checked, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "sql").mkdir()
    done = run("review", "--from", checked, "--out", tmp_path, "--queries", tmp_path / "sql", "--base", "HEAD")
    assert_fails(done, "--base", "not a git repository")


def test_an_earlier_measurement_shows_figures_before_and_after(checked, tmp_path):
    document = json.loads(checked.read_text(encoding="utf-8"))
    append, _, gone = document["queries"]
    axis, sizes = next(iter(append["curves"].items()))
    now = sizes[max(sizes, key=int)]["buffers"]
    sizes[max(sizes, key=int)]["buffers"] = 98_765
    document["queries"].remove(gone)
    (tmp_path / "before.json").write_text(json.dumps(document), encoding="utf-8")
    done = run("review", "--from", checked, "--out", tmp_path, "--before", tmp_path / "before.json")
    assert (done.returncode, done.stderr) == (0, "")
    changed, same, missing = (page_of(tmp_path, name).read_text(encoding="utf-8") for name in NAMES)
    row = re.search(r'<tr><th scope="row">Buffers</th>.*?98,765.*?</tr>', changed, re.DOTALL)[0]
    assert f">{now:,}<" in row
    assert axis in html.unescape(row)
    assert "No figure has changed." in same
    assert "The earlier measurement does not have this query." in missing
