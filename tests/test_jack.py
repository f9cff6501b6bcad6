"""The real thing: PortAudio's stream under a JACK server, which may die."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import networks
import pytest
import soundfile
from jackserver import RATE, jack, jack_of_four  # noqa: F401

from engine.checkpoint import save

pytestmark = pytest.mark.device
HERE = Path(__file__).parent
SLEEP = 7  # seconds: more than all questions to the server may take together
HEARD = "heard\n"  # all that stderr has in the end: nothing before it, and not itself lost


class Child:
    """A script playing under a server."""

    def __init__(self, server, *command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=HERE.parent, env=server.environment | {"PYTHONPATH": "."}, **pipes
        )

    def line(self):
        """Its next line without the count, and the count of callbacks."""
        text = self.process.stdout.readline()
        said = re.fullmatch(r"(.*) \[(\d+)\]\n", text)
        assert said, text + self.process.stderr.read()
        return said[1], int(said[2])

    def ask(self, word):
        """Let it say something: the count of callbacks by now."""
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.line()

    def end(self):
        """Close its stdin; (exit code, stderr)."""
        self.process.stdin.close()
        self.process.stdin = None
        rest, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors, rest


@pytest.fixture
def child(jack):  # noqa: F811
    started = []

    def start(*command):
        started.append(Child(jack, *command))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


def test_server_dies_and_comes_back_twice(jack, child):  # noqa: F811
    player = child(HERE / "lost_device.py")
    assert player.line()[0] == "playing"
    for _ in range(2):
        before = player.ask("before")[1]
        jack.kill()
        line, lost = player.line()
        assert line == "output device 'system' has stopped; the set goes on until it is back"
        assert lost >= before
        jack.start()
        line, back = player.line()
        assert re.fullmatch(r"output device 'system' is back after \d+\.\d s", line)
        assert back - lost > 0.2 * RATE / 128  # the clock read on meanwhile
        assert player.ask("after")[1] >= back
    assert player.end()[:2] == (0, HEARD)


def test_a_server_asleep_from_the_start_is_one_line(jack):  # noqa: F811
    """PortAudio would hang in it, deaf to Ctrl-C, even for who wants another device."""
    jack.process.send_signal(signal.SIGSTOP)
    try:
        command = [sys.executable, "-m", "instrument.start", "devices"]
        done = subprocess.run(
            command, env=jack.environment, cwd=HERE.parent, capture_output=True, text=True, timeout=60
        )
    finally:
        jack.process.send_signal(signal.SIGCONT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no sound output: the JACK server does not answer" in done.stdout


def test_a_second_signal_leaves_jack_in_peace(jack, tmp_path):  # noqa: F811
    """It came in the middle of PortAudio's goodbye to the server, which then ended the process."""
    save(networks.network("gru"), tmp_path / "x.safetensors")
    command = [sys.executable, "-m", "instrument.start", "play", "x.safetensors", "--output", "system"]
    files = ["--midi", "none", "--record", "x.wav", "--report", "x.json"]
    environment = {**jack.environment, "PYTHONPATH": str(HERE.parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, *files], env=environment, cwd=tmp_path, **pipes) as process:
        while "seed" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.002)
        assert (process.returncode, process.stderr.read()) == (143, "")
    samples = json.loads((tmp_path / "x.json").read_text())["samples"]
    assert soundfile.info(tmp_path / "x.wav").frames == samples


def test_server_dies_for_good(jack, child):  # noqa: F811
    """The set ends in order: PortAudio's own way out would hang or abort."""
    player = child(HERE / "lost_device.py")
    assert player.line()[0] == "playing"
    jack.kill()
    assert player.line()[0].startswith("output device 'system' has stopped")
    code, errors, rest = player.end()
    assert (code, errors) == (0, HEARD)
    assert rest.startswith("left")


def test_server_dies_in_the_moment_of_leaving(jack, child):  # noqa: F811
    player = child(HERE / "lost_device.py")
    assert player.line()[0] == "playing"
    jack.kill()
    code, errors, rest = player.end()
    assert (code, errors) == (0, HEARD)
    assert "left" in rest


@pytest.mark.parametrize("wakes", [True, False])
def test_server_falls_asleep(jack, child, wakes):  # noqa: F811
    """Nothing it is asked returns while it sleeps; that must hold up neither the sound nor the end."""
    player = child(HERE / "lost_device.py")
    assert player.line()[0] == "playing"
    jack.process.send_signal(signal.SIGSTOP)
    try:
        lost = player.line()
        assert lost[0] == "output device 'system' has stopped; the set goes on until it is back"
        while player.ask("waiting")[1] < lost[1] + SLEEP * RATE / 128:
            time.sleep(0.05)
        if wakes:
            jack.process.send_signal(signal.SIGCONT)
            assert player.line()[0].startswith("output device 'system' is back after")
        assert player.end()[:2] == (0, HEARD)
    finally:
        jack.process.send_signal(signal.SIGCONT)


def test_python_callback_where_no_address_is_taken(child):
    player = child(HERE / "lost_device.py", "python")
    assert player.line()[0].startswith("this sounddevice takes no compiled callback")
    first = player.line()
    assert first[0] == "playing"
    count = first[1]
    while player.ask("again")[1] < count + 3:
        pass
    assert player.end()[:2] == (0, HEARD)


def connections(server):
    """Names of the playback ports that something is connected to."""
    command = ["jack_lsp", "-c", "-s", server.name]
    found = subprocess.run(command, env=server.environment, capture_output=True, text=True, check=True, timeout=30)
    ports = re.findall(r"^(\S.*)\n((?:   .*\n)*)", found.stdout, re.M)
    return sorted(name for name, others in ports if name.startswith("system:playback") and others)


@pytest.mark.skipif(shutil.which("jack_lsp") is None, reason="jack_lsp is not installed")
@pytest.mark.parametrize(("wanted", "line"), [(4, ""), (6, "output device 'system' has 4 of 6 channels")])
def test_every_pair_has_its_ports(jack_of_four, wanted, line):  # noqa: F811
    player = Child(jack_of_four, HERE / "lost_device.py", str(wanted))
    if line:
        assert player.line()[0].startswith(line)
    assert player.line()[0] == "playing"
    assert connections(jack_of_four) == [f"system:playback_{i}" for i in (1, 2, 3, 4)]
    assert player.end()[:2] == (0, HEARD)


def test_a_patch_of_more_channels_than_the_device_folds_them(jack, child):  # noqa: F811
    player = child(HERE / "lost_device.py", "4")
    assert player.line()[0].endswith("has 2 of 4 channels: what would go to the others goes to the first pair")
    assert player.line()[0] == "playing"
    assert player.end()[:2] == (0, HEARD)
