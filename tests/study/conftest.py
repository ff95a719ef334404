"""A run of the study in seconds, and results folders written by hand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pandas as pd
import pytest

from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from study import records
from study.config import RunConfig
from study.data import DataSettings
from study.grid import Profile
from study.molecular.cohort import prepare
from study.molecular.run import execute_grid
from study.results import INSTANCE_METRICS, TABLE3_METRICS
from study.rivals.unet import UNetSettings

WriteRun = Callable[..., Path]
STANDING_ON_SAM = ("allinsam", "finetuned", "zeroshot", "boxes")


@pytest.fixture(scope="session")
def tiny_grid() -> Profile:
    """Two annotators and one small U-Net, two steps; six slides of one patch per cell type."""
    return Profile(
        name="smoke",
        about="for tests",
        kind="molecular",
        axes={
            "annotator": {
                "Expert": {"drawn_by": ["expert"]},
                "Students": {"drawn_by": ["student1", "student2", "student3"]},
            },
            "cell_type": ["podocyte", "mesangial"],
            "seed": [0],
        },
        common={
            "cohort": {"podocyte": 6, "mesangial": 6, "slides": 6, "injured": 3, "size": 128},
            "train": {"steps": 2, "batch_size": 1},
            "window": {"field": 128, "size": 32},
        },
        methods={"mocl": {"model": {"kind": "mocl_unet", "width": 16}}},
    )


@pytest.fixture(scope="session")
def cohort_work(tiny_grid: Profile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder in which the tiny grid's cohort is ready."""
    work = tmp_path_factory.mktemp("work")
    prepare(tiny_grid.grid()[0].cohort, work)  # type: ignore[attr-defined]
    return work


@pytest.fixture(scope="session")
def tiny_results(tiny_grid: Profile, cohort_work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the tiny grid."""
    results = tmp_path_factory.mktemp("results")
    execute_grid(tiny_grid, results, cohort_work, device="cpu")
    return results


@pytest.fixture
def tiny_config() -> RunConfig:
    """A U-Net of two levels, three steps, simulated tiles of 64 px."""
    return RunConfig(
        profile="smoke",
        method="unet",
        model=UNetSettings(channels=(4, 8)),
        data=DataSettings(source="simulated", crop=32, simulated={"train": 2, "val": 1, "test": 2, "size": 64}),
        window=WindowSettings(field=32, size=32),
        train=TrainSettings(steps=3, batch_size=2, validate_every=2),
    )


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a finished run's rows and record under tmp_path/results; every metric of an image is the value given.

    sam: of the model's settings, for methods that stand on a SAM; mini-SAM unless given. version: of its weights.
    """

    def write(
        method: str,
        fraction: float,
        seed: int,
        images: Mapping[str, float],
        *,
        label: str = "complete",
        profile: str = "mini",
        test: str = "same",
        simulated: bool = False,
        version: str = "",
        threshold: float | None = None,
        sam: Mapping[str, object] | None = None,
        **metrics: Mapping[str, float],
    ) -> Path:
        config = {"profile": profile, "method": method, "label": label, "fraction": fraction, "seed": seed}
        config["base_weights"] = version  # another version is another run of the same cell
        config |= {"train": {"batch_size": 4}, "window": {"field": 256}}
        if method in STANDING_ON_SAM:
            config["model"] = {"kind": "boxes" if method == "boxes" else "sam", **(sam or {"name": "mini"})}
        names = (*TABLE3_METRICS, *INSTANCE_METRICS)
        rows = [
            {"image": i, "patient": i, "organ": "kidney"} | {m: metrics.get(m, images)[i] for m in names}
            for i in images
        ]
        record = {
            "run_id": records.run_id(config),
            "config_hash": records.hash_of(config),
            "config": config,
            "commit": "abcdef0123456789",
            "simulated": simulated,
            "environment": {"device": "cpu", "device_name": "a processor", "threads": 2},
            "data": {"test": {"images": len(images), "sha256": test}},
            "training_part": {"images": 3, "pixels": 120_000},
            "parameters": {"total": 1_000, "trained": 900},
            "fit_seconds": 90.0,
            "predict_seconds": 1.26,
            "peak_memory_bytes": 3 * 2**30,
            "training": {
                "losses": [[0, 1.5], [10, 1.0]],
                "validations": [{"step": 5, "loss": 1.2, "dice": 0.4}, {"step": 10, "loss": 1.0, "dice": 0.6}],
                "best": 10,
            },
        }
        if threshold is not None:
            record["threshold"] = threshold
        records.save(record, tmp_path / "results" / profile / records.run_id(config), rows=pd.DataFrame(rows))
        return tmp_path / "results"

    return write


@pytest.fixture
def serve_lab() -> Callable[[Path], AbstractContextManager[str]]:
    """Start a JupyterLab on a folder, which keeps nothing in the user's own; gives its address, the token is `t`."""

    @contextmanager
    def serve(folder: Path) -> Iterator[str]:
        own = {f"JUPYTER_{kind}_DIR": str(folder / f".{kind}") for kind in ("CONFIG", "DATA", "RUNTIME")}
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
            *("--IdentityProvider.token=t", f"--ServerApp.root_dir={folder}", "--LabApp.extension_manager=readonly"),
            *("--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"),
            "--LabApp.expose_app_in_browser=True",
        ]
        log = folder / "server.log"
        with log.open("w") as out:
            environment = {**os.environ, **own, "PYTHONPATH": str(Path(__file__).parents[2])}
            server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            until = time.monotonic() + 120  # a busy machine starts it slowly
            while not (address := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
                assert time.monotonic() < until, f"no JupyterLab after 120 s: {log.read_text()}"
                time.sleep(0.05)
            yield address.group()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)

    return serve
