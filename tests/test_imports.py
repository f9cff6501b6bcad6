"""Imports are architecture: who may know whom, read from the sources and tried in child processes."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from engine import kernel_cache

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("engine/**/*.py"), *ROOT.glob("instrument/**/*.py")])
TORCH_MAY = ("engine.model", "engine.recurrence", "engine.foreign", "engine.training", "engine.cuda")
CORE = {"numpy", "numba", "llvmlite", "safetensors", "engine", "instrument"}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, top_only: bool = False) -> set[str]:
    """Full names of what ``path`` imports; with ``top_only`` only what importing it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(_outside_functions(tree)) if top_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def _outside_functions(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from _outside_functions(child)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_who_may_know_whom(path: Path) -> None:
    name, known = module(path), imports(path)

    def knows(*packages: str) -> list[str]:
        return sorted(found for found in known if within(found, packages))

    if within(name, ("engine",)):
        assert not knows("instrument", "sounddevice", "mido", "rtmidi", "pythonosc")
    if not within(name, TORCH_MAY):
        assert not knows("torch", "triton", "pedalboard")
    if name not in ("instrument.session", "instrument.commands"):
        assert not knows("instrument.session")
    if within(name, ("instrument.midi",)):
        assert not knows("instrument.osc", "engine")
    if within(name, ("instrument.osc",)):
        assert not knows("instrument.midi", "engine")
    if name == "engine.config":
        assert {found.split(".")[0] for found in known} <= set(sys.stdlib_module_names)
    if any(within(found, ("numba", "llvmlite")) for found in known):
        text = path.read_text(encoding="utf-8")
        first = min(
            text.index(word)
            for word in ("from numba", "import numba", "import llvmlite", "from llvmlite")
            if word in text
        )
        assert "kernel_cache" in text[:first], "engine.kernel_cache must be imported before numba"


def run_child(program: str, tmp_path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if {condition}:
            raise ModuleNotFoundError(f"{{name}} is not here", name=name)
sys.meta_path.insert(0, Block())
"""


def test_the_names_of_python_import_without_torch(tmp_path: Path) -> None:
    block = BLOCK.format(condition='name.split(".")[0] in ("torch", "triton", "pedalboard")')
    modules = [module(p) for p in SOURCES if not within(module(p), TORCH_MAY)]
    program = block + f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
    run_child(program, tmp_path)


def test_a_set_plays_without_torch(tmp_path: Path) -> None:
    block = BLOCK.format(condition='name.split(".")[0] in ("torch", "triton", "pedalboard")')
    patch = tiny.write(tmp_path)
    arguments = ["play", str(patch), "--seconds", "0.2", "--output", "null", "--midi", "none", "--latency", "60"]
    run_child(f"{block}\nfrom instrument import cli\nsys.exit(cli.main({arguments!r}))", tmp_path)


ENGINE_ALONE = """
import time
import engine
from instrument.audio.outputs import ClockOutput
from instrument.audio.performance import Performance
from instrument.audio.slots import Slot
generator = engine.make_generator(engine.load("gru.safetensors"))
performance = Performance([Slot(generator.program)], sample_rate=44100, ring_frames=2048)
output = ClockOutput(128)
performance.start()
output.start(performance.link, 44100)
while performance.link.telemetry().read < 8000:
    time.sleep(0.01)
performance.close()
output.stop()
assert performance.report()["samples"] > 8000
"""


def test_engine_loop_and_null_output_need_three_packages(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    known = sorted(CORE | {"numba_cuda"} | set(sys.stdlib_module_names))
    run_child(BLOCK.format(condition=f'name.split(".")[0] not in {known!r}') + ENGINE_ALONE, tmp_path)


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_the_kernels_stamp_sees_every_import(path: Path) -> None:
    ours = {name for name in imports(path) if within(name, ("engine", "instrument")) and "." in name}
    assert ours <= kernel_cache.imported(path.read_bytes())
