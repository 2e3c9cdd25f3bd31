"use strict";
/* The page of a report. Every table stands in the page; this shows one of a section's at a time, and filters, orders,
   unfolds and compares its lines. Names are only ever set as text. What is chosen stands in the address. */

const told = JSON.parse(document.getElementById("told").textContent);

/** An element with attributes and children: make("dd", {class: "x"}, "text", element). */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.flat());
  return made;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const show = (value, percent) => (percent ? (100 * value).toFixed(1) : value.toFixed(3));
const signed = (value, percent) => (value >= 0 ? "+" : "−") + show(Math.abs(value), percent);
const spread = (low, high, percent) => (low === null ? "" : ` [${show(low, percent)}, ${show(high, percent)}]`);

/** What the page knows of the number in a cell of a table; nothing for a gap. */
function numberIn(td) {
  const button = td.querySelector("button[data-cell]");
  return button ? told.cells[button.dataset.cell] : undefined;
}
const valueIn = (number) => (number?.numbers && number.difference === undefined ? mean(number.numbers.map((one) => one[1])) : undefined);

/* ---- a table: its lines, filtered and ordered ---- */

class Sheet {
  constructor(element) {
    this.element = element;
    this.table = element.querySelector("table");
    this.choices = JSON.parse(element.dataset.choices);
    this.percent = element.dataset.percent === "1";
    this.heads = [...this.table.tHead.rows[0].cells];
    this.columns = this.heads.slice(1).map((head) => head.querySelector("button").dataset.order);
    this.bodies = [...this.table.tBodies];
    this.lines = [...this.table.querySelectorAll("tr.line")];
    this.homes = new Map(this.lines.map((line) => [line, line.parentNode]));
    this.ordered = make("tbody", { class: "ordered", hidden: "" });
    this.table.append(this.ordered);
    let main = null;
    for (const line of this.lines) {
      if (!line.classList.contains("variant")) main = line;
      line.main = main;
    }
  }

  variants(line) {
    return this.lines.filter((other) => other.main === line && other !== line);
  }

  /** Shows what the state of the section says. */
  show(state) {
    this.close();
    for (const line of this.lines) line.hidden = !this.fits(line, state);
    for (const line of this.lines) this.fold(line, state);
    this.order(state.order, state.up);
    for (const body of this.bodies) {
      body.hidden = Boolean(state.order) || [...body.rows].every((row) => row.hidden || row.classList.contains("group"));
    }
  }

  fits(line, state) {
    if (line.classList.contains("control") && !state.controls) return false;
    const group = this.homes.get(line).querySelector("tr.group")?.textContent ?? "";
    return (line.cells[0].textContent + " " + group).toLowerCase().includes(state.filter.toLowerCase());
  }

  /** Variants stand below their line when it is unfolded, or when they are what is looked for. */
  fold(line, state) {
    const open = state.variants || state.unfolded.has(this.lines.indexOf(line.main));
    if (line !== line.main && !open && !state.filter) line.hidden = true;
    line.querySelector("button.fold")?.setAttribute("aria-expanded", open);
  }

  /** Lines by the numbers of a column; those that answer another question than most, and gaps, behind. */
  order(column, up) {
    const at = this.columns.indexOf(column) + 1;
    this.heads.slice(1).forEach((head, place) => head.setAttribute("aria-sort", place + 1 !== at ? "none" : up ? "ascending" : "descending"));
    this.table.classList.toggle("ordered", at > 0);
    this.ordered.hidden = at === 0;
    if (at === 0) {
      for (const line of this.lines) this.homes.get(line).append(line);
      return;
    }
    const usual = this.usualQuestion(at);
    const place = (line) => {
      const number = numberIn(line.cells[at]);
      const value = valueIn(number);
      if (value === undefined) return [2, 0];
      return [number.asked === usual ? 0 : 1, up ? value : -value];
    };
    const places = new Map(this.lines.map((line) => [line, place(line)]));
    const sorted = [...this.lines].sort((a, b) => places.get(a)[0] - places.get(b)[0] || places.get(a)[1] - places.get(b)[1]);
    this.ordered.append(...sorted);
  }

