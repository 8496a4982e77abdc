// The panel of designs: what to search for, the search's progress, and its results.

import { byId, counted, download, html, number, say, showError } from "./dom.js";
import { Problem } from "./engine.js";
import { tsv } from "./save.js";
import { readPositions, substitutions, writePositions } from "./sequence.js";

const PAUSE = 400; // ms between questions for progress

const field = (title, ...content) => html("div", { class: "field" }, ...content);
const input = (id, type, title, attributes = {}, hint = "") =>
  field(title, html("label", { for: id }, title), html("input", { id, type, autocomplete: "off", ...attributes }), hint ? html("p", { class: "hint" }, hint) : null);
const radio = (name, value, title, checked, ...more) => html("div", { class: "choice" }, html("label", { class: "choice" }, html("input", { type: "radio", name, value, checked }), title), ...more);

// engine, model; current(): { sequence, readout, insert: [begin, end) }; open(design): shows a design above.
export class DesignPanel {
  constructor({ engine, model, current, open }) {
    Object.assign(this, { engine, model, current, open, job: null });
    this.chosen = new Set();
    const several = model.readouts.length > 1;
    this.form = byId("design");
    this.form.append(
      html("div", { class: "form" },
        html("fieldset", { class: "field" },
          html("legend", {}, "Goal"),
          radio("objective", "maximize", "highest expression", true),
          radio("objective", "minimize", "lowest expression", false),
          radio("objective", "target", "expression of", false, html("input", { type: "number", id: "target", step: "any", "aria-label": "Target expression" })),
          several ? html("label", { class: "choice" }, "in ", html("select", { id: "design-readout" }, ...model.readouts.map(({ name, title }) => html("option", { value: name }, title)))) : null,
        ),
        html("fieldset", { class: "field" },
          html("legend", {}, "Start"),
          radio("start", "promoter", "the promoter above", true, html("label", { class: "choice" }, "with at most", html("input", { type: "number", id: "most-edits", min: 1, max: 2000, value: 5 }), "substitutions")),
          radio("start", "random", "random inserts", false),
        ),
        input("number", "number", "Number of designs", { min: 1, max: 50, value: 5 }),
        input("budget", "number", "Predictions for each design", { min: 20, max: 2000, value: 500, step: 20 }, "More find better designs and take longer."),
        input("forbidden", "text", "Forbidden sites", { placeholder: "BsaI, GGTCTC" }, "Names of restriction enzymes or IUPAC sequences; neither strand has them."),
        html("div", { class: "field wide", id: "protection" },
          html("label", { for: "protect" }, "Fixed positions of the insert"),
          html("input", { id: "protect", type: "text", autocomplete: "off", placeholder: "5-20, 31", "aria-describedby": "protect-hint" }),
          html("p", { class: "hint", id: "protect-hint" }, "Type positions, or choose bases below: click, or drag over several."),
          html("div", { class: "strip", id: "strip", role: "group", "aria-label": "Bases of the insert that stay as they are" }),
        ),
      ),
      html("div", { class: "actions" }, html("button", { class: "primary", id: "search" }, "Search for designs"), html("button", { type: "button", id: "cancel", hidden: true, onclick: () => this.cancel() }, "Cancel")),
    );
    byId("protect").addEventListener("input", () => this.readProtected());
    for (const choice of this.form.elements.start) choice.addEventListener("change", () => this.show());
    byId("target").addEventListener("focus", () => { this.form.elements.objective.value = "target"; });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.search();
    });
    this.paint();
  }

  insert() {
    const { sequence, insert } = this.current();
    return sequence.slice(...insert);
  }

  // Draw the strip of bases for the promoter that is shown.
  show() {
    const insert = this.insert();
    byId("protection").hidden = this.form.elements.start.value !== "promoter";
    if (insert === this.drawn) return; // the field may be in use
    this.drawn = insert;
    this.chosen = new Set([...this.chosen].filter((place) => place <= insert.length));
    byId("protect").value = writePositions(this.chosen);
    byId("strip").replaceChildren(...[...insert].map((base, at) => html("button", {
      type: "button", tabindex: at ? -1 : 0, "data-place": at + 1, "aria-pressed": this.chosen.has(at + 1), "aria-label": `${base}, position ${at + 1}`,
    }, base)));
  }

  readProtected() {
    const found = readPositions(byId("protect").value, this.insert().length);
    showError("design-error", found ? "" : `Fixed positions: give positions of the insert from 1 to ${this.insert().length}, such as 5-20, 31.`);
    if (!found) return;
    this.chosen = found;
    for (const button of byId("strip").children) button.setAttribute("aria-pressed", found.has(Number(button.dataset.place)));
  }

  set(button, fixed) {
    button.setAttribute("aria-pressed", fixed);
    this.chosen[fixed ? "add" : "delete"](Number(button.dataset.place));
    byId("protect").value = writePositions(this.chosen);
  }

  // Click or drag over the strip; with the keyboard, arrow keys move and Space chooses.
  paint() {
    const strip = byId("strip");
    let fixed = null;
    const under = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("#strip button");
    strip.addEventListener("pointerdown", (event) => {
      const button = under(event);
      if (!button) return;
      event.preventDefault();
      button.focus();
      fixed = button.getAttribute("aria-pressed") !== "true";
      this.set(button, fixed);
    });
    strip.addEventListener("pointermove", (event) => {
      const button = fixed !== null && under(event);
      if (button) this.set(button, fixed);
    });
    window.addEventListener("pointerup", () => { fixed = null; });
    strip.addEventListener("keydown", (event) => {
      const button = event.target.closest("button");
      if (event.key === " " || event.key === "Enter") {
        event.preventDefault();
        this.set(button, button.getAttribute("aria-pressed") !== "true");
      }
      const next = { ArrowRight: button.nextElementSibling, ArrowLeft: button.previousElementSibling }[event.key];
      if (next) {
        event.preventDefault();
        for (const each of strip.children) each.tabIndex = each === next ? 0 : -1;
        next.focus();
      }
    });
  }

  request() {
    const { elements } = this.form;
    const fromPromoter = elements.start.value === "promoter";
    return {
      objective: elements.objective.value,
      target: byId("target").value === "" ? null : Number(byId("target").value),
      number: byId("number").value,
      budget: byId("budget").value,
      start: fromPromoter ? this.current().sequence : "",
      max_edits: byId("most-edits").value,
      protect: fromPromoter ? writePositions(this.chosen).split(", ").filter(Boolean) : [],
      forbid_sites: byId("forbidden").value.split(/[\s,;]+/).filter(Boolean),
      readout: byId("design-readout")?.value ?? "",
    };
  }

  async search() {
    showError("design-error", "");
    const start = { sequence: this.form.elements.start.value === "promoter" ? this.current().sequence : "" };
    try {
      this.job = await this.engine.startDesigns(this.request());
      this.busy(true);
      say("The search for designs has begun.");
      await this.follow(start);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      showError("design-error", error.message);
      byId("design-result").replaceChildren();
    } finally {
      this.busy(false);
    }
  }

  busy(searching) {
    byId("search").disabled = searching;
    byId("cancel").hidden = !searching;
  }

  cancel() {
    if (this.job) this.engine.cancelDesigns(this.job).catch(() => {});
  }

  async follow(start) {
    const bar = html("progress", { "aria-label": "Progress of the search", max: 1, value: 0 });
    const said = html("p", { class: "hint" }, "Searching ...");
    byId("design-result").replaceChildren(bar, said);
    for (;;) {
      const found = await this.engine.designs(this.job);
      bar.value = found.calls / found.total;
      said.textContent = `Searching: ${counted(found.calls)} of at most ${counted(found.total)} predictions.`;
      if (found.state === "failed") throw new Problem(found.error);
      if (found.state !== "running") {
        this.results(found, start);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  results({ state, designs, notes }, start) {
    const place = byId("design-result");
    const at = Math.max(this.model.readouts.findIndex(({ name }) => name === byId("design-readout")?.value), 0);
    if (state === "cancelled" && !designs.length) {
      place.replaceChildren(html("p", { class: "hint" }, "The search was cancelled."));
      say("The search was cancelled.");
      return;
    }
    const line = (design) => {
      const own = design.expression[at];
      const edits = start.sequence ? substitutions(start.sequence, design.sequence) : null;
      const changed = new Set(edits?.map(({ place: index }) => index));
      const offset = design.sequence.indexOf(design.insert);
      return html("tr", {},
        html("td", {}, html("button", { type: "button", class: "plain", onclick: () => this.open(design) }, design.name)),
        html("td", { class: "number" }, number(own.expression)),
        html("td", {}, `${number(own.low)} to ${number(own.high)}`),
        html("td", { class: "number" }, design.edits),
        html("td", { class: "sequence" }, ...[...design.insert].map((base, index) => (changed.has(index + offset) ? html("span", { class: "changed" }, base) : base))),
        html("td", {}, design.reasons.length ? "out of distribution" : ""),
      );
    };
    const heads = [["Name"], ["Expression", "number"], ["95 % interval"], ["Substitutions", "number"], ["Insert"], [""]];
    const table = html("table", {},
      html("thead", {}, html("tr", {}, ...heads.map(([head, kind]) => (head ? html("th", { scope: "col", class: kind }, head) : html("td", {}))))),
      html("tbody", {}, ...designs.map(line)),
    );
    const fasta = () => designs.map(({ name, sequence }) => `>${name}\n${sequence}\n`).join("");
    place.replaceChildren(
      ...notes.map((note) => html("p", { class: "warning" }, note)),
      html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of designs" }, table),
      html("div", { class: "saves" }, "Download",
        html("button", { type: "button", class: "plain", onclick: () => download("designs.fasta", fasta(), "text/x-fasta") }, "FASTA"),
        html("button", { type: "button", class: "plain", onclick: () => download("designs.csv", this.csv(designs), "text/csv") }, "CSV")),
    );
    const best = designs[0]?.expression[at].expression;
    say(`${designs.length} designs were found; the first is predicted to have an expression of ${number(best)}.`);
  }

  csv(designs) {
    const titles = this.model.readouts.map(({ name }) => name);
    const suffix = (name) => (name ? `.${name}` : "");
    const head = ["name", "insert", "sequence", ...titles.flatMap((name) => ["expression", "expression_low", "expression_high"].map((column) => column + suffix(name))), "edits", "out_of_distribution"];
    const rows = designs.map((design) => [
      design.name, design.insert, design.sequence, ...design.expression.flatMap(({ expression, low, high }) => [expression, low, high]), design.edits, design.reasons.length ? `"${design.reasons.join(" ")}"` : "",
    ]);
    return tsv([head, ...rows]).replaceAll("\t", ",");
  }
}
