"""Generate each folder `_sync` in dal/ from its sibling `_async`; --check compares them.

uv run .ci/async_to_sync.py [--check]
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

HAND_WRITTEN = {"chunks.py", "parallel.py", "scopes.py", "workers.py"}
"""Modules whose two sides work differently."""

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
    (r"\benter_async_context\b", "enter_context"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\baclosing\b", "closing"),
    (r"\banext\b", "next"),
    (r"\baclose\b", "close"),
    (r"\bAsyncGenerator\[(\w+)\]", r"Generator[\1, None, None]"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"Async(?=[A-Z])", ""),
]


def generate(source: Path, target: Path) -> str:
    """Return the synchronous twin of a module, formatted."""
    text = source.read_text(encoding="utf-8")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    name = source.relative_to(ROOT).as_posix()
    text = f"# Generated from {name} by .ci/async_to_sync.py: change that file, and run it.\n{text}"
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        text = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(target), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


def update(source: Path, *, check: bool) -> list[Path]:
    """Write the twin of every module of a folder, or with `check` only compare; return those that were not current."""
    folder = source.with_name("_sync")
    modules = [path for path in sorted(source.glob("*.py*")) if path.name not in HAND_WRITTEN]
    stale = [path for path in folder.glob("*.py*") if path.name not in HAND_WRITTEN | {one.name for one in modules}]
    for module in modules:
        path = folder / module.name
        text = generate(module, path)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    return stale


def main() -> int:
    """Write every twin, or compare it."""
    check = "--check" in sys.argv[1:]
    stale = [path for source in sorted(ROOT.glob("dal/**/_async")) for path in update(source, check=check)]
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        print(f"not current: {names}; run `uv run .ci/async_to_sync.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
