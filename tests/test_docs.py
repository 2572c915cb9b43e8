"""What the README shows is what happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

import dal

ROOT = Path(__file__).parent.parent
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES[ROOT / "README.md"]
EXAMPLES = {
    path.name: examples
    for path, text in PAGES.items()
    if (examples := re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
}


@pytest.fixture
def here(server, schema, tables):
    """Let an example run on the test's server, in its schema."""

    def here(code):
        code = code.replace('"postgresql://localhost/app"', repr(server.conninfo)).replace('"agents"', repr(schema))
        return code.replace("search_path=agents", f"search_path={schema}")

    return here


@pytest.fixture
def run(here):
    """Run the examples of a page one after another."""

    def run(page):
        names = {"dal": dal}
        try:
            for example in EXAMPLES[page]:
                exec(compile(here(example), page, "exec"), names)
        finally:
            if "store" in names:
                names["store"].close()

    return run


def test_the_examples_of_the_readme_work_one_after_another(run, server, schema, capsys):
    run("README.md")
    said = capsys.readouterr().out
    assert "it is archived, which is final" in said
    assert said.endswith("0 x\n1 y\n")
    with psycopg.connect(server.conninfo) as connection:
        stored = connection.execute(f"SELECT session_id FROM {schema}.sessions").fetchall()
    assert ("telegram:4711",) in stored
    assert len(EXAMPLES["README.md"]) >= 5


@pytest.mark.parametrize("page", EXAMPLES.keys() - {"README.md"})
def test_the_examples_of_the_other_pages_work(run, page):
    run(page)


def test_the_tests_that_are_shown_pass(here, tmp_path):
    text = PAGES[ROOT / "docs/measuring.md"]
    shown = dict(re.findall(r"^```python title=(\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert set(shown) == {"conftest.py", "test_costs.py"}
    for name, code in shown.items():
        (tmp_path / name).write_text(here(code), encoding="utf-8")
    settings = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    (tmp_path / "pytest.ini").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_every_verb_is_in_the_table_of_operations():
    table = README.split("### The operations")[1].split("###")[0]
    verbs = [name for kind in (dal.Session, dal.SessionStore) for name in vars(kind) if not name.startswith("_")]
    verbs = {
        name for name in verbs if callable(getattr(dal.Session, name, None) or getattr(dal.SessionStore, name, None))
    }
    assert [name for name in sorted(verbs) if f"{name}(" not in table] == [
        "apply_schema",
        "check_schema",
        "close",
        "connect",
        "using",
    ]


def test_every_error_is_in_the_table_of_errors():
    table = README.split("### When something is wrong")[1]
    errors = [
        name
        for name in dal.__all__
        if isinstance(value := getattr(dal, name), type) and issubclass(value, dal.DalError)
    ]
    assert [name for name in errors if f"`{name}`" not in table] == ["DalError"]


LINKS = sorted({(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?://)([^)]+)", PAGES[page])})


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name} {link}" for page, link in LINKS])
def test_every_link_leads_somewhere(page, link):
    path, _, heading = link.partition("#")
    there = (page.parent / path).resolve() if path else page
    assert there.exists()
    headings = re.findall(r"^#+ (.*)$", PAGES.get(there, ""), re.MULTILINE)
    assert not heading or heading in {re.sub(r"[^\w-]", "", one.lower().replace(" ", "-")) for one in headings}
