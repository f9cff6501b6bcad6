"""``samplernn audition``: serves the audition page to browsers on this machine, until Ctrl-C.

Main thread; files are read and pictures drawn on worker threads, two at a time, so that a training beside it goes on.
The address is loopback only. Every request must name it as its host (another site's page could otherwise reach it
through a name of its own that leads here), and what writes must carry a token that only this page is given. Nothing is
served but the page's own few files, and clips and sources by name; the page may ask nowhere else. What is in the run is
left to the store, what it looks like to ``static/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import anyio
import soundfile
import uvicorn
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from instrument.audition import patchwriter, pictures
from instrument.audition.store import Run
from instrument.console import printable

HOST, PORT = "127.0.0.1", 8317
TOKEN_HEADER = "X-Samplernn-Token"
MAX_BODY = 1 << 16  # bytes
SOURCE_COLUMNS = 1280
PLAYED_BY_BROWSERS = {".flac": "audio/flac", ".wav": "audio/wav", ".mp3": "audio/mpeg", ".ogg": "audio/ogg"}
STATIC = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
GUARDS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Found = TypeVar("Found")


def serve(folder: Path, port: int | None, browse: bool, say: Callable[[str], None]) -> None:
    """Serve the run in ``folder`` until a signal, which is then raised again for the caller to answer.

    Args:
        port: to listen on; None for the usual one, or any other if that is taken.
        browse: whether to show the page in a browser, where there is a desktop.

    Raises ValueError if that is no run or the port is taken.
    """
    run = Run(folder)
    run.snapshot()  # the clips' heads are read before anybody waits for them
    with _listen(port) as listener:
        number = listener.getsockname()[1]
        address = f"http://{HOST}:{number}/"
        say(f"{printable(run.name)}: listen at {address} (Ctrl-C ends it)")
        if browse and _has_desktop():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        uvicorn.Server(config_of(run, number)).run(sockets=[listener])


def config_of(run: Run, port: int) -> uvicorn.Config:
    """How the page of ``run`` is served at ``port``."""
    return uvicorn.Config(
        make_app(run, port),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        loop="asyncio",
        http="h11",
        server_header=False,
        timeout_graceful_shutdown=1,  # a player that was paused holds its connection open
    )


def make_app(run: Run, port: int) -> ASGIApp:
    """The page's server for ``run`` as it answers at ``port``."""
    pages = _Pages(run)
    routes = [
        Route("/", partial(pages.static, name="index.html")),
        Route("/static/{name}", pages.static),
        Route("/api/run", pages.run),
        Route("/api/rate", pages.rate, methods=["POST"]),
        Route("/api/patch", pages.patch, methods=["POST"]),
        Route("/clips/{name}", pages.clip),
        Route("/pictures/{name}", pages.picture),
        Route("/sources/{number:int}", pages.source),
        Route("/sources/{number:int}/picture", pages.source_picture),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, OSError: _failed})
    return _Guard(app, port, pages.token)


