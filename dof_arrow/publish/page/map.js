// The map: every drawn row as a point, painted pixel by pixel, which keeps 100,000 of them fluid.
"use strict";

const NO_VALUE = 65535; // the code of a row without a value
const COSINE_STEPS = 250;
const RAMP = [[66, 105, 208], [108, 197, 176], [239, 177, 24], [255, 114, 92]]; // from low to high
const NEAR = 14; // pixels around the pointer in which a point is found
const MOST_LISTED = 60; // entries of the legend

const map = {
  views: [], colourings: [], ids: [], numbers: null, near: null, cosines: null,
  view: 0, colouring: -1, hidden: new Set(), filter: null,
  zoom: 1, x: 0.5, y: 0.5, // what stands in the middle
  hover: -1, chosen: -1, shown: null, dirty: false, paper: [255, 255, 255], ink: "#000",
};

const paper = at("map-canvas"), marks = at("map-marks");
const brush = paper.getContext("2d", { alpha: false }), pen = marks.getContext("2d");

// Reading

async function readMap() {
  const told = card.map;
  map.views = await Promise.all(told.views.map(async view => {
    const x = await unpackNumbers(view.x, 2), y = await unpackNumbers(view.y, 2);
    const places = { x: Float32Array.from(x, value => value / 65535), y: Float32Array.from(y, value => 1 - value / 65535) };
    return { ...view, ...places, wide: span(places.x), high: span(places.y) };
  }));
  map.colourings = await Promise.all(told.colourings.map(async each => ready({ ...each, codes: await unpackNumbers(each.codes, 2) })));
  if (told.ids) map.ids = new TextDecoder().decode(await unpack(told.ids)).split("\n");
  if (told.numbers) map.numbers = await unpackNumbers(told.numbers, 4);
  if (told.nearest) {
    map.near = await unpackNumbers(told.nearest.rows, 4);
    map.cosines = await unpackNumbers(told.nearest.cosines, 1);
  }
  map.shown = new Uint8Array(told.rows).fill(1);
  map.left = new Float32Array(told.rows);
  map.top = new Float32Array(told.rows);
}

/** A colouring as it is drawn. Rows of several classes are coloured by their only one, else as `several` or `none`. */
function ready(each) {
  if (each.kind !== "several") return each;
  const many = each.labels.length, members = each.codes;
  const codes = members.map(code => {
    if (code === NO_VALUE) return code;
    const set = each.sets[code];
    return set.length === 1 ? set[0] : set.length ? many : many + 1;
  });
  return { ...each, members, codes, entries: [...each.labels.map(label => `${label} alone`), "several classes", "no class"] };
}

/** What the legend calls a code. */
function entryOf(each, code) {
  return code === NO_VALUE ? "no value" : shownName((each.entries ?? each.labels)[code]);
}

/** Whether a row is of a class. */
function isOf(each, row, code) {
  if (!each.members) return each.codes[row] === code;
  return each.members[row] !== NO_VALUE && each.sets[each.members[row]].includes(code);
}

function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return Math.max(high - low, 0.02);
}

function rowName(row) {
  return map.ids.length ? map.ids[row] : `row ${whole(map.numbers ? map.numbers[row] : row)}`;
}

/** What a row has in a colouring, as text; "" for groups, of which only colours are known. */
function rowValue(each, row) {
  const code = each.codes[row];
  if (each.kind === "parts") return "";
  if (each.members && code !== NO_VALUE) return each.sets[each.members[row]].map(one => each.labels[one]).join(", ") || "no class";
  if (code === NO_VALUE) return "no value";
  if (each.kind === "number") return `about ${short(each.low + (code / 1000) * (each.high - each.low))} ${each.unit}`.trim();
  return shownName(each.labels[code]);
}

// Colours

