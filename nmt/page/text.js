"use strict";
// Texts: words between spaces, marked characters, and elements made of text alone (never of markup).

// What Python's str.split() takes for space; JavaScript's \s is another set.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** An element with attributes, and children that are elements or texts. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Names without what they all begin with, where space is short: it is their ends that tell them apart. */
function shortNames(names) {
  if (names.length < 2) return names;
  let common = 0;
  while (names.every((name) => common < name.length && name[common] === names[0][common])) common++;
  const part = names[0].slice(0, common).match(/^.*[-_./ ]/s);
  return part ? names.map((name) => "…" + name.slice(part[0].length)) : names;
}

/** The words of a line: [start, end) of each in code points. */
function wordPlaces(characters) {
  const places = [];
  let start = -1;
  for (let at = 0; at <= characters.length; at++) {
    const space = at === characters.length || SPACE.test(characters[at]);
    if (space && start >= 0) places.push([start, at]), (start = -1);
    else if (!space && start < 0) start = at;
  }
  return places;
}

/** The words of a line as texts. */
function wordsOf(line) {
  const characters = Array.from(line);
  return wordPlaces(characters).map(([start, end]) => characters.slice(start, end).join(""));
}

/**
 * A line with its marks. `repeats` is flat: start, end, excused; `uncovered` are numbers of words. With `words` every word
 * is an element of its own that knows its number, for links.
 */
function markedText(line, repeats = [], uncovered = [], words = false) {
  const characters = Array.from(line);
  const kind = new Uint8Array(characters.length + 1); // 0 nothing, 1 repeated, 2 the reference repeats it too
  for (let n = 0; n < repeats.length; n += 3) kind.fill(repeats[n + 2] ? 2 : 1, repeats[n], repeats[n + 1]);
  const left = new Set(uncovered);
  const places = words || left.size ? wordPlaces(characters) : [];
  const wordAt = new Int32Array(characters.length + 1).fill(-1);
  places.forEach(([start, end], number) => wordAt.fill(number, start, end));
  const fragment = document.createDocumentFragment();
  let place = 0;
  while (place < characters.length) {
    const word = wordAt[place];
    let end = place + 1;
    while (end < characters.length && wordAt[end] === word && (word >= 0 || kind[end] === kind[place])) end++;
    if (word < 0) fragment.append(marked(characters, kind, place, end));
    else {
      const missing = left.has(word);
      const span = make("span", { class: missing ? "word uncovered" : "word", "data-word": word, title: missing && "left out" });
      for (let from = place, to; from < end; from = to) {
        for (to = from + 1; to < end && kind[to] === kind[from]; ) to++;
        span.append(marked(characters, kind, from, to));
      }
      fragment.append(span);
    }
    place = end;
  }
  return fragment;
}

function marked(characters, kind, start, end) {
  const text = characters.slice(start, end).join("");
  if (!kind[start]) return document.createTextNode(text);
  return make("mark", { class: kind[start] === 2 ? "excused" : "repeat" }, text);
}

/** For searching: lower case, one kind of space. */
function folded(text) {
  return text.toLowerCase().normalize("NFC").split(SPACE).filter(Boolean).join(" ");
}
