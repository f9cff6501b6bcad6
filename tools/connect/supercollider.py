"""A SuperCollider script: functions that play, and responders that hear."""

from __future__ import annotations

from rows import BACK, HOST, PORT, RATE, gestures, knobs, meters

HEAD = f"""// samplernn-live from SuperCollider. Put the cursor into a block and evaluate it (Ctrl-Enter).
// The instrument listens on {PORT}; it answers to sclang's own port, NetAddr.langPort.

(
~samplernn = NetAddr("{HOST}", {PORT});
~play = {{ |address ... arguments| ~samplernn.sendMsg("/samplernn/" ++ address, *arguments) }};
// ~sweep.(\\\\temperature, 0.9, 1.2, 20): from here to there in so many seconds
~sweep = {{ |name, from, to, seconds| ~play.(name, from); ~play.(name, to, seconds) }};
)
"""


def script() -> bytes:
    """The file."""
    parts = [HEAD.replace("\\\\", "\\"), _knobs(), _gestures(), _heard()]
    return "\n".join(parts).encode()


def _knobs() -> str:
    lines = ["// parameters: value [seconds to go there]"]
    for knob in knobs():
        unit = f" {knob.unit}" if knob.unit else ""
        lines.append(
            f"~samplernn.sendMsg('{knob.address}', {knob.default:g});"
            f"  // {knob.low:g} to {knob.high:g}{unit}: {knob.help}"
        )
    lines.append("~samplernn.sendMsg('/samplernn/voice/1/gain', -6);  // one voice, from 1")
    return "\n".join(lines) + "\n"


def _gestures() -> str:
    lines = ["// gestures"]
    for gesture in gestures():
        said = [f"'{a}'" if isinstance(a, str) else f"{a:g}" for a in gesture.arguments]  # type: ignore[str-format]
        lines.append(f"~samplernn.sendMsg({', '.join([repr(gesture.address), *said])});  // {gesture.help}")
    return "\n".join(lines) + "\n"


def _heard() -> str:
    lines = [
        "// what it says: the latest of each in ~heard, faults in the post window",
        "(",
        "~heard = IdentityDictionary.new;",
    ]
    for address in meters():
        name = address.rsplit("/", 1)[1]
        lines.append(f"OSCdef(\\samplernn_{name}, {{ |message| ~heard[\\{name}] = message[1] }}, '{address}');")
    lines += [
        "OSCdef(\\samplernn_error, { |message| message[1].postln }, '/samplernn/error');",
        f"~samplernn.sendMsg('/samplernn/subscribe', NetAddr.langPort, {RATE});",
        ")",
        "~heard.postln;",
        "",
        f"// a surface on another port, such as {BACK}, subscribes with its own: /samplernn/subscribe {BACK} {RATE}",
    ]
    return "\n".join(lines) + "\n"
