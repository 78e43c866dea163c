// The sections of facts: what the dataset is, how it was made, its balance, quality, privacy, heads
// and code.
"use strict";

const SPLIT_COLOURS = ["#4269d0", "#97bbf5", "#efb118", "#ff725c", "#6cc5b0", "#a463f2", "#9c6b4e"];
const METRICS = {
  auc: "AUC", f1: "F1", r2: "R²", ece: "calibration error (ECE; less is better)", mae: "mean absolute error (less is better)",
};
const MOST_CLASSES = 40; // lines of a table of classes; the rest is summed

function drawHead() {
  const { about } = card;
  document.title = about.title;
  at("title").textContent = about.title;
  at("description").textContent = about.description;
  for (const figure of about.figures) {
    at("figures").append(make("div", "", make("dt", "", figure.name), make("dd", "", figure.text)));
  }
  for (const section of document.querySelectorAll("main section:not([hidden])")) {
    const link = make("a", "", section.querySelector("h2").textContent);
    link.href = `#${section.id}`;
    at("contents").firstElementChild.append(make("li", "", link));
  }
  at("made").textContent = `Made by ${card.generator}. This page loads nothing and sends nothing.`;
}

function drawWhat() {
  const { about } = card;
  listFacts(at("facts"), about.facts);
  const lines = about.columns.map(column => [column.name, column.role, column.type, column.meaning]);
  at("columns").append(table("", "", ["Column", "Role", "Type", "What it is"], lines));
}

function drawHow() {
  for (const pipeline of card.pipelines) {
    if (card.pipelines.length > 1) at("pipelines").append(make("h3", "", `Column ${pipeline.feature}`));
    const list = make("ol", "pipeline");
    list.setAttribute("aria-label", `Steps from a picture to the column ${pipeline.feature}`);
    const first = { name: "Picture", lines: ["of any size"] };
    const steps = pipeline.facts.length ? [first, ...pipeline.steps] : pipeline.steps;
    for (const step of steps) {
      const kind = { Core: "step core", Picture: "step end", Vector: "step end" }[step.name] ?? "step";
      const lines = step.lines.map(line => make("span", "", line));
      list.append(make("li", "", make("div", kind, make("b", "", step.name), ...lines)));
    }
    const facts = make("dl", "facts");
    listFacts(facts, pipeline.facts);
    at("pipelines").append(list, facts);
  }
}

function drawBalance() {
  const { splits, targets } = card.balance;
  const into = at("balances");
  if (splits.length) into.append(splitTable(splits));
  else into.append(make("p", "said", "No splits are written into the file: whoever trains makes their own."));
  for (const target of targets) {
    into.append(make("h3", "", target.name));
    if (target.classes.length) into.append(...classTable(target, splits));
    if (target.histogram) into.append(drawHistogram(target.histogram, target.unit));
    if (target.missing) into.append(make("p", "small", `${whole(target.missing)} rows have no value.`));
  }
  if (!targets.length) into.append(make("p", "said", "The file has no target: nothing is labelled."));
}

function splitTable(splits) {
  const all = splits.reduce((sum, split) => sum + split.rows, 0);
  const most = Math.max(...splits.map(split => split.rows), 1);
  const lines = splits.map((split, place) => [
    split.name,
    whole(split.rows),
    share(split.rows, all),
    split.records === null ? "" : whole(split.records),
    stack([{ part: split.rows, colour: splitColour(place) }], most),
  ]);
  const heads = ["Split", { text: "Rows", number: true }, { text: "Share", number: true },
    { text: "Records", number: true }, { text: "", bar: true }];
  return table("bars", "", heads, lines);
}

function splitColour(place) {
  return SPLIT_COLOURS[place % SPLIT_COLOURS.length];
}

