"""Packages of one part: absent, only that part says so, in one sentence."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from study import extras
from study.tools import lock

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {"SimpleITK": "simpleitk", "sklearn": "scikit-learn"}
PARTS = ("lab", "rivals", "molecular")
ABSENT = [package for package in extras.EXTRAS if package != "filelock"]  # torch brings that one


def test_every_package_is_in_its_extra_and_study_brings_all() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for package, extra in extras.EXTRAS.items():
        name = DISTRIBUTIONS.get(package, package)
        assert name in project["optional-dependencies"][extra]
        assert name not in project["dependencies"]
    assert (
        f"allinsam[{','.join(dict.fromkeys(('lab', 'rivals', 'molecular')))}]"
        in project["optional-dependencies"]["study"]
    )
    assert set(extras.EXTRAS.values()) == {"lab", "rivals", "molecular"}


def test_runs_need_none_of_them_and_other_parts_name_their_extra() -> None:
    code = f"""import sys
sys.modules |= dict.fromkeys({ABSENT})
import allinsam_core, study.run, study.grid, study.tools.cli, study.molecular.registration
from study.methods import KINDS, settings_of
for kind in KINDS: settings_of(kind)
allinsam_core.segment, allinsam_core.train
from study.rivals import stain
from study.molecular import registration
import numpy as np
noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3)).astype(np.uint8)
def parts():
    yield lambda: __import__('study.tools.formats')
    yield lambda: __import__('study.annotator')
    yield lambda: stain.separate(noise)
    yield lambda: registration.register(noise[..., 0], noise[..., 1])
for part in parts():
    try: part()
    except Exception as error: print(f'{{type(error).__name__}}: {{error}}')
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"MissingExtra: {package} is not installed; pip install 'allinsam[{extra}]' brings it"
        for package, extra in (
            ("shapely", "lab"),
            ("shapely", "lab"),
            ("sklearn", "rivals"),
            ("SimpleITK", "molecular"),
        )
    ]


def test_a_lock_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(extras.MissingExtra, match=r"filelock is not installed; pip install 'allinsam\[lab\]'"):
        lock.in_turn(tmp_path / "file").__enter__()
