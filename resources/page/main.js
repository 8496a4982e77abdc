// The page: what is shown, what changes it, and its address.

import { byId, counted, download, html, number, say, showError, signed } from "./dom.js";
import { DesignPanel } from "./design.js";
import { Problem, ServerEngine } from "./engine.js";
import { drawDistributions, shareBelow } from "./plots.js";
import { Figure, tsv } from "./save.js";
import { BASES, readState, substitute, substitutions, writeState } from "./sequence.js";
import { drawTrack, trackRows } from "./track.js";

const WAIT_FOR_MOTIFS = 1500; // ms between questions for sites, while the motifs of the model are being searched for
const data = JSON.parse(byId("data").textContent);
const { model } = data;
const engine = data.network ? new OfflineEngine(data) : new ServerEngine(model);

// What is shown. `start` is the promoter before substitutions; `found` the answer for `sequence`.
const shown = { sequence: "", name: "", readout: "", reference: "", start: null, found: null, sites: null, other: null, effects: null };
const past = [];
const future = [];
let turn = 0; // answers of earlier turns are dropped
let settled = null; // the last complete answer; `shown.found` may have newer expression before its effects are known

const readoutAt = () => Math.max(0, model.readouts.findIndex(({ name }) => name === shown.readout));
const unit = () => (model.readouts[readoutAt()].unit === "expression" ? "" : model.readouts[readoutAt()].unit);
const fileName = (what) => `${(shown.name || "promoter").replace(/[^A-Za-z0-9._-]/g, "_").slice(0, 60)}_${what}`;
const percent = (share) => `${Math.round(100 * share)} %`;

// The insert in the promoter, [begin, end): all of it if a flank is damaged.
function insertOf(sequence) {
  const [five, three] = [model.five_prime, model.three_prime];
  const intact = sequence.startsWith(five) && sequence.endsWith(three) && sequence.length > five.length + three.length;
  return intact ? [five.length, sequence.length - three.length] : [0, sequence.length];
}

let waiting = 0; // answers that are awaited

async function attempt(place, action) {
  showError(place, "");
  waiting += 1;
  document.body.setAttribute("aria-busy", "true");
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showError(place, error.message);
    return null;
  } finally {
    waiting -= 1;
    if (!waiting) document.body.removeAttribute("aria-busy");
  }
}

// Figures

const rowOf = (readout, at, found, reference) => {
  const own = found.expression[at];
  const other = reference?.expression[at];
  return {
    title: readout.title, unit: readout.unit, quantiles: readout.quantiles, predicted: own.predicted, low: own.predicted_low, high: own.predicted_high,
    reference: other ? [other.predicted, other.predicted_low, other.predicted_high] : null,
  };
};
const distribution = new Figure(byId("distribution"), {
  name: () => fileName("expression"),
  title: "Predicted expression and the library",
  draw: (width, colours) => drawDistributions(model.readouts.map((readout, at) => rowOf(readout, at, shown.found, shown.other)), width, colours, distributionText()),
  rows: () => [
    ["readout", "expression", "expression_low", "expression_high"],
    ...model.readouts.map(({ title }, at) => [title, ...["expression", "low", "high"].map((key) => shown.found.expression[at][key])]),
    ["quantile of training promoters", ...model.readouts.map(({ title }) => title)],
    ...(model.readouts[0].quantiles.length ? model.readouts[0].quantiles.map((_, at) => [at / 100, ...model.readouts.map(({ quantiles }) => quantiles[at])]) : []),
  ],
});

function distributionText() {
  return model.readouts.map((readout, at) => {
    const own = shown.found.expression[at];
    const place = readout.quantiles.length ? `, above ${percent(shareBelow(readout.quantiles, own.predicted))} of training promoters` : "";
    return `${readout.title}: ${number(own.predicted)}, 95 % interval ${number(own.predicted_low)} to ${number(own.predicted_high)}${place}`;
  }).join("; ");
}

