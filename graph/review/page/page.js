// Shows one text at a time and sends the person's decisions. A decision is on disk when the server answers; the
// next text comes with the answer. Texts and labels are only ever set as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const DONE = { accept: "accepted", relabel: "labelled", refuse: "refused", skip: "skipped" };
const POLL = 2000; // milliseconds between two questions whether the run has chosen other texts

let task; // name, kind, instruction, labels, digits
let state; // what the server said last
let names = []; // the labels that are listed, in the order of their keys
let first = 0; // the label that Enter takes in the filter box
let value; // the label as it stands in the editor: a list of names, of entities, or a text
let busy = false;

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function fail(sentence) {
  $("error").textContent = sentence;
  $("error").hidden = !sentence;
}

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
    fail("tutelage does not answer, so this was not kept. Earlier decisions are. Start `tutelage review` again.");
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
    $("next-step").textContent = "All decisions are kept. The terminal shows how the run went on; close this page.";
    return;
  }
  if (state.phase === "finished") setTimeout(poll, POLL);
}

// Another window may have decided the text that is shown here.
async function refresh() {
  if (document.hidden || busy || state?.phase !== "reviewing") return;
  const { ok, reply } = await answered("state").catch(() => ({}));
  if (ok && reply.decided !== state.decided) show(reply, "");
}

// ---- Showing the state

function show(next, spoken) {
  state = next;
  const reviewing = state.phase === "reviewing";
  showProgress();
  $("work").hidden = $("help").hidden = !reviewing;
  $("ending").hidden = reviewing;
  if (reviewing) {
    showItem(state.item);
    $("work").focus({ preventScroll: true });
    scrollTo(0, 0);
  } else {
    const left = state.total - state.decided;
    $("ending-title").textContent = left ? "The review is finished" : "All texts are decided";
    $("next-step").textContent = state.next_step;
    $("ending").focus();
    setTimeout(poll, POLL);
  }
  $("spoken").textContent = [spoken, reviewing && `Text ${state.decided + 1} of ${state.total}.`]
    .filter(Boolean)
    .join(" ");
}

function showProgress() {
  const done = Object.entries(DONE).map(([action, word]) => state.done[action] && `${state.done[action]} ${word}`);
  const pace = state.seconds !== null && `${state.seconds} s a text`;
  const round = state.round > 0 && `round ${state.round}`;
  const parts = [`${state.decided} of ${state.total} texts`, ...done, pace, round];
  $("progress").textContent = parts.filter(Boolean).join(" · ");
  $("bar").max = state.total;
  $("bar").value = state.decided;
}

function showItem(item) {
  const fields = Object.entries(item.fields);
  $("texts").replaceChildren(
    ...fields.flatMap(([name, text]) => [
      ...(fields.length > 1 ? [make("div", { className: "field", textContent: name })] : []),
      make("div", { className: "text", textContent: text, dir: "auto" }),
    ]),
  );
  showJudged(item);
  $("reason").textContent = item.reason;
  $("near").replaceChildren(...item.near.map(nearRow));
  document.querySelector("aside").hidden = !item.near.length;
  $("refuse").disabled = item.own;
  $("refuse").title = item.own ? "This is a row of your own data: give the right label, or skip it" : "";
  $("undo").disabled = !state.decided;
  $("filter").value = "";
  editor.begin(item);
  showLabels();
  showAccept();
  showHelp();
}

function showJudged(item) {
  const rows = [];
  if (item.judged_line !== null) {
    const sure = item.confidence === null ? "" : ` ${Math.round(item.confidence * 100)} % sure`;
    const whose = item.own ? "Your label" : "The teacher's label";
    rows.push([whose, item.judged_line, make("span", { className: "soft", textContent: sure })]);
  }
  if (item.answered_line !== null) rows.push(["The students' answer", item.answered_line]);
  $("judged").replaceChildren(
    ...rows.map(([name, ...parts]) => make("div", {}, make("dt", { textContent: name }), make("dd", {}, ...parts))),
  );
  const differs = rows.length > 1 && item.judged_line !== item.answered_line;
  $("judged").lastElementChild?.lastElementChild.classList.toggle("differs", differs);
}

