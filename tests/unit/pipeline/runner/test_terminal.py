"""Strangers' words on a terminal."""

import io

import pytest

from pipeline.runner.terminal import harmless, say


class Terminal(io.TextIOWrapper):
    """A terminal of some encoding, which keeps what it is sent."""

    def isatty(self) -> bool:
        return True

    def sent(self) -> bytes:
        self.seek(0)
        return bytes(self.buffer.read())


def test_escapes_are_seen_and_do_nothing_on_a_terminal() -> None:
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    say("title \x1b]0;owned\x07\x9b2J\rgone \u202egnp.exe", "\ttab, läuft", file=terminal)
    assert terminal.sent().decode() == (
        "title \\x1b]0;owned\\x07\\x9b2J\\rgone \\u202egnp.exe \ttab, läuft\n"
    )


def test_file_or_pipe_gets_the_text_as_it_is() -> None:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding="utf-8")
    say("\x1b[31mred", file=file, flush=True)
    assert buffer.getvalue() == b"\x1b[31mred\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_letter_ends_a_run_whatever_the_encoding(encoding: str) -> None:
    terminal = Terminal(io.BytesIO(), encoding=encoding)
    say("日本語 é \ud800", file=terminal)
    assert terminal.sent().endswith(b"\n")


def test_every_control_character_is_harmless_and_the_rest_is_left_alone() -> None:
    every = "".join(map(chr, range(0x3000)))
    shown = harmless(every)
    assert [
        letter
        for letter in shown
        if not letter.isprintable() and ord(letter) in (*range(32), *range(127, 160))
    ] == ["\t", "\n"]
    assert harmless("Ünï-çødé 日本 👩\u200d💻") == "Ünï-çødé 日本 👩\u200d💻"
