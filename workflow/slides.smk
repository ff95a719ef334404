# Many slides: one job each, on one machine or on SLURM.
#   snakemake -s workflow/slides.smk --profile workflow/profiles/local --config slides=FOLDER model=mine.safetensors out=found
# options: further ones of `allinsam segment`, as "--spacing 0.25 --skip-unreadable". A killed workflow goes on where it
# stopped, inside a slide too. A slide that fails is named at the end with what it said; the others finish first.
from pathlib import Path

from study.tools.slide import in_folder

OUT = Path(config.get("out", "found"))
SLIDES = in_folder(Path(config["slides"]))


rule all:
    input:
        [OUT / "done" / name for name in SLIDES],


rule segment:
    output:
        touch(OUT / "done" / "{name}"),
    log:
        OUT / "logs" / "{name}.log",
    wildcard_constraints:
        name="[^/]+",
    params:
        slide=lambda w: SLIDES[w.name],
        model=config.get("model", "mini"),
        out=OUT,
        more=config.get("options", ""),
    threads: config.get("threads", 1)
    resources:
        mem_mb=config.get("mem_mb", 4000),
    shell:
        "OMP_NUM_THREADS={threads} allinsam segment {params.slide:q} --model {params.model:q}"
        " --out {params.out:q} {params.more} > {log:q} 2>&1"


onerror:
    for name, path in SLIDES.items():
        said = OUT / "logs" / f"{name}.log"
        if not (OUT / "done" / name).is_file() and said.is_file():
            last = ([line for line in said.read_text().splitlines() if line.strip()] or ["said nothing"])[-1]
            print(f"FAILED {path}: {last}")
