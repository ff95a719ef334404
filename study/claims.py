"""What the paper claims, what was found when the same was asked here, and whether it held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd

from study import label_noise
from study import results as tables
from study.molecular import table1
from study.stats import Interval, bootstrap_mean

Verdict = Literal["held", "held in part", "undecided", "did not hold", "not run"]
Key = tuple[str, str]  # method, label
MARGIN = 0.02  # of Dice: a loss that would not matter; the margin of Table 1's equivalence tests
ON_MONUSEG, SIMULATED = "MoNuSeg, with mini-SAM", "simulated slides"
FRACTIONS = (1.0, 0.04, 0.005)


@dataclass(frozen=True)
class Finding:
    """One comparison that bears on a claim: what it is called, its interval, and what it says of the claim."""

    name: str
    interval: Interval
    supports: bool
    contradicts: bool


@dataclass(frozen=True)
class Claim:
    """What the paper says, what data it was asked of here, and the findings.

    page: the page of the book that shows them in full, relative to the notebooks' pages.
    """

    says: str
    asked_of: str
    measure: str
    findings: tuple[Finding, ...]
    page: str

    @property
    def verdict(self) -> Verdict:
        """From the findings' intervals alone, all of them weighed alike."""
        if not self.findings:
            return "not run"
        if all(found.supports for found in self.findings):
            return "held"
        if any(found.supports for found in self.findings):
            return "held in part"
        return "did not hold" if any(found.contradicts for found in self.findings) else "undecided"


def lead(name: str, found: Interval) -> Finding:
    """A difference that the claim says is above zero."""
    return Finding(name, found, found.low > 0, found.high < 0)


def small_loss(name: str, found: Interval, margin: float = MARGIN) -> Finding:
    """A difference that the claim says is no loss that matters: above −margin."""
    return Finding(name, found, found.low > -margin, found.high < -margin)


def claims(results: Path, profile: str = "mini") -> list[Claim]:
    """Every claim of the paper that can be asked with our means. One that has no run has no finding."""
    return [*_monuseg(results, profile), *_molecular(results, profile), _corrective(results, profile)]


def leads(
    scores: pd.DataFrame | None, first: Key, second: Key, fractions: Sequence[float] = FRACTIONS
) -> list[tuple[str, Interval]]:
    """Amount of data → Dice of first − second on the same images and seeds, where both were run."""
    if scores is None:
        return []
    found = ((name, tables.lead(scores[scores["fraction"] == name], first, second)) for name in fractions)
    return [(tables.fraction_name(name), interval) for name, interval in found if interval is not None]


def _collected(collect: Callable[[Path, str], pd.DataFrame], results: Path, profile: str) -> pd.DataFrame | None:
    try:
        return collect(results, profile)
    except tables.NotRun:
        return None


def _monuseg(results: Path, profile: str) -> Iterable[Claim]:
    scores, longer = (_collected(tables.collect, results, name) for name in (profile, "longer"))
    ours, weak = ("allinsam", "complete"), ("allinsam", "weak")
    few, rival = FRACTIONS[1:], ("nnunet", "complete")
    ahead = "Dice, All-in-SAM minus nnU-Net v2"

    def claim(says: str, measure: str, findings: Iterable[Finding], page: str = "table3") -> Claim:
        return Claim(says, ON_MONUSEG, measure, tuple(findings), page)

    yield claim(
        "With few labelled images, All-in-SAM is ahead of nnU-Net.",
        ahead,
        (lead(*each) for each in leads(scores, ours, rival, few)),
    )
    yield claim(
        "With all images, All-in-SAM is ahead of nnU-Net.",
        ahead,
        (lead(*each) for each in leads(scores, ours, rival, (1.0,))),
    )
    yield claim(
        "With weak labels, All-in-SAM is ahead of nnU-Net.",
        ahead,
        (lead(*each) for each in leads(scores, weak, ("nnunet", "weak"))),
    )
    yield claim(
        f"Weak labels cost All-in-SAM little (here: no more than {MARGIN:.2f}).",
        "Dice, weak minus complete labels",
        (small_loss(*each) for each in leads(scores, weak, ours)),
    )
    yield claim(
        "All-in-SAM owes its accuracy to a pre-trained SAM.",
        "Dice, All-in-SAM minus the same network from random weights",
        (lead(*each) for each in leads(scores, ours, ("scratch", "complete"))),
    )
    yield claim(
        "With four times the training, All-in-SAM is still ahead.",
        "Dice, All-in-SAM minus rival, both trained longer",
        (
            lead(f"{tables.METHOD_NAMES[other]}, {name}", interval)
            for fraction, other in product(FRACTIONS, ("nnunet", "unet"))
            for name, interval in leads(longer, ours, (other, "complete"), (fraction,))
        ),
        "table2_robustness",
    )
    quality = pd.read_csv(results / "mini_sam" / "quality" / "rows.csv")
    iou = quality.pivot(index="image", columns="prompt", values="mean_instance_iou")
    yield Claim(
        "SAM's masks of boxes are good labels.",
        f"{ON_MONUSEG}, training and validation images",
        "mean IoU of a nucleus, mini-SAM's mask minus the ellipse in the box",
        tuple(
            lead(f"{law} boxes", bootstrap_mean((iou[f"{law} boxes"] - iou[f"ellipses of {law} boxes"]).dropna()))
            for law in ("tight", "random")
        ),
        "mini_sam",
    )


def _molecular(results: Path, profile: str) -> Iterable[Claim]:
    scores, metric = _collected(table1.collect, results, profile), "f1_pixel_macro"
    methods = [] if scores is None else [m for m in table1.METHOD_NAMES if m in set(scores["method"])]

    def claim(
        says: str,
        measure: str,
        judge: Callable[[str, Interval], Finding],
        pairs: Iterable[tuple[table1.RowName, table1.RowName]],
    ) -> Claim:
        found = [] if scores is None else table1.compare(scores, metric, pairs)
        findings = (judge(f"{table1.METHOD_NAMES[c.first[0]]}, {c.cell_type}", c.interval) for c in found)
        return Claim(says, SIMULATED, f"`{metric}`, {measure}", tuple(findings), "table1")

    yield claim(
        f"Students who see the marker match the expert (here: within {MARGIN:.2f}).",
        "students minus expert",
        small_loss,
        [((m, "Students"), (m, "Expert")) for m in methods],
    )
    yield claim(
        "Seeing the marker is what makes lay annotation work.",
        "students with it minus a lay annotator without",
        lead,
        [((m, "Students"), (m, "Lay without IF")) for m in methods],
    )
    yield claim(
        "All-in-SAM is the best row of Table 1.",
        "All-in-SAM minus MOCL, with the expert's labels",
        lead,
        [(("allinsam", "Expert"), ("mocl", "Expert"))],
    )


def _corrective(results: Path, profile: str) -> Claim:
    printed = ("paper_eq5", "molecular_el")  # as the paper prints it, and as its forerunner computes it
    scores = _collected(label_noise.collect, results, profile)
    gaps = [] if scores is None else label_noise.differences(scores)
    findings = (
        lead(f"`{gap.variant}`, {label_noise.SOURCES[gap.source]}, {100 * gap.rate:g} % errors", gap.interval)
        for gap in gaps
        if gap.rate > 0 and gap.variant in printed
    )
    data = "MoNuSeg at 20× and simulated slides, with label errors put in"
    says, measure = "Corrective learning repairs wrong labels.", "Dice, corrective minus plain training"
    return Claim(says, data, measure, tuple(findings), "label_noise")
