// The page: what is chosen and opened, by pointer and by key.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
let section, selection, order, page, current, open, shown, view = "own";

function start() {
  for (const one of data.sections) {
    const names = shortNames(one.systems.map((system) => system.name));
    for (const [n, system] of one.systems.entries()) {
      system.short = names[n];
      const add = (alignment, target) => alignment && (alignment.matrices = new Weights(alignment.weights, one.steps, one.sources.lines, target.lines));
      add(system.own, system.hypotheses);
      add(system.forced, one.references[0]);
    }
  }
  document.querySelector(".tools").hidden = $("sentences").hidden = false;
  $("tests").append(...data.sections.map((one, n) => make("option", { value: n }, one.name ?? `test set ${n + 1}`)));
  document.querySelector(".tests").hidden = data.sections.length < 2;
  const [, test, sentence] = /^#(\d+)\/(\d+)$/.exec(location.hash) ?? [];
  choose(data.sections[test - 1] ? test - 1 : 0);
  if (sentence) goto(sentence - 1);
  listen();
}

/** Show another test set. */
function choose(number) {
  section = data.sections[number];
  $("tests").value = number;
  for (const scores of document.querySelectorAll("#scores > section")) scores.hidden = Number(scores.dataset.section) !== number;
  selection = new Selection(section);
  shown = new Set(section.systems.slice(0, 2));
  const { systems } = section;
  const columns = section.columns.map((column) => make("option", { value: column.key }, column.label));
  $("sort").replaceChildren(make("option", { value: "place" }, "place in the text"), ...columns);
  const of = systems.map((system, n) => make("option", { value: n }, system.name));
  const less = systems.slice(1).map((system, n) => make("option", { value: `${n + 1}-0` }, `${system.name} − ${systems[0].name}`));
  $("of").replaceChildren(make("option", { value: "worst" }, "the worst of all"), ...of, ...less);
  document.querySelector(".of").hidden = systems.length < 2;
  $("find").value = "";
  filters();
  const boxes = systems.map((system) => {
    const box = make("input", { type: "checkbox", checked: shown.has(system) });
    box.addEventListener("change", () => {
      shown[box.checked ? "add" : "delete"](system);
      render();
    });
    return make("label", { dir: "auto" }, box, system.name);
  });
  $("shown").replaceChildren($("shown").firstElementChild, ...boxes);
  $("shown").hidden = systems.length < 2;
  update();
}

function filters() {
  const rows = section.columns.map((column) => {
    const ends = ["least", "most"].map((name, side) => {
      const input = make("input", { type: "number", step: "any", "aria-label": `${name} ${column.label}`, placeholder: name });
      input.addEventListener("input", () => {
        const range = (selection.ranges[column.key] ??= [null, null]);
        range[side] = input.value === "" ? null : Number(input.value);
        update();
      });
      return input;
    });
    return make("div", { class: "range" }, make("span", {}, column.label), ...ends);
  });
  const only = (key, name) => {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      selection.only[box.checked ? "add" : "delete"](key);
      update();
    });
    return make("label", {}, box, name);
  };
  if (section.systems.some((system) => system.hypotheses)) rows.unshift(only("repeats", "says something again that the reference does not"));
  if (section.systems.some((system) => system.own)) rows.unshift(only("uncovered", "leaves source words out"));
  $("ranges").replaceChildren(...rows);
}

/** Sort and filter anew, and go to the first page. */
function update() {
  order = selection.numbers();
  page = 0;
  current = order[0] ?? -1;
  open = null;
  const used = Object.values(selection.ranges).filter((range) => range.some((end) => end != null)).length + selection.only.size;
  $("active").textContent = used ? `(${used})` : "";
  $("sort").value = selection.sort;
  $("of").value = selection.of;
  $("order").replaceChildren(selection.descending ? "↓ high to low " : "↑ low to high ", make("kbd", {}, "o"));
  const [all, some] = [section.sentences, order.length].map((count) => count.toLocaleString("en"));
  $("count").textContent = some === all ? `${all} sentences` : order.length ? `${some} of ${all} sentences` : `None of ${all} sentences is like that.`;
  render();
}

/** Write the present page of the list. */
function render() {
  const again = open?.number;
  open = null;
  const systems = section.systems.filter((system) => shown.has(system));
  const rows = order.slice(page * PAGE, (page + 1) * PAGE).map((n) => rowOf(section, selection, n, systems));
  $("list").replaceChildren(...rows);
  $("list").setAttribute("start", page * PAGE + 1);
  const pages = Math.ceil(order.length / PAGE);
  const turn = (by, name, key) => {
    const button = make("button", { type: "button", disabled: page + by < 0 || page + by >= pages, "aria-keyshortcuts": key }, name, " ", make("kbd", {}, key));
    button.addEventListener("click", () => leaf(by));
    return button;
  };
  $("pages").replaceChildren(turn(-1, "Before", "["), make("span", {}, `page ${page + 1} of ${Math.max(1, pages)}`), turn(1, "Next", "]"));
  $("pages").hidden = pages < 2;
  mark();
  if (again != null && button(again)) show(again);
}

const button = (n) => document.querySelector(`.row[data-number="${n}"]`);

/** The current row is the one that Tab comes to. */
function mark() {
  for (const row of document.querySelectorAll(".row")) row.tabIndex = Number(row.dataset.number) === current ? 0 : -1;
}

function leaf(by, last = false) {
  const pages = Math.ceil(order.length / PAGE);
  if (page + by < 0 || page + by >= pages) return;
  page += by;
  const rows = order.slice(page * PAGE, (page + 1) * PAGE);
  current = last ? rows.at(-1) : rows[0];
  render();
  focus();
}

