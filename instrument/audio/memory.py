"""What compiled code needs and numba lacks: raw addresses, calls through them, the clock, sleep.

Used inside kernels only, on whichever thread runs them. Nothing here checks anything: addresses come from descriptors
whose sizes were checked when they were packed (``instrument.audio.slots``).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from engine import kernel_cache  # noqa: F401

# isort: split
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Of a function that only kernels call: nothing for Python to enter by, which saves a fifth of the compiler's time.
INNER: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

_intrinsic: Any = intrinsic
_cgutils: Any = cgutils

# time.monotonic_ns reads CLOCK_MONOTONIC on Linux and what CLOCK_UPTIME_RAW counts on macOS.
_CLOCK = 8 if sys.platform == "darwin" else 1
_GETTID = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gettid")

usleep: Any = types.ExternalFunction("usleep", types.int32(types.uint32))

_I64 = ir.IntType(64)


def _reader(kind: Any, llvm: Any, result: Any) -> Any:
    """An intrinsic (address, index) -> element of the array of ``llvm`` at that address."""

    def read(_context: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], llvm.as_pointer())
            value = builder.load(builder.gep(pointer, [args[1]]))
            return context.cast(builder, value, kind, result)

        return result(types.int64, types.int64), codegen

    return _intrinsic(read)


def _writer(kind: Any, llvm: Any, given: Any) -> Any:
    """An intrinsic (address, index, value) that stores one element of the array of ``llvm`` at that address."""

    def write(_context: Any, address: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], llvm.as_pointer())
            builder.store(context.cast(builder, args[2], given, kind), builder.gep(pointer, [args[1]]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, given), codegen

    return _intrinsic(write)


get_f32 = _reader(types.float32, ir.FloatType(), types.float32)
get_f64 = _reader(types.float64, ir.DoubleType(), types.float64)
get_i32 = _reader(types.int32, ir.IntType(32), types.int64)
get_i64 = _reader(types.int64, _I64, types.int64)
set_f32 = _writer(types.float32, ir.FloatType(), types.float32)
set_f64 = _writer(types.float64, ir.DoubleType(), types.float64)
set_i32 = _writer(types.int32, ir.IntType(32), types.int64)
set_i64 = _writer(types.int64, _I64, types.int64)


@_intrinsic
def pointer_to(_context: Any, address: Any) -> Any:
    """The pointer that is this address, for ``numba.carray``."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


def _caller(count: int) -> Any:
    """An intrinsic (function address, tuple of ``count`` int64) -> int64: C calling convention."""

    def call(_context: Any, address: Any, arguments: Any) -> Any:
        def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            function = ir.FunctionType(_I64, [_I64] * count)
            values = [builder.extract_value(args[1], i) for i in range(count)]
            return builder.call(builder.inttoptr(args[0], function.as_pointer()), values)

        return types.int64(types.int64, types.UniTuple(types.int64, count)), codegen

    return _intrinsic(call)


call_3 = _caller(3)  # reset(context, lane, mode)
call_4 = _caller(4)  # prime(context, lane, tokens, n)
call_9 = _caller(9)  # blend(context, lane, partner, its lane, n, betas, blends, tokens, right tokens)
call_6 = _caller(6)  # generate(context, lanes, n, betas, tokens, stride)


@_intrinsic
def monotonic_ns(_context: Any) -> Any:
    """Nanoseconds of the clock that ``time.monotonic`` reads."""

    def codegen(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        place = _cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), place.type])
        function = _cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(function, [ir.Constant(ir.IntType(32), _CLOCK), place])
        seconds = builder.load(_cgutils.gep_inbounds(builder, place, 0, 0))
        rest = builder.load(_cgutils.gep_inbounds(builder, place, 0, 1))
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 1_000_000_000)), rest)

    return types.int64(), codegen


@_intrinsic
def this_thread(_context: Any) -> Any:
    """The system's id of the calling thread; -1 where the C library does not tell (glibc does since 2.30)."""

    def codegen(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        if not _GETTID:
            return ir.Constant(_I64, -1)
        kind = ir.FunctionType(ir.IntType(32), [])
        return builder.sext(builder.call(_cgutils.get_or_insert_function(builder.module, kind, "gettid"), []), _I64)

    return types.int64(), codegen
