"""Which modules a run is made of, and when their hash changes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from study import code, methods, run
from study.config import RunConfig

FILES = {
    "study/__init__.py": "",
    "study/a.py": "from study import b\nfrom study.pack import thing\nimport numpy",
    "study/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from study import unseen",
    "study/pack/__init__.py": "def late():\n    import allinsam_core.deep.c",
    "study/unseen.py": "",
    "study/other.py": "from study import a",
    "allinsam_core/__init__.py": "",
    "allinsam_core/deep/__init__.py": "",
    "allinsam_core/deep/c.py": "from study import a  # a circle",
}


def reading(**changes: str) -> code.Read:
    files = {**FILES, **changes}
    return lambda path: files[path].encode() if path in files else None


def test_a_module_brings_all_that_it_imports_and_nothing_else() -> None:
    assert code.sources(["study.a"], reading()).keys() == FILES.keys() - {"study/unseen.py", "study/other.py"}


@pytest.mark.parametrize("path", FILES)
def test_the_hash_follows_the_modules_that_are_needed(path: str) -> None:
    same = path in ("study/unseen.py", "study/other.py")
    changed = code.code_hash(["study.a"], reading(**{path: f"{FILES[path]}\n# a comment"}))
    assert (changed == code.code_hash(["study.a"], reading())) is same


def test_a_module_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"study\.nowhere: no such module"):
        code.sources(["study.nowhere"])


def test_a_run_is_made_of_its_own_method_and_data(tiny_config: RunConfig) -> None:
    found = code.sources(run.modules(tiny_config)).keys()
    assert {"study/run.py", "study/config.py", "study/rivals/unet.py", "study/simulation/simulate.py"} <= found
    assert {"allinsam_core/learning/train.py", "allinsam_core/metrics/pixel.py"} <= found
    others = {f"{module.replace('.', '/')}.py" for module in methods.KINDS.values()} - {"study/rivals/unet.py"}
    assert not {path for path in found if path in others or path.startswith("study/molecular")} - {
        "study/allinsam.py"  # the SAM of weak labels
    }


def test_the_cells_of_a_notebook_count_but_not_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert code.notebook_hash() is None

    def ran(*cells: str) -> str | None:
        shell = SimpleNamespace(user_ns={"In": ["", *cells]})
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
        return code.notebook_hash()

    assert ran("seed = 0", "x = train(seed)") == ran("seed = 1\nlabel = 'weak'", "x = train(seed)")
    assert ran("seed = 0", "x = train(seed)") != ran("seed = 0", "x = train(seed + 1)")
