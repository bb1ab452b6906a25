"""Test students that several processes train together: same students, errors, and nothing left behind.

The processes are those of the real torchrun on the CPU, with gloo. No GPU was at hand.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tutelage
from tutelage.student.data.rows import Row, content_id
from tutelage.student.encoder import Encoder
from tutelage.student.errors import InputError
from tutelage.student.models.load import load_student
from tutelage.student.models.tiny_seq2seq import tiny_seq2seq
from tutelage.student.tasks.spans import Span, written
from tutelage.student.training.configuration import TrainingConfig
from tutelage.student.training.loop import train
from tutelage.student.training.observer import UNOBSERVED, Observer
from tutelage.student.training.processes.child import Job
from tutelage.student.training.processes.side_by_side import train_side_by_side
from tutelage.student.training.processes.workers import Launcher, visible_devices

LABELS = ["refund", "status"]
TORCHRUN = "torchrun --standalone --nproc-per-node 2"

# A parent that trains for minutes, to be killed.
PARENT = """
import sys
from pathlib import Path
from tutelage.student.training.processes.child import Job
from tutelage.student.training.observer import Observer
from tutelage.student.training.processes.side_by_side import train_side_by_side
from tutelage.student.training.processes.workers import Launcher
folder = Path(sys.argv[1])
jobs, by = [Job.read(folder / "job")], Launcher(sys.argv[2], folder / "log")
report = Observer(step=lambda number, of: print(number, flush=True))
train_side_by_side(jobs, folder / "jobs", processes=1, observers=[report], launcher=by)
"""


def processes_of(folder: Path) -> list[int]:
    """Return the ids of the processes of trainings in this folder: launchers and ranks."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = (one / "cmdline").read_bytes().split(b"\0"), (one / "environ").read_bytes()
        except OSError:
            continue
        if (
            b"tutelage.student.training.processes.child" in words
            and f"TEST_FOLDER={folder}".encode() in variables
        ):
            found.append(int(one.name))
    return sorted(found)


def ranks_of(folder: Path) -> list[int]:
    """Return the ids of the ranks, without their launcher."""
    ranks = []
    for one in processes_of(folder):
        if b"LOCAL_RANK=" in Path(f"/proc/{one}/environ").read_bytes():
            ranks.append(one)
    return ranks


def wait_for_none(folder: Path) -> None:
    end = time.monotonic() + 60
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(0.1)
    assert not processes_of(folder)
    assert not list(folder.rglob("student*"))


@pytest.fixture
def launched(tmp_path: Path) -> Callable[..., list[Path]]:
    """Return a function that trains the students of jobs by a launcher."""

    def run(jobs: list[Job], command: str = TORCHRUN, observer: Observer = UNOBSERVED) -> list[Path]:
        launcher, observers = Launcher(command, tmp_path / "launcher.log"), [observer] * len(jobs)
        return train_side_by_side(
            jobs, tmp_path / "jobs", processes=1, observers=observers, launcher=launcher
        )

    return run


@pytest.fixture(scope="module")
def exact(quick: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """Return the quick configuration with a base without dropout, whose masks each rank draws for itself."""
    folder = shutil.copytree(quick.base, tmp_path_factory.mktemp("exact") / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 0.0}))
    return replace(quick, base=str(folder), batch=7)


def weighted(rows: list[Row]) -> list[Row]:
    return [Row(**{**row, "weight": (1.0, 0.2, 3.0)[i % 3]}) for i, row in enumerate(rows)]


def ner_rows() -> list[Row]:
    """Return texts of different lengths, in which the word before `please` is a thing."""
    rows = []
    for i, word in enumerate(words := ["refund", "money", "back", "want", "order", "where", "late", "lost"]):
        text = f"{' '.join(words[:i])} {word} please".strip()
        start = text.index(f"{word} please")
        label = written([Span(start, start + len(word), "thing")])
        rows.append(Row(id=content_id(text), text=text, label=label))
    return rows


