// The figure of a promoter: contribution logo, sequence, heat map of substitutions, motif sites.

import { number, signed, svg } from "./dom.js";
import { mix, picture, text, ticks } from "./plots.js";
import { BASES, contributions } from "./sequence.js";

// Letters in a box of 100 by 100.
const LETTERS = {
  A: "M40 0H60L100 100H78L69 76H31L22 100H0ZM50 22L37 60H63Z",
  C: "M97 33A50 50 0 1 0 97 67L76.3 59.6A28 28 0 1 1 76.3 40.4Z",
  G: "M97 33A50 50 0 1 0 100 52H54V67.3H72A28 28 0 1 1 76.3 40.4Z",
  T: "M0 0H100V18H60V100H40V18H0Z",
};
const GUTTER = 62;
const LEAST_COLUMN = 9.5; // px; more where fingers choose cells
const LEAST_ON_PHONES = 16;
const PHONE = 700;
const LOGO = 130;
const CELL = 20;
const LANE = 28;

const letter = (base, x, y, width, height, colour) =>
  svg("path", { d: LETTERS[base], "fill-rule": "evenodd", fill: colour, transform: `translate(${x} ${y}) scale(${width / 100} ${height / 100})` });

// Put sites into lanes so that neither bars nor names overlap; widths in px.
function lanesOf(sites, column) {
  const ends = [];
  return [...sites].sort((a, b) => a.start - b.start).map((site) => {
    const name = `${site.factor} ${site.strand}`;
    const from = (site.start - 1) * column;
    const to = from + Math.max((site.end - site.start + 1) * column, name.length * 7) + 8;
    let lane = ends.findIndex((end) => end <= from);
    if (lane < 0) lane = ends.length;
    ends[lane] = to;
    return { ...site, lane, label: name };
  });
}

// Say the strongest substitutions in words, for those who do not see the figure.
export function describe(sequence, effects, sites) {
  const all = effects.flatMap((row, place) => (row ? row.map((effect, base) => ({ place, base: BASES[base], effect })) : []));
  if (!all.length) return "Contribution of each base and effects of substitutions: none was predicted.";
  const highest = all.reduce((a, b) => (b.effect > a.effect ? b : a));
  const lowest = all.reduce((a, b) => (b.effect < a.effect ? b : a));
  const said = ({ place, base, effect }) => `${sequence[place]} to ${base} at position ${place + 1} (${signed(effect)})`;
  const named = sites?.length ? ` Motif sites: ${sites.map((site) => `${site.factor} at ${site.start} to ${site.end}`).join(", ")}.` : "";
  return `Contribution of each base and effects of ${all.length * 3 / 4} substitutions. Largest increase: ${said(highest)}; largest decrease: ${said(lowest)}.${named}`;
}

