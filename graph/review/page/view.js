// What the page shows: the progress, one text, its label, the labels to choose from. Texts and labels are only ever
// set as text, never as HTML. The scripts of the page share their names; page.js, the last one, begins.
"use strict";

const $ = (id) => document.getElementById(id);
const DONE = { accept: "accepted", relabel: "labelled", refuse: "refused", skip: "skipped" };

let task; // name, kind, instruction, labels, digits
let state; // what the server said last
let names = []; // the labels that are listed, in the order of their keys
let first = 0; // the label that Enter takes in the filter box

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function fail(sentence) {
  $("error").textContent = sentence;
  $("error").hidden = !sentence;
}

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
    const decided = state.phase === "decided";
    $("ending-title").textContent = decided ? "All texts are decided" : "The review is finished";
    $("next-step").textContent = decided ? "Finish, or take the latest decision back." : state.next_step;
    $("last").hidden = !decided;
    $("ending").focus();
    if (!decided) setTimeout(poll, POLL);
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
  $("judged").hidden = !rows.length;
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
  $("undo").disabled = !state.decided && !unsaved();
}

function showHelp() {
  const judged = state.item.judged !== null;
  const many = task.labels.length > task.digits;
  const digits = `1 … ${Math.min(task.labels.length, task.digits)}`;
  const keys = [
    ...(judged || editor !== choice ? [["Enter", "a", judged ? "accept" : "keep the label"]] : []),
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
