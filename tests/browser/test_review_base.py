"""Review pages that compare with another revision of the query files."""

import pytest
from browser import needs_chromium
from git_repository import commit, git
from program import assert_fails, run
from reviewed import page_of

from dal.sql import QUERIES


@pytest.fixture
def repository(tmp_path):
    """A git repository with two revisions of query files: one changed, one added, one removed since the first."""
    queries = tmp_path / "repository" / "sql"
    (queries / "messages").mkdir(parents=True)
    append, latest = ((QUERIES / f"messages/{name}.sql").read_text(encoding="utf-8") for name in ("append", "latest"))
    (queries / "messages/append.sql").write_text(
        append.replace("Never: Seq Scan; Sort", "Never: Seq Scan").replace("FROM stored\n", "FROM stored -- old\n"),
        "utf-8",
    )
    (queries / "messages/gone.sql").write_text(latest.replace("name: latest", "name: gone"), "utf-8")
    git(queries.parent, "init")
    commit(queries.parent)
    git(queries.parent, "tag", "before")
    (queries / "messages/append.sql").write_text(append, "utf-8")
    (queries / "messages/latest.sql").write_text(latest, "utf-8")
    (queries / "messages/gone.sql").unlink()
    return queries


@needs_chromium
def test_a_base_shows_the_changes(repository, checked, tmp_path, browse):
    out = tmp_path / "out"
    done = run("review", "--from", checked, "--out", out, "--queries", repository, "--base", "before")
    assert (done.returncode, done.stderr) == (0, "")
    index = browse(out / "index.html")
    assert index.errors == []
    since = index.locator("section", has=index.locator("#changes"))
    assert [one.strip() for one in since.locator("li").all_text_contents()] == [
        "messages.append changed; promises: 1 added, 0 removed; no figures at before",
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
def test_an_equal_base_shows_no_change(repository, checked, tmp_path, browse):
    out = tmp_path / "out"
    commit(repository.parent)
    run("review", "--from", checked, "--out", out, "--queries", repository, "--base", "HEAD")
    assert "No change in the file" in browse(page_of(out, "messages.append")).locator("main").text_content()
    assert browse(out / "index.html").locator("li", has_text="messages.").all_text_contents() == []


@pytest.mark.parametrize("revision", ["nonsense", "--output=x"])
def test_an_unknown_revision_is_an_error(repository, checked, tmp_path, revision):
    done = run("review", "--from", checked, "--out", tmp_path, "--queries", repository, "--base", revision)
    assert_fails(done, "--base", revision)


def test_a_base_outside_of_git_is_an_error(checked, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "sql").mkdir()
    done = run("review", "--from", checked, "--out", tmp_path, "--queries", tmp_path / "sql", "--base", "HEAD")
    assert_fails(done, "--base", "not a git repository")
