// Small parts that the sections are made of. All text reaches the page through textContent: a text
// of the dataset is never read as markup.
"use strict";

const card = JSON.parse(document.getElementById("card").textContent);

const PALETTE = [
  "#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#6cc5b0", "#ff8ab7", "#9c6b4e", "#97bbf5", "#8a9a1e",
];
const NO_COLOUR = "#9498a0"; // of what has no value
const SPLITS = { train: "#4269d0", valid: "#3ca951", test: "#efb118", "no split": NO_COLOUR };

/** The element of this id. */
function at(id) {
  return document.getElementById(id);
}

/** A new element with a class, and children: elements, or texts. */
function make(tag, kind, ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...children.map(child => (child instanceof Node ? child : String(child))));
  return element;
}

/** A shape of an SVG picture. */
function shape(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function whole(number) {
  return number.toLocaleString("en");
}

/** So many of something: 1 row, 2 rows. */
function counted(number, one) {
  return `${whole(number)} ${one}${number === 1 ? "" : "s"}`;
}

function share(part, all) {
  return all ? `${((100 * part) / all).toFixed(1)}%` : "0%";
}

/** A number with about as many digits as it needs. */
function short(number) {
  if (!Number.isFinite(number)) return "not known";
  const size = Math.abs(number);
  if (Number.isInteger(number) && size < 1e15) return whole(number);
  return size >= 1e5 || size < 1e-3 ? number.toExponential(2) : String(Number(number.toPrecision(4)));
}

/** The colour of a class by its place: ten that all tell apart, then others around the circle. */
function colourOf(place) {
  if (place < PALETTE.length) return PALETTE[place];
  return `hsl(${Math.round((place * 137.508) % 360)} ${place % 2 ? 60 : 45}% ${place % 3 ? 55 : 45}%)`;
}

/** The colour of a split: the same wherever it is shown. */
function splitColour(name, place) {
  return SPLITS[name] ?? colourOf(place + 4);
}

/** A name as it is shown: the empty one too. */
function shownName(name) {
  return name || "(empty name)";
}

/** A list of facts: names and what is told under them, a link where that is an address. */
function listFacts(list, facts) {
  for (const fact of facts) {
    let text = fact.text;
    if (fact.link) {
      text = make("a", "", fact.text);
      text.href = fact.link;
      text.rel = "noreferrer noopener";
    }
    list.append(make("dt", "", fact.name), make("dd", /^[0-9a-f-]{32,}$/.test(fact.text) ? "mono" : "", text));
  }
}

/** A table: heads are texts, or {text, number, extra}; cells are elements or texts; the first names its line.
 * Narrow screens do without `extra` columns. */
function table(kind, caption, heads, lines) {
  const made = make("table", kind);
  if (caption) made.append(make("caption", "", caption));
  const row = make("tr", "");
  for (const head of heads) {
    const text = head.text ?? head, cell = make(text ? "th" : "td", kindOf(head), text);
    if (text) cell.scope = "col";
    row.append(cell);
  }
  made.append(make("thead", "", row));
  const body = make("tbody", "");
  for (const line of lines) {
    const into = make("tr", "");
    line.forEach((cell, place) => {
      const element = make(place ? "td" : "th", kindOf(heads[place]), cell);
      if (!place) element.scope = "row";
      into.append(element);
    });
    body.append(into);
  }
  made.append(body);
  return scroller(made);
}

/** What may be wider than the screen; where it is, the keyboard scrolls it too. */
function scroller(wide, name = wide.caption?.textContent ?? "Table") {
  const made = make("div", "wide", wide);
  new ResizeObserver(() => {
    const over = made.scrollWidth > made.clientWidth + 1;
    for (const [attribute, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", name]]) {
      if (over) made.setAttribute(attribute, value);
      else made.removeAttribute(attribute);
    }
  }).observe(made);
  return made;
}

function kindOf(head) {
  return ["number", "extra", "bar"].filter(name => head[name]).join(" ");
}

/** A bar of several parts, each {part, colour}, as long as their sum is of `most`. */
function stack(parts, most) {
  const bar = make("div", "stack");
  bar.setAttribute("aria-hidden", "true"); // the numbers stand beside it
  for (const { part, colour } of parts) {
    if (!part) continue;
    const piece = make("i", "");
    piece.style.width = `${(100 * part) / most}%`;
    if (colour) piece.style.background = colour;
    bar.append(piece);
  }
  return bar;
}

/** What colours mean, above a chart. */
function keys(entries) {
  const list = make("ul", "keys");
  for (const { text, colour } of entries) {
    const dot = make("i", "");
    dot.style.background = colour;
    list.append(make("li", "", dot, text));
  }
  return list;
}

/** A histogram as a picture, with its middle, its ends, and words for who cannot see it. */
function drawHistogram(found, unit) {
  const wide = 400, high = 110, most = Math.max(...found.counts);
  const low = found.edges[0], top = found.edges[found.edges.length - 1];
  if (low === top) return make("p", "", `${short(low)} ${unit}`.trim(), found.counts[0] > 1 ? " in every row that has a value" : "");
  const said = `Histogram from ${short(low)} to ${short(top)} ${unit}, median ${short(found.median)}`;
  const picture = shape("svg", { viewBox: `0 0 ${wide} ${high + 22}`, class: "histogram", role: "img", "aria-label": said });
  const step = wide / found.counts.length;
  found.counts.forEach((count, place) => {
    const tall = count ? Math.max((high * count) / most, 1) : 0;
    const bar = shape("rect", { x: place * step + 0.5, y: high - tall, width: Math.max(step - 1, 1), height: tall, rx: 1.5 });
    const ends = `${short(found.edges[place])} to ${short(found.edges[place + 1])}: ${whole(count)}`;
    bar.append(shape("title", {}, ends));
    picture.append(bar);
  });
  const middle = top > low ? ((found.median - low) / (top - low)) * wide : wide / 2;
  picture.append(shape("line", { x1: 0, x2: wide, y1: high, y2: high }));
  picture.append(shape("line", { x1: middle, x2: middle, y1: 0, y2: high, class: "middle" }));
  picture.append(shape("text", { x: 0, y: high + 17 }, short(low)));
  picture.append(shape("text", { x: wide, y: high + 17, "text-anchor": "end" }, `${short(top)} ${unit}`.trim()));
  const anchor = Math.min(Math.max(middle, 90), wide - 110);
  picture.append(shape("text", { x: anchor, y: high + 17, "text-anchor": "middle" }, `median ${short(found.median)}`));
  return picture;
}

/** The bytes of a packed text: base64, gzip. */
async function unpack(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Numbers of `size` bytes each, whose bytes of one weight stand together, the lowest first. */
async function unpackNumbers(text, size) {
  const bytes = await unpack(text);
  const count = bytes.length / size;
  const numbers = size === 4 ? new Uint32Array(count) : size === 2 ? new Uint16Array(count) : new Uint8Array(count);
  for (let weight = 0; weight < size; weight++) {
    const from = weight * count, shift = 8 * weight;
    for (let place = 0; place < count; place++) numbers[place] |= bytes[from + place] << shift;
  }
  return numbers;
}
