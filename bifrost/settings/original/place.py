"""Converts the gateway's addresses, paths and allowed requests to a provider and its base URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from bifrost.providers.base import operations_of
from bifrost.providers.custom import derive, is_path
from bifrost.settings.original.form import operation_of
from bifrost.settings.problems import below, listed, quoted_name
from bifrost.wire.auth import NoAuth

if TYPE_CHECKING:
    from bifrost.providers.base import Provider
    from bifrost.settings.original.form import Custom, Network
    from bifrost.settings.reading import Reading

Address: TypeAlias = tuple[str, str]
"""The path of a field, and the address in it."""

_VERSION = re.compile(r"/v\d+$")
_ORIGIN = re.compile(r"[a-zA-Z]+://[^/?#]+")


def address_of(network: Network, others: list[Address], at: str, reading: Reading) -> Address | None:
    """Return the provider's address in the gateway's sense. `others` are those in the keys."""
    found = list(others)
    if network.base_url:
        here = below(below(at, "network_config"), "base_url")
        address = reading.environment.text(network.base_url, at=here, problems=reading.problems)
        found[:0] = [(here, address)] if address else []
    if not found:
        return None
    first, *rest = found
    for here, address in rest:
        if address.rstrip("/") != first[1].rstrip("/"):
            complaint = f"this is not the address of {first[0]}; define one provider for each"
            reading.problems.add(here, complaint)
    return first


def row_of(
    name: str, base: Provider, custom: Custom | None, *, address: Address | None, at: str, reading: Reading
) -> tuple[Provider, Address | None]:
    """Return the provider, and the base URL in bifrost's sense.

    The gateway inserts `/v1` before the path; bifrost's URL has it.
    """
    found = _VERSION.search(base.base_url)
    version = found[0] if found else ""
    if custom is None:
        return base, _with_version(address, version, reading)
    at = below(at, "custom_provider_config")
    auth = NoAuth() if custom.is_key_less else None
    operations = _operations(custom, base, below(at, "allowed_requests"), reading)
    paths_at = below(at, "request_path_overrides")
    overrides = _overrides(custom, base, paths_at, reading)
    if not overrides:
        row = derive(base, name=name, auth=auth, operations=operations)
        return row, _with_version(address, version, reading)
    here, bare = address or (paths_at, base.base_url.removesuffix(version))
    place, root = _one_place(overrides, bare.rstrip("/"), operations or operations_of(base), paths_at, reading)
    paths = {operation: url.removeprefix(place) for operation, url in _urls(overrides, bare.rstrip("/")).items()}
    row = derive(base, name=name, auth=auth, paths=paths, prefix=root + version, operations=operations)
    return row, (here, place)


def _with_version(address: Address | None, version: str, reading: Reading) -> Address | None:
    if address is None:
        return None
    here, bare = address[0], address[1].rstrip("/")
    if version and bare.endswith(version):
        reading.note(here, f"it ends in {version}, which the gateway would repeat; it is sent once here")
        return here, bare
    return here, bare + version


def _operations(custom: Custom, base: Provider, at: str, reading: Reading) -> list[str] | None:
    if custom.allowed_requests is None:
        return None
    known = operations_of(base)
    wanted = [request for request, is_allowed in custom.allowed_requests.items() if is_allowed]
    if others := [quoted_name(request) for request in wanted if operation_of(request) not in known]:
        reading.note(at, f"left out, {base.name} does not support these here: {listed(others)}")
    operations = [operation for operation in known if operation in map(operation_of, wanted)]
    if not operations:
        complaint = "the provider has no operation left; allow a request, or remove the provider"
        reading.problems.add(at, complaint)
    return operations


def _overrides(custom: Custom, base: Provider, at: str, reading: Reading) -> dict[str, str]:
    """Return the paths and full addresses by bifrost's names of the operations."""
    known = operations_of(base)
    overrides: dict[str, str] = {}
    for request, given in (custom.request_path_overrides or {}).items():
        path = given if "://" in given else f"/{given.lstrip('/')}"
        if operation_of(request) not in known:
            reading.note(below(at, quoted_name(request)), f"left out, {base.name} does not support this here")
        elif is_path(path.removeprefix(_origin(path))):
            overrides[operation_of(request)] = path
        else:
            complaint = "this is neither a path nor a URL with a path; for example: /v1/chat/completions"
            reading.problems.add(below(at, request), complaint)
    return overrides


def _urls(overrides: dict[str, str], bare: str) -> dict[str, str]:
    return {operation: path if "://" in path else bare + path for operation, path in overrides.items()}


def _one_place(
    overrides: dict[str, str], bare: str, operations: list[str], at: str, reading: Reading
) -> tuple[str, str]:
    """Return the common address of all requests, and the part between it and the dialect's own paths."""
    urls = _urls(overrides, bare)
    if all(url.startswith(f"{bare}/") for url in urls.values()):
        return bare, ""
    origins = {_origin(url) for url in urls.values()}
    if not overrides.keys() >= set(operations):
        origins.add(_origin(bare))
    if len(origins) > 1:
        reading.problems.add(at, "these have several hosts; define one provider for each")
    return origins.pop(), bare.removeprefix(_origin(bare))


def _origin(url: str) -> str:
    """Return the scheme and host of an address."""
    found = _ORIGIN.match(url)
    return found[0] if found else ""
