"""OSC over real UDP: every address of the contract, replies, subscriptions, faults, and a fuzzed gate."""

import math
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_link import FakeLink, make_controller
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from instrument.controls import Op
from instrument.faults import Faults
from instrument.osc import addresses
from instrument.osc.pattern import Pattern
from instrument.osc.server import OscServer
from instrument.osc.subscribers import Subscribers
from instrument.osc.validate import MAX_BYTES, check_datagram, check_message, messages
from instrument.parameters import PARAMETERS, TELEMETRY, TRIGGERS, VOICE_TELEMETRY


def message(address, *values):
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return builder.build().dgram


def bundle(when, *contents):
    builder = OscBundleBuilder(when)
    for content in contents:
        builder.add_content(content)
    return builder.build().dgram


class Port:
    """Somebody's socket."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5)
        self.number = self.socket.getsockname()[1]

    def next(self):
        found = OscMessage(self.socket.recvfrom(65536)[0])
        return (found.address, *found.params)


class Stage:
    """A server on a port of the system's choice, a fake link behind it, a client and a send address."""

    def __init__(self):
        self.link, self.said = FakeLink(), []
        self.client, self.listener = Port(), Port()
        self.desk = make_controller(self.link)
        self.server = OscServer(
            self.desk, ("127.0.0.1", 0), ("127.0.0.1", self.listener.number), self.said.append, "0.1.0"
        )
        assert self.server.start()

    def send(self, *datagrams):
        """Send, and wait until the server has answered a ping sent behind it; the replies before that."""
        for datagram in (*datagrams, message("/samplernn/ping")):
            self.client.socket.sendto(datagram, self.server.endpoint)
        return [*iter(self.client.next, ("/samplernn/pong", "0.1.0"))]

    def close(self):
        self.server.stop()
        self.client.socket.close()
        self.listener.socket.close()


@pytest.fixture
def stage():
    found = Stage()
    yield found
    found.close()


def test_every_parameter_address(stage):
    for name, p in PARAMETERS.items():
        target = p.low if p.whole else (p.low + p.high) / 4
        stage.send(message(f"/samplernn/{name}", p.low))  # wherever it begins
        stage.link.take()
        assert stage.send(message(f"/samplernn/{name}", p.high)) == []
        stage.link.now += 0.1  # a ramp begins where a value has gone to
        assert stage.send(message(f"/samplernn/voice/2/{name}", target, 0.5)) == []
        assert stage.send(message(f"/samplernn/norm/{name}", 0.0)) == []
        taken = stage.link.take()
        assert [(c.op, c.parameter, c.voice, c.value, c.ramp) for c in taken] == [
            (Op.SET, p.code, -1, p.high, 0),
            (Op.SET, p.code, 1, target, 22050),
            (Op.SET, p.code, -1, p.low, 0),
        ]


@pytest.mark.parametrize("value", [1, 1.0, True])
def test_ints_floats_and_booleans_stand_for_each_other(stage, value):
    stage.desk.set("temperature", 0.5)
    stage.link.take()
    stage.send(message("/samplernn/temperature", value))
    stage.send(message("/samplernn/voice/1/mute", value))
    stage.send(message("/samplernn/checkpoint", value))
    stage.send(message("/samplernn/seed", value))
    stage.send(message("/samplernn/reseed", value))
    taken = stage.link.take()
    assert [c.op for c in taken] == [Op.SET, Op.SET, Op.SWITCH, Op.SEED, Op.RESEED]
    assert [taken[0].value, taken[1].value, taken[2].number, taken[3].number] == [1.0, 1.0, 1, 1]


def test_every_trigger(stage):
    stage.send(message("/samplernn/checkpoint", "glass", 0.25))
    stage.send(message("/samplernn/voice/2/checkpoint", 2))
    stage.send(message("/samplernn/reseed"), message("/samplernn/reseed", "zeros"), message("/samplernn/reseed", 0))
    stage.send(message("/samplernn/seed", 12345))
    stage.send(message("/samplernn/sweep", "unhinge"), message("/samplernn/sweep/stop", "unhinge"))
    assert [c.op.name for c in stage.link.take()] == [
        *("SWITCH", "SWITCH", "RESEED", "RESEED", "SEED"),
        *("SET", "SET", "SET", "SET"),
    ]
    stage.send(message("/samplernn/panic", 1), message("/samplernn/panic", 0))
    assert stage.link.panics == 1
    stage.send(message("/samplernn/resume"))
    assert [c.op for c in stage.link.take()][-1] == Op.RESUME


