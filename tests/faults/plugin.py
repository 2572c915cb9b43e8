"""How much is injected, by `--faults`; a limit for each test; the table."""

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
        help="how many faults tests/faults injects: each kind once or a few times (short), or thousands (full)",
    )


@dataclass(frozen=True)
class Scale:
    """How often something is done, in the short form and in the full one."""

    full: bool

    def __call__(self, short, full):
        return full if self.full else short


@pytest.fixture(scope="session")
def scale(request):
    return Scale(request.config.option.faults == "full")


@pytest.fixture(scope="session")
def tally(figure):
    """The table, which the end of the run shows."""
    tally = Tally()

    class Shown:
        def __str__(self):
            return f"\n{tally}\n"

    figure("faults", Shown())
    return tally


@pytest.fixture
def limit(request, scale):
    """Call it with seconds: a test that takes longer fails, and tells where each thread was and what the server did."""

    def expire(number, frame):
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            stacks = file.read()
        told = [stacks]
        for name in ("crew", "cluster"):
            if name in request.fixturenames:
                one = request.getfixturevalue(name)
                told.append(str(one.state() if name == "crew" else one.log_tail()))
        raise Hanging("the test's own limit has come\n" + "\n".join(told))

    before = signal.signal(signal.SIGALRM, expire)

    def limit(short, full):
        seconds = scale(short, full)
        signal.alarm(seconds)
        request.node.add_marker(pytest.mark.time_limit(seconds + 60))

    yield limit
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
