// Weights: all matrices of a system are one deflated string; it is inflated when a sentence is first opened.

class Weights {
  /** `packed` as written by nmt/page/weights.py; `lines` are source and target, whose words give the shapes. */
  constructor(packed, steps, sources, targets) {
    this.packed = packed;
    this.steps = steps;
    this.sources = sources;
    this.targets = targets;
    this.ready = null;
  }

  /** The matrix of a sentence: at(t, s) from 0 to 1, and what each source word received in all. */
  async matrix(number) {
    this.ready ??= this.inflate();
    const { bytes, starts } = await this.ready;
    const rows = wordsOf(this.targets[number]).length;
    const columns = wordsOf(this.sources[number]).length;
    const cells = bytes.subarray(starts[number], starts[number + 1]);
    return new Grid(cells, this.steps, rows, columns);
  }

  async inflate() {
    const text = atob(this.packed);
    const raw = new Uint8Array(text.length);
    for (let n = 0; n < text.length; n++) raw[n] = text.charCodeAt(n);
    this.packed = null;
    const stream = new ReadableStream({
      start(controller) {
        controller.enqueue(raw);
        controller.close();
      },
    }).pipeThrough(new DecompressionStream("deflate"));
    const parts = [];
    let length = 0;
    const reader = stream.getReader();
    for (let part; !(part = await reader.read()).done; length += part.value.length) parts.push(part.value);
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const part of parts) bytes.set(part, at), (at += part.length);
    const starts = [0];
    this.sources.forEach((source, n) => starts.push(starts[n] + wordsOf(source).length * wordsOf(this.targets[n]).length));
    if (starts.at(-1) !== length) throw new Error(`${length} weights for ${starts.at(-1)} cells`);
    return { bytes, starts };
  }
}

class Grid {
  constructor(cells, steps, rows, columns) {
    Object.assign(this, { cells, steps, rows, columns });
    this.coverage = Array.from({ length: columns }, (_, s) => {
      let sum = 0;
      for (let t = 0; t < rows; t++) sum += cells[t * columns + s];
      return sum / steps;
    });
  }

  at(t, s) {
    return this.cells[t * this.columns + s] / this.steps;
  }

  /** The words of the other side that a word is linked to, [number, weight], the strongest first. */
  partners(side, word, least = 0.05) {
    const found = [];
    const count = side === "source" ? this.rows : this.columns;
    for (let other = 0; other < count; other++) {
      const weight = side === "source" ? this.at(other, word) : this.at(word, other);
      if (weight >= least) found.push([other, weight]);
    }
    return found.sort((a, b) => b[1] - a[1]);
  }
}

/** "0-0 1p2" as a map from "0,0" to whether the link is sure. */
function goldLinks(text) {
  const found = new Map();
  for (const link of text.split(" ")) {
    const parts = /^(\d+)([-p])(\d+)$/.exec(link);
    if (parts) found.set(`${parts[3]},${parts[1]}`, parts[2] === "-");
  }
  return found;
}