def test_replies_go_to_the_sender_and_to_the_send_address(stage):
    assert stage.send(message("/samplernn/temperature", 0.75), message("/samplernn/get", "temperature")) == [
        ("/samplernn/value", "temperature", 0.75)
    ]
    assert stage.listener.next() == ("/samplernn/value", "temperature", 0.75)
    assert stage.listener.next() == ("/samplernn/pong", "0.1.0")
    assert stage.send(message("/samplernn/get", "checkpoint")) == [("/samplernn/value", "checkpoint", "tabla")]


def test_a_wrong_message_is_one_line_back(stage):
    wrong = {
        message("/samplernn/temprature", 1.0): "did you mean /samplernn/temperature?",
        message("/samplernn/temperature"): "0 arguments",
        message("/samplernn/temperature", "hot"): "'hot' is not a finite number",
        message("/samplernn/temperature", 1.0, 2.0, 3.0): "3 arguments",
        message("/samplernn/voice/3/gain", 1.0): "no voice '3'; there are 2, from 1",
        message("/samplernn/checkpoint", "tabl"): "did you mean 'tabla'",
        message("/samplernn/checkpoint", 99): "not in the bank",
        message("/samplernn/checkpoint", -1): "not in the bank",
        message("/samplernn/sweep", "nothing"): "no sweep",
        message("/samplernn/get", "loudness"): "no parameter",
        message("/samplernn/subscribe", 0): "not one of 1 to 65535",
        message("/elsewhere/*"): "no address matches",
        message("/samplernn/[temperature", 1.0): "bracket",
        message("/samplernn/temperature", math.nan): "not a finite number",
        message("/samplernn/norm/gain", math.inf): "not a finite number",
        b"garbage!": "neither a message",
        b"/abc": "without an end",
        b"": "0 bytes",
        b"#bundle\0" + bytes(7) + b"\1" + struct.pack(">i", -4): "element of -4 bytes",
    }
    for datagram, text in wrong.items():
        replies = stage.send(datagram)
        assert [reply[0] for reply in replies] == ["/samplernn/error"], datagram
        assert text in replies[0][1]
        assert "\n" not in replies[0][1]
    assert stage.link.take() == []
    assert len(stage.said) <= len(wrong)


def test_what_goes_out_is_not_taken_in(stage):
    for name in ("value", "error", "pong", "out/level"):
        assert stage.send(message(f"/samplernn/{name}", "x")) == []
    assert stage.said == []


def test_patterns_reach_every_voice(stage):
    stage.send(message("/samplernn/voice/*/gain", -6.0))
    stage.send(message("/samplernn/voice/[1-2]/{pan,mute}", 1.0))
    assert [(c.voice, c.parameter) for c in stage.link.take()] == [(0, 1), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("pattern", "address", "expected"),
    [
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/b?d", "/a/bcd", True),
        ("/a/b?d", "/a/bd", False),
        ("/a/[b-d]", "/a/c", True),
        ("/a/[!b-d]", "/a/c", False),
        ("/a/[b-]", "/a/-", True),
        ("/a/{one,two}x", "/a/twox", True),
        ("/a/{one,two}", "/a/three", False),
        ("/*a*b*c", "/xaybzc", True),
        ("/*a*b*c", "/xaybz", False),
        ("/" + "*a" * 48, "/" + "a" * 47, False),
    ],
)
def test_pattern(pattern, address, expected):
    assert Pattern(pattern).matches(address) is expected


def test_bundles_are_taken_in_order_and_at_their_time(stage):
    stage.send(
        bundle(
            IMMEDIATELY,
            OscMessage(message("/samplernn/temperature", 0.5)),
            OscMessage(message("/samplernn/nothing")),
            OscMessage(message("/samplernn/reseed")),
        )
    )
    assert [c.op for c in stage.link.take()] == [Op.SET, Op.RESEED]
    moments = []
    stage.desk.trigger = lambda *given, **rest: moments.append(rest["when"] - time.monotonic())
    stage.send(bundle(time.time() + 30.0, OscMessage(message("/samplernn/reseed"))))
    stage.send(bundle(time.time() - 30.0, OscMessage(message("/samplernn/reseed"))))
    assert moments[0] == pytest.approx(30.0, abs=0.5)
    assert moments[1] == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (message("/samplernn/pan", math.nan), "nan is not a finite number"),
        (b"/samplernn/pan\0\0,I\0\0", "type 'I'"),
        (b"/samplernn/pan\0\0,c\0\0\0\0\0a", "type 'c'"),
        (b"/samplernn/pan\0\0,f\0\0", "cut off"),
    ],
)
def test_a_wrong_value_in_a_bundle_costs_that_message_only(stage, wrong, why):
    contents = [message("/samplernn/temperature", 0.5), wrong, message("/samplernn/gain", -3.0)]
    (reply,) = stage.send(b"#bundle\0" + bytes(7) + b"\1" + elements(contents))
    assert reply[0] == "/samplernn/error"
    assert why in reply[1]
    assert [c.value for c in stage.link.take()] == [0.5, -3.0]


