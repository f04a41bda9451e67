"""Pages from templates: Jinja, in which a value that is missing is an error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def fill(template: Path, *, escape: Callable[[str], str] | None = None, **values: Any) -> str:
    """Return a template with its values.

    Args:
        template: a file. In `.html.jinja`, all values are escaped; such a page may include `page.css`, which
            all of them share.
        escape: applied to each text that is put in, for other kinds of page.
        values: what it names; a function is also a filter of its name.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=template.name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        finalize=lambda value: escape(value) if escape and isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters |= {name: value for name, value in values.items() if callable(value)}
    return environment.get_template(template.name).render(values)