/** The colour [r, g, b] of each code, and of rows without a value under NO_VALUE. */
function coloursOf(each) {
  const found = new Map([[NO_VALUE, rgb(NO_COLOUR)]]);
  if (!each) found.set(0, rgb(PALETTE[0]));
  else if (each.kind === "number") for (let code = 0; code <= 1000; code++) found.set(code, ramp(code / 1000));
  else if (each.kind === "parts") for (let code = 0; code < 256; code++) found.set(code, rgb(colourOf(code)));
  else if (each.kind === "splits") each.labels.forEach((label, code) => found.set(code, rgb(splitColour(label, code))));
  else (each.entries ?? each.labels).forEach((_, code) => found.set(code, rgb(colourOf(code))));
  return found;
}

function ramp(part) {
  const at_ = part * (RAMP.length - 1), first = Math.min(Math.floor(at_), RAMP.length - 2), rest = at_ - first;
  return RAMP[first].map((low, place) => Math.round(low + rest * (RAMP[first + 1][place] - low)));
}

function rgb(text) {
  pen.fillStyle = text;
  const hex = pen.fillStyle; // browsers give colours back as #rrggbb
  return [1, 3, 5].map(place => parseInt(hex.slice(place, place + 2), 16));
}

function css(colour) {
  return `rgb(${colour.join(" ")})`;
}

function packedColour([red, green, blue]) {
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}

function repaintColours() {
  const style = getComputedStyle(document.documentElement);
  map.paper = map.printing ? [255, 255, 255] : rgb(style.getPropertyValue("--raised").trim());
  map.ink = map.printing ? "#000" : style.getPropertyValue("--ink").trim();
  const each = map.colourings[map.colouring];
  map.colours = coloursOf(each);
  map.inks = new Uint32Array(NO_VALUE + 1);
  for (const [code, colour] of map.colours) map.inks[code] = packedColour(colour);
  redraw();
}

// Drawing

function redraw() {
  if (map.dirty) return;
  map.dirty = true;
  requestAnimationFrame(() => {
    map.dirty = false;
    paint();
    mark();
  });
}

/** Fit the canvases to the screen's pixels. */
function resize() {
  const { width, height } = paper.getBoundingClientRect();
  map.dense = Math.min(window.devicePixelRatio || 1, 2);
  for (const each of [paper, marks]) {
    each.width = Math.max(Math.round(width * map.dense), 1);
    each.height = Math.max(Math.round(height * map.dense), 1);
  }
  map.image = brush.createImageData(paper.width, paper.height);
  map.pixels = new Uint32Array(map.image.data.buffer);
  if (!map.inks) return;
  paint(); // at once: a canvas of a new size is empty, and the printer does not wait for the next frame
  mark();
}

/** Pixels along the side of the unit square. */
function scale() {
  const view = map.views[map.view];
  return map.zoom * 0.93 * Math.min(paper.width / view.wide, paper.height / view.high);
}

/** Half the width of a point, in pixels: smaller where there are many. */
function radius() {
  const usual = Math.min(Math.max(7 - 1.25 * Math.log10(map.shown.length), 1.1), 5);
  return usual * map.dense * Math.min(map.zoom, 16) ** 0.25;
}

/** A round stamp: for each pixel its offset from the middle, and how much of it is covered. */
function stampOf(size, width) {
  const reach = Math.ceil(size), across = [], offsets = [], covered = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const cover = Math.min(Math.max(size + 0.5 - Math.hypot(x, y), 0), 1);
      if (cover < 0.05) continue;
      across.push(x);
      offsets.push(y * width + x);
      covered.push(Math.round(cover * 256));
    }
  }
  return { reach, across, offsets, covered };
}

