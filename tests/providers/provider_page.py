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
from bifrost.providers.fields import covering, paths_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bifrost.operations.base import StructuredMode
    from bifrost.providers.base import Provider
    from bifrost.providers.fields import FieldTable, Support
    from bifrost.providers.openai import Quirks

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"

GOLDEN = Path(__file__).parent / "golden"

ENDPOINTS: tuple[OperationName, ...] = tuple(OPERATIONS)

CALLS: Mapping[OperationName, str] = {
    "chat": 'chat("{model}", "Say hello")',
    "embeddings": 'embed("{model}", ["a river", "a lake"])',
    "rerank": 'rerank("{model}", "still water", ["a river", "a lake"])',
}
"""A first call of a provider: of the first of these operations that it has."""

EXAMPLES: Mapping[str, str] = {"region": "us-east-1", "project": "my-project"}
"""Values of the settings of keys."""

WAYS: Mapping[StructuredMode, str] = {
    "native": "a schema",
    "native_closed": "a closed schema",
    "tool": "a tool",
    "json_object": "JSON mode",
    "prompt": "the prompt",
}

SENT, MAPPED, EMULATED, LEFT_OUT, REFUSED, LOCAL = STATES = (
    "sent",
    "mapped",
    "emulated",
    "left out with a warning",
    "refused",
    "never sent, nothing is lost",
)

SUPPORTS: Mapping[Support, str] = {
    "required": SENT,
    "optional": SENT,
    "mapped": MAPPED,
    "emulated": EMULATED,
    "unsupported": LEFT_OUT,
    "local": LOCAL,
}


