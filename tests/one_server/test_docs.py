"""The README and the documentation: examples run, links resolve, and tables are complete."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest
from paths import ROOT

import dal
from dal import validate
from dal.gate.header.grammar import LINES

DOCS = ROOT / "docs"
TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
SITE = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
PAGES = {path: path.read_text(encoding="utf-8") for path in (*TOP, *SITE)}
README = PAGES[ROOT / "README.md"]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
EXAMPLES = {
    str(path.relative_to(ROOT)): examples
    for path, text in PAGES.items()
    if (examples := re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
}


def titled_blocks(page):
    """Return the files that a page shows, by name."""
    return dict(re.findall(r"^```python title=(\S+)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL))


@pytest.fixture
def adapt(server, schema, tables):
    """Adapt an example to the test's server and schema."""

    def adapt(code):
        for address in ('"postgresql://localhost/app"', '"postgresql://standby/app"'):
            code = code.replace(address, repr(server.conninfo))
        code = code.replace('"agents"', repr(schema))
        return code.replace("search_path=agents", f"search_path={schema}")

    return adapt


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_of_a_page_run_in_order(adapt, page):
    names, stores = {"dal": dal}, []
    try:
        for example in EXAMPLES[page]:
            # Addresses that the example does not connect to are not changed.
            exec(compile(adapt(example), page, "exec"), names)
            stores += [value for value in names.values() if isinstance(value, dal.SessionStore)]
    finally:
        for store in stores:
            store.close()


def test_most_pages_have_examples():
    assert len(EXAMPLES) >= 9


@pytest.mark.slow
def test_the_tests_in_the_documentation_pass(adapt, tmp_path):
    files = titled_blocks(DOCS / "measuring.md")
    assert set(files) == {"conftest.py", "test_costs.py"}
    for name, code in files.items():
        (tmp_path / name).write_text(adapt(code), encoding="utf-8")
    settings = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    (tmp_path / "pytest.ini").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


@contextmanager
def run_service(folder, environment):
    """Run service.py with uvicorn; yield a function that sends a request to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=folder, env=environment) as program:

        def send(path, user, body=None):
            data = None if body is None else json.dumps(body).encode()
            headers = {"X-User": user, "Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
            with urllib.request.urlopen(request, timeout=20) as reply:
                return json.load(reply)

        try:
            deadline = time.monotonic() + 60
            while True:
                assert program.poll() is None, "the service has exited"
                assert time.monotonic() < deadline, "the service does not answer"
                try:
                    send("/openapi.json", "nobody")
                    break
                except urllib.error.URLError:
                    time.sleep(0.1)
            yield send
        finally:
            program.terminate()
            assert program.wait(timeout=20) in {0, -15}


@pytest.mark.slow
def test_the_service_of_the_quickstart_runs(adapt, server, tmp_path):
    (tmp_path / "service.py").write_text(adapt(titled_blocks(DOCS / "quickstart.md")["service.py"]), encoding="utf-8")
    environment = {**os.environ, "DATABASE_URL": server.conninfo, "PYTHONPATH": str(ROOT)}
    with run_service(tmp_path, environment) as send:
        assert send("/chats/first", "ada", {"text": "hello"})["sequence"] == 1
        second = send("/chats/first", "ada", {"text": "and now?"})
        assert second == {"sequence": 3, "text": "You said 'and now?'. There were 2 messages before."}
        assert [one["sequence"] for one in send("/chats/first", "ada")] == [0, 1, 2, 3]
        assert send("/chats/first", "bob") == []
        assert send("/chats", "ada") == {"chats": ["first"], "cursor": None}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            send("/chats/first", "bob", {"text": "hello"})


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_every_method_is_in_the_table_of_operations():
    table = README.split("### The operations")[1].split("##")[0]
    names = [name for kind in (dal.Session, dal.SessionStore) for name in vars(kind) if not name.startswith("_")]
    names = {
        name for name in names if callable(getattr(dal.Session, name, None) or getattr(dal.SessionStore, name, None))
    }
    assert [name for name in sorted(names) if f"{name}(" not in table] == [
        "apply_schema",
        "check_schema",
        "close",
        "connect",
        "using",
    ]


def test_every_error_is_in_the_table_of_errors():
    table = PAGES[DOCS / "guides/errors.md"].split("## The errors")[1].split("```")[0]
    errors = [
        name
        for name in dal.__all__
        if isinstance(value := getattr(dal, name), type) and issubclass(value, dal.DalError)
    ]
    assert [name for name in errors if f"| `{name}` |" not in table] == ["DalError"]


def test_every_public_name_is_in_the_reference():
    reference = PAGES[DOCS / "api.md"] + PAGES[DOCS / "api-async.md"]
    assert [name for name in dal.__all__ if not re.search(rf":: dal\.{name}$", reference, re.MULTILINE)] == []


def test_the_documented_limits_match_the_code():
    table = PAGES[DOCS / "limits.md"].split("## What")[0]
    together = validate.MAX_TOGETHER // 2**20
    for limit in (
        f"{validate.MAX_ID_LENGTH} characters",
        f"{validate.MAX_CONTENT // 2**20} MiB of UTF-8",
        f"{validate.MAX_METADATA // 2**20} MiB as JSON, {validate.MAX_DEPTH} levels, {validate.MAX_DIGITS:,} digits",
        f"{validate.MAX_MANY:,} messages, {together} MiB",
        f"{validate.MAX_MANY:,} ids",
        f"up to {validate.MAX_WAITING:,}",
    ):
        assert limit in table


def test_each_form_of_a_header_line_is_explained():
    explained = PAGES[DOCS / "headers.md"].split("## What they mean")[1].split("## Grammar")[0]
    for form in (form for line in LINES.values() if line.is_required for form in line.forms):
        if form.text == "none":
            continue
        fixed = re.sub(r"<[\w ]+>|\[[^\]]*\]", "\0", form.text).split("\0")
        assert re.search(".*?".join(map(re.escape, fixed)), explained), form.text


# Links

PLACES = {URLS["Source"]: "repository", URLS["Documentation"]: "site"}


def links_of(text):
    """Return the targets of a page's links and images."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[\w-]+\]: (\S+)$", text, re.MULTILINE)


