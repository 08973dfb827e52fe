from __future__ import annotations

from contextvars import ContextVar, copy_context
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bifrost.engine.pool.workers import Job
from bifrost.errors import QueueFullError, ServerError, ShuttingDownError
from tests.engine.rig import Rig, gates_of, held, rig_of, until
from tests.table import table
from tests.wide import few_of

pytestmark = pytest.mark.anyio


# --- order and bounds


async def test_a_job_gives_its_answer_to_its_own_caller() -> None:
    async with rig_of(concurrency=3) as rig:
        answers: dict[int, Any] = {}

        async def call(number: int) -> None:
            answers[number] = await rig.pool.submit(rig.job(number, rig.at_once))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(call, number)
        assert answers == {number: number for number in range(50)}


async def test_jobs_are_taken_in_the_order_of_their_callers() -> None:
    async with rig_of(concurrency=1) as rig, anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(rig.submit, number)
            await until(lambda count=number: len(rig.running) + rig.pool.queued == count + 1)
        rig.gate.set()
        await until(lambda: len(rig.order) == 6)
        assert rig.order == [0, 1, 2, 3, 4, 5]


async def test_no_more_jobs_run_at_once_than_concurrency_allows() -> None:
    async with rig_of(concurrency=2) as rig, anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(rig.submit, number)
        await until(lambda: rig.pool.queued == 3 and len(rig.running) == 2)
        assert rig.pool.workers == 2
        rig.gate.set()


async def test_workers_are_started_when_needed_and_used_again() -> None:
    async with rig_of(concurrency=8) as rig:
        assert rig.pool.workers == 0
        for number in range(5):
            await rig.pool.submit(rig.job(number, rig.at_once))
            await until(lambda: rig.pool.in_flight == 0)
        assert rig.pool.workers == 1


async def test_a_full_queue_refuses_when_told_to_drop() -> None:
    async with rig_of(concurrency=1, queue=1, on_full="drop") as rig, anyio.create_task_group() as group:
        group.start_soon(rig.submit, "running")
        await until(lambda: rig.running)
        group.start_soon(rig.submit, "queued")
        await until(lambda: rig.pool.queued == 1)
        with pytest.raises(QueueFullError, match="queue of 1 is full") as caught:
            await rig.submit("refused")
        assert caught.value.provider == "test"
        rig.gate.set()


async def test_a_full_queue_lets_callers_wait_in_order_otherwise() -> None:
    async with rig_of(concurrency=1, queue=1) as rig, anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(rig.submit, number)
            await until(lambda count=number: len(rig.running) + rig.pool.queued + rig.pool._system.waiting == count + 1)
        assert rig.pool._system.waiting == 3
        rig.gate.set()
        await until(lambda: len(rig.order) == 5)
        assert rig.order == [0, 1, 2, 3, 4]


async def test_queue_timeout_bounds_the_wait_for_a_place() -> None:
    async with rig_of(concurrency=1, queue=0, queue_timeout=0.02) as rig, anyio.create_task_group() as group:
        group.start_soon(rig.submit, "running")
        await until(lambda: rig.running)
        with pytest.raises(QueueFullError, match=r"queue_timeout=0\.02 s"):
            await rig.submit("late")
        assert rig.pool._system.waiting == 0
        rig.gate.set()


async def test_queue_timeout_bounds_the_wait_for_a_worker() -> None:
    async with rig_of(concurrency=1, queue=5, queue_timeout=0.02) as rig, anyio.create_task_group() as group:
        group.start_soon(rig.submit, "running")
        await until(lambda: rig.running)
        with pytest.raises(QueueFullError, match=r"queue_timeout=0\.02 s"):
            await rig.submit("late")
        assert held(rig.pool) == 1
        rig.gate.set()


async def test_queue_timeout_does_not_touch_a_job_that_was_taken() -> None:
    async with rig_of(concurrency=1, queue_timeout=1.0) as rig:

        async def slow(job: Job) -> str:
            await anyio.sleep(1.05)
            return "done"

        assert await rig.pool.submit(rig.job("slow", slow)) == "done"


