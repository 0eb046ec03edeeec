"""The witness as an HTTP service, from the standard library."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from ledger_adapter.witness.core import Answer, Witness

PATH: Final = "/add-checkpoint"
BODY_BYTES_MAX: Final = 1 << 17  # 16 signatures of 5 kB, 63 hashes, and room
TIMEOUT_S: Final = 10.0


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness; ``port`` 0 takes a free one."""

    daemon_threads = True

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.witness = witness

    @property
    def url(self) -> str:
        """Submission prefix of the witness."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or len(length) > len(str(BODY_BYTES_MAX)):
            self._send(Answer(status=400, body="no plain Content-Length\n"), close=True)
        elif int(length) > BODY_BYTES_MAX:
            self._send(Answer(status=413, body="the request is too long\n"), close=True)
        elif self.path != PATH:
            self._send(Answer(status=404, body="POST /add-checkpoint\n"), close=True)
        else:
            self._send(self.server.witness.add_checkpoint(self.rfile.read(int(length))))

    def do_GET(self) -> None:
        self._send(Answer(status=405, body="POST /add-checkpoint\n"))

    def _send(self, answer: Answer, *, close: bool = False) -> None:
        content = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(content)))
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: what matters is kept in the witness' folder."""
