"""Long work ended in the middle, again and again, and called again: it must come to what an undisturbed run comes to.

    python benchmarks/kills.py [JOB …] [--out results/reliability/kills.csv] [--work FOLDER]

Each job of `kill_jobs` is run once undisturbed. In another folder it is ended at each of its steps in turn, by SIGKILL
and SIGTERM alternately, called again each time, and at last let run to its end. A kill is triggered by the step itself
(`interrupt/sitecustomize.py`) or by what a server of this script has sent, never by time; it counts when the process
died of the signal at that step, its work undone. The table has a row a kill: job, step, signal, whether it interrupted
work, and whether the files after the last call are those of the undisturbed run. Jobs that the table holds are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from allinsam_core.atomic import replacing  # noqa: E402
from benchmarks.interrupt.sitecustomize import Interrupt  # noqa: E402
from benchmarks.kill_jobs import JOBS, Job, outcome  # noqa: E402
from study.tools.cli import ELSEWHERE, app, load  # noqa: E402

COLUMNS = ("job", "step", "number", "signal", "interrupted", "same")


@dataclass
class Server:
    """Serves one archive; at the share `stop` of it, it says so by `reached` and waits for the end of its client."""

    content: bytes
    stop: float | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Server]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(server.content)))
                self.end_headers()
                cut = len(server.content) if server.stop is None else int(server.stop * len(server.content))
                self.wfile.write(server.content[:cut])
                self.wfile.flush()
                if server.stop is not None:
                    server.reached.set()
                    with contextlib.suppress(ConnectionError):
                        self.connection.recv(1)  # until the client is gone
                    return
                self.wfile.write(server.content[cut:])

            def log_message(self, *given: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            self.port = http.server_address[1]
            threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            yield self
            http.shutdown()


def archive() -> bytes:
    """Three files of noise, so that they are sent in many parts."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in "abc":
            file.writestr(f"Top/{name}.bin", rng.bytes(200_000))
    return buffer.getvalue()


def environment(folder: Path, server: Server) -> dict[str, str]:
    """What a job runs in. Its data root is its own, the manifest there names the server's archive."""
    entry = {
        "kind": "archive",
        "dataset": "set",
        "role": "test",
        "file": "tissue.zip",
        "licence": "CC0-1.0",
        "non_commercial": False,
        "citation": "none",
        "homepage": "http://127.0.0.1",
        "sha256": hashlib.sha256(server.content).hexdigest(),
        "bytes": len(server.content),
        "url": f"http://127.0.0.1:{server.port}/tissue.zip",
    }
    sets = {"set": {"title": "set", "spacing": None, "counts": {}, "cases": {}}}
    manifest = folder / "manifest.yaml"
    manifest.write_text(yaml.safe_dump({"version": 1, "artefacts": {"it": entry}, "datasets": sets}))
    named = {"ALLINSAM_MANIFEST": str(manifest), "ALLINSAM_DATA": str(folder / "out"), "OMP_NUM_THREADS": "1"}
    return {**named, "PYTHONPATH": str(ROOT), "no_proxy": "*", "NO_PROXY": "*"}


def load_commands() -> None:
    """Import all that the commands need, once: they are run in forks of this process."""
    for command in ELSEWHERE:
        load(command)


def start(command: list[str], variables: dict[str, str], log: Path, asked: dict[str, Any] | None) -> int:
    """Run a command in a process of its own, which has all modules already; its id. asked: of an Interrupt."""
    if (child := os.fork()) != 0:
        return child
    status = 70
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(variables)
        if asked is not None:
            Interrupt(**asked).watch()
        program, *sys.argv[1:] = command
        app() if program == "allinsam" else exec(command[1], {})
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)


def call(job: Job, folder: Path, server: Server, step: str | None = None, how: str = "KILL") -> bool:
    """Run a job's command, ended at a step ("EVENT NUMBER"), if any. Whether it was; RuntimeError if it ended badly."""
    variables, mark = environment(folder, server), folder / "mark"
    mark.unlink(missing_ok=True)
    server.stop = None
    server.reached.clear()
    asked = None
    if step is not None:
        event, _, number = step.rpartition(" ")
        if event.startswith("request:"):
            server.stop = float(event.partition(":")[2])
        else:
            asked = {"at": event, "number": int(number), "how": how, "mark": str(mark)}
    if not job.group:
        process = start(job.command(folder), variables, folder / "log", asked)
    else:
        if asked is not None:
            variables |= {"INTERRUPT": json.dumps(asked)}
            variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "benchmarks" / "interrupt"), str(ROOT)])
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                job.command(folder), env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True
            ).pid
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if server.reached.is_set() or (job.group and mark.exists()):
            os.killpg(process, getattr(signal, f"SIG{how}"))
            ended = os.waitpid(process, 0)
            break
        time.sleep(0.005)
    status = os.waitstatus_to_exitcode(ended[1])
    if step is None and status != 0:
        raise RuntimeError(f"{folder / 'log'}: undisturbed, it ended with {status}")
    died = status == -getattr(signal, f"SIG{how}") or (job.group and status != 0)
    return died and (mark.exists() or server.reached.is_set())


def interrupted(name: str, work: Path, steps: tuple[str, ...] | None = None) -> list[dict[str, object]]:
    """The lines of the table of one job. steps: some of its own."""
    job, rows = JOBS[name], []
    with Server(archive()).running() as server:
        folders = [work / part for part in ("undisturbed", "interrupted")]
        for folder in folders:
            folder.mkdir(parents=True)
            job.prepare(folder)
        call(job, folders[0], server)
        wanted = outcome(folders[0] / "out")
        for index, step in enumerate(steps or job.steps):
            how = ("KILL", "TERM")[index % 2]
            hit = call(job, folders[1], server, step, how)
            event, _, number = step.rpartition(" ")
            rows.append({"job": name, "step": event, "number": int(number), "signal": f"SIG{how}", "interrupted": hit})
        call(job, folders[1], server)
        found = outcome(folders[1] / "out")
    differing = [path for path in sorted(wanted.keys() | found.keys()) if wanted.get(path) != found.get(path)]
    if differing or not wanted:
        print(f"{name}: not as in the undisturbed run: {differing[:5]}", flush=True)
    return [{**row, "same": bool(wanted) and not differing} for row in rows]


def main() -> int:
    """Do the jobs that the table lacks, and write it after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("jobs", nargs="*", default=list(JOBS), help=", ".join(JOBS))
    parser.add_argument("--out", type=Path, default=ROOT / "results/reliability/kills.csv")
    parser.add_argument("--work", type=Path, help="keep the jobs' folders here")
    given = parser.parse_args()
    rows = pd.read_csv(given.out).to_dict("records") if given.out.is_file() else []
    load_commands()
    for name in given.jobs:
        if name in [row["job"] for row in rows]:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            rows += interrupted(name, (given.work or Path(scratch)) / name.replace(" ", "-"))
        with replacing(given.out) as unfinished:
            pd.DataFrame(rows, columns=COLUMNS).to_csv(unfinished, index=False)
        own = [row for row in rows if row["job"] == name]
        print(
            f"{name}: {sum(bool(r['interrupted']) for r in own)} of {len(own)} kills hit, same {own[0]['same']}",
            flush=True,
        )
    return int(not all(row["interrupted"] and row["same"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
