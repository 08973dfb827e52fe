"""Providers that are derived from another one: with another name, credential, other paths, or fewer operations.

The address is part of the `ProviderConfig`, as for every provider.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from bifrost.errors import UnsupportedError
from bifrost.providers.base import STREAM, operations_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bifrost.providers.base import Built, Codec, Provider, Target
    from bifrost.wire.auth import Auth

_PATH = re.compile(r"/[\x21\x22\x24-\x7e]*")


def is_path(path: str) -> bool:
    """Return whether a text can be the path of an operation below a base URL."""
    return _PATH.fullmatch(path) is not None and ".." not in path.partition("?")[0].split("/")


def endpoint_of(operation: str) -> str:
    """Return the endpoint of an operation: `chat` for `stream_chat`."""
    return operation.removeprefix(STREAM)


def derive(
    base: Provider,
    *,
    name: str,
    auth: Auth | None = None,
    paths: Mapping[str, str] | None = None,
    prefix: str = "",
    operations: Collection[str] | None = None,
) -> Provider:
    """Return a provider with the dialect of `base`.

    Args:
        base: The provider with the dialect.
        name: The new provider's name.
        auth: How its key is sent. `None`: as for `base`.
        paths: Paths of operations below the base URL that differ from the dialect's. A path may have a query.
        prefix: The part of the path between the base URL and the dialect's own paths.
        operations: The operations that may be used. `None`: all that `base` supports.
    """
    allowed = (
        operations_of(base) if operations is None else [each for each in operations_of(base) if each in operations]
    )
    codecs = {
        endpoint: _changed(codec, endpoint, paths=paths or {}, prefix=prefix, allowed=allowed)
        for endpoint, codec in base.codecs.items()
        if any(endpoint_of(operation) == endpoint for operation in allowed)
    }
    return attrs.evolve(
        base,
        name=name,
        auth=auth or base.auth,
        token_auth=None if auth else base.token_auth,
        codecs=codecs,
        key_variables=(),
        other_key_variables=(),
        joined_key_variables=(),
        settings_variables={},
        base_url_variable=None,
        other_base_url_variables=(),
    )


def _changed(
    codec: Codec[Any, Any], endpoint: str, *, paths: Mapping[str, str], prefix: str, allowed: Collection[str]
) -> Codec[Any, Any]:
    mine = {endpoint, STREAM + endpoint} if codec.decoder is not None else {endpoint}
    if mine.isdisjoint(paths) and not prefix and mine.issubset(allowed):
        return codec
    return attrs.evolve(codec, build=_changed_build(codec.build, endpoint, paths, prefix, allowed))


def _changed_build(
    build: Callable[[Any, Target], Built],
    endpoint: str,
    paths: Mapping[str, str],
    prefix: str,
    allowed: Collection[str],
) -> Callable[[Any, Target], Built]:
    def changed(request: Any, target: Target) -> Built:
        operation = STREAM + endpoint if target.stream else endpoint
        if operation not in allowed:
            raise UnsupportedError(
                f"{target.provider} is not set up for {operation}; it is for: {', '.join(allowed)}",
                provider=target.provider,
            )
        built = build(request, target)
        path, mark, query = built.request.path.partition("?")
        path = paths.get(operation, prefix + path)
        # The path may have a query, because some gateways require an API version there.
        built.request.path = path + ("&" if mark and "?" in path else mark) + query
        return built

    return changed
