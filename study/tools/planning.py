"""`allinsam plan`: what a profile takes, before anything is run."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from study.plan import RunPlan


def plan(
    profile: Annotated[str, typer.Option(help="A file of study/profiles, or the path of your own.")] = "paper",
    results: Annotated[Path, typer.Option(help="Where finished runs are looked for.")] = Path("results"),
    card: Annotated[str, typer.Option(help="A card of study/costs.yaml, for the hours of each run.")] = "RTX A6000",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Parameters, memory, GPU hours, disk, money and energy of a profile's runs, from operations and assumptions.

    Nothing is refused. Where a run does not fit a card, the setting that helps is named.
    """
    from allinsam_core.settings import SettingsError, nearest
    from study import grid
    from study import plan as planning

    cards = planning.assumptions()["cards"]
    if card not in cards:
        raise SettingsError(f"card {card!r}: {nearest(card, cards)}")
    arm = f"molecular/{profile}"  # Table 1, where the profile has it
    named = [profile, *([arm] if arm in grid.names() else [])]
    plans = [each for name in named for each in planning.plan(grid.profile(name), results)]
    if as_json:
        lines = [_line(found, cards[card]) | {"run": found[0].run.run_id} for found in ([each] for each in plans)]
        totals = [vars(each) for each in planning.on_cards(plans)]
        typer.echo(json.dumps({"profile": profile, "card": card, "runs": lines, "cards": totals}, indent=2))
        return
    _print(profile, plans, card, cards)


def _line(plans: list[RunPlan], card: dict[str, Any]) -> dict[str, Any]:
    """Runs that differ by their seed alone, together."""
    from study import plan as planning

    first, efficiency = plans[0], planning.assumptions()["efficiency"]
    return {
        "method": first.run.method,
        "point": " ".join(str(v) for k, v in _point(first).items() if k not in ("method", "seed")),
        "runs": len(plans),
        "finished": sum(each.finished for each in plans),
        "parameters": first.parameters,
        "trained": first.trained,
        "memory_gb": max(each.memory for each in plans) / 1e9,
        "hours": sum(planning.seconds(each.work, card, efficiency) for each in plans) / 3600,
    }


def _point(planned: RunPlan) -> dict[str, Any]:
    from study import records

    return records.point(planned.run.model_dump(mode="json"))


def _print(profile: str, plans: list[RunPlan], card: str, cards: dict[str, Any]) -> None:
    from study import plan as planning

    given = planning.assumptions()
    typer.echo(f"profile {profile}: hours on {card}, memory of a training step as counted\n")
    typer.echo(
        f"{'method':13} {'':30} {'runs':>4} {'done':>4} {'parameters':>13} {'trained':>13} {'GB':>6} {'hours':>8}"
    )
    for _, group in groupby(plans, key=lambda each: tuple(v for k, v in _point(each).items() if k != "seed")):
        line = _line(list(group), cards[card])
        text = (
            "{method:13} {point:30} {runs:4} {finished:4} {parameters:13,} {trained:13,} {memory_gb:6.1f} {hours:8.1f}"
        )
        typer.echo(text.format(**line))
    disk = sum(each.disk for each in plans if not each.finished) / 1e9 + given["data_gb"]
    disk += 4 * sum({_weights(each): each.parameters for each in plans if _weights(each)}.values()) / 1e9
    typer.echo(
        f"\nin all: {len(plans)} runs, {sum(each.finished for each in plans)} finished; about {disk:.0f} GB of disk"
    )
    for on in planning.on_cards(plans):
        fits = "" if on.fits else "  too small for some runs, see below"
        cost = f"{on.kwh:7.0f} kWh  {on.co2_kg:6.0f} kg CO2  {on.usd:7.0f} USD"
        typer.echo(f"  {on.card:12} {on.hours:8.0f} h  {cost}{fits}")
    for name, about in cards.items():
        tight = {each.run.method: each for each in plans if not each.finished and each.memory > planning.room(about)}
        for method, each in tight.items():
            helps = planning.remedy(each.run, about)
            typer.echo(f"  {name} ({about['gb']} GB): {method} takes {each.memory / 1e9:.1f} GB; what helps: {helps}")
    typer.echo(f"\nAssumed: {given['efficiency']:.0%} of each card's peak. {given['efficiency_source']}")
    typer.echo("All assumptions, with prices and watts: study/costs.yaml; change it to your own.")


def _weights(planned: RunPlan) -> str:
    return str(getattr(planned.run.model, "weights", "")) if planned.run.base_weights else ""