function classTable(target, splits) {
  const sums = target.classes.map(each => each.rows.reduce((sum, rows) => sum + rows, 0));
  const all = sums.reduce((sum, rows) => sum + rows, 0);
  const most = Math.max(...sums, 1);
  const order = sums.map((_, place) => place);
  if (order.length > MOST_CLASSES) order.sort((a, b) => sums[b] - sums[a]);
  const lines = order.slice(0, MOST_CLASSES).map(place => {
    const parts = target.classes[place].rows.map((part, split) => ({ part, colour: splits.length ? splitColour(split) : "" }));
    const told = splits.length > 1 ? [target.classes[place].rows.map(whole).join(" / ")] : [];
    return [target.classes[place].name, whole(sums[place]), share(sums[place], all), ...told, stack(parts, most)];
  });
  const heads = ["Class", { text: "Rows", number: true }, { text: "Share", number: true, extra: true }];
  if (splits.length > 1) heads.push({ text: splits.map(split => split.name).join(" / "), number: true, extra: true });
  heads.push({ text: "", bar: true });
  const made = [];
  if (splits.length > 1) made.push(keys(splits.map((split, place) => ({ text: split.name, colour: splitColour(place) }))));
  made.push(table("bars", "", heads, lines));
  const rest = order.slice(MOST_CLASSES);
  if (rest.length) {
    const rows = rest.reduce((sum, place) => sum + sums[place], 0);
    made.push(make("p", "small", `and ${whole(rest.length)} more classes, ${whole(rows)} rows together`));
  }
  const small = Math.min(...sums), large = Math.max(...sums);
  const times = small === large ? "All classes have equally many rows." : `The largest class has ${short(large / small)} times the rows of the smallest.`;
  const told = small ? times : "Some classes have no rows.";
  made.push(make("p", "small", target.kind === "multilabel" ? `${told} A row may have several classes.` : told));
  return made;
}

function drawQuality() {
  const { quality } = card;
  const lengths = make("div", "", make("h3", "", "Length of the vectors"), drawHistogram(quality.lengths, ""));
  lengths.append(make("p", "small", `Euclidean norms of all ${whole(quality.rows)} rows, ${short(quality.shortest)} to ${short(quality.longest)}.`));
  const facts = make("dl", "facts");
  const dead = quality.dead ? `${whole(quality.dead)} of ${whole(quality.width)}: ${named(quality)}` : `none of ${whole(quality.width)}`;
  listFacts(facts, [
    { name: "Dead dimensions", text: `${dead}. A dead one has the same value in every row.` },
    { name: "Rows of zeros", text: quality.empty ? whole(quality.empty) : "none" },
    { name: "Zeros", text: `${(100 * quality.zeros).toFixed(1)}% of all numbers` },
  ]);
  const pair = make("div", "pair", lengths, make("div", "", make("h3", "", "Dimensions"), facts));
  at("qualities").append(pair);
  at("qualities").append(...drawTwins(quality), ...drawLonely(quality));
}

function named(quality) {
  const more = quality.dead - quality.dead_named.length;
  return `number ${quality.dead_named.join(", ")}${more > 0 ? ` and ${whole(more)} more` : ""}`;
}

function drawTwins(quality) {
  const made = [make("h3", "", "Duplicates")];
  const { twins } = quality;
  if (!twins) {
    const text = `${share(quality.alike, 1)} of all pairs of rows have a cosine of 0.98 and more: these vectors do not tell duplicates from others.`;
    return [...made, make("p", "said", text)];
  }
  const across = (count, what) => (count === null ? `not known, as there is no ${what}` : whole(count));
  const facts = make("dl", "facts");
  listFacts(facts, [
    { name: "Pairs alike", text: `${whole(twins.pairs)} among ${whole(twins.rows)} rows, with a cosine of ${twins.threshold} and more` },
    { name: "With equal numbers", text: whole(twins.equal) },
    { name: "Of two splits", text: across(twins.across_splits, "split") },
    { name: "Of two groups", text: across(twins.across_groups, "group") },
  ]);
  made.push(facts);
  if (twins.pairs > twins.rows) {
    made.push(make("p", "small", "There are more pairs than rows: all vectors lie so close that such a cosine tells little of them."));
  }
  if (twins.first.length) {
    const lines = twins.first.map(pair => [pair.first, pair.second, pair.cosine.toFixed(4), pair.differ]);
    made.push(table("", "The first of them", ["Row", "Row", { text: "Cosine", number: true }, "Differ in"], lines));
  }
  return made;
}

