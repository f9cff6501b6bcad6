"""The house: what installs, what is pinned, what a wheel carries."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = re.compile(r"^[A-Za-z0-9_.-]+")


def plain(requirement: str) -> str:
    found = NAME.match(requirement)
    assert found
    return found[0].lower().replace("_", "-")


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {plain(line): line for line in lines if line and not line.startswith("#")}
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in pins.values())
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["train"], *extras["dev"]]
    assert [name for name in map(plain, wanted) if name not in pins] == []


def test_the_core_install_has_no_torch() -> None:
    assert not {"torch", "triton", "pedalboard"} & set(map(plain, PROJECT["project"]["dependencies"]))


def test_every_install_is_constrained() -> None:
    installs = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "install $(" in line or "install -e" in line
    ]
    assert len(installs) == 5
    assert all("$(CONSTRAINED)" in line for line in installs)


@pytest.mark.skipif(sys.platform == "win32", reason="make is a Unix tool")
@pytest.mark.parametrize("target", ["play", "test", "soak", "bench"])
def test_make_knows_its_targets_and_passes_options_on(target: str) -> None:
    done = subprocess.run(
        ["make", "-n", target, "VENV=/nowhere", "ARGS=--some option"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--some option" in done.stdout
    assert ".venv" not in done.stdout


def test_a_wheel_carries_patches_and_checkpoints() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    for folder in ("patches", "checkpoints"):
        assert folder in wheel["only-include"]
        assert wheel["sources"][folder] == f"instrument/data/{folder}"
        assert any((ROOT / folder).iterdir())


def test_what_is_called_live_is_there() -> None:
    from conftest import LIVE

    assert {path.stem for path in (ROOT / "tests").glob("test_*.py")} > LIVE
