"""A token server on the loopback, in a thread, since the vendors' SDKs block."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class TokenServer:
    """Answers by path, and keeps what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, tuple[int, Any]] = {}
        """The status and body by path; a body that is no text is sent as JSON."""
        self.asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        """Method, path, header fields in lower case and form of each request."""
        self.headers = {"metadata-flavor": "Google"}

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.asked]

    @property
    def form(self) -> dict[str, str]:
        """The form of the last request."""
        return self.asked[-1][3]


@contextmanager
def token_server(context: ssl.SSLContext | None = None) -> Iterator[TokenServer]:
    """Run a server, over TLS with a `context`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def do_PUT(self) -> None:
            self._serve("PUT")

        def _serve(self, method: str) -> None:
            path = self.path.partition("?")[0]
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.asked.append((method, path, headers, dict(parse_qsl(body))))
            status, answer = server.answers.get(path, (404, {}))
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.send_header("content-type", "text/xml" if isinstance(answer, str) else "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Log nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    scheme, host = ("http", "127.0.0.1") if context is None else ("https", "localhost")
    server = TokenServer(f"{scheme}://{host}:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
