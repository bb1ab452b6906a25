// Editors: one for each form of a label. `wanted` is the label to send, undefined while there is none; `same` says
// whether it is the judged one, and `blank` is where an editor begins without one.
"use strict";

let value; // the label as it stands in the editor: a list of names, of entities, or a text

const sorted = (list) => JSON.stringify([...list].sort());

const choice = {
  keys: [["digit", "choose a label"]],
  missing: "Choose a label",
  absent: "This text has no label yet: give it one.",
  begin() {},
  same: () => true, // the judged label is accepted as it is; another one is sent when it is chosen
  wanted: () => undefined,
  pressed: (name) => name === state.item.judged,
  pick: (name) => (name === state.item.judged ? decide("accept") : decide("relabel", name)),
};

const toggles = {
  keys: [["digit", "switch a label on or off"]],
  none: "None of the labels",
  blank: [],
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
  absent: "A target text must not be empty: write one.",
  blank: "",
  begin(item) {
    $("written").hidden = false;
    value = $("target").value = item.judged ?? "";
  },
  same: (judged) => judged.trim() === value.trim(),
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
  blank: [],
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
    let from = this.head ?? (step > 0 ? -1 : last + 1);
    if (this.head !== null && !extends_) from = Math[step > 0 ? "max" : "min"](this.anchor, this.head);
    this.head = Math.max(0, Math.min(last, from + step));
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
