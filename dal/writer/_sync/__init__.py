# Generated from dal/writer/_async/__init__.py by .ci/async_to_sync.py: change that file, and run it.
"""The synchronous side, generated from the asynchronous one."""
