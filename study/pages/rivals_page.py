"""What the page on the rivals substitutes: sizes and budgets, read from the profiles and counted on the networks."""

from __future__ import annotations

from pathlib import Path

import torch

from study import config
from study.pages.fragments import Fragments, markdown_table
from study.results import METHOD_NAMES
from study.rivals import lvit, lvit_text, xie

RIVALS = ("lvit", "lvit_oracle", "xie", "resunet")


def fragments(results: Path) -> Fragments:
    """Numbers `rivals:…` and table `rivals_budgets`. Nothing is read from `results`."""
    runs = {
        (profile, method): grid.run(method, "complete", grid.settings(method)["axes"]["fraction"][0], grid.seeds[0])
        for profile, grid in ((name, config.profile(name)) for name in ("mini", "paper"))
        for method in RIVALS
        if method in grid.methods
    }
    published = runs["paper", "xie"].model
    if not isinstance(published, xie.XieSettings) or published.pretext is None:
        raise TypeError(f"profile paper, method xie: model {published}, expected kind xie with a pretext")
    numbers = {
        "rivals:lvit_parameters": f"{parameters(runs['paper', 'lvit']):,}",
        "rivals:xie_parameters": f"{parameters(runs['paper', 'xie']):,}",
        "rivals:lvit_contrast": f"{lvit_text.CONTRAST:g}",
        "rivals:lvit_tokens": str(lvit_text.TOKENS),
        "rivals:xie_side": str(published.pretext.side),
        "rivals:xie_parts": ", ".join(map(str, published.pretext.parts)),
        "rivals:xie_margin": f"{published.pretext.margin:g}",
        "rivals:xie_latent": str(xie.LATENT),
    }
    header = ["Method", "Profile", "Parameters", "Window → input, px", "Pretext steps × crops", "Steps × crops"]
    rows = []
    for (profile, method), run in sorted(runs.items(), key=lambda item: RIVALS.index(item[0][1])):
        pretext = getattr(run.model, "pretext", None)
        first = f"{pretext.train.steps:,} × {3 * pretext.train.batch_size}" if pretext else "–"
        seen = f"{run.window.field} → {run.window.size}"
        steps = f"{run.train.steps:,} × {run.train.batch_size}"
        rows.append([METHOD_NAMES[method], f"`{profile}`", f"{parameters(run):,}", seen, first, steps])
    return Fragments(numbers=numbers, tables={"rivals_budgets": markdown_table(header, rows, text_columns=2)})


def parameters(run: config.RunConfig) -> int:
    """How many parameters the run's network has, all of them trained; no weight is allocated."""
    if not isinstance(run.model, lvit.LViTSettings | xie.XieSettings):
        raise TypeError(f"{run.run_id}: model {run.model.kind}, expected lvit or xie")
    with torch.device("meta"):
        return sum(p.numel() for p in run.model.network(run.seed).parameters())
