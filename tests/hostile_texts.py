"""Generate odd and harmful texts and JSON from a seed, and predict which of them PostgreSQL can store."""

import math
import random

FRAGMENTS = [
    *("'", "''", '"', "\\", "\\\\", "\\'", "`", "$$", "$1", "$tag$", ";", "--", "/*", "*/", "#", "%", "%%", "%s"),
    *(":name", "::text", ":1", "?", "{}", "{0}", "${x}", "%(role)s", "&#0;", "<script>", "../../etc/passwd"),
    *("\n", "\r\n", "\t", "\b", "\f", "\v", "\x1b[31m", "\x7f", "\x85", " ", "\xa0", "", "a", "A", "role", "user"),
    *("NULL", "null", "None", "NaN", "infinity", "-0", "1e400", "1e+23", "9" * 5000, "true", "[]", "()"),
    *("\\u0000", "\\x00", "\\000", "%00", "\\\\u0000", "E'\\x27'", "U&'\\0027'", "/* dal:messages.append */"),
    *("' OR '1'='1", "'; DROP TABLE messages; --", "1; SELECT pg_sleep(9)", "') RETURNING *; --"),
    *("' UNION SELECT NULL--", "COPY messages TO PROGRAM 'x'", "\ufeff", "\ufffd", "\ufffe", "\uffff", "\u200b"),
    *("\u200d", "\u202e", "\u2028", "e\u0301", "é", "ß", "İ", "漢", "🦉", "\U0001f468\u200d\U0001f467", "\U0010ffff"),
]
UNSTORABLE = ["\0", "\ud800", "\udfff", "a\0b", "\ud83e\udd89"]


def text(chance: random.Random, longest: int = 255, *, unstorable: float = 0.05) -> str:
    """Return a text; a share of about `unstorable` of them cannot be stored."""
    parts = []
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        kind = chance.random()
        if kind < 0.6:
            parts.append(chance.choice(FRAGMENTS))
        elif kind < 0.9:
            # Any plane; half of them from its first 256 code points.
            plane = chance.randrange(17) << 16
            code = plane + chance.choice((chance.randrange(256), chance.randrange(1 << 16)))
            parts.append(chr(code) if not 0xD800 <= code < 0xE000 and code else "\x01")
        else:
            parts.append(chr(chance.randrange(1, 32)) * chance.choice((1, 2, 7, longest)))
    if chance.random() < unstorable:
        parts.insert(chance.randrange(len(parts) + 1), chance.choice(UNSTORABLE))
    return "".join(parts)[: longest + (chance.random() < unstorable)]


def number(chance: random.Random) -> object:
    """Return a number near a limit: of int8, of double, of whole numbers, of finite numbers."""
    edge = chance.choice((0, 1, 2**31, 2**53, 2**63, 2**64, 10**23, 10**308, 10**400, 10**4299))
    kind = chance.randrange(6)
    if kind == 0:
        return chance.choice((-1, 1)) * (edge + chance.randrange(-2, 3))
    if kind == 1:
        return chance.choice(
            (0.0, -0.0, 0.1, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e16, 1e22, 1e23)
        )
    if kind == 2:
        return math.ldexp(chance.uniform(-1, 1), chance.randrange(-1074, 1024))
    if kind == 3:
        return float(chance.randrange(-(2**70), 2**70))
    if kind == 4:
        return chance.choice((True, False, 1, 0, 1.0, 0.0, None))
    return chance.choice((math.nan, math.inf, -math.inf, 10**4300)) if chance.random() < 0.1 else chance.random()


def json_value(chance: random.Random, depth: int = 0) -> object:
    kind = chance.random()
    if depth > 5 or kind < 0.35:
        return text(chance, 40, unstorable=0.01)
    if kind < 0.7:
        return number(chance)
    if kind < 0.72:
        return nested(chance.choice((3, 50, 98, 99, 100, 101, 150, 2000)) - depth)
    if kind < 0.73:
        return chance.choice(((1, 2), {1: 2}, {1, 2}, b"x", object(), {None: 1}, {True: 1, "true": 2}))
    if kind < 0.85:
        return [json_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return metadata(chance, depth + 1)


def metadata(chance: random.Random, depth: int = 1) -> dict:
    found = {}
    for _ in range(chance.randrange(5)):
        key = text(chance, 20, unstorable=0.01)
        found[key] = json_value(chance, depth)
        if chance.random() < 0.2:  # A key that looks like the other one.
            found[chance.choice((key + " ", key.upper(), key + "\u200b", "\ufeff" + key))] = json_value(chance, depth)
    return found


def nested(levels: int) -> object:
    value: object = []
    for n in range(levels - 1):
        value = {"a": value} if n % 2 else [value]
    return value


def is_text(value: str) -> bool:
    """Return whether PostgreSQL can store it."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value)


def is_identifier(value: str) -> bool:
    return is_text(value) and 1 <= len(value) <= 255


def is_json(value: object, levels: int = 100) -> bool:  # noqa: PLR0911 - one per type
    """Return whether it is JSON that round-trips exactly."""
    match value:
        case None | bool():
            return True
        case str():
            return is_text(value)
        case int():
            return -(10**4300) < value < 10**4300
        case float():
            return math.isfinite(value)
        case list():
            return levels > 0 and all(is_json(one, levels - 1) for one in value)
        case dict():
            keys = all(isinstance(key, str) and is_text(key) for key in value)
            return levels > 0 and keys and all(is_json(one, levels - 1) for one in value.values())
    return False


def same(one: object, other: object) -> bool:
    """Return whether two values, and all values inside, are equal and of the same types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
