"""Sets of patches, and patches that are saved while they play: what is wrong is a line, and the music goes on."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace as changed
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from networks import network
from test_following import check_replay
from test_session import ROOT, options, wait_until

from engine.checkpoint import Checkpoint, save
from instrument import loading, log, patch, plan, saved, setlist, sets, watching
from instrument.changing import restarts
from instrument.controls import Event, Loaded, Op
from instrument.patch_text import line_of
from instrument.session import Session
from instrument.watching import Watched

FIRST = """
name: first
bank: [gru.safetensors, one-tier.safetensors]
parameters: {gain: -6}
osc: {listen: none}
"""
SECOND = """
name: second
bank: [lstm.safetensors, gru.safetensors]
voices: 2
crossfade: 0.02
parameters: {temperature: 1.2, gain: -9}
voice: {2: {checkpoint: gru, pan: 0.5}}
sweeps: {up: {parameter: temperature, points: [[0, 0.9], [0.2, 1.1]]}}
osc: {listen: none}
"""
THIRD = "name: third\nbank: [gru-2.safetensors]\nosc: {listen: none}\n"
SET = """
name: evening
set: [a.yaml, b.yaml, c.yaml]
midi: [{cc: 64, to: patch/next}, {note: C2, to: patch, value: third}]
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "LOOK_S", 0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("gru", "one-tier", "lstm"):
        save(network(name), tmp_path / f"{name}.safetensors")
    save(network("gru", 1), tmp_path / "gru-2.safetensors")
    for name, text in (("a", FIRST), ("b", SECOND), ("c", THIRD), ("set", SET)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


class Playing:
    """A set that plays until it is left, and what it said."""

    def __init__(self, target: Path, **more: object) -> None:
        self.said: list[str] = []
        self.folder = target.parent
        made = plan.make(options(target, self.folder, seed=5, **more))
        self.session = Session(made, self.said.append, self.said.append)

    def __enter__(self) -> "Playing":
        self.session.open()
        self.session.start()
        self.go_on(4000)
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    @property
    def controller(self):  # type: ignore[no-untyped-def]
        return self.session.controller

    def go_on(self, samples: int) -> None:
        before = self.session.link.telemetry().written
        wait_until(lambda: self.session.link.telemetry().written > before + samples)

    def until(self, true: Callable[[], object]) -> None:
        try:
            wait_until(lambda: bool(true()), 20)
        except AssertionError:
            raise AssertionError("\n".join(self.said)) from None

    def hear(self, words: str, times: int = 1) -> str:
        self.until(lambda: sum(words in line for line in self.said) >= times)
        return next(line for line in self.said if words in line)

    def plays(self, name: str, voice: int = 1) -> bool:
        at = self.session.link.telemetry().voices[voice - 1]
        return at.phase in (0, 3) and self.controller.table.name(at.slot) == name

    def loaded(self, count: int) -> None:
        self.until(lambda: len(self.session.loading) == count)

    def save(self, name: str, text: str) -> None:
        """As an editor does that renames."""
        (self.folder / f".{name}.new").write_text(text)
        (self.folder / f".{name}.new").rename(self.folder / name)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "set.jsonl").read_text().splitlines()[1:]]


# --- sets


