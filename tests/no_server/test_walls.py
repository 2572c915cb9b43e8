"""The walls between the parts of the package: each part imports only what it is allowed to."""

import ast
import json
import subprocess
import sys

import pytest
from paths import ROOT

GATE = "dal.gate"

MAY_USE_THE_GATE = {
    "dal.cli": "the command line joins the library's commands and the gate's",
    "dal.demo": "the demo counts round trips and rows as the gate does",
}
"""The packages outside the gate that may import it, each with the reason."""


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


def violation(module, used):
    """Explain in a sentence why a module may not import another; None if it may."""
    if is_in(module, GATE) and not is_in(used, GATE):
        return f"{module} imports {used}, but the gate imports only itself, so that it can become its own distribution"
    if not is_in(module, GATE) and is_in(used, GATE) and not any(is_in(module, one) for one in MAY_USE_THE_GATE):
        return f"{module} imports {used}, but a service must not load the gate; only {', '.join(MAY_USE_THE_GATE)} may"
    return None


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
            "a service must not load the gate; only dal.cli",
        ),
        ("dal/_async/store.py", "from dal import gate", "a service must not load the gate"),
    ],
)
def test_a_violation_is_explained_in_one_sentence(path, text, message):
    (line,) = violations(ROOT / path, text)
    assert message in line


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
