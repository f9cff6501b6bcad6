"""Being found by others: two OSCQuery client libraries that know nothing of us list what a playing instrument has.

Neither is a dependency: `make soak` fetches them where it can (npm's `oscquery`, PyPI's `python-oscquery`); without
them the checks say so. The first reads the tree whole. The second keeps to values: it drops RANGE, and refuses a tree
that holds methods to be written only, which the proposal allows, so that it is asked for one parameter at a time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_osc import message
from test_session import PLAY, ROOT, wait_until

from instrument.osc.addresses import routes
from instrument.parameters import PARAMETERS

MODULES = Path(sys.prefix) / "oscquery" / "node_modules"
VOICES = 2
pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a set plays that lets itself be found."""
    folder = tmp_path_factory.mktemp("found")
    patch = tiny.write(folder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    text = patch.read_text().replace("osc: {listen: none}", f"osc: {{listen: 127.0.0.1:{number}, announce: true}}")
    patch.write_text(text + "macros: {tide: [{to: temperature, range: [0.8, 1.2]}]}\n")
    words = folder / "words.txt"
    with words.open("w") as out:
        command = [*PLAY, str(patch), "--output", "null", "--midi", "none", "--latency", "60"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            wait_until(lambda: f"OSC on 127.0.0.1:{number}" in words.read_text(), 240)
            yield number
        finally:
            process.terminate()
            process.wait(30)


def described(name: str) -> tuple[str, dict[str, float], float]:
    """(type, range, value at the start) of one address of a parameter, from the table and the patch."""
    p = PARAMETERS[name.split("/")[-1]]
    start = {"gain": -6.0, "voice/2/pan": 0.4}.get(name, p.default)
    start = -6.0 if name.endswith("/gain") and not name.startswith("norm/") else start
    if name.startswith("norm/"):
        spread = {"vals": [p.norm(v) for v in range(int(p.low), int(p.high) + 1)]} if p.whole else {"min": 0, "max": 1}
        return "f", spread, p.norm(-6.0 if p.name == "gain" else p.default)
    return "i" if p.whole else "f", {"min": p.low, "max": p.high}, start


def addresses() -> list[str]:
    """Every address of every parameter, below the prefix."""
    found = [name.removeprefix("/samplernn/") for name in routes(VOICES)]
    return [name for name in found if name.split("/")[-1] in PARAMETERS]


NODE = """
const { OSCQueryDiscovery } = require("oscquery");
const discovery = new OSCQueryDiscovery(), wanted = Number(process.argv[1]);
const list = service => console.log(JSON.stringify({
  host: service.hostInfo, methods: service.flat().map(m => [m.full_path, m.access, m.arguments])}));
discovery.on("up", async service => {
  if (service.hostInfo.oscPort !== wanted) return;
  list(service);
  for await (const _ of process.stdin) { await service.update(); list(service); }
  process.exit(0);
});
discovery.start();
setTimeout(() => process.exit(3), 60000);
"""


class Node:
    """The JavaScript client, looking for the instrument of a port."""

    def __init__(self, port: int) -> None:
        command = [shutil.which("node") or "", "-e", NODE, str(port)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self._process = subprocess.Popen(command, env={"NODE_PATH": str(MODULES)}, **pipes)

    def listing(self, again: bool = False) -> dict[str, Any]:
        """What it found, or finds when it looks again."""
        assert self._process.stdin
        assert self._process.stdout
        if again:
            self._process.stdin.write("again\n")
        line = self._process.stdout.readline()
        assert line, "found nothing in a minute"
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed (Debian: nodejs)")
@pytest.mark.skipif(not (MODULES / "oscquery").is_dir(), reason=f"npm's oscquery is not in {MODULES}")
def test_a_javascript_client_lists_everything_and_sets_one(port: int) -> None:
    client = Node(port)
    try:
        found = client.listing()
        host = found["host"]
        assert host["name"].startswith("samplernn-live on ")
        methods = {path: (access, arguments) for path, access, arguments in found["methods"]}
        assert set(routes(VOICES, ["macro/tide"])) <= set(methods)
        for name in addresses():
            access, ((argument),) = methods[f"/samplernn/{name}"]
            kind, spread, value = described(name)
            assert access == 3
            assert argument["type"] == kind, name
            assert argument["range"] == pytest.approx(spread) if "min" in spread else spread, name
            assert argument["value"] == pytest.approx(value), name
        print(f"{len(addresses())} addresses of {len(PARAMETERS)} parameters, {len(methods)} methods in all")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.sendto(message("/samplernn/pan", 0.25), (host["oscIp"], host["oscPort"]))
        wait_until(lambda: value_of(client.listing(again=True), "/samplernn/pan") == 0.25, 10)
    finally:
        client.end()


def value_of(found: dict[str, Any], path: str) -> object:
    return next(arguments[0]["value"] for name, _, arguments in found["methods"] if name == path)


PYTHON = """
import json, sys, time
from pythonoscquery.osc_query_browser import OSCQueryBrowser
from pythonoscquery.osc_query_client import OSCQueryClient
browser, wanted, until = OSCQueryBrowser(), int(sys.argv[1]), time.monotonic() + 60
def ours():
    clients = [OSCQueryClient(service) for service in browser.get_discovered_oscquery()]
    return next((c for c in clients if c.get_host_info().osc_port == wanted), None)
while (client := ours()) is None and time.monotonic() < until:
    time.sleep(0.1)
nodes = [client.query_node(path) for path in json.loads(sys.argv[2])]
print(json.dumps([[n.full_path, [t.__name__ for t in n.type], n.value, n.access.value, n.description] for n in nodes]))
browser.zc.close()
"""


@pytest.mark.skipif(importlib.util.find_spec("pythonoscquery") is None, reason="python-oscquery is not installed")
def test_a_python_client_reads_every_parameter(port: int) -> None:
    asked = json.dumps([f"/samplernn/{name}" for name in addresses()])
    done = subprocess.run([sys.executable, "-c", PYTHON, str(port), asked], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    for name, (path, kinds, values, access, help) in zip(addresses(), json.loads(done.stdout), strict=True):
        kind, _, _ = described(name)
        assert (path, access) == (f"/samplernn/{name}", 3)
        assert kinds == ["int" if kind == "i" else "float"], name
        assert len(values) == 1
        assert help
