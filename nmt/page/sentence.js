// An open sentence: its texts and heat maps, system beside system, and what is linked to the word that is pointed at.

/** What there is of a sentence: lines of one system in one view, or of the reference. */
class Card {
  constructor(section, number, system, view) {
    const own = view === "own";
    const target = own ? system.hypotheses : section.references[0];
    const alignment = own ? system.own : system.forced;
    Object.assign(this, { section, number, system, alignment });
    this.uncovered = alignment?.uncovered[number] ?? [];
    this.status = make("p", { class: "status", role: "status", "aria-live": "polite" });
    this.map = make("div", { class: "map", role: "region", tabindex: 0, "aria-label": `Heat map of ${system.name}` });
    this.source = section.sources && alignment ? this.line("source", "Source", section.sources, this.uncovered) : null;
    this.target = target ? this.line("target", own ? "Translation" : "Reference, forced", target) : null;
    this.element = make(
      "article",
      { class: "card", "aria-label": system.name },
      make("h4", { dir: "auto" }, system.name),
      numbersOf(section, number, system),
      this.source?.box,
      this.target?.box,
      alignment ? this.status : section.systems.some((one) => one.own) ? make("p", { class: "status" }, "No alignment was given with these translations.") : null,
      alignment ? this.map : null,
    );
    this.lines = [this.source, this.target].filter((line) => line && alignment);
    this.say(null);
  }

  line(side, name, texts, uncovered = []) {
    const text = make("div", { class: `text ${side}`, dir: "auto" });
    text.append(markedText(texts.lines[this.number], texts.repeats[this.number], uncovered, true));
    if (!text.textContent.trim()) text.append(make("i", {}, "(empty)"));
    const box = make("div", { class: "line", role: "group", tabindex: this.alignment ? 0 : null, "aria-label": name }, make("span", { class: "name" }, name), text);
    const line = { side, box, words: [...text.querySelectorAll(".word")], texts: wordsOf(texts.lines[this.number]) };
    if (!this.alignment) return line;
    const pointed = (event) => {
      const word = event.target.closest?.(".word");
      if (word) this.point(side, Number(word.dataset.word));
    };
    text.addEventListener("pointerover", pointed);
    text.addEventListener("click", pointed);
    text.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.clear());
    return line;
  }

  /** Draw the heat map; weights are inflated here, when they are first needed. */
  async draw() {
    const { alignment, section, number, system } = this;
    if (!alignment || !this.source || !this.target) return;
    this.grid = await alignment.matrices.matrix(number);
    const gold = section.gold && alignment === system.forced ? goldLinks(section.gold[number]) : null;
    const words = { source: this.source.texts, target: this.target.texts };
    this.heat = new Heat({ grid: this.grid, ...words, gold, soft: alignment.soft, uncovered: this.uncovered, name: system.name, room: this.map.clientWidth });
    this.map.replaceChildren(this.heat.svg);
    const pointed = (event) => {
      const place = this.heat.under(event);
      if (place.source >= 0 && place.target >= 0) this.cross(place);
      else if (place.source >= 0) this.point("source", place.source);
      else if (place.target >= 0) this.point("target", place.target);
      else this.clear();
    };
    this.heat.svg.addEventListener("pointermove", pointed);
    this.heat.svg.addEventListener("click", pointed);
    this.heat.svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.clear());
    const left = this.uncovered.map((word) => this.source.texts[word]);
    this.rest = left.length ? ["Left out: ", ...between(left.map(word), " · ")] : ["Every source word is covered."];
    this.say(null);
  }

  /** Point at a word of one side: it, and all words of the other side that it is linked to. */
  point(side, at, reveal = false) {
    if (!this.grid) return;
    const other = side === "source" ? "target" : "source";
    const partners = this.grid.partners(side, at);
    this.paint({ [side]: [[at, 1]], [other]: partners });
    this.heat.point({ [side]: at });
    if (reveal) this.heat.reveal({ [side]: at, [other]: partners[0]?.[0] ?? -1 });
    const arrow = side === "source" ? "→" : "←";
    const told = partners.map(([n, weight]) => [word(this[other].texts[n]), this.alignment.soft ? ` ${weight.toFixed(2)}` : ""]);
    const coverage = side === "source" ? ` (covered ${this.grid.coverage[at].toFixed(2)}×)` : "";
    this.say([word(this[side].texts[at]), ` ${arrow} `, ...(told.length ? between(told, " · ").flat() : ["nothing"]), coverage]);
  }

  cross({ source, target }) {
    this.paint({ source: [[source, 1]], target: [[target, 1]] });
    this.heat.point({ source, target });
    const weight = ` ${this.grid.at(target, source).toFixed(2)}`;
    this.say([word(this.target.texts[target]), " ← ", word(this.source.texts[source]), weight]);
  }

  clear() {
    this.paint({});
    this.heat?.point({});
    this.say(null);
  }

  paint(lit) {
    for (const line of this.lines) {
      for (const word of line.words) word.classList.remove("lit");
      for (const [number, weight] of lit[line.side] ?? []) {
        const word = line.words[number];
        word?.classList.add("lit");
        word?.style.setProperty("--weight", weight.toFixed(2));
      }
    }
  }

  say(parts) {
    this.status.replaceChildren(...(parts ?? this.rest ?? [" "]).map((part) => (typeof part === "string" ? part : part.cloneNode(true))));
  }
}