// Draw a promoter.
// data: sequence, effects (rows of four, or null), sites (or null: none searched for, or not yet), unit, changed (places), insert [begin, end)
// act: { substitute(place, base), choose(place, element), point(text, event), leave() }, or null for a figure that cannot be clicked.
export function drawTrack(data, width, colours, act) {
  const { sequence, effects, sites, unit } = data;
  const length = sequence.length;
  const column = Math.max(width < PHONE ? LEAST_ON_PHONES : LEAST_COLUMN, (width - GUTTER - 6) / length);
  const total = Math.max(width, GUTTER + column * length + 6);
  const x = (place) => GUTTER + place * column;
  const layers = svg("g");
  const add = (...elements) => layers.append(...elements);
  const flank = (place) => place < data.insert[0] || place >= data.insert[1];

  // Contribution logo.
  const values = contributions(effects);
  const [least, most] = [Math.min(0, ...values.filter((v) => v !== null)), Math.max(0, ...values.filter((v) => v !== null))];
  const span = most - least || 1;
  const y = (value) => 6 + ((most - value) / span) * (LOGO - 6);
  for (const tick of ticks(least, most, 3)) {
    add(text(GUTTER - 8, y(tick) + 4, number(tick, Number.isInteger(tick) ? 0 : span < 0.5 ? 2 : 1), { "text-anchor": "end", fill: colours.soft, "font-size": 11 }));
    add(svg("line", { x1: GUTTER - 4, x2: GUTTER - 1, y1: y(tick), y2: y(tick), stroke: colours.soft }));
  }
  add(svg("line", { x1: GUTTER, x2: x(length), y1: y(0), y2: y(0), stroke: colours.line }));
  values.forEach((value, place) => {
    if (!value) return;
    const height = Math.abs(y(value) - y(0));
    if (height > 0.3) add(letter(sequence[place], x(place) + 0.5, value > 0 ? y(value) : y(0), column - 1, height, colours[sequence[place]]));
  });
  add(text(14, 6 + LOGO / 2, "contribution", { "text-anchor": "middle", transform: `rotate(-90 14 ${6 + LOGO / 2})`, fill: colours.soft, "font-size": 11 }));

  // Sequence and positions.
  const line = LOGO + 26;
  [...sequence].forEach((base, place) => {
    if (data.changed?.has(place)) add(svg("rect", { x: x(place), y: line - 15, width: column, height: 20, rx: 3, fill: colours.pale, stroke: colours.blue }));
    const shown = text(x(place) + column / 2, line, base, {
      "text-anchor": "middle", "font-weight": 600, "font-size": Math.min(15, column + 3), fill: flank(place) ? colours.soft : colours[base] ?? colours.soft,
      opacity: flank(place) ? 0.75 : 1,
    });
    if (act && effects[place]) {
      const target = svg("rect", { class: "base", x: x(place), y: line - 16, width: column, height: 24, fill: colours.paper, "fill-opacity": 0, "data-place": place });
      target.addEventListener("click", () => act.choose(place, target));
      add(shown, target);
    } else add(shown);
    if (place === 0 || (place + 1) % 10 === 0) {
      add(text(x(place) + column / 2, line + 20, place + 1, { "text-anchor": "middle", fill: colours.soft, "font-size": 10 }));
    }
  });

  let bottom = line + 30;
  if (data.heat !== false) {
    // Heat map: one row a base. Blue lowers expression, orange raises it.
    const largest = Math.max(1e-9, ...effects.flatMap((row) => (row ? row.map(Math.abs) : [0])));
    const colour = (effect) => mix(colours.paper, effect > 0 ? colours.high : colours.low, Math.min(1, Math.abs(effect) / largest) ** 0.75);
    const grid = svg("g", act ? { role: "grid", "aria-label": "Effects of substitutions", "aria-rowcount": 4, "aria-colcount": length } : {});
    [...BASES].forEach((base, at) => {
      const top = bottom + at * CELL;
      add(text(GUTTER - 8, top + 14, base, { "text-anchor": "end", "font-weight": 600, fill: colours[base] }));
      const row = svg("g", act ? { role: "row", "aria-label": `to ${base}`, "aria-rowindex": at + 1 } : {});
      effects.forEach((effect, place) => {
        if (!effect) return;
        const own = sequence[place] === base;
        const said = own ? `Position ${place + 1}: ${base}, as it is` : `Position ${place + 1}: ${sequence[place]} to ${base}, ${signed(effect[at])} ${unit}`;
        const cell = svg("rect", {
          x: x(place) + 0.5, y: top + 0.5, width: column - 1, height: CELL - 1, fill: own ? colours.paper : colour(effect[at]),
          ...(act ? { class: "cell", role: "gridcell", tabindex: -1, "aria-label": said, "aria-colindex": place + 1, "data-place": place, "data-base": base } : {}),
        });
        row.append(cell);
        if (own) row.append(svg("circle", { cx: x(place) + column / 2, cy: top + CELL / 2, r: 2, fill: colours.soft, "pointer-events": "none", "aria-hidden": true }));
        if (act) {
          cell.addEventListener("pointerenter", (event) => act.point(said, event));
          cell.addEventListener("pointerleave", act.leave);
          cell.addEventListener("click", () => own || act.substitute(place, base));
        }
      });
      grid.append(row);
    });
    add(grid);
    if (act) move(grid, act);
    // Legend: the colours and their range.
    const under = bottom + 4 * CELL + 18;
    const steps = 24;
    for (let step = 0; step < steps; step += 1) {
      const share = (2 * (step + 0.5)) / steps - 1;
      add(svg("rect", { x: GUTTER + 48 + step * 5, y: under - 9, width: 5.2, height: 9, fill: colour(share * largest) }));
    }
    add(text(GUTTER + 42, under, number(-largest), { "text-anchor": "end", fill: colours.soft, "font-size": 11 }));
    add(text(GUTTER + 48 + steps * 5 + 6, under, `${signed(largest)} ${unit || "expression"}`, { fill: colours.soft, "font-size": 11 }));
    bottom = under + 10;
  }

  // Motif sites.
  if (sites) {
    const placed = lanesOf(sites, column);
    for (const site of placed) {
      const top = bottom + 6 + site.lane * LANE;
      const ink = site.similarity > 0 ? colours.high : colours.low;
      const from = x(site.start - 1);
      const bar = svg("rect", { x: from, y: top, width: (site.end - site.start + 1) * column, height: 7, rx: 2, fill: ink });
      const name = text(from, top + 19, site.label, { "font-size": 11, fill: colours.ink });
      const group = svg("g", {}, bar, name);
      if (act) {
        const said = `${site.factor} (${site.matrix}), positions ${site.start} to ${site.end}, strand ${site.strand}: removing it changes expression by ${signed(-site.effect)}`;
        group.addEventListener("pointerenter", (event) => act.point(said, event));
        group.addEventListener("pointerleave", act.leave);
      }
      add(group);
    }
    if (!placed.length) add(text(GUTTER, bottom + 16, data.noSites ?? "No motif site found.", { "font-size": 11, fill: colours.soft }));
    add(text(GUTTER - 8, bottom + 14, "sites", { "text-anchor": "end", fill: colours.soft, "font-size": 11 }));
    bottom += Math.max(1, ...placed.map((site) => site.lane + 1)) * LANE + 4;
  }
  const found = picture(total, bottom, colours, act ? null : describe(sequence, effects, sites), layers);
  return found;
}

