"""Sphinx extension: writes docs/reference/api.md, the API reference, from the OpenAPI description.

The page is made at each build and is not kept in the repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

Json = dict[str, Any]


def setup(app: Sphinx) -> Json:
    """Register the extension."""
    app.connect("config-inited", lambda *_: write(Path(app.srcdir) / "docs/reference/api.md"))
    return {"parallel_read_safe": True}


def write(page: Path) -> None:
    """Write the page for the API as the code has it now."""
    from superimap.api.app import openapi

    page.parent.mkdir(exist_ok=True)
    page.write_text(render(openapi()))


def render(api: Json) -> str:
    """The reference as Markdown: one section per tag, then the schemas."""
    lines = ["# API reference", "", api["info"].get("description", ""), ""]
    for tag, operations in by_tag(api).items():
        described = {each["name"]: each.get("description", "") for each in api.get("tags", [])}
        lines += [f"## {tag}", "", described.get(tag, ""), ""]
        for method, path, operation in operations:
            lines += _operation(method, path, operation)
    lines += ["## Schemas", ""]
    for name, schema in sorted(api.get("components", {}).get("schemas", {}).items()):
        lines += _schema(name, schema)
    return "\n".join(lines) + "\n"


def by_tag(api: Json) -> dict[str, list[tuple[str, str, Json]]]:
    """The operations under their first tag, in the order of the description."""
    found: dict[str, list[tuple[str, str, Json]]] = {}
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["Other"])[0]
            found.setdefault(tag, []).append((method.upper(), path, operation))
    return found


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    yield from (f"### {operation.get('summary', path)}", "", "```text", f"{method} {path}", "```", "")
    yield from (operation.get("description", ""), "")
    if parameters := operation.get("parameters"):
        yield from ("| Parameter | In | Type | Description |", "|---|---|---|---|")
        for each in parameters:
            name = f"`{each['name']}`" + (" (required)" if each.get("required") else "")
            schema = each.get("schema", {})
            words = each.get("description") or schema.get("description", "")
            yield f"| {name} | {each['in']} | {_type(schema)} | {_cell(words)} |"
        yield ""
    if content := operation.get("requestBody", {}).get("content"):
        schema = next(iter(content.values())).get("schema", {})
        yield from (f"Request body: {_type(schema)}, as {_either(content)}.", "")
    yield from ("| Status | Response | Body |", "|---|---|---|")
    for status, response in operation["responses"].items():
        schemas = [each.get("schema", {}) for each in response.get("content", {}).values()]
        yield f"| {status} | {_cell(response.get('description', ''))} | {_type(schemas[0]) if schemas else '–'} |"
    yield ""


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield from (f"### {name}", "", schema.get("description", ""), "")
    if values := schema.get("enum"):
        yield from ("One of " + ", ".join(f"`{value}`" for value in values) + ".", "")
    if properties := schema.get("properties"):
        required = set(schema.get("required", ()))
        yield from ("| Field | Type | Description |", "|---|---|---|")
        for field, one in properties.items():
            mark = " (required)" if field in required else ""
            yield f"| `{field}`{mark} | {_type(one)} | {_cell(one.get('description', ''))} |"
        yield ""


def _type(schema: Json) -> str:
    """A short name of a schema, with a link where it has a section of its own."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, options)))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "const" in schema:
        return f"`{schema['const']}`"
    if values := schema.get("enum"):
        return ", ".join(f"`{value}`" for value in values)
    kind = str(schema.get("type", "any"))
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _either(content: Json) -> str:
    return " or ".join(f"`{each}`" for each in content)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
