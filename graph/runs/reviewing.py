"""Let a person review the texts of a run on a page, in a terminal or by a table, and go on with the run."""

import tempfile
import webbrowser
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.page.open import CLOSING, NEXT_STEP, ReviewPage, review_page
from tutelage.graph.review.table import read_table, write_table
from tutelage.graph.review.terminal import review_in_terminal
from tutelage.graph.run_folder.folder import RunFolder
from tutelage.student.errors import InputError, Interrupted

GoOn = Callable[[], RunFolder]  # continue the run until it ends or waits again
Say = Callable[[str], object]  # called with a line for the user
_Decide = Callable[[OpenReview], bool]  # returns whether the run may go on


def open_review(path: Path) -> OpenReview:
    """Return the review that a run waits for.

    Raises:
        InputError: this is not a run folder, or the run has ended or has not asked for a review.
    """
    review = OpenReview(path)
    chosen = len(review.queue["items"])
    if "stop" in review.folder.about():
        raise InputError(
            f"{path} has ended: none of the {_texts(chosen)} of its last review waits any more; to go on,"
            f" raise a limit with `tutelage resume {path}`"
        )
    return review


def review_by_page(path: Path, go_on: GoOn | None, say: Say, *, browser: bool = False) -> RunFolder | None:
    """Let a person review texts on a page, which stays open while the run is at work.

    Args:
        path: the run folder.
        go_on: continues the run; with None it is not continued.
        say: is called with the address of the page, and at the end with what to do next.
        browser: whether to open the page in a browser.

    Returns:
        The folder of the run that has ended; None if it waits.

    Raises:
        InputError: the run does not wait for a review.
        Interrupted: the user pressed Ctrl-C; the decisions are kept.
    """
    to_go_on = f"To go on with the run: tutelage review {path}"
    says = (NEXT_STEP, CLOSING) if go_on else (f"Your decisions are kept. {to_go_on}", to_go_on)
    with ExitStack() as stack:
        pages: list[ReviewPage] = []  # one, once there are texts to show

        def decide(review: OpenReview) -> bool:
            if not pages:
                pages.append(stack.enter_context(review_page(review, *says)))
                say(f"review {_texts(len(review.waiting))} at {pages[0].url} (Ctrl-C loses nothing)")
                if browser:
                    _open_in_browser(pages[0].url, stack)
            pages[0].wait()
            return True

        return _review(path, decide, go_on, say)


def review_by_terminal(
    path: Path, go_on: GoOn | None, say: Say, lines: Iterable[str], write: Say
) -> RunFolder | None:
    """Let a person review texts in a terminal; see `review_in_terminal` and `review_by_page`."""
    answers = iter(lines)  # of all reviews
    return _review(path, lambda review: review_in_terminal(review, answers, write), go_on, say)


def review_by_table(path: Path, go_on: GoOn | None, say: Say, table: Path) -> RunFolder | None:
    """Keep the decisions of a table, and go on with the run if all its texts are decided; see `read_table`
    and `review_by_page`.
    """
    say(f"kept {_counted(read_table(open_review(path), table), 'decision')} of {table}")
    return _review(path, lambda review: not review.waiting, go_on, say)


def write_review_table(path: Path, table: Path, say: Say) -> None:
    """Write the texts of a run that wait to a table; see `write_table`."""
    count = write_table(open_review(path), table)
    say(
        f"wrote {_texts(count)} to {table}; fill in right_label or action, then:"
        f" tutelage review {path} --from {table}"
    )


def _review(path: Path, decide: _Decide, go_on: GoOn | None, say: Say) -> RunFolder | None:
    """Let a person decide, and go on with the run, until it ends or the person stops."""
    try:
        while True:
            review = open_review(path)
            goes_on = not review.waiting or decide(review)
            if not goes_on or go_on is None:
                say(f"{_progress(review)}; to go on: tutelage review {path}")
                return None
            folder = go_on()
            if "stop" in folder.about() or not review.waiting:
                return folder
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the decisions are kept, to go on: `tutelage review {path}`") from None


def _open_in_browser(url: str, stack: ExitStack) -> None:
    """Open a file that leads to the page. The arguments of the browser, which all users of this machine can
    read, would otherwise hold the token.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tutelage-review-")))
    (folder / "open.html").write_text(f'<meta http-equiv="refresh" content="0; url={url}">', encoding="utf-8")
    webbrowser.open((folder / "open.html").as_uri())


def _progress(review: OpenReview) -> str:
    """Return how many texts are decided and how many are left."""
    made, waiting = review.decisions.values(), len(review.waiting)
    if not made:
        of_round = f" of round {review.queue['round']}" if review.queue["round"] else ""
        return f"{_texts(waiting)}{of_round} wait{'s' if waiting == 1 else ''} now"
    unseen = sum(one["action"] == "unseen" for one in made)
    seen = len(made) - unseen
    kept = f"{_counted(seen, 'decision')} {'is' if seen == 1 else 'are'} kept"
    left = f", {_texts(waiting)} left" if waiting else ""
    return kept + left + (f", {_texts(unseen)} left without one" if unseen else "")


def _texts(count: int) -> str:
    return _counted(count, "text")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
