"""Prompts from a file: one per line, or JSON Lines."""

import sys
from typing import Literal

from pipeline.runner import storage
from pipeline.runner.json_text import parse_json


def read_prompts(address: str, layout: Literal["auto", "lines", "jsonl"]) -> list[str]:
    """Return the prompts of a file, or of standard input where the address is `-`.

    Empty lines are ignored.

    Raises:
        ValueError: there is no prompt, or a line is invalid; the message names it.
    """
    name = "standard input" if address == "-" else address
    if layout == "auto":
        layout = "jsonl" if address.endswith((".jsonl", ".json")) else "lines"
    prompts = []
    for number, line in enumerate(_read(address).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}, line {number}: not UTF-8 ({error.reason})") from error
        if text.strip():
            prompts.append(_field(text, f"{name}, line {number}") if layout == "jsonl" else text)
    if not prompts:
        raise ValueError(f"{name} has no prompts")
    return prompts


def _read(address: str) -> bytes:
    if address == "-":
        return sys.stdin.buffer.read()
    with storage.open_read(address) as file:
        return file.read()


def _field(text: str, where: str) -> str:
    """Return the prompt of a line of JSON."""
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
    prompt = content.get("prompt") if isinstance(content, dict) else None
    if not isinstance(prompt, str):
        raise ValueError(f'{where}: not a JSON object with a string "prompt"')
    return prompt
