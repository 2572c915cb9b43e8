import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from paths import ROOT, TESTS

if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    # Otherwise every process of pytest-xdist and every started program would compile hundreds of modules again.
    os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache/compiled")

pytest_plugins = ["time_limit", "skips", "servers", "old_tables", "browser", "reviewed", "faults.plugin"]

# CI uses the profile "short"; choose another by --hypothesis-profile=thorough or brief.
settings.register_profile(
    # Without shrinking, which takes longer than a test may: a failure is shown at once.
    "short", max_examples=150, stateful_step_count=50, deadline=None, database=None, print_blob=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
settings.register_profile(
    "thorough", settings.get_profile("short"), max_examples=2000, stateful_step_count=100, phases=Phase
)
settings.register_profile("brief", settings.get_profile("short"), max_examples=50)
settings.load_profile("short")


SLOW = (
    "faults/",
    "container/",
    "browser/test_bench_report.py",
    "one_server/test_canaries.py",
    "one_server/test_history.py",
    "one_server/test_hostile_texts.py",
    "one_server/test_model.py",
    "one_server/test_package.py",
    "several_servers/test_standby.py",
)
"""Folders and files whose tests are all slow."""

LONGEST = (
    "several_servers/test_through_pgbouncer.py",
    "browser/test_review.py",
    "one_server/test_histories.py",
    "one_server/test_endings.py",
    "one_server/test_callers_pool.py",
    "one_server/test_owner.py",
    "one_server/test_grants.py",
    "one_server/test_check.py",
    "several_servers/test_lazy.py",
    "several_servers/test_secrets.py",
    "several_servers/test_serve.py",
    "several_servers/test_demo.py",
)
"""The files that take longest. They are run first, so that at the end no process is alone with one of them."""


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too, as parts of the suite do")


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest_collection_modifyitems chooses the order.
    config.addinivalue_line("markers", "slow: takes many seconds, so the whole suite runs it with --slow only")
    config.addinivalue_line("markers", "full: thousands of races, in minutes, so it runs with --faults=full only")
    if hasattr(config, "workerinput"):
        config.option.slow = config.workerinput["slow"]
    elif not _is_whole(config):
        config.option.slow = True


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Pass the choice on to a process of pytest-xdist, which cannot know what was chosen."""
    node.workerinput["slow"] = node.config.option.slow


def pytest_xdist_auto_num_workers(config):
    """Run the whole suite in three processes per two cores, each with its own server; run a part of it in this process.

    A process of the tests is idle for a quarter of its time: it waits for timeouts, locks and processes that end.
    """
    return max(2, os.cpu_count() * 3 // 2) if _is_whole(config) else 0


def pytest_report_header(config):
    if not _is_whole(config):
        return None
    if config.option.slow:
        return "with the slow tests, this takes about 15 minutes on two idle cores"
    return "this takes about 7 minutes on two idle cores; the slow tests run with --slow"


def pytest_itemcollected(item):
    if _place(item).startswith(SLOW):
        item.add_marker("slow")


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        ranks = {place: rank for rank, place in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(_place(item), len(ranks)))
    for name, wanted in (("slow", config.option.slow), ("full", config.option.faults == "full")):
        if not wanted:
            config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(name)])
            items[:] = [item for item in items if not item.get_closest_marker(name)]


def _place(item):
    return item.path.relative_to(TESTS).as_posix()


def _is_whole(config):
    chosen = config.option.keyword or config.option.markexpr
    return config.args_source == pytest.Config.ArgsSource.TESTPATHS and not chosen