  usualQuestion(at) {
    const counts = new Map();
    for (const line of this.lines) {
      const asked = numberIn(line.cells[at])?.asked;
      if (asked !== undefined) counts.set(asked, (counts.get(asked) ?? 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
  }

  close() {
    for (const row of this.table.querySelectorAll("tr.detail")) row.remove();
    for (const button of this.table.querySelectorAll("td > button[aria-expanded]")) button.removeAttribute("aria-expanded");
  }

  /** Opens below its line what there is to say of a number, or of a gap. */
  open(td) {
    const line = td.parentNode;
    const detail = make("tr", { class: "detail" }, make("td", { colspan: this.heads.length }, this.describe(td, line)));
    line.after(detail);
    td.querySelector("button").setAttribute("aria-expanded", "true");
  }

  describe(td, line) {
    const number = numberIn(td);
    const list = make("dl");
    const say = (name, ...content) => content.flat().length && list.append(make("dt", {}, name), make("dd", {}, ...content));
    if (!number) say("not measured", command(line.dataset.command + quoted(this.columns[td.cellIndex - 1])));
    else if (number.source) say("printed in", number.source);
    else this.describeMeasured(number, say);
    return make("div", { class: "told" }, list);
  }

  describeMeasured(number, say) {
    const runs = number.numbers.map((one) => told.runs[one[0]]);
    const several = number.numbers.length > 1;
    const texts = (name) => [...new Set(runs.map((run) => told.texts[run[name]]))].map((text) => make("div", {}, text));
    if (number.difference !== undefined) say("difference", signed(number.difference, this.percent));
    say(several ? "each seed" : "value", this.tableOf(number));
    if (number.chance !== null) say("chance", show(number.chance, this.percent));
    if (number.n) say("counted", number.n.toLocaleString("en"));
    if (number.protocol !== undefined) say("protocol", told.texts[number.protocol]);
    say("images", texts("data"));
    say("settings", texts("settings"));
    say("model", texts("model"));
    say("measured", texts("made"));
    say("again", runs.map((run) => command(run.again.map((part) => told.texts[part]).join(""))));
  }

  /** The numbers that a cell is made of, each with its interval, head and record. */
  tableOf(number) {
    const row = (tag, ...texts) => make("tr", {}, texts.map((text) => make(tag, {}, text)));
    const rows = number.numbers.map(([run, value, low, high]) => {
      const { seed, head, seconds, record } = told.runs[run];
      return row("td", seed, show(value, this.percent) + spread(low, high, this.percent), head, seconds === null ? "" : `${seconds} s`, make("code", {}, `records/${record}`));
    });
    return make("table", {}, make("thead", {}, row("th", "seed", "value [95 % interval]", "head", "took", "record")), make("tbody", {}, rows));
  }
}

const quoted = (name) => (/^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", `'"'"'`)}'`);

/** A command with a button that copies it. */
function command(text) {
  const copy = make("button", { type: "button" }, "Copy");
  copy.addEventListener("click", () => copyText(text, copy));
  return make("div", {}, make("code", {}, text), copy);
}

async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed here";
  }
  setTimeout(() => (button.textContent = before), 1500);
}

/* ---- a section: its switches, and which of its tables is shown ---- */

class Section {
  constructor(element) {
    this.element = element;
    this.name = element.id;
    this.sheets = [...element.querySelectorAll(".sheet")].map((sheet) => new Sheet(sheet));
    this.first = this.sheets.find((sheet) => sheet.element.classList.contains("first"));
    this.switches = element.querySelector(".switches");
    this.switches.hidden = false;
    this.reset();
    element.addEventListener("click", (event) => this.pressed(event.target));
    element.addEventListener("change", (event) => this.changed(event.target));
    element.addEventListener("keydown", (event) => event.key === "Escape" && this.closed(event.target));
    this.switches.querySelector(".filter").addEventListener("input", (event) => {
      this.state.filter = event.target.value;
      this.update();
    });
  }

