"""Fixtures shared by the tests of agents."""

from collections.abc import Callable
from typing import Any

import pytest
from tutelage.prompts import read_payload


@pytest.fixture(scope="session")
def sent() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Return a function that returns the payloads of the requests in a server's log."""
    return lambda log: [read_payload(body["messages"][1]["content"]) for body in log]