def test_a_set_is_played_through_and_replayed_bit_for_bit(folder: Path) -> None:
    with Playing(folder / "set.yaml") as playing:
        c = playing.controller
        assert (c.voices, c.get("patch"), c.telemetry()["patch"]) == (2, "first", 0.0)
        assert playing.session.link.telemetry().voices[1].phase == 3  # the second voice is another patch's
        playing.loaded(4)
        c.trigger("patch/next", 1.0)
        playing.until(lambda: playing.plays("lstm") and playing.plays("gru", 2))
        assert (c.get("patch"), c.bank, c.get("checkpoint")) == ("second", ["lstm", "gru"], "lstm")
        assert (c.get("temperature"), c.get("gain"), c.get("voice/2/pan")) == (1.2, -9.0, 0.5)
        c.trigger("sweep", "up")
        c.trigger("checkpoint", "gru", 0.01, voice=1)
        playing.until(lambda: playing.plays("gru"))
        assert c.telemetry()["checkpoint"] == 1.0
        playing.go_on(6000)
        c.trigger("patch", "third")
        playing.until(lambda: playing.plays("gru-2"))
        assert (c.get("pan"), c.sweeps) == (0.0, {})
        c.trigger("patch/next", 1.0)  # stays
        c.trigger("patch", 0)
        playing.until(lambda: playing.plays("gru"))
        c.trigger("patch/previous")
        playing.go_on(9000)
        assert c.get("patch") == "first"
    assert [line for line in playing.said if line.startswith("patch ")] == [
        "patch 1: second", "patch 2: third", "patch 0: first",
    ]  # fmt: skip
    events = log.read(folder / "set.jsonl")[1]
    loads = [event for event in events if isinstance(event, Loaded)]
    assert [(e.name, e.number) for e in loads] == [("lstm", 2), ("gru-2", 3)]
    assert loads[1].pairs
    assert [event.op for event in events if event.op in (Op.PARK, Op.WAKE)] == [Op.PARK, Op.WAKE, Op.PARK]
    assert [line["name"] for line in lines(folder) if line.get("kind") == "patch"] == ["second", "third", "first"]
    check_replay(folder)
    assert np.abs(soundfile.read(folder / "set.wav")[0]).max() > 0.01


