// The sections of facts: what the dataset is, how it was made, its balance, quality, privacy, heads
// and code.
"use strict";

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
    list.setAttribute("aria-label", `Steps to the column ${pipeline.feature}`);
    for (const step of pipeline.steps) {
      const kind = { Core: "step core", Picture: "step end", Clip: "step end", Vector: "step end" }[step.name] ?? "step";
      const lines = step.lines.map(line => make("span", "", line));
      list.append(make("li", "", make("div", kind, make("b", "", step.name), ...lines)));
    }
    at("pipelines").append(list);
    if (!pipeline.facts.length) continue;
    const facts = make("dl", "facts");
    listFacts(facts, pipeline.facts);
    at("pipelines").append(facts);
  }
}

function drawBalance() {
  const { splits, targets } = card.balance;
  const into = at("balances");
  const { parts_of } = card.about;
  if (splits.length) into.append(splitTable(splits));
  else into.append(make("p", "said", "No splits are written into the file: whoever trains makes their own."));
  if (!targets.length) into.append(make("p", "said", "The file has no target: nothing is labelled."));
  else if (parts_of) into.append(make("p", "said", `Rows are counted, not ${parts_of}s: a ${parts_of} of many rows weighs more.`));
  for (const target of targets) {
    into.append(make("h3", "", target.name));
    if (target.classes.length) into.append(...classTable(target, splits));
    if (target.histogram) into.append(drawHistogram(target.histogram, target.unit));
    if (target.events !== null) into.append(make("p", "small", eventsOf(target)));
    if (target.missing) into.append(make("p", "small", `${counted(target.missing, "row")} without a value.`));
  }
}

/** What a survival target says: whose time ends with the event, and whose with the end of watching. */
function eventsOf(target) {
  const rows = card.about.rows - target.missing;
  return `Times until an event. It was seen in ${whole(target.events)} of ${counted(rows, "row")}; the others were watched for so long without it.`;
}

function splitTable(splits) {
  const all = splits.reduce((sum, split) => sum + split.rows, 0);
  const most = Math.max(...splits.map(split => split.rows), 1);
  const lines = splits.map((split, place) => [
    split.name,
    whole(split.rows),
    share(split.rows, all),
    split.records === null ? "" : whole(split.records),
    stack([{ part: split.rows, colour: splitColour(split.name, place) }], most),
  ]);
  const heads = ["Split", { text: "Rows", number: true }, { text: "Share", number: true },
    { text: "Records", number: true }, { text: "", bar: true }];
  return table("bars", "", heads, lines);
}

function classTable(target, splits) {
  const sums = target.classes.map(each => each.rows.reduce((sum, rows) => sum + rows, 0));
  const all = sums.reduce((sum, rows) => sum + rows, 0);
  const most = Math.max(...sums, 1);
  const order = sums.map((_, place) => place);
  if (order.length > MOST_CLASSES) order.sort((a, b) => sums[b] - sums[a]);
  const colour = place => (splits.length ? splitColour(splits[place].name, place) : "");
  const lines = order.slice(0, MOST_CLASSES).map(place => {
    const parts = target.classes[place].rows.map((part, split) => ({ part, colour: colour(split) }));
    const told = splits.length > 1 ? [target.classes[place].rows.map(whole).join(" / ")] : [];
    const part = target.kind === "multilabel" ? share(sums[place], card.about.rows - target.missing) : share(sums[place], all);
    return [shownName(target.classes[place].name), whole(sums[place]), part, ...told, stack(parts, most)];
  });
  const heads = ["Class", { text: "Rows", number: true }, { text: "Share", number: true, extra: true }];
  if (splits.length > 1) heads.push({ text: splits.map(split => split.name).join(" / "), number: true, extra: true });
  heads.push({ text: "", bar: true });
  const made = [];
  if (splits.length > 1) made.push(keys(splits.map((split, place) => ({ text: split.name, colour: colour(place) }))));
  made.push(table("bars", "", heads, lines));
  const rest = order.slice(MOST_CLASSES);
  if (rest.length) {
    const rows = rest.reduce((sum, place) => sum + sums[place], 0);
    made.push(make("p", "small", `and ${whole(rest.length)} more classes, ${counted(rows, "row")} together`));
  }
  const told = [spread(sums), target.kind === "multilabel" ? "A row may have several classes; shares are of the rows." : ""];
  const text = told.filter(Boolean).join(" ");
  if (text) made.push(make("p", "small", text));
  return made;
}

