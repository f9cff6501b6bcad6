"""What OSC gives back: changes to listeners, dumps, telemetry at 120 Hz, leases, and to whom."""

import socket
import time

import pytest
from fake_link import make_controller
from pythonosc.osc_bundle_builder import IMMEDIATELY
from pythonosc.osc_message import OscMessage
from test_osc import Port, Stage, bundle, message, stage  # noqa: F401

from instrument.osc import subscribers as subscribing
from instrument.osc.allow import Allowed
from instrument.osc.arrivals import Arrival, Inlet, WallClock
from instrument.osc.everything import Dumps, dump
from instrument.osc.server import OscServer
from instrument.osc.subscribers import Subscriber, Subscribers
from instrument.osc.waiting import BEHIND, Waiting
from instrument.osc.wire import build, single
from instrument.parameters import PARAMETERS, TELEMETRY, VOICE_TELEMETRY


def heard(port, until):
    """Everything that comes to ``port`` until ``until(messages)`` holds."""
    found = []
    while not until(found):
        found.append(port.next())
    return found


@pytest.fixture
def ear():
    found = Port()
    yield found
    found.socket.close()


# --- changes


def everything_of(desk):
    names = [*PARAMETERS, *(f"voice/{n}/{name}" for n in (1, 2) for name in PARAMETERS)]
    return {f"/samplernn/{name}" for name in (*names, "checkpoint", "voice/1/checkpoint", "voice/2/checkpoint")}


def test_a_listener_hears_all_values_first_and_then_what_others_change(stage, ear):  # noqa: F811
    stage.desk.set("gain", -6.0)
    stage.send(message("/samplernn/listen", ear.number, 120))
    first = heard(ear, lambda found: {m[0] for m in found} == everything_of(stage.desk))
    assert ("/samplernn/gain", -6.0) in first
    assert ("/samplernn/checkpoint", "tabla") in first
    stage.send(message("/samplernn/voice/2/pan", 0.5))  # its own: no news
    stage.desk.set("temperature", 0.5, source="a knob")
    changes = heard(ear, lambda found: len(found) == 3)
    assert changes == [(f"/samplernn/{voice}temperature", 0.5) for voice in ("", "voice/1/", "voice/2/")]
    stage.desk.trigger("checkpoint", "glass", voice=2, source="a knob")
    assert ear.next() == ("/samplernn/voice/2/checkpoint", "glass")


def test_nothing_goes_back_to_its_author_but_to_everybody_else(stage, ear):  # noqa: F811
    other = Port()
    stage.send(message("/samplernn/listen", ear.number, 120))
    other.socket.sendto(message("/samplernn/listen", other.number, 120), stage.server.endpoint)
    heard(ear, lambda found: {m[0] for m in found} == everything_of(stage.desk))
    heard(other, lambda found: {m[0] for m in found} == everything_of(stage.desk))
    stage.send(message("/samplernn/voice/1/gain", -3.0), message("/samplernn/checkpoint", 2))
    names = {"/samplernn/voice/1/gain", "/samplernn/checkpoint", "/samplernn/voice/1/checkpoint"}
    names.add("/samplernn/voice/2/checkpoint")
    assert {m[0] for m in heard(other, lambda found: len(found) == 4)} == names
    other.socket.sendto(message("/samplernn/voice/1/gain", -9.0), stage.server.endpoint)
    assert ear.next() == ("/samplernn/voice/1/gain", -9.0)  # the first news since the state
    other.socket.close()


def test_what_a_sweep_moves_is_news_to_its_author_too(stage, ear):  # noqa: F811
    stage.send(message("/samplernn/listen", ear.number, 120), message("/samplernn/voice/2/pan", 0.5))
    heard(ear, lambda found: {m[0] for m in found} == everything_of(stage.desk))
    stage.send(message("/samplernn/sweep", "second"))
    assert ear.next() == ("/samplernn/voice/2/pan", -1.0)
    stage.link.now += 0.5
    assert heard(ear, lambda found: len(found) == 1)[0][1] == pytest.approx(0.0, abs=1e-5)


def test_an_authors_own_ramp_is_no_news_to_them(stage, ear):  # noqa: F811
    stage.send(message("/samplernn/listen", ear.number, 120))
    heard(ear, lambda found: {m[0] for m in found} == everything_of(stage.desk))
    stage.send(message("/samplernn/voice/2/gain", -12.0, 4.0))
    for _ in range(5):
        stage.link.now += 1.0
        time.sleep(0.03)
    stage.desk.set("drive", 6.0, source="a knob")
    assert ear.next()[0] == "/samplernn/drive"


