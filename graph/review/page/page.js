// Sends the person's decisions, and reads the keys. A decision is on disk when the server answers; the next text comes
// with the answer.
"use strict";

const POLL = 2000; // milliseconds between two questions whether the run has chosen other texts

let busy = false; // an answer of the server is awaited

// ---- Talking to the server

async function answered(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  return { ok: response.ok, reply: await response.json() };
}

async function send(path, body, spoken) {
  if (busy) return;
  busy = true;
  fail("");
  try {
    const { ok, reply } = await answered(path, body);
    if (ok || reply.state) show(ok ? reply : reply.state, ok ? spoken : "");
    if (!ok) fail(reply.error);
  } catch {
    fail("tutelage does not answer, so this may not have been kept. Earlier decisions are. Start `tutelage review` again.");
  } finally {
    busy = false;
  }
}

async function poll() {
  try {
    const { ok, reply } = await answered("state");
    if (ok && state.phase === "finished" && reply.phase === "reviewing") show(reply, "The next texts are here.");
  } catch {
    $("ending-title").textContent = "The review has ended";
    $("next-step").textContent = `All decisions are kept; you can close this page. ${state.closing}`;
    return;
  }
  if (state.phase === "finished") setTimeout(poll, POLL);
}

// Another window may have decided the text that is shown here.
async function refresh() {
  if (document.hidden || busy || !state || state.phase === "finished") return;
  const { ok, reply } = await answered("state").catch(() => ({}));
  if (ok && (reply.decided !== state.decided || reply.phase !== state.phase)) show(reply, "");
}

// ---- Decisions

function decide(action, label) {
  if (busy) return;
  const words = { accept: "Accepted.", relabel: "Labelled.", refuse: "Refused.", skip: "Skipped." };
  const body = { id: state.item.id, action, ...(label === undefined ? {} : { label }) };
  send("decide", body, words[action]);
}

function accept() {
  const judged = state.item.judged;
  if (judged !== null && editor.same(judged)) decide("accept");
  else if (editor.wanted() !== undefined) decide("relabel", editor.wanted());
  else fail(editor.absent);
}

function refuse() {
  if (state.item.own) fail("This is a row of your own data: give the right label, or skip it.");
  else decide("refuse");
}

const unsaved = () => state.item && !editor.same(state.item.judged ?? editor.blank);

function undo() {
  if (busy) return;
  if (unsaved()) {
    fail("");
    editor.begin(state.item);
    edited();
    $("spoken").textContent = "The changes of this label are taken back.";
  } else if (state.decided) send("undo", {}, "Undone.");
  else fail("There is no decision to take back.");
}

function finish() {
  const left = state.total - state.decided;
  $("left").textContent =
    `${left} of ${state.total} texts have no decision. The run uses them as if nobody had looked at them.`;
  $("confirm").showModal();
}

const KEYS = {
  Enter: accept,
  a: accept,
  r: refuse,
  s: () => decide("skip"),
  u: undo,
  f: finish,
  e: () => !$("written").hidden && $("target").focus(),
  "/": () => !$("finding").hidden && $("filter").focus(),
};

const AT_THE_END = { Enter: goOn, f: goOn, u: undo };

function goOn() {
  send("finish", {}, "Finished.");
}

function pressed(event) {
  if (state?.phase === "decided") return pressedAtTheEnd(event);
  if (state?.phase !== "reviewing" || event.altKey || $("confirm").open) return;
  if (event.repeat && !event.key.startsWith("Arrow")) return;
  const inText = event.target.matches("input, textarea");
  if (inText) return typed(event);
  if (event.key === "Enter" && event.target.matches("button")) return; // the button is pressed
  const control = event.ctrlKey || event.metaKey;
  const digit = !control && /^[1-9]$/.test(event.key) ? names[Number(event.key) - 1] : undefined;
  const known = control ? (event.key === "z" ? undo : event.key === "Enter" ? accept : undefined) : KEYS[event.key];
  const act = digit !== undefined ? () => editor.pick(digit) : (known ?? wordKey(event));
  if (!act) return;
  event.preventDefault();
  act();
}

function pressedAtTheEnd(event) {
  const control = event.ctrlKey || event.metaKey;
  const act = control ? event.key === "z" && undo : AT_THE_END[event.key];
  if (!act || event.repeat || (event.key === "Enter" && event.target.matches("button"))) return;
  event.preventDefault();
  act();
}

function wordKey(event) {
  if (editor !== entities || event.ctrlKey || event.metaKey) return undefined;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) return () => entities.move(step, event.shiftKey);
  const removes = event.key === "Delete" || event.key === "Backspace";
  entities.takeSelection();
  return removes && entities.taken() ? () => entities.remove(entities.taken()) : undefined;
}

function typed(event) {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (event.key === "Escape") $("work").focus();
  else if (event.target === $("target") && event.key === "Enter" && (event.ctrlKey || event.metaKey)) accept();
  else if (event.target === $("filter") && event.key === "Enter" && names.length) {
    const name = names[first];
    $("filter").value = "";
    $("work").focus();
    editor.pick(name);
  } else if (event.target === $("filter") && step) {
    first = Math.max(0, Math.min(names.length - 1, first + step));
    showLabels();
    $("labels").querySelector(".first")?.scrollIntoView({ block: "nearest" });
  } else return;
  event.preventDefault();
}

// ---- Beginning

async function begin() {
  task = (await answered("task")).reply;
  editor = EDITORS[task.kind];
  document.title = `Review of ${task.name}`;
  $("name").textContent = `Review of ${task.name}`;
  $("instruction").textContent = task.instruction;
  show((await answered("state")).reply, "");
}

document.addEventListener("keydown", pressed);
document.addEventListener("visibilitychange", refresh);
window.addEventListener("focus", refresh);
document.addEventListener("mouseup", () => editor === entities && !$("work").hidden && entities.takeSelection());
$("labels").addEventListener("mousedown", (event) => event.preventDefault()); // keeps the selected words
$("filter").addEventListener("input", () => ((first = 0), showLabels()));
$("filter").addEventListener("focus", () => ((first = 0), showLabels()));
$("filter").addEventListener("blur", showLabels);
$("target").addEventListener("input", () => ((value = $("target").value), showAccept()));
$("accept").addEventListener("click", accept);
$("refuse").addEventListener("click", refuse);
$("skip").addEventListener("click", () => decide("skip"));
$("undo").addEventListener("click", undo);
$("finish").addEventListener("click", finish);
$("confirm-finish").addEventListener("click", () => ($("confirm").close(), goOn()));
$("go-on").addEventListener("click", goOn);
$("take-back").addEventListener("click", undo);
$("confirm-back").addEventListener("click", () => $("confirm").close());
begin().catch(() => fail("tutelage does not answer. Start `tutelage review` again, and open its new address."));
