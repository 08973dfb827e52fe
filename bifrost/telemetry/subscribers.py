"""The subscribers to the records of a client."""

from __future__ import annotations

import logging
from inspect import iscoroutinefunction
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, cast

from bifrost.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost.telemetry.records import Record

_log = logging.getLogger("bifrost.telemetry")


class Subscribers:
    """The subscriptions of one client, in order. Any thread may use it."""

    __slots__ = ("_lock", "subscriptions")

    def __init__(self) -> None:
        self._lock = Lock()
        self.subscriptions: tuple[Subscription, ...] = ()
        """Checked before a record is made: without subscriptions none is."""

    def add(self, function: Callable[[Record], object]) -> Subscription:
        """Register a function. Raises `ConfigError` if it is not callable, or is `async`."""
        _check(function)
        subscription = Subscription(self, function)
        with self._lock:
            self.subscriptions = (*self.subscriptions, subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription, if it is there."""
        with self._lock:
            self.subscriptions = tuple(each for each in self.subscriptions if each is not subscription)

    def emit(self, record: Record) -> None:
        """Pass a record to every subscriber.

        The first failure of a subscriber is logged; failures have no other effect.
        """
        for subscription in self.subscriptions:
            subscription.receive(record)


class Subscription:
    """A registered subscriber. It ends with `cancel()`, or with the block if it is used as a context manager."""

    __slots__ = ("_failed", "_function", "_subscribers")

    def __init__(self, subscribers: Subscribers, function: Callable[[Record], object]) -> None:
        self._subscribers = subscribers
        self._function = function
        self._failed = False

    def cancel(self) -> None:
        """End the subscription. It may be called repeatedly, from any thread."""
        self._subscribers.remove(self)

    def receive(self, record: Record) -> None:
        """Pass a record to the function. Its first failure is logged, and the others are ignored."""
        try:
            self._function(record)
        except Exception:  # noqa: BLE001 - foreign code
            if not self._failed:
                self._failed = True
                _log.exception(
                    "the subscriber %s failed with %s; its further failures are not logged",
                    _name(self._function),
                    type(record).__name__,
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"Subscription({_name(self._function)})"


def _check(function: object) -> None:
    if not callable(function):
        raise ConfigError(f"a subscriber is a function that takes a record, not {type(function).__name__}")
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        raise ConfigError(
            f"the subscriber {_name(function)} is async; records are passed to plain functions, which may hand them on "
            "to a queue"
        )


def _name(function: object) -> str:
    return ascii(cast("Any", function).__qualname__ if hasattr(function, "__qualname__") else type(function).__name__)