const trackData = (found, sites) => ({
  sequence: found.sequence, effects: found.effects, sites, unit: unit(), insert: insertOf(found.sequence),
  changed: new Set((shown.start && substitutions(shown.start.sequence, found.sequence))?.map(({ place }) => place)),
});
const actions = { substitute: change, choose: offer, point: showTip, leave: hideTip };
const track = new Figure(byId("track"), {
  name: () => fileName("explanation"),
  title: "Contributions of bases, effects of substitutions and motif sites",
  draw: (width, colours, interactive) => drawTrack(trackData(shown.found, shown.sites), width, colours, interactive ? actions : null),
  rows: () => trackRows(shown.found.sequence, shown.found.effects),
});
const referenceTrack = new Figure(byId("reference-track"), {
  name: () => "reference_explanation",
  title: "The reference: contributions of bases",
  draw: (width, colours) => drawTrack({
    ...trackData(shown.other, null), heat: false,
    changed: new Set(substitutions(shown.found.sequence, shown.other.sequence)?.map(({ place }) => place)),
  }, width, colours, null),
  rows: () => trackRows(shown.other.sequence, shown.other.effects),
});

// Values and substitutions

function renderValues() {
  const { found } = shown;
  const several = model.readouts.length > 1;
  const place = (readout, own) => (readout.quantiles.length ? `higher than ${percent(shareBelow(readout.quantiles, own.predicted))} of the training promoters` : "");
  const interval = (own) => (own.low === null ? "no interval" : `${number(own.low)} to ${number(own.high)}`);
  let content;
  if (several) {
    const line = (readout, at) => {
      const own = found.expression[at];
      return html("tr", {}, html("th", { scope: "row" }, readout.title), html("td", { class: "number" }, (readout.difference ? signed : number)(own.expression)), html("td", {}, interval(own)));
    };
    content = [html("div", { class: "scroll" }, html("table", {},
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Condition"), html("th", { scope: "col", class: "number" }, "Expression"), html("th", { scope: "col" }, "95 % interval"))),
      html("tbody", {}, ...model.readouts.map(line))))];
  } else {
    const [own, readout] = [found.expression[0], model.readouts[0]];
    content = [
      html("p", { class: "value", id: "value" }, number(own.expression)),
      html("p", {}, own.low === null ? "no interval" : "95 % interval ", own.low === null ? "" : html("strong", { id: "interval" }, interval(own))),
      html("p", { class: "soft" }, place(readout, own)),
    ];
  }
  const reasons = found.reasons.length
    ? [html("div", { class: "warning" }, html("p", {}, html("strong", {}, "Out of distribution. "), found.reasons.join(" "), " The interval may be too narrow."))]
    : [];
  byId("values").replaceChildren(...content, ...reasons);
  document.querySelector(".reading").classList.toggle("several", several);
}

function renderEdits() {
  const { start, found, sequence } = shown;
  const edits = start && substitutions(start.sequence, sequence);
  const change = start && found.expression[readoutAt()].predicted - start.expression[readoutAt()].predicted;
  byId("edits").replaceChildren(...(edits?.length ? [
    html("ul", { class: "chips", "aria-label": "Substitutions" }, ...edits.map(({ place, from, to }) => html("li", {}, `${from}${place + 1}${to}`)), html("li", {}, html("strong", {}, `${signed(change)} ${unit()} in all`))),
  ] : []));
  byId("undo").disabled = !past.length;
  byId("redo").disabled = !future.length;
}

function render() {
  for (const id of ["expression", "explanation", "comparison"]) byId(id).hidden = false;
  byId("designs").hidden = !engine.startDesigns;
  renderValues();
  renderEdits();
  const readout = model.readouts[readoutAt()];
  distribution.show([
    readout.quantiles.length ? `Bars: measured expression of the training promoters${unit() ? ` (${unit()})` : ""}. ` : "The model's directory does not hold the distribution of its library. ",
    `Dot and line: prediction and 95 % interval of a measurement${model.reads ? ` with ${number(model.reads, 0)} reads` : ""}.`, shown.other ? " Open circle: the reference." : "",
  ].join(""));
  track.show(`Letters: contribution of each base, minus the mean effect of its three substitutions. Heat map: effects of substitutions; orange raises expression, blue lowers it, dots are the promoter's own bases.${shown.sites ? " Bars: motif sites whose effects agree with the motif, orange for activators, blue for repressors." : ""}`);
  panel?.show();
  history.replaceState(null, "", location.pathname + location.search + writeState(shown));
}