function drawLonely(quality) {
  if (!quality.lonely.length) return [];
  const lines = quality.lonely.map(row => {
    const show = make("button", "", "Show");
    show.type = "button";
    show.ariaLabel = `Show ${row.label} on the map`;
    show.addEventListener("click", () => window.showRow(row.place));
    return [row.label, row.value.toFixed(3), show];
  });
  const said = "Rows whose nearest neighbour is farthest: look at these pictures first.";
  const heads = ["Row", { text: "Cosine to the nearest", number: true }, { text: "", number: true }];
  return [make("h3", "", "Outliers"), make("p", "said", said), table("", "", heads, lines)];
}

function drawPrivacy() {
  const { privacy } = card;
  const into = at("privacies");
  const ids = privacy.ids === "pseudonym"
    ? "Rows are called by keyed pseudonyms. Features of people's pictures are pseudonymised personal data with a residual risk."
    : "Rows are called by the inputs' own names. Features of people's pictures are personal data.";
  into.append(make("p", "said", ids));
  for (const measure of privacy.measures) into.append(make("p", "", `Measure: ${measure}`));
  if (!privacy.audits.length) {
    into.append(make("p", "note", "Not audited: nobody has measured what these vectors reveal. Assume that they tell pictures and people apart."));
  }
  for (const audit of privacy.audits) into.append(...drawAudit(audit));
  if (privacy.sheet) {
    const picture = make("img", "");
    picture.src = privacy.sheet;
    picture.alt = "Pictures of the source above what attackers rebuilt of their features";
    const told = "This sheet shows pictures of the source, and what attackers rebuilt of their features. It is for those alone who may see these pictures.";
    into.append(make("h3", "", "What was rebuilt"), make("p", "note", told), make("figure", "", picture));
  }
}

function drawAudit(audit) {
  const rows = audit.rows === null ? "" : `${whole(audit.rows)} rows`;
  const groups = audit.groups === null ? "" : ` in ${whole(audit.groups)} groups`;
  const found = audit.attacks.filter(attack => attack.found).length;
  const verdict = `${whole(found)} of ${whole(audit.attacks.length)} attacks found something in ${rows}${groups}. What these attackers did not find, a stronger one may.`;
  const lines = audit.attacks.map(attack => [
    attack.name, attack.attacker, attack.metric, scoreText(attack.reached, attack.low, attack.high),
    interval(attack.reached, attack.low, attack.high, attack.baseline), number(attack.control), number(attack.baseline),
    make("span", attack.found ? "tag yes" : "tag", attack.found ? "found" : "not found"),
  ]);
  const heads = ["Attack", "By", "Metric", { text: "Reached (95%)", number: true }, "", { text: "Shuffled", number: true },
    { text: "Chance", number: true }, ""];
  const made = [make("p", "", verdict), table("", "Dot: what was reached; bar: its 95% interval; line: chance.", heads, lines)];
  if (audit.unique) made.push(make("p", "", audit.unique));
  for (const note of audit.notes) made.push(make("p", "small", `Not tried, or less: ${note}`));
  if (audit.generator) made.push(make("p", "small", `Measured by ${audit.generator}.`));
  return made;
}

function number(value) {
  return value === null ? "" : value.toFixed(3);
}

