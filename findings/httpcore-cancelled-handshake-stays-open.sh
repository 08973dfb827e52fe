#!/usr/bin/env bash
# httpcore 1.0.9 (httpx 0.28.1) leaves the TCP connection open if the request is cancelled during its TLS handshake.
#
# A connect timeout closes the connection. A cancellation (a deadline of the caller, a task that is left) does not, and
# closing the client does not either: the half-made connection is in no pool. It is so on asyncio and on trio. A service
# whose callers leave while a provider's TLS is slow keeps a descriptor for each of them.
# What this means for a gateway: with a transport of httpx, cancel by its connect timeout rather than around it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q "httpx==0.28.1" "httpcore==1.0.9" "anyio==4.16.0" "trio==0.35.0"
cat >"$folder/handshake.py" <<'PY'
import gc
import sys

import anyio
import anyio.abc
import httpx


async def main() -> dict[str, str]:
    ended = anyio.Event()

    async def silent(stream: anyio.abc.SocketStream) -> None:
        """Read the client's greeting, answer nothing, and note when the client ends the connection."""
        try:
            while True:
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            ended.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    seen: dict[str, str] = {}
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, silent)
        for how in ("timeout", "cancelled"):
            ended = anyio.Event()
            connect, outer = (0.5, 10.0) if how == "timeout" else (None, 0.5)
            async with httpx.AsyncClient(timeout=httpx.Timeout(None, connect=connect), trust_env=False) as client:
                with anyio.move_on_after(outer):
                    try:
                        await client.get(f"https://127.0.0.1:{port}/")
                    except httpx.ConnectTimeout:
                        pass
            del client
            gc.collect()
            with anyio.move_on_after(3):
                await ended.wait()
            seen[how] = "closed" if ended.is_set() else "left open"
        group.cancel_scope.cancel()
    return seen


seen = anyio.run(main, backend=sys.argv[1])
print(f"  {sys.argv[1]}: {seen}")
assert seen == {"timeout": "closed", "cancelled": "left open"}, seen
PY
echo "httpcore 1.0.9: the connection after a handshake that did not end"
for loop in asyncio trio; do
    "$folder/venv/bin/python" -W ignore "$folder/handshake.py" "$loop"
done
