// The heat map of one alignment: a row a target word, a column a source word, and below each column its coverage.

const SVG = "http://www.w3.org/2000/svg";
const LABEL = 14; // characters of a word that a label shows
const BARS = 44; // height of the coverage bars
const MOST = 2.5; // coverage that fills them
const ONCE = "covered 1×"; // what the line of coverage 1 is called
const CELLS = [12, 24]; // the smallest and the largest

function shape(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** About how wide a text is in letters as wide as they are high. */
function breadth(text) {
  let sum = 0;
  for (const letter of text) sum += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\uff60\u{20000}-\u{3ffff}]/u.test(letter) ? 1 : 0.56;
  return sum;
}

function label(word) {
  const letters = Array.from(word);
  return letters.length > LABEL ? letters.slice(0, LABEL - 1).join("") + "…" : word;
}

class Heat {
  /** `gold` is a map of goldLinks() or null; `soft` says whether the weights are attention or links. */
  constructor({ grid, source, target, gold, soft, uncovered, name, room }) {
    Object.assign(this, { grid, source, target });
    const letters = (words) => Math.max(0, ...words.map((word) => breadth(label(word))));
    // As large as fits into the room; a long sentence has small cells, and one that is longer still is scrolled.
    const fits = (room - 12 * letters(target) - 40) / Math.max(1, source.length);
    const cell = (this.cell = Math.floor(Math.min(Math.max(fits, CELLS[0]), CELLS[1])));
    const font = Math.min(13, Math.max(10, cell * 0.68));
    const widest = (words) => letters(words) * font;
    const left = (this.left = Math.ceil(Math.max(widest(target), 0.6 * font * Array.from(ONCE).length) + 12));
    // Labels of columns rise at 50 degrees, so they need 0.77 of their length upwards and 0.64 to the right.
    const top = (this.top = Math.ceil(widest(source) * 0.77 + font + 4));
    const inner = { width: cell * source.length, height: cell * target.length };
    const width = left + inner.width + Math.max(28, Math.ceil(widest(source) * 0.64));
    const height = top + inner.height + 8 + BARS + 6;
    this.svg = shape("svg", { class: soft ? "heat" : "heat hard", width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
    this.svg.append(shape("title", {}, `${soft ? "Attention" : "Links"} of ${name}: ${target.length} target by ${source.length} source words`));
    this.svg.append(this.frame(inner), this.cells(), this.outlines(gold), this.labels(font), this.bars(inner, uncovered, font));
    this.bands = shape("g", { class: "bands" });
    this.hitbox = shape("rect", { class: "hit", x: 0, y: 0, width: left + inner.width, height });
    this.svg.append(this.bands, this.hitbox);
  }

  frame({ width, height }) {
    const { left, top, cell } = this;
    let path = "";
    for (let s = 0; s <= this.source.length; s++) path += `M${left + s * cell} ${top}v${height}`;
    for (let t = 0; t <= this.target.length; t++) path += `M${left} ${top + t * cell}h${width}`;
    return shape("path", { class: "grid", d: path });
  }

  cells() {
    const group = shape("g", { class: "cells" });
    const { left, top, cell } = this;
    this.target.forEach((_, t) =>
      this.source.forEach((_, s) => {
        const weight = this.grid.at(t, s);
        if (weight < 0.012) return; // too faint to be seen
        const at = { x: left + s * cell, y: top + t * cell, width: cell, height: cell };
        group.append(shape("rect", { ...at, "fill-opacity": weight.toFixed(2) }));
      }),
    );
    return group;
  }

  outlines(gold) {
    const group = shape("g", { class: "gold" });
    const { left, top, cell } = this;
    for (const [place, sure] of gold ?? []) {
      const [t, s] = place.split(",").map(Number);
      const at = { x: left + s * cell + 2, y: top + t * cell + 2, width: cell - 4, height: cell - 4, rx: 3 };
      group.append(shape("rect", { ...at, class: sure ? "sure" : "possible" }));
    }
    return group;
  }

  labels(font) {
    const group = shape("g", { class: "labels", "font-size": font.toFixed(1) });
    const { left, top, cell } = this;
    const text = (word, attributes) => shape("text", attributes, label(word));
    this.rowLabels = this.target.map((word, t) =>
      text(word, { x: left - 6, y: top + (t + 0.5) * cell, "text-anchor": "end", "dominant-baseline": "central" }),
    );
    this.columnLabels = this.source.map((word, s) => {
      const [x, y] = [left + (s + 0.55) * cell, top - 6];
      return text(word, { x, y, transform: `rotate(-50 ${x} ${y})` });
    });
    group.append(...this.rowLabels, ...this.columnLabels);
    return group;
  }

  bars({ width, height }, uncovered, font) {
    const group = shape("g", { class: "bars", "font-size": (font * 0.85).toFixed(1) });
    const { left, cell } = this;
    const floor = this.top + height + 8 + BARS;
    const missing = new Set(uncovered);
    const tall = (value) => (Math.min(value, MOST) / MOST) * BARS;
    this.grid.coverage.forEach((value, s) => {
      const kind = missing.has(s) ? "low" : value > 2 ? "over" : "fine";
      const at = { x: left + s * cell + 2, y: floor - Math.max(tall(value), 1.5), width: cell - 4, height: Math.max(tall(value), 1.5) };
      group.append(shape("rect", { ...at, class: kind, rx: 1.5 }));
      if (missing.has(s)) group.append(shape("circle", { class: "low", cx: left + (s + 0.5) * cell, cy: floor - 8, r: 2.6 }));
    });
    group.append(
      shape("path", { class: "base", d: `M${left} ${floor}h${width}` }),
      shape("path", { class: "one", d: `M${left} ${floor - tall(1)}h${width}` }),
      shape("text", { x: left - 6, y: floor - tall(1), "text-anchor": "end", "dominant-baseline": "central" }, ONCE),
      shape("text", { x: left + width + 4, y: floor - tall(2), "dominant-baseline": "central" }, "2×"),
    );
    return group;
  }

  /** The words under a pointer: numbers of the target and the source word, -1 for none. */
  under(event) {
    const box = this.svg.getBoundingClientRect();
    const s = Math.floor((event.clientX - box.left - this.left) / this.cell);
    const t = Math.floor((event.clientY - box.top - this.top) / this.cell);
    return { target: t >= 0 && t < this.target.length ? t : -1, source: s >= 0 && s < this.source.length ? s : -1 };
  }

  /** Show the row of a target word and the column of a source word; -1 for none. */
  point({ target = -1, source = -1 }) {
    const { left, top, cell } = this;
    this.bands.replaceChildren();
    const width = left + cell * this.source.length;
    const height = top + cell * this.target.length;
    if (target >= 0) this.bands.append(shape("rect", { x: 0, y: top + target * cell, width, height: cell }));
    if (source >= 0) this.bands.append(shape("rect", { x: left + source * cell, y: top, width: cell, height: height - top + 8 + BARS }));
    this.rowLabels.forEach((one, t) => one.classList.toggle("on", t === target));
    this.columnLabels.forEach((one, s) => one.classList.toggle("on", s === source));
  }

  /** Scroll the box around the map, and nothing else, until a word's row or column is seen. */
  reveal({ target = -1, source = -1 }) {
    const box = this.svg.parentElement;
    if (source >= 0) {
      const x = this.left + source * this.cell;
      if (x < box.scrollLeft + this.left || x + this.cell > box.scrollLeft + box.clientWidth) box.scrollLeft = x - box.clientWidth / 2;
    }
    if (target >= 0) {
      const y = this.top + target * this.cell;
      if (y < box.scrollTop || y + this.cell > box.scrollTop + box.clientHeight) box.scrollTop = y - box.clientHeight / 2;
    }
  }
}