@pytest.mark.slow
def test_two_ranks_train_the_student_of_one_process(
    launched: Callable[..., list[Path]],
    exact: TrainingConfig,
    encoder: Encoder,
    easy: list[Row],
    tmp_path: Path,
) -> None:
    """Without dropout, two ranks add the same products in another order. In 32 bits that moves a gradient by
    about 1e-7 of its size, and predictions after some tens of steps by less than 1e-6 (measured); 1e-5 leaves
    room for other processors. If the ranks' mean losses were averaged, as DistributedDataParallel does,
    weights would move by 3e-3 and more, and predictions by 0.2 (measured).

    The biases of attention keys are left out: softmax is invariant to them, so that their gradient is
    rounding alone, and AdamW makes steps of its sign.
    """
    pairs = [("say a", "aa"), ("say b", "bb"), ("say c", "cc cc"), ("say it: d", "dddd")] * 2
    texts = [Row(id=content_id(f"{text}{i}"), text=text, label=to) for i, (text, to) in enumerate(pairs)]
    t5 = str(tiny_seq2seq(tmp_path / "t5", [part for pair in pairs for part in pair], words=270))
    # 22 rows in batches of 7 leave one text for the last batch: the second rank has none.
    few = weighted(easy)[:-2]
    jobs = [
        Job(few, LABELS, exact, 3, 2),
        Job(few, LABELS, replace(exact, probe_first=True, epochs=3, average=0.5), 3, 2),
        Job(few, LABELS, replace(exact, early_stopping=True), 3, 2),
        Job(weighted(ner_rows()), ["thing"], replace(exact, kind="ner", batch=3, min_steps=20), 3, 2),
        Job(
            weighted(texts),
            [],
            TrainingConfig(
                kind="seq2seq", base=t5, epochs=0, min_steps=20, batch=3, max_target=8, device="cpu"
            ),
            3,
            2,
        ),
    ]
    logged, steps = list[dict[str, Any]](), list[int]()
    observer = Observer(lambda **figures: logged.append(figures), lambda number, of: steps.append(number))
    alone = dict[str, Any]()
    torch.set_num_threads(1)
    for job, folder in zip(jobs, launched(jobs, observer=observer), strict=True):
        local = Observer(alone.update)
        here = train(
            job.rows, job.labels, job.training_config, seed=job.seed, encoder=encoder, observer=local
        )
        there: Any = load_student(folder, encoder=encoder, device_name="cpu")
        weights = there.model.state_dict()
        for name, weight in here.model.state_dict().items():  # type: ignore[attr-defined]
            if not name.endswith("key.bias"):
                torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-5, msg=name)
        if hasattr(here, "logits"):
            inputs = [row["text"] for row in job.rows]
            np.testing.assert_allclose(there.logits(inputs), here.logits(inputs), rtol=0, atol=1e-5)
    assert [one.pop("ranks") for one in logged] == [2] * 5
    assert [one for one in logged if one] == [alone], "of the one that stops early"
    assert steps[:60] == list(range(1, 61)), "of rank 0 alone"
    assert "Traceback" not in (tmp_path / "launcher.log").read_text()


@pytest.mark.slow
def test_with_dropout_two_ranks_train_the_same_student_twice(
    launched: Callable[..., list[Path]], quick: TrainingConfig, easy: list[Row], tmp_path: Path
) -> None:
    jobs = [Job(easy, LABELS, quick, 3, 2)] * 2
    one, other = (load_student(path, device_name="cpu") for path in launched(jobs))
    texts = [row["text"] for row in easy]
    np.testing.assert_array_equal(one.logits(texts), other.logits(texts))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_script_for_two_hosts_trains_a_student_even_if_it_keeps_the_reports(
    launched: Callable[..., list[Path]],
    exact: TrainingConfig,
    encoder: Encoder,
    easy: list[Row],
    tmp_path: Path,
) -> None:
    page = Path(tutelage.__file__).parent / "docs" / "models.md"
    if not page.exists():
        pytest.skip("the wheel has no pages")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, _, rest = page.read_text(encoding="utf-8").partition('```sh title="both-hosts"\n')
    text = rest.partition("```")[0].replace("ssh -tt gpu2", "sh -c").replace("gpu1", "127.0.0.1")
    text = text.replace("29500", str(port)).replace("--nproc-per-node 4", "--nproc-per-node 1")
    script = tmp_path / "both-hosts"
    script.write_text(text.replace('--node-rank 0 "$@"', '--node-rank 0 "$@" > /dev/null'))
    script.chmod(0o755)
    [path] = launched([Job(easy, LABELS, exact, 0, 2)], str(script))
    here, there = train(easy, LABELS, exact, seed=0, encoder=encoder), load_student(path, device_name="cpu")
    texts = [row["text"] for row in easy]
    logits = [one.logits(texts) for one in (here, there)]  # type: ignore[attr-defined]
    np.testing.assert_allclose(logits[0], logits[1], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_an_error_of_the_ranks_arrives_in_one_line(
    launched: Callable[..., list[Path]],
    quick: TrainingConfig,
    easy: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    unusable = [Row(**{**row, "weight": -1.0}) for row in easy]
    with pytest.raises(InputError, match="weights of rows must be finite"):
        launched([Job(unusable, LABELS, quick, 0, 2)])
    wait_for_none(tmp_path)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("false", r"^`false` \(`student.launcher`\) ended before .*; .*/launcher.log has what it printed$"),
        (sys.executable, "^`student.launcher` did not set RANK for the process that it started"),
    ],
)
def test_a_launcher_that_starts_no_ranks_is_an_error(
    launched: Callable[..., list[Path]], quick: TrainingConfig, easy: list[Row], command: str, error: str
) -> None:
    with pytest.raises(InputError, match=error):
        launched([Job(easy, LABELS, quick, 0, 1)], command)


