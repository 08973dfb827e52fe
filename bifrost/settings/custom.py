"""A provider made of another's dialect: another name and credential, other paths, fewer operations.

Its address is a matter of its `ProviderConfig`, like any other provider's.
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
    """Say whether a text can be the path of an operation below an address."""
    return _PATH.fullmatch(path) is not None and ".." not in path.partition("?")[0].split("/")


def endpoint_of(operation: str) -> str:
    """Give the endpoint that an operation belongs to: `chat` of `stream_chat`."""
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
    """Make a provider that speaks the dialect of `base`.

    Args:
        base: Whose dialect it is.
        name: The new provider's name.
        auth: How its key is sent; the base's way if not given.
        paths: The path of an operation, below the address, where it is another than the dialect's. One with a query
            keeps it.
        prefix: What stands between the address and the dialect's own paths.
        operations: What it may be used for; all that the base can do if not given.
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
        codecs=codecs,
        key_variables=(),
        other_key_variables=(),
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
        # A path of one's own may have a query: some gateways want an API version there.
        built.request.path = path + ("&" if mark and "?" in path else mark) + query
        return built

    return changed