function paint() {
  const { pixels, shown, left, top, inks } = map;
  const view = map.views[map.view], codes = map.colourings[map.colouring]?.codes;
  const wide = paper.width, high = paper.height, size = scale();
  const right = wide / 2 - map.x * size, down = high / 2 - map.y * size;
  const { reach, offsets, covered } = stampOf(radius(), wide);
  const count = offsets.length;
  pixels.fill(packedColour(map.paper));
  for (let row = 0; row < shown.length; row++) {
    const x = Math.round(view.x[row] * size + right), y = Math.round(view.y[row] * size + down);
    left[row] = x;
    top[row] = y;
    if (!shown[row] || x < reach || y < reach || x >= wide - reach || y >= high - reach) continue;
    const ink = inks[codes ? codes[row] : 0], middle = y * wide + x;
    for (let part = 0; part < count; part++) {
      const place = middle + offsets[part], cover = covered[part];
      pixels[place] = cover === 256 ? ink : mixed(pixels[place], ink, cover);
    }
  }
  brush.putImageData(map.image, 0, 0);
}

/** Two colours in one pixel, `cover` of 256 parts of the second. */
function mixed(under, over, cover) {
  const rest = 256 - cover;
  const reds = (((under & 0xff00ff) * rest + (over & 0xff00ff) * cover) >>> 8) & 0xff00ff;
  const greens = (((under & 0xff00) * rest + (over & 0xff00) * cover) >>> 8) & 0xff00;
  return 0xff000000 | reds | greens;
}

/** What lies over the points: the chosen row, lines to its neighbours, the row under the pointer. */
function mark() {
  // On paper they stand in the map itself: a clear canvas over it is printed as a white one.
  const into = map.printing ? brush : pen;
  pen.clearRect(0, 0, marks.width, marks.height);
  if (map.chosen >= 0) {
    into.lineWidth = 1.2 * map.dense;
    into.strokeStyle = map.ink;
    for (const { row } of neighboursOf(map.chosen)) {
      into.globalAlpha = 0.55;
      into.beginPath();
      into.moveTo(map.left[map.chosen], map.top[map.chosen]);
      into.lineTo(map.left[row], map.top[row]);
      into.stroke();
      into.globalAlpha = 1;
      ring(into, row, 2.5);
    }
    ring(into, map.chosen, 5);
  }
  if (map.hover >= 0 && map.hover !== map.chosen) ring(into, map.hover, 3.5);
}

function ring(into, row, more) {
  const code = map.colourings[map.colouring]?.codes[row] ?? 0;
  into.beginPath();
  into.arc(map.left[row], map.top[row], radius() + (more * map.dense) / 2, 0, 7);
  into.fillStyle = css(map.colours.get(code));
  into.fill();
  into.lineWidth = 1.6 * map.dense;
  into.strokeStyle = map.ink;
  into.stroke();
}

// Finding

function neighboursOf(row) {
  if (!map.near) return [];
  const { count } = card.map.nearest, found = [];
  for (let place = 0; place < count; place++) {
    found.push({ row: map.near[row * count + place], cosine: map.cosines[row * count + place] / COSINE_STEPS });
  }
  return found;
}

/** The shown row nearest to a place of the canvas, within some pixels; -1 for none. */
function rowAt(x, y) {
  let best = -1, least = (NEAR * map.dense) ** 2;
  for (let row = 0; row < map.shown.length; row++) {
    const right = map.left[row] - x, down = map.top[row] - y, far = right * right + down * down;
    if (far < least && map.shown[row]) {
      least = far;
      best = row;
    }
  }
  return best;
}

/** The nearest shown row in a direction, as seen from the chosen one, or from the middle. */
function rowTowards(right, down) {
  const from = map.chosen >= 0 ? [map.left[map.chosen], map.top[map.chosen]] : [paper.width / 2, paper.height / 2];
  let best = -1, least = Infinity;
  for (let row = 0; row < map.shown.length; row++) {
    if (!map.shown[row] || row === map.chosen) continue;
    const x = map.left[row] - from[0], y = map.top[row] - from[1];
    const ahead = x * right + y * down, aside = Math.abs(x * down - y * right);
    if (map.chosen >= 0 && (ahead <= 0 || aside > ahead)) continue;
    const far = x * x + y * y + aside * aside;
    if (far < least) {
      least = far;
      best = row;
    }
  }
  return best;
}

