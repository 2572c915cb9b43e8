"""The hash by which Citus chooses the shard of a session: PostgreSQL's hashtext.

It is computed here so that a store can group appends by shard without asking the server. A wrong result would do no
harm: a statement would only send more commands to other nodes.
"""

from __future__ import annotations

_BITS = 0xFFFFFFFF

_SEED = 0x9E3779B9 + 3923095

_MIX = ((0, 2, 4), (1, 0, 6), (2, 1, 8), (0, 2, 16), (1, 0, 19), (2, 1, 4))
"""The steps after a block of twelve bytes: the word that changes, the other one, and the bits to rotate that by."""

_FINISH = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))
"""The steps at the end."""


def hash_text(text: str) -> int:
    """Return what hashtext(text) returns in a database with the encoding UTF8 (Bob Jenkins's lookup3, in hashfn.c)."""
    key = text.encode()
    words = [(_SEED + len(key)) & _BITS] * 3
    whole = len(key) - len(key) % 12
    for start in range(0, whole, 12):
        _add(words, key[start : start + 12])
        for one, other, bits in _MIX:
            words[one] = (words[one] - words[other]) & _BITS ^ _rotate(words[other], bits)
            words[other] = (words[other] + words[3 - one - other]) & _BITS
    rest = key[whole:]
    _add(
        words, rest[:8].ljust(8, b"\0") + b"\0" + rest[8:].ljust(3, b"\0")
    )  # Without the lowest byte of the last word.
    for one, other, bits in _FINISH:
        words[one] = ((words[one] ^ words[other]) - _rotate(words[other], bits)) & _BITS
    return words[2] - 2**32 if words[2] >= 2**31 else words[2]


def _add(words: list[int], block: bytes) -> None:
    """Add twelve bytes to the three words."""
    for n in range(3):
        words[n] = (words[n] + int.from_bytes(block[4 * n : 4 * n + 4], "little")) & _BITS


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _BITS
