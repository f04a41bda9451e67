"""Prompts from a file: one a line, or JSON Lines."""

import json
import sys
from typing import Literal

from pipeline.runner import storage


def read_prompts(address: str, layout: Literal["auto", "lines", "jsonl"]) -> list[str]:
    """Return the prompts of a file, or of standard input where the address is `-`.

    Lines without a prompt (nothing but white space) do not count.

    Raises:
        ValueError: there is none, or a line is not what it should be; the message names it.
    """
    name = "standard input" if address == "-" else address
    if layout == "auto":
        layout = "jsonl" if address.endswith((".jsonl", ".json")) else "lines"
    prompts = []
    for number, line in enumerate(_read(address).removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}, line {number}: it is not UTF-8 ({error.reason})") from error
        if text.strip():
            prompts.append(_field(text, f"{name}, line {number}") if layout == "jsonl" else text)
    if not prompts:
        raise ValueError(f"{name} holds no prompt")
    return prompts


def _read(address: str) -> bytes:
    if address == "-":
        return sys.stdin.buffer.read()
    with storage.open_read(address) as file:
        return file.read()


def _field(text: str, where: str) -> str:
    """Return the prompt of a line of JSON."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: it is no JSON: {error}") from error
    prompt = content.get("prompt") if isinstance(content, dict) else None
    if not isinstance(prompt, str):
        raise ValueError(f'{where}: it is no JSON object with a string "prompt"')
    return prompt