def test_telemetry_for_subscribers(stage):
    ear = Port()
    stage.send(message("/samplernn/subscribe", ear.number, 100.0))
    names = [*TELEMETRY, *(f"voice/1/{name}" for name in VOICE_TELEMETRY)]  # of the link's one voice
    found = [ear.next() for _ in range(3 * len(names))]
    assert [address for address, _ in found] == [f"/samplernn/out/{name}" for name in names] * 3
    assert dict(found)["/samplernn/out/level"] == pytest.approx(-20.0)
    stage.send(message("/samplernn/unsubscribe", float(ear.number)))
    assert stage.server._subscribers.due(time.monotonic() + 100) == {}
    ear.socket.close()


def test_a_name_that_no_resolver_can_be_asked_for_is_one_line(stage):
    """Patches refuse such names; whoever hands one over in another way ends neither the set nor a thread."""
    said = []
    assert not OscServer(stage.desk, ("a..b", 9000), None, said.append).start()
    stage.server.send_to((64 * "a", 9001))
    deadline = time.monotonic() + 5
    while not stage.said and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "a..b:9000" in said[0]
    assert said[0].endswith("; playing without OSC")
    assert stage.said[0].endswith("; replies go to senders only")


def test_what_is_wrong_with_a_file_is_told_to_senders_and_to_where_a_patch_says(stage):
    stage.send(message("/samplernn/gain", 0.0))
    stage.listener.next()  # the pong
    stage.server.tell_error("a.yaml: line 3")
    assert stage.client.next() == stage.listener.next() == ("/samplernn/error", "a.yaml: line 3")
    other = Port()
    stage.server.send_to(("localhost", other.number))
    until = time.monotonic() + 5
    while stage.server._send_to != ("127.0.0.1", other.number):
        assert time.monotonic() < until
        time.sleep(0.001)
    stage.server.tell_error("b.yaml: line 4")
    assert stage.client.next() == other.next() == ("/samplernn/error", "b.yaml: line 4")
    other.socket.close()


def test_a_subscriber_that_is_gone_is_forgotten():
    ear = Port()
    subscribers = Subscribers()
    subscribers.add(("127.0.0.1", ear.number), 10.0, 0.0)
    ear.socket.close()
    (subscriber,) = subscribers.due(0.0).values()
    alive = [subscriber.send(dict.fromkeys("abc", b"/x\0\0"), now) for now in (0.0, 5.0, 11.0, 22.0)]
    assert alive[0]
    assert not alive[-1]
    subscribers.close()


def test_too_many_subscribers_are_refused(stage):
    replies = stage.send(*(message("/samplernn/subscribe", 40000 + i, 0.1) for i in range(17)))
    assert [reply for reply in replies if reply[0].endswith("error")] == [
        ("/samplernn/error", "subscribe: there are 16 subscribers already")
    ]


def test_a_port_in_use_is_one_line(stage):
    said = []
    second = OscServer(stage.desk, stage.server.endpoint, None, said.append)
    assert not second.start()
    assert len(said) == 1
    assert "playing without OSC" in said[0]
    second.stop()


def test_a_flood_ends_on_its_last_value():
    """However fast it comes; the sender is another process, as it is on stage."""
    stage = Stage()
    script = (
        "import socket, sys; from test_osc import message; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "burst = [message('/samplernn/gain', -i / 100) for i in range(2000)]\n"
        "for datagram in burst: s.sendto(datagram, ('127.0.0.1', int(sys.argv[1])))\n"
    )
    values = []
    slow = stage.desk.set

    def note(name, value, *rest, **more):
        time.sleep(2e-4)  # on a busy machine
        values.append(value)
        slow(name, value, *rest, **more)

    stage.desk.set = note
    port = str(stage.server.endpoint[1])
    try:
        subprocess.run([sys.executable, "-c", script, port], check=True, timeout=60, cwd=Path(__file__).parent)
        stage.send()
        assert values[-1] == pytest.approx(-19.99)
    finally:
        stage.close()


def test_nothing_ends_the_receiving_thread(stage):
    def explode(*_given, **_rest):
        raise RuntimeError("a defect\nof ours")

    stage.desk.set = explode
    replies = stage.send(message("/samplernn/gain", 1.0))
    assert replies == [("/samplernn/error", "OSC: RuntimeError: a defect of ours")]
    assert stage.send() == []


def test_ten_thousand_wrong_messages_are_few_lines(stage):
    for i in range(10_000):
        stage.server.receive(message("/samplernn/gain", "x"), ("127.0.0.1", 9), i)
        stage.server.work()
    assert len(stage.said) < 20
    assert stage.said[0] == "gain: 'x' is not a finite number"


