"""Two hundred calls at once in a process with few descriptors, and one more when there are enough: run as a script."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[2]))

from bifrost import Bifrost, BifrostError, Key, ProviderConfig, RetryConfig, StaticAccount
from bifrost.testing import leak_check, no_waits
from tests.hostile.answers import MODEL, good
from tests.hostile.server import HostileServer


async def main() -> None:
    async with leak_check():
        await use_up()


async def use_up() -> None:
    with HostileServer(good) as server, no_waits():
        account = StaticAccount(
            keys={"openai": [Key(name="k", value="sk-few-0123456789")]},
            configs={"openai": ProviderConfig(base_url=f"{server.url}/v1", retry=RetryConfig(max_retries=1))},
        )
        came: Counter[str] = Counter()

        async def call(client: Bifrost) -> None:
            try:
                await client.chat(MODEL, "hi")
            except BifrostError as error:
                came[type(error).__name__] += 1
            else:
                came["fine"] += 1

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        async with Bifrost(account, timeout=2) as client:
            async with anyio.create_task_group() as group:
                for _ in range(200):
                    group.start_soon(call, client)
            print(dict(came))  # noqa: T201 - told where the test fails
            assert came.total() == 200
            assert came["fine"] < 200
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
            # A provider that could not be reached so often may be left alone for a while; that is an error of ours too.
            await call(client)
        async with Bifrost(account) as client:
            for _ in range(20):
                assert (await client.chat(MODEL, "hi")).text == "hello"
    print("recovered")  # noqa: T201 - the test reads it


anyio.run(main, backend=sys.argv[1])
