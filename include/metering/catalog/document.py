"""YAML documents that know on which line each of their parts stands, and whose numbers stay what was written."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from metering.errors import BillingError

_FLOAT, _INTEGER = "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"
# The fields by which a person knows the parts of a list.
_NAMES = ("meter", "plan", "price", "team", "effective_from")


class _Loader(yaml.SafeLoader):
    """Safe YAML, except that 0.001 stays the text 0.001 and a field written twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands here twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} is no date: {error}", node.start_mark
            ) from error


class _CatalogLoader(_Loader):
    """The same, and whole numbers stay what was written, too: YAML makes eight of 010, and 1,200 of 20:00."""


def _without(*tags: str) -> dict[Any, Any]:
    return {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in tags]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)
_CatalogLoader.add_constructor("tag:yaml.org,2002:timestamp", _CatalogLoader.construct_yaml_timestamp)
_Loader.yaml_implicit_resolvers = _without(_FLOAT)
_CatalogLoader.yaml_implicit_resolvers = _without(_FLOAT, _INTEGER)


@dataclass(frozen=True)
class Document:
    """Content, and what is needed to say where in it something stands."""

    name: str
    content: object
    root: yaml.Node | None = None

    def place(self, location: tuple[int | str, ...]) -> str:
        """Where a part stands, for a person: `prices.yaml, line 12, plans → standard → prices → search`."""
        steps: list[str] = []
        here: Any = self.content
        node, line = self.root, None
        for step in location:
            node = _child(node, step)
            line = node.start_mark.line + 1 if node else line
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                here = None
            steps.append(_name(here, step))
        at = f", line {line}" if line else ""
        return f"{self.name}{at}, {' → '.join(steps)}" if steps else f"{self.name}{at}"


@dataclass(frozen=True)
class Folder:
    """Several documents that are one: each of their lists goes on where that of the document before ends."""

    name: str
    content: object
    origins: dict[tuple[int | str, ...], tuple[Document, tuple[int | str, ...]]]
    """Where the parts of the whole stand: the beginning of a location, and what it is in which document."""

    def place(self, location: tuple[int | str, ...]) -> str:
        """Where a part stands, for a person; see `Document.place`."""
        for length in (2, 1):
            if location[:length] in self.origins:
                document, beginning = self.origins[location[:length]]
                return document.place((*beginning, *location[length:]))
        return self.name


def _name(part: object, step: int | str) -> str:
    if isinstance(step, int):
        if isinstance(part, dict):
            for field in ("price", *_NAMES):
                if isinstance(part.get(field), Hashable) and field in part:
                    named = part[field]
                    return f"{named:%Y-%m-%dT%H:%MZ}" if _is_in_utc(named) else str(named)
        return f"number {step + 1}"
    return step


def _is_in_utc(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() == timedelta(0)


def _child(node: yaml.Node | None, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child: yaml.Node = node.value[step]
        return child
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                found: yaml.Node = value
                return found
    return None


def read_all(path: Path) -> Document | Folder:
    """Read a YAML file, or every one of a folder; raises `BillingError` where one can't be read or is no YAML.

    A list without items may be left empty in the file. Of a folder, files that begin with a dot are passed over.
    """
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        raise BillingError(
            f"There is no catalog at {path}.",
            "Run `./billing init --preset api` for one to start from, or give the path of yours (BILLING_CATALOG).",
        )
    if not path.is_dir():
        return _together(str(path.name), [read(path, loader=_CatalogLoader)])
    files = sorted(
        file
        for file in path.rglob("*.y*ml")
        if file.suffix in (".yaml", ".yml") and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise BillingError(
            f"The folder {path} has no catalog: no file in it ends with .yaml.",
            "Run `./billing init --preset api` for one to start from, or give the path of yours.",
        )
    return _together(str(path), [read(file, str(file.relative_to(path)), _CatalogLoader) for file in files])


def _together(name: str, documents: list[Document]) -> Document | Folder:
    whole: dict[str, Any] = {}
    origins: dict[tuple[int | str, ...], tuple[Document, tuple[int | str, ...]]] = {}
    for one in documents:
        if not isinstance(one.content, dict):
            if len(documents) == 1:
                return one
            raise BillingError(
                f"{one.name}: holds no part of a catalog, which are meters, plans and teams.",
                "Mend it, or move it out of the folder; nothing was changed.",
            )
        for part, items in one.content.items():
            origins.setdefault((part,), (one, (part,)))
            if isinstance(items, list) and isinstance(whole.setdefault(part, []), list):
                for number, item in enumerate(items):
                    origins[part, len(whole[part])] = (one, (part, number))
                    whole[part].append(item)
            elif items is not None:
                whole[part] = items
                origins[part,] = (one, (part,))
    return Folder(name, whole, origins)


def read(path: Path, name: str | None = None, loader: type[_Loader] = _Loader) -> Document:
    """Read a YAML file; raises `BillingError` where it can't be read or is no YAML. `name`: what to call it."""
    name = name or path.name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BillingError(f"The catalog {path} can't be read: {reason}.", "Give the path of a YAML file.") from error
    reading = loader(text)
    try:
        root = reading.get_single_node()
        content = reading.construct_document(root) if root is not None else {}
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise BillingError(f"{name}{at}: {reason}.", "Mend the YAML; nothing was changed.") from error
    finally:
        reading.dispose()
    return Document(name, content, root)
