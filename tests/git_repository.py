"""Git repositories for tests."""

import subprocess

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")


def git(folder, *arguments):
    subprocess.run(["git", "-C", folder, *IDENTITY, *arguments], check=True, capture_output=True)


def commit(folder):
    git(folder, "add", ".")
    git(folder, "commit", "-m", "a commit")


def status(folder):
    """Return the files that differ from the index or the last commit, as git lists them."""
    done = subprocess.run(["git", "-C", folder, "status", "--porcelain"], check=True, capture_output=True, text=True)
    return done.stdout
