"""Show the last run of the benchmarks as a page, or draw what an append costs as a chart.

    uv run bench/show.py --out bench.html
    uv run bench/show.py --chart docs/append.svg

The page is one file: no script, and nothing is loaded from elsewhere. Times are ratios within the run. The chart shows
only figures that are the same on any machine.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from page import NotMeasured, append_chart, page
from results import NotResults, load

LAST = Path(".benchmarks/last.json")
"""`uv run pytest bench` writes its results here."""

NO_RUN = 2
"""The exit status if there is no run to show."""


def main() -> int:
    """Write the files that the options name."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=LAST, help="the results of a run (default: the last)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write a page in HTML")
    parser.add_argument("--chart", metavar="FILE", type=Path, help="draw the cost of an append as SVG")
    given = parser.parse_args()
    if given.out is None and given.chart is None:
        parser.error("give --out FILE for the page, --chart FILE for the chart, or both")
    try:
        run = load(given.results)
        written = {path: write(run) for path, write in ((given.out, page), (given.chart, append_chart)) if path}
    except (NotResults, NotMeasured) as error:
        print(f"bench/show.py: {error}; run `uv run pytest bench` first", file=sys.stderr)
        return NO_RUN
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {len(run.tables)} tables, measured on {run.server}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
