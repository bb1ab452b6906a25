"""Train students in a child process: `python -m tutelage.student.training.processes.child`.

The parent writes the path of a job's folder to its standard input, one a line. The folder holds job.json and
rows.jsonl (see `Job`); the child writes the student to `student/`, complete or not at all. It reports in JSON
lines on its standard output: `{"step": [number, of]}`, figures as `{"log": {…}}`, and at the end of the job
`{"done": true}` or `{"error": message, "input": whether it is an InputError}`. A child whose parent has been
killed ends at its next report.

With folders as arguments the process is one of several that train each student together (ranks.py), started
by a launcher: `torchrun --standalone --nproc-per-node 2 -m
tutelage.student.training.processes.child FOLDER…`. Rank 0 alone writes and reports, but for an InputError.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.student.data.rows import Row
from tutelage.student.errors import InputError
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.observer import UNOBSERVED, Observer
from tutelage.student.training.processes.ranks import ALONE, Ranks, join, leave

STUDENT = "student"


@dataclass(frozen=True)
class Job:
    """The inputs of a training, see `train` in student/training/loop.py. `threads` is for torch; the ranks on
    one host share them.
    """

    rows: Sequence[Row]
    labels: Sequence[str]
    training_config: TrainingConfig
    seed: int
    threads: int

    def write(self, folder: Path) -> None:
        """Write the job to a new folder."""
        folder.mkdir(parents=True)
        lines = (json.dumps(row) for row in self.rows)
        (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        other = {name: getattr(self, name) for name in ("labels", "seed", "threads")}
        content = json.dumps({"training_config": asdict(self.training_config), **other})
        (folder / "job.json").write_text(content, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Job":
        """Read the job of a folder."""
        from pydantic import TypeAdapter

        content = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        config = TypeAdapter(TrainingConfig).validate_python(content.pop("training_config"))
        with (folder / "rows.jsonl").open(encoding="utf-8") as file:
            return cls([json.loads(line) for line in file], training_config=config, **content)


def run(folder: Path, observer: Observer, ranks: Ranks = ALONE) -> None:
    """Train the student of a job, and write it to the folder `student` of the job if this is rank 0."""
    import torch
    from tutelage.student.encoder import Encoder
    from tutelage.student.training.loop import train

    job = Job.read(folder)
    torch.set_num_threads(max(1, job.threads // ranks.on_this_host))
    config = job.training_config
    encoder = Encoder(config.base, device=config.device, max_tokens=config.max_tokens)
    student = train(
        job.rows, job.labels, config, seed=job.seed, encoder=encoder, observer=observer, ranks=ranks
    )
    if ranks.rank:
        return
    observer.log()  # fails if the parent was killed: nothing is written then
    part = folder / f"{STUDENT}.part"
    student.save(part)
    part.rename(folder / STUDENT)


def main() -> None:
    """Run the jobs whose folders come on standard input, or those that are named as arguments as a rank."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the reports

    def send(**report: Any) -> None:
        reports.write(json.dumps(report) + "\n")

    observer = Observer(
        log=lambda **figures: send(log=figures), step=lambda number, of: send(step=[number, of])
    )
    try:
        if folders := sys.argv[1:]:
            _run_as_rank(folders, observer, send)
        else:
            _run_as_child(observer, send)
    except BrokenPipeError:
        os._exit(1)  # the parent was killed


def _run_as_child(observer: Observer, send: Callable[..., None]) -> None:
    for line in sys.stdin:
        try:
            run(Path(line.removesuffix("\n")), observer)
        except BrokenPipeError:
            raise
        except Exception as error:
            if not isinstance(error, InputError):
                import traceback

                traceback.print_exc()
            send(error=str(error) or type(error).__name__, input=isinstance(error, InputError))
        else:
            send(done=True)


def _run_as_rank(folders: Sequence[str], observer: Observer, send: Callable[..., None]) -> None:
    """Run all jobs; end at the first error, because the other ranks may wait for this one."""
    try:
        ranks = join(Job.read(Path(folders[0])).training_config.device)
        for folder in folders:
            run(Path(folder), UNOBSERVED if ranks.rank else observer, ranks)
            if not ranks.rank:
                send(log={"ranks": ranks.count}, done=True)
        leave()
    except InputError as error:
        send(error=str(error), input=True)
        os._exit(1)


if __name__ == "__main__":
    main()