async def test_streams_hold_no_more_than_their_share() -> None:
    async with rig_of(concurrency=4, stream_share=0.5) as rig, anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(lambda name=f"stream {number}": rig.submit(name, is_stream=True))
        await until(lambda: len(rig.running) == 2 and rig.pool.queued == 2)
        group.start_soon(rig.submit, "plain 1")
        group.start_soon(rig.submit, "plain 2")
        await until(lambda: len(rig.running) == 4)
        assert {"plain 1", "plain 2"} <= set(rig.running)
        rig.gate.set()


async def test_a_stream_that_leaves_while_waiting_for_its_share_holds_nothing() -> None:
    async with rig_of(concurrency=2, stream_share=0.5) as rig, anyio.create_task_group() as group:
        group.start_soon(lambda: rig.submit("first", is_stream=True))
        await until(lambda: rig.running)
        with anyio.move_on_after(0.01):
            await rig.submit("second", is_stream=True)
        assert held(rig.pool) == 2  # the first one, at both gates
        rig.gate.set()


async def test_a_stream_that_waits_too_long_for_its_share_is_refused() -> None:
    config = {"concurrency": 2, "stream_share": 0.5, "queue_timeout": 0.01}
    async with rig_of(**config) as rig, anyio.create_task_group() as group:
        group.start_soon(lambda: rig.submit("first", is_stream=True))
        await until(lambda: rig.running)
        with pytest.raises(QueueFullError):
            await rig.submit("second", is_stream=True)
        assert held(rig.pool) == 2
        rig.gate.set()


