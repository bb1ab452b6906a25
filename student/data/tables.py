"""Tables in memory, written as data set folders that `data:` in task.yaml can name."""

from pathlib import Path
from typing import Any

from tutelage.student.errors import InputError


def save_table(name: str, table: Any, folder: Path) -> Path:
    """Write a table to a data set folder and return the folder.

    Args:
        name: the name of the table in messages.
        table: a pandas DataFrame, a `datasets.Dataset`, a list of dicts or a list of texts.
        folder: a folder that does not exist.

    Raises:
        InputError: it is none of these, or a column mixes types.
    """
    from datasets.utils import logging

    try:
        made = _data_set(table)
    except Exception as error:  # Arrow and pandas raise types of their own
        first = str(error).strip().split("\n")[0]
        raise InputError(f"`data`: the table {name!r} cannot be read: {first}") from error
    if made is None:
        raise InputError(
            f"`data`: the table {name!r} is a {type(table).__name__}; expected a pandas DataFrame, a"
            " datasets.Dataset, a list of dicts or a list of texts"
        )
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        made.save_to_disk(str(folder))
    except OSError as error:
        raise InputError(f"`data`: {folder} cannot be written: {error}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return folder


def _data_set(table: Any) -> Any:
    """Return a table as a Hugging Face data set; None if it is of no known type."""
    from datasets import Dataset

    if isinstance(table, Dataset):
        return table
    if type(table).__module__.split(".")[0] == "pandas":
        return Dataset.from_pandas(table, preserve_index=False)
    if isinstance(table, list | tuple):
        if all(isinstance(row, str) for row in table):
            return Dataset.from_dict({"text": list(table)})
        if all(isinstance(row, dict) for row in table):
            return Dataset.from_list(list(table))
    return None
