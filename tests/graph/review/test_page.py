"""The page in a real browser, driven by keyboard; skipped without chromium and its driver."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tutelage.graph.review.decisions import Review
from tutelage.graph.review.open_review import OpenReview
from tutelage.graph.review.page.open import review_page

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra `dev`)")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")
Waiting = Callable[..., OpenReview]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1300,950")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


class Person:
    """Someone in front of the page: presses keys, and reads."""

    def __init__(self, browser: Any, review: OpenReview):
        self.browser, self.review = browser, review

    def see(self, id: str) -> str:
        return str(self.browser.find_element(By.ID, id).text)

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def hold(self, held: str, key: str) -> None:
        """Press a key while another one is held down."""
        webdriver.ActionChains(self.browser).key_down(held).send_keys(key).key_up(held).perform()

    def until(self, condition: Callable[[], object]) -> None:
        redrawn = (StaleElementReferenceException,)
        WebDriverWait(self.browser, 10, 0.05, redrawn).until(lambda _: condition())

    def decide(self, *keys: str) -> dict[str, Any]:
        """Press keys, wait until the next text is shown, and return the decision that was kept."""
        before = self.see("progress"), len(self.review.decisions)
        self.press(*keys)
        self.until(lambda: self.see("progress") != before[0])
        kept = self.review.decisions
        assert len(kept) == before[1] + 1
        return dict(list(kept.values())[-1])

    def spoken(self) -> str:
        """Return what a screen reader says."""
        return str(self.browser.find_element(By.ID, "spoken").get_attribute("textContent"))

    def shown(self) -> str:
        """Return the text that is shown."""
        script = "return [...document.querySelectorAll('.text')].map((one) => one.innerText).join('\\n')"
        return str(self.browser.execute_script(script))


@contextmanager
def opened(browser: Any, review: OpenReview) -> Iterator[tuple[Person, threading.Thread]]:
    browser.get("about:blank")
    browser.get_log("browser")  # of the page before, whose server has ended
    with review_page(review) as page:
        waiter = threading.Thread(target=page.wait, daemon=True)
        waiter.start()
        browser.get(page.url)
        person = Person(browser, review)
        person.until(lambda: browser.find_element(By.ID, "work").is_displayed())
        yield person, waiter
        problems = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
        assert [line for line in problems if "409" not in line and "400" not in line] == []


def test_a_person_reviews_by_keyboard(waiting: Waiting, chromium: Any) -> None:
    review = waiting(count=6)
    own, second, third, fourth, fifth, _ = review.waiting
    labels = list(review.task.labels)
    with opened(chromium, review) as (person, waiter):
        assert person.shown() == own["text"]
        assert own["label"] in person.see("judged")
        assert "Your label" in person.see("judged")
        assert own["reason"] in person.see("work")
        person.press("r")
        person.until(lambda: "row of your own data" in person.see("error"))
        assert person.decide(Keys.ENTER)["action"] == "accept"

        assert person.shown() == second["text"]
        assert "55 % sure" in person.see("judged")
        assert "1 of 6 texts · 1 accepted" in person.see("progress")
        other = next(place for place, name in enumerate(labels, 1) if name != second["label"])
        made = person.decide(str(other))
        assert (made["action"], made["label"]) == ("relabel", labels[other - 1])

        assert person.decide("r")["action"] == "refuse"
        assert person.decide("s")["action"] == "skip"
        assert person.shown() == fifth["text"]
        person.press("u")
        person.until(lambda: person.shown() == fourth["text"])
        assert fourth["id"] not in review.decisions
        person.hold(Keys.CONTROL, "z")
        person.until(lambda: person.shown() == third["text"])

        chromium.refresh()
        person.until(lambda: person.shown() == third["text"])
        assert "2 of 6 texts · 1 accepted · 1 labelled" in person.see("progress")
        same = labels.index(third["label"]) + 1
        assert person.decide(str(same))["action"] == "accept", "the judged label is accepted by its digit too"
        assert person.spoken().startswith("Accepted.")

        person.press("f")
        person.until(lambda: "3 of 6 texts have no decision" in person.see("confirm"))
        person.press(Keys.ESCAPE)
        assert person.shown() == fourth["text"]
        assert waiter.is_alive()
        person.press("f", Keys.ENTER)
        person.until(lambda: "The run goes on with your decisions" in person.see("ending"))
        waiter.join(10)
        assert not waiter.is_alive()
        assert "3 of 6 texts" in person.see("progress")
    person.until(lambda: "The review has ended" in person.see("ending"))
    assert "The terminal shows how the run went on." in person.see("ending")
    actions = [made["action"] for made in review.decisions.values()]
    assert actions == ["accept", "relabel", "accept", "unseen", "unseen", "unseen"]


def test_the_last_decision_can_be_taken_back(waiting: Waiting, chromium: Any) -> None:
    review = waiting(count=1)
    [item] = review.waiting
    with opened(chromium, review) as (person, waiter):
        person.press("a")
        person.until(lambda: "All texts are decided" in person.see("ending"))
        person.press("u")
        person.until(lambda: person.shown() == item["text"])
        person.press("s")
        person.until(lambda: "All texts are decided" in person.see("ending"))
        assert waiter.is_alive()
        person.press(Keys.ENTER)
        person.until(lambda: "The review is finished" in person.see("ending"))
        waiter.join(10)
        assert not waiter.is_alive()
    assert [made["action"] for made in review.decisions.values()] == ["skip"]


def test_a_text_of_a_stranger_is_only_text(waiting: Waiting, chromium: Any) -> None:
    text = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> {{7*7}}"
    review = waiting(count=2, first={"text": text, "reason": text})
    with opened(chromium, review) as (person, _):
        assert person.shown() == text
        assert chromium.title == f"Review of {review.task.name}"
        assert chromium.find_elements(By.CSS_SELECTOR, "main img, main script") == []


def test_another_window_is_sent_the_present_state(waiting: Waiting, chromium: Any) -> None:
    review = waiting(count=4, own=False)
    first, second, third, _ = review.waiting
    with opened(chromium, review) as (person, _):
        review.decide(first["id"], "refuse")  # as another window would
        person.press("s")
        person.until(lambda: "decided in another window" in person.see("error"))
        assert person.shown() == second["text"]
        assert review.decisions[first["id"]]["action"] == "refuse"
        review.decide(second["id"], "skip")
        chromium.execute_script("window.dispatchEvent(new Event('focus'))")
        person.until(lambda: person.shown() == third["text"])


def test_a_text_without_a_label_is_labelled(waiting: Waiting, chromium: Any) -> None:
    review = waiting(count=2, judged=False, own=False)
    with opened(chromium, review) as (person, _):
        person.press(Keys.ENTER)
        person.until(lambda: "no label yet" in person.see("error"))
        assert not chromium.find_element(By.ID, "accept").is_enabled()
        assert "accept" not in person.see("help")
        assert person.decide("2")["label"] == list(review.task.labels)[1]


def test_many_labels_are_found_by_typing(waiting: Waiting, chromium: Any) -> None:
    names = {f"label_{number:02d}": "" for number in range(40)}
    review = waiting(count=2, own=False, judged=False, first={"near": []}, labels=names)
    item = review.waiting[0]
    near = [{"text": "near", "label": "label_31", "similarity": 0.9}]
    queue = review.queue
    Review(review.folder).put({**queue, "items": [{**item, "near": near}]})  # type: ignore[typeddict-item]
    with opened(chromium, review) as (person, _):
        person.press("/", "_2")
        person.until(lambda: "label_25" in person.see("labels"))
        person.press(Keys.ARROW_DOWN, Keys.ESCAPE)
        person.press("/", "7", Keys.ARROW_DOWN)
        assert chromium.find_element(By.CSS_SELECTOR, ".first b").text == "label_27"
        person.press(Keys.ENTER)
        person.until(lambda: review.decisions)
        assert review.decisions[item["id"]]["label"] == "label_27"


def test_the_labels_of_near_rows_have_the_first_keys(waiting: Waiting, chromium: Any) -> None:
    names = {f"label_{number:02d}": "" for number in range(40)}
    near = [{"text": "near", "label": "label_31", "similarity": 0.9}]
    review = waiting(count=2, own=False, judged=False, first={"near": near}, labels=names)
    queue = review.queue
    Review(review.folder).put({**queue, "items": queue["items"][:1]})
    with opened(chromium, review) as (person, _):
        person.press("1")
        person.until(lambda: review.decisions)
        assert review.decisions[queue["items"][0]["id"]]["label"] == "label_31"


def test_several_labels_are_switched(waiting: Waiting, chromium: Any) -> None:
    review = waiting("multilabel", 3, own=False)
    first, second, _ = review.waiting
    names = list(review.task.labels)
    with opened(chromium, review) as (person, _):
        assert person.decide(Keys.ENTER)["label"] == first["label"]
        absent = next(place for place, name in enumerate(names, 1) if name not in second["label"])
        person.press(str(absent))
        person.until(lambda: "Keep this label" in person.see("accept"))
        made = person.decide(Keys.ENTER)
        assert made["action"] == "relabel"
        assert names[absent - 1] in made["label"]


def test_a_target_text_is_edited(waiting: Waiting, chromium: Any) -> None:
    review = waiting("seq2seq", 3, own=False)
    with opened(chromium, review) as (person, _):
        assert person.decide("a")["action"] == "accept"
        person.press("e", Keys.END, " as written")
        person.hold(Keys.CONTROL, Keys.ENTER)
        person.until(lambda: len(review.decisions) == 2)
        made = list(review.decisions.values())[-1]
        assert made["action"] == "relabel"
        assert made["label"].endswith(" as written")
        person.until(lambda: "2 of 3" in person.see("progress"))
        person.press("e")
        person.hold(Keys.CONTROL, "a")
        person.press(Keys.DELETE, Keys.ESCAPE, Keys.ENTER)
        person.until(lambda: "A target text must not be empty" in person.see("error"))
        person.press("u")
        target = chromium.find_element(By.ID, "target")
        person.until(lambda: target.get_attribute("value") == review.waiting[0]["label"])
        assert len(review.decisions) == 2


def test_both_texts_of_a_pair_are_shown(waiting: Waiting, chromium: Any) -> None:
    review = waiting("pairs", 2)
    with opened(chromium, review) as (person, _):
        for name in review.task.fields:
            assert name in person.see("texts")
        assert len(person.shown().split("\n")) == 2
        assert person.decide(Keys.ENTER)["action"] == "accept"


TEXT = "👍 Anna lives in São Paulo."


def test_entities_are_marked_by_selecting_text(waiting: Waiting, chromium: Any) -> None:
    review = waiting("ner", 2, own=False, first={"text": TEXT, "label": "[]"})
    names = list(review.task.labels)
    with opened(chromium, review) as (person, _):
        box = chromium.find_element(By.CSS_SELECTOR, ".text")
        select = """
            const [box, start, end] = arguments, range = document.createRange();
            range.setStart(box.firstChild, start); range.setEnd(box.firstChild, end);
            const rect = range.getBoundingClientRect();
            return [rect.left, rect.right, (rect.top + rect.bottom) / 2];
        """
        place = TEXT.encode("utf-16-le").index("São".encode("utf-16-le")) // 2
        left, right, middle = chromium.execute_script(select, box, place, place + len("São Paulo"))
        mouse = webdriver.ActionChains(chromium, duration=50)
        mouse.w3c_actions.pointer_action.move_to_location(int(left) + 3, int(middle))
        mouse.w3c_actions.pointer_action.pointer_down()
        mouse.w3c_actions.pointer_action.move_to_location(int(right) - 3, int(middle))
        mouse.w3c_actions.pointer_action.pointer_up()
        mouse.perform()
        person.until(lambda: chromium.find_element(By.CSS_SELECTOR, ".pending").text == "São Paulo")
        chromium.find_elements(By.CSS_SELECTOR, "#labels button")[1].click()
        person.until(lambda: "São Paulo" in person.see("entities"))
        made = person.decide(Keys.ENTER)
        start = TEXT.index("São")
        assert made["action"] == "relabel"
        assert made["label"] == f'[[{start}, {start + 9}, "{names[1]}"]]'


def test_entities_are_marked_and_removed_by_keyboard(waiting: Waiting, chromium: Any) -> None:
    review = waiting("ner", 3, own=False, first={"text": TEXT, "label": "[]", "answered": "[]"})
    kept = review.queue["items"][1]
    names = list(review.task.labels)
    with opened(chromium, review) as (person, _):
        person.press("1")
        person.until(lambda: "Select words first" in person.see("error"))
        person.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "3")  # the emoji is a word of its own
        person.until(lambda: "Anna" in person.see("entities"))
        person.press(Keys.DELETE)
        person.until(lambda: "Anna" not in person.see("entities"))
        person.press("3")
        person.until(lambda: "Anna" in person.see("entities"))
        person.press(*[Keys.ARROW_RIGHT] * 3)
        assert chromium.find_element(By.CSS_SELECTOR, ".pending").text == "São"
        person.hold(Keys.SHIFT, Keys.ARROW_RIGHT)
        person.press("1")
        person.until(lambda: "São Paulo" in person.see("entities"))
        person.press(Keys.ARROW_RIGHT)
        assert chromium.find_element(By.CSS_SELECTOR, ".pending").text == ".", (
            "the word after the marked ones"
        )
        person.press(*[Keys.ARROW_LEFT] * 5, Keys.DELETE)
        person.until(lambda: "Anna" not in person.see("entities"))
        made = person.decide("a")
        assert made["label"] == f'[[{TEXT.index("São")}, {TEXT.index("São") + 9}, "{names[0]}"]]'
        assert person.decide("a")["label"] == kept["label"]
        chromium.find_element(By.CSS_SELECTOR, "#entities button").click()
        person.until(lambda: "Keep" in person.see("accept") or "No entities" in person.see("accept"))


def test_undo_first_takes_unsaved_marks_back(waiting: Waiting, chromium: Any) -> None:
    review = waiting("ner", 3, own=False, first={"text": TEXT, "label": "[]", "answered": "[]"})
    with opened(chromium, review) as (person, _):
        assert not chromium.find_element(By.ID, "undo").is_enabled()
        person.press(Keys.ARROW_RIGHT, "1")
        person.until(lambda: "👍" in person.see("entities"))
        assert chromium.find_element(By.ID, "undo").is_enabled()
        person.press("u")
        person.until(lambda: person.see("entities") == "")
        assert person.decide(Keys.ENTER)["action"] == "accept"
        before = person.see("entities")
        person.press(Keys.ARROW_LEFT, "1")
        person.until(lambda: person.see("entities") != before)
        person.press("u")
        person.until(lambda: person.see("entities") == before)
        assert len(review.decisions) == 1
        person.press("u")
        person.until(lambda: person.shown() == TEXT)
        assert review.decisions == {}


@pytest.mark.parametrize("kind", ["classification", "pairs", "multilabel", "ner", "seq2seq"])
def test_a_narrow_window_needs_no_sideways_scrolling(kind: str, waiting: Waiting, chromium: Any) -> None:
    review = waiting(kind, 2, first={"reason": "w" * 300})
    with opened(chromium, review):
        size = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= 400
        finally:
            chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_has_a_name(waiting: Waiting, chromium: Any) -> None:
    review = waiting("ner", 2)
    with opened(chromium, review) as (person, _):
        controls = chromium.find_elements(By.CSS_SELECTOR, "button, input, textarea, progress")
        assert all(control.accessible_name for control in controls if control.is_displayed())
        assert chromium.switch_to.active_element.get_attribute("id") == "work"
        person.decide(Keys.ENTER)
        assert "Accepted. Text 2 of 2." in person.spoken()
