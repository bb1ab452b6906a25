// Filters the samples of a report, and opens what a link points to. The page works without this script, except
// for filtering. Filters are kept in the address: report.html#samples?status=kept&round=2&text=refund
"use strict";

const FILTERS = ["status", "label", "weakness", "round", "text"];
const form = document.getElementById("filters");

// What the filters compare, read once from the list: sample element -> its values.
const samples = [...document.querySelectorAll("details.s")].map((element) => {
  const [status, , round] = element.firstElementChild.children;
  return {
    element,
    status: status.textContent,
    label: (element.dataset.l || "").split(" "),
    weakness: element.dataset.w || "",
    round: round.textContent,
    text: element.textContent.toLowerCase(),
  };
});
const points = new Map(
  [...document.querySelectorAll("[data-s]")].map((point) => [point.dataset.s, point]),
);

function wanted() {
  const values = Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].value]));
  // A sample lists its labels by number, which takes less room.
  return { ...values, label: form.elements.label.selectedOptions[0]?.dataset.n || "" };
}

function matches(sample, filters) {
  return FILTERS.every((name) => {
    const value = filters[name];
    if (!value) return true;
    if (name === "text") return sample.text.includes(value.toLowerCase());
    return name === "label" ? sample.label.includes(value) : sample[name] === value;
  });
}

function show() {
  const filters = wanted();
  let count = 0;
  for (const sample of samples) {
    const match = matches(sample, filters);
    count += match;
    sample.element.hidden = !match;
    points.get(sample.element.id)?.classList.toggle("off", !match);
  }
  document.getElementById("count").textContent =
    `${count.toLocaleString("en")} of ${samples.length.toLocaleString("en")} samples`;
}

function remember() {
  if (location.protocol === "about:") return; // a notebook shows the page without an address of its own
  const filters = FILTERS.map((name) => [name, form.elements[name].value]).filter(([, value]) => value);
  history.replaceState(null, "", `#samples?${new URLSearchParams(filters)}`);
}

function clear() {
  form.reset();
  show();
}

// Follow the address: set the filters that it holds, or open the sample or call that it names.
function follow() {
  const [name, query] = decodeURIComponent(location.hash.slice(1)).split("?");
  if (query !== undefined && form) {
    const filters = new URLSearchParams(location.hash.split("?")[1]);
    for (const filter of FILTERS) {
      const field = form.elements[filter];
      field.value = filters.get(filter) || "";
      if (field.selectedIndex < 0) field.value = ""; // a value that this run does not have
    }
    show();
    document.getElementById(name)?.scrollIntoView();
    return;
  }
  const target = name && document.getElementById(name);
  if (!target) return;
  if (target.hidden) clear();
  if (target.matches("details")) target.open = true;
  target.scrollIntoView(); // first the list to the target, then the page to the list
  target.closest(".list")?.scrollIntoView();
}

if (form) {
  form.hidden = false;
  form.addEventListener("input", () => {
    show();
    remember();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => {
    show();
    remember();
  }));
  show();
}
for (const [id, point] of points) {
  point.addEventListener("click", () => {
    location.hash = id;
    follow();
  });
}
addEventListener("hashchange", follow);
if (document.readyState === "complete") follow();
else addEventListener("load", follow); // afterwards, since the browser scrolls to the target itself