def test_unlisten(stage, ear):  # noqa: F811
    stage.send(message("/samplernn/listen", ear.number))
    assert len(stage.server._listeners) == 1
    stage.send(message("/samplernn/unlisten", ear.number))
    assert len(stage.server._listeners) == 0
    replies = stage.send(*(message("/samplernn/listen", 40000 + i, 0.1) for i in range(17)))
    assert [m[1] for m in replies if m[0].endswith("error")] == ["listen: there are 16 subscribers already"]


def test_the_state_of_many_voices_does_not_come_at_once(ear):
    subscriber = Subscriber(("127.0.0.1", ear.number), 20.0, 0.0, author=("127.0.0.1", 5))
    found = {f"voice/{i}/gain": single(f"voice/{i}/gain", i) for i in range(1, 201)}
    counts = []
    for now in (0.0, 1.0, 2.0):
        subscriber.send(found, now)
        counts.append(len(drain(ear)))
    assert counts == [subscribing.AT_ONCE, 200 - subscribing.AT_ONCE, 0]
    subscriber.close()


def drain(port):
    port.socket.setblocking(False)
    found = []
    try:
        while True:
            found.append(OscMessage(port.socket.recv(65536)))
    except BlockingIOError:
        port.socket.settimeout(5)
    return found


# --- what a patch brings


@pytest.fixture
def moving(stage):  # noqa: F811
    """A stage whose patch has macros, LFOs and snapshots, one of two of a set."""
    from test_movements import MOVES

    stage.server.stop()
    stage.desk = make_controller(stage.link, movements=MOVES)
    stage.desk.patch, stage.desk.patches = (1, "second light"), ("first light", "second light")
    stage.server = OscServer(stage.desk, ("127.0.0.1", 0), None, stage.said.append, "0.1.0")
    assert stage.server.start()
    assert stage.desk.macros
    return stage


def test_macros_have_addresses_are_heard_and_dumped(moving, ear):
    name = moving.desk.macros[0]
    moving.send(message("/samplernn/listen", ear.number, 120))
    heard(
        ear,
        lambda found: f"/samplernn/{name}" in {m[0] for m in found} and ("/samplernn/patch", "second light") in found,
    )
    assert moving.send(message(f"/samplernn/{name}", 0.75)) == []
    assert moving.desk.get(name) == 0.75
    moving.client.socket.sendto(message("/samplernn/dump"), moving.server.endpoint)
    found = heard(moving.client, lambda got: got and got[-1][0] == "/samplernn/dump/end")
    values = {m[1]: m[2] for m in found[:-1]}
    assert values[name] == 0.75
    assert values["patch"] == values["patches/1"] == "second light"
    assert {values[f"lfos/{i}"] for i in range(len(moving.desk.lfos))} == set(moving.desk.lfos)
    assert {values[f"snapshots/{i}"] for i in range(len(moving.desk.snapshots))} == set(moving.desk.snapshots)


def test_another_patchs_macros_have_addresses_too(moving):
    from instrument.osc.dispatch import Dispatch

    class Desk:
        voices, macros = 1, ("macro/old",)

    desk = Desk()
    dispatch = Dispatch(desk, (), lambda *given: None)
    assert [route.name for route in dispatch.find("/samplernn/macro/old")] == ["macro/old"]
    desk.macros = ("macro/new",)
    assert [route.name for route in dispatch.find("/samplernn/macro/new")] == ["macro/new"]
    assert dispatch.continuous(b"/samplernn/macro/new")
    with pytest.raises(ValueError, match="no address"):
        dispatch.find("/samplernn/macro/old")


def test_the_tree_of_such_a_patch(moving):
    from instrument.osc import tree

    root = tree.tree(moving.desk)
    macro = tree.find(root, f"/samplernn/{moving.desk.macros[0]}")
    assert (macro["TYPE"], macro["RANGE"], macro["ACCESS"]) == ("f", [{"MIN": 0.0, "MAX": 1.0}], 3)
    assert tree.find(root, "/samplernn/lfo")["RANGE"][0] == {"VALS": list(moving.desk.lfos)}
    assert tree.find(root, "/samplernn/recall")["RANGE"][0] == {"VALS": list(moving.desk.snapshots)}
    assert tree.find(root, "/samplernn/patch")["RANGE"] == [{"VALS": ["first light", "second light"]}]
    assert tree.find(root, "/samplernn/patch")["VALUE"] == ["second light"]
    assert "RANGE" not in tree.find(root, "/samplernn/marker")


