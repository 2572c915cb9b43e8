"""The walls between the parts of the package: each part imports only what it is allowed to."""

import ast
import json
import re
import subprocess
import sys

import pytest
from paths import ROOT

GATE = "dal.gate"

WALLS = {
    GATE: "the gate imports only itself, to become its own distribution one day, and a service must not load the gate",
    "dal.writer": "the writer only batches appends, and only a store makes one",
    "dal.histories": "whole histories are read and stored by a store's export and import alone",
    "dal.schema": "the schema's upkeep needs no store, and the core uses only its check",
}
"""The parts that have walls, each with the reason."""

ALLOWED = {
    ("dal.cli", GATE): "the command line has the gate's commands, too",
    ("dal.demo", GATE): "the demo counts round trips and rows as the gate does",
    ("dal.writer", "dal.appends"): "a batch is made of appends",
    ("dal.writer", "dal.errors"): "each caller gets an error of its own",
    ("dal.writer", "dal.retries"): "a batch is retried as a single append is",
    ("dal.writer", "dal._async.appending"): "a writer replaces the sender of appends of a store",
    ("dal.writer", "dal._async.per_scope"): "each process and event loop has a queue of its own",
    ("dal.writer", "dal._async.runner"): "the runner sends the statements",
    ("dal.writer", "dal._async.sources"): "a busy writer keeps its connection",
    ("dal._async.store", "dal.writer"): "store.writer() makes one",
    ("dal.histories", "dal.errors"): "an error names the line",
    ("dal.histories", "dal.driver_errors"): "an import repeats a message that is sent twice, and shows no content",
    ("dal.histories", "dal.observe"): "the hook is called for each transaction of an import",
    ("dal.histories", "dal.records"): "an import checks the status of a session, and returns a record",
    ("dal.histories", "dal.rows"): "an export reads rows",
    ("dal.histories", "dal.sql.loader"): "an export sends its query files in a pipeline",
    ("dal.histories", "dal.validate"): "a field of a file is checked as an argument is",
    ("dal.histories", "dal._async.connection"): "an import sets the deadline of each transaction",
    ("dal.histories", "dal._async.queries"): "an export sends query files",
    ("dal.histories", "dal._async.runner"): "the runner lends the connection",
    ("dal._async.store", "dal.histories"): "store.export() and store.import_()",
    ("dal._async.session", "dal.histories.pages"): "a stream has the page size of an export",
    ("dal.schema", "dal.errors"): "a mismatch is an error of the library",
    ("dal.schema", "dal.driver_errors"): "a refused migration is an error of the library",
    ("dal.schema", "dal.rows"): "the facts about tables are rows",
    ("dal.schema", "dal.retries"): "a migration is retried after random pauses, as an operation is",
    ("dal.schema", "dal._async.queries"): "a migration reads the version with a query file",
    ("dal._async", "dal.schema.check"): "a connection is checked before its first statement",
    ("dal._async.schema", "dal.schema.distributed"): "apply_schema distributes the tables",
    ("dal._async.schema", "dal.schema.drift"): "apply_schema looks whether they are distributed already",
    ("dal.schema", "dal.sql"): "the files of the distributed layout are beside the query files' folder",
    ("dal.cli", "dal.schema"): "`dal schema`",
    ("dal.demo", "dal.schema.check"): "the demo refuses old servers, as a store does",
}
"""Every import across a wall, from one part to another, and the reason. A row for `_async` is also for `_sync`."""


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(text):
    """Yield each module of dal imported by a source text, with its line; `from dal import x` may import dal.x."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, module) for module in modules if is_in(module, "dal"))


def is_in(module, package):
    return module == package or module.startswith(f"{package}.")


def permits(row, module, used):
    """Return whether a row of ALLOWED permits this import; both sides, `_async` and `_sync`, have the same rows."""
    return all(is_in(name.replace("._sync", "._async"), part) for name, part in zip((module, used), row, strict=True))


def violation(module, used):
    """Explain in a sentence why a module may not import another; None if it may."""
    crossed = [reason for part, reason in WALLS.items() if is_in(module, part) != is_in(used, part)]
    if not crossed or any(permits(row, module, used) for row in ALLOWED):
        return None
    return f"{module} imports {used}, but {crossed[0]}: move the code, or add a row with its reason to ALLOWED"


def violations(path, text):
    module = name_of(path)
    for line, used in imported(text):
        if reason := violation(module, used):
            yield f"{path.relative_to(ROOT)}:{line}: {reason}"


def test_no_module_imports_across_a_wall():
    files = [path for path in (ROOT / "dal").rglob("*.py*") if path.suffix in {".py", ".pyi"}]
    assert len(files) > 100
    broken = [line for path in sorted(files) for line in violations(path, path.read_text(encoding="utf-8"))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("dal/gate/wire.py", "from dal.errors import DalError", "the gate imports only itself"),
        ("dal/gate/wire.py", "from dal import errors", "the gate imports only itself"),
        ("dal/gate/wire.py", "def f():\n    import dal", "dal/gate/wire.py:2: dal.gate.wire imports dal, but"),
        (
            "dal/sql/loader.py",
            "import dal.gate.header.parse",
            "a service must not load the gate",
        ),
        ("dal/_async/store.py", "from dal import gate", "a service must not load the gate"),
        ("dal/writer/queue.py", "from dal.schema.check import VERSION", "the writer only batches appends"),
        ("dal/_sync/session.py", "from dal.writer.queue import Queue", "only a store makes one"),
        ("dal/histories/_sync/imports.py", "from dal._sync.store import SessionStore", "a store's export and import"),
        ("dal/_async/runner.py", "from dal.schema import migrations", "the core uses only its check"),
        ("dal/schema/drift.py", "import dal", "the schema's upkeep needs no store"),
    ],
)
def test_a_violation_is_explained_in_one_sentence(path, text, message):
    (line,) = violations(ROOT / path, text)
    assert message in line


def test_every_row_permits_an_import():
    """A row that no import needs any more is a gap in a wall."""
    imports = [
        (name_of(path), used)
        for path in (ROOT / "dal").rglob("*.py")
        for _, used in imported(path.read_text(encoding="utf-8"))
    ]
    assert [row for row in ALLOWED if not any(permits(row, *one) for one in imports)] == []


def test_allowed_imports_are_no_violation():
    assert not list(violations(ROOT / "dal/cli/app.py", "from dal.gate.cli import check\nfrom dal import errors"))
    assert not list(violations(ROOT / "dal/gate/wire.py", "import datetime\nfrom dal.gate import errors"))


LOADED = """
import json, sys, dal.gate.asserts, dal.gate.pytest_plugin, dal.gate.cli.check, dal.gate.cli.review
print(json.dumps(sorted(sys.modules)))
"""


def test_the_gate_loads_no_pool_no_ulid_and_no_other_part_of_the_library():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "dal.gate.measure.gate" in loaded
    assert [name for name in loaded if name.startswith(("psycopg_pool", "ulid"))] == []
    assert {name for name in loaded if is_in(name, "dal") and not is_in(name, GATE)} <= {"dal"}


def mapped(heading):
    """Return the modules in a table of CONTRIBUTING's map, in its order, by number of the row."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition(heading)[2].split("\n\n")[1]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return {name: number for number, row in enumerate(rows) for name in re.findall(r"`(\w+)\.py`", row)}


def loaded_from(text, package):
    """Yield the modules of a package that a source text imports when it is loaded, and not only for types."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module == package:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and is_in(node.module, package):
            yield node.module.removeprefix(f"{package}.").partition(".")[0]


@pytest.mark.parametrize(
    ("folder", "heading"), [("dal", "The core, in `dal/`."), ("dal/_async", "The async side, in `dal/_async/`.")]
)
def test_a_module_imports_only_those_above_it_in_the_map(folder, heading):
    rows = mapped(heading)
    assert rows.keys() == {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__", "__main__"}, (
        "CONTRIBUTING.md"
    )
    for module, row in rows.items():
        text = (ROOT / folder / f"{module}.py").read_text(encoding="utf-8")
        for used in loaded_from(text, folder.replace("/", ".")):
            assert rows.get(used, -1) <= row, f"{folder}/{module}.py imports {used}, which CONTRIBUTING.md has below it"