  reset() {
    this.sheet = this.first;
    this.state = { filter: "", controls: true, variants: false, order: "", up: false, unfolded: new Set(), ticked: [], open: "" };
  }

  /** The table with this choice that differs least in the others from the one shown. */
  choose(name, value) {
    const alike = (sheet) => Object.entries(sheet.choices).filter(([other, its]) => this.sheet.choices[other] === its).length;
    const found = this.sheets.filter((sheet) => sheet.choices[name] === value).sort((a, b) => alike(b) - alike(a))[0];
    if (!found) return;
    this.sheet = found;
    Object.assign(this.state, { ticked: [], open: "", unfolded: new Set() });
    if (!found.columns.includes(this.state.order)) this.state.order = "";
  }

  pressed(target) {
    const button = target.closest("button");
    if (!button) return;
    const td = button.closest("td");
    if (button.matches("[data-choice]")) this.choose("view", button.value);
    else if (button.matches(".unfold")) return void button.setAttribute("aria-expanded", button.ariaExpanded !== "true");
    else if (button.matches(".variants")) this.state.variants = !this.state.variants;
    else if (button.matches(".copy")) return this.copy(button);
    else if (button.matches("[data-order]")) this.orderBy(button.dataset.order);
    else if (button.matches(".fold")) this.toggle(this.sheet.lines.indexOf(button.closest("tr")));
    else if (td && td.closest("tr.line")) this.openOrClose(td);
    else return;
    this.update();
    if (td) this.cellAt(this.placeOf(td))?.querySelector("button").focus();
  }

  changed(target) {
    if (target.matches("select")) this.choose(target.dataset.choice, target.value);
    else if (target.matches(".controls input")) this.state.controls = target.checked;
    else if (target.matches("th input")) this.tick(this.sheet.lines.indexOf(target.closest("tr")), target.checked);
    else return;
    this.update();
  }

  /** Escape closes what was opened last: a number's details, or else the comparison. */
  closed(target) {
    const line = target.closest("tr.detail")?.previousElementSibling;
    if (!this.state.open) this.state.ticked = [];
    this.state.open = "";
    this.update();
    line?.querySelector("td button")?.focus();
  }

  orderBy(column) {
    if (this.state.order !== column) Object.assign(this.state, { order: column, up: false });
    else if (!this.state.up) this.state.up = true;
    else Object.assign(this.state, { order: "", up: false });
  }

  toggle(line) {
    if (!this.state.unfolded.delete(line)) this.state.unfolded.add(line);
  }

  tick(line, on) {
    this.state.ticked = [...this.state.ticked.filter((other) => other !== line), ...(on ? [line] : [])].slice(-2);
  }

  placeOf(td) {
    return `${this.sheet.lines.indexOf(td.parentNode)}.${td.cellIndex}`;
  }

  cellAt(place) {
    const [line, at] = place.split(".").map(Number);
    return this.sheet.lines[line]?.cells[at];
  }

  openOrClose(td) {
    const place = this.placeOf(td);
    this.state.open = this.state.open === place ? "" : place;
  }

  update() {
    const focused = document.activeElement;
    this.draw(); // it moves lines, and what is moved loses the focus
    if (this.element.contains(focused)) focused.focus({ preventScroll: true });
    compare(this);
    writeAddress(this);
  }

  draw() {
    for (const sheet of this.sheets) sheet.element.hidden = sheet !== this.sheet;
    this.sheet.show(this.state);
    const open = this.state.open && this.cellAt(this.state.open);
    if (open && !open.parentNode.hidden) this.sheet.open(open);
    this.drawSwitches();
    this.sheet.lines.forEach((line, at) => {
      const box = line.querySelector("th input");
      if (box) box.checked = this.state.ticked.includes(at);
    });
  }