function focus() {
  mark();
  const row = button(current);
  row?.focus({ preventScroll: true });
  row?.closest("li").scrollIntoView({ block: open?.number === current ? "start" : "nearest" });
}

/** The next sentence, or the one before; with one open it opens that. */
function move(by) {
  const place = order.indexOf(current) + by;
  if (place < 0 || place >= order.length) return focus();
  const reading = open != null;
  const wanted = Math.floor(place / PAGE);
  if (wanted !== page) leaf(wanted - page, by < 0);
  current = order[place];
  if (reading) show(current);
  focus();
}

function close() {
  if (!open) return;
  const row = button(open.number);
  row?.setAttribute("aria-expanded", "false");
  const place = $(`panel-${open.number}`);
  place?.replaceChildren();
  if (place) place.hidden = true;
  open = null;
  history.replaceState(null, "", location.pathname + location.search);
}

/** Open a sentence of the present page, and close the one that is open. */
function show(n) {
  close();
  const systems = section.systems.filter((system) => shown.has(system));
  const sentence = new Sentence(section, n, systems.length ? systems : section.systems, view);
  open = { number: n, sentence };
  current = n;
  const place = $(`panel-${n}`);
  if (sentence.views.length > 1) place.append(switcher(sentence));
  place.append(sentence.element);
  place.hidden = false;
  button(n).setAttribute("aria-expanded", "true");
  mark();
  history.replaceState(null, "", `#${data.sections.indexOf(section) + 1}/${n + 1}`);
  return sentence.draw();
}

function switcher(sentence) {
  const names = { own: "own translation", forced: "forced reference" };
  const buttons = sentence.views.map((one) => {
    const choice = make("button", { type: "button", "aria-pressed": String(one === sentence.view) }, names[one]);
    choice.addEventListener("click", () => look(one));
    return choice;
  });
  return make("div", { class: "switch", role: "group", "aria-label": "Which target" }, ...buttons, make("kbd", {}, "f"));
}

function look(one) {
  view = one;
  const number = open.number;
  show(number);
}

/** Open a sentence wherever it is, even if it was filtered out. */
function goto(n) {
  if (n < 0 || n >= section.sentences) return;
  if (!order.includes(n)) Object.assign(selection, { find: "", ranges: {}, only: new Set() }), filters(), update();
  const wanted = Math.floor(order.indexOf(n) / PAGE);
  if (wanted !== page) leaf(wanted - page);
  show(n);
  current = n;
  focus();
}

// The theme ----------------------------------------------------------------------------------------------------------

const THEMES = { auto: "◐ System", dark: "● Dark", light: "○ Light" };

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = `${THEMES[name]} `;
  $("theme").append(make("kbd", {}, "d"));
  try {
    localStorage.setItem("nmt-theme", name);
  } catch {} // a page may be opened where it may keep nothing
}

function nextTheme() {
  const names = Object.keys(THEMES);
  theme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
}

// Pointer and keys ---------------------------------------------------------------------------------------------------

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  Home: () => ((current = order[page * PAGE] ?? -1), open && show(current), focus()),
  End: () => ((current = order.slice(page * PAGE, (page + 1) * PAGE).at(-1) ?? -1), open && show(current), focus()),
  ArrowRight: () => open?.sentence.step(1),
  ArrowLeft: () => open?.sentence.step(-1),
  t: () => open?.sentence.turn(),
  f: () => open && open.sentence.views.length > 1 && look(open.sentence.view === "own" ? "forced" : "own"),
  "[": () => leaf(-1),
  "]": () => leaf(1),
  "/": () => $("find").focus(),
  s: () => $("sort").focus(),
  o: () => $("order").click(),
  d: nextTheme,
  "?": () => $("keys").showModal(),
  Enter: () => (open?.number === current ? close() : current >= 0 && show(current), focus()),
  Escape: () => (close(), focus()),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const target = event.target;
  if (target.id === "find" && event.key === "Escape") {
    event.preventDefault();
    if (target.value) (target.value = ""), (selection.find = ""), update();
    focus();
    return;
  }
  if (target.id === "find" && (event.key === "Enter" || event.key === "ArrowDown")) {
    event.preventDefault();
    focus();
    return;
  }
  if (target.matches("input, select, textarea")) {
    if (event.key === "Escape") focus();
    return;
  }
  // A button, a link or a table that scrolls has keys of its own.
  if (event.key === "Enter" && target.matches("button, a, summary")) return;
  if (/^(Arrow|Home|End)/.test(event.key) && target.closest(".wide, #controls, header")) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function listen() {
  document.addEventListener("keydown", pressed);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("tests").addEventListener("change", () => choose(Number($("tests").value)));
  $("sort").addEventListener("change", () => {
    selection.sort = $("sort").value;
    selection.descending = selection.worstFirst();
    update();
  });
  $("of").addEventListener("change", () => ((selection.of = $("of").value), update()));
  $("order").addEventListener("click", () => ((selection.descending = !selection.descending), update()));
  let waiting;
  $("find").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => ((selection.find = $("find").value), update()), 80);
  });
  $("list").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    const n = Number(row.dataset.number);
    current = n;
    open?.number === n ? close() : show(n);
    focus();
  });
  $("theme").addEventListener("click", nextTheme);
  $("help").addEventListener("click", () => $("keys").showModal());
}

let kept = null;
try {
  kept = localStorage.getItem("nmt-theme");
} catch {}
theme(kept in THEMES ? kept : "auto");
start();
