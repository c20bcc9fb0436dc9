"""An OpenAPI document as a page for people: plain HTML, made once when the service starts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --quiet: #888; --lift: #8881; --link: light-dark(#0a58ca, #6ea8fe) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin: 0 } h2 { margin: 3rem 0 0; text-transform: capitalize; border-bottom: 1px solid var(--line) }
h3 { font: 600 1.05rem ui-monospace, monospace; margin: 2rem 0 .3rem; overflow-wrap: anywhere }
h3 a, nav a { color: inherit; text-decoration: none } a { color: var(--link) }
h4 { margin: 1.2rem 0 .3rem } p { margin: .4rem 0 }
b.method { display: inline-block; min-width: 3.6rem; color: var(--link) }
nav ul { list-style: none; padding: 0 } nav code { margin-right: 1rem }
code, pre { font: .875rem/1.45 ui-monospace, monospace }
pre { background: var(--lift); border: 1px solid var(--line); border-radius: 6px }
pre { padding: .7rem 1rem; overflow-x: auto }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line) }
details { margin: .3rem 0 } summary { cursor: pointer } .quiet { color: var(--quiet) }
"""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
    ),
    "x-content-type-options": "nosniff",
}
"""The page may load nothing and run nothing; its only style is the one it carries."""


def render(document: dict[str, Any]) -> str:
    """Make the page of an OpenAPI 3.1 document."""
    return "\n".join(_page(document))


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield "<!doctype html>"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(info['title'])}</h1>{_prose(info['description'])}"
    for scheme in document["components"]["securitySchemes"].values():
        yield f"<p>{_inline(scheme['description'])} Send it as <code>Authorization: Bearer &lt;key&gt;</code>.</p>"
    yield '<p>For programs: <a href="openapi.json">openapi.json</a>, OpenAPI 3.1.</p>'
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    yield "<nav><ul>"
    for operations in by_tag.values():
        for method, path, operation in operations:
            target = escape(operation["operationId"])
            title = f'<b class="method">{method}</b> {escape(path)}'
            yield f'<li><a href="#{target}"><code>{title}</code></a> {_inline(operation["summary"])}</li>'
    yield "</ul></nav>"
    for tag, operations in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>"
        for method, path, operation in operations:
            yield from _operation(method, path, operation)
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="schema-{escape(name)}">{escape(name)}</h3>{_code(schema)}'
    yield "</body></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    target = escape(operation["operationId"])
    title = f'<b class="method">{method}</b> {escape(path)}'
    yield f'<h3 id="{target}"><a href="#{target}">{title}</a></h3>'
    yield f"<p><strong>{_inline(operation['summary'])}</strong></p>{_prose(operation['description'])}"
    if operation["parameters"]:
        yield "<h4>Parameters</h4><table>"
        for parameter in operation["parameters"]:
            kind = parameter["in"] + (", required" if parameter["required"] else "")
            example = json.dumps(parameter["example"], ensure_ascii=False).strip('"')
            yield (
                f'<tr><td><code>{escape(parameter["name"])}</code><br><span class="quiet">{kind}</span></td>'
                f"<td>{_inline(parameter['description'])}</td><td><code>{escape(example)}</code></td></tr>"
            )
        yield "</table>"
    body = operation.get("requestBody")
    if body:
        yield "<h4>Body</h4>"
        yield from _contents(body["content"])
    yield f"<h4>By hand</h4><pre><code>{escape(_curl(method, path, operation))}</code></pre>"
    yield "<h4>Replies</h4>"
    for status, reply in operation["responses"].items():
        yield f"<details><summary><code>{status}</code> {_inline(reply['description'])}</summary>"
        for name, header in reply.get("headers", {}).items():
            yield f"<p><code>{escape(name)}</code>: {_inline(header['description'])}</p>"
        yield from _contents(reply["content"])
        yield "</details>"


def _contents(contents: dict[str, Any]) -> Iterator[str]:
    for media_type, content in contents.items():
        yield f'<p class="quiet"><code>{escape(media_type)}</code></p>'
        for name, example in content["examples"].items():
            yield f"<details open><summary>{escape(name)}</summary>{_code(example['value'])}</details>"
        yield f"<details><summary>schema</summary>{_code(content['schema'])}</details>"


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    query = []
    for parameter in operation["parameters"]:
        example = str(parameter["example"])
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", example)
        elif parameter["in"] == "query" and parameter["required"]:
            query.append(f"{parameter['name']}={example}")
    parts = ["curl" if method == "GET" else f"curl -X {method}"]
    if operation["security"]:
        parts.append('-H "Authorization: Bearer $API_KEY"')
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f'-H "Content-Type: {media_type}"')
        for example in content["examples"].values():
            parts.append(f"--data-binary '{json.dumps(example['value'])}'")
            break
        break
    address = path + ("?" + "&".join(query) if query else "")
    return " \\\n  ".join([*parts, f"http://127.0.0.1:8090{address}"])


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    linked = re.sub(
        r"#/components/schemas/(\w+)", lambda found: f'<a href="#schema-{found[1]}">{found[1]}</a>', escape(text)
    )
    return f"<pre><code>{linked}</code></pre>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in _paragraphs(text))


def _paragraphs(text: str) -> Iterable[str]:
    return (paragraph for paragraph in text.split("\n\n") if paragraph.strip())


def _inline(text: str) -> str:
    """Escape a text, in which backticks mean code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