def test_faults_count_once_a_second():
    said, now = [], [0.0]
    faults = Faults(said.append, lambda: now[0])
    for _ in range(100):
        faults.report("wrong")
        now[0] += 0.03
    faults.report("other")
    now[0] += 2
    faults.flush()
    assert said[0] == "wrong"
    assert len(said) == 5
    assert sum(int(line.split("(")[1].split()[0]) for line in said if "(" in line) == 99
    for i in range(1000):
        faults.report(f"fault {i}")
    assert len(said) < 40


def test_the_list_names_every_address_once():
    listed = [line.split()[0] for line in addresses.listing()]
    assert len(set(listed)) == len(listed)
    for address in addresses.routes(2):
        assert address.replace("/voice/1/", "/voice/<n>/").replace("/voice/2/", "/voice/<n>/") in listed
    for name in (*PARAMETERS, *TRIGGERS):
        assert f"/samplernn/{name}" in listed


# --- the gate


def parse_in_time(data):
    """python-osc on ``data``; fails if it raises, logs, or takes longer than two seconds."""
    outcome = []

    def parse():
        try:
            outcome.append([OscMessage(message) for message, _ in messages(data)])
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=parse, daemon=True)
    thread.start()
    thread.join(2.0)
    assert outcome, "python-osc hangs"
    assert not isinstance(outcome[0], BaseException), outcome[0]


WORDS = st.sampled_from(
    [b"#bundle\0", b"/a\0\0", b"/samplernn/gain\0", b",f\0\0", b",[f]", b",sib", b"\xff\xfe\0\0", b"\0\0\0\1"]
)
SIZES = st.integers(-8, 64).map(lambda n: struct.pack(">i", n))
PIECES = st.lists(st.one_of(WORDS, SIZES, st.binary(max_size=8)), max_size=24).map(b"".join)


def elements(inner):
    return b"".join(struct.pack(">i", len(part)) + part for part in inner)


GOOD = st.recursive(
    st.sampled_from([message("/a", 1.0), message("/b", "text", 3), message("/c", True, b"blob"), b"/d\0\0"]),
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: b"#bundle\0" + bytes(7) + b"\1" + elements(parts)),
    max_leaves=8,
)


@st.composite
def bent(draw):
    """A good datagram with a few bytes changed, cut or repeated."""
    data = bytearray(draw(GOOD))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data) - 1))
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


def passed(data):
    """Through the gate, or ValueError."""
    check_datagram(data)
    for content, _ in messages(data):
        check_message(content)


@settings(max_examples=600, deadline=None)
@given(st.one_of(PIECES, bent(), st.binary(max_size=64)))
def test_whatever_passes_the_gate_is_parsed(data):
    refused = ""
    try:
        passed(data)
    except ValueError as error:
        refused = str(error)
    if not refused:
        parse_in_time(data)
    assert "\n" not in refused


def flat(packet):
    """(message, its bundle's time) of everything, as the library reads it."""
    if isinstance(packet, OscMessage):
        return [(packet.dgram, 0.0)]
    of = [
        flat(content) if isinstance(content, OscBundle) else [(content.dgram, packet.timestamp)] for content in packet
    ]
    return [each for found in of for each in found]


@settings(max_examples=100, deadline=None)
@given(GOOD)
def test_bundles_are_read_as_the_library_reads_them(data):
    if data.count(b"#bundle") <= 4:
        assert list(messages(data)) == [
            (content, 0.0) for content, _ in flat(OscMessage(data) if data.startswith(b"/") else OscBundle(data))
        ]


@pytest.mark.parametrize("when", [time.time(), time.time() + 0.125, 1.5, 4e9 / 3])
def test_a_time_tag_is_the_wall_clocks_seconds(when):
    data = bundle(when, OscMessage(message("/a", 1.0)))
    ((_, wall),) = messages(data)
    assert wall == pytest.approx(OscBundle(data).timestamp, abs=1e-6) == pytest.approx(when, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(GOOD)
def test_good_datagrams_pass(data):
    if data.count(b"#bundle") <= 4:
        passed(data)


def test_large_datagrams_are_parsed_in_bounded_time():
    small = message("/a", 1.0)
    count = min(250, (MAX_BYTES - 16) // (len(small) + 4))
    passed(data := b"#bundle\0" + bytes(7) + b"\1" + elements([small] * count))
    parse_in_time(data)
    for huge in (elements([small] * 2000), elements([b"/d\0\0"] * 300)):
        with pytest.raises(ValueError, match="more than"):
            check_datagram(b"#bundle\0" + bytes(7) + b"\1" + huge)
    deep = message("/a")
    for _ in range(200):
        deep = b"#bundle\0" + bytes(8) + elements([deep])
    with pytest.raises(ValueError, match="nested"):
        check_datagram(deep)