def held_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing more is loaded until this is set."""
    go_on = threading.Event()
    prepare = sets.Loading.prepare

    def slow(self: object, entries: object, *rest: object) -> object:
        go_on.wait(20)
        return prepare(self, entries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sets.Loading, "prepare", slow)
    return go_on


def test_what_is_asked_for_while_it_loads_comes_when_it_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = held_up(monkeypatch)
    with Playing(folder / "set.yaml") as playing:
        playing.controller.trigger("patch", 1)
        playing.controller.trigger("patch/next")
        playing.hear("patch 2, third: is being loaded")
        playing.go_on(5000)
        assert playing.controller.get("patch") == "first"
        go_on.set()
        playing.until(lambda: playing.plays("gru-2"))
    assert [line for line in playing.said if line.startswith("patch 2:")] == ["patch 2: third"]
    assert "patch 1: second" not in playing.said
    check_replay(folder)


def test_a_panic_forgets_the_patch_that_is_being_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = held_up(monkeypatch)
    with Playing(folder / "set.yaml") as playing:
        playing.controller.trigger("patch/next")
        playing.hear("patch 1, second: is being loaded")
        playing.controller.panic()
        go_on.set()
        playing.loaded(4)
        playing.go_on(5000)
        assert playing.controller.silent
        assert playing.session.link.telemetry().silent
        assert playing.controller.get("patch") == "first"
        playing.controller.trigger("patch/next")  # asked for anew it comes
        playing.until(lambda: playing.plays("lstm") and not playing.session.link.telemetry().silent)
    check_replay(folder)


def test_a_loop_that_does_not_answer_costs_a_line_and_no_slot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mute, kept = threading.Event(), []
    noted = loading.Loading.noted

    def late(self: loading.Loading, events: Sequence[Event]) -> list[Event]:
        if mute.is_set():
            kept.extend(event for event in events if event.op == Op.LOAD)
            return [event for event in events if event.op != Op.LOAD]
        return noted(self, events)

    mute.set()
    monkeypatch.setattr(loading, "PATIENCE_S", 0.2)
    monkeypatch.setattr(loading.Loading, "noted", late)
    with Playing(folder / "a.yaml") as playing:
        playing.save("a.yaml", FIRST.replace("one-tier", "lstm"))
        playing.hear("lstm.safetensors: the render loop has not answered for 0.2 s; what played goes on")
        playing.until(lambda: kept)
        slots = playing.session.performance.table.slots
        assert len(slots) == 3
        monkeypatch.setattr(loading, "PATIENCE_S", 30.0)
        mute.clear()
        noted(playing.session.loading, kept)
        playing.until(lambda: len(slots) == 2)
        playing.save("a.yaml", FIRST.replace("one-tier", "gru-2"))
        playing.hear("read again")
        playing.loaded(2)


def test_only_what_has_room_is_loaded_and_the_rest_is_let_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MEMORY", 0)
    with Playing(folder / "set.yaml") as playing:
        playing.loaded(3)  # gru, one-tier, lstm
        playing.controller.trigger("patch", 2)
        playing.until(lambda: playing.plays("gru-2"))
        playing.loaded(3)  # lstm, gru, gru-2
        playing.controller.trigger("patch", 0)
        playing.until(lambda: playing.plays("gru"))
        playing.loaded(3)
        playing.go_on(3000)
    check_replay(folder)


def test_a_name_that_is_not_in_the_set_is_refused(folder: Path) -> None:
    with Playing(folder / "set.yaml") as playing:
        for entry, words in (("thrid", "did you mean 'third'"), (3, "there is 0 to 2"), (-1, "there is 0 to 2")):
            with pytest.raises(ValueError, match=f"patch: .* is not in the set.*{words}"):
                playing.controller.trigger("patch", entry)


def test_a_patch_alone_is_a_set_of_one(folder: Path) -> None:
    with Playing(folder / "a.yaml") as playing:
        playing.controller.trigger("patch/next")
        playing.controller.trigger("patch", "first")
        with pytest.raises(ValueError, match="patch: 'second' is not in the set; there is first"):
            playing.controller.trigger("patch", "second")
    assert [line for line in playing.said if line.startswith("patch ")] == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("set.yaml", "set: []", r"set\.yaml: set: 0 entries"),
        ("set.yaml", "set: [a.yaml, x.yaml]", r"set\.yaml: set\[1\]: 'x\.yaml' is not there; looked for \S*x\.yaml"),
        ("set.yaml", "set: [a.yaml]\nbamk: 3", r"set\.yaml: set: unknown key 'bamk'; there is name, set, midi, osc"),
        ("set.yaml", "set: [a.yaml, set.yaml]", r"set\.yaml: is a set"),
        ("set.yaml", "set: [a.yaml]\nmidi: [{cc: 1, to: tone}]", r"set\.yaml: midi\[0\]\.to: 'tone'"),
        (
            "set.yaml",
            "set: [a.yaml, b.yaml]\nmidi: [{note: 1, to: checkpoint, value: one-tier}]",
            r"set\.yaml: midi\[0\]\.value: 'one-tier' is not in the bank.* \(in \S*b\.yaml\)",
        ),
        ("b.yaml", "bank: [gru.safetensors]\ncolour: 3", r"b\.yaml: patch: unknown key 'colour'"),
        ("b.yaml", "bank: [gone.safetensors]", r"b\.yaml: bank\[0\]: 'gone\.safetensors' is not there"),
        ("b.yaml", "bank: [gru.safetensors]\nhistory: true", r"b\.yaml: history: .* not in a set"),
        ("b.yaml", "bank: [lstm.yaml]", r"lstm\.yaml: not a safetensors file"),
    ],
)
def test_all_of_a_set_is_checked_before_it_plays(folder: Path, name: str, text: str, words: str) -> None:
    (folder / "lstm.yaml").write_text("x")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=rf"^\S*{words}[^\n]*$"):
        plan.make(options(folder / "set.yaml", folder))


def test_patches_of_another_rate_share_a_delay(folder: Path) -> None:
    low = network("gru")
    save(
        Checkpoint(changed(low.config, sample_rate=22050), low.tensors, playing=low.playing), folder / "low.safetensors"
    )
    (folder / "c.yaml").write_text(THIRD.replace("gru-2", "low"))
    with Playing(folder / "set.yaml") as playing:
        playing.loaded(4)
        playing.controller.trigger("patch", "third")
        playing.until(lambda: playing.plays("low"))
    check_replay(folder)


# --- saving


def test_a_patch_that_is_saved_takes_over_what_changed(folder: Path) -> None:
    with Playing(folder / "a.yaml") as playing:
        c = playing.controller
        c.set("pan", 0.5)
        c.set("gain", -20.0)
        text = FIRST.replace("gain: -6", "gain: -6, temperature: 0.8, pan: 0").replace("one-tier", "lstm")
        playing.save("a.yaml", text)
        playing.hear("a.yaml: read again")
        assert c.bank == ["gru", "lstm"]
        assert (c.get("temperature"), c.get("gain"), c.get("pan")) == (0.8, -20.0, 0.5)  # pan: 0 was so before
        assert c.get("checkpoint") == "gru"
        playing.loaded(2)
        c.trigger("checkpoint", "lstm")
        playing.until(lambda: playing.plays("lstm"))
        playing.save("a.yaml", text.replace("[gru.safetensors, lstm", "[lstm.safetensors, gru-2"))
        playing.hear("read again", 2)
        playing.until(lambda: playing.plays("lstm"))
        playing.go_on(3000)
        assert c.get("checkpoint") == "lstm"  # it is still there, and nobody said otherwise
        playing.loaded(2)
        playing.save("a.yaml", text)
        playing.hear("read again", 3)
    assert not [line for line in playing.said if "\n" in line]
    events = log.read(folder / "set.jsonl")[1]
    assert [event.number for event in events if event.op == Op.DROP] == [1, 0, 1]
    check_replay(folder)


def test_a_partner_that_a_hand_has_dropped_stays_away(folder: Path) -> None:
    text = FIRST.replace("one-tier.safetensors", "gru-2.safetensors") + "voice: {1: {partner: gru-2}}\n"
    (folder / "a.yaml").write_text(text)
    with Playing(folder / "a.yaml") as playing:
        c = playing.controller
        assert c.partners[0] >= 0
        c.trigger("partner", "none", voice=1)
        playing.save("a.yaml", text.replace("gain: -6", "gain: -7"))
        playing.hear("a.yaml: read again")
        assert (c.partners[0], c.get("gain")) == (-1, -7.0)
        playing.save("a.yaml", text.replace("partner: gru-2", "partner: gru"))
        playing.hear("a.yaml: read again", 2)
        assert c.partners[0] == c.table.slots[c.bank.index("gru")]
        c.trigger("partner", "gru-2", voice=1)
        playing.save("a.yaml", text.replace("gru-2", "gru").replace("gru.safetensors, gru.", "gru.safetensors, lstm."))
        playing.hear("a.yaml: read again", 3)
        assert c.partners[0] == c.table.slots[c.bank.index("gru")]  # the one by hand is not there any more
    check_replay(folder)


def test_another_clock_leads_as_soon_as_the_patch_says_so(folder: Path) -> None:
    with Playing(folder / "a.yaml", midi=None) as playing:
        c = playing.controller
        for clock in ("midi", "link", "internal"):
            playing.save("a.yaml", FIRST + f"clock: {clock}\n")
            playing.until(lambda: c.transport.clock == clock)  # noqa: B023
            assert c.transport.running
        playing.hear("MIDI")  # it was listened for: nothing of this patch is mapped
        assert not any("next start" in line for line in playing.said)


def test_what_waits_for_the_next_start_is_named(folder: Path) -> None:
    before = patch.load(folder / "a.yaml")
    for text, named in (
        ("midi_out: same", ["midi_out"]),
        ("midi_port: ours", ["midi_port"]),
        ("stereo: true", ["stereo"]),
        ("voice: {1: {stereo: true}}", ["stereo"]),
        ("voice: {1: {stereo: false}}", []),
        ("crossfade: 2", []),
    ):
        (folder / "a.yaml").write_text(f"{FIRST}{text}\n")
        assert restarts(before, patch.load(folder / "a.yaml"), 1) == named, text
    for text, named in (("announce: true", ["osc.announce"]), ("allow: [10.0.0.7]", []), ("send: a.b:9", [])):
        (folder / "a.yaml").write_text(FIRST.replace("{listen: none}", f"{{listen: none, {text}}}"))
        assert restarts(before, patch.load(folder / "a.yaml"), 1) == named, text


def test_whom_a_saved_patch_hears_is_heard_at_once(folder: Path) -> None:
    listening = FIRST.replace("listen: none", "listen: '127.0.0.1:0', allow: [10.0.0.7]")
    (folder / "a.yaml").write_text(listening)
    with Playing(folder / "a.yaml") as playing:
        server = playing.session.osc_server
        assert server is not None
        assert not server._allowed("10.0.0.8")
        playing.save("a.yaml", listening.replace("[10.0.0.7]", "[10.0.0.8]"))
        playing.until(lambda: server._allowed("10.0.0.8"))
        assert not server._allowed("10.0.0.7")
        assert playing.hear("read again").endswith("a.yaml: read again")


def test_another_start_is_switched_to_and_voices_are_parked(folder: Path) -> None:
    with Playing(folder / "b.yaml") as playing:
        playing.save("b.yaml", SECOND.replace("checkpoint: gru", "checkpoint: lstm"))
        playing.until(lambda: playing.plays("lstm", 2))
        playing.save(
            "b.yaml", SECOND.replace("voices: 2", "voices: 1").replace("voice: {2: {checkpoint: gru, pan: 0.5}}", "")
        )
        playing.until(lambda: playing.session.link.telemetry().voices[1].phase == 3)
        playing.save("b.yaml", SECOND.replace("voices: 2", "voices: 3").replace("seed", "seed"))
        assert playing.hear("at the next start").endswith("b.yaml: read again; voices: at the next start")
        playing.until(lambda: playing.session.link.telemetry().voices[1].phase == 0)
    check_replay(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FIRST.replace("gain", "gian"), "a.yaml: line 4: parameters: unknown key 'gian'; did you mean 'gain'"),
        (FIRST + "  bad: [", "a.yaml: line 6"),
        (FIRST.replace("one-tier", "gone"), "a.yaml: line 3: bank[1]: 'gone.safetensors' is not there"),
        (FIRST.replace("one-tier", "nan"), "nan.safetensors: tensor"),
        (FIRST.replace("one-tier", "half"), "half.safetensors: not as long as its header says"),
        (FIRST.replace("one-tier", "low"), "low: its 8000 Hz cannot join"),
        ("#" * 40_000, "a.yaml: larger than 32 KiB"),
        (FIRST + "history: true\n", "a.yaml: line 6: history: takes effect at the next start only"),
        ("set: [b.yaml]", "a.yaml: line 1: patch: unknown key 'set'"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_old_one_plays_on(folder: Path, text: str, words: str) -> None:
    bad = network("one-tier")
    tensors = {name: value * np.float32("nan") for name, value in bad.tensors.items()}
    save(Checkpoint(bad.config, tensors, playing=bad.playing), folder / "nan.safetensors")
    low = changed(bad.config, sample_rate=8000)
    save(Checkpoint(low, bad.tensors, playing=bad.playing), folder / "low.safetensors")
    (folder / "half.safetensors").write_bytes((folder / "one-tier.safetensors").read_bytes()[:-9])
    with Playing(folder / "a.yaml") as playing:
        playing.save("a.yaml", text)
        line = playing.hear("what played goes on")
        assert words in line
        assert "\n" not in line
        playing.go_on(3000)
        assert playing.controller.bank == ["gru", "one-tier"]
        playing.save("a.yaml", THIRD)
        playing.until(lambda: playing.plays("gru-2"))
    assert [str(note["text"]) for note in lines(folder) if note.get("kind") == "error"] == [line]
    check_replay(folder)


def test_what_we_wrote_ourselves_is_no_news(folder: Path) -> None:
    with Playing(folder / "a.yaml") as playing:
        learned = FIRST + "midi: [{cc: 3, to: gain}]\n"
        saved.note(folder / "a.yaml", learned.encode())
        playing.save("a.yaml", learned)
        playing.until(lambda: playing.session.sets.changing.patch.midi)
        playing.save("a.yaml", learned.replace("gain: -6", "gain: -7"))
        playing.hear("read again")
    assert len([line for line in playing.said if "read again" in line]) == 1


def test_an_edit_that_is_taken_back_takes_effect(folder: Path) -> None:
    with Playing(folder / "a.yaml") as playing:
        learned = FIRST + "midi: [{cc: 3, to: gain}]\n"
        saved.note(folder / "a.yaml", learned.encode())
        playing.save("a.yaml", learned)
        playing.until(lambda: playing.session.sets.changing.patch.midi)
        playing.save("a.yaml", learned.replace("-6", "-7"))
        playing.until(lambda: playing.controller.get("gain") == -7.0)
        playing.save("a.yaml", learned)  # just what we wrote
        playing.until(lambda: playing.controller.get("gain") == -6.0)


def test_an_edit_below_a_line_of_our_own_takes_effect(folder: Path) -> None:
    with Playing(folder / "a.yaml") as playing:
        learned = FIRST.replace("-6", "-7") + "midi: [{cc: 3, to: gain}]\n"
        saved.note(folder / "a.yaml", learned.encode())
        playing.save("a.yaml", learned)  # with what somebody had just written
        playing.hear("read again")
        assert playing.controller.get("gain") == -7.0
        assert playing.session.sets.changing.patch.midi


def test_in_panics_silence_a_file_waits(folder: Path) -> None:
    with Playing(folder / "a.yaml") as playing:
        playing.controller.panic()
        playing.go_on(6000)
        playing.save("a.yaml", THIRD)
        playing.go_on(9000)
        assert playing.session.link.telemetry().silent
        playing.controller.trigger("resume")
        playing.until(lambda: playing.plays("gru-2"))
    check_replay(folder)


def test_a_patch_that_a_panic_came_before_can_be_asked_for_again(folder: Path) -> None:
    with Playing(folder / "set.yaml", latency=500.0) as playing:
        playing.loaded(4)
        c = playing.controller
        c.trigger("patch", "third")
        c.panic()  # before its sample
        playing.until(lambda: playing.session.link.telemetry().silent and None in c.table.asked)
        c.trigger("resume")
        playing.until(lambda: not playing.session.link.telemetry().silent)
        playing.go_on(3000)
        assert (c.get("patch"), c.get("checkpoint")) == ("third", "gru")
        c.trigger("patch", "third")
        playing.until(lambda: playing.plays("gru-2"))
    check_replay(folder)


def test_a_patch_ends_panics_silence(folder: Path) -> None:
    with Playing(folder / "set.yaml") as playing:
        playing.loaded(4)
        playing.controller.panic()
        playing.go_on(6000)
        playing.controller.trigger("patch", "first")
        playing.until(lambda: not playing.session.link.telemetry().silent)
    check_replay(folder)


def test_a_set_file_that_is_saved_has_other_patches(folder: Path) -> None:
    with Playing(folder / "set.yaml") as playing:
        playing.loaded(4)
        playing.save("set.yaml", "set: [b.yaml, a.yaml]\nmidi: [{cc: 64, to: patch/next}]\n")
        playing.hear("set.yaml: read again, 2 patches")
        assert playing.controller.telemetry()["patch"] == 1.0
        playing.loaded(3)
        playing.save("set.yaml", "set: [b.yaml, c.yaml]\n")
        playing.hear("first is not in it any more, and plays on")
        playing.controller.trigger("patch/next")
        playing.until(lambda: playing.plays("gru-2"))
        playing.save("set.yaml", "set: [b.yaml, x.yaml]\n")
        assert "set[1]: 'x.yaml' is not there" in playing.hear("what played goes on")
        playing.save("b.yaml", SECOND.replace("1.2", "1.3").replace("name: second", "name: renamed"))
        playing.until(lambda: "renamed" in playing.controller.patches)
        playing.save("b.yaml", SECOND.replace("1.2", "1.3"))
        playing.until(lambda: "second" in playing.controller.patches)
        playing.controller.trigger("patch/previous")
        playing.controller.trigger("patch", "second")
        playing.until(lambda: playing.controller.get("temperature") == 1.3)
    check_replay(folder)


def resident() -> int:
    """Bytes of memory; 0 where the system does not tell."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * 4096 if path.exists() else 0


