"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { columns, runs } = data;
const PAGE = 100; // rows in the document at a time
const PICTURES = 2; // of a run
const order = new Intl.Collator("en", { numeric: true });
const view = { words: [], outcome: "", column: -1, down: false, page: 0 };
const at = (id) => document.getElementById(id);
const outcomeColumn = columns.findIndex((column) => column.name === "outcome");

function make(tag, settings = {}, ...children) {
  const element = Object.assign(document.createElement(tag), settings);
  element.append(...children);
  return element;
}

function shown(name, value) {
  if (value === null) return "";
  if (name === "peak_memory") return `${Math.round(value)} MB`;
  if (name === "seconds") return value.toFixed(1);
  if (name === "started") return value.slice(0, 16).replace("T", " ");
  return typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(4)) : String(value);
}

// name=value stands for the whole value, any other word for a part of the text
for (const run of runs) {
  const pairs = columns.map(({ name }, i) => `${name}=${run.cells[i] ?? ""}`.replaceAll(/\s/g, ""));
  run.text = `\n${pairs.join("\n")}\n${run.why ?? ""}\n`.toLowerCase();
}
const fits = (run) =>
  (!view.outcome || run.cells[outcomeColumn] === view.outcome) && view.words.every((word) => run.text.includes(word));

function compare(a, b) {
  const x = a.cells[view.column], y = b.cells[view.column];
  if (x === null || y === null) return (x === null) - (y === null); // at the end in both directions
  const numbers = typeof x === "number" && typeof y === "number";
  const sign = numbers ? x - y : (typeof y === "number") - (typeof x === "number") || order.compare(x, y);
  return view.down ? -sign : sign;
}

// the outcome, and the rest of a reason with the first line of its cell as code
function because(why) {
  const outcome = why.match(/^\w*/)[0];
  const [place, source, ...reason] = why.slice(outcome.length).split("`");
  const rest = source === undefined ? [place] : [place, make("code", {}, source), reason.join("`")];
  return [make("strong", {}, outcome), ...rest];
}

function row(run) {
  const line = make("tr");
  columns.forEach(({ name, number }, i) => {
    const text = shown(name, run.cells[i]);
    if (name === "id") {
      line.append(make("th", { scope: "row" }, run.page ? make("a", { href: run.page }, text) : text), pictures(run));
    } else if (name === "outcome" && run.why) {
      line.append(make("td", { className: "bad" }, make("p", {}, ...because(run.why))));
    } else {
      line.append(make("td", { className: number ? "number" : "" }, text));
    }
  });
  return line;
}

function pictures(run) {
  const some = run.figures.slice(0, PICTURES).map(({ file, alt }) =>
    make("a", { href: file }, make("img", { loading: "lazy", alt: alt || "picture", src: file, height: 40 })));
  const more = run.figures.length - some.length;
  if (more > 0) some.push(run.page ? make("a", { href: run.page }, `+${more}`) : `+${more}`);
  return make("td", { className: "pictures" }, make("span", {}, ...some));
}

function draw() {
  const found = runs.filter(fits);
  if (view.column >= 0) found.sort(compare);
  const first = view.page * PAGE, some = found.slice(first, first + PAGE);
  at("rows").replaceChildren(...some.map(row));
  const range = found.length > PAGE ? `${(first + 1).toLocaleString("en")} to ${(first + some.length).toLocaleString("en")} of ` : "";
  const what = found.length === 1 ? "run" : "runs";
  at("status").textContent = runs.length ? `${range}${found.length.toLocaleString("en")} ${what}` : "No runs yet.";
  at("pages").hidden = found.length <= PAGE;
  at("before").disabled = view.page === 0;
  at("after").disabled = first + PAGE >= found.length;
  heads.forEach((head, i) => {
    if (i === view.column) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  for (const button of at("outcomes").children) button.setAttribute("aria-pressed", button.value === view.outcome);
}

function change(settings) {
  Object.assign(view, { page: 0 }, settings);
  draw();
  document.querySelector(".frame").scrollTop = 0;
}

at("about").textContent = data.about;
at("written").textContent = data.written;
const same = Object.entries(data.same);
at("same").hidden = !same.length;
at("same").querySelector("dl").append(
  ...same.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
at("without").hidden = !data.reasons.length;
for (const { why, count, runs } of data.reasons) {
  const links = runs.flatMap(([name, href]) => [", ", make("a", { href }, name)]).slice(1);
  if (count > runs.length) links.push(`, and ${(count - runs.length).toLocaleString("en")} more`);
  at("without").querySelector("ul").append(make("li", {}, ...because(why), " ", make("span", {}, ...links)));
}
if (data.more) {
  const more = `and ${data.more.toLocaleString("en")} more kinds of failures`;
  at("without").querySelector("ul").append(make("li", {}, more));
}

const heads = columns.map(({ name, number }, i) => {
  const button = make("button", { type: "button" }, name.replaceAll("_", " "));
  button.addEventListener("click", () => change({ column: i, down: view.column === i && !view.down }));
  return make("th", { scope: "col", className: number ? "number" : "" }, button);
});
at("heads").append(heads[0], make("th", { scope: "col" }, "figures"), ...heads.slice(1));

const counts = new Map([["", runs.length]]);
for (const run of runs) counts.set(run.cells[outcomeColumn], (counts.get(run.cells[outcomeColumn]) ?? 0) + 1);
if (counts.size > 2) {
  for (const [outcome, count] of counts) {
    const button = make("button", { type: "button", value: outcome }, `${outcome || "all"} ${count.toLocaleString("en")}`);
    button.addEventListener("click", () => change({ outcome }));
    at("outcomes").append(button);
  }
}

let waiting;
at("filter").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    change({ words: words.map((word) => (word.includes("=") ? `\n${word}\n` : word)) });
  }, 60);
});
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
at("before").addEventListener("click", () => change({ page: view.page - 1 }));
at("after").addEventListener("click", () => change({ page: view.page + 1 }));
draw();