function nearRow(row) {
  const similarity = make("span", { className: "soft", textContent: ` similarity ${row.similarity.toFixed(2)}` });
  const texts = Object.entries(row.fields);
  return make(
    "li",
    {},
    make("span", { className: "mark", textContent: row.label }),
    similarity,
    ...texts.map(([name, text]) => make("p", { textContent: texts.length > 1 ? `${name}: ${text}` : text })),
  );
}

function showLabels() {
  const wanted = $("filter").value.trim().toLowerCase();
  const many = task.labels.length > task.digits;
  names = (state.labels || []).filter((name) => name.toLowerCase().includes(wanted));
  first = Math.min(first, Math.max(names.length - 1, 0));
  const described = new Map(task.labels.map((label) => [label.name, label.text]));
  $("finding").hidden = !many;
  $("labels").classList.toggle("many", many);
  $("labels").replaceChildren(
    ...names.map((name, place) => {
      const key = place < task.digits ? String(place + 1) : "";
      const button = make("button", { type: "button", onclick: () => editor.pick(name) });
      button.append(make("kbd", { textContent: key }), make("b", { textContent: name }));
      if (described.get(name)) button.append(make("small", { textContent: described.get(name) }));
      if (editor.pressed) button.setAttribute("aria-pressed", String(editor.pressed(name)));
      button.classList.toggle("first", document.activeElement === $("filter") && place === first);
      return button;
    }),
  );
}

function showAccept() {
  const { own, judged } = state.item;
  const unchanged = judged !== null && editor.same(judged);
  const wanted = editor.wanted();
  const none = Array.isArray(wanted) && !wanted.length;
  const keeps = wanted === undefined ? editor.missing : none ? editor.none : "Keep this label";
  $("accept").lastElementChild.textContent = unchanged ? (own ? "It is right" : "Accept") : keeps;
  $("accept").disabled = !unchanged && wanted === undefined;
}

function showHelp() {
  const many = task.labels.length > task.digits;
  const digits = `1 … ${Math.min(task.labels.length, task.digits)}`;
  const keys = [
    ["Enter", "a", "accept"],
    ...editor.keys,
    ...(many ? [["/", "find a label"]] : []),
    ...(state.item.own ? [] : [["r", "refuse: never train on it"]]),
    ["s", "skip: as if nobody had looked"],
    ["u", "undo"],
    ["f", "finish"],
  ];
  $("help").replaceChildren(
    ...keys.map((entry) => {
      const line = make("span", {});
      for (const key of entry.slice(0, -1).map((one) => (one === "digit" ? digits : one))) line.append(make("kbd", { textContent: key }), " ");
      line.append(entry.at(-1));
      return line;
    }),
  );
}

function edited() {
  showLabels();
  showAccept();
}

// ---- Editors: one for each form of a label. `wanted` is the label to send, undefined while there is none.

const sorted = (list) => JSON.stringify([...list].sort());

const choice = {
  keys: [["digit", "choose a label"]],
  missing: "Choose a label",
  begin() {},
  same: () => true, // the judged label is accepted as it is; another one is sent when it is chosen
  wanted: () => undefined,
  pressed: (name) => name === state.item.judged,
  pick: (name) => decide("relabel", name),
};

const toggles = {
  keys: [["digit", "switch a label on or off"]],
  none: "None of the labels",
  begin: (item) => (value = [...(item.judged || [])]),
  same: (judged) => sorted(judged) === sorted(value),
  wanted: () => value,
  pressed: (name) => value.includes(name),
  pick(name) {
    value = value.includes(name) ? value.filter((other) => other !== name) : [...value, name];
    edited();
  },
};

const written = {
  keys: [
    ["e", "edit"],
    ["Ctrl+Enter", "keep while editing"],
  ],
  missing: "Write the target text",
  begin(item) {
    $("written").hidden = false;
    value = $("target").value = item.judged ?? "";
  },
  same: (judged) => judged === value.trim(),
  wanted: () => value.trim() || undefined,
  pick() {},
};

