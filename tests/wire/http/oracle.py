"""What h11 makes of the bytes of an answer: the judge of our own parser."""

from __future__ import annotations

import h11
import msgspec

from bifrost.wire.http.response import HttpFormatError, ResponseParser


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that was read."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    reusable: bool


def by_h11(*pieces: bytes, closes: bool = False) -> Read | None:
    """Read an answer with h11. `None`: h11 refuses it, or wants more."""
    connection = h11.Connection(our_role=h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "h"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    status, fields, body, ended = 0, (), b"", False
    try:
        for piece in (*pieces, b"") if closes else pieces:
            connection.receive_data(piece)
            while not ended:
                event = connection.next_event()
                match event:
                    case h11.Response():
                        status, fields = event.status_code, tuple(event.headers)
                    case h11.Data():
                        body += bytes(event.data)
                    case h11.EndOfMessage():
                        ended = True
                    case h11.InformationalResponse():
                        pass
                    case _:
                        break
    except h11.RemoteProtocolError:
        return None
    if not ended:
        return None
    data, closed = connection.trailing_data
    reusable = connection.their_state is h11.DONE and not data and not closed
    return Read(status=status, fields=fields, body=body, reusable=reusable)


def by_us(*pieces: bytes, closes: bool = False) -> Read | None:
    """Read an answer with our parser. `None`: it refuses it, or wants more."""
    parser = ResponseParser()
    body = b""
    try:
        for piece in pieces:
            parser.feed(piece)
            body += parser.take()
        if closes:
            parser.end()
    except HttpFormatError:
        return None
    if not parser.complete:
        return None
    # h11 gives a length that was said twice once.
    fields = tuple(
        (name.lower(), value)
        for number, (name, value) in enumerate(parser.fields)
        if name.lower() != b"content-length" or (name, value) not in parser.fields[:number]
    )
    return Read(status=parser.status, fields=fields, body=body, reusable=parser.reusable)
