"""The annotator in a real JupyterLab, driven by mouse and keyboard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from study.tools.formats import read_boxes

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HEIGHT, WIDTH = 256, 320
NUCLEI = ((60, 70), (60, 160), (150, 90), (170, 230))
"""Centres, row and column."""
RADIUS = 14
CELL = """from study.annotator import Annotator
annotator = Annotator("pas.tif", "if.tif", classes=["podocyte", "mesangial"])
annotator"""
PATIENCE = 120_000  # ms; a busy machine starts JupyterLab slowly


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures in register and a notebook of one cell."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.full((HEIGHT, WIDTH, 3), (230, 190, 215), np.uint8)
    for row, column in NUCLEI:
        image[(y - row) ** 2 + (x - column) ** 2 < RADIUS**2] = (90, 60, 140)
    for name, pixels in (("pas.tif", image), ("if.tif", image[..., ::-1].copy())):
        tifffile.imwrite(
            tmp_path / name, pixels, photometric="rgb", resolution=(40_000, 40_000), resolutionunit="CENTIMETER"
        )
    cell = {"cell_type": "code", "id": "a", "source": CELL, "metadata": {}, "outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "n.ipynb").write_text(json.dumps(book))
    return tmp_path


@pytest.fixture
def lab(folder: Path, serve_lab: Callable[[Path], AbstractContextManager[str]]) -> Iterator[str]:
    with serve_lab(folder) as address:
        yield address


def wait(found: Callable[[], Any], what: str) -> Any:
    """What `found` gives once it is true."""
    until = time.monotonic() + PATIENCE / 1000
    while not (value := found()):
        assert time.monotonic() < until, f"{what}: waited {PATIENCE / 1000:.0f} s"
        time.sleep(0.05)
    return value


class Hand:
    """Mouse and keyboard on the annotator; `at` in pixels of the image."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def at(self, x: float, y: float) -> tuple[float, float]:
        stage = self.page.locator(".ann-stage").first.bounding_box()
        scale = min(stage["width"] / WIDTH, stage["height"] / HEIGHT)
        left, top = (
            stage["x"] + (stage["width"] - WIDTH * scale) / 2,
            stage["y"] + (stage["height"] - HEIGHT * scale) / 2,
        )
        return left + scale * x, top + scale * y

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*self.at(*start))
        mouse.down()
        mouse.move(*self.at((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), steps=3)
        mouse.move(*self.at(*end), steps=3)
        mouse.up()

    def box(self, nucleus: tuple[int, int]) -> None:
        row, column = nucleus
        self.drag((column - RADIUS, row - RADIUS), (column + RADIUS, row + RADIUS))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self, count: int) -> None:
        text = f"{count} {'nucleus' if count == 1 else 'nuclei'} · saved"
        self.page.locator(".ann-status", has_text=text).wait_for(timeout=PATIENCE)


