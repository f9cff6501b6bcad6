"""Raw memory for kernels: typed views of addresses, and the processor's flush-to-zero switch.

A view has no owner: whoever hands out an address keeps its memory alive.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

ALIGN = 64
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def _view_of(kind: types.Type) -> Any:
    """An intrinsic (address, n) -> array without owner: no reference counts, nothing to free."""

    @intrinsic
    def view(typing: Any, address: Any, n: Any) -> Any:
        array_type = types.Array(kind, 1, "C")

        def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, args: list[ir.Value]) -> ir.Value:
            array = make_array(array_type)(context, builder)
            size = context.get_abi_sizeof(context.get_data_type(kind))
            data = builder.inttoptr(args[0], context.get_data_type(kind).as_pointer())
            item = context.get_constant(types.intp, size)
            populate_array(array, data=data, shape=[args[1]], strides=[item], itemsize=item, meminfo=None)
            return array._getvalue()

        return array_type(types.int64, types.int64), codegen

    return view


f32 = _view_of(types.float32)
f64 = _view_of(types.float64)
i64 = _view_of(types.int64)
i32 = _view_of(types.int32)
i16 = _view_of(types.int16)
u8 = _view_of(types.uint8)

_X86 = platform.machine().lower() in ("x86_64", "amd64")
_ARM = platform.machine().lower() in ("arm64", "aarch64")
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def _exchange_flush(_typing: Any, control: Any) -> Any:
    """Sets the floating-point control word, returns the one before; other machines: nothing."""

    def codegen(_context: Any, b: ir.IRBuilder, _signature: Any, args: list[ir.Value]) -> ir.Value:
        if _X86:
            return _exchange_mxcsr(b, args[0])
        if _ARM:
            return _exchange_fpcr(b, args[0])
        return ir.Constant(_I64, 0)

    return types.int64(types.int64), codegen


def _exchange_mxcsr(b: ir.IRBuilder, control: ir.Value) -> ir.Value:
    """x86: bits 15 (flush to zero) and 6 (denormals are zero); -1 asks for both, else the word to restore."""
    byte_p = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte_p])
    slot = b.alloca(_I32)
    for name, value in (("stmxcsr", None), ("ldmxcsr", control)):
        function = b.module.globals.get(f"llvm.x86.sse.{name}") or ir.Function(b.module, kind, f"llvm.x86.sse.{name}")
        if value is None:
            b.call(function, [b.bitcast(slot, byte_p)])
            before = b.load(slot)
            continue
        flushing = b.or_(before, ir.Constant(_I32, 0x8040))
        asked = b.icmp_signed("==", value, ir.Constant(_I64, -1))
        b.store(b.select(asked, flushing, b.trunc(value, _I32)), slot)
        b.call(function, [b.bitcast(slot, byte_p)])
    return b.zext(before, _I64)


def _exchange_fpcr(b: ir.IRBuilder, control: ir.Value) -> ir.Value:
    """arm64: bit 24 (flush to zero) of FPCR."""
    before = b.asm(ir.FunctionType(_I64, []), "mrs $0, fpcr", "=r", [], side_effect=True)
    asked = b.icmp_signed("==", control, ir.Constant(_I64, -1))
    value = b.select(asked, b.or_(before, ir.Constant(_I64, 1 << 24)), control)
    b.asm(ir.FunctionType(ir.VoidType(), [_I64]), "msr fpcr, $0", "r", [value], side_effect=True)
    return before


@njit(**_OPTIONS)
def flush_denormals() -> int:
    """Denormal numbers become zero from here on (they cost up to 45 times); returns what to restore."""
    before: int = _exchange_flush(-1)
    return before


@njit(**_OPTIONS)
def restore_denormals(before: int) -> None:
    """Undo :func:`flush_denormals`."""
    _exchange_flush(before)


def _word(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.inttoptr(address, _I64.as_pointer())


@intrinsic
def load_acquire(_typing: Any, address: Any) -> Any:
    """The int64 at an address, ordered before whatever follows."""

    def codegen(_context: Any, b: ir.IRBuilder, _signature: Any, args: list[ir.Value]) -> ir.Value:
        return b.load_atomic(_word(b, args[0]), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def store_release(_typing: Any, address: Any, value: Any) -> Any:
    """Put an int64 at an address, ordered after whatever came before."""

    def codegen(context: Any, b: ir.IRBuilder, _signature: Any, args: list[ir.Value]) -> ir.Value:
        b.store_atomic(args[1], _word(b, args[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def fetch_add(_typing: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at an address in one step, ordered both ways; returns what was there."""

    def codegen(_context: Any, b: ir.IRBuilder, _signature: Any, args: list[ir.Value]) -> ir.Value:
        return b.atomic_rmw("add", _word(b, args[0]), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def exchange(_typing: Any, address: Any, expected: Any, value: Any) -> Any:
    """Put an int64 at an address if ``expected`` is there, in one step, ordered both ways; whether it was."""

    def codegen(_context: Any, b: ir.IRBuilder, _signature: Any, args: list[ir.Value]) -> ir.Value:
        return b.extract_value(b.cmpxchg(_word(b, args[0]), args[1], args[2], "acq_rel", "acquire"), 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@intrinsic
def relax(_typing: Any) -> Any:
    """Tell the processor that this thread is waiting for another (x86 ``pause``, arm64 ``yield``)."""

    def codegen(context: Any, b: ir.IRBuilder, _signature: Any, _args: list[ir.Value]) -> ir.Value:
        nothing = ir.FunctionType(ir.VoidType(), [])
        if _X86:
            name = "llvm.x86.sse2.pause"
            b.call(b.module.globals.get(name) or ir.Function(b.module, nothing, name), [])
        elif _ARM:
            b.asm(nothing, "yield", "", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(), codegen


def aligned(n: int, dtype: Any) -> NDArray[Any]:
    """Zeros on a cache line's boundary, written to once so that the pages exist."""
    size = n * np.dtype(dtype).itemsize
    raw = np.zeros(size + ALIGN, np.uint8)
    raw[:] = 0
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size].view(dtype)


def address(array: NDArray[Any]) -> int:
    """Where a contiguous array lies."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)
