"""Being found: a walk through the OSCQuery tree that sets everything by what it says, zeroconf, and what goes wrong."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from fake_link import FakeLink, make_controller
from test_osc import Stage, message, stage  # noqa: F401

from instrument import patch
from instrument.osc import tree
from instrument.osc.addresses import routes
from instrument.osc.allow import Allowed
from instrument.osc.discovery import QUERY, Discovery
from instrument.osc.query import MOST, QueryServer
from instrument.osc.server import HERE
from instrument.parameters import PARAMETERS, TELEMETRY, TRIGGERS


@pytest.fixture
def query(stage):  # noqa: F811
    said = []
    server = QueryServer(stage.desk, stage.server.endpoint, "samplernn-live on stage", Allowed(), said.append)
    assert server.start()
    server.said = said
    yield server
    server.stop()


def get(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        text = answer.read()
        return json.loads(text) if text else answer.status


def nodes(node):
    yield node
    for inner in node.get("CONTENTS", {}).values():
        yield from nodes(inner)


def value_for(kind, span):
    """A value as a client would make it from what the tree says."""
    if "VALS" in (span or {}):
        return span["VALS"][-1]
    if kind == "s":
        return "anything"
    low, high = (span or {}).get("MIN", 0), (span or {}).get("MAX", 1)
    return int(high) if kind == "i" else low + 0.75 * (high - low)


def test_the_tree_names_every_address_and_says_what_a_client_needs(stage, query):  # noqa: F811
    root = get(query, "/")
    found = {node["FULL_PATH"]: node for node in nodes(root)}
    assert set(routes(2)) <= set(found)
    for path, node in found.items():
        assert node["ACCESS"] in (0, 1, 2, 3), path
        assert ("TYPE" in node) == (node["ACCESS"] > 0), path
        assert node["ACCESS"] & 1 or "VALUE" not in node, path
        for each in (node, *node.get("OVERLOADS", ())):
            for name in ("RANGE", "VALUE", "UNIT", "CLIPMODE"):
                assert len(each.get(name, each.get("TYPE", ""))) == len(each.get("TYPE", "")), (path, name)
        assert node["ACCESS"] == 0 or node["DESCRIPTION"], path
    for name, p in PARAMETERS.items():
        node = found[f"/samplernn/voice/2/{name}"]
        assert node["RANGE"] == [{"MIN": p.low, "MAX": p.high}]
        assert node["VALUE"] == [p.default]
    assert found["/samplernn/checkpoint"]["RANGE"] == [{"VALS": ["tabla", "glass", "drones"]}]
    assert found["/samplernn/checkpoint"]["VALUE"] == ["tabla"]
    assert found["/samplernn/reseed"]["RANGE"] == [{"VALS": ["learned", "random", "zeros"]}]
    assert found["/samplernn/panic"]["TYPE"] == "N"
    assert {f"/samplernn/out/{name}" for name in TELEMETRY} <= set(found)


def test_every_parameter_is_set_by_what_the_tree_says(stage, query):  # noqa: F811
    walked = 0
    for node in list(nodes(get(query, "/samplernn"))):
        name = node["FULL_PATH"].removeprefix("/samplernn/")
        if node["ACCESS"] != 3 or len(node["TYPE"]) != 1 or node["TYPE"] == "s":
            continue
        wanted = value_for(node["TYPE"], node["RANGE"][0])
        assert stage.send(message(node["FULL_PATH"], wanted)) == [], name
        assert get(query, f"{node['FULL_PATH']}?VALUE")["VALUE"] == [pytest.approx(wanted)], name
        walked += 1
    assert walked >= len(PARAMETERS) * 4  # for all, for each of two voices, and over its range


def test_every_trigger_takes_what_the_tree_says(stage, query):  # noqa: F811
    """A client that fills in nothing but what TYPE and RANGE say is refused nowhere."""
    for node in list(nodes(get(query, "/samplernn"))):
        name = node["FULL_PATH"].removeprefix("/samplernn").removeprefix("/")
        trigger = name.split("/", 2)[2] if name.count("/") > 1 and name.startswith("voice/") else name
        if trigger not in TRIGGERS or trigger not in (*stage.desk._actions, *HERE):
            continue  # parameters; and what only a session adds
        spans = node.get("RANGE") or [None] * len(node["TYPE"])
        if any(kind == "s" and not span for kind, span in zip(node["TYPE"], spans, strict=True)):
            continue
        values = [value_for(k, s) for k, s in zip(node["TYPE"], spans, strict=True) if k != "N"]
        replies = stage.send(message(node["FULL_PATH"], *values))
        assert not [r for r in replies if r[0].endswith("error")], (name, replies)


def test_a_nil_presses_a_button(stage):  # noqa: F811
    stage.send(b"/samplernn/panic\0\0\0\0,N\0\0")
    assert stage.link.panics == 1


def test_attributes_and_refusals(query):
    info = get(query, "/anything?HOST_INFO")
    assert info["NAME"] == "samplernn-live on stage"
    assert (info["OSC_IP"], info["OSC_TRANSPORT"]) == ("127.0.0.1", "UDP")
    assert info["OSC_PORT"] == query._osc[1]
    assert info["EXTENSIONS"]["RANGE"] is True
    assert info["EXTENSIONS"]["LISTEN"] is False
    assert get(query, "/samplernn/gain?RANGE") == {"RANGE": [{"MIN": -60.0, "MAX": 12.0}]}
    assert get(query, "/samplernn/gain?TYPE") == {"TYPE": "f"}
    assert get(query, "/samplernn/panic?VALUE") == 204
    for path, status in (("/nothing", 404), ("/samplernn/gain?LOUDNESS", 400), ("/samplernn/%FF", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(query, path)
        assert refused.value.code == status
        refused.value.close()


def test_the_host_is_left_out_where_it_is_every_address():
    assert "OSC_IP" not in tree.host_info("x", "0.0.0.0", 9000)


def test_strangers_get_no_answer(stage, query):  # noqa: F811
    query._server._allowed = lambda host: False
    with pytest.raises((urllib.error.URLError, ConnectionError, http.client.HTTPException)):
        get(query, "/")
    assert query.said == ["OSCQuery: 127.0.0.1 is not in osc.allow; it gets no answer"]


def test_whoever_asks_for_nothing_holds_up_nobody_else(query):
    """MOST connections that say nothing: the next is sent away at once, and all are let go of in the end."""
    silent = [socket.create_connection(("127.0.0.1", query.port)) for _ in range(MOST)]
    time.sleep(0.3)
    extra = socket.create_connection(("127.0.0.1", query.port))
    extra.settimeout(5)
    assert extra.recv(1) == b""
    for each in (*silent, extra):
        each.close()
    for _ in range(50):
        try:
            assert get(query, "/samplernn/gain?TYPE") == {"TYPE": "f"}
            break
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            time.sleep(0.05)
    assert query.said == []


@pytest.mark.parametrize(
    "sent", [b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n"]
)
def test_garbage_is_answered_or_dropped_without_a_word(query, sent):
    client = socket.create_connection(("127.0.0.1", query.port))
    client.settimeout(5)
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    while client.recv(4096):
        pass
    client.close()
    assert query.said == []
    assert get(query, "/samplernn/gain?TYPE") == {"TYPE": "f"}


def test_a_port_in_use_gives_way_to_another(stage):  # noqa: F811
    taken = socket.create_server(("127.0.0.1", 0))
    server = QueryServer(stage.desk, taken.getsockname()[:2], "x", Allowed(), stage.said.append)
    assert server.start()
    assert server.port not in (0, taken.getsockname()[1])
    assert stage.said == [f"OSCQuery: port {taken.getsockname()[1]} is taken; it answers on port {server.port}"]
    server.stop()
    taken.close()


def test_a_host_that_is_not_ours_is_one_line(stage):  # noqa: F811
    said = []
    server = QueryServer(stage.desk, ("192.0.2.1", 9000), "x", Allowed(), said.append)
    assert not server.start()
    assert len(said) == 1
    assert "playing without" in said[0]
    server.stop()


BROWSER = """
import sys, threading
from zeroconf import ServiceBrowser, Zeroconf
zeroconf, found = Zeroconf(interfaces=["127.0.0.1"]), threading.Event()
class Listener:
    def add_service(self, where, kind, name):
        info = where.get_service_info(kind, name)
        if info and info.port == int(sys.argv[2]):
            print(kind, info.parsed_addresses()[0], info.port, flush=True)
            found.set()
    def update_service(self, where, kind, name): pass
    def remove_service(self, where, kind, name): pass