def run_cell(page: Any) -> None:
    page.locator(".jp-Notebook .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.locator(".ann-root .a9s-gl-canvas, .ann-root canvas").first.wait_for(timeout=PATIENCE)
    page.locator(".ann-status", has_text="saved").wait_for(timeout=PATIENCE)


def boxes(folder: Path) -> list[tuple[list[float], str]]:
    found = read_boxes(folder / "pas.geojson", (HEIGHT, WIDTH))
    return list(zip(found.xyxy.tolist(), found.classes, strict=True))


@pytest.mark.browser
def test_an_annotator_s_work(folder: Path, lab: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        executable = CHROMIUM or playwright.chromium.executable_path
        if not Path(executable).is_file():
            pytest.skip("no Chromium: install Debian's `chromium` or run `playwright install chromium`")
        software = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL without a GPU
        browser = playwright.chromium.launch(executable_path=executable, args=software)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        outside: list[str] = []
        errors: list[str] = []
        page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((lab, "data:", "blob:")) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{lab}doc/tree/n.ipynb?token=t")
        page.locator(".jp-Notebook .cm-content").first.wait_for(timeout=PATIENCE)
        run_cell(page)
        hand = Hand(page)
        draw_and_correct(hand, folder)
        look_closer(hand)
        lose_the_kernel(hand, folder)
        browser.close()
    assert errors == []
    assert outside == []
    log = [json.loads(line) for line in (folder / "pas_annotation_log.jsonl").read_text().splitlines()]
    drawn = [entry for entry in log if entry["action"] == "draw"]
    assert [entry["clicks"] for entry in drawn] == [2, 1, 0]  # with that on the button, one, by keyboard
    assert all(0 < entry["seconds"] < PATIENCE for entry in drawn)


def draw_and_correct(hand: Hand, folder: Path) -> None:
    """Boxes by mouse and by key, class, move, delete, undo; SAM's masks as they come."""
    page = hand.page
    page.get_by_role("button", name="Box (b)").click()
    hand.box(NUCLEI[0])
    hand.saved(1)
    (side, kind), *_ = boxes(folder)
    np.testing.assert_allclose(side, [56, 46, 84, 74], atol=1.0)
    assert kind == "podocyte"
    page.locator(".ann-masks path").first.wait_for(state="attached", timeout=PATIENCE)
    assert page.locator(".ann-masks path").count() == 2  # on either picture
    hand.press("Escape", "2")
    hand.box(NUCLEI[1])
    hand.saved(2)
    assert [kind for _, kind in boxes(folder)] == ["podocyte", "mesangial"]
    before = boxes(folder)[1][0]
    hand.press("v", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowLeft")
    hand.saved(2)
    after = wait(lambda: (now := boxes(folder)[1][0]) != before and abs(now[2] - before[2]) < 0.01 and now, "the move")
    np.testing.assert_allclose(np.subtract(after, before), [1, 10, 0, 10], atol=0.11)
    hand.press("1")
    wait(lambda: boxes(folder)[1][1] == "podocyte", "the class")
    hand.press("Control+z", "Control+z", "Control+z", "Control+z")
    wait(lambda: boxes(folder)[1] == (before, "mesangial"), "undo")
    page.mouse.click(*hand.at(70, 60))
    page.locator(".a9s-handle").first.wait_for(state="attached", timeout=PATIENCE)
    hand.drag((70, 60), (100, 60))
    wait(lambda: boxes(folder)[0][0][0] > 70, "the box dragged by mouse")
    np.testing.assert_allclose(np.ptp(np.reshape(boxes(folder)[0][0], (2, 2)), axis=0), [28, 28], atol=0.2)
    hand.press("Control+z", "Escape", "n")
    hand.saved(3)
    hand.press("Delete")
    hand.saved(2)


def look_closer(hand: Hand) -> None:
    """Zoom, cursor and contrast of the second picture follow."""
    page = hand.page
    stages = page.locator(".ann-stage")
    scales = "panes => panes.map(g => g.getAttribute('transform').match(/scale\\((.*)\\)/)[1])"
    first = page.eval_on_selector_all(".ann-masks", scales)
    hand.press("+")
    wait(lambda: page.eval_on_selector_all(".ann-masks", scales)[1] != first[1], "the zoom")
    page.mouse.move(*hand.at(WIDTH / 2, HEIGHT / 2))
    cursors = page.locator(".ann-cursor")
    assert [cursors.nth(i).get_attribute("visibility") for i in (0, 1)] == ["hidden", "visible"]
    hand.press("0")
    wait(lambda: page.eval_on_selector_all(".ann-masks", scales) == first, "the whole image")
    page.locator(".ann-contrast summary").nth(1).click()
    page.get_by_label("Red shown, if.tif").uncheck()
    slopes = page.eval_on_selector_all("feFuncR", "all => all.map(f => f.getAttribute('slope'))")
    assert slopes == ["1", "0"]
    assert "url(" in stages.nth(1).locator("canvas").first.evaluate("canvas => canvas.style.filter")


def lose_the_kernel(hand: Hand, folder: Path) -> None:
    """A box drawn while no kernel answers, and a tab that is closed then, lose nothing."""
    page = hand.page
    kernel = next((folder / ".RUNTIME").glob("kernel-*.json"))
    for process in kernels(kernel.name):
        os.kill(process, signal.SIGSTOP)
    page.get_by_role("button", name="Box (b)").click()
    hand.box(NUCLEI[2])
    page.locator(".ann-status.ann-alarm").wait_for(timeout=PATIENCE)
    assert len(boxes(folder)) == 2
    for process in kernels(kernel.name):
        os.kill(process, signal.SIGKILL)
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.locator(".jp-Notebook .cm-content").first.wait_for(timeout=PATIENCE)
    wait(lambda: page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").count(), "a new kernel")
    run_cell(page)
    hand.saved(3)
    np.testing.assert_allclose(boxes(folder)[2][0], [76, 136, 104, 164], atol=1.0)


def kernels(name: str) -> list[int]:
    """The processes started with that connection file: this test's own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