/** How unevenly rows are spread over classes, in words. */
function spread(sums) {
  const empty = sums.filter(sum => !sum).length, small = Math.min(...sums), large = Math.max(...sums);
  if (empty) return `${whole(empty)} of ${whole(sums.length)} classes without a row.`;
  if (sums.length < 2) return "";
  return small === large ? "All classes have equally many rows." : `The largest class has ${short(large / small)} times the rows of the smallest.`;
}

function drawQuality() {
  const { quality } = card;
  if (card.pipelines.length > 1) at("qualities").append(make("p", "said", `Of the column ${card.about.feature}.`));
  const lengths = make("div", "", make("h3", "", "Length of the vectors"), drawHistogram(quality.lengths, ""));
  const range = quality.shortest < quality.longest ? `, ${short(quality.shortest)} to ${short(quality.longest)}` : "";
  lengths.append(make("p", "small", `Euclidean norms of ${quality.rows > 1 ? "all " : ""}${counted(quality.rows, "row")}${range}.`));
  const facts = make("dl", "facts");
  const dead = quality.dead ? `${whole(quality.dead)} of ${whole(quality.width)}: ${named(quality)}` : `none of ${whole(quality.width)}`;
  listFacts(facts, [
    { name: "Dead dimensions", text: quality.rows > 1 ? `${dead}. A dead one has the same value in every row.` : "not known of a single row" },
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
  const across = (found, what) => (found === null ? `not known, as there is no ${what}` : whole(found));
  const facts = make("dl", "facts");
  listFacts(facts, [
    { name: "Pairs alike", text: `${whole(twins.pairs)} among ${counted(twins.rows, "row")}, with a cosine of ${twins.threshold} and more` },
    { name: "With equal numbers", text: whole(twins.equal) },
    { name: "Of two splits", text: across(twins.across_splits, "split") },
    { name: "Of two groups", text: across(twins.across_groups, "group") },
  ]);
  made.push(facts);
  if (["clip", "picture"].includes(card.about.parts_of)) {
    made.push(make("p", "small", `Rows of one ${card.about.parts_of} are not compared with one another.`));
  }
  if (twins.pairs > twins.rows) {
    made.push(make("p", "small", "There are more pairs than rows: all vectors lie so close that such a cosine tells little of them."));
  }
  if (twins.first.length) {
    const differ = twins.first.some(pair => pair.differ);
    const lines = twins.first.map(pair => [pair.first, pair.second, pair.cosine.toFixed(4), ...(differ ? [pair.differ] : [])]);
    const first = differ ? "The most alike, those of two splits or groups first" : "The most alike";
    const heads = ["Row", "Is like", { text: "Cosine", number: true }, ...(differ ? ["Differ in"] : [])];
    made.push(table("", first, heads, lines));
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
  const said = "Rows whose nearest neighbour is farthest: look at these first.";
  const heads = ["Row", { text: "Cosine to the nearest", number: true }, { text: "", number: true }];
  return [make("h3", "", "Outliers"), make("p", "said", said), table("", "", heads, lines)];
}

const IDS = {
  pseudonym: "Rows are called by keyed pseudonyms. Features of people's pictures are pseudonymised personal data with a residual risk.",
  name: "Rows are called by the inputs' own names. Features of people's pictures are personal data.",
  "": "The file does not say whether rows are called by names or by pseudonyms. Features of people's pictures are personal data.",
};

function drawPrivacy() {
  const { privacy } = card;
  const into = at("privacies");
  into.append(make("p", "said", IDS[privacy.ids]));
  for (const measure of privacy.measures) into.append(make("p", "", `Measure: ${measure}`));
  if (!privacy.audits.length) {
    into.append(make("p", "note", "Not audited: nobody has measured what these vectors reveal. Assume that they tell pictures and people apart."));
  }
  for (const audit of privacy.audits) into.append(...drawAudit(audit));
  if (privacy.sheet) {
    const picture = make("img", "");
    picture.src = privacy.sheet;
    picture.alt = "Rows of small pictures: those of the source above, and under each what attackers rebuilt of its features";
    const told = "This sheet shows pictures of the source, and what attackers rebuilt of their features. It is for those alone who may see these pictures.";
    into.append(make("h3", "", "What was rebuilt"), make("p", "note", told), make("figure", "", scroller(picture, "The sheet")));
  }
}

function drawAudit(audit) {
  const { found, missed } = audit;
  const rows = audit.rows === null ? "some rows" : counted(audit.rows, "row");
  const groups = audit.groups === null ? "" : ` of ${counted(audit.groups, "group")}`;
  const verdict = [`Attacked: ${rows}${groups}.`];
  if (found.length) verdict.push(`Found: ${found.join(", ")}.`);
  if (missed.length) verdict.push(`Not found by these attackers: ${missed.join(", ")}; a stronger one may.`);
  const lines = audit.attacks.map(attack => [
    make("span", "", attack.name, make("small", "", [attack.attacker, attack.metric].filter(Boolean).join(", "))),
    make("span", attack.found ? "tag yes" : "tag", attack.found ? "found" : "not found"),
    scoreText(attack.reached, attack.low, attack.high),
    interval(attack.reached, attack.low, attack.high, attack.baseline), number(attack.control), number(attack.baseline),
  ]);
  const heads = ["Attack", "Verdict", { text: "Reached (95%)", number: true }, { text: "", extra: true },
    { text: "Shuffled", number: true, extra: true }, { text: "Chance", number: true }];
  const made = [make("p", found.length ? "note" : "note plain", verdict.join(" "))];
  const told = make("span", "extra", "Dot: what was reached; bar: its 95% interval; line: chance. Shuffled: the same attack on features of other rows.");
  if (lines.length) made.push(table("measures", told, heads, lines));
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
  if (low === null) return value.toFixed(3);
  return make("span", "", `${value.toFixed(3)} `, make("span", "range", `(${low.toFixed(2)} to ${high.toFixed(2)})`));
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
  const { heads, performance, training } = card.scores;
  const into = at("heads");
  for (const head of heads) into.append(...drawHeadScores(head));
  if (performance.length) into.append(make("h3", "", "What the owner says of results"), factsOf(performance));
  if (training.length) into.append(make("h3", "", "What the owner says of models and their use"), factsOf(training));
  if (!heads.length && !performance.length) {
    into.prepend(make("p", "said", "No head was given to this card, and the file tells of no results."));
  }
}

function factsOf(pairs) {
  const list = make("dl", "facts");
  listFacts(list, pairs.map(([name, text]) => ({ name, text })));
  return list;
}

function drawHeadScores(head) {
  const made = [make("h3", "", `${head.name}: predicts ${head.target}`)];
  const how = [head.how, head.rows].filter(Boolean).join("; ");
  if (how) made.push(make("p", "said", how));
  if (!head.here) made.push(make("p", "note", "This head was trained on another dataset."));
  const lines = head.scores.map(score => [
    make("span", "", METRICS[score.metric] ?? score.metric.replaceAll("_", " "), make("small", "", score.part)),
    scoreText(score.value, score.low, score.high),
    score.metric === "mae" ? "" : interval(score.value, score.low, score.high, score.baseline), number(score.baseline),
  ]);
  const columns = ["Score", { text: "Value (95%)", number: true }, { text: "", extra: true }, { text: "A guess", number: true }];
  const told = make("span", "extra", "Dot: the score; bar: its 95% interval; line: what a guess reaches.");
  made.push(table("measures scores", told, columns, lines));
  if (head.confusion.length && head.confusion.length <= 30) made.push(...confusionTable(head));
  for (const warning of head.warnings) made.push(make("p", "note plain", warning));
  return made;
}

function confusionTable(head) {
  const made = make("table", "matrix");
  made.append(make("caption", "", "Rows by their true class (lines) and the predicted one (columns)"));
  const top = make("tr", "", make("td", ""));
  for (const name of head.classes) {
    const cell = make("th", "", make("span", "", shownName(name)));
    cell.scope = "col";
    top.append(cell);
  }
  made.append(make("thead", "", top));
  const body = make("tbody", "");
  head.confusion.forEach((line, place) => {
    const all = line.reduce((sum, count) => sum + count, 0);
    const name = make("th", "", shownName(head.classes[place]));
    name.scope = "row";
    const row = make("tr", "", name);
    line.forEach((count, other) => {
      const cell = make("td", "", count || "");
      const part = all ? count / all : 0;
      const colour = place === other ? "66 105 208" : "255 114 92";
      if (count) cell.style.background = `rgb(${colour} / ${0.1 + 0.65 * part})`;
      row.append(cell);
    });
    body.append(row);
  });
  made.append(body);
  return [scroller(made)];
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
    const all = tabs.children.length, here = [...tabs.children].indexOf(document.activeElement);
    const next = { Home: 0, End: all - 1 }[event.key] ?? (step ? (here + step + all) % all : -1);
    if (next < 0) return;
    event.preventDefault();
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
  const box = make("pre", "", text);
  box.tabIndex = 0; // long lines are scrolled by keyboard too
  box.setAttribute("aria-label", `Code for ${snippet.name}`);
  const panel = make("div", "code", box, copy);
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