  drawSwitches() {
    for (const button of this.switches.querySelectorAll("button[data-choice]")) {
      button.setAttribute("aria-pressed", this.sheet.choices.view === button.value);
    }
    for (const select of this.switches.querySelectorAll("select")) this.drawOptions(select);
    this.switches.querySelector(".filter").value = this.state.filter;
    const controls = this.switches.querySelector(".controls");
    controls.querySelector("input").checked = this.state.controls;
    controls.hidden = !this.sheet.lines.some((line) => line.classList.contains("control"));
    const variants = this.switches.querySelector(".variants");
    variants.setAttribute("aria-pressed", this.state.variants);
    variants.hidden = !this.sheet.lines.some((line) => line !== line.main);
    this.switches.querySelector("[data-form=tex]").hidden = !this.latex();
  }

  /** Only what this view has stands in a list of choices. */
  drawOptions(select) {
    const name = select.dataset.choice;
    const same = this.sheets.filter((sheet) => sheet.choices.view === this.sheet.choices.view);
    const there = new Set(same.map((sheet) => sheet.choices[name]).filter((value) => value !== undefined));
    for (const option of select.options) option.hidden = option.disabled = !there.has(option.value);
    select.value = this.sheet.choices[name] ?? "";
    select.closest("label").hidden = there.size < 2;
  }

  latex() {
    return this.sheet.element.querySelector("script").textContent.trim();
  }

  copy(button) {
    copyText(button.dataset.form === "tex" ? this.latex() : this.csv(), button);
  }

