"""Pages from templates: Jinja, in which HTML is escaped and a value that is missing is an error."""

from pathlib import Path
from typing import Any


def fill(template: Path, **values: Any) -> str:
    """Return a template with its values. In `.html.jinja`, all values are escaped.

    Args:
        template: a file; it may include others of its folder.
        values: what it names; a callable becomes a filter of its name.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=template.name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = "{:,}".format
    for name in [name for name, value in values.items() if callable(value)]:
        environment.filters[name] = values[name]
    return environment.get_template(template.name).render(values)
