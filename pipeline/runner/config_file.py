"""`--config FILE`: options from a file, such as the options.json that a run wrote."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any

import tyro

from pipeline.runner import storage
from pipeline.runner.json_text import parse_json


def load_config(address: str, options_class: type[Any], renamed: Mapping[str, str]) -> Any:
    """Return the options that a JSON file holds; those that have no default and are not in it are missing.

    Args:
        renamed: names of fields that options had before.

    Raises:
        ValueError: it is not JSON, names an option that there is not, or a value has another type.
    """
    try:
        content = parse_json(storage.read_text(address))
    except ValueError as error:
        raise ValueError(f"--config {address} is not JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("options"), dict):
        content = content["options"]  # beside what else the file tells of a run
    if not isinstance(content, dict):
        raise ValueError(f"--config {address} holds no JSON object of options")
    content = {renamed.get(name, name): value for name, value in content.items()}
    return _filled(options_class, content, address)


def _filled(options_class: type[Any], content: Mapping[str, Any], address: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    hints = typing.get_type_hints(options_class, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(options_class)}
    if unknown := content.keys() - fields.keys():
        raise ValueError(f"--config {address} has {min(unknown)!r}, which is no option of this command")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        hint, given = hints[name], content.get(name)
        if name not in content:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                values[name] = tyro.MISSING
        elif dataclasses.is_dataclass(hint) and isinstance(given, dict):
            values[name] = _filled(typing.cast("type[Any]", hint), given, address)
        else:
            try:
                values[name] = TypeAdapter(hint).validate_json(json.dumps(given))
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise ValueError(f"--config {address}: {name} is {given!r}: {reason}") from error
    return options_class(**values)