  /** The numbers that are shown, as a table of text. */
  csv() {
    const rows = this.sheet.lines.filter((line) => !line.hidden).map((line) => [
      [...line.cells[0].querySelectorAll("label, small")].map((part) => part.textContent.trim()).join(", "),
      ...[...line.cells].slice(1).map((td) => td.querySelector("button")?.textContent.replace("–", "") ?? ""),
    ]);
    const head = ["", ...this.sheet.columns];
    return [head, ...rows].map((row) => row.map((text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)).join(",")).join("\n");
  }
}

/* ---- two lines compared, at the foot of the page ---- */

const bar = document.getElementById("compare");

function compare(section) {
  const [one, other] = section.state.ticked.map((at) => section.sheet.lines[at]);
  bar.hidden = !(one && other);
  if (bar.hidden) return;
  const close = make("button", { type: "button" }, "Close");
  close.addEventListener("click", () => {
    section.state.ticked = [];
    section.update();
  });
  const differences = section.sheet.columns.map((column, at) => difference(section.sheet, column, one.cells[at + 1], other.cells[at + 1]));
  const list = make("ul", {}, differences.filter(Boolean));
  if (!list.children.length) list.append(make("li", {}, "nothing was measured of both"));
  bar.replaceChildren(close, make("b", {}, `${nameOf(one)} less ${nameOf(other)}`), list);
}

bar.addEventListener("keydown", (event) => event.key === "Escape" && bar.querySelector("button").click());

function nameOf(line) {
  const [name, detail] = [line.cells[0].querySelector("label, span"), line.cells[0].querySelector("small")];
  return name.textContent.trim() + (detail?.textContent.trim() ? ` (${detail.textContent.trim()})` : "");
}

/** One column's difference with its paired interval; or why there is none. */
function difference(sheet, column, td, otherTd) {
  const [one, other] = [td, otherTd].map(numberIn);
  const [value, from] = [one, other].map(valueIn);
  if (value === undefined || from === undefined) return null;
  const item = make("li", {}, `${column} `);
  const fields = Object.keys(told.asked[one.asked]).filter((field) => told.asked[one.asked][field] !== told.asked[other.asked][field]);
  if (fields.length) {
    item.append(`not comparable: another ${fields.join(", ")}`);
    return item;
  }
  item.append(make("b", {}, signed(value - from, sheet.percent)), ` ${certainty(sheet, td, otherTd, value - from)}`);
  return item;
}

function certainty(sheet, td, otherTd, value) {
  const ids = [td, otherTd].map((cell) => Number(cell.querySelector("button").dataset.cell)).sort((a, b) => a - b);
  const error = told.errors[ids.join(" ")];
  if (error !== undefined) {
    const [low, high] = [value - 1.96 * error, value + 1.96 * error];
    const verdict = low <= 0 && high >= 0 ? "; the images cannot tell them apart" : "";
    return `[${signed(low, sheet.percent)}, ${signed(high, sheet.percent)}] paired over images${verdict}`;
  }
  return [bySeed(sheet, td, otherTd), "no interval: no counts by image"].filter(Boolean).join("; ");
}

/** The lowest and highest difference of two models trained with the same seeds. */
function bySeed(sheet, td, otherTd) {
  const [one, other] = [td, otherTd].map((cell) => numberIn(cell).numbers);
  const seeds = (numbers) => numbers.map((number) => told.runs[number[0]].seed).join();
  if (one.length < 2 || seeds(one) !== seeds(other)) return "";
  const values = one.map((number, at) => number[1] - other[at][1]);
  return `seed by seed ${signed(Math.min(...values), sheet.percent)} to ${signed(Math.max(...values), sheet.percent)}`;
}

/* ---- the address: what differs from the page as it opens, of every section ---- */

function changedOf(section) {
  const { state, sheet, first } = section;
  const changed = sheet === first ? {} : { ...sheet.choices };
  if (state.filter) changed.filter = state.filter;
  if (!state.controls) changed.controls = "off";
  if (state.variants) changed.variants = "on";
  if (state.unfolded.size) changed.unfolded = [...state.unfolded].join(",");
  if (state.order) changed.order = (state.up ? "up " : "") + state.order;
  if (state.ticked.length) changed.ticked = state.ticked.join(",");
  if (state.open) changed.open = state.open;
  return changed;
}

function writeAddress(touched) {
  const told = new URLSearchParams();
  for (const section of [touched, ...sections.filter((one) => one !== touched)]) {
    for (const [name, value] of Object.entries(changedOf(section))) told.set(`${section.name}.${name}`, value);
  }
  history.replaceState(null, "", `#${told.size ? told : touched.name}`);
}

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (![...given.keys()].some((key) => key.includes("."))) return; // a plain link to a section
  for (const section of sections) {
    section.reset();
    const of = (name) => given.get(`${section.name}.${name}`);
    for (const name of Object.keys(section.first.choices)) if (of(name)) section.choose(name, of(name));
    const numbers = (text) => (text ?? "").split(",").filter(Boolean).map(Number);
    Object.assign(section.state, {
      filter: of("filter") ?? "",
      controls: of("controls") !== "off",
      variants: of("variants") === "on",
      unfolded: new Set(numbers(of("unfolded"))),
      order: (of("order") ?? "").replace(/^up /, ""),
      up: (of("order") ?? "").startsWith("up "),
      ticked: numbers(of("ticked")),
      open: of("open") ?? "",
    });
  }
}

const sections = [...document.querySelectorAll("main > section")].filter((one) => one.querySelector(".sheet")).map((one) => new Section(one));

function start() {
  readAddress();
  for (const section of sections) section.draw();
  const ticked = sections.find((section) => section.state.ticked.length === 2);
  if (ticked) compare(ticked);
  const [key] = new URLSearchParams(location.hash.slice(1)).keys();
  if (key?.includes(".")) document.getElementById(key.split(".")[0])?.scrollIntoView();
}

/* On paper everything is unfolded. */
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  for (const section of sections) for (const line of section.sheet.lines) if (line.main !== line) line.hidden = line.main.hidden;
});
addEventListener("afterprint", () => sections.forEach((section) => section.draw()));
addEventListener("hashchange", start);
start();