// What is shown

function refilter() {
  const codes = map.colourings[map.colouring]?.codes;
  let count = 0;
  for (let row = 0; row < map.shown.length; row++) {
    const kept = !map.filter || isOf(map.colourings[map.filter.colouring], row, map.filter.code);
    map.shown[row] = kept && !(codes && map.hidden.has(codes[row])) ? 1 : 0;
    count += map.shown[row];
  }
  if (map.chosen >= 0 && !map.shown[map.chosen]) choose(-1);
  map.hover = -1;
  said(count);
  redraw();
}

function said(shown) {
  const { rows, of } = card.map, { feature, parts_of } = card.about;
  const drawn = rows < of ? `A sample of ${whole(rows)} of ${whole(of)} rows, drawn by a seed.` : of === 1 ? "The only row." : `All ${whole(of)} rows.`;
  const seen = shown < rows ? ` ${whole(shown)} are shown.` : "";
  const column = card.pipelines.length > 1 ? ` Features of the column ${feature}.` : "";
  const close = rows > 1 ? " Points that lie close have alike features." : "";
  const parts = parts_of ? ` A ${parts_of} may have several rows.` : "";
  at("map-said").textContent = `${drawn}${seen}${column}${close}${parts}`;
}

function drawLegend() {
  const legend = at("map-legend"), each = map.colourings[map.colouring];
  legend.replaceChildren();
  if (!each) return;
  if (each.kind === "number") {
    legend.append(...rampOf(each));
    return;
  }
  if (each.kind === "parts") {
    legend.append(make("p", "small", partsText(each)));
    return;
  }
  const counts = new Map();
  for (const code of each.codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  const codes = [...(each.entries ?? each.labels).keys(), NO_VALUE].filter(code => counts.has(code));
  for (const code of codes.slice(0, MOST_LISTED)) legend.append(legendEntry(each, code, counts.get(code)));
  if (codes.length > MOST_LISTED) legend.append(make("p", "small", `and ${whole(codes.length - MOST_LISTED)} more`));
}

/** From which number to which the colours run; words where there is one number, or none. */
function rampOf(each) {
  if (each.codes.every(code => code === NO_VALUE)) return [make("p", "small", "No row has a value.")];
  if (each.low === each.high) return [make("p", "small", `Rows with a value have ${short(each.low)} ${each.unit}`.trim())];
  const bar = make("div", "ramp"), high = make("span", "", `${short(each.high)} ${each.unit}`.trim());
  bar.style.background = `linear-gradient(90deg, ${RAMP.map(css).join(", ")})`;
  const made = [bar, make("div", "ends", make("span", "", short(each.low)), high)];
  if (each.codes.includes(NO_VALUE)) made.push(make("p", "small", "Grey: no value."));
  return made;
}

function partsText(each) {
  let most = 0;
  for (const code of each.codes) if (code !== NO_VALUE && code > most) most = code;
  const shared = most === 255 ? ` There are 256 colours, so two ${each.name}s may share one.` : "";
  const grey = each.codes.includes(NO_VALUE) ? ` Grey: no ${each.name}.` : "";
  const named = each.name === "group" ? " Their names are not on this page." : "";
  return `Rows of one ${each.name} have one colour.${shared}${grey}${named}`;
}

function legendEntry(each, code, rows) {
  const dot = make("i", "");
  dot.style.background = css(map.colours.get(code));
  const entry = make("button", "", dot, make("span", "", entryOf(each, code)), make("small", "", whole(rows)));
  entry.type = "button";
  entry.setAttribute("aria-pressed", String(!map.hidden.has(code)));
  entry.addEventListener("click", () => {
    if (!map.hidden.delete(code)) map.hidden.add(code);
    entry.setAttribute("aria-pressed", String(!map.hidden.has(code)));
    refilter();
  });
  return entry;
}

function choose(row) {
  map.chosen = row;
  const into = at("map-row");
  into.replaceChildren();
  if (row >= 0) {
    const list = make("dl", "");
    for (const each of map.colourings) {
      const value = rowValue(each, row);
      if (value) list.append(make("dt", "", each.name), make("dd", "", value));
    }
    into.append(make("h3", "", rowName(row)), list);
    const near = neighboursOf(row);
    if (near.length) into.append(make("p", "small", "Nearest rows, and their cosines"), neighbourList(near));
  }
  mark();
}

function neighbourList(near) {
  const list = make("ol", "");
  for (const { row, cosine } of near) {
    const told = map.colourings.filter(each => each.kind !== "parts").slice(0, 1).map(each => rowValue(each, row));
    const entry = make("button", "", make("span", "", [rowName(row), ...told].join(", ")), make("small", "", cosine.toFixed(2)));
    entry.type = "button";
    entry.addEventListener("click", () => {
      choose(row);
      bringIntoView(row);
      at("map-row").querySelector("button")?.focus({ preventScroll: true }); // the one that was pressed is gone
    });
    list.append(make("li", "", entry));
  }
  return list;
}

/** Move the map so that a row is seen. */
function bringIntoView(row) {
  const x = map.left[row], y = map.top[row], edge = 30 * map.dense;
  if (x > edge && y > edge && x < paper.width - edge && y < paper.height - edge) return;
  map.x = map.views[map.view].x[row];
  map.y = map.views[map.view].y[row];
  redraw();
}

/** Choose a row from elsewhere on the page, and go to the map. */
window.showRow = row => {
  map.filter = null;
  map.hidden.clear();
  at("map-filter").selectedIndex = 0;
  drawLegend();
  refilter();
  choose(row);
  bringIntoView(row);
  at("map").scrollIntoView();
  paper.focus({ preventScroll: true });
};

function hover(row, x, y) {
  const tip = at("map-hover");
  paper.style.cursor = row >= 0 ? "pointer" : "";
  tip.hidden = row < 0;
  if (row >= 0) {
    const values = map.colourings.map(each => [each.name, rowValue(each, row)]).filter(([, value]) => value);
    tip.textContent = [rowName(row), ...values.map(([name, value]) => `${name}: ${value}`)].join("\n");
    const right = x > paper.clientWidth / 2 ? x - tip.offsetWidth - 14 : x + 14;
    const down = y > paper.clientHeight / 2 ? y - tip.offsetHeight - 10 : y + 14;
    tip.style.transform = `translate(${Math.max(right, 2)}px, ${Math.max(down, 2)}px)`;
  }
  if (row !== map.hover) {
    map.hover = row;
    mark();
  }
}

// Moving

/** Zoom by a factor around a place of the canvas, by default its middle. */
function zoomBy(factor, x = paper.width / 2, y = paper.height / 2) {
  const before = scale();
  map.zoom = Math.min(Math.max(map.zoom * factor, 0.5), 400);
  const after = scale();
  map.x += (x - paper.width / 2) * (1 / before - 1 / after);
  map.y += (y - paper.height / 2) * (1 / before - 1 / after);
  redraw();
}

function wholeMap() {
  Object.assign(map, { zoom: 1, x: 0.5, y: 0.5 });
  redraw();
}

const pointers = new Map();
let moved = 0;

function placeOf(event) {
  const box = paper.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function apart() {
  const [first, second] = [...pointers.values()];
  return Math.hypot(first[0] - second[0], first[1] - second[1]);
}

function listen() {
  paper.addEventListener("wheel", event => {
    event.preventDefault();
    const [x, y] = placeOf(event);
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), x * map.dense, y * map.dense);
    hover(-1);
  }, { passive: false });
  paper.addEventListener("pointerdown", event => {
    pointers.set(event.pointerId, placeOf(event));
    moved = 0;
    paper.setPointerCapture(event.pointerId);
  });
  paper.addEventListener("pointermove", event => {
    const place = placeOf(event), before = pointers.get(event.pointerId);
    if (!before) {
      hover(rowAt(place[0] * map.dense, place[1] * map.dense), ...place);
      return;
    }
    const far = pointers.size === 2 ? apart() : 0;
    pointers.set(event.pointerId, place);
    moved += Math.hypot(place[0] - before[0], place[1] - before[1]);
    if (pointers.size === 2) zoomBy(apart() / far, place[0] * map.dense, place[1] * map.dense);
    else if (moved > 4) {
      map.x -= ((place[0] - before[0]) * map.dense) / scale();
      map.y -= ((place[1] - before[1]) * map.dense) / scale();
      paper.classList.add("moving");
      hover(-1);
      redraw();
    }
  });
  const release = event => {
    const place = pointers.get(event.pointerId);
    pointers.delete(event.pointerId);
    paper.classList.remove("moving");
    if (place && moved <= 4 && event.type === "pointerup") choose(rowAt(place[0] * map.dense, place[1] * map.dense));
  };
  paper.addEventListener("pointerup", release);
  paper.addEventListener("pointercancel", release);
  paper.addEventListener("pointerleave", () => hover(-1));
  paper.addEventListener("keydown", onKey);
  at("map-in").addEventListener("click", () => zoomBy(1.6));
  at("map-out").addEventListener("click", () => zoomBy(1 / 1.6));
  at("map-reset").addEventListener("click", wholeMap);
}