// Entities are counted in code points, as Python does; the DOM counts UTF-16 units.
const entities = {
  keys: [
    ["←", "→", "go to a word"],
    ["Shift+→", "take more words"],
    ["digit", "mark them as this type"],
    ["Del", "remove the mark"],
  ],
  none: "No entities",
  begin(item) {
    value = (item.judged || []).map(({ start, end, type }) => ({ start, end, type }));
    this.text = [...Object.values(item.fields)[0]];
    this.anchor = this.head = null; // the first and the last word that are taken, as places in `units`
    $("entities").hidden = false;
    this.draw();
  },
  same: (judged) => sorted(judged.map(flat)) === sorted(value.map(flat)),
  wanted: () => value.map(({ start, end, type }) => ({ start, end, type })),
  taken() {
    if (this.head === null) return null;
    const units = state.item.units;
    const [from, to] = [Math.min(this.anchor, this.head), Math.max(this.anchor, this.head)];
    return { start: units[from][0], end: units[to][1] };
  },
  take(start, end) {
    const units = state.item.units;
    const from = units.findIndex((unit) => unit[1] > start);
    const to = units.findLastIndex((unit) => unit[0] < end);
    if (from < 0 || to < from) return;
    [this.anchor, this.head] = [from, to];
    this.draw();
  },
  move(step, extends_) {
    const last = state.item.units.length - 1;
    const head = this.head === null ? (step > 0 ? 0 : last) : this.head + step;
    this.head = Math.max(0, Math.min(last, head));
    if (!extends_ || this.anchor === null) this.anchor = this.head;
    this.draw();
  },
  pick(name) {
    this.takeSelection();
    const taken = this.taken();
    if (!taken) return fail("Select words first: with the mouse, or with ← → and Shift.");
    fail("");
    value = value.filter((one) => !meet(one, taken));
    value.push({ ...taken, type: name });
    this.changed();
  },
  remove(range) {
    value = value.filter((one) => !meet(one, range));
    this.changed();
  },
  changed() {
    value.sort((one, other) => one.start - other.start);
    this.anchor = this.head = null;
    getSelection().removeAllRanges();
    this.draw();
    edited();
  },
  takeSelection() {
    const box = $("texts").firstElementChild;
    const selection = getSelection();
    if (selection.isCollapsed || !selection.rangeCount) return;
    const range = selection.getRangeAt(0);
    if (!box.contains(range.startContainer) || !box.contains(range.endContainer)) return;
    this.take(offset(box, range.startContainer, range.startOffset), offset(box, range.endContainer, range.endOffset));
  },
  draw() {
    const parts = [];
    let place = 0;
    for (const one of value) {
      parts.push(...this.piece(place, one.start));
      const mark = make("mark", { onclick: () => this.take(one.start, one.end) }, ...this.piece(one.start, one.end));
      mark.dataset.type = one.type;
      parts.push(mark);
      place = one.end;
    }
    parts.push(...this.piece(place, this.text.length));
    $("texts").firstElementChild.replaceChildren(...parts);
    $("texts").querySelector(".pending")?.scrollIntoView({ block: "nearest" });
    $("entities").replaceChildren(...value.map((one) => this.entry(one)));
  },
  piece(start, end) {
    const cut = (from, to) => this.text.slice(Math.max(from, start), Math.min(to, end)).join("");
    const taken = this.taken();
    if (!taken || !meet(taken, { start, end })) return [cut(start, end)];
    const inside = make("span", { className: "pending", textContent: cut(taken.start, taken.end) });
    return [cut(start, taken.start), inside, cut(taken.end, end)];
  },
  entry(one) {
    const words = this.text.slice(one.start, one.end).join("");
    const button = make("button", { type: "button", textContent: "×", onclick: () => this.remove(one) });
    button.setAttribute("aria-label", `Remove ${one.type}: ${words}`);
    return make("li", {}, `${one.type}: ${words} `, button);
  },
};

const flat = ({ start, end, type }) => `${start} ${end} ${type}`;
const meet = (one, other) => one.start < other.end && other.start < one.end;

function offset(box, node, place) {
  const before = document.createRange();
  before.selectNodeContents(box);
  before.setEnd(node, place);
  return [...before.toString()].length;
}

const EDITORS = { classification: choice, pairs: choice, multilabel: toggles, ner: entities, seq2seq: written };
let editor = choice;

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
  else fail("This text has no label yet: give it one.");
}

function refuse() {
  if (state.item.own) fail("This is a row of your own data: give the right label, or skip it.");
  else decide("refuse");
}

function undo() {
  if (state.decided) send("undo", {}, "Undone.");
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

function pressed(event) {
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
$("confirm-finish").addEventListener("click", () => ($("confirm").close(), send("finish", {}, "Finished.")));
$("confirm-back").addEventListener("click", () => $("confirm").close());
begin().catch(() => fail("tutelage does not answer. Start `tutelage review` again, and open its new address."));