LINKS = sorted({(page, link) for page, text in PAGES.items() for link in links_of(text)})
LOCAL = [(page, link) for page, link in LINKS if not link.startswith("http")]
OURS = sorted(
    {link for _, link in LINKS if "session-dal/session-dal" in link or link.startswith(URLS["Documentation"])}
)


@pytest.mark.parametrize(("page", "link"), LOCAL, ids=[f"{page.relative_to(ROOT)} {link}" for page, link in LOCAL])
def test_every_relative_link_resolves(page, link):
    path, _, heading = link.partition("#")
    there = (page.parent / path).resolve() if path else page
    assert there.exists()
    headings = re.findall(r"^#+ (.*)$", PAGES.get(there, ""), re.MULTILINE)
    assert not heading or heading in {re.sub(r"[^\w-]", "", one.lower().replace(" ", "-")) for one in headings}


@pytest.mark.parametrize("link", OURS)
def test_every_absolute_link_to_this_project_resolves(link):
    """PyPI needs absolute links. The same file must exist in this checkout."""
    if link.startswith(URLS["Documentation"]):
        page = link.removeprefix(URLS["Documentation"]).removeprefix("/en/latest/").partition("#")[0]
        assert (DOCS / page).with_suffix(".md").exists()
    else:
        path = re.sub(r"^https://(raw\.githubusercontent|github)\.com/session-dal/session-dal", "", link)
        path = re.sub(r"^/((blob|tree)/)?main/|^/(issues|security).*", "", path)
        assert (ROOT / path).exists()


INVENTED = {
    "tests/gate_fixtures.py",
    "queries/messages/earliest.sql",
    "dal/cli/name.py",
    "dal/schema/migrations/0009_name.sql",
    "dal/schema/migrations/finish/0009.sql",
}
"""File names that are only examples, in the gate's page and in CONTRIBUTING."""


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_file_named_in_a_page_exists(page):
    named = set(
        re.findall(r"(?<![\w/.-])(?:tests|bench|dal|queries|docs|\.ci)/[\w/.-]+\.(?:py|sql|md|txt|svg)", PAGES[page])
    )
    assert {name for name in named - INVENTED if not (ROOT / name).exists()} == set()


def test_the_readme_has_only_absolute_links():
    assert [link for link in links_of(README) if not link.startswith("https://")] == []


# The site


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Build the site, with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", folder / "trees"]
    done = subprocess.run([*command, DOCS, folder / "html"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


class _Anchors(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links = set(), set()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        if tag == "img":
            self.links.add(given["src"])


@pytest.mark.slow
def test_every_link_of_the_built_site_resolves(site):
    pages = {}
    for path in site.rglob("*.html"):
        pages[path] = _Anchors()
        pages[path].feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"\w+:", target):
                continue
            there = (path.parent / target).resolve() if target else path
            if not there.exists() or (anchor and there in pages and anchor not in pages[there].ids):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


@pytest.mark.slow
def test_the_command_line_is_complete_in_the_reference(site):
    text = re.sub(r"<[^>]+>", "", (site / "cli.html").read_text(encoding="utf-8"))
    for command in ("demo", "queries", "check", "review", "export", "import", "schema apply", "schema upgrade"):
        assert f"dal {command}" in text


@pytest.mark.slow
def test_every_column_is_documented(site):
    text = re.sub(r"<[^>]+>", "", (site / "schema.html").read_text(encoding="utf-8"))
    for line in (ROOT / "dal/schema/tables.tsv").read_text(encoding="utf-8").splitlines():
        name = line.split("\t")[2]
        assert line.split("\t")[1] == "parameter" or name in text, name


@pytest.mark.slow
def test_no_page_names_this_machine(site):
    for path in site.rglob("*.html"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path.name
