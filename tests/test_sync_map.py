"""`SyncBifrost.map`: a plain iterator over results, whose inputs are read by the thread that reads it."""

from __future__ import annotations

import gc
import itertools
import signal
import sqlite3
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from bifrost import ClientClosedError, Plugin, ProviderConfig, ServerError, ShuttingDownError, UsageError
from bifrost.sync import SyncBifrost
from bifrost.testing import MockTransport, leak_check
from tests.engine.test_map import echo
from tests.test_sync import GPT, LIMIT, Watcher, client_of, held, own_threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def wait_until(holds: Any) -> None:
    for _ in range(LIMIT * 100):
        if holds():
            return
        threading.Event().wait(0.01)
    raise TimeoutError("what was waited for did not come")


def test_it_is_a_plain_iterator(mock: MockTransport) -> None:
    mock.function(echo).always()
    with leak_check(), client_of(mock) as client:
        results = client.map(map(str, range(20)), model=GPT, concurrency=3)
        got = {result.index: result.unwrap().text for result in results}
        assert got == {number: str(number) for number in range(20)}
        with pytest.raises(StopIteration):
            next(results)
        assert repr(results) == "SyncMapIterator(ended)"
        assert [result.input for result in client.map(["a", "b"], model=GPT, ordered=True)] == ["a", "b"]
        assert list(client.map([], model=GPT)) == []


def test_an_error_is_a_result(mock: MockTransport) -> None:
    mock.when(lambda call: echo(call) == "1").fail(500).always()
    mock.function(echo).always()
    with client_of(mock) as client:
        results = list(client.map(["0", "1", "2"], model=GPT, ordered=True, max_retries=0))
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, ServerError)


def test_inputs_are_read_in_the_readers_thread_and_as_places_are_free(mock: MockTransport) -> None:
    mock.function(echo).always()
    taken = 0

    def rows() -> Iterator[str]:
        nonlocal taken
        # Such a cursor may only be used in the thread that made it.
        with sqlite3.connect(":memory:") as base:
            for (number,) in base.execute("WITH n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"):
                taken += 1
                yield str(number)
        base.close()

    with client_of(mock) as client, client.map(rows(), model=GPT, concurrency=3) as results:
        for expected, _ in enumerate(itertools.islice(results, 50), 1):
            assert taken <= expected + 6
    assert taken < 60


def test_inputs_may_use_the_client(mock: MockTransport) -> None:
    mock.function(echo).always()
    with client_of(mock) as client:
        inputs = (client.chat(GPT, text).text for text in ("a", "b"))
        assert [result.unwrap().text for result in client.map(inputs, model=GPT, ordered=True)] == ["a", "b"]


def test_inputs_may_be_async(mock: MockTransport) -> None:
    async def inputs() -> AsyncIterator[str]:
        for text in "abc":
            yield text

    mock.function(echo).always()
    with client_of(mock) as client:
        assert [result.input for result in client.map(inputs(), model=GPT, ordered=True)] == ["a", "b", "c"]


def test_results_that_are_there_come_before_further_inputs(mock: MockTransport) -> None:
    """An input that follows from a result is asked for when that result was given."""
    mock.function(echo).always()
    todo = ["3"]

    def inputs() -> Iterator[str]:
        while todo:
            yield todo.pop()

    got: list[str] = []
    with client_of(mock) as client:
        for result in client.map(inputs(), model=GPT, concurrency=1):
            got.append(result.unwrap().text)
            if got[-1] != "0":
                todo.append(str(int(got[-1]) - 1))
    assert got == ["3", "2", "1", "0"]


def test_what_the_inputs_raise_comes_behind_the_results(mock: MockTransport) -> None:
    def inputs() -> Iterator[str]:
        yield "a"
        yield "b"
        raise LookupError("the file ends here")

    mock.function(echo).always()
    with client_of(mock) as client:
        results = client.map(inputs(), model=GPT)
        assert {next(results).input, next(results).input} == {"a", "b"}
        for _ in range(2):
            with pytest.raises(LookupError, match="ends here"):
                next(results)


