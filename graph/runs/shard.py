"""A part of a file's rows, so that several processes or machines can predict one file."""

import re
from pathlib import Path
from typing import NamedTuple

from tutelage.student.errors import InputError

BLOCK = 1_024  # rows that are predicted, and stored, at once


class Shard(NamedTuple):
    """Part `number` of `parts` parts of a file, counted from 1.

    A part has whole blocks, so that its texts are predicted in the batches in which one process predicts
    them. The rows of the parts, one after the other, are those of the whole file; on the same kind of machine
    with the same number of threads, all digits are the same.
    """

    number: int = 1
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that a text such as `3/16` names.

        Raises:
            InputError: it names none.
        """
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        number, parts = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= parts:
            raise InputError(f"--shard {text}: expected a part and the number of parts, such as 1/4 to 4/4")
        return cls(number, parts)

    def rows(self, total: int) -> range:
        """Return the numbers of the rows of this part, from 0; none if there are fewer blocks than parts."""
        blocks = -(-total // BLOCK)
        start, stop = (blocks * end // self.parts * BLOCK for end in (self.number - 1, self.number))
        return range(min(start, total), min(stop, total))

    def file(self, to: Path) -> Path:
        """Return the file of this part, such as `out-03-of-16.csv`; sorted names are in the order of rows."""
        if self.parts == 1:
            return to
        return to.with_stem(f"{to.stem}-{self.number:0{len(str(self.parts))}}-of-{self.parts}")
