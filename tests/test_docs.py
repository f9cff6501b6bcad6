"""What the documents say can be typed, and the table in the README is the registry's."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from instrument.parameters import parameter_table

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICK = {"play": ["--seconds", "0.3", "--output", "null", "--midi", "none", "--osc", "none"]}


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for path in DOCS:
        for text in re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S):
            found.append((path.name, text))
    return found


COMMANDS = [
    (name, command)
    for name, text in blocks("sh")
    for line in text.splitlines()
    if (command := line.split("#")[0].strip())
]


def test_the_readme_holds_the_table_of_parameters() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- parameters: generated from instrument/parameters.py -->\n", "<!-- end of parameters -->"
    before, rest = text.split(begin)
    table, after = rest.split(end)
    wanted = parameter_table() + "\n"
    if os.environ.get("SAMPLERNN_WRITE_DOCS"):
        (ROOT / "README.md").write_text(f"{before}{begin}{wanted}{end}{after}", encoding="utf-8")
    assert table == wanted, "SAMPLERNN_WRITE_DOCS=1 pytest tests/test_docs.py writes it anew"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder that sees the patches and checkpoints, and keeps what the commands leave."""
    place = tmp_path_factory.mktemp("docs")
    for name in ("patches", "checkpoints"):
        (place / name).symlink_to(ROOT / name)
    return place


@pytest.mark.parametrize(("document", "command"), COMMANDS)
def test_commands_run(document: str, command: str, folder: Path) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
        return
    assert words[0] == "samplernn", f"{document}: what is {words[0]}?"
    done = subprocess.run(
        [sys.executable, "-m", "instrument.cli", *words[1:], *QUICK.get(words[1], [])],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.parametrize(("document", "program"), blocks("python"))
def test_programs_run(document: str, program: str) -> None:
    if "@dataclass" in program:
        return  # the design's tables of fields are excerpts, not programs
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, f"{document}: {done.stderr}"


def test_nothing_refers_to_the_machine_it_was_made_on() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and its checkout, to know which files are the project's")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    suspicious = re.compile(r"/(?:root|work|home)/[a-z]|\.\./" + "shared")
    for name in filter(None, listed.split("\0")):
        if Path(name).suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ""}:
            text = (ROOT / name).read_text(encoding="utf-8", errors="replace") if (ROOT / name).is_file() else ""
            assert not suspicious.search(text), f"{name}: {suspicious.search(text)}"
