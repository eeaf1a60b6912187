"""An HTTP server on the loopback address that serves bytes, and misbehaves as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What the server has and does.

    Attributes:
        files: content by path.
        cut_after: bytes after which an answer breaks off, as often as `cuts` says.
        cuts: how many answers break off.
        ranges: the server knows Range.
        kind: content type.
        status: error status of as many answers as it holds, first to last.
        headers: more headers by path.
        asked: (path, Range) of every request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: int = 0
    cuts: int = 0
    ranges: bool = True
    kind: str = "application/octet-stream"
    status: list[int] = field(default_factory=list)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Served]:
    """Serve until the block ends."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, body: bool) -> None:
            wanted = self.headers.get("Range", "")
            served.asked.append((self.path, wanted))
            content = served.files.get(self.path)
            if served.status or content is None:
                self.send_error(served.status.pop(0) if served.status else 404)
                return
            more = served.headers.get(self.path, {})
            changed = self.headers.get("If-Range", more.get("ETag")) != more.get("ETag")
            partly = wanted and served.ranges and not changed
            begin = int(wanted.removeprefix("bytes=").rstrip("-")) if partly else 0
            if begin and begin >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if begin else 200)
            self.send_header("Content-Type", served.kind)
            self.send_header("Content-Length", str(len(content) - begin))
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            rest = content[begin:]
            if body and served.cuts:
                served.cuts -= 1
                rest = rest[: served.cut_after]
                self.close_connection = True
            if body:
                self.wfile.write(rest)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