# --- dumps


def test_a_dump_holds_everything_and_says_how_much(stage):  # noqa: F811
    stage.client.socket.sendto(message("/samplernn/dump"), stage.server.endpoint)
    found = heard(stage.client, lambda got: got and got[-1][0] == "/samplernn/dump/end")
    values = {m[1]: m[2] for m in found[:-1]}
    assert found[-1][1] == len(values) == len(found) - 1
    assert {f"/samplernn/{name}" for name in values} > everything_of(stage.desk)
    assert [values[f"bank/{i}"] for i in range(3)] == ["tabla", "glass", "drones"]
    assert {values[f"sweeps/{i}"] for i in range(3)} == {"unhinge", "steps", "second"}
    first = stage.listener.next()
    assert first == found[0]  # the send address gets it too


def test_a_dump_is_paced():
    dumps, sent, now = Dumps(), [], 0.0
    dumps.add(("127.0.0.1", 1), [b"x"] * 1000)
    while dumps.wait(now, 1.0) < 1.0:
        before = len(sent)
        dumps.send(now, lambda asker, datagram: sent.append(datagram))
        assert len(sent) - before <= 32
        now += 0.001
    assert len(sent) == 1000
    assert now > 0.15
    for i in range(16):
        dumps.add(("127.0.0.1", i), [b"x"])
    with pytest.raises(ValueError, match="16"):
        dumps.add(("127.0.0.1", 99), [b"x"])


def test_a_dump_of_64_voices_fits_a_small_buffer():
    from fake_link import FakeLink, make_controller

    assert sum(map(len, dump(make_controller(FakeLink(), voices=64)))) < 100_000


# --- telemetry


def test_telemetry_of_every_name_at_120_a_second(stage, ear):  # noqa: F811
    stage.send(message("/samplernn/subscribe", ear.number, 500))
    names = {f"/samplernn/out/{n}" for n in (*TELEMETRY, *(f"voice/1/{name}" for name in VOICE_TELEMETRY))}
    heard(ear, lambda found: {m[0] for m in found} == names)
    (subscriber,) = stage.server._subscribers._all.values()
    assert subscriber.interval == pytest.approx(1 / 120)


def test_what_stands_still_is_repeated_thirty_times_a_second(ear):
    subscriber = Subscriber(("127.0.0.1", ear.number), 120.0, 0.0)
    for i in range(120):
        subscriber.send({"level": single("out/level", float(i)), "latency": single("out/latency", 20.0)}, i / 120)
    addresses = [m.address for m in drain(ear)]
    assert addresses.count("/samplernn/out/level") == 120
    assert addresses.count("/samplernn/out/latency") == 30
    subscriber.close()


@pytest.mark.parametrize("value", [0.0, -1.5, 1e-45, 1e300, -1e300])
def test_a_single_float_is_what_the_library_would_build(value):
    library = build("out/level", max(min(value, 3.4e38), -3.4e38))
    assert single("out/level", value) == library
    for name in ("out/a", "out/ab", "out/abc", "out/abcd"):
        assert single(name, 1.0) == build(name, 1.0)


def test_a_defect_in_telemetry_is_a_line_and_does_not_spin(stage, ear):  # noqa: F811
    calls = []

    def explode():
        calls.append(time.monotonic())
        raise RuntimeError("a defect of ours")

    stage.desk.telemetry = explode
    stage.send(message("/samplernn/subscribe", ear.number, 50))
    time.sleep(0.3)
    assert 1 <= len(calls) < 30
    assert stage.said[0] == "OSC: RuntimeError: a defect of ours"
    assert stage.send(message("/samplernn/gain", -3.0)) == []


# --- leases


def test_another_machine_is_forgotten_after_an_hour_of_silence(monkeypatch, ear):
    monkeypatch.setattr(subscribing, "is_loopback", lambda host: False)
    found = Subscribers()
    found.add(("127.0.0.1", ear.number), 10.0, 0.0)
    (subscriber,) = found.due(0.0).values()
    news = {"level": b"/x\0\0"}
    assert subscriber.send(news, 3599.0)
    found.heard("127.0.0.1", 3599.0)
    found.heard("10.0.0.1", 7000.0)
    assert subscriber.send(news, 7000.0)
    assert not subscriber.send(news, 7300.0)
    found.close()


def test_this_machine_needs_no_lease(ear):
    subscriber = Subscriber(("127.0.0.1", ear.number), 10.0, 0.0)
    assert subscriber.send({"level": b"/x\0\0"}, 1e6)
    subscriber.close()


# --- who may speak