// What changes the page

// Ask for what is to be shown, and show it. False if there is no answer: what was shown before stays. Null if a later question took over.
// `drawn` is called when values are drawn, which come before the effects of all substitutions.
async function refresh(drawn = () => {}) {
  turn += 1;
  const mine = turn;
  const before = settled;
  let ended = false;
  const showFirst = ({ expression, reasons }) => {
    if (mine !== turn || ended) return;
    shown.found = { ...before, expression, reasons };
    renderValues();
    renderEdits();
    distribution.redraw();
    drawn();
  };
  const found = await attempt("error", () => {
    if (before) {
      const first = engine.first(shown.sequence);
      if (first instanceof Promise) first.then(showFirst, () => {}); // a problem is that of the question below, too
      else showFirst(first);
    }
    return engine.explain(shown.sequence, shown.readout);
  });
  if (mine !== turn) return null;
  ended = true;
  if (!found) {
    if (before) {
      Object.assign(shown, { found: before, sequence: before.sequence });
      renderValues();
      renderEdits();
      distribution.redraw();
    }
    return false;
  }
  settled = found;
  Object.assign(shown, { found, sequence: found.sequence, sites: null });
  shown.start ??= { ...found };
  byId("text").value = found.sequence;
  const focused = document.activeElement?.dataset?.base !== undefined ? { ...document.activeElement.dataset } : null;
  render();
  if (focused) document.querySelector(`.cell[data-place="${focused.place}"][data-base="${focused.base}"]`)?.focus();
  findSites(mine);
  if (shown.reference) compare();
  return true;
}

async function findSites(mine) {
  if (!engine.sites || !data.motifs) return;
  try {
    for (;;) {
      const answer = await engine.sites(shown.sequence, shown.readout);
      if (mine !== turn) return;
      if (answer.ready) {
        shown.sites = answer.sites;
        render();
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, WAIT_FOR_MOTIFS));
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error; // said elsewhere: sites come after a prediction
  }
}

async function open({ sequence, name }) {
  const before = { name: shown.name, start: shown.start };
  Object.assign(shown, { sequence, name: name ?? "", start: null });
  const answered = await refresh();
  if (answered === false) Object.assign(shown, before);
  if (!answered) return;
  past.length = 0;
  future.length = 0;
  renderEdits();
  track.reveal(insertOf(shown.sequence)[0] / shown.sequence.length);
  sayExpression();
}

function sayExpression() {
  say(`Predicted expression ${distributionText()}.`);
}

async function change(place, base) {
  performance.mark("click");
  hideTip();
  const before = shown.sequence;
  past.push(before);
  future.length = 0;
  shown.sequence = substitute(before, place, base);
  const answered = await refresh(() => performance.measure("effect", "click"));
  if (answered === false) past.pop();
  if (!answered) return;
  performance.measure("substitution", "click");
  say(`${before[place]} to ${base} at position ${place + 1}. ${distributionText()}.`);
}

async function step(from, to) {
  if (!from.length) return;
  to.push(shown.sequence);
  shown.sequence = from.pop();
  const wanted = shown.sequence;
  const answered = await refresh();
  if (answered) sayExpression();
  if (answered !== false) return;
  from.push(wanted);
  to.pop();
}

// Offer the other three bases of a position.
function offer(place, element) {
  const own = shown.found.sequence[place];
  const menu = byId("bases");
  menu.replaceChildren(
    html("p", {}, `Position ${place + 1}: ${own} to`),
    html("div", { class: "actions" }, ...[...BASES].filter((base) => base !== own).map((base) => html("button", {
      type: "button", onclick: () => { menu.hidePopover(); change(place, base); },
    }, `${base}  ${signed(shown.found.effects[place][BASES.indexOf(base)])}`))),
  );
  const box = element.getBoundingClientRect();
  menu.showPopover();
  menu.style.left = `${Math.max(8, Math.min(box.left + window.scrollX, window.scrollX + document.documentElement.clientWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${box.bottom + window.scrollY + 4}px`;
  menu.querySelector("button").focus();
}

