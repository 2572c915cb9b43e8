"""The places where the interpreter might find that a signal has come, and call its handler."""

import sys
from dis import opmap

LIBRARY = ("/dal/", "/psycopg/", "/psycopg_pool/", "/contextlib.py")


class AtStep:
    """Calls a handler at the `at`-th of them, if sys.setprofile has it.

    That is where a function begins, and where one has returned; a generator that yields has not.
    """

    def __init__(self, at, handler):
        self._left, self._handler = at, handler

    def __call__(self, frame, event, argument):
        yields = event == "return" and frame.f_code.co_code[frame.f_lasti] == opmap["YIELD_VALUE"]
        if event != "c_call" and not yields and any(part in frame.f_code.co_filename for part in LIBRARY):
            self._left -= 1
            if self._left == 0:
                sys.setprofile(None)
                self._handler()
