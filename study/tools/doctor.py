"""`allinsam doctor`: what is on this machine, and what a profile still lacks."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

CGROUP = Path("/sys/fs/cgroup")
PROFILES = ("smoke", "mini", "paper", "paper-b", "paper-l")
MONUSEG = "allinsam data fetch monuseg --accept-licence"


@dataclass(frozen=True)
class Lack:
    """Something that a profile needs and that is not here, and the command that brings it."""

    what: str
    command: str


def doctor(
    profile: Annotated[str, typer.Option(help="Only this profile; status 1 where it lacks anything.")] = "",
) -> None:
    """What is here (Python, torch, cards, memory, data, checkpoints, disk), and what each profile still lacks."""
    for name, text in about().items():
        typer.echo(f"{name:12} {text}")
    typer.echo("")
    lacking = {name: list(lacks(name)) for name in ([profile] if profile else PROFILES)}
    for name, found in lacking.items():
        typer.echo(f"profile {name}: {'nothing is missing' if not found else 'missing'}")
        for lack in found:
            typer.echo(f"  {lack.what}: {lack.command}")
    raise typer.Exit(1 if profile and lacking[profile] else 0)


def about() -> dict[str, str]:
    """What is here, by name, in words."""
    import torch

    from study.datasets import manifest
    from study.root import data_root, download_root

    given = {name: value for name, value in os.environ.items() if name.startswith("ALLINSAM_")}
    cuda = torch.version.cuda or "none (a build for processors)"
    found = {
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": f"{torch.__version__}, CUDA {cuda}",
        "cards": "; ".join(cards(torch)) or "none that torch can use; everything runs on a processor, slowly",
        "cores": f"{cores()} that this process may use, of {os.cpu_count()}",
        "memory": f"{memory() / 2**30:.1f} GiB that this process may use",
        "data folder": str(data_root()),
        "disk": f"{shutil.disk_usage(existing(data_root())).free / 1e9:.0f} GB free there, "
        f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB here",
    }
    for name, entry in manifest.load().artefacts.items():
        if entry.kind == "checkpoint":
            found[name] = checkpoint(name)
    found["checkpoints"] = f"looked for in {download_root(checkpoint=True) / 'checkpoints'}"
    found["variables"] = ", ".join(f"{name}={value}" for name, value in sorted(given.items())) or "none of ALLINSAM_…"
    return found


def checkpoint(name: str) -> str:
    """Whether a checkpoint of the manifest is here and is the published one."""
    from allinsam_core.data.errors import DataError
    from study import checkpoints
    from study.datasets import manifest

    path = manifest.load().artefacts[name].path()
    if not path.is_file():
        return "not here"
    try:
        checkpoints.sha256(name)
    except DataError as error:
        return f"DAMAGED: {error}"
    return f"here, checksum right ({path.stat().st_size / 1e6:,.0f} MB)"


def cards(torch: Any) -> Iterator[str]:
    """Every card that torch sees: name, memory, whether it multiplies bfloat16."""
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        half = "bfloat16" if card.major >= 8 else "no bfloat16"
        yield f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {half}"


def cores() -> int:
    """Processors that this process may use: its affinity (which SLURM sets), less what a control group allows."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = limit("cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        allowed = min(allowed, max(1, int(quota[0]) // int(quota[1])))
    told = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(allowed, int(told)) if told.isascii() and told.isdigit() else allowed


def memory() -> int:
    """Bytes that this process may use: of the machine, of its control group, of its SLURM job, the least."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if (group := limit("memory.max").strip()).isdigit():
        found.append(int(group))
    if (job := os.environ.get("SLURM_MEM_PER_NODE", "")).isascii() and job.isdigit():  # MiB
        found.append(int(job) * 2**20)
    return min(found)


def limit(name: str) -> str:
    """A limit of this process's control group, version 2; "" where there is none."""
    try:
        own = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
        places = [CGROUP / own / name, CGROUP / name]
        return next((place.read_text() for place in places if place.is_file()), "")
    except OSError:
        return ""


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def lacks(name: str) -> Iterator[Lack]:
    """What a profile of this study needs and is not here."""
    from allinsam_core.data.errors import DataError
    from allinsam_core.settings import SettingsError
    from study import data as sources
    from study import grid
    from study.root import data_root

    profiles = [grid.profile(each) for each in (name, f"molecular/{name}") if each == name or each in grid.names()]
    try:
        runs = [run for profile in profiles for run in profile.grid()]
    except (DataError, FileNotFoundError) as error:
        yield Lack("a checkpoint", str(error))
        return
    kinds = {run.model.kind for run in runs}
    wanted = {weights for run in runs for weights in named_weights(run)}
    yield from (
        Lack(f"checkpoint {each}", f"allinsam data fetch {each}") for each in sorted(wanted) if not is_here(each)
    )
    settings = {run.data.model_dump_json(): run.data for run in runs if hasattr(run, "data")}
    for each in settings.values():
        try:
            sources.check_root(each, data_root())
        except (DataError, SettingsError) as error:
            yield Lack(f"images of {each.source} ({str(error).partition(';')[0]})", MONUSEG)
    if "nnunet" in kinds and find_spec("nnunetv2") is None:
        yield Lack("nnU-Net", f"make environment PROFILE={name}")
    if any(getattr(run.model, "encoder", "") == "bert" for run in runs):
        yield from bert(name)


def named_weights(run: Any) -> Iterator[str]:
    """The checkpoints of the manifest that a run stands on."""
    from study.checkpoints import published

    for part in (run.model, getattr(run, "annotator", None), getattr(run, "masks", None)):
        weights = getattr(part, "weights", "")
        if weights and published(weights) is not None:
            yield weights


def is_here(weights: str) -> bool:
    """Whether the file of a published checkpoint is where profiles look for it."""
    from study.checkpoints import published

    entry = published(weights)
    return entry is not None and entry.path().is_file()


def bert(profile: str) -> Iterator[Lack]:
    """BERT's package and its pinned weights in Hugging Face's cache."""
    from study.rivals import lvit_text

    if find_spec("transformers") is None:
        yield Lack("transformers", f"make environment PROFILE={profile}")
        return
    from huggingface_hub import try_to_load_from_cache

    kept = try_to_load_from_cache(lvit_text.BERT, "model.safetensors", revision=lvit_text.REVISION)
    if not isinstance(kept, str):
        yield Lack("BERT's weights", f"hf download {lvit_text.BERT} --revision {lvit_text.REVISION}")
