"""Small parts of kernels written straight into LLVM's language: loops, loads, stores; and calls in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import kernel_cache  # noqa: F401  (before numba)

# isort: split
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I8, I16, I32, I64, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
Values = list[ir.Value]
Body = Callable[[ir.Value, Values], Values]


def loop(b: ir.IRBuilder, count: ir.Value, start: Values, body: Body, first: ir.Value | int = 0, by: int = 1) -> Values:
    """``for j in range(first, count, by)`` over carried values, kept in registers. Loops may lie in loops."""
    first = I64(first) if isinstance(first, int) else first
    before, head, end = b.block, b.append_basic_block("loop"), b.append_basic_block("end")
    b.cbranch(b.icmp_signed("<", first, count), head, end)
    b.position_at_end(head)
    j = b.phi(I64)
    carried = [b.phi(value.type) for value in start]
    after = body(j, list(carried))
    following, last = b.add(j, I64(by)), b.block
    j.add_incoming(first, before)
    j.add_incoming(following, last)
    for phi, value, again in zip(carried, start, after, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(again, last)
    b.cbranch(b.icmp_signed("<", following, count), head, end)
    b.position_at_end(end)
    result = [b.phi(value.type) for value in start]
    for phi, value, again in zip(result, start, after, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(again, last)
    return result


def declare(b: ir.IRBuilder, name: str, result: ir.Type, args: list[ir.Type]) -> ir.Function:
    """One of LLVM's own functions."""
    if name in b.module.globals:
        return b.module.globals[name]
    return ir.Function(b.module, ir.FunctionType(result, args), name)


def splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector of one value."""
    vector = ir.VectorType(value.type, lanes)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
    order = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), order)


def load(b: ir.IRBuilder, address: ir.Value, kind: ir.Type, offset: int = 0, align: int = 4) -> ir.Value:
    """What lies ``offset`` bytes behind an address that is a multiple of ``align``."""
    pointer = b.inttoptr(b.add(address, I64(offset)), kind.as_pointer())
    return b.load(pointer, align=align)


def store(b: ir.IRBuilder, value: ir.Value, address: ir.Value, offset: int = 0, align: int = 4) -> None:
    """Put it there."""
    pointer = b.inttoptr(b.add(address, I64(offset)), value.type.as_pointer())
    b.store(value, pointer, align=align)


def prefetch(b: ir.IRBuilder, address: ir.Value, offset: int) -> None:
    """Have what lies there brought near, if it is memory at all."""
    byte_p = I8.as_pointer()
    function = declare(b, "llvm.prefetch.p0i8", ir.VoidType(), [byte_p, I32, I32, I32])
    b.call(function, [b.inttoptr(b.add(address, I64(offset)), byte_p), I32(0), I32(3), I32(1)])


def as_intrinsic(build: Callable[[ir.IRBuilder, Values], ir.Value | None], kinds: str, result: Any = types.void) -> Any:
    """A numba intrinsic of ``build``; ``kinds`` has a letter for each argument: i for int64, f for float32."""
    signature = result(*[types.int64 if kind == "i" else types.float32 for kind in kinds])

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, args: Values) -> ir.Value:
        value = build(builder, list(args))
        return context.get_dummy_value() if value is None else value

    return {
        2: lambda: intrinsic(lambda _typing, a, b: (signature, codegen)),
        3: lambda: intrinsic(lambda _typing, a, b, c: (signature, codegen)),
        4: lambda: intrinsic(lambda _typing, a, b, c, d: (signature, codegen)),
        5: lambda: intrinsic(lambda _typing, a, b, c, d, e: (signature, codegen)),
        6: lambda: intrinsic(lambda _typing, a, b, c, d, e, f: (signature, codegen)),
        7: lambda: intrinsic(lambda _typing, a, b, c, d, e, f, g: (signature, codegen)),
        8: lambda: intrinsic(lambda _typing, a, b, c, d, e, f, g, h: (signature, codegen)),
        9: lambda: intrinsic(lambda _typing, a, b, c, d, e, f, g, h, i: (signature, codegen)),
    }[len(kinds)]()


def address_of(function: Any) -> int:
    """C address of a function of numba's that takes and returns int64: numba makes a C wrapper of every one.

    It ends up the same machine code as a ``@cfunc`` calling it, without compiling everything below it once more (8 s).
    """
    arguments = (types.int64,) * function.py_func.__code__.co_argcount
    function.compile(arguments)
    result = function.get_compile_result(types.int64(*arguments))
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))


def build_call(b: ir.IRBuilder, args: Values) -> None:
    """(address, ...): call what :func:`address_of` says; what it returns is left."""
    address, *arguments = args
    kind = ir.FunctionType(I64, [I64] * len(arguments))
    b.call(b.inttoptr(address, kind.as_pointer()), arguments)
