"""Where data are looked for."""

from __future__ import annotations

from pathlib import Path

import pooch
import pytest

from study import root


def test_the_variable_wins_then_the_folder_beside_the_checkout_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.delenv(root.VARIABLE, raising=False)
    assert root.data_root() == Path(pooch.os_cache("allinsam"))
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert root.data_root() == tmp_path / "shared" / "data"
    monkeypatch.setenv(root.VARIABLE, str(tmp_path / "mine"))
    assert root.data_root() == tmp_path / "mine"