ServiceBrowser(zeroconf, sys.argv[1], Listener())
found.wait(20)
zeroconf.close()
"""


def test_a_browser_elsewhere_finds_it_and_reads_its_tree(stage):  # noqa: F811
    discovery = Discovery(stage.desk, stage.server.endpoint, Allowed(), stage.said.append)
    began = time.monotonic()
    discovery.start()
    assert time.monotonic() - began < 0.5  # the set waits for nobody
    try:
        if not discovery.advertised.wait(20):
            pytest.skip(f"no multicast on this machine: {stage.said}")
        for kind, port in ((QUERY, discovery.query.port), ("_osc._udp.local.", stage.server.endpoint[1])):
            done = subprocess.run(
                [sys.executable, "-c", BROWSER, kind, str(port)], capture_output=True, text=True, timeout=60, check=True
            )
            assert done.stdout.split() == [kind, "127.0.0.1", str(port)]
        assert get(discovery.query, "/?HOST_INFO")["OSC_PORT"] == stage.server.endpoint[1]
    finally:
        discovery.stop()
    assert threading.active_count() < 20
    assert stage.said == []


def test_no_library_is_one_line_and_oscquery_still_answers(stage, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    discovery = Discovery(stage.desk, stage.server.endpoint, Allowed(), stage.said.append)
    discovery.start()
    discovery._thread.join(5)
    assert len(stage.said) == 1
    assert "not advertised" in stage.said[0]
    assert get(discovery.query, "/samplernn/gain?TYPE") == {"TYPE": "f"}
    discovery.stop()
    discovery.stop()


def test_a_tree_of_64_voices_is_made_in_time():
    desk = make_controller(FakeLink(), voices=64)
    began = time.thread_time()
    json.dumps(tree.tree(desk))
    assert time.thread_time() - began < 1.0


def test_every_kind_of_argument_has_a_type():
    """A kind that the tree does not know is a text there: numbers must be listed."""
    texts = {"gate", "mode", "entry", "name", "name or gate", "word", "launch", "turn", "target", "text"}
    for trigger in TRIGGERS.values():
        for argument in trigger.arguments:
            assert argument.kind in texts or argument.kind in tree._NUMBERS, (trigger.name, argument.kind)


# --- in a patch


def patch_with(osc):
    return patch.from_data({"bank": ["a.safetensors"], "osc": osc}, None)


@pytest.fixture
def bank(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").touch()
    monkeypatch.chdir(tmp_path)


def test_allow_and_announce_in_a_patch(bank):
    found = patch_with({"listen": "0.0.0.0:9000", "allow": ["192.168.1.0/24", "fe80::1"], "announce": True}).osc
    assert (found.allow, found.announce) == (("192.168.1.0/24", "fe80::1"), True)
    assert patch_with({}).osc.allow is None
    assert patch_with({"allow": []}).osc.allow == ()


@pytest.mark.parametrize("announce", [True, False])
def test_a_session_announces_where_its_patch_asks_for_it(announce):
    from types import SimpleNamespace

    from instrument.session import Session

    asked = patch.Osc(allow=(), announce=announce)
    plan = SimpleNamespace(osc=("127.0.0.1", 0), patch=SimpleNamespace(osc=asked))
    said = []
    session = Session(plan, said.append, said.append)
    session.controller = make_controller(FakeLink())
    session._start_osc()
    try:
        port = int(session.osc.split(":")[1])
        url = f"http://127.0.0.1:{port}/?HOST_INFO"
        if announce:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert json.loads(answer.read())["OSC_PORT"] == port
        else:
            with pytest.raises(urllib.error.URLError):
                urllib.request.urlopen(url, timeout=10)
    finally:
        session._closers.close()
    assert said == []


@pytest.mark.parametrize("wrong", ["everybody", "192.168.1.0/33", "1.2.3", "300.1.1.1", "::g"])
def test_what_is_no_network_is_named(bank, wrong):
    with pytest.raises(ValueError, match=r"^osc\.allow\[1\]: .* is not an address or a network") as refused:
        patch_with({"allow": ["10.0.0.7", wrong]})
    assert "\n" not in str(refused.value)