@pytest.mark.parametrize("how", ["with", "close", "drop"])
def test_leaving_early_cancels_what_is_under_way(mock: MockTransport, how: str) -> None:
    closed: list[str] = []

    def inputs() -> Iterator[str]:
        try:
            for number in itertools.count():
                yield str(number)
        finally:
            closed.append("closed")

    mock.when(lambda call: echo(call) == "0").reply("first")
    mock.hang().always()
    watcher = Watcher()
    config = {"openai": ProviderConfig(concurrency=4)}
    with (
        leak_check(),
        SyncBifrost(mock.account_with({"openai": ["a"]}, configs=config), transport=mock, plugins=[watcher]) as client,
    ):
        results = client.map(inputs(), model=GPT)
        assert next(results).index == 0
        if how == "with":
            with results:
                pass
        elif how == "close":
            results.close()
            results.close()
        if how != "drop":
            assert mock.connections.in_use == 0
            with pytest.raises(UsageError, match="closed"):
                next(results)
        del results
        gc.collect()
        wait_until(lambda: mock.connections.in_use == 0)
        assert closed == ["closed"]
        wait_until(lambda: len(watcher.outcomes) == len(mock.calls))


def test_ctrl_c_ends_it(mock: MockTransport) -> None:
    arrived = threading.Event()
    held(mock, arrived)
    main = threading.main_thread().ident or 0

    def press() -> None:
        arrived.wait(LIMIT)
        signal.pthread_kill(main, signal.SIGINT)

    watcher = Watcher()
    with client_of(mock, plugins=[watcher]) as client:
        thread = threading.Thread(target=press)
        thread.start()
        results = client.map(["a"], model=GPT)
        with pytest.raises(KeyboardInterrupt):
            next(results)
        thread.join(LIMIT)
        assert mock.connections.in_use == 0
        assert len(watcher.outcomes) == 1
        with pytest.raises(UsageError, match="closed"):
            next(results)
        mock.forget()
        mock.function(echo).always()
        assert client.chat(GPT, "next").text == "next"


def test_one_thread_reads_at_a_time(mock: MockTransport) -> None:
    arrived = threading.Event()
    held(mock, arrived)
    failures: list[Exception] = []
    with client_of(mock) as client:
        results = client.map(["a"], model=GPT)

        def read() -> None:
            try:
                next(results)
            except UsageError as error:
                failures.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        assert arrived.wait(LIMIT)
        with pytest.raises(UsageError, match="another thread"):
            next(results)
        results.close()
        thread.join(LIMIT)
    assert [type(failure) for failure in failures] == [UsageError]


def test_a_client_closed_by_another_thread_ends_it(mock: MockTransport) -> None:
    arrived = threading.Event()
    held(mock, arrived)
    failures: list[Exception] = []
    client = client_of(mock)
    results = client.map(itertools.repeat("a"), model=GPT, concurrency=2)

    def read() -> None:
        try:
            failures.extend(result.error or LookupError() for result in results)
        except (ShuttingDownError, ClientClosedError) as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert arrived.wait(LIMIT)
    client.close(drain=0)
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert failures
    assert {type(failure) for failure in failures} <= {ShuttingDownError, ClientClosedError}
    results.close()
    assert own_threads() == []


def test_hooks_see_the_context_of_the_reader(mock: MockTransport) -> None:
    tenant = ContextVar("tenant", default="nobody")
    seen: list[str] = []

    class See(Plugin):
        name = "see"

        def before_call(self, call: Any, request: Any) -> None:
            seen.append(tenant.get())

    mock.function(echo).always()
    with client_of(mock, plugins=[See()]) as client:
        tenant.set("acme")
        assert len(list(client.map(["a", "b"], model=GPT))) == 2
    assert seen == ["acme", "acme"]
