"""What `allinsam segment --profile best` is worth: `python -m study.minisam.flips`.

The default model without training, with and without flips, on the images of `parting`. Nothing is chosen here.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from allinsam_core.annotation.sam import weights_checksum
from allinsam_core.model import DEFAULT, KEPT, base_sam, load
from study import records
from study.minisam import parting
from study.root import data_root, resolved
from study.tools.flips import PROFILES, with_profile
from study.tuning import Example

NAME = "flips"


def measure(results: Path) -> Path:
    """Score every image with each profile, write the record, and return its folder."""
    used = parting.images(data_root())
    rows, seconds = [], {}
    for profile in PROFILES:
        model, watch = with_profile(load(), profile), records.Stopwatch()
        with watch.measure():
            shown = {
                part: [Example(model.maps(case.image, case.spacing)[0], case.instances, case.spacing) for case in cases]
                for part, cases in used.items()
            }
        seconds[profile] = watch.seconds["processor_seconds"]
        rows += parting.rows_of(DEFAULT, used, shown, {profile: KEPT[DEFAULT]})
    config = {"base": weights_checksum(base_sam(DEFAULT)), "profiles": PROFILES}
    record = records.make(
        NAME, config, data=used, modules=("study.minisam.flips",), watch=watch, seconds_of_profiles=seconds
    )
    return records.save(record, results / "mini_sam" / NAME, rows=pd.DataFrame(rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(measure(resolved("results")))