// Arrow keys move over the cells, Enter substitutes; one cell can be reached with Tab.
function move(grid, act) {
  const cells = new Map([...grid.querySelectorAll(".cell")].map((cell) => [`${cell.dataset.place} ${cell.dataset.base}`, cell]));
  const first = cells.values().next().value;
  if (first) first.setAttribute("tabindex", 0);
  grid.addEventListener("focusin", (event) => {
    for (const cell of cells.values()) cell.setAttribute("tabindex", cell === event.target ? 0 : -1);
  });
  grid.addEventListener("keydown", (event) => {
    const { place, base } = event.target.dataset ?? {};
    if (base === undefined) return;
    const [at, row] = [Number(place), BASES.indexOf(base)];
    const places = [...new Set([...cells.values()].map((cell) => Number(cell.dataset.place)))];
    const next = {
      ArrowRight: [at + 1, row], ArrowLeft: [at - 1, row], ArrowDown: [at, row + 1], ArrowUp: [at, row - 1],
      Home: [places[0], row], End: [places.at(-1), row],
    }[event.key];
    if (next) {
      event.preventDefault();
      cells.get(`${next[0]} ${BASES[next[1]]}`)?.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.target.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    }
  });
}

// Cells of the figure as a table.
export function trackRows(sequence, effects) {
  const values = contributions(effects);
  return [
    ["position", "base", "contribution", ...[...BASES].map((base) => `effect_${base}`)],
    ...[...sequence].map((base, place) => [place + 1, base, values[place], ...(effects[place] ?? ["", "", "", ""])]),
  ];
}
