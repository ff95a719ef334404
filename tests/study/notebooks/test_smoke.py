"""The page of the smoke study: every method and kind of label is a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_every_configuration_is_a_line(write_run: Callable[..., Path], run_page: Callable[..., Any]) -> None:
    write_run("unet", 1.0, 0, {"x": 0.6, "y": 0.8}, profile="smoke")
    results = write_run("unet", 1.0, 0, {"x": 0.5, "y": 0.5}, label="weak", profile="smoke")
    page = run_page("smoke", results=str(results))
    complete, weak = page.rows("smoke")[1:]
    assert complete[:3] == ["U-Net", "100 %, complete", "0.700 | [0.600, 0.800]"]
    assert weak[:3] == ["U-Net", "100 %, weak", "0.500 | [0.500, 0.500]"]
    assert page.text("runs") == "2"