function showTip(text, event) {
  const tip = byId("tip");
  tip.textContent = text;
  tip.hidden = false;
  const left = Math.min(event.pageX + 12, window.scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(left, 0)}px`;
  tip.style.top = `${event.pageY - tip.offsetHeight - 12}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

async function compare() {
  const mine = turn;
  const answer = await attempt("compare-error", async () => {
    const other = await engine.explain(shown.reference, shown.readout);
    return { other, effects: await engine.compare(other.sequence, shown.sequence) };
  });
  if (mine !== turn) return;
  if (!answer) {
    shown.reference = shown.other?.sequence ?? "";
    return;
  }
  Object.assign(shown, answer, { reference: answer.other.sequence });
  byId("reference").value = shown.reference;
  byId("forget").hidden = false;
  const edits = substitutions(shown.other.sequence, shown.sequence);
  const lines = model.readouts.map((readout, at) => {
    const { effect, low, high } = shown.effects[at];
    const range = low === null || low === undefined ? "" : `, 95 % interval ${number(low)} to ${number(high)}`;
    return html("p", {}, `${model.readouts.length > 1 ? `${readout.title}: expression` : "Expression"} of the promoter minus that of the reference: `, html("strong", { class: "effect" }, signed(effect ?? NaN)), `${unit() && ` ${unit()}`}${range}`);
  });
  const how = edits ? `${edits.length} substitution${edits.length === 1 ? "" : "s"}${edits.length && edits.length <= 12 ? `: ${edits.map(({ place, from, to }) => `${from}${place + 1}${to}`).join(", ")}` : ""}.` : `The promoter has ${shown.sequence.length} bp, the reference ${shown.other.sequence.length} bp.`;
  byId("difference").replaceChildren(...lines, html("p", { class: "soft" }, how));
  byId("reference-track").hidden = false;
  referenceTrack.show("The reference: contributions of its bases; framed bases differ.");
  referenceTrack.reveal(insertOf(shown.other.sequence)[0] / shown.other.sequence.length);
  render();
}

function forget() {
  Object.assign(shown, { reference: "", other: null, effects: null });
  byId("difference").replaceChildren();
  byId("reference-track").hidden = true;
  byId("forget").hidden = true;
  byId("reference").value = "";
  if (shown.found) render();
}

function showList({ promoters, notes }) {
  byId("notes").replaceChildren(...notes.map((note) => html("p", {}, note)));
  const place = byId("list");
  place.hidden = promoters.length < 2;
  if (place.hidden) return;
  const choose = (promoter, row) => {
    for (const other of place.querySelectorAll("tr.chosen")) other.classList.remove("chosen");
    row.classList.add("chosen");
    open(promoter);
  };
  const rows = promoters.map((promoter) => {
    const row = html("tr", {}, html("td", {}, html("button", { type: "button", class: "plain", onclick: () => choose(promoter, row) }, promoter.name)));
    for (const own of promoter.expression) row.append(html("td", { class: "number" }, number(own.expression)), html("td", {}, own.low === null ? "–" : `${number(own.low)} to ${number(own.high)}`));
    row.append(html("td", {}, promoter.reasons.length ? "out of distribution" : ""));
    return row;
  });
  const heads = model.readouts.flatMap(({ title }) => [html("th", { scope: "col", class: "number" }, model.readouts.length > 1 ? title : "Expression"), html("th", { scope: "col" }, "95 % interval")]);
  const columns = model.readouts.flatMap(({ name }) => ["expression", "expression_low", "expression_high"].map((column) => column + (name ? `.${name}` : "")));
  const table = () => tsv([["name", "sequence", ...columns, "out_of_distribution"], ...promoters.map((promoter) => [promoter.name, promoter.sequence, ...promoter.expression.flatMap(({ expression, low, high }) => [expression, low, high]), promoter.reasons.join(" ")])]);
  rows[0].classList.add("chosen");
  place.replaceChildren(
    html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Predictions" }, html("table", {}, html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Promoter"), ...heads, html("td", {}))), html("tbody", {}, ...rows))),
    html("div", { class: "saves" }, `${counted(promoters.length)} promoters. Download`, html("button", { type: "button", class: "plain", onclick: () => download("predictions.tsv", table(), "text/tab-separated-values") }, "TSV")),
  );
}