function onKey(event) {
  const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (step) {
    const row = rowTowards(...step);
    if (row >= 0) {
      choose(row);
      bringIntoView(row);
    }
  } else if (event.key === "+" || event.key === "=") zoomBy(1.6);
  else if (event.key === "-") zoomBy(1 / 1.6);
  else if (event.key === "0") wholeMap();
  else if (event.key === "Escape") choose(-1);
  else return;
  event.preventDefault();
}

// Choices above the map

function option(text, value) {
  const made = make("option", "", text);
  made.value = value;
  return made;
}

function fillControls() {
  const view = at("map-view"), colour = at("map-colour"), filter = at("map-filter");
  map.views.forEach((each, place) => view.append(option(each.name, place)));
  map.colourings.forEach((each, place) => colour.append(option(each.name, place)));
  view.closest("label").hidden = map.views.length < 2;
  colour.closest("label").hidden = !map.colourings.length;
  filter.append(option("all rows", ""));
  map.colourings.forEach((each, place) => {
    if (!["classes", "splits", "several"].includes(each.kind) || each.labels.length > MOST_LISTED) return;
    const group = make("optgroup", "");
    group.label = each.name;
    each.labels.forEach((label, code) => group.append(option(shownName(label), `${place} ${code}`)));
    filter.append(group);
  });
  filter.closest("label").hidden = filter.children.length < 2;
  view.addEventListener("change", () => {
    map.view = Number(view.value);
    at("map-note").textContent = map.views[map.view].note;
    wholeMap();
  });
  colour.addEventListener("change", () => colourBy(Number(colour.value)));
  filter.addEventListener("change", () => {
    const [place, code] = filter.value.split(" ").map(Number);
    map.filter = filter.value ? { colouring: place, code } : null;
    refilter();
  });
}

function colourBy(place) {
  map.colouring = place;
  map.hidden.clear();
  repaintColours();
  drawLegend();
  refilter();
  choose(map.chosen);
}

async function startMap() {
  await readMap();
  at("map-note").textContent = map.views[0].note;
  fillControls();
  listen();
  new ResizeObserver(resize).observe(paper);
  resize();
  colourBy(map.colourings.length ? 0 : -1);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", repaintColours);
  for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(name, () => {
      map.printing = printing;
      repaintColours();
      paint(); // at once, as in `resize`
      mark();
    });
  }
  document.body.dataset.map = "ready";
}

startMap();
