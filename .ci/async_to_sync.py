"""Generate dal/_sync from dal/_async, or with --check tell whether it is current.

uv run .ci/async_to_sync.py [--check]
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE, TARGET = ROOT / "dal/_async", ROOT / "dal/_sync"

BY_HAND = {"pieces.py", "scopes.py", "writer.py"}
"""Modules whose two sides differ in how they work."""

# In this order; each applies to code and to the words of docstrings alike.
RULES = [
    (r"\basynchronous\b", "synchronous"),
    (r"\bThe synchronous side, and the source of.*", 'The synchronous side, generated from the asynchronous one."""'),
    (r"\bfrom asyncio import sleep\b", "from time import sleep"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\basync_queries\b", "queries"),
    (r"\b_async\b", "_sync"),
    (r"\bpool_async\b", "pool"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\baclosing\b", "closing"),
    (r"\banext\b", "next"),
    (r"\baclose\b", "close"),
    (r"\bAsyncGenerator\[(\w+)\]", r"Generator[\1, None, None]"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"Async(?=[A-Z])", ""),
]


def generate(source: Path) -> str:
    """Return the synchronous twin of a module, formatted."""
    text = source.read_text(encoding="utf-8")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    text = f"# Generated from dal/_async/{source.name} by .ci/async_to_sync.py: change that file, and run it.\n{text}"
    name = str(TARGET / source.name)
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        text = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", name, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


def main() -> int:
    """Write every module of the target, or compare it."""
    check = "--check" in sys.argv[1:]
    wanted = {path.name: generate(path) for path in sorted(SOURCE.glob("*.py*")) if path.name not in BY_HAND}
    stale = [path for path in TARGET.glob("*.py*") if path.name not in wanted.keys() | BY_HAND]
    for name, text in wanted.items():
        path = TARGET / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        print(f"not current: {names}; run `uv run .ci/async_to_sync.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
