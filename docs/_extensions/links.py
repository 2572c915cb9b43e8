"""Adjustments of the Markdown, so that it reads well both on GitHub and on the site."""

import re
import zlib
from pathlib import Path

from sphinx.application import Sphinx

_FILE = re.compile(r"\]\(((?:\.\./)+)([\w./-]+)(#[\w-]+)?\)")
_TITLED = re.compile(r"^```(\w+) title=(\S+)$", re.MULTILINE)


def to_repository(text: str, repository: str) -> str:
    """Point relative links that leave docs/ at the repository, since the site does not contain those files."""
    return _FILE.sub(lambda found: f"]({repository}/blob/main/{found[2]}{found[3] or ''})", text)


def captioned(text: str) -> str:
    """Turn the title of a code block into its caption."""
    return _TITLED.sub(r"```{code-block} \1\n:caption: \2\n", text)


def _adjust(app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = captioned(to_repository(source[0], app.config.repository))


def _write_inventories(app: Sphinx) -> None:
    """Write an inventory for each project in external.txt, in the format that intersphinx reads."""
    text = (Path(app.srcdir) / "external.txt").read_text(encoding="utf-8")
    for block in text.split("\n\n"):
        name, *lines = block.strip().splitlines()
        head = f"# Sphinx inventory version 2\n# Project: {name}\n# Version: \n# The rest is compressed with zlib.\n"
        path = Path(app.srcdir) / f"_build/{name}.inv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(head.encode() + zlib.compress("\n".join(f"{line} -" for line in lines).encode() + b"\n"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the adjustments."""
    app.add_config_value("repository", "", "env")
    app.connect("source-read", _adjust)
    app.connect("builder-inited", _write_inventories, priority=100)  # Before intersphinx reads them.
    return {"parallel_read_safe": True}