def table() -> str:
    """Every provider, its environment variables, and what can be asked of it."""
    head = ["provider", "key", "address", *ENDPOINTS]
    rows = [head, ["---"] * len(head), *([*_setting(row), *_states(row)] for row in CATALOG.values())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def sections() -> str:
    """What each provider lacks, and how it supports structured output."""
    return "\n\n".join(_section(row) for row in CATALOG.values())


def fields() -> str:
    """What each provider does with each field of each request."""
    return "\n\n".join(f"### {endpoint}\n\n{_fields_of(endpoint)}" for endpoint in ENDPOINTS)


def state_of(table: FieldTable, path: str) -> str:
    """Return what a dialect does with a field, or with one value of it."""
    field = covering(path, table.fields) or covering(path.partition("=")[0], table.fields)
    if field is None:
        return SENT  # a part of a message: its own fields say more
    return REFUSED if field.is_refused else SUPPORTS[field.support]


def filled(page: str) -> str:
    """Return the page with its generated parts made again."""
    for name, text in (("table", table()), ("fields", fields()), ("providers", sections())):
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        page, found = re.subn(
            f"{begin}.*{end}", lambda _, t=text, b=begin, e=end: f"{b}\n\n{t}\n\n{e}", page, flags=re.S
        )
        assert found == 1, name
    return page


def _fields_of(endpoint: OperationName) -> str:
    tables = {row.name: row.codecs[endpoint].fields for row in CATALOG.values() if endpoint in row.codecs}
    known = {name: table for name, table in tables.items() if table is not None}
    assert known.keys() == tables.keys(), f"{endpoint}: no table says what becomes of its fields"
    states = {path: {name: state_of(table, path) for name, table in known.items()} for path in _paths(known)}
    rows = [["field", *STATES], ["---"] * (1 + len(STATES))]
    for path, by_provider in states.items():
        counted = Counter(by_provider.values())
        if set(counted) != {LOCAL}:
            rows.append([f"`{path}`", *(_providers(by_provider, state, counted) for state in STATES)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _paths(tables: Mapping[str, FieldTable]) -> list[str]:
    """Every field that the tables name, in the order in which the request has them, and under it its values."""
    named = {path for table in tables.values() for path in table.fields}
    fields = list(paths_of(next(iter(tables.values())).request))
    places = {path: place for place, path in enumerate(fields)}

    def place_of(path: str) -> tuple[float, str]:
        field, _, value = path.partition("=")
        below = [place for known, place in places.items() if known.startswith(f"{field}.")]
        return places.get(field, min(below, default=0) - 0.5), value

    return sorted(named, key=place_of)


def _providers(states: Mapping[str, str], state: str, counted: Counter[str]) -> str:
    """Which providers are in a state; the commonest state has \"all others\"."""
    names = [name for name, found in states.items() if found == state]
    if len(names) == len(states):
        return "all"
    if names and state == counted.most_common(1)[0][0] and len(names) > 3:
        return "all others"
    return ", ".join(names)


def _setting(row: Provider) -> tuple[str, str, str]:
    keys = " or ".join(f"`{variable}`" for variable in row.key_variables) or "none"
    if row.joined_key_variables:
        keys += f", or {' and '.join(f'`{variable}`' for variable in row.joined_key_variables[:2])}"
    settings = [f"`{names[0]}`" for names in row.settings_variables.values()]
    address = ", ".join([f"`{row.base_url_variable}`", *settings]) + ("" if row.base_url else ", needed")
    return f"[{row.name}](#{row.name})", keys, address


def _states(row: Provider) -> list[str]:
    return [
        "-" if each not in row.codecs else "stable" if each in STABLE.get(row.name, ()) else "experimental"
        for each in ENDPOINTS
    ]


def _section(row: Provider) -> str:
    address = f"`{row.base_url}`" if row.base_url else "that of your resource or region"
    lines = [f"### {row.name}", "", *_setup(row), ""]
    lines += [f"[The vendor's reference]({row.docs}). Address: {address}.", ""]
    return "\n".join([*lines, *(_chat(row) if "chat" in row.codecs else [])]).rstrip()


def _chat(row: Provider) -> list[str]:
    """What a provider lacks in chats, and how it supports structured output."""
    quirks = _quirks_of(row)
    chat = row.codecs["chat"].fields
    assert chat is not None
    lines = _listed("Refused", _options(chat, REFUSED))
    lines += _listed("Left out with a warning", _options(chat, LEFT_OUT))
    lines += _thinking(quirks) if quirks is not None else []
    ways = ", ".join(WAYS[mode] for mode in row.structured)
    return [*lines, f"- Structured output through: {ways}."]


def _setup(row: Provider) -> list[str]:
    """What to type, from the key to a response."""
    lines = ["```sh", *(f"export {variable}=..." for variable in row.key_variables)]
    lines += [f"export {names[0]}={EXAMPLES[field]}" for field, names in row.settings_variables.items()]
    if not row.key_variables or not (row.base_url or row.settings_variables):
        lines.append(f"export {row.base_url_variable}={row.base_url or 'https://my-resource.openai.azure.com'}")
    operation = next(each for each in CALLS if each in row.codecs)
    call = CALLS[operation].format(model=f"{row.name}/{_model(row.name, operation)}")
    return [*lines, "```", "", "```python", f"reply = await client.{call}", "```"]


def _model(provider: str, operation: OperationName) -> str:
    """Return the model of most of a provider's recorded requests that succeeded, or a placeholder."""
    if provider == "azure":
        return "my-deployment"
    recorded = sorted(GOLDEN.glob(f"{provider}/{operation}/*/request.json"))
    requests = [json.loads(path.read_bytes()) for path in recorded if not _was_refused(path.with_name("status.json"))]
    named = Counter(request["model"] for request in requests if request.get("model"))
    return named.most_common(1)[0][0] if named else "my-model"


def _was_refused(status: Path) -> bool:
    return status.exists() and json.loads(status.read_bytes())["status"] >= 400


def _options(table: FieldTable, state: str) -> list[str]:
    """Which options of a chat are in a state; of messages, those that are refused."""
    found = [
        path
        for path in table.fields
        if state_of(table, path) == state and (state == REFUSED or not path.startswith("messages."))
    ]
    # With a whole option, its fields need no mention.
    return [path for path in found if not any(path.startswith((f"{other}.", f"{other}=")) for other in found)]


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
