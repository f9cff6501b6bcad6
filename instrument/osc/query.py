"""OSCQuery over HTTP: the tree as JSON for programs that build their controls from it.

A thread that accepts and one for each of at most MOST requests at a time; none of them ever touches the audio path or
the OSC thread, and nobody is waited for longer than PATIENCE. Read only. What the tree holds is ``tree``'s, being found
is left to :mod:`instrument.osc.discovery`. There is no WebSocket: values come by ``/samplernn/listen``, and HOST_INFO
says so.
"""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from instrument.faults import Faults
from instrument.osc import tree
from instrument.osc.allow import Allowed
from instrument.osc.arrivals import Endpoint

MOST = 8
PATIENCE = 5.0  # seconds for a request to be sent and an answer to be taken


class QueryServer:
    """The HTTP side of one instrument.

    Args:
        desk: the controller.
        osc: (host, port) where OSC is listened for; the same host serves HTTP, on the same port if it is free.
        name: of the instrument, for lists of what was found.
        allowed: whose requests are answered.
        say: takes a line for the terminal; must not block.
    """

    def __init__(self, desk: tree.Desk, osc: Endpoint, name: str, allowed: Allowed, say: Callable[[str], None]) -> None:
        self._desk, self._osc, self._name, self._allowed = desk, osc, name, allowed
        self._faults = Faults(say)
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """Where it answers; 0 while it does not."""
        return int(self._server.server_address[1]) if self._server else 0

    def start(self) -> bool:
        """Answer requests from now on; if that cannot be, say so in one line and return False."""
        for port in (self._osc[1], 0):
            try:
                self._server = _Server((self._osc[0], port), self.answer, self._allowed, self._faults)
                break
            except OSError as error:
                last = error
        if self._server is None:
            self._faults.report(f"OSCQuery: {self._osc[0]}: {last.strerror or last}; playing without")
            return False
        if self.port != self._osc[1]:
            self._faults.report(f"OSCQuery: port {self._osc[1]} is taken; it answers on port {self.port}")
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="oscquery", daemon=True).start()
        return True

    def stop(self) -> None:
        """No more requests. Safe to call twice, or without a start."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, url: str) -> tuple[HTTPStatus, Any]:
        """(status, what becomes JSON or None) for a request's path and query."""
        parts = urlsplit(url)
        wanted = parts.query.split("&")[0].split("=")[0]
        if wanted == "HOST_INFO":
            return HTTPStatus.OK, tree.host_info(self._name, *self._osc)
        node = tree.find(tree.tree(self._desk), unquote(parts.path))
        if node is None:
            return HTTPStatus.NOT_FOUND, None
        if not wanted:
            return HTTPStatus.OK, node
        if wanted not in (*tree.REQUIRED, *tree.ATTRIBUTES):
            return HTTPStatus.BAD_REQUEST, None
        return (HTTPStatus.OK, {wanted: node[wanted]}) if wanted in node else (HTTPStatus.NO_CONTENT, None)


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(
        self, endpoint: Endpoint, answer: Callable[[str], tuple[HTTPStatus, Any]], allowed: Allowed, faults: Faults
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET
        self.answer, self._allowed, self._faults = answer, allowed, faults
        self._free = threading.BoundedSemaphore(MOST)
        super().__init__(endpoint, _Handler)

    def server_bind(self) -> None:
        """Without asking a name server who we are, as the library would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Whether the client may ask."""
        if self._allowed(client_address[0]):
            return True
        self._faults.report(f"OSCQuery: {client_address[0]} is not in osc.allow; it gets no answer")
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """On a thread of its own, unless MOST are busy."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        """A client that went away, or a defect of ours: a line."""
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self._faults.report(f"OSCQuery: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "samplernn-live", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """JSON, or a status alone."""
        status, found = self.server.answer(self.path)
        body = b"" if found is None else json.dumps(found, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads a log of requests on stage."""
