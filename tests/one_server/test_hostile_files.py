"""Broken and malicious files: each is refused with one line, in bounded time and memory."""

import gzip
import json
import os
import re
import subprocess
import sys
from io import StringIO
from itertools import pairwise

import program
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import dal
from dal.gate.cli import output
from dal.histories import lines, parse
from dal.histories.lines import Lines

ESCAPE = "\x1b[31m\x1b]0;title\x07\x9b2J\u202e"
LINE_WITH = '{"message": {"session_id": "s", "role": "u", "content": "x"%s}}'
LINE = (LINE_WITH % "").encode()


def read(pieces):
    """Return the parsed lines of an import."""
    checked = Lines(None, None)
    found = [line for piece in pieces for line in checked.feed(piece)]
    return found + list(checked.end())


REFUSED = {
    "a million blank lines": ([b"\n"] * 1_000_000, "line 65537: more than 65536 bytes of blank lines in a row"),
    "blank lines at once": ([b"\n" * 1_000_000], "line 65537: more than 65536 bytes of blank lines in a row"),
    "blank lines in between": ([LINE, b" \r\n" * 100_000], "line 21847: more than"),
    "an endless line": ([b"x" * 2**20] * 200, f"line 1: is longer than {lines.MAX_LINE} bytes"),
    "a long line in one piece": (
        [b"x" * (lines.MAX_LINE + 1) + b"\n"],
        f"line 1: is longer than {lines.MAX_LINE} bytes",
    ),
    "a key twice": ([LINE_WITH % ', "content": "y"'], "line 1: content: occurs twice in one object"),
    "a key twice in metadata": ([LINE_WITH % ', "metadata": {"n": [{"a": 1, "a": 1}]}'], "line 1: a: occurs twice"),
    "two messages in one object": (['{"message": {}, "message": {}}'], "line 1: message: occurs twice"),
    "many keys": (["{" + '"a": 1, ' * 100_000 + '"b": 1}'], "line 1: a: occurs twice"),
    "values that take more memory": ([b'{"message": [' + b"[]," * 2_200_000 + b"0]}"], "line 1: has more than 4194304"),
    "deep lists": ([b'{"message": ' + b"[" * 1_000_000], "line 1: is not JSON: it is nested too deeply"),
    "UTF-16": (
        ["\n".join([LINE_WITH % ""] * 2).encode("utf-16")],
        "line 1: is not JSON: it holds NUL bytes; .* as UTF-8",
    ),
    "UTF-16 without a mark": ([(LINE_WITH % "").encode("utf-16-be")], "line 1: is not JSON: it holds NUL bytes"),
    "NUL bytes": ([LINE, b"\n\0\0\0\0"], "line 2: is not JSON: it holds NUL bytes"),
    "Latin-1": ([b'{"message": "\xe9"}'], "line 1: is not JSON: it is not UTF-8 at byte 14"),
    "CR alone": ([LINE + b"\r" + LINE + b"\r"], "line 1: is not JSON: its lines end with CR alone"),
    "gzip": ([gzip.compress(LINE)], "line 1: is not JSON: it is compressed"),
    "bzip2, xz and zstd": ([b"BZh91AY&SY\n"], "line 1: is not JSON: it is compressed"),
    "two on one line": ([LINE + LINE], f"line 1: is not JSON: Extra data, at character {len(LINE) + 1}"),
    "a long name": (['{"message": {"%s": 1}}' % ("x" * 10**6)], r"line 1: x{40}…: is not a field of a message"),
    "a name with escapes": ([json.dumps({"message": {ESCAPE: 1}})], r"line 1: '\\x1b\[31m.*': is not a field"),
    "a long status": (['{"session": {"session_id": "s", "status": "%s"}}' % ("x" * 10**6)], "line 1: status: is 'xxx"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_file_is_refused_with_one_short_line(name):
    pieces, message = REFUSED[name]
    with pytest.raises(dal.InvalidInput, match=f"^{message}") as refused:
        read(pieces)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 250


def test_a_line_in_small_chunks_is_parsed_once(monkeypatch):
    """Each chunk could be the end of a line without a line break."""
    parsed, decode = [], parse._decode
    monkeypatch.setattr(parse, "_decode", lambda text: parsed.append(len(text)) or decode(text))
    content = "{}" * 20_000
    line = (LINE_WITH % f', "agent_id": "a", "metadata": {{"text": "{content}"}}').encode()
    (found,) = read(line[n : n + 2] for n in range(0, len(line), 2))
    assert json.loads(found.fields["metadata"]) == {"text": content}
    assert sum(parsed) <= 2 * len(line)


ODD_FILE = b"\xef\xbb\xbf" + b"".join([
    LINE, b"\n\n \t\r\n", (LINE_WITH % ', "metadata": {"a": "}{"}').encode(), b"\r\n", LINE,
    b"\n\xef\xbb\xbf", (LINE_WITH % ', "sequence": 9').encode(), b"\n", LINE, b" \n\n", LINE,
])  # fmt: skip
MESSAGES = read([ODD_FILE])


def test_byte_order_marks_and_blank_lines_are_ignored():
    assert [line.number for line in MESSAGES] == [1, 4, 5, 6, 7, 9]
    assert [line.fields["sequence"] for line in MESSAGES] == [None, None, None, 9, None, None]
    assert read([b"\xef\xbb\xbf"]) == read([b"\xef\xbb\xbf\n", b"\n" * (lines.MAX_BLANK - 1)]) == []


@given(st.sets(st.integers(1, len(ODD_FILE) - 1)))
def test_lines_do_not_depend_on_the_chunks(cuts):
    """Including the ids derived for messages without one."""
    positions = [0, *sorted(cuts), len(ODD_FILE)]
    assert read(ODD_FILE[start:end] for start, end in pairwise(positions)) == MESSAGES


def test_derived_ids_do_not_depend_on_the_chunks():
    whole = read([ODD_FILE])
    assert len({line.fields["message_id"] for line in whole}) == 6
    assert read(ODD_FILE.replace(b"}\n", b"}|\n").replace(b"}\r", b"}|\r").split(b"|")) == whole


# The command line


@pytest.fixture
def imported(server, schema, tables):
    """Import a file, or bytes as one, in this process."""
    return lambda *given: program.call("import", *given, "--dsn", server.conninfo, "--schema", schema)


def corrupt(data):
    """Return the data with eight corrupted bytes."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 8]) + data[middle + 8 :]


def compressed_files():
    noise = b"\n".join((LINE_WITH % f', "message_id": "{os.urandom(16).hex()}"').encode() for _ in range(2000))
    yield ".gz", gzip.compress(noise)
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - not before

        yield ".zst", zstd.compress(noise)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_broken_compressed_file_is_an_error(imported, tmp_path, suffix):
    path = tmp_path / f"all.jsonl{suffix}"
    packed = dict(compressed_files()).get(suffix)
    if packed is None:
        path.write_bytes(b"")
        program.assert_fails(imported(path), "Python 3.14")
        return
    for broken in (packed[:-20], packed[: len(packed) // 2], corrupt(packed), b"no such file", LINE, packed[:4]):
        path.write_bytes(broken)
        program.assert_fails(imported(path), f"cannot read {path}: ")
    path.write_bytes(packed)
    assert imported(path).returncode == 0


def test_a_directory_or_a_missing_file_is_an_error(imported, tmp_path):
    program.assert_fails(imported(tmp_path), "cannot read", "Is a directory")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    program.assert_fails(imported(loop), "cannot read", "symbolic links")
    program.assert_fails(
        imported(tmp_path / f"{ESCAPE}[bold]x"), r"\x1b[31m\x1b]0;title\x07\x9b2J\u202e[bold]x: No such"
    )


@pytest.mark.parametrize(("command", "closed"), [("import", "<&-"), ("export", ">&-")])
def test_a_closed_standard_stream_is_an_error(server, schema, tables, command, closed):
    line = f'"{sys.executable}" -m dal.cli {command} --dsn "$DSN" --schema {schema} {closed}'
    done = subprocess.run(
        line, shell=True, env={**os.environ, "DSN": server.conninfo}, capture_output=True, text=True, check=False
    )
    program.assert_fails(done, "is closed")


def test_names_from_a_file_are_escaped(imported, sync_store, tmp_path):
    sync_store.session(ESCAPE).append("user", "x")
    sync_store.session(ESCAPE).archive()
    path = tmp_path / "all.jsonl"
    path.write_text(json.dumps({"message": {"session_id": ESCAPE, "role": "u", "content": "x"}}), encoding="utf-8")
    done = imported(path)
    assert done.returncode == 1
    assert r"Refused session '\x1b[31m" in done.stderr
    path.write_text(
        (LINE_WITH % ', "message_id": "\\u001b[31m"') + "\n" + (LINE_WITH % ', "message_id": "\\u001b[31m"')
    )
    done = imported(path)
    program.assert_fails(done, r"message_id twice", r"(s, \x1b[31m)")


def test_a_zip_bomb_is_refused_with_little_memory(server, schema, tables, tmp_path):
    path = tmp_path / "endless.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * 2**20) * 1024)
    script = (
        "import re; from pathlib import Path; from dal.cli.app import app\n"
        "try: app()\n"
        "finally: print(re.search('VmHWM: *(.*) kB', Path('/proc/self/status').read_text())[1])"
    )
    done = program.run("import", path, "--dsn", server.conninfo, "--schema", schema, script=script)
    assert "line 1: is longer than" in done.stderr
    assert int(done.stdout) < 450 * 1024, "for a file of 1 GiB"


OUTPUTS = {
    "text": lambda console: console.print(ESCAPE),
    "markup": lambda console: console.print(f"[bold]x[/bold] [link=http://x]y[/link] :smile: [/] {ESCAPE}"),
    "styled": lambda console: console.print(Text(ESCAPE, style="red")),
    "table": lambda console: console.print(table_of(ESCAPE)),
    "progress": lambda console: progress_of(console, ESCAPE),
}


def table_of(text):
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    return table


def progress_of(console, text):
    with Progress(console=console) as progress:
        progress.add_task(text)


@pytest.mark.parametrize("writer", OUTPUTS)
def test_control_characters_are_escaped_on_the_terminal(writer, monkeypatch):
    shown = StringIO()
    console = output._console(stderr=True)
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr(console, "_file", shown)
    console.width = 1000
    OUTPUTS[writer](console)
    own = re.compile(r"\x1b\[[0-9;?]*[mKAlh]|\r")  # Colours and cursor movements of our own.
    message = own.sub("", shown.getvalue().replace("\x1b[31m\x1b]", "not escaped"))
    assert r"\x1b[31m\x1b]0" in message
    assert all(char.isprintable() or char == "\n" for char in message)
    if writer == "markup":
        assert "[bold]x[/bold] [link=http://x]y[/link] :smile: [/]" in message
