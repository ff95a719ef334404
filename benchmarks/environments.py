"""The same commands in other surroundings: they must come to the same files.

    python benchmarks/environments.py [--python 3.12=/path/to/python …] [--out results/reliability/environments.csv]

A copy of the code runs a method on simulated tissue, segments an image, scores what came out, and runs a notebook that
draws a figure: as it is, and in each of `SURROUNDINGS` that the table lacks; with --python also under other
interpreters, in which the requirements are installed. The table has a row for each: the exit status, what was said
where it failed, and whether rows, nuclei and the notebook's output are those of the code as it is. Surroundings that
need privileges which are not there (mounting, a network of one's own) are left out, and said to be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("surroundings", "status", "said", "same")
COPIED = ("allinsam_core", "study", "data_manifest.yaml", "pyproject.toml")
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CELLS = (
    "import matplotlib.pyplot as plt\nfrom IPython import display\nlast = 3",
    "plt.figure().suptitle('Größe in µm')\nplt.plot(range(last))\nplt.savefig('figure.png')\nprint(f'{last} Größen')",
)
STEPS = """
import json, sys
from pathlib import Path
from study.tools.cli import app

def call(*words):
    try:
        app([str(word) for word in words])
    except SystemExit as end:
        if end.code:
            sys.exit(end.code)

image, out = Path(sys.argv[1]), Path(sys.argv[2])
call("run", "--profile", "smoke", "--method", "otsu", "--fraction", 0, "--device", "cpu",
     "--results", out / "results", "--work", out / "work")
call("segment", image, "--out", out / "found")
call("score", out / "found", out / "found")
call("notebook", "run", out / "n.ipynb", out / "done.ipynb", "-p", "last=4")
"""


@dataclass(frozen=True)
class Surroundings:
    """folder: where code and results lie, below a temporary folder. variables: of the environment. prefix: a command
    that runs the command. bare: without git. home: HOME is on a file system that cannot be written."""

    folder: str = "plain"
    variables: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    umask: int = 0o022
    bare: bool = False
    home: bool = False
    python: str = sys.executable


SURROUNDINGS = {
    "A path with a blank and an umlaut": Surroundings(folder="Größe 1/Mein Präparat"),
    "No git": Surroundings(bare=True),
    "LC_ALL=C, without UTF-8": Surroundings(variables=ASCII),
    "Both: that path in LC_ALL=C, without UTF-8": Surroundings(folder="Größe 1/Mein Präparat", variables=ASCII),
    "Umask 077": Surroundings(umask=0o077),
    "A home folder that cannot be written": Surroundings(home=True),
    "No network, not even loopback": Surroundings(prefix=("unshare", "--net")),
}


def outcome(folder: Path) -> dict[str, str]:
    """What the commands left, by name: checksums of rows and nuclei, and what the notebook printed."""
    files = [*folder.rglob("rows.csv"), *folder.rglob("*_instances.tif"), *folder.rglob("found/*.csv")]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    done = folder / "done.ipynb"
    if done.is_file():
        cells = json.loads(done.read_text(encoding="utf-8"))["cells"]
        found["notebook"] = "".join(
            "".join(part.get("text", "")) for cell in cells for part in cell.get("outputs", ()) if "text" in part
        )
    return found


def prepare(folder: Path) -> None:
    """A copy of the code, an image and a notebook."""
    import numpy as np
    import tifffile

    folder.mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    y, x = np.mgrid[:128, :128]
    grey = np.where((y % 32 - 16) ** 2 + (x % 32 - 16) ** 2 < 80, 90, 225).astype(np.uint8)
    image = np.stack([grey, grey // 2 + 40, grey], axis=-1)
    tifffile.imwrite(folder / "Präparat 1.tif", image, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3)
    (folder / "out").mkdir()
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {"tags": ["parameters"] * (n == 0)}, "source": source,
         "outputs": [], "execution_count": None}
        for n, source in enumerate(CELLS)
    ]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    content = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "out" / "n.ipynb").write_text(json.dumps(content), encoding="utf-8")


@contextmanager
def unwritable(place: Path) -> Iterator[None]:
    """A folder on a file system of its own that is read-only, for root too."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=16k", "tmpfs", place], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def environment(given: Surroundings, folder: Path) -> dict[str, str]:
    """What the commands are called with: no setting of this project or its libraries but those given."""
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    path = [str(Path(given.python).parent), own["PATH"]]
    if given.bare:
        shadow = folder / "programs"
        shadow.mkdir()
        for place in own["PATH"].split(":"):
            for program in Path(place).iterdir() if Path(place).is_dir() else ():
                if program.name != "git" and not (shadow / program.name).exists():
                    (shadow / program.name).symlink_to(program)
        path = [str(shadow)]
    more = {"PATH": ":".join(path), "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return own | more | ({"HOME": str(folder / "home")} if given.home else {}) | dict(given.variables)


def attempt(given: Surroundings, scratch: Path) -> tuple[int, str, dict[str, str]]:
    """Run the commands: exit status, the last line where it failed, and what they left."""
    folder = scratch / given.folder
    prepare(folder)
    command = [*given.prefix, given.python, "-c", STEPS, folder / "Präparat 1.tif", folder / "out"]

    def call() -> tuple[int, str]:
        done = subprocess.run(
            command, env=environment(given, folder), cwd=folder, umask=given.umask, capture_output=True, check=False
        )
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        return done.returncode, lines[-1].replace(str(scratch), "") if done.returncode and lines else ""

    if given.home:
        with unwritable(folder / "home"):
            status, said = call()
    else:
        status, said = call()
    return status, said, outcome(folder / "out")


def may(given: Surroundings) -> bool:
    """Whether this process may make these surroundings."""
    try:
        if given.prefix:
            subprocess.run([*given.prefix, "true"], check=True, capture_output=True)
        if given.home:
            with tempfile.TemporaryDirectory() as scratch, unwritable(Path(scratch, "home")):
                pass
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def main() -> int:
    """Try all surroundings and write the table after each."""
    import pandas as pd

    sys.path.insert(0, str(ROOT))
    from allinsam_core.atomic import replacing

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--python", action="append", default=[], help="NAME=PATH of another interpreter")
    parser.add_argument("--out", type=Path, default=ROOT / "results/reliability/environments.csv")
    given = parser.parse_args()
    others = dict(pair.split("=", 1) for pair in given.python)
    tried = SURROUNDINGS | {f"Python {name}": Surroundings(python=path) for name, path in others.items()}
    rows = pd.read_csv(given.out, keep_default_na=False).to_dict("records") if given.out.is_file() else []
    with tempfile.TemporaryDirectory() as scratch:
        *_, wanted = attempt(Surroundings(), Path(scratch))
    for name, surroundings in tried.items():
        if name in [row["surroundings"] for row in rows]:
            continue
        if not may(surroundings):
            print(f"{name}: left out, this process may not make it; try as root")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            status, said, found = attempt(surroundings, Path(scratch))
        same = bool(found) and found == wanted
        rows.append({"surroundings": name, "status": status, "said": said, "same": same})
        print(rows[-1], flush=True)
        with replacing(given.out) as unfinished:
            pd.DataFrame(rows, columns=COLUMNS).to_csv(unfinished, index=False)
    return int(not all(row["status"] == 0 and row["same"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
