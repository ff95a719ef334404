"""The start page's table: what the paper claims, what was found when the same was asked here, and whether it held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from allinsam_core.metrics.stats import Interval, bootstrap_mean
from study import tables
from study.molecular import table1
from study.pages import noise_page
from study.pages.fragments import Fragments, markdown_table, score, signed

Verdict = Literal["held", "held in part", "undecided", "did not hold", "not run"]
Key = tuple[str, str]  # method, label
MARGIN = 0.02  # of Dice: a loss that would not matter; the margin of Table 1's equivalence tests
ON_MONUSEG, SIMULATED = "real MoNuSeg, mini-SAM", "simulated slides"


@dataclass(frozen=True)
class Finding:
    """One comparison that bears on a claim: what it is called, its interval, and what it says of the claim."""

    name: str
    interval: Interval
    supports: bool
    contradicts: bool

    @property
    def text(self) -> str:
        found = self.interval
        return f"{self.name} {signed(found.mean, 3)} [{signed(found.low, 3)},\u00a0{signed(found.high, 3)}]"


@dataclass(frozen=True)
class Claim:
    """What the paper says, what it was asked of here, and the findings. page: a link to all of them."""

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
        if all(f.supports for f in self.findings):
            return "held"
        if any(f.supports for f in self.findings):
            return "held in part"
        return "did not hold" if any(f.contradicts for f in self.findings) else "undecided"


def lead(name: str, found: Interval) -> Finding:
    """A difference that the claim says is above zero."""
    return Finding(name, found, found.low > 0, found.high < 0)


def small_loss(name: str, found: Interval, margin: float = MARGIN) -> Finding:
    """A difference that the claim says is no loss to speak of: above −margin."""
    return Finding(name, found, found.low > -margin, found.high < -margin)


def fragments(results: Path, profile: str = "mini") -> Fragments:
    """The fragment `claims` and numbers `claims:…`: how many claims there are and how many held."""
    claims = (*_monuseg(results, profile), *_molecular(results, profile), _corrective(results, profile))
    held = [claim.verdict for claim in claims]
    lines = [[f"{c.says} ({c.page})<br>*{c.asked_of}*", _findings(c), f"**{c.verdict}**"] for c in claims]
    header = ["The paper claims, and what it was asked of here", "found", "verdict"]
    numbers = {"claims:all": str(len(held)), "claims:margin": score(MARGIN, 2)}
    numbers |= {f"claims:{verdict.replace(' ', '_')}": str(held.count(verdict)) for verdict in get_args(Verdict)}
    return Fragments(numbers=numbers, tables={"claims": markdown_table(header, lines, text_columns=3)})


def _findings(claim: Claim) -> str:
    return "<br>".join((claim.measure, *(f.text for f in claim.findings))) if claim.findings else "–"


def _monuseg(results: Path, profile: str) -> Iterable[Claim]:
    scores = tables.collect(results, profile)
    table, shares, few = "[Table 3](results/table3.md)", (1.0, 0.04, 0.005), (0.04, 0.005)

    def differences(first: Key, second: Key, at: Sequence[float]) -> list[tuple[str, Interval]]:
        found = ((share, tables.lead(scores[scores["fraction"] == share], first, second)) for share in at)
        return [(tables.fraction_name(share), interval) for share, interval in found if interval is not None]

    def leads(label: str, rival: str, at: Sequence[float]) -> tuple[Finding, ...]:
        return tuple(lead(*each) for each in differences(("allinsam", label), (rival, label), at))

    ahead = "Dice, All-in-SAM − nnU-Net"
    yield Claim(
        "With few labelled images All-in-SAM is ahead of nnU-Net",
        ON_MONUSEG,
        ahead,
        leads("complete", "nnunet", few),
        table,
    )
    yield Claim("With all images too", ON_MONUSEG, ahead, leads("complete", "nnunet", (1.0,)), table)
    yield Claim("With weak labels too", ON_MONUSEG, ahead, leads("weak", "nnunet", shares), table)
    yield Claim(
        f"Weak labels cost All-in-SAM little: no more than {score(MARGIN, 2)} here",
        ON_MONUSEG,
        "Dice, weak − complete",
        tuple(small_loss(*each) for each in differences(("allinsam", "weak"), ("allinsam", "complete"), shares)),
        table,
    )
    yield Claim(
        "What carries it is a pre-trained SAM, adapted",
        ON_MONUSEG,
        "Dice, adapter − the same network from random weights",
        leads("complete", "scratch", shares),
        table,
    )
    yield Claim(
        "The lead lasts: with four times the training it is there still",
        ON_MONUSEG,
        "Dice, All-in-SAM − rival, both trained longer",
        tuple(_longer(results, shares)),
        "[Table 2](results/table2.md)",
    )
    quality = pd.read_csv(results / "mini_sam" / "quality" / "rows.csv")
    iou = quality.pivot(index="image", columns="prompt", values="mean_instance_iou")
    gains = {law: iou[f"{law} boxes"] - iou[f"ellipses of {law} boxes"] for law in ("tight", "random")}
    yield Claim(
        "SAM’s masks of boxes are good labels",
        f"{ON_MONUSEG}, training and validation images",
        "mean instance IoU, mini-SAM’s mask − ellipse in the box",
        tuple(lead(f"{law} boxes", bootstrap_mean(gain.dropna())) for law, gain in gains.items()),
        "[mini-SAM](results/mini_sam.md)",
    )


def _longer(results: Path, shares: Sequence[float]) -> Iterable[Finding]:
    """All-in-SAM's leads in the profile `longer`, where both sides have been run."""
    if not any((results / "longer").glob("*/run.json")):
        return
    scores = tables.collect(results, "longer")
    for share, rival in product(shares, ("nnunet", "unet")):
        part = scores[scores["fraction"] == share]
        if (found := tables.lead(part, ("allinsam", "complete"), (rival, "complete"))) is not None:
            yield lead(f"{tables.METHOD_NAMES[rival]}, {tables.fraction_name(share)}", found)


