"""Converts the gateway's settings of a provider (waits, retries, sizes, headers) to a `ProviderConfig`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from bifrost.config import (
    ConnectionConfig,
    NetworkConfig,
    ProviderConfig,
    RetryConfig,
    Timeouts,
    check_base_url,
    check_headers,
)
from bifrost.errors import ConfigError
from bifrost.settings.original.form import Concurrency, Network
from bifrost.settings.original.network import network_of
from bifrost.settings.problems import below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.settings.original.form import ProviderTable
    from bifrost.settings.original.place import Address
    from bifrost.settings.reading import Reading

_LONGEST = 100
"""The most characters of a duration."""
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def config_of(
    table: ProviderTable, address: Address | None, *, drop: bool, at: str, reading: Reading
) -> ProviderConfig | None:
    """Return the settings of a provider. `None`, with at least one problem, if they are invalid.

    `drop` says whether callers are refused when the queue is full.
    """
    network, here = table.network_config or Network(), below(at, "network_config")
    before = len(reading.problems)
    sizes = _sizes(table.concurrency_and_buffer_size or Concurrency(), network, at, reading)
    waits = _waits(network, here, reading)
    retry = _retry(network, here, reading)
    idle = _number(network.keep_alive_timeout_in_seconds, below(here, "keep_alive_timeout_in_seconds"), reading)
    insecure = network.allow_private_network is True
    _check_address(address, insecure=insecure, reading=reading)
    _check_headers(network.extra_headers or {}, below(here, "extra_headers"), reading)
    route = network_of(table, at, reading)
    if len(reading.problems) > before:
        return None
    return ProviderConfig(
        base_url=None if address is None else address[1],
        allow_insecure_http=insecure,
        extra_headers=network.extra_headers or {},
        on_full="drop" if drop else "wait",
        timeouts=Timeouts(**waits),
        retry=RetryConfig(**retry),
        connections=ConnectionConfig() if idle is None else ConnectionConfig(idle=idle),
        network=route or NetworkConfig(),
        **sizes,
    )


def _check_address(address: Address | None, *, insecure: bool, reading: Reading) -> None:
    if address is None:
        return
    here, url = address
    complaint = ""
    try:
        check_base_url(url, where="", allow_insecure_http=True)
    except ConfigError as error:
        complaint = error.message.removeprefix(": ")
    if not complaint and not insecure:
        try:
            check_base_url(url, where="")
        except ConfigError:
            complaint = (
                "plain http sends keys readable to everyone on the way; use https, or set allow_private_network: true "
                "in network_config if the network is yours"
            )
    if complaint:
        reading.problems.add(here, complaint)


def _check_headers(headers: Mapping[str, str], at: str, reading: Reading) -> None:
    try:
        check_headers(headers, where="")
    except ConfigError as error:
        reading.problems.add(at, error.message.removeprefix(": "))


def _sizes(setting: Concurrency, network: Network, at: str, reading: Reading) -> dict[str, Any]:
    here = below(at, "concurrency_and_buffer_size")
    concurrency = _number(setting.concurrency, below(here, "concurrency"), reading)
    queue = _number(setting.buffer_size, below(here, "buffer_size"), reading)
    connections_at = below(below(at, "network_config"), "max_conns_per_host")
    connections = _number(network.max_conns_per_host, connections_at, reading)
    if connections is not None and connections < (concurrency or ProviderConfig().concurrency):
        concurrency = connections  # Each request uses its own connection.
    return _without_none(concurrency=concurrency and int(concurrency), queue=queue and int(queue))


def _waits(network: Network, at: str, reading: Reading) -> dict[str, Any]:
    whole_at = below(at, "default_request_timeout_in_seconds")
    whole = _number(network.default_request_timeout_in_seconds, whole_at, reading)
    if whole is not None:
        reading.note(
            whole_at, "taken for streams, until their first token; for plain responses set the client's timeout"
        )
    idle = _number(network.stream_idle_timeout_in_seconds, below(at, "stream_idle_timeout_in_seconds"), reading)
    return _without_none(first_token=whole, idle_bytes=idle)


def _retry(network: Network, at: str, reading: Reading) -> dict[str, Any]:
    retries = network.max_retries
    if retries is not None and retries < 0:
        reading.problems.add(below(at, "max_retries"), "must be 0 or more")
    # The gateway does not limit the attempts of a call, so bifrost's limit must not reduce them.
    attempts = None if retries is None else max(RetryConfig().attempts_total, retries + 1)
    base = _backoff(network, "retry_backoff_initial", at, reading)
    cap = _backoff(network, "retry_backoff_max", at, reading)
    if base is not None and cap is not None and base > cap:
        reading.problems.add(below(at, "retry_backoff_initial"), "it is longer than retry_backoff_max")
    return _without_none(max_retries=retries, attempts_total=attempts, backoff_base=base, backoff_cap=cap)


def _backoff(network: Network, name: str, at: str, reading: Reading) -> float | None:
    setting, older = getattr(network, name), getattr(network, f"{name}_ms")
    if setting is not None and older is not None:
        reading.problems.add(below(at, name), f"this and {name}_ms exclude each other; keep one")
    if setting is None:
        name, setting = f"{name}_ms", older
    if not isinstance(setting, str):
        milliseconds = _number(setting, below(at, name), reading)
        return None if milliseconds is None else milliseconds / 1000
    pieces: list[tuple[str, str]] = _DURATION.findall(setting[:_LONGEST])
    if not pieces or "".join(number + unit for number, unit in pieces) != setting:
        reading.problems.add(below(at, name), "write milliseconds as a number, or a duration such as 500ms or 1m30s")
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in pieces) or None


def _number(value: float | None, at: str, reading: Reading) -> float | None:
    """Return a number. `None` also for 0, which means the gateway's default."""
    if value is not None and not 0 <= value < math.inf:
        reading.problems.add(at, "must be greater than 0")
        return None
    return value or None


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