class _Guard:
    """What is asked of every request before it is looked at, and said with every answer."""

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"} | ({HOST, "localhost"} if port == 80 else set())
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(GUARDS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = PlainTextResponse(refusal, status_code=403) if refusal else self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        if headers.getlist("host") not in [[host] for host in self._hosts]:
            return f"this is only served as {min(self._hosts)}"
        if headers.get("origin", min(self._origins)) not in self._origins:
            return "asked by another site"
        if method in ("GET", "HEAD"):
            return None
        token = headers.get(TOKEN_HEADER, "")
        return None if secrets.compare_digest(token.encode(), self._token.encode()) else "token: reload the page"


class _Pages:
    """The answers."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.token = secrets.token_urlsafe(24)
        self._drawing = anyio.CapacityLimiter(2)

    async def static(self, request: Request, name: str | None = None) -> Response:
        data, kind = _static(name or request.path_params["name"])
        return Response(data, media_type=kind)

    async def run(self, request: Request) -> Response:
        """What the page shows; 304 if that is what the page has already."""
        body = await run_sync(
            lambda: json.dumps({**self._run.snapshot(), "token": self.token}, allow_nan=False).encode()
        )
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, media_type="application/json", headers={"ETag": tag})

    async def rate(self, request: Request) -> Response:
        said = await _body(request)
        return JSONResponse(await run_sync(_or_refused, lambda: self._run.rate(said)))

    async def patch(self, request: Request) -> Response:
        """Write a patch; 409 if its name is taken and nobody said to replace it."""
        asked = _patch_asked(await _body(request))
        try:
            path = await run_sync(_or_refused, lambda: patchwriter.write(self._run, **asked))
        except FileExistsError:
            return JSONResponse({"error": f"{asked['name']}.yaml is there already"}, status_code=409)
        return JSONResponse({"file": path.name, "path": str(path)})

    async def clip(self, request: Request) -> Response:
        return FileResponse(self._clip(request.path_params["name"]), media_type="audio/flac")

    async def picture(self, request: Request) -> Response:
        name = request.path_params["name"]
        return await self._picture(self._clip(name), name, pictures.COLUMNS)

    async def source(self, request: Request) -> Response:
        path, name = await run_sync(self._source, request.path_params["number"])
        if path.suffix.lower() in PLAYED_BY_BROWSERS:
            return FileResponse(path, media_type=PLAYED_BY_BROWSERS[path.suffix.lower()])
        convert = partial(_converted, path, self._run.cache / f"{name}.flac")
        converted = await run_sync(_or_refused, convert, limiter=self._drawing)
        return FileResponse(converted, media_type="audio/flac")

    async def source_picture(self, request: Request) -> Response:
        path, name = await run_sync(self._source, request.path_params["number"])
        return await self._picture(path, name, SOURCE_COLUMNS)

    async def _picture(self, sound: Path, name: str, columns: int) -> Response:
        make = partial(pictures.picture_of, sound, self._run.cache, name, columns)
        data = await run_sync(_or_refused, make, limiter=self._drawing)
        return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})

    def _clip(self, name: str) -> Path:
        path = self._run.clip(name)
        if path is None:
            raise HTTPException(404, "no such clip")
        return path

    def _source(self, number: int) -> tuple[Path, str]:
        """Where a source is, and the name of what is kept of it: another one if its settings name another file."""
        sources = self._run.sources()
        path = sources[number].path if number < len(sources) else None
        if path is None:
            raise HTTPException(404, "the source is not there any more")
        return path, f"source-{number}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _or_refused(make: Callable[[], Found]) -> Found:
    """What ``make`` returns; its ValueError is what the asker did wrong."""
    try:
        return make()
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


async def _body(request: Request) -> Any:
    """The JSON that was sent."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise HTTPException(413, f"more than {MAX_BODY} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise HTTPException(422, "no JSON") from None


def _patch_asked(said: Any) -> dict[str, Any]:
    """The arguments of :func:`patchwriter.write`."""
    kinds = {"name": str, "clips": list, "together": bool, "replace": bool}
    if not isinstance(said, dict) or not all(isinstance(said.get(key), kind) for key, kind in kinds.items()):
        raise HTTPException(422, "name, clips, together and replace expected")
    if not all(isinstance(clip, str) for clip in said["clips"]):
        raise HTTPException(422, "clips: names of clips expected")
    return {key: said[key] for key in kinds}


def _static(name: str) -> tuple[bytes, str]:
    """One of the page's own files: only names that are there, so no path is ever made of what was asked."""
    for file in resources.files("instrument.audition").joinpath("static").iterdir():
        kind = STATIC.get(Path(file.name).suffix)
        if file.name == name and kind:
            return file.read_bytes(), kind
    raise HTTPException(404, "nothing here")


def _converted(sound: Path, kept: Path) -> Path:
    """``sound`` as FLAC, for browsers that cannot play it as it is; made once. Raises ValueError, OSError."""
    if kept.is_file() and kept.stat().st_mtime_ns > sound.stat().st_mtime_ns:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        with soundfile.SoundFile(sound) as old:
            shape = {"samplerate": old.samplerate, "channels": old.channels, "format": "FLAC", "subtype": "PCM_16"}
            with soundfile.SoundFile(part, "w", **shape) as new:
                for block in old.blocks(1 << 16):
                    new.write(block)
        part.replace(kept)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{sound.name}: {' '.join(str(error).split())[:200]}") from None
    finally:
        part.unlink(missing_ok=True)
    return kept


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _failed(_request: Request, error: Exception) -> Response:
    """A disk that is full, a folder that may not be written."""
    assert isinstance(error, OSError)
    return JSONResponse({"error": f"not saved: {error.strerror or error}"}, status_code=507)


def _listen(port: int | None) -> socket.socket:
    """A socket on the loopback. Raises ValueError if ``port`` was asked for and is taken."""
    for number in (PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sys.platform != "win32":  # there it would let two programs share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind((HOST, number))
            listener.listen(128)  # from here on who comes early waits, and is not turned away
            return listener
        listener.close()
    raise ValueError(f"--port {port}: cannot be had; another one, or none for any")


def _has_desktop() -> bool:
    """Where there is none, a browser would be a text browser, in this very terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
