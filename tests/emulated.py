"""Functions for processors that are not here, run by emulators of them: what they make of a piece of memory.

Arm's run under qemu-user, linked with a little C by a cross compiler. Those for AVX-512 run in Bochs, as all the
software of a PC: in place of its BIOS a few instructions turn on 64 bits and the wide registers, call the function, and
send the memory to the serial port, which is a file.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

C = """
#include <stdint.h>
void int8(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
static char memory[SIZE] __attribute__((aligned(64)));
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
    int64_t at = (int64_t)memory;
    all(READ, 0);
    int8(ARGUMENTS);
    all(WRITE, 1);
    call(EXIT, 0, 0, 0);
}
"""

TABLES, CODE, MEMORY, STACK = 0x100000, 0x103000, 0x104000, 0x80000  # where things lie in the PC
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
    ARGUMENTS
    call int8
    movw $0x3fb, %dx                    # the serial port: bytes of 8 bits
    movb $3, %al
    outb %al, %dx
    movl ${MEMORY} + FROM, %esi
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
cpu: model=tigerlake, ips=100000000
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


def on_arm(text: str, memory: bytes, arguments: list[int], addresses: set[int], folder: Path) -> bytes:
    """``memory`` after the function ``int8`` of an assembly text was called on it.

    Arguments are integers; those whose places are in ``addresses`` are offsets into the memory.
    """
    words = [f"at + {n}" if i in addresses else str(n) for i, n in enumerate([*arguments, 0, 0][:8])]
    (folder / "main.c").write_text(C.replace("SIZE", str(len(memory))).replace("ARGUMENTS", ", ".join(words)))
    (folder / "tile.s").write_text(text)
    compiler = ["aarch64-linux-gnu-gcc", "-O1", "-static", "-nostdlib", "-march=armv8.2-a+dotprod+i8mm"]
    subprocess.run([*compiler, "main.c", "tile.s", "-o", "tile"], cwd=folder, check=True)
    child = ["qemu-aarch64", "-cpu", "max", folder / "tile"]
    return subprocess.run(child, input=memory, capture_output=True, check=True).stdout


def on_avx512(
    text: str, memory: bytes, arguments: list[int], addresses: set[int], out: tuple[int, int], folder: Path
) -> bytes:
    """The same on a PC with AVX-512 and its VNNI; only ``out`` of the memory, from a byte on so many, comes back."""
    words = [n + MEMORY * (i in addresses) for i, n in enumerate(arguments)]
    setting = [f"movq ${n}, %{r}" for n, r in zip(words, ("rdi", "rsi", "rdx", "rcx", "r8", "r9"), strict=False)]
    setting += [f"pushq ${n}" for n in reversed(words[6:])]
    pc = PC.replace("ARGUMENTS", "\n    ".join(setting)).replace("FROM", str(out[0])).replace("COUNT", str(out[1]))
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


def _ram(code: bytes, memory: bytes) -> bytes:
    """From TABLES on: the first GiB mapped to itself in pages of 2 MiB, code, and memory."""
    levels = [struct.pack("<Q", TABLES + 0x1003), struct.pack("<Q", TABLES + 0x2003)]
    pages = b"".join(struct.pack("<Q", (i << 21) | 0x83) for i in range(512))
    tables = b"".join(level.ljust(0x1000, b"\0") for level in levels) + pages
    whole = (tables + code).ljust(MEMORY - TABLES, b"\0") + memory
    assert len(tables + code) <= MEMORY - TABLES
    assert len(whole) <= BLOCK
    return whole
