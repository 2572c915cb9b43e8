"""The exit statuses of all commands; a signal ends one with 128 + its number."""

NEGATIVE = 1
"""The command worked, and the answer is no: for example, a promise is broken."""

FAILED = 2
"""An error, such as a wrong option or a server that does not answer; or a promise that was not measured."""

READER_GONE = 128 + 13
"""The reader of the output closed it, as `head` does. A shell reports SIGPIPE this way."""