@pytest.mark.parametrize("queue", [0, 4])
async def test_streams_that_wait_leave_plain_calls_their_share_of_the_queue(queue: int) -> None:
    async with rig_of(concurrency=4, queue=queue, stream_share=0.5) as rig, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(lambda name=f"stream {number}": rig.submit(name, is_stream=True))
        await until(lambda: len(rig.running) == 2 and rig.pool._stream_system.waiting == 18 - queue // 2)
        plain = [f"plain {number}" for number in range(2 + queue // 2)]
        for name in plain:
            group.start_soon(rig.submit, name)
        await until(lambda: len(rig.running) == 4 and rig.pool.queued == queue)
        assert rig.pool._system.waiting == 0
        assert set(rig.running[2:]) <= set(plain)
        rig.gate.set()


async def test_a_stream_is_refused_where_only_plain_calls_may_still_wait() -> None:
    config = {"concurrency": 2, "queue": 2, "stream_share": 0.5, "on_full": "drop"}
    async with rig_of(**config) as rig, anyio.create_task_group() as group:
        for number in range(2):
            group.start_soon(lambda name=f"stream {number}": rig.submit(name, is_stream=True))
        await until(lambda: rig.running and rig.pool.queued == 1)
        before = held(rig.pool)
        with pytest.raises(QueueFullError, match=r"stream_share=0\.5"):
            await rig.submit("third", is_stream=True)
        assert held(rig.pool) == before
        group.start_soon(rig.submit, "plain")
        await until(lambda: "plain" in rig.running)
        rig.gate.set()


# --- a limit that moves


async def test_a_lower_limit_lets_go_on_what_is_in_flight_and_then_does_less_at_once() -> None:
    async with rig_of(concurrency=4) as rig, anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(rig.submit, number)
            await until(lambda count=number: len(rig.running) + rig.pool.queued == count + 1)
        rig.pool.resize(rig.pool.config, limit=2)
        gate, rig.gate = rig.gate, anyio.Event()
        gate.set()
        await until(lambda: rig.pool.queued == 4 and len(rig.running) == rig.pool.workers == 2)
        rig.gate.set()
        await until(lambda: len(rig.order) == 10)
        assert sorted(rig.order) == list(range(10))


async def test_a_higher_limit_takes_waiting_jobs_at_once() -> None:
    async with rig_of(concurrency=8) as rig, anyio.create_task_group() as group:
        rig.pool.resize(rig.pool.config, limit=1)
        for number in range(10):
            group.start_soon(rig.submit, number)
        await until(lambda: len(rig.running) == 1 and rig.pool.queued == 9)
        rig.pool.resize(rig.pool.config, limit=6)
        await until(lambda: len(rig.running) == 6)
        assert (rig.pool.workers, rig.pool.queued) == (6, 4)
        rig.gate.set()


async def test_idle_workers_above_the_limit_go_and_take_nothing_with_them() -> None:
    async with rig_of(concurrency=4) as rig:
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(rig.submit, number)
            await until(lambda: len(rig.running) == 4)
            rig.gate.set()
        await until(lambda: len(rig.pool._idle) == 4)
        rig.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            # At once: they have not gone yet when the jobs come.
            rig.pool.resize(rig.pool.config, limit=1)
            for number in range(4):
                group.start_soon(rig.submit, f"later {number}")
            await until(lambda: rig.pool.workers == 1 and len(rig.running) == 1)
            assert rig.pool.queued == 3
            rig.gate.set()
        assert sorted(rig.order[4:]) == [f"later {number}" for number in range(4)]


@pytest.mark.parametrize("seed", few_of(range(20), 4))
async def test_whatever_the_limit_does_jobs_are_done_in_order_once_and_no_more_at_once(seed: int) -> None:
    chance = Random(seed)
    async with rig_of(concurrency=6, stream_share=1.0) as rig, anyio.create_task_group() as group:

        async def work(job: Job) -> Any:
            rig.running.append(job.subject)
            rig.order.append(job.subject)
            assert len(rig.running) <= 6
            try:
                for _ in range(job.subject % 7):
                    await anyio.lowlevel.checkpoint()
                if job.subject % 5 == 0:
                    # As the outcome of a job does.
                    rig.pool.resize(rig.pool.config, limit=chance.randint(1, 6))
            finally:
                rig.running.remove(job.subject)

        for number in range(120):
            waiting = len(rig.order) + rig.pool.queued
            group.start_soon(rig.pool.submit, rig.job(number, work))
            await until(lambda count=waiting: len(rig.order) + rig.pool.queued == count + 1)
            for _ in range(chance.choice((0, 0, 0, 5))):
                await anyio.lowlevel.checkpoint()
        await until(lambda: rig.idle)
        assert sorted(rig.order) == list(range(120))
        # Several workers that are woken together may begin in any order.
        assert all(abs(place - number) < 6 for place, number in enumerate(rig.order))
        await until(lambda: rig.pool.workers <= rig.pool.limit)


# --- leaving


async def test_five_callers_that_leave_while_queued_do_not_fill_a_queue_of_five() -> None:
    async with rig_of(concurrency=1, queue=5, on_full="drop") as rig, anyio.create_task_group() as group:
        group.start_soon(rig.submit, "running")
        await until(lambda: rig.running)
        async with anyio.create_task_group() as leaving:
            for number in range(5):
                leaving.start_soon(rig.submit, f"leaves {number}")
            await until(lambda: rig.pool.queued == 5)
            leaving.cancel_scope.cancel()
        assert rig.pool.queued == 0
        for number in range(5):
            group.start_soon(rig.submit, f"stays {number}")
        await until(lambda: rig.pool.queued == 5)
        rig.gate.set()
        await until(lambda: len(rig.order) == 6)
        assert sorted(rig.order) == ["running", *(f"stays {number}" for number in range(5))]


async def test_abandoned_jobs_are_taken_out_of_the_queue() -> None:
    async with rig_of(concurrency=1) as rig, anyio.create_task_group() as group:
        group.start_soon(rig.submit, "running")
        await until(lambda: rig.running)
        group.start_soon(rig.submit, "waits")
        await until(lambda: rig.pool.queued == 1)
        async with anyio.create_task_group() as leaving:
            for number in range(300):
                leaving.start_soon(rig.submit, number)
            await until(lambda: rig.pool.queued == 301)
            leaving.cancel_scope.cancel()
        assert rig.pool._dead <= 65
        assert len(rig.pool._plain) == rig.pool._dead + 1
        rig.gate.set()
        await until(lambda: len(rig.order) == 2)
        assert rig.order == ["running", "waits"]


async def test_an_abandoned_job_holds_nothing_of_its_call() -> None:
    async with rig_of(concurrency=1) as rig, anyio.create_task_group() as group:
        group.start_soon(rig.submit, "running")
        await until(lambda: rig.running)
        abandoned = rig.job("its request")
        with anyio.move_on_after(0.01):
            await rig.pool.submit(abandoned)
        assert abandoned.abandoned
        assert abandoned.subject is None
        rig.gate.set()


async def test_a_caller_that_leaves_breaks_its_running_job_off_and_the_worker_goes_on() -> None:
    async with rig_of(concurrency=1) as rig:
        broken_off = anyio.Event()

        async def hang(job: Job) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                broken_off.set()

        for _ in range(3):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(rig.pool.submit, rig.job("hangs", hang))
                    await until(lambda: rig.pool.in_flight == 1 and rig.pool.queued == 0)
                    scope.cancel()
            with anyio.fail_after(5):
                await broken_off.wait()
            await until(lambda: rig.idle)
        assert await rig.pool.submit(rig.job("next", rig.at_once)) == "next"
        assert rig.pool.workers == 1


async def test_a_late_abandon_does_not_hit_the_workers_next_job() -> None:
    async with rig_of(concurrency=1) as rig, anyio.create_task_group() as group:
        finished = anyio.Event()
        scope = anyio.CancelScope()

        async def early(job: Job) -> str:
            job.finish("early")
            finished.set()
            return "early"

        async def leave() -> None:
            with scope:
                await rig.pool.submit(rig.job("first", early))

        group.start_soon(leave)
        await until(finished.is_set)
        group.start_soon(rig.submit, "second")
        scope.cancel()
        await until(lambda: "second" in rig.running)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert rig.running == ["second"]
        rig.gate.set()


async def test_a_job_that_ends_in_spite_of_its_cancellation_does_not_take_the_next_one_down() -> None:
    async with rig_of(concurrency=1) as rig, anyio.create_task_group() as group:

        async def stubborn(job: Job) -> None:
            with anyio.CancelScope(shield=True):
                await rig.wait(job)

        scope = anyio.CancelScope()

        async def leave() -> None:
            with scope:
                await rig.pool.submit(rig.job("stubborn", stubborn))

        async def wait(job: Job) -> Any:
            await anyio.lowlevel.checkpoint()
            return job.subject

        group.start_soon(leave)
        await until(lambda: rig.running)
        answers: list[Any] = []

        async def next_one() -> None:
            answers.append(await rig.pool.submit(rig.job("next", wait)))

        group.start_soon(next_one)
        await until(lambda: rig.pool.queued == 1)
        scope.cancel()
        rig.gate.set()
        await until(lambda: answers == ["next"])


@table("turns", range(12))
async def test_a_caller_may_leave_after_any_number_of_turns_of_the_loop(turns: int) -> None:
    async with rig_of(concurrency=1) as rig:
        rig.gate.set()

        async def work(job: Job) -> Any:
            await anyio.lowlevel.checkpoint()
            rig.order.append(job.subject)
            await anyio.lowlevel.checkpoint()
            return job.subject

        for subject in range(4):
            async with anyio.create_task_group() as group:
                group.start_soon(rig.pool.submit, rig.job(subject, work))
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            assert await rig.pool.submit(rig.job("good", rig.at_once)) == "good"
            await until(lambda: rig.idle)


async def test_a_stream_handed_over_to_a_caller_that_leaves_at_that_moment_is_released() -> None:
    async with rig_of(concurrency=1) as rig:
        released = anyio.Event()

        class Lease:
            def release(self) -> None:
                released.set()

        scope = anyio.CancelScope()

        async def hand_over(job: Job) -> None:
            scope.cancel()
            assert job.finish(Lease())
            with anyio.fail_after(5):
                await released.wait()

        with scope:
            await rig.pool.submit(rig.job("stream", hand_over, is_stream=True))
        assert scope.cancelled_caught
        assert released.is_set()


# --- failures


async def test_what_a_job_raises_reaches_its_caller_unchanged() -> None:
    async with rig_of(concurrency=1) as rig:
        error = ServerError("500")

        async def fail(job: Job) -> None:
            raise error

        with pytest.raises(ServerError) as caught:
            await rig.pool.submit(rig.job("fails", fail))
        assert caught.value is error
        assert await rig.pool.submit(rig.job("next", rig.at_once)) == "next"
        assert rig.pool.workers == 1


@table("kind", [MemoryError, RecursionError, SystemError, AssertionError, LookupError])
async def test_whatever_a_job_raises_the_pool_keeps_its_size(kind: type[Exception]) -> None:
    async with rig_of(concurrency=3) as rig, anyio.create_task_group() as group:

        async def fail(job: Job) -> None:
            await anyio.lowlevel.checkpoint()
            raise kind("bad luck")

        async def call() -> None:
            with pytest.raises(kind):
                await rig.pool.submit(rig.job("fails", fail))

        for _ in range(9):
            group.start_soon(call)
        for number in range(3):
            group.start_soon(rig.submit, number)
        await until(lambda: len(rig.running) == 3)
        assert rig.pool.workers == 3
        rig.gate.set()


async def test_a_worker_whose_own_machinery_fails_begins_anew() -> None:
    class Broken(Job):
        def finish(self, result: Any = None, error: BaseException | None = None) -> bool:
            raise RuntimeError("broken")

    async with rig_of(concurrency=1) as rig, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def call_in_vain() -> None:
            with scope:
                await rig.pool.submit(Broken(rig.at_once, "broken", done=rig.host.signal()))

        group.start_soon(call_in_vain)
        await until(lambda: rig.pool.worker_restarts == 1)
        group.start_soon(rig.submit, "next")
        await until(lambda: rig.running)
        scope.cancel()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert rig.running == ["next"], "the worker's next job was cancelled in the place of its last"
        assert rig.pool.workers == 1
        rig.gate.set()
        rig.pool.worker_restarts = 0


# --- idle workers


async def test_idle_workers_are_let_go() -> None:
    async with rig_of(concurrency=8, worker_idle=0.01) as rig:
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(rig.submit, number)
            await until(lambda: len(rig.running) == 8)
            rig.gate.set()
        await until(lambda: rig.pool.workers == 0)
        await until(lambda: not rig.pool._swept)
        assert await rig.pool.submit(rig.job("later", rig.at_once)) == "later"


async def test_workers_in_use_are_kept_while_others_go() -> None:
    async with rig_of(concurrency=8, worker_idle=0.02) as rig, anyio.create_task_group() as group:
        group.start_soon(rig.submit, "stays")
        await until(lambda: rig.running)
        await rig.pool.submit(rig.job("short", rig.at_once))
        assert rig.pool.workers == 2
        await until(lambda: rig.pool.workers == 1)
        assert rig.running == ["stays"]
        rig.gate.set()


async def test_only_workers_that_were_not_needed_for_a_while_are_let_go() -> None:
    async with rig_of(concurrency=3) as rig:

        async def together(count: int) -> None:
            gate = rig.gate = anyio.Event()
            async with anyio.create_task_group() as group:
                for number in range(count):
                    group.start_soon(rig.submit, number)
                await until(lambda: len(rig.running) == count)
                gate.set()
            await until(lambda: rig.pool.in_flight == 0)

        await together(3)
        rig.pool._retire_workers()
        await together(2)
        rig.pool._retire_workers()
        await until(lambda: rig.pool.workers == 2)
        rig.pool._retire_workers()
        await until(lambda: rig.pool.workers == 0)


async def test_a_job_that_comes_as_its_worker_is_let_go_is_done_all_the_same() -> None:
    async with rig_of(concurrency=1) as rig:
        await rig.pool.submit(rig.job("first", rig.at_once))
        await until(lambda: len(rig.pool._idle) == 1)
        rig.pool._let_go(1)
        with anyio.fail_after(5):
            assert await rig.pool.submit(rig.job("second", rig.at_once)) == "second"


# --- whose context


async def test_a_worker_runs_in_nobodys_context() -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    tenant.set("the client's owner")
    async with rig_of(concurrency=1) as rig:
        seen: list[str] = []

        async def look(job: Job) -> None:
            seen.append(tenant.get())

        async def call(name: str) -> None:
            tenant.set(name)
            await rig.pool.submit(rig.job(name, look))

        for name in ("tenant A", "tenant B"):
            async with anyio.create_task_group() as group:
                copy_context().run(group.start_soon, call, name)
        assert seen == ["nobody"] * 2


# --- the end


async def _refused(rig: Rig, errors: list[BaseException], *, is_stream: bool = False) -> None:
    try:
        await rig.submit("refused", is_stream=is_stream)
    except ShuttingDownError as error:
        errors.append(error)


async def test_a_drain_answers_whoever_waits_and_lets_the_running_finish() -> None:
    async with rig_of(concurrency=2, queue=2, stream_share=0.5) as rig:
        errors: list[BaseException] = []
        answers: list[Any] = []

        async def finishes(name: str, *, is_stream: bool) -> None:
            answers.append(await rig.submit(name, is_stream=is_stream))

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: finishes("runs", is_stream=False))
            group.start_soon(lambda: finishes("streams", is_stream=True))
            await until(lambda: len(rig.running) == 2)
            group.start_soon(_refused, rig, errors)
            await until(lambda: rig.pool.queued == 1)
            group.start_soon(lambda: _refused(rig, errors, is_stream=True))
            await until(lambda: rig.pool.queued == 2)
            group.start_soon(_refused, rig, errors)
            await until(lambda: rig.pool._system.waiting == 1)
            rig.pool.refuse_queued(ShuttingDownError("closing"))
            await until(lambda: len(errors) == 3)
            assert sorted(rig.running) == ["runs", "streams"]
            await _refused(rig, errors)
            rig.gate.set()
        assert sorted(answers) == ["runs", "streams"]
        assert len(set(map(id, errors))) == 4, "callers share an error, and what each call adds to it"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_drain_answers_whoever_waits_for_a_place_though_none_is_freed(is_stream: bool) -> None:
    config = {"concurrency": 2 if is_stream else 1, "queue": 0, "stream_share": 0.5}
    async with rig_of(**config) as rig, anyio.create_task_group() as group:
        errors: list[BaseException] = []
        group.start_soon(lambda: rig.submit("runs", is_stream=is_stream))
        await until(lambda: rig.running)
        group.start_soon(lambda: _refused(rig, errors, is_stream=is_stream))
        await until(lambda: sum(gate.waiting for gate in gates_of(rig.pool)) == 1)
        rig.pool.refuse_queued(ShuttingDownError("closing"))
        await until(lambda: len(errors) == 1)
        assert rig.running == ["runs"]
        rig.gate.set()


async def test_the_end_of_the_host_answers_everybody() -> None:
    async with rig_of(concurrency=1, queue=1) as rig:
        errors: list[BaseException] = []
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(_refused, rig, errors)
            await until(lambda: rig.pool._system.waiting == 1 and rig.running)
            await rig.host.stop()
        assert len(errors) == 3
        await _refused(rig, errors)


async def test_a_pool_whose_host_has_ended_refuses_and_does_not_hang() -> None:
    async with rig_of(concurrency=1) as rig:
        await rig.host.stop()
        late = type(rig.pool)("late", rig.pool.config, rig.host, rig.pool.connections)
        with anyio.fail_after(5):
            await late.start()
            with pytest.raises(ShuttingDownError):
                await late.submit(rig.job("late"))
