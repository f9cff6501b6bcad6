"""Compiled audio code must not allocate, raise, or enter the interpreter: read off its LLVM."""

import re

import pytest
from fake_program import make_program
from numba import cfunc, njit

from instrument.audio import callback, loop
from instrument.audio.callback import NullClock, native_callback
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot
from instrument.controls import Link
from instrument.shared import make_shared

# What a kernel may call: the system's clock and sleep, what LLVM makes of memory and arithmetic, its own parts.
ALLOWED = re.compile(r"^(usleep|clock_gettime|gettid|llvm\..*|mem(cpy|set|move)|floor|trunc|sqrt|_ZN.*)$")


def calls(text):
    """Names called by each function of a module, the wrappers for Python (and its entry) left out."""
    found, name = {}, None
    for line in text.splitlines():
        begun = re.match(r'define [^@]*@"?([^"(]+)"?\(', line)
        if begun:
            name = begun[1]
        if name is None or name.startswith(("_ZN7cpython", "cfunc.", "NRT_")):
            continue
        for called in re.findall(r'(?:call|invoke) [^@]*@"?([^"(]+)"?\(', line):
            found.setdefault(called, name)
    return found


def check(text, *also):
    names = {called: where for called, where in calls(text).items() if called not in also}
    assert names
    bad = {called: where for called, where in names.items() if not ALLOWED.match(called)}
    assert not bad
    for called in names:
        assert not re.search(r"NRT_|Py|numba_|throw|gil", called), called


@pytest.fixture(scope="module", autouse=True)
def compiled():
    Performance([Slot(make_program())], sample_rate=44100, offline=True)


def llvm(dispatcher):
    """Of what was compiled here and now: numba shows none of what came from its cache."""
    again = njit(nogil=True, error_model="numpy")(dispatcher.py_func)
    again.compile(dispatcher.signatures[0])
    return again.inspect_llvm(again.signatures[0])


def test_the_render_loop():
    check(llvm(loop.run))


def test_the_callback_and_the_clock():
    link = Link(make_shared(1, 44100, 512, 1024))
    NullClock(link, 64)
    counting = ("NRT_incref", "NRT_decref")  # of the arrays handed in, which their owner keeps: never the last one
    check(llvm(callback.keep_time), *counting)
    native = cfunc(callback._SIGNATURE, error_model="numpy")(native_callback.__wrapped__)
    check(native.inspect_llvm(), *counting)
