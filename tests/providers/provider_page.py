"""The generated parts of docs/providers.md, made from the catalog: `python -m tests.providers.provider_page`."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bifrost.operations.base import OperationName
from bifrost.providers.catalog import CATALOG, OPERATIONS, STABLE
from bifrost.providers.openai.quirks import KNOBS, LOWERED, NEEDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bifrost.operations.base import StructuredMode
    from bifrost.providers.base import Provider
    from bifrost.providers.openai import Quirks

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"

GOLDEN = Path(__file__).parent / "golden"

ENDPOINTS: tuple[OperationName, ...] = tuple(OPERATIONS)

WAYS: Mapping[StructuredMode, str] = {
    "native": "a schema",
    "native_closed": "a closed schema",
    "tool": "a tool",
    "json_object": "JSON mode",
    "prompt": "the prompt",
}

ALWAYS = frozenset(["include_obfuscation", "refusals", "names", *LOWERED])
"""What is lacking in a way that a user hardly meets: the page does not list it."""


def table() -> str:
    """Every provider, its environment variables, and what can be asked of it."""
    head = ["provider", "key", "address", *ENDPOINTS]
    rows = [head, ["---"] * len(head), *([*_setting(row), *_states(row)] for row in CATALOG.values())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def sections() -> str:
    """What each provider lacks, and how it is asked for an answer of a type."""
    return "\n\n".join(_section(row) for row in CATALOG.values())


def filled(page: str) -> str:
    """Give the page with its generated parts made anew."""
    for name, text in (("table", table()), ("providers", sections())):
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        page, found = re.subn(
            f"{begin}.*{end}", lambda _, t=text, b=begin, e=end: f"{b}\n\n{t}\n\n{e}", page, flags=re.S
        )
        assert found == 1, name
    return page


def _setting(row: Provider) -> tuple[str, str, str]:
    keys = " or ".join(f"`{variable}`" for variable in row.key_variables) or "none"
    return f"[{row.name}](#{row.name})", keys, f"`{row.base_url_variable}`" + ("" if row.base_url else ", needed")


def _states(row: Provider) -> list[str]:
    return [
        "-" if each not in row.codecs else "stable" if each in STABLE.get(row.name, ()) else "experimental"
        for each in ENDPOINTS
    ]


def _section(row: Provider) -> str:
    address = f"`{row.base_url}`" if row.base_url else "that of your resource"
    lines = [f"### {row.name}", "", *_setup(row), ""]
    lines += [f"[The vendor's reference]({row.docs}). Address: {address}.", ""]
    quirks = _quirks_of(row)
    if quirks is not None:
        lacking = {*quirks.lacks, *(() if quirks.top_k else ("top_k",))} - ALWAYS
        lines += _listed("Refused", lacking & NEEDS.keys())
        lines += _listed("Left out with a warning", lacking & (KNOBS | {"top_k"}))
        lines += _thinking(quirks)
    ways = ", ".join(WAYS[mode] for mode in row.structured)
    return "\n".join([*lines, f"- Asked for an answer of a type by: {ways}."])


def _setup(row: Provider) -> list[str]:
    """What to type, from the key to an answer."""
    lines = ["```sh", *(f"export {variable}=..." for variable in row.key_variables)]
    if not row.key_variables or not row.base_url:
        lines.append(f"export {row.base_url_variable}={row.base_url or 'https://my-resource.openai.azure.com'}")
    call = f'reply = await client.chat("{row.name}/{_model(row.name)}", "Say hello")'
    return [*lines, "```", "", "```python", call, "```"]


def _model(provider: str) -> str:
    """Give the model that most of a provider's recorded chats are with, or a name to be replaced."""
    if provider == "azure":
        return "my-deployment"
    requests = [json.loads(path.read_bytes()) for path in sorted(GOLDEN.glob(f"{provider}/chat/*/request.json"))]
    named = Counter(request["model"] for request in requests if request.get("model"))
    return named.most_common(1)[0][0] if named else "my-model"


def _listed(title: str, names: Iterable[str]) -> list[str]:
    listed = ", ".join(f"`{name}`" for name in sorted(names))
    return [f"- {title}: {listed}."] if listed else []


def _thinking(quirks: Quirks) -> list[str]:
    match quirks.reasoning_field:
        case None:
            return []
        case "thinking":
            return ["- Reasoning goes back to it as thinking parts of the content."]
        case field:
            return [f"- Reasoning goes back to it in `{field}`."]


def _quirks_of(row: Provider) -> Quirks | None:
    build: object = row.codecs["chat"].build
    while isinstance(build, partial):
        if "quirks" in build.keywords:
            return build.keywords["quirks"]
        build = next(iter(build.args), None)  # Azure's build has the dialect's inside
    return None


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