@pytest.mark.parametrize(
    ("networks", "host", "expected"),
    [
        (None, "127.0.0.1", True),
        (None, "192.168.7.9", True),
        (None, "10.1.2.3", True),
        (None, "172.32.0.1", False),
        (None, "8.8.8.8", False),
        (None, "fe80::1%eth0", True),
        (None, "2001:db8::1", False),
        (None, "::ffff:192.168.0.1", True),
        (None, "::ffff:8.8.8.8", False),
        (["192.168.1.0/24", "10.0.0.7"], "192.168.1.200", True),
        (["192.168.1.0/24", "10.0.0.7"], "10.0.0.7", True),
        (["192.168.1.0/24", "10.0.0.7"], "10.0.0.8", False),
        (["192.168.1.0/24", "10.0.0.7"], "127.0.0.1", True),
        ([], "192.168.1.1", False),
        ([], "::1", True),
        (None, "no address", False),
    ],
)
def test_who_may_speak(networks, host, expected):
    assert Allowed(networks)(host) is expected


def test_the_list_can_be_changed_while_it_is_asked():
    allowed = Allowed([])
    assert not allowed("10.0.0.7")
    allowed.change(["10.0.0.0/24"])
    assert allowed("10.0.0.7")
    with pytest.raises(ValueError, match="nonsense"):
        allowed.change(["nonsense"])
    assert allowed("10.0.0.7")


def test_a_stranger_is_one_line_and_gets_no_answer(stage):  # noqa: F811
    stage.server._allowed = Allowed([])
    sent = []
    stage.server._reply = lambda sender, datagram: sent.append(sender)
    for i in range(1000):
        stage.server.receive(message("/samplernn/ping"), ("192.0.2.1", i), time.monotonic())
        stage.server.receive(message("/samplernn/subscribe", 9001), ("192.0.2.1", i), time.monotonic())
        stage.server.receive(b"garbage", ("192.0.2.1", i), time.monotonic())
    assert sent == []
    assert stage.said[0] == "OSC: 192.0.2.1 is not in osc.allow; what it sends is not taken"
    assert len(stage.said) < 5
    assert len(stage.server._subscribers) == 0


# --- arrival


def test_an_event_keeps_its_time_when_the_reader_is_late():
    inlet = Inlet("127.0.0.1", 0)
    client = Port()
    try:
        before = time.monotonic()
        client.socket.sendto(message("/samplernn/ping"), inlet.socket.getsockname())
        after = time.monotonic()
        if not inlet.stamped:
            pytest.skip("this system does not stamp what arrives")
        time.sleep(0.2)
        (arrival,) = inlet.take()
        assert before - 1e-3 <= arrival.moment <= after + 1e-3
        assert arrival.sender == ("127.0.0.1", client.number)
    finally:
        inlet.close()
        client.socket.close()


def test_a_clock_that_was_set_anew_moves_nothing_far():
    clock = WallClock()
    now = time.monotonic()
    assert clock.moment(time.time() + 100.0, now) == now
    assert clock.moment(time.time() - 1000.0, now) == now
    assert clock.moment(time.time() - 1.0, now) == pytest.approx(now - 1.0, abs=0.01)
    clock.steady()
    assert clock.moment(time.time(), time.monotonic()) == pytest.approx(time.monotonic(), abs=0.01)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [(-3600.0, 0.0), (-0.01, 0.0), (None, 0.0), (0.25, 0.25), (59.0, 59.0), (4000.0, 4000.0)],
)
def test_time_tags(stage, ahead, expected):  # noqa: F811
    """Past and immediate mean now, the future its time; what lies past the cap is the controller's to doubt."""
    moments = []
    stage.desk.trigger = lambda *given, **rest: moments.append(rest["when"] - time.monotonic())
    when = IMMEDIATELY if ahead is None else time.time() + ahead
    before = time.monotonic()
    stage.send(bundle(when, OscMessage(message("/samplernn/reseed"))))
    assert moments[0] == pytest.approx(expected, abs=0.05 + time.monotonic() - before)


def test_a_tag_past_the_cap_means_now(stage):  # noqa: F811
    stage.send(bundle(time.time() + 4000.0, OscMessage(message("/samplernn/gain", -3.0))))
    assert stage.desk.get("gain") == -3.0
    stage.send(bundle(time.time() + 1e8, OscMessage(message("/samplernn/gain", -4.0))))
    assert stage.desk.get("gain") == -4.0


# --- floods


def arrival(address, value=0.0, sender=1):
    return Arrival(message(address, value), ("127.0.0.1", sender), 0.0)


