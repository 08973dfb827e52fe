from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bifrost.config import ConnectionConfig
from bifrost.engine.pool.connections import Connections
from bifrost.transport import ConnectionBase, Origin, Transport
from tests.table import table

pytestmark = pytest.mark.anyio

HERE = Origin("https", "here.example", 443)
THERE = Origin("https", "there.example", 443)


class FakeConnection(ConnectionBase):
    def __init__(self, number: int) -> None:
        self.number = number
        self.is_usable = True
        self.closed = 0
        self.finishing: BaseException | None = None
        self.closing: BaseException | None = None
        self.hangs: anyio.Event | None = None

    def usable(self) -> bool:
        return self.is_usable

    async def finish(self) -> None:
        if self.finishing is not None:
            raise self.finishing

    async def close(self) -> None:
        self.closed += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.closing is not None:
            raise self.closing


class FakeTransport(Transport):
    def __init__(self) -> None:
        self.made: list[FakeConnection] = []

    def open(self, origin: Origin) -> Any:
        self.made.append(FakeConnection(len(self.made)))
        return self.made[-1]


def connections(*, random: float = 0.5, **config: Any) -> tuple[Connections, list[FakeConnection]]:
    transport = FakeTransport()
    return Connections(transport, ConnectionConfig(**config), lambda: random), transport.made


async def kept(connections: Connections, count: int, *, now: float = 0.0) -> None:
    """Leave so many connections idle."""
    taken = [await connections.take(HERE, now) for _ in range(count)]
    for each in taken:
        await connections.give_back(each, now)


async def test_the_connection_used_last_is_taken_first() -> None:
    there, made = connections()
    await kept(there, 3)
    for _ in range(5):
        one = await there.take(HERE, 1.0)
        assert one.connection is made[2]
        await there.give_back(one, 1.0)
    assert there.idle == 3
    assert there.lent == 0
    assert there.opened == 3


async def test_connections_belong_to_an_origin() -> None:
    there, made = connections()
    await kept(there, 1)
    other = await there.take(THERE, 1.0)
    assert other.connection is made[1]
    assert there.idle == 1
    assert there.lent == 1


async def test_a_fresh_connection_is_new_and_leaves_the_idle_ones() -> None:
    there, made = connections()
    await kept(there, 1)
    one = await there.take(HERE, 1.0, fresh=True)
    assert one.connection is made[1]
    assert there.idle == 1


async def test_a_connection_idle_for_too_long_is_closed_and_not_used() -> None:
    there, made = connections(idle=30.0)
    await kept(there, 1, now=0.0)
    assert (await there.take(HERE, 29.9)).connection is made[0]
    await kept(there, 1, now=30.0)
    assert (await there.take(HERE, 60.0)).connection is made[2]
    assert made[1].closed == 1


async def test_a_connection_does_not_outlive_its_age() -> None:
    there, made = connections(age=100.0, idle=1000.0)
    await kept(there, 1)
    assert (await there.take(HERE, 100.0)).connection is made[1]
    assert made[0].closed == 1


@table(("random", "lived"), [(0.0, 80.0), (0.5, 100.0), (1.0, 120.0)])
async def test_ages_are_spread_so_that_connections_do_not_all_go_at_once(random: float, lived: float) -> None:
    there, made = connections(age=100.0, idle=1000.0, random=random)
    await kept(there, 1)
    one = await there.take(HERE, lived - 0.01)
    assert one.connection is made[0]
    await there.give_back(one, lived)
    assert (await there.take(HERE, lived + 0.01)).connection is made[1]


async def test_a_connection_serves_so_many_requests_and_no_more() -> None:
    there, made = connections(requests=2)
    for number in (0, 0, 1, 1, 2):
        one = await there.take(HERE, 1.0)
        assert one.connection is made[number]
        await there.give_back(one, 1.0)
    assert (made[0].closed, made[1].closed, there.lent) == (1, 1, 0)


async def test_a_connection_that_the_peer_closed_is_not_used() -> None:
    there, made = connections()
    await kept(there, 2)
    made[1].is_usable = False
    assert (await there.take(HERE, 1.0)).connection is made[0]
    assert made[1].closed == 1


async def test_a_connection_that_cannot_be_finished_is_thrown_away_and_harms_nobody() -> None:
    there, made = connections()
    one = await there.take(HERE, 1.0)
    made[0].finishing = OSError("broken")
    await there.give_back(one, 1.0)
    assert (there.idle, there.lent, made[0].closed) == (0, 0, 1)


async def test_a_connection_whose_closing_fails_harms_nobody() -> None:
    there, made = connections()
    one = await there.take(HERE, 1.0)
    made[0].closing = OSError("a user's transport")
    await there.drop(one)
    assert there.lent == 0


async def test_what_is_idle_for_too_long_or_was_closed_by_the_peer_is_retired() -> None:
    there, made = connections(idle=30.0)
    now = anyio.current_time()
    await kept(there, 3, now=now)
    made[0].is_usable = False
    await there.retire_idle()
    assert (there.idle, made[0].closed, made[1].closed) == (2, 1, 0)
    old, made = connections(idle=30.0)
    await kept(old, 2, now=now - 31.0)
    await old.retire_idle()
    assert (old.idle, made[0].closed, made[1].closed) == (0, 1, 1)


async def test_a_connection_that_is_taken_while_others_are_retired_is_lent_once() -> None:
    there, made = connections(idle=30.0)
    await kept(there, 2, now=anyio.current_time())
    made[0].is_usable = False
    made[0].hangs = anyio.Event()
    taken: list[Any] = []
    async with anyio.create_task_group() as group:
        group.start_soon(there.retire_idle)
        with anyio.fail_after(5):
            while not made[0].closed:
                await anyio.lowlevel.checkpoint()
        taken.append(await there.take(HERE, anyio.current_time()))
        made[0].hangs.set()
    taken.append(await there.take(HERE, anyio.current_time()))
    assert [one.connection for one in taken] == [made[1], made[2]]


async def test_a_connection_is_lent_once_when_a_stale_one_is_closed_before_it() -> None:
    there, made = connections(idle=30.0)
    await kept(there, 2, now=anyio.current_time())
    made[1].is_usable = False
    made[1].hangs = anyio.Event()
    taken: list[Any] = []

    async def take() -> None:
        taken.append((await there.take(HERE, anyio.current_time())).connection)

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        with anyio.fail_after(5):
            while not made[1].closed:
                await anyio.lowlevel.checkpoint()
        await there.retire_idle()
        await take()
        made[1].hangs.set()
    assert taken == [made[0], made[2]]


async def test_closing_closes_idle_and_lent_connections_side_by_side() -> None:
    there, made = connections()
    await kept(there, 2)
    await there.take(HERE, 1.0)
    await there.take(THERE, 1.0)
    made[0].hangs = anyio.Event()
    with anyio.move_on_after(0.05):
        await there.close()
    assert [each.closed for each in made] == [1, 1, 1]
    assert (there.idle, there.lent) == (0, 0)
