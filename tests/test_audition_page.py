"""The audition page in a real browser, headless: listening, rating and choosing, with nothing but the keyboard."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import auditions
import pytest

from instrument import cli
from instrument.audition.store import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
MANY = 71 * 11  # clips, as many as the Legumes had
FIRST_PAINT_S = 1.0  # on a machine of its own
BUSY = 4.0  # how much longer it may take beside other work

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (tools/system-packages chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


def is_fault(message: Any) -> bool:
    """Anything but the browser's own word on an answer that the page shows: a name taken, a disk full."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that reports its own faults when the test ends."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
    opened.on("request", lambda asked: faults.append(asked.url) if "//127.0.0.1:" not in asked.url else None)
    yield opened
    context.close()
    assert faults == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return auditions.make_run(tmp_path_factory.mktemp("page") / "run", 3, (0.95, 1.05), 2, seconds=3.0)


@pytest.fixture(scope="module")
def port(run: Path) -> Iterator[int]:
    with auditions.serve(run) as number:
        yield number


def show(page: Any, port: int) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector(".card.here")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def until(true: Callable[[], object], what: str) -> None:
    """Wait for what the page or the server does in its own time; its policy forbids scripts that are made of text."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, f"{what}: not within 30 s"
        time.sleep(0.02)


def position(page: Any) -> float:
    return float(page.evaluate("document.getElementById('player').currentTime"))


def here(page: Any) -> str:
    return str(page.evaluate("document.activeElement.dataset.clip ?? document.activeElement.outerHTML.slice(0, 60)"))


def ratings(run: Path) -> dict[str, Any]:
    return {clip["clip"]: clip["rating"] for clip in Run(run).snapshot()["clips"]}


def test_a_clip_plays_and_another_takes_over(page: Any, port: int) -> None:
    show(page, port)
    press(page, " ")
    until(lambda: position(page) > 0.1, "the clip plays")
    assert "t0.950-s0007" in page.evaluate("document.getElementById('player').src")
    press(page, "ArrowRight")
    until(lambda: position(page) > 0.1, "the next one plays")
    assert "s0008" in page.evaluate("document.getElementById('player').src")
    press(page, " ")
    until(lambda: page.evaluate("document.getElementById('player').paused"), "it stops")
    press(page, "o")
    until(lambda: page.evaluate("document.getElementById('player').src").endswith("/sources/0"), "the source plays")
    assert page.evaluate("document.querySelector('.view img').naturalWidth") == 1280


def test_a_rating_survives_a_reload(page: Any, port: int, run: Path) -> None:
    show(page, port)
    press(page, "ArrowDown", "5", "g", "e")
    page.keyboard.type("snare, then a door")
    press(page, "Enter")
    name = here(page)
    wanted = {"class": "gnarly", "score": 5, "note": "snare, then a door"}
    until(lambda: ratings(run)[name] == wanted, "the rating is kept")
    page.reload()
    card = page.wait_for_selector(f'.card[data-clip="{name}"]')
    assert card.query_selector(".score").inner_text() == "5"
    assert card.query_selector(".class").inner_text() == "gnarly"
    press(page, "ArrowDown", "0", "g")
    until(lambda: ratings(run)[name] == {**wanted, "class": None, "score": None}, "it is taken back")


def test_two_pages_take_nothing_from_each_other(page: Any, port: int, run: Path) -> None:
    other = page.context.new_page()
    show(page, port)
    show(other, port)
    other.route("**/api/run", lambda route: route.fulfill(status=304))  # it learns of nothing that is said elsewhere
    press(page, "ArrowDown", "ArrowDown", "e")
    page.keyboard.type("a door")
    press(page, "Enter", "v")
    name = here(page)
    until(lambda: ratings(run)[name]["class"] == "voice", "the first page's words are kept")
    other.bring_to_front()
    press(other, "ArrowDown", "ArrowDown", "3")
    until(lambda: ratings(run)[name]["score"] == 3, "the second page's word is kept")
    assert ratings(run)[name] == {"class": "voice", "score": 3, "note": "a door"}
    until(lambda: other.input_value(".sheet:not([hidden]) .note") == "a door", "and it shows what the first one said")
    other.close()


def test_an_answer_from_before_a_save_takes_nothing_back(page: Any, port: int, run: Path) -> None:
    show(page, port)
    press(page, "End")
    name = here(page)
    held: list[Any] = []
    page.route("**/api/run", lambda route: held.append((route, route.fetch())), times=1)
    Run(run).rate({"clip": name, "note": "by another page"})  # so that there is news
    until(lambda: page.wait_for_timeout(50) or held, "the page asks")
    press(page, "4")
    until(lambda: page.wait_for_timeout(50) or ratings(run)[name]["score"] == 4, "the score is kept")
    page.wait_for_timeout(100)
    route, answer = held[0]
    route.fulfill(response=answer)
    page.wait_for_timeout(300)
    assert page.inner_text(f'.card[data-clip="{name}"] .score') == "4"
    assert page.input_value(".sheet:not([hidden]) .note") == "by another page"


def test_what_is_refused_is_told_and_not_sent_again(page: Any, port: int, run: Path) -> None:
    show(page, port)
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.url) if asked.url.endswith("/api/rate") else None)
    page.evaluate(
        "(() => { const note = document.querySelector('.sheet:not([hidden]) .note'); note.value = 'half \\ud83d';"
        " note.dispatchEvent(new Event('change')); })()"
    )
    until(lambda: "not kept: note: half a character" in page.inner_text("#notices"), "it is told")
    page.wait_for_timeout(5000)  # the page has asked for news since
    assert len(sent) == 1
    assert page.input_value(".sheet:not([hidden]) .note") == ratings(run)[here(page)]["note"]
    press(page, "5")
    until(lambda: ratings(run)[here(page)]["score"] == 5, "and what is said next is kept")
    until(lambda: "not kept" not in page.inner_text("#notices"), "and the line goes")


def test_single_characters_can_be_switched_off(page: Any, port: int, run: Path) -> None:
    show(page, port)
    press(page, "PageDown", "ArrowLeft")
    name = here(page)
    before = ratings(run)[name]
    page.focus("#keyed")
    press(page, "Enter", "2", "h", "f")
    page.focus(f'.card[data-clip="{name}"]')
    press(page, "2", "h", "f", "?")
    assert page.is_hidden("#filters")
    assert page.is_hidden("#keys")
    page.reload()
    page.wait_for_selector(".card.here")
    press(page, "2", "f", "ArrowRight")
    assert here(page) != name
    assert ratings(run)[name] == before
    assert page.get_attribute("#keyed", "aria-pressed") == "false"
    page.focus("#keyed")
    press(page, " ", "f")
    assert page.is_visible("#filters")


UNFIT = """[
  [...document.querySelectorAll('[role=gridcell], [role=columnheader], [role=rowheader]')]
    .filter((e) => !e.parentElement.matches('[role=row]')),
  [...document.querySelectorAll('[role=row]')].filter((e) => !e.parentElement.matches('[role=grid]')),
  [...document.querySelectorAll('[role=grid] > :not([role=row]), [role=row] > :not([role])')],
  [...document.querySelectorAll('[tabindex]')].filter((e) => !e.matches('[role=button][aria-label]')),
].flat().map((e) => e.outerHTML.slice(0, 80))"""


def test_the_clips_are_a_grid_of_rows_or_a_wall_of_buttons(page: Any, port: int) -> None:
    """As WAI-ARIA 1.2 has them: cells in rows, rows in the grid, and nothing that takes the focus without a role."""
    show(page, port)
    assert page.get_attribute("#grid", "role") == "grid"
    cells = page.evaluate("[...document.querySelectorAll('[role=row]')].map((row) => row.children.length)")
    assert set(cells) == {3}  # the epoch, and a cell for each temperature
    assert page.evaluate(UNFIT) == []
    press(page, "f")
    page.keyboard.type("distance")
    until(lambda: page.query_selector("#grid.wall"), "the wall stands")
    assert page.get_attribute("#grid", "role") == "group"
    assert page.query_selector("[role=gridcell]") is None
    assert page.evaluate(UNFIT) == []


def test_a_patch_is_written_that_passes_its_check(page: Any, port: int, run: Path) -> None:
    show(page, port)
    press(page, "End", "p", "ArrowUp", "p", "Enter")
    page.keyboard.type("by hand")
    press(page, "Enter")
    until(lambda: (run / "by hand.yaml").exists(), "the patch is written")
    assert cli.main(["patch", "check", str(run / "by hand.yaml")]) == 0
    assert "epoch-003.safetensors" in (run / "by hand.yaml").read_text()
    (run / "by hand.yaml").write_text("mine")
    page.click("#write")
    until(lambda: page.is_visible("#replace"), "it asks before it replaces")
    assert (run / "by hand.yaml").read_text() == "mine"
    press(page, "Enter")
    until(lambda: (run / "by hand.yaml").read_text() != "mine", "it replaces what it was told to")


def test_two_clips_stand_side_by_side(page: Any, port: int) -> None:
    show(page, port)
    press(page, "c", "ArrowRight", " ")
    until(lambda: position(page) > 0.2, "the second plays")
    titles = [title.inner_text() for title in page.query_selector_all(".sheet:not([hidden]) .title")]
    assert len(set(titles)) == 2
    press(page, "x")
    until(lambda: "s0007" in page.evaluate("document.getElementById('player').src"), "the first plays")
    until(lambda: position(page) > 0.2, "at the same moment")
    press(page, "c")
    assert len(page.query_selector_all(".sheet:not([hidden])")) == 1


def test_sorting_and_filtering_from_the_keyboard(page: Any, port: int) -> None:
    show(page, port)
    assert len(page.query_selector_all(".row")) == 3
    press(page, "f")
    page.keyboard.type("distance")
    until(lambda: page.query_selector("#grid.wall"), "the wall stands")
    shown = [card.get_attribute("data-clip") for card in page.query_selector_all(".card")]
    assert shown[0].startswith("epoch-003")
    page.select_option("[name=flag]", "noise")
    assert len(page.query_selector_all(".card")) == 4
    press(page, "Escape", "ArrowRight")
    assert here(page).startswith("epoch-001")


def test_every_control_has_a_visible_focus_and_can_be_reached(page: Any, port: int) -> None:
    show(page, port)
    press(page, "f", "Escape", "f")
    seen: set[str] = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(70):
        press(page, "Tab")
        name, width = page.evaluate(
            "(() => { const e = document.activeElement; e.dataset.mark ??= String(Math.random());"
            " return [e.dataset.mark, parseFloat(getComputedStyle(e).outlineWidth)]; })()"
        )
        seen.add(name)
    unreached = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter((e) => e.checkVisibility() && !e.disabled"
        " && !e.dataset.mark).map((e) => e.outerHTML)"
    )
    assert unreached == []
    assert width >= 2


def test_what_a_lost_server_did_not_hear_is_told_and_kept_for_it(page: Any, run: Path) -> None:
    with auditions.serve(run) as number:
        show(page, number)
        page.route("**/api/rate", lambda route: route.fulfill(status=507, body='{"error": "not saved: No space left"}'))
        press(page, "Home", "2")
        until(lambda: "No space left" in page.inner_text("#notices"), "the fault is told")
        page.unroute("**/api/rate")
        press(page, "w")
        until(lambda: "wind" in {rating["class"] for rating in ratings(run).values()}, "both are kept")
        assert {"class": "wind", "score": 2, "note": ""} in ratings(run).values()


@pytest.mark.parametrize("width", [1280, 480])
def test_nothing_sticks_out(width: int, page: Any, port: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    show(page, port)
    press(page, "c", "f")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.getElementById('grid').clientHeight") > 100


def test_many_clips_are_painted_at_once(page: Any, tmp_path: Path) -> None:
    folder = auditions.make_run(tmp_path / "many", 71, (0.95,), 11, playable=False)
    with auditions.serve(folder) as number:
        page.goto(f"http://127.0.0.1:{number}/")
        page.wait_for_selector(".card.here")
        assert len(page.query_selector_all(".card")) == MANY
        paint, cards = page.evaluate(
            "[performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " performance.getEntriesByName('cards')[0].startTime]"
        )
        print(f"{MANY} clips: first paint {paint:.0f} ms, cards {cards:.0f} ms", file=sys.stderr)
        assert paint < 1000 * FIRST_PAINT_S
        assert cards < 1000 * FIRST_PAINT_S * BUSY
        until(lambda: page.evaluate("[...document.images].some((i) => i.naturalWidth === 480)"), "pictures come")
        assert page.evaluate("[...document.images].filter((i) => i.currentSrc).length") < MANY / 4
