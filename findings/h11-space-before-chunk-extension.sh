#!/usr/bin/env bash
# h11 0.16.0 refuses white space between the size of a chunk and its extension.
#
# RFC 9112, section 7.1.1, allows it there (BWS) and asks recipients to accept it. h11 accepts trailing white space
# behind the size, and an extension right behind it, but not both. httpcore and httpx read HTTP/1.1 with h11, so a server
# or a proxy that writes `5 ;name=value` cannot be read with them: "illegal chunk header".
# What this means for a client: an answer that is right is told as a protocol error, and is usually tried again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q "h11==0.16.0"
"$folder/venv/bin/python" - <<'PY'
import h11


def read(size: bytes) -> str:
    connection = h11.Connection(our_role=h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n")
    body = b""
    try:
        while True:
            match connection.next_event():
                case h11.Data(data=data):
                    body += bytes(data)
                case h11.EndOfMessage():
                    return body.decode()
                case _:
                    pass
    except h11.RemoteProtocolError as error:
        return f"RemoteProtocolError: {error}"


seen = {size: read(size) for size in (b"5", b"5 ", b"5;name=value", b"5 ;name=value")}
print("h11", h11.__version__)
for size, result in seen.items():
    print(f"  {size.decode()!r:20} {result}")
assert [seen[size] for size in (b"5", b"5 ", b"5;name=value")] == ["hello"] * 3
assert seen[b"5 ;name=value"].startswith("RemoteProtocolError: illegal chunk header")
PY