def hundred(folder: Path, count: int) -> None:
    """Edits, a third of them broken; nothing may pile up, and the sound goes on."""
    good = [FIRST, FIRST.replace("one-tier", "lstm"), FIRST.replace("-6", "-3"), THIRD]
    bad = [FIRST.replace("bank", "bonk"), FIRST.replace("gru", "gone"), "#" * 40_000, "name: ["]
    with Playing(folder / "a.yaml", latency=150.0) as playing:
        threads, last, then = threading.active_count(), FIRST, resident()
        for i in range(count):
            wrong = i % 3 == 2
            text = bad[i // 3 % len(bad)] if wrong else good[i % len(good)]
            last = last if wrong else text
            if i == count // 3:
                then = resident()
            playing.save("a.yaml", f"{text}\n# {i}\n")
            playing.hear("what played goes on" if wrong else "read again", i // 3 + 1 if wrong else i - i // 3 + 1)
        playing.loaded(1 if last is THIRD else 2)
        assert threading.active_count() == threads
        assert len(playing.session.performance.table.slots) <= 2
        assert resident() - then < 32 << 20
        assert playing.session.link.telemetry().underruns == 0
    check_replay(folder)


def test_nothing_piles_up(folder: Path) -> None:
    hundred(folder, 13)


@pytest.mark.soak
def test_a_hundred_edits(folder: Path) -> None:
    hundred(folder, 100)


# --- files


def test_what_is_written_while_a_set_begins_is_news(folder: Path) -> None:
    playing = Playing(folder / "set.yaml")
    playing.save("b.yaml", SECOND.replace("1.2", "1.3"))
    playing.save("set.yaml", SET.replace("a.yaml, ", "a.yaml, a.yaml, "))
    with playing:
        playing.hear("b.yaml: read again")
        playing.hear("set.yaml: read again, 4 patches")


def test_a_file_is_news_once_it_rests(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one")
    watched = Watched(path)
    assert [watched.look() for _ in range(9)] == [None] * 9
    path.write_text("tw")
    assert watched.look() is None
    path.write_text("two!")  # once more
    assert [watched.look() for _ in range(3)] == [None, b"two!", None]
    path.unlink()
    assert watched.look() is None
    path.write_text("two!")
    assert [watched.look() for _ in range(9)] == [None] * 9  # as it was
    path.unlink()
    path.write_text("three")
    assert b"three" in [watched.look() for _ in range(3)]


def test_a_file_whose_date_stands_still_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one")
    monkeypatch.setattr(watching, "_state", lambda _path: (1, 2, 3))
    watched = Watched(path)
    path.write_text("two")
    assert [found for found in (watched.look() for _ in range(watching.EVERY)) if found] == [b"two"]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("bank[1]: 'x' is not there", 4),
        ("midi[1].to: 'tone' is not one of", 8),
        ("midi[1]: unknown key 'colour'", 9),
        ("patch: unknown key 'bamk'", 10),
        ("patch: name is missing", 1),
        ("voice.2.checkpoint: 7 is not in the bank", 11),
        ("sweeps.up: parameter is missing", 1),
        ("", 1),
    ],
)
def test_the_line_of_a_fault(fault: str, line: int) -> None:
    text = """# a comment
bank:
  - a
  - b
midi:
  - {cc: 1, to: gain}
  - cc: 2
    to: tone
    colour: 3
bamk: 3
voice: {2: {checkpoint: 7}}
"""
    assert line_of(text.encode(), fault) == line
    assert line_of(b"[", fault) == 1


# --- the schema, and what comes along


def test_the_schema_for_editors_is_current() -> None:
    """SAMPLERNN_WRITE_DOCS=1 writes it anew."""
    path, text = ROOT / "docs" / "patch.schema.json", json.dumps(setlist.schema(), indent=2) + "\n"
    if os.environ.get("SAMPLERNN_WRITE_DOCS"):
        path.write_text(text)
    assert path.read_text() == text


def test_the_set_that_comes_along_is_sound() -> None:
    assert setlist.check(ROOT / "patches" / "set.yaml").endswith(
        "set.yaml: 'an evening', a set of 3: first light, two layers, expressive temperature"
    )


def test_the_schema_is_of_sets_and_patches() -> None:
    import yaml

    schema = jsonschema.Draft7Validator(setlist.schema())
    jsonschema.Draft7Validator.check_schema(setlist.schema())
    for text in (FIRST, SECOND.replace("{2:", "{'2':"), THIRD, SET):
        assert not list(schema.iter_errors(yaml.safe_load(text))), text
    for text in ("set: [a]\nbank: [b]", "set: []", "name: x", "bank: [a]\ncolour: 3", "set: [a]\nvoices: 2"):
        assert list(schema.iter_errors(yaml.safe_load(text))), text
