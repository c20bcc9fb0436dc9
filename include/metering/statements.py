"""Named SQL: every statement that Python runs stands in a `.sql` file, with a name and a description.

    -- name: count_events
    -- How many events of one team have landed.
    SELECT count(*) FROM landing.usage_events WHERE team_id = %(team_id)s;

Statements are looked up by name and given their values as parameters by psycopg; they are never concatenated.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- name: *(?P<name>[a-z][a-z0-9_]*) *$", re.MULTILINE)


@cache
def load(path: Path) -> dict[str, str]:
    """Read a file of named statements: name to SQL, description comments included."""
    text = path.read_text(encoding="utf-8")
    headers = list(_HEADER.finditer(text))
    if not headers:
        raise ValueError(f"{path} holds no '-- name:' header")
    statements: dict[str, str] = {}
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        name = header["name"]
        body = text[header.end() : following.start() if following else len(text)].strip()
        if name in statements:
            raise ValueError(f"{path} names {name} twice")
        if not body.startswith("-- "):
            raise ValueError(f"{path}: {name} has no description")
        statements[name] = body
    return statements


def beside(module_file: str, name: str) -> dict[str, str]:
    """The statements in `<name>.sql` beside a module: `SQL = statements.beside(__file__, "landing")`."""
    return load(Path(module_file).with_name(f"{name}.sql"))
