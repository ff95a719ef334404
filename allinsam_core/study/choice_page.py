"""How the settings of the `mini` profile were chosen: the runs scored on the validation images, side by side."""

from __future__ import annotations

from pathlib import Path

from allinsam_core.study import config, records, tables
from allinsam_core.study.config import RunConfig
from allinsam_core.study.fragments import Fragments, markdown_table, not_run, score, table_block

CAPTION = "Settings tried on the 6 validation images: all training data, complete labels, 150 steps, one seed"


def fragments(results: Path, profile: str = "mini", trials: str = "choice") -> Fragments:
    """Fragment `choice` and numbers `choice:<run's method>`, the mean validation Dice."""
    paths = {records.read(path)["config"]["method"]: path for path in (results / trials).glob("*/run.json")}
    if not paths:
        return Fragments(tables={"choice": not_run(trials)})
    dices = tables.collect(results, trials).groupby("method")["dice"].mean()
    numbers, lines = {}, []
    for name in config.profile(trials).methods:
        if name not in paths:
            continue
        record = records.read(paths[name])
        tried = RunConfig.model_validate(record["config"])
        numbers[f"choice:{name}"] = score(dices[name], 3)
        lines.append(
            [
                tables.METHOD_NAMES[method(name)] + (", zero start" if name.endswith("-zero") else ""),
                f"{tried.train.learning_rate:g}" if tried.fraction else "–",
                f"{tried.window.field} → {tried.window.size}",
                score(dices[name], 3),
                f"{record['fit_seconds']:.0f}",
                "✓" if used(tried, config.profile(profile)) else "",
            ]
        )
    header = ["Method", "learning rate", "window, px", "`dice`, validation", "fit, s", f"in `{profile}`"]
    table = table_block(CAPTION, "tab-choice", markdown_table(header, lines))
    return Fragments(numbers=numbers, tables={"choice": table})


def method(trial: str) -> str:
    """allinsam-1e-3 → allinsam: the method of `mini` that a trial is of."""
    return trial.partition("-")[0]


def used(tried: RunConfig, profile: config.Profile) -> bool:
    """Whether the profile has the tried model, window and learning rate; its steps are its own."""
    same = profile.run(method(tried.method), tried.label, tried.fraction, tried.seed)
    settings = [(run.model, run.window, run.train.learning_rate) for run in (tried, same)]
    return settings[0] == settings[1]