/** A word in a sentence of ours, which is read from left to right whatever the word is. */
const word = (text) => make("bdi", {}, text);

/** The parts with something between them. */
const between = (parts, mark) => parts.flatMap((part, n) => (n ? [mark, part] : [part]));

function numbersOf(section, number, system) {
  const place = section.systems.indexOf(system);
  const list = make("dl", { class: "numbers" });
  for (const column of section.columns) {
    const value = column.values[place]?.[number];
    if (value != null) list.append(make("div", { title: column.label }, make("dt", {}, column.short), make("dd", {}, written(column, value))));
  }
  return list;
}

/** The panel of a sentence. */
class Sentence {
  constructor(section, number, systems, view) {
    const views = ["own", "forced"].filter((one) => systems.some((system) => (one === "own" ? system.hypotheses ?? system.own : system.forced)));
    this.view = views.includes(view) ? view : views[0];
    const shown = systems.filter((system) => this.view === "own" ? system.hypotheses : system.forced);
    this.cards = shown.map((system) => new Card(section, number, system, this.view));
    const plain = make("div", { class: "plain" });
    const add = (name, texts, uncovered) => {
      const text = make("div", { class: "text", dir: "auto" }, markedText(texts.lines[number], texts.repeats[number], uncovered));
      plain.append(make("div", { class: "line" }, make("span", { class: "name" }, name), text));
    };
    if (section.sources && !this.cards.some((card) => card.source)) add("Source", section.sources);
    section.references.forEach((texts, n) => {
      if (n || this.view === "own") add(section.references.length > 1 ? `Reference ${n + 1}` : "Reference", texts);
    });
    this.element = make("div", { class: "panel" }, plain, make("div", { class: "cards" }, ...this.cards.map((card) => card.element)));
    this.views = views;
    this.cursor = { line: 0, word: -1 };
    this.lines = this.cards.flatMap((card) => card.lines.map((line) => ({ card, line })));
  }

  async draw() {
    await Promise.all(this.cards.map((card) => card.draw()));
  }

  /** Move along the words of a text; at its ends stay. */
  step(by) {
    this.adopt();
    const place = this.lines[this.cursor.line];
    if (!place?.line.words.length) return;
    this.cursor.word = Math.min(Math.max(this.cursor.word + by, 0), place.line.words.length - 1);
    for (const card of this.cards) if (card !== place.card) card.clear();
    place.card.point(place.line.side, this.cursor.word, true);
  }

  /** Go to the next text. */
  turn() {
    this.adopt();
    if (!this.lines.length) return;
    this.cursor = { line: (this.cursor.line + 1) % this.lines.length, word: -1 };
    for (const card of this.cards) card.clear();
    this.lines[this.cursor.line].line.box.focus();
  }

  /** A text that has the focus is the one to move in. */
  adopt() {
    const line = this.lines.findIndex((place) => place.line.box === document.activeElement);
    if (line >= 0 && line !== this.cursor.line) this.cursor = { line, word: -1 };
  }
}
