"""MONAI's import: what it need not try, and that others find these packages afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from study.rivals.networks import NOT_NEEDED, absent


def test_monai_comes_without_what_no_network_needs_and_leaves_it_to_others() -> None:
    code = f"""import sys
import study.rivals.unet
found = set({NOT_NEEDED}) & sys.modules.keys()
assert not found, found
import jsonschema
assert study.rivals.unet.UNet.__module__.startswith("monai.")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_absent_is_for_the_block_alone() -> None:
    import json

    with absent("json", "a_package_that_is_not_there"), pytest.raises(ModuleNotFoundError):
        import json
    assert sys.modules["json"] is json
    assert "a_package_that_is_not_there" not in sys.modules
