"""Test that paid replies are stored in the journal and survive a crash."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tutelage.agents.endpoints.entry import Entry
from tutelage.agents.teacher.budget import Budget, BudgetError, Cost, Ledger
from tutelage.agents.teacher.journal import Journal

ENTRY = Entry("labeler", '{"labels": []} 世界 "', "stop", 100, 10, 0.25, 1.5)


@pytest.fixture
def journal(tmp_path: Path):
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def test_an_unknown_key_returns_none(journal: Journal) -> None:
    assert journal.get("0" * 64) is None


def test_a_stored_reply_is_read_back_unchanged(journal: Journal) -> None:
    journal.put("key", {"model": "m"}, ENTRY)
    assert journal.get("key") == ENTRY
    assert journal.get("yek") is None


def test_replies_persist_when_the_file_is_reopened(journal: Journal) -> None:
    journal.put("key", {"model": "m"}, ENTRY)
    journal.close()
    again = Journal(journal.path)
    assert again.get("key") == ENTRY
    assert again.spent()["calls"] == 1
    again.close()


def test_replies_survive_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    program = (
        "import os, signal, pathlib\n"
        "from tutelage.agents.teacher.journal import Entry, Journal\n"
        f"journal = Journal(pathlib.Path({str(path)!r}))\n"
        "journal.put('key', {}, Entry('labeler', 'hello', 'stop', 1, 2, None, 0.5))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    journal = Journal(path)
    assert journal.get("key") == Entry("labeler", "hello", "stop", 1, 2, None, 0.5)
    journal.close()


def test_a_reply_stored_twice_counts_once(journal: Journal) -> None:
    journal.put("key", {}, ENTRY)
    journal.put("key", {}, ENTRY)
    assert journal.spent() == {"calls": 1, "prompt_tokens": 100, "completion_tokens": 10, "cost": 0.25}


def test_an_empty_journal_has_spent_nothing(journal: Journal) -> None:
    assert journal.spent() == {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0}


def test_spending_is_summed_over_replies(journal: Journal) -> None:
    for i in range(3):
        journal.put(f"key {i}", {}, Entry("critic", "", "stop", 100 * i, i, 0.5, 1.0))
    assert journal.spent() == {"calls": 3, "prompt_tokens": 300, "completion_tokens": 3, "cost": 1.5}


def test_money_is_held_back_for_the_calls_of_a_later_node(journal: Journal) -> None:
    prices = {"calibrate": [0.5], "labeler": [0.25, 0.75], "refit": [0.375]}
    for node, costs in prices.items():
        for number, cost in enumerate(costs):
            entry = Entry("labeler", "", "stop", 1, 1, cost, 1.0, node=node)
            journal.put(f"{node} {number}", {}, entry)
    assert journal.spent("labeler")["cost"] == 1.0
    ledger = Ledger(Budget(money=2.6), journal)
    ledger.hold_back(("labeler", "refit"))  # 1.875 is spent, and 1.0 - 0.375 is held back
    with (
        pytest.raises(BudgetError, match=r"1\.875 used, 0\.625 held back"),
        ledger.reserve("critic", Cost(0, 0.2), 0),
    ):
        pass
    with ledger.reserve("critic", Cost(0, 0.1), 0):
        pass
    ledger = Ledger(Budget(money=2.6), journal)
    with ledger.reserve("critic", Cost(0, 0.2), 0):
        pass


def test_the_total_cost_is_unknown_if_one_cost_is_unknown(journal: Journal) -> None:
    journal.put("known", {}, ENTRY)
    journal.put("unknown", {}, Entry("critic", "", "stop", 1, 1, None, 1.0))
    spent = journal.spent()
    assert spent["cost"] is None
    assert spent["prompt_tokens"] == 101


def test_the_key_does_not_depend_on_the_order_of_fields() -> None:
    one = {"model": "m", "seed": 1, "messages": [("system", "é"), ("human", "b")]}
    other = {"messages": [["system", "é"], ["human", "b"]], "seed": 1, "model": "m"}
    assert Journal.key(one) == Journal.key(other)
    assert len(Journal.key(one)) == 64


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"model": "n"}, {"messages": [("human", "b"), ("system", "é")]}, {"more": None}]
)
def test_different_requests_have_different_keys(change: dict[str, object]) -> None:
    request = {"model": "m", "seed": 1, "messages": [("system", "é"), ("human", "b")]}
    assert Journal.key({**request, **change}) != Journal.key(request)


def test_threads_can_share_a_journal(journal: Journal) -> None:
    def put(number: int) -> None:
        for i in range(10):
            journal.put(f"{number} {i}", {}, ENTRY)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.spent()["calls"] == 80


def test_concurrent_replies_are_committed_in_one_transaction(tmp_path: Path) -> None:
    journal, commits = Journal(tmp_path / "journal.sqlite"), []

    async def main() -> None:
        journal.spent()  # opens the file
        journal._db.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
        await asyncio.gather(*(journal.put_soon(f"key {i}", {}, ENTRY) for i in range(50)))
        assert journal.get("key 49") == ENTRY

    asyncio.run(main())
    assert len(commits) == 1
    assert journal.spent()["calls"] == 50
    journal.close()
    again = Journal(journal.path)
    assert again.spent()["calls"] == 50
    again.close()


def test_a_write_error_is_raised_for_every_waiting_reply(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")

    async def main() -> list[object]:
        journal.spent()
        journal.close()  # as good as a full disk: nothing can be written
        asked = (journal.put_soon(f"key {i}", {}, ENTRY) for i in range(3))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [type(one) for one in asyncio.run(main())] == [sqlite3.ProgrammingError] * 3