def _molecular(results: Path, profile: str) -> Iterable[Claim]:
    page, metric = "[Table 1](results/table1.md)", "f1_pixel_macro"
    present = table1.run_files(results, profile)
    scores = table1.collect(results, profile) if present else None
    methods = [] if scores is None else [m for m in table1.METHOD_NAMES if m in set(scores["method"])]

    def findings(
        made: Callable[[str, Interval], Finding], pairs: Iterable[tuple[table1.RowName, table1.RowName]]
    ) -> tuple[Finding, ...]:
        found = [] if scores is None else table1.compare(scores, metric, pairs)
        return tuple(made(f"{table1.METHOD_NAMES[c.first[0]]}, {c.cell_type}", c.interval) for c in found)

    yield Claim(
        f"Students with the marker’s picture match the expert, within {score(MARGIN, 2)}",
        SIMULATED,
        f"`{metric}`, students − expert",
        findings(small_loss, [((m, "Students"), (m, "Expert")) for m in methods]),
        page,
    )
    yield Claim(
        "The marker’s picture is what makes lay annotation work",
        SIMULATED,
        f"`{metric}`, students with it − lay without",
        findings(lead, [((m, "Students"), (m, "Lay without IF")) for m in methods]),
        page,
    )
    yield Claim(
        "All-in-SAM is the best row of Table 1",
        SIMULATED,
        f"`{metric}`, All-in-SAM − MOCL, with the expert’s labels",
        findings(lead, [(("allinsam", "Expert"), ("mocl", "Expert"))]),
        page,
    )


def _corrective(results: Path, profile: str) -> Claim:
    printed = ("paper_eq5", "molecular_el")  # as the paper prints it, and as its forerunner computes it
    present = any((results / profile / "noise").glob("*/run.json"))
    gaps = noise_page.differences(noise_page.collect(results, profile)) if present else []
    found = [
        lead(f"`{gap.variant}`, {noise_page.SOURCES[gap.source]}, {100 * gap.rate:g} %", gap.interval)
        for gap in gaps
        if gap.rate > 0 and gap.variant in printed
    ]
    return Claim(
        "Corrective learning repairs wrong labels",
        "MoNuSeg at 20× and simulated slides, label errors put in",
        "Dice, corrective − plain training",
        tuple(found),
        "[Does MOCL help?](results/mocl.md)",
    )
