"""Summarise the skipped tests: one line for each reason."""

from collections import Counter


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("skipped")
        for reason, number in Counter(map(_reason, skipped)).most_common():
            terminalreporter.write_line(f"{number:>5}  {reason}")


def _reason(report):
    _file, _line, reason = report.longrepr
    return reason.removeprefix("Skipped: ")