def left(waiting):
    return [OscMessage(found.data) for found in iter(waiting.next, None)]


def test_of_a_flood_the_last_value_of_each_address_remains_in_order():
    waiting = Waiting(lambda address: address.endswith((b"gain", b"pan")))
    waiting.extend(arrival("/reseed", i) for i in range(BEHIND))
    waiting.extend(arrival("/gain", i) for i in range(1000))
    waiting.extend(arrival("/gain", i, sender=2) for i in range(10))
    waiting.extend(arrival("/pan", i) for i in range(5))
    waiting.extend([arrival("/gain", 5000.0)])
    assert waiting.overtaken == 1000 + 9 + 4
    found = [(m.address, m.params[0]) for m in left(waiting)]
    assert found[BEHIND:] == [("/gain", 9.0), ("/pan", 4.0), ("/gain", 5000.0)]
    assert len(waiting) == 0
    assert waiting._bytes == 0


def test_no_value_is_overtaken_across_what_happens_once():
    """A snapshot stores the values that were sent before it, also where it came as part of a bundle."""
    snapshot = bundle(IMMEDIATELY, OscMessage(message("/snapshot", "B")))
    waiting = Waiting(lambda address: address.endswith(b"gain"))
    for once in (arrival("/snapshot", "A"), Arrival(snapshot, ("127.0.0.1", 2), 0.0)):
        waiting.extend(arrival(f"/{i}/gain", float(i)) for i in range(22))
        waiting.extend([arrival("/0/gain", -1.0), once])
    addresses = [data.partition(b"\0")[0] for data, *_ in iter(waiting.next, None)]
    assert [addresses.count(f"/{i}/gain".encode()) for i in range(1, 22)] == [2] * 21


def test_the_value_that_a_ramp_starts_from_is_not_overtaken():
    waiting = Waiting(lambda address: True)
    waiting.extend(arrival("/pan", i) for i in range(BEHIND))
    waiting.extend([arrival("/gain", -60.0), Arrival(message("/gain", 0.0, 5.0), ("127.0.0.1", 1), 0.0)])
    assert [m.params for m in left(waiting)][-2:] == [[-60.0], [0.0, 5.0]]
    waiting.extend(arrival("/pan", i) for i in range(BEHIND + 1))
    waiting.extend([Arrival(message("/gain", 0.0, 5.0), ("127.0.0.1", 1), 0.0), arrival("/gain", 1.0)])
    assert [m.params for m in left(waiting)][-1:] == [[1.0]]
    waiting.extend(arrival("/pan", i) for i in range(BEHIND + 1))
    waiting.extend([arrival("/gain", 2.0), arrival("/gain", "loud")])
    assert [m.params for m in left(waiting)][-2:] == [[2.0], ["loud"]]


def test_who_keeps_up_reads_everything():
    waiting = Waiting(lambda address: True)
    for i in range(1000):
        waiting.extend([arrival("/gain", i)])
        assert waiting.next() is not None
    assert waiting.overtaken == 0


def test_a_bundle_is_never_overtaken():
    waiting = Waiting(lambda address: True)
    data = bundle(IMMEDIATELY, OscMessage(message("/gain", 1.0)))
    waiting.extend(Arrival(data, ("127.0.0.1", 1), 0.0) for _ in range(100))
    assert len(waiting) == 100


def test_waiting_is_bounded_in_count_and_in_bytes():
    waiting = Waiting(lambda address: False)
    while not waiting.full:
        waiting.extend([Arrival(bytes(16384), ("127.0.0.1", 1), 0.0)] * 64)
    assert len(waiting) <= 1024 + 64


def test_what_the_system_drops_is_said():
    """A receive buffer that is full drops what is newest: at least it is told."""
    from fake_link import FakeLink, make_controller

    said = []
    server = OscServer(make_controller(FakeLink()), ("127.0.0.1", 0), None, said.append)
    inlet = Inlet("127.0.0.1", 0)
    if not inlet.stamped:
        pytest.skip("this system does not tell what it drops")
    inlet.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client = Port()
    for i in range(200):
        client.socket.sendto(message("/samplernn/gain", -i / 10), inlet.socket.getsockname())
    while inlet.take():
        pass
    client.socket.sendto(message("/samplernn/gain", 0.0), inlet.socket.getsockname())
    inlet.wait(1.0)
    inlet.take()
    server._count_lost(inlet)
    assert inlet.lost > 0
    assert len(said) == 1
    assert "dropped" in said[0]
    inlet.close()
    client.socket.close()
