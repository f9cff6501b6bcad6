"""Which sound outputs there are, and which of them a name means. Main thread; opens nothing.

The list is PortAudio's and freezes when it is initialised (`portaudio.renew` reads it again). Devices are always meant
by name: their numbers change with every plug.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from instrument.audio import portaudio

CHANNELS = 2


@dataclass(frozen=True)
class Device:
    """A sound output. `rate` in Hz is what it runs at unless asked otherwise, `latency` in seconds its driver's own."""

    index: int
    name: str
    host: str
    channels: int
    rate: int
    latency: float
    default: bool = False

    @property
    def full_name(self) -> str:
        """The name with its host API, which tells namesakes apart."""
        return f"{self.name}, {self.host}"

    @property
    def jack(self) -> bool:
        return self.host == portaudio.JACK


def outputs() -> list[Device]:
    """All outputs, in PortAudio's order. Raises ValueError without PortAudio."""
    sd = portaudio.load()
    with portaudio.one_line(sd):
        hosts = [api["name"] for api in sd.query_hostapis()]
        default = _default_index(sd)
        found = [_device(entry, hosts, default) for entry in sd.query_devices()]
    return [device for device in found if device.channels > 0]


def _default_index(sd: Any) -> int:
    try:
        return int(sd.query_devices(kind="output")["index"])
    except (sd.PortAudioError, ValueError):
        return -1


def _device(entry: dict[str, Any], hosts: list[str], default: int) -> Device:
    return Device(
        index=entry["index"],
        name=entry["name"],
        host=hosts[entry["hostapi"]],
        channels=entry["max_output_channels"],
        rate=round(entry["default_samplerate"]),
        latency=entry["default_low_output_latency"],
        default=entry["index"] == default,
    )


def choose(name: str, among: list[Device] | None = None) -> Device:
    """The device a name means: "default", an exact name (with or without its host API), or a part in any case.

    Raises ValueError, one line that names what there is, when none or several are meant, or one that is not stereo.
    """
    devices = outputs() if among is None else among
    meant = _matches(name, devices) if devices else []
    if not meant and re.search(r"\.[A-Za-z0-9]{2,4}$", name):
        raise ValueError(f"output {name!r}: no device is called so, and a file must end in .wav or .flac")
    if not devices:
        raise ValueError(("" if name == "default" else f"output device {name!r}: ") + "no sound output device found")
    if len({device.full_name for device in meant}) == 1 or len({device.name for device in meant}) == 1:
        return _stereo(min(meant, key=lambda device: not device.default))
    if not meant:
        raise ValueError(f"output device {name!r} not found; there is: {_names(devices)}")
    raise ValueError(f"output device {name!r} could be any of: {_names(meant)}")


def _matches(name: str, devices: list[Device]) -> list[Device]:
    """Candidates by the first rule that finds any."""
    if name == "default":
        return [device for device in devices if device.default] or devices[:1]
    exact = [device for device in devices if name in (device.name, device.full_name)]
    part = name.casefold()
    return exact or [device for device in devices if part in device.full_name.casefold()]


def _stereo(device: Device) -> Device:
    if device.channels < CHANNELS:
        raise ValueError(f"output device {device.name!r} has {device.channels} channel; two are needed")
    return device


def _names(devices: list[Device]) -> str:
    return "; ".join(f'"{device.full_name}"' for device in devices)


def lines() -> list[str]:
    """What `samplernn devices` says of sound: a line a device, the default marked. Never raises."""
    try:
        found = outputs()
    except ValueError as fault:
        return [f"no sound output: {fault}"]
    if not found:
        return ["no sound output device found"]
    return [
        f"{'*' if device.default else ' '} {device.full_name}  {device.channels} channels, {device.rate} Hz, "
        f"driver {device.latency * 1000:.1f} ms"
        for device in found
    ]
