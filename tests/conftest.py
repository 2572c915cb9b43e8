import os

import pytest
from hypothesis import HealthCheck, settings
from paths import ROOT, TESTS

if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    # Otherwise every process of pytest-xdist and every started program would compile hundreds of modules again.
    os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache/compiled")

pytest_plugins = ["time_limit", "skips", "servers", "old_tables", "browser", "reviewed", "faults.plugin"]

# CI uses the profile "short"; choose another by --hypothesis-profile=thorough or brief.
settings.register_profile(
    "short", max_examples=150, stateful_step_count=50, deadline=None, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
settings.register_profile("thorough", settings.get_profile("short"), max_examples=2000, stateful_step_count=100)
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


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too, as parts of the suite do")


def pytest_configure(config):
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
    """Run the whole suite on every core, each with its own server; run a part of it in this process."""
    return os.cpu_count() if _is_whole(config) else 0


def pytest_report_header(config):
    if not _is_whole(config):
        return None
    if config.option.slow:
        return "with the slow tests, this takes about 15 minutes on two idle cores"
    return "this takes about 9 minutes on two idle cores; the slow tests run with --slow"


def pytest_itemcollected(item):
    if item.path.relative_to(TESTS).as_posix().startswith(SLOW):
        item.add_marker("slow")


def pytest_collection_modifyitems(config, items):
    for name, wanted in (("slow", config.option.slow), ("full", config.option.faults == "full")):
        if not wanted:
            config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(name)])
            items[:] = [item for item in items if not item.get_closest_marker(name)]


def _is_whole(config):
    chosen = config.option.keyword or config.option.markexpr
    return config.args_source == pytest.Config.ArgsSource.TESTPATHS and not chosen
