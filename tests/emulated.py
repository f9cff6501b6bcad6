"""Functions for processors that are not here, run by emulators of them: what they make of a piece of memory.

Arm's run under qemu-user, linked with a little C by a cross compiler. Those for AVX-512 run in Bochs, as all the
software of a PC: in place of its BIOS a few instructions turn on 64 bits and the wide registers, call the functions,
and send the memory to the serial port, which is a file.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

C = """
#include <stdint.h>
static char memory[SIZE] __attribute__((section(".at")));
enum { READ = 63, WRITE = 64, EXIT = 93 };
static int64_t call(int64_t number, int64_t a, int64_t b, int64_t c) {
    register int64_t x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
static void all(int64_t number, int64_t file) {
    for (int64_t n = 0, k; n < SIZE; n += k)
        if ((k = call(number, file, (int64_t)memory + n, SIZE - n)) <= 0) call(EXIT, 1, 0, 0);
}
void _start(void) {
    all(READ, 0);
    CALLS
    all(WRITE, 1);
    call(EXIT, 0, 0, 0);
}
"""

ARM_MEMORY = 0x10000000  # where the memory lies
TABLES, CODE, PC_MEMORY, STACK = 0x100000, 0x103000, 0x107000, 0x80000  # and things in the PC
BLOCK = 0x20000  # of memory: Bochs loads no image that is larger

ROM = f"""
.code16
_start: cli
    lgdtl %cs:table-_start
    movl ${TABLES}, %eax
    movl %eax, %cr3
    movl $0x40620, %eax                 # 64-bit pages, SSE, XSAVE
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax                    # long mode
    wrmsr
    movl $0x80000011, %eax              # protected, paged
    movl %eax, %cr0
    ljmpl $8, ${CODE}
.balign 16
segments: .quad 0, 0x00af9a000000ffff
table: .word 15
    .long 0xf0000 + segments - _start
.org 0xfff0
    ljmp $0xf000, $0
.org 0x10000
"""

PC = f"""
.section .first, "ax"
_start: xorl %eax, %eax
    movl %eax, %ss
    movl ${STACK}, %esp
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $0xe7, %eax                    # x87, SSE, AVX, AVX-512
    xsetbv
    CALLS
    movw $0x3fb, %dx                    # the serial port: bytes of 8 bits
    movb $3, %al
    outb %al, %dx
    movl $FROM, %esi
    movl $COUNT, %ecx
1:  movw $0x3fd, %dx                    # one whenever it is ready
2:  inb %dx, %al
    testb $0x20, %al
    jz 2b
    movw $0x3f8, %dx
    lodsb
    outb %al, %dx
    decl %ecx
    jnz 1b
    movw $0x3fd, %dx
3:  inb %dx, %al
    testb $0x40, %al
    jz 3b
    movw $0x8900, %dx
    movl $word, %esi
    movl $8, %ecx
    rep outsb
4:  jmp 4b
word: .ascii "Shutdown"
"""

BOCHS = f"""
romimage: file=rom.bin, address=0xffff0000
optramimage1: file=ram.bin, address={TABLES:#x}
memory: guest=32, host=32
cpu: model=tigerlake, ips=4000000
com1: enabled=1, mode=file, dev=out.bin
display_library: term
log: log.txt
panic: action=fatal
"""


def missing(*names: str) -> str:
    """Which of these programs are not here, in words; empty if all are."""
    lacking = [name for name in names if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else ""


NO_ARM = missing("qemu-aarch64", "aarch64-linux-gnu-gcc")
NO_AVX512 = missing("bochs-bin", "script", "as", "ld")


Calls = list[tuple[str, list[int]]]  # names of functions, and their arguments


def on_arm(text: str, memory: bytes, calls: Calls, folder: Path) -> bytes:
    """``memory``, which lies at ARM_MEMORY, after functions of an assembly text were called."""
    lines = [f"void {name}({', '.join(['int64_t'] * len(words))});" for name, words in dict(calls).items()]
    lines += [f"{name}({', '.join(map(str, words))});" for name, words in calls]
    (folder / "main.c").write_text(C.replace("SIZE", str(len(memory))).replace("CALLS", "\n    ".join(lines)))
    (folder / "parts.s").write_text(text)
    compiler = ["aarch64-linux-gnu-gcc", "-O1", "-static", "-nostdlib", "-march=armv8.2-a+dotprod+i8mm"]
    place = f"-Wl,--section-start=.at={ARM_MEMORY:#x}"
    subprocess.run([*compiler, place, "main.c", "parts.s", "-o", "parts"], cwd=folder, check=True)
    child = ["qemu-aarch64", "-cpu", "max", folder / "parts"]
    return subprocess.run(child, input=memory, capture_output=True, check=True).stdout


def on_avx512(text: str, memory: bytes, calls: Calls, out: tuple[int, int], folder: Path) -> bytes:
    """The same on a PC with AVX-512 and its VNNI, at PC_MEMORY; only ``out``, address and bytes, comes back."""
    lines = [line for name, words in calls for line in _call(name, words)]
    pc = PC.replace("CALLS", "\n    ".join(lines)).replace("FROM", str(out[0])).replace("COUNT", str(out[1]))
    (folder / "rom.s").write_text(ROM)
    (folder / "code.s").write_text(pc + text)
    (folder / "bochsrc").write_text(BOCHS)
    (folder / "go").write_text("c\n")  # Debian's has a debugger, which waits to be told
    for name, start in (("rom", 0), ("code", CODE)):
        (folder / "flat").write_text(f"SECTIONS {{ . = {start}; .all : {{ *(.first) *(.text .ltext *rodata*) }} }}")
        subprocess.run(["as", f"{name}.s", "-o", f"{name}.o"], cwd=folder, check=True)
        linked = ["ld", "-T", "flat", "--oformat", "binary", f"{name}.o", "-o", f"{name}.bin"]
        subprocess.run(linked, cwd=folder, check=True)
    (folder / "ram.bin").write_bytes(_ram((folder / "code.bin").read_bytes(), memory))
    child = ["script", "-qec", "bochs-bin -q -f bochsrc -rc go", "typescript"]
    environment = {**os.environ, "TERM": "xterm"}
    subprocess.run(child, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    return (folder / "out.bin").read_bytes()


def _call(name: str, words: list[int]) -> list[str]:
    """Instructions of one call: six arguments in registers, the others on the stack, which is kept even."""
    stacked = [*words[6:], *[0] * (len(words[6:]) % 2)]
    setting = [f"movq ${n}, %{r}" for n, r in zip(words, ("rdi", "rsi", "rdx", "rcx", "r8", "r9"), strict=False)]
    pushing = [f"pushq ${n}" for n in reversed(stacked)]
    return [*setting, *pushing, f"call {name}", f"addq ${8 * len(stacked)}, %rsp"]


def _ram(code: bytes, memory: bytes) -> bytes:
    """From TABLES on: the first GiB mapped to itself in pages of 2 MiB, code, and memory."""
    levels = [struct.pack("<Q", TABLES + 0x1003), struct.pack("<Q", TABLES + 0x2003)]
    pages = b"".join(struct.pack("<Q", (i << 21) | 0x83) for i in range(512))
    tables = b"".join(level.ljust(0x1000, b"\0") for level in levels) + pages
    whole = (tables + code).ljust(PC_MEMORY - TABLES, b"\0") + memory
    assert len(tables + code) <= PC_MEMORY - TABLES
    assert len(whole) <= BLOCK
    return whole
