"""Call a function at a chosen step: a point where the interpreter might run a signal handler."""

import sys
from dis import opmap

LIBRARY = ("/dal/", "/psycopg/", "/psycopg_pool/", "/contextlib.py")


class CallAtStep:
    """A profile function for sys.setprofile that calls a handler at the `at`-th step of the library.

    A step is the beginning or the return of a function, but not the yield of a generator.
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
