// Which sentences are listed, and in which order: a number a column, ranges, and words that are looked for.

const PAGE = 50; // sentences in the document at a time

class Selection {
  constructor(section) {
    this.section = section;
    this.sort = section.columns.find((column) => ["ngrr", "ignored", "aer"].includes(column.key))?.key ?? "place";
    this.of = section.systems.length > 1 ? "worst" : "0";
    this.descending = this.worstFirst();
    this.find = "";
    this.ranges = {}; // column -> [least, most]
    this.only = new Set(); // of "repeats" and "uncovered"
  }

  column(key) {
    return this.section.columns.find((column) => column.key === key);
  }

  /** Whether the sentences that are worst by a column are those with the highest numbers. */
  worstFirst() {
    const column = this.column(this.sort);
    return column ? !column.higher : false;
  }

  /** The number by which sentence n is sorted or filtered; NaN where there is none. */
  value(column, n) {
    const of = this.of;
    const values = column.values;
    if (of === "worst") {
      const known = values.map((one) => one?.[n]).filter((one) => one != null);
      if (!known.length) return NaN;
      return column.higher ? Math.min(...known) : Math.max(...known);
    }
    const minus = /^(\d+)-(\d+)$/.exec(of);
    if (minus) return (values[minus[1]]?.[n] ?? NaN) - (values[minus[2]]?.[n] ?? NaN);
    return values[of]?.[n] ?? NaN;
  }

  /** The systems that the choice "of" speaks of. */
  meant() {
    const { systems } = this.section;
    return this.of === "worst" ? systems : [systems[parseInt(this.of, 10)]];
  }

  /** Numbers of the sentences that are wanted, in the order that is wanted. */
  numbers() {
    const { section } = this;
    const terms = folded(this.find).split(" ").filter(Boolean);
    const ranges = Object.entries(this.ranges).map(([key, range]) => [this.column(key), range]);
    const found = [];
    for (let n = 0; n < section.sentences; n++) {
      if (terms.length && !terms.every((term) => this.haystack(n).includes(term))) continue;
      if (!ranges.every(([column, [least, most]]) => within(this.value(column, n), least, most))) continue;
      if (this.only.has("repeats") && !this.meant().some((system) => repeatsOf(system, n))) continue;
      if (this.only.has("uncovered") && !this.meant().some((system) => system.own?.uncovered[n].length)) continue;
      found.push(n);
    }
    const column = this.column(this.sort);
    if (!column) return this.descending ? found.reverse() : found;
    const keys = new Map(found.map((n) => [n, this.value(column, n)]));
    const sign = this.descending ? -1 : 1;
    // Sentences without a number come last both ways; equals stay in the order of the text.
    return found.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
      return sign * (x - y) || a - b;
    });
  }

  haystack(n) {
    const { section } = this;
    this.texts ??= new Array(section.sentences);
    const texts = [section.sources, ...section.systems.map((system) => system.hypotheses), ...section.references];
    return (this.texts[n] ??= folded(texts.map((text) => text?.lines[n] ?? "").join(" ")));
  }
}

function within(value, least, most) {
  if (least == null && most == null) return true;
  return !Number.isNaN(value) && (least == null || value >= least) && (most == null || value <= most);
}

/** A value of a column as it is written. */
function written(column, value) {
  return value.toFixed(column.key.endsWith("length") ? 0 : 1);
}

/** How many spans a translation repeats that the reference does not. */
function repeatsOf(system, n) {
  const flat = system.hypotheses?.repeats[n] ?? [];
  let count = 0;
  for (let at = 2; at < flat.length; at += 3) count += !flat[at];
  return count;
}

/** One sentence of the list: a button with its texts, and the place where it opens. */
function rowOf(section, selection, n, systems) {
  const column = selection.column(selection.sort);
  const button = make("button", { type: "button", class: "row", "aria-expanded": "false", "aria-controls": `panel-${n}`, "data-number": n });
  button.append(make("span", { class: "number" }, String(n + 1)));
  const lines = make("span", { class: "lines" });
  const add = (name, text, kind, chips = [], title = null) =>
    lines.append(make("span", { class: `line ${kind}` }, make("span", { class: "name", dir: "auto", title }, name), make("span", { class: "text", dir: "auto" }, text), ...chips));
  if (section.sources) {
    const own = systems.length === 1 ? systems[0].own : null;
    add("source", markedText(section.sources.lines[n], [], own?.uncovered[n]), "source");
  }
  for (const system of systems) {
    const place = section.systems.indexOf(system);
    const chips = [];
    const value = column?.values[place]?.[n];
    if (value != null) chips.push(make("span", { class: "chip value", title: column.label }, written(column, value)));
    const repeats = repeatsOf(system, n);
    if (repeats) chips.push(make("span", { class: "chip repeat", title: "spans said again that the reference does not repeat" }, `${repeats} again`));
    const left = (system.own ?? system.forced)?.uncovered[n].length;
    if (left) chips.push(make("span", { class: "chip uncovered", title: "source words left out" }, `${left} left out`));
    const text = system.hypotheses;
    const said = text ? markedText(text.lines[n], text.repeats[n]) : "";
    add(system.short, said, "hypothesis", [make("span", { class: "chips" }, ...chips)], system.name);
  }
  if (!systems.some((system) => system.hypotheses) && section.references.length) add("reference", section.references[0].lines[n], "reference");
  button.append(lines);
  return make("li", { "data-number": n }, make("h3", {}, button), make("div", { id: `panel-${n}`, class: "place", hidden: true }));
}