function scoreText(value, low, high) {
  if (value === null) return "";
  return low === null ? value.toFixed(3) : `${value.toFixed(3)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}

/** A score between 0 and 1 on a line, with its interval and what a guess reaches. */
function interval(value, low, high, baseline) {
  const line = make("span", "interval");
  line.setAttribute("aria-hidden", "true");
  const place = score => `${100 * Math.min(Math.max(score, 0), 1)}%`;
  if (low !== null) {
    const bar = make("i", "");
    bar.style.left = place(low);
    bar.style.width = `${100 * (Math.min(high, 1) - Math.max(low, 0))}%`;
    line.append(bar);
  }
  if (baseline !== null) {
    const guess = make("u", "");
    guess.style.left = place(baseline);
    line.append(guess);
  }
  if (value !== null) {
    const dot = make("b", "");
    dot.style.left = place(value);
    line.append(dot);
  }
  return line;
}

function drawScores() {
  const { heads, performance } = card.scores;
  const into = at("heads");
  for (const head of heads) into.append(...drawHeadScores(head));
  if (performance.length) {
    into.append(make("h3", "", "What the owner says"));
    const list = make("dl", "facts");
    listFacts(list, performance.map(([name, text]) => ({ name, text })));
    into.append(list);
  }
  if (!heads.length && !performance.length) {
    into.append(make("p", "said", "No head was given to this card, and the file tells of none."));
  }
}

function drawHeadScores(head) {
  const made = [make("h3", "", `${head.name}: predicts ${head.target}`)];
  const how = [head.how, head.rows].filter(Boolean).join("; ");
  if (how) made.push(make("p", "said", how));
  if (!head.here) made.push(make("p", "note", "This head was trained on another dataset."));
  const lines = head.scores.map(score => [
    METRICS[score.metric] ?? score.metric.replace("_", " "), score.part, scoreText(score.value, score.low, score.high),
    score.metric === "mae" ? "" : interval(score.value, score.low, score.high, score.baseline), number(score.baseline),
  ]);
  const columns = ["Score", "Judged on", { text: "Value (95%)", number: true }, "", { text: "A guess", number: true }];
  made.push(table("", "Dot: the score; bar: its 95% interval; line: what a guess reaches.", columns, lines));
  if (head.confusion.length && head.confusion.length <= 30) made.push(...confusionTable(head));
  for (const warning of head.warnings) made.push(make("p", "note plain", warning));
  return made;
}

function confusionTable(head) {
  const made = make("table", "matrix");
  made.append(make("caption", "", "Rows by their true class (lines) and the predicted one (columns)"));
  const top = make("tr", "", make("td", ""));
  for (const name of head.classes) {
    const cell = make("th", "", make("span", "", name));
    cell.scope = "col";
    top.append(cell);
  }
  made.append(make("thead", "", top));
  const body = make("tbody", "");
  head.confusion.forEach((line, place) => {
    const all = line.reduce((sum, count) => sum + count, 0);
    const name = make("th", "", head.classes[place]);
    name.scope = "row";
    const row = make("tr", "", name);
    line.forEach((count, other) => {
      const cell = make("td", "", count || "");
      const part = all ? count / all : 0;
      const colour = place === other ? "66 105 208" : "255 114 92";
      if (count) cell.style.background = `rgb(${colour} / ${0.1 + 0.75 * part})`;
      row.append(cell);
    });
    body.append(row);
  });
  made.append(body);
  return [make("div", "wide", made)];
}

function drawCode() {
  const tabs = make("div", "tabs");
  tabs.setAttribute("role", "tablist");
  tabs.setAttribute("aria-label", "Frameworks");
  at("code").append(tabs);
  const panels = card.code.map((snippet, place) => codePanel(snippet, place, tabs));
  const choose = place => {
    [...tabs.children].forEach((tab, other) => {
      tab.setAttribute("aria-selected", String(other === place));
      tab.tabIndex = other === place ? 0 : -1;
      panels[other].hidden = other !== place;
    });
  };
  tabs.addEventListener("click", event => {
    const place = [...tabs.children].indexOf(event.target);
    if (place >= 0) choose(place);
  });
  tabs.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const count = tabs.children.length;
    const next = ([...tabs.children].indexOf(document.activeElement) + step + count) % count;
    choose(next);
    tabs.children[next].focus();
  });
  choose(0);
}

function codePanel(snippet, place, tabs) {
  const tab = make("button", "", snippet.name);
  tab.type = "button";
  tab.id = `tab-${place}`;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", `panel-${place}`);
  tabs.append(tab);
  const copy = make("button", "", "Copy");
  copy.type = "button";
  const text = make("code", "", snippet.code);
  const panel = make("div", "code", make("pre", "", text), copy);
  panel.id = `panel-${place}`;
  panel.dataset.name = snippet.name; // which print shows above it
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", tab.id);
  copy.addEventListener("click", async () => {
    copy.textContent = (await copied(text)) ? "Copied" : "Selected: press Ctrl+C";
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
  at("code").append(panel);
  return panel;
}

/** Whether the text is on the clipboard; otherwise it is selected. */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element); // a page from the disk may not be let near it
    return document.execCommand("copy");
  }
}

at("try").hidden = !card.model;
drawHead();
drawWhat();
drawHow();
drawBalance();
drawQuality();
drawPrivacy();
drawScores();
drawCode();
