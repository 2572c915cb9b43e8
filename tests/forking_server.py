"""A server that runs command lines in forked processes. It has imported the packages, which is most of a start's time.

Each line of stdin is a request. The replies are the child's process id, and then its exit status. Modules that read
the environment or the standard streams when they are imported are imported again in each child.
"""

import gc
import json
import os
import runpy
import sys

from typer.testing import CliRunner

from dal.cli.app import app

USED_ONCE = (("check", "--help"), ("queries", "none"))
"""Command lines to run once at the start, since typer and the commands import some modules only when they run."""
IMPORTED_AGAIN = ("dal.__main__", "dal.cli", "dal.demo", "dal.gate")


def fork_at_each_request():
    """Fork a child for each request. Return the module to run in a child, but None in the server at the end."""
    requests, replies = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in iter(requests.readline, ""):
        process = os.fork()
        if not process:
            requests.close()
            replies.close()
            return become(**json.loads(line))
        print(process, file=replies, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), file=replies, flush=True)
    return None


def become(module, arguments, environment, folder, outputs):
    """Change this process into one that looks newly started to run this module."""
    for descriptor, path in enumerate((os.devnull, *outputs)):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv[1:] = arguments
    return module


for command in USED_ONCE:
    CliRunner().invoke(app, command)
for name in [name for name in sys.modules if f"{name}.".startswith(tuple(f"{one}." for one in IMPORTED_AGAIN))]:
    del sys.modules[name]
gc.freeze()
wanted = fork_at_each_request()
if wanted is not None:
    runpy.run_module(wanted, run_name="__main__", alter_sys=True)