def test_a_program_that_is_missing_is_named_and_torchrun_is_found_beside_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    Launcher(TORCHRUN, tmp_path / "log").check()
    with pytest.raises(InputError, match="the program 'torchrunn' was not found"):
        Launcher("torchrunn --standalone", tmp_path / "log").check()


@pytest.mark.slow
def test_an_exception_of_an_observer_ends_all_ranks(
    launched: Callable[..., list[Path]],
    quick: TrainingConfig,
    easy: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))

    def stop(number: int, of: int) -> None:
        assert len(ranks_of(tmp_path)) == 2
        raise KeyboardInterrupt

    job = Job(easy, LABELS, replace(quick, min_steps=100_000), 0, 2)
    with pytest.raises(KeyboardInterrupt):
        launched([job, job], observer=Observer(step=stop))
    assert not ranks_of(tmp_path)
    wait_for_none(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["parent", "rank 0", "rank 1", "launcher and parent"])
def test_kill_9_leaves_no_process_and_no_student(
    quick: TrainingConfig, easy: list[Row], tmp_path: Path, whom: str
) -> None:
    Job(easy, LABELS, replace(quick, min_steps=100_000), 0, 2).write(tmp_path / "job")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), TORCHRUN],
        env={**os.environ, "TEST_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    assert parent.stdout.readline() == "1\n", "the first step"
    ranks = ranks_of(tmp_path)
    assert len(ranks) == 2
    [launcher] = set(processes_of(tmp_path)) - set(ranks)
    by_number = {
        f"rank {number}": one
        for one in ranks
        for number in range(2)
        if f"\0RANK={number}\0".encode() in Path(f"/proc/{one}/environ").read_bytes()
    }
    if "launcher" in whom:
        os.kill(launcher, signal.SIGKILL)
    os.kill(by_number.get(whom, parent.pid), signal.SIGKILL)
    _, error = parent.communicate(timeout=60)
    if whom.startswith("rank"):
        last = error.strip().splitlines()[-1]
        assert last.startswith("tutelage.student.errors.InputError: `torchrun --standalone")
        assert last.endswith(f"{tmp_path}/log has what it printed")
    wait_for_none(tmp_path)


def test_devices_are_dealt_out_to_children_in_turn() -> None:
    def shown(*arguments: Any) -> list[str]:
        return [one["CUDA_VISIBLE_DEVICES"] for one in visible_devices(*arguments)]

    assert shown(3, 2, None) == ["0", "1", "0"]
    assert shown(2, 3, "4,6,7") == ["4", "6"]
    assert shown(2, 2, "GPU-a1,GPU-b2") == ["GPU-a1", "GPU-b2"]
    assert visible_devices(2, 1, "3") == visible_devices(2, 0, None) == [{}, {}], "as this process"


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
@pytest.mark.parametrize("command", [None, TORCHRUN])
def test_two_gpus_train_students(easy: list[Row], tmp_path: Path, command: str | None) -> None:
    """Each of two children has a GPU for itself, or two ranks train each student together."""
    jobs = [Job(easy, LABELS, TrainingConfig(device="cuda"), seed, 1) for seed in range(2)]
    launcher = Launcher(command, tmp_path / "log") if command else None
    paths = train_side_by_side(
        jobs, tmp_path / "jobs", processes=2, observers=[UNOBSERVED] * 2, launcher=launcher
    )
    for path in paths:
        answers = load_student(path).predict_best([row["text"] for row in easy])
        right = [answer == row["label"] for answer, row in zip(answers, easy, strict=True)]
        assert np.mean(right) > 0.9
