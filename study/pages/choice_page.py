"""How the settings of the `mini` profile were chosen: the runs scored on the validation images, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study import config, records, tables
from study.config import RunConfig
from study.pages.fragments import Fragments, markdown_table, not_run, score, table_block

CAPTION = "Settings tried on the 6 validation images: all training data, complete labels, 150 steps, one seed"


@dataclass(frozen=True)
class Trial:
    """A run on the validation images. same: model and window are the profile's own; used: the learning rate too."""

    run: RunConfig
    dice: float
    seconds: float
    same: bool
    used: bool

    @property
    def method(self) -> str:
        """allinsam-1e-3 → allinsam: the method of the profile that this is a trial of."""
        return self.run.method.partition("-")[0]

    @property
    def name(self) -> str:
        start = ", zero start" if getattr(self.run.model, "zero_init", False) else ""
        return tables.METHOD_NAMES[self.method] + start


def fragments(results: Path, profile: str = "mini", trials: str = "choice") -> Fragments:
    """Fragment `choice`, numbers `choice:<run's method>`, the mean validation Dice, and `choice:missed`.

    The last is the most that any method of `profile` would gain there by another learning rate than its own.
    """
    if not any((results / trials).glob("*/run.json")):
        return Fragments(tables={"choice": not_run(trials)})
    tried = _tried(results, config.profile(profile), trials)
    numbers = {f"choice:{t.run.method}": score(t.dice, 3) for t in tried}
    own = {t.method: t.dice for t in tried if t.used}
    numbers["choice:missed"] = score(max(t.dice - own[t.method] for t in tried if t.same and t.method in own), 3)
    header = ["Method", "learning rate", "window, px", "`dice`, validation", "fit, s", f"in `{profile}`"]
    lines = [
        [
            t.name,
            f"{t.run.train.learning_rate:g}" if t.run.fraction else "–",
            f"{t.run.window.field} → {t.run.window.size}",
            score(t.dice, 3),
            f"{t.seconds:.0f}",
            "✓" if t.used else "",
        ]
        for t in tried
    ]
    table = table_block(CAPTION, "tab-choice", markdown_table(header, lines))
    return Fragments(numbers=numbers, tables={"choice": table})


def _tried(results: Path, profile: config.Profile, trials: str) -> list[Trial]:
    """Every trial, by method; the profile's own setting first, the better ones of the others next."""
    dices = tables.collect(results, trials).groupby("method")["dice"].mean()
    found = []
    for path in (results / trials).glob("*/run.json"):
        record = records.read(path)
        run = RunConfig.model_validate(record["config"])
        own = profile.run(run.method.partition("-")[0], run.label, run.fraction, run.seed)
        same = (own.model, own.window) == (run.model, run.window)
        used = same and own.train.learning_rate == run.train.learning_rate
        found.append(Trial(run, float(dices[run.method]), record["fit_seconds"], same, used))
    return sorted(found, key=lambda t: (tables.method_order(t.method), not t.used, -t.dice))
