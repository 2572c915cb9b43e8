import arrivals
import pytest

pytest_plugins = ["time_limit", "servers", "report", "variant_tables", "session_lists"]


def pytest_xdist_auto_num_workers():
    """Run in one process, so that nothing else affects the times."""
    return 0


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.time_limit(900))


@pytest.fixture(autouse=True)
def few_rounds(request, monkeypatch):
    """With --benchmark-disable, repeat nothing more often than its code needs, since the times are not wanted."""
    if request.config.option.benchmark_disable:
        for module in (request.module, arrivals):
            for name in ("ROUNDS", "ALONE_ROUNDS", "OPEN_ROUNDS"):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, 2)
