"""The option `--faults`, a time limit for each test, and the table of faults."""

import faulthandler
import signal
import tempfile
from dataclasses import dataclass

import pytest

from faults.cluster import Hanging
from faults.tally import Tally


def pytest_addoption(parser):
    parser.addoption(
        "--faults",
        choices=["short", "full"],
        default="short",
        help="how many faults and races are tried: each kind once or a few times (short), or thousands (full)",
    )


@dataclass(frozen=True)
class Scale:
    """Choose between the figures of the short and the full run."""

    full: bool

    def __call__(self, short, full):
        return full if self.full else short


@pytest.fixture(scope="session")
def scale(request):
    return Scale(request.config.option.faults == "full")


@pytest.fixture(scope="session")
def tally(figure):
    """The table of faults, shown at the end of the run."""
    tally = Tally()

    class Table:
        def __str__(self):
            return f"\n{tally}\n"

    figure("faults", Table())
    return tally


@pytest.fixture
def limit(request, scale):
    """Set a time limit, in seconds; at the limit the test fails with all stacks and the server's activity."""

    def expire(number, frame):
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            stacks = file.read()
        parts = [stacks]
        for name in ("fleet", "cluster"):
            if name in request.fixturenames:
                one = request.getfixturevalue(name)
                parts.append(str(one.state() if name == "fleet" else one.log_tail()))
        raise Hanging("the test's time limit expired\n" + "\n".join(parts))

    previous = signal.signal(signal.SIGALRM, expire)

    def limit(short, full):
        seconds = scale(short, full)
        signal.alarm(seconds)
        request.node.add_marker(pytest.mark.time_limit(seconds + 60))

    yield limit
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