async function predict(text, file) {
  const answer = await attempt("error", () => engine.predict(text, file));
  if (!answer) return;
  showList(answer);
  await open(answer.promoters[0]);
}

// A random insert with the flanks of the scaffold.
function example() {
  const length = Math.round((model.inserts[0] + model.inserts[1]) / 2);
  const insert = Array.from({ length: Math.max(length, 1) }, () => BASES[Math.floor(Math.random() * 4)]).join("");
  return model.five_prime + insert + model.three_prime;
}

// Begin

const { architecture, members, promoters, scaffold, lengths, inserts } = model;
const range = ([least, most]) => (least === most ? `${least}` : `${least} to ${most}`);
byId("facts").textContent = [
  `${architecture}${members > 1 ? `, ensemble of ${members}` : ""}`, promoters.train ? `trained on ${counted(promoters.train)} promoters` : "", `scaffold ${scaffold}`, `promoters of ${range(lengths)} bp`,
].filter(Boolean).join(" · ");
byId("text-hint").textContent = `A promoter, or only its insert of ${range(inserts)} bp: missing flanks are added. Several: FASTA, a table with a column "sequence", or one a line.`;
byId("about").textContent = `gpraflow ${model.version}. ${data.network ? "This file works without a network." : "The page is served by this machine, and nothing leaves it."} Predictions hold for the assay and the scaffold of the training library.`;

const panel = engine.startDesigns ? new DesignPanel({ engine, model, current: () => ({ sequence: shown.sequence, insert: insertOf(shown.sequence) }), open: (design) => { open(design); byId("expression").scrollIntoView(); } }) : null;

byId("input").addEventListener("submit", (event) => {
  event.preventDefault();
  predict(byId("text").value, "");
});
byId("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (!file) return;
  if (file.size > model.limits.bytes) showError("error", `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MB, more than the 1 MB that the page reads. Use gpraflow predict, which reads files of any size.`);
  else await predict(await file.text(), file.name);
  target.value = "";
});
byId("example").addEventListener("click", () => {
  byId("text").value = example();
  byId("input").requestSubmit();
});
byId("undo").addEventListener("click", () => step(past, future));
byId("redo").addEventListener("click", () => step(future, past));
byId("share").addEventListener("click", async () => {
  const address = location.href.replace(/\?[^#]*/, ""); // without the token
  try {
    await navigator.clipboard.writeText(address);
    say("The link was copied.");
    byId("share").textContent = "Link copied";
  } catch {
    byId("share").textContent = "Copy the address of the page";
  }
  setTimeout(() => { byId("share").textContent = "Copy link"; }, 2500);
});
document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.matches("input, textarea")) return;
  event.preventDefault();
  if (event.shiftKey) step(future, past);
  else step(past, future);
});
byId("compare").addEventListener("submit", (event) => {
  event.preventDefault();
  shown.reference = byId("reference").value.trim();
  if (shown.reference) compare();
  else showError("compare-error", "Give the reference promoter, or use the promoter above.");
});
byId("keep").addEventListener("click", () => {
  shown.reference = shown.sequence;
  compare();
});
byId("forget").addEventListener("click", forget);
if (model.readouts.length > 1) {
  byId("readouts").hidden = false;
  byId("readout").append(...model.readouts.map(({ name, title }) => html("option", { value: name }, title)));
  byId("readout").addEventListener("change", () => {
    shown.readout = byId("readout").value;
    refresh();
  });
}

function restore() {
  const state = readState(location.hash);
  if (!state.sequence || state.sequence === shown.sequence) return;
  Object.assign(shown, { readout: state.readout, reference: state.reference });
  byId("readout").value = state.readout;
  open(state);
}
window.addEventListener("hashchange", restore);
restore();
