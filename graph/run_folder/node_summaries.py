"""What the nodes of a run do and did, in a few words."""

from tutelage.graph.run_folder.trace import Event

DOING = {
    "prepare": "reading the data, encoding the held-out texts",
    "first_labels": "labelling a first set of texts",
    "calibrate": "measuring the accuracy of the teacher",
    "train": "training the students",
    "final": "training the final student from scratch on all kept samples",
    "evaluate": "evaluating the students",
    "analyst": "looking for weaknesses",
    "generator": "writing texts",
    "pool": "selecting unlabelled texts of yours",
    "screen": "removing near-duplicates",
    "labeler": "labelling",
    "critic": "judging labels",
    "keep": "storing accepted samples",
    "review": "choosing texts for a person to judge",
    "refit": "training the final student and the students it is compared with",
    "report": "evaluating on the test set, writing the report",
}


def summary(node: str, event: Event, *, asked: bool) -> str:
    """Summarize in a few words what a node did; `asked` is whether it called the teacher."""
    match node:
        case "prepare":
            sets = ("labelled", "seed", "diagnose", "gate", "test", "unlabelled")
            return ", ".join(f"{event[name]} {name}" for name in sets if name in event)
        case "first_labels":
            return f"{len(event['labelled'])} texts labelled by the teacher"
        case "calibrate":
            return _calibration(event)
        case "train" | "final":
            return _training(event)
        case "evaluate":
            return _evaluation(event)
        case "refit":
            return ", ".join(f"{arm['name'].replace('_', ' ')} ({arm['rows']} rows)" for arm in event["arms"])
        case "analyst":
            names = list(event.get("weaknesses", {}).values())
            if names:
                return f"{len(names)} weakness{'es' * (len(names) != 1)}: {'; '.join(names)}"
            return "no weakness found" if asked else "not called"
        case "generator":
            return f"{len(event['written'])} texts written, attempt {event['attempt']}"
        case "pool":
            return f"{len(event['drawn'])} texts drawn, {event['left']} left"
        case "screen" | "critic" | "keep":
            statuses = {status: len(ids) for status, ids in event["samples"].items()}
            counts = {**event.get("verdicts", {}), **statuses}
            none = "not called" if node == "critic" and not asked else "nothing refused"
            return ", ".join(f"{count} {status}" for status, count in counts.items()) or none
        case "review":
            counts = {**event["decisions"], "of your rows relabelled": event["own_relabelled"]}
            done = [f"{count} {what}" for what, count in counts.items() if count]
            return ", ".join(done) or "nothing to judge: no text left, or the review budget is used up"
        case "labeler":
            return f"{len(event['labelled'])} labelled{' a second time' if event['again'] else ''}"
        case _:
            return str(event.get("stop", ""))


def waiting(event: Event) -> str:
    """Say for what a node has paused the run."""
    count = event["waiting"]
    return "1 text waits for a person" if count == 1 else f"{count} texts wait for a person"


def _evaluation(event: Event) -> str:
    """Return the scores of a round's student, and whether the round was accepted."""
    outcome = "accepted" if event["accepted"] else f"rolled back (p = {event['p_value']:.3f})"
    if event.get("folded"):
        return f"out of fold {event['metric']:.3f}: {outcome}"
    gate = "" if event["gate"] is None else f", gate {event['gate']:.3f}"
    return f"diagnose {event['metric']:.3f}{gate}: {outcome}"


def _training(event: Event) -> str:
    """Return the number of texts, the share of samples used, and the training configurations compared."""
    share = f", {event['unique']:.0%} of the teacher's samples used" if "unique" in event else ""
    count = event.get("restarted")
    restarts = f"; restarted {count}x because the loss did not fall" if count is not None else ""
    return f"on {event['rows']} texts{share}{_configurations(event)}{restarts}"


def _configurations(event: Event) -> str:
    """Return the chosen training configuration and the scores of all."""
    if "configurations" not in event:
        return ""
    scores = ", ".join(f"{one['configuration']} {one['score']:.3f}" for one in event["configurations"])
    return f"; training {event['chosen']} (out of fold: {scores})"


def _calibration(event: Event) -> str:
    """Return the accuracy of the teacher and the calibration of its confidence."""
    if "rows" not in event:
        return "skipped"
    if not event["rows"]:
        return str(event["note"])
    ece = f"ECE {event['ece_before']:.3f} -> {event['ece_after']:.3f}"
    kind = f"confidence ({event['source']}) T {event['temperature']:.2f}"
    summary = f"right on {event['right']} of {event['rows']} of your texts{_student(event)}; {kind}, {ece}"
    return f"{summary}; {event['note']}" if event["note"] else summary


def _student(event: Event) -> str:
    """Return the score of a student trained on the user's labels alone, on the same rows."""
    if "baselines" not in event:
        return ""
    score, low, high = event["baselines"]["student"]
    return f" (a student trained on your labels alone: {score:.2f}, {low:.2f}-{high:.2f})"
