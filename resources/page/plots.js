// Scales, colours, and the figure of predictions on the library's distribution.

import { number, svg } from "./dom.js";

export const LIGHT = {
  paper: "#ffffff", ink: "#1b1f24", soft: "#56606d", line: "#d5dae1", pale: "#e6eaef", blue: "#005a9c", high: "#c44e00", low: "#0067ab",
  A: "#00805c", C: "#0067ab", G: "#a86a00", T: "#c44e00", N: "#56606d",
};
export const DARK = {
  paper: "#14171b", ink: "#e7eaee", soft: "#a3adb9", line: "#363d46", pale: "#2a3038", blue: "#7cc0f5", high: "#ff8f4d", low: "#55aef0",
  A: "#3fd0a4", C: "#6ab8f2", G: "#f2b64b", T: "#ff9a5c", N: "#a3adb9",
};

const darkness = window.matchMedia("(prefers-color-scheme: dark)");
export const palette = () => (darkness.matches ? DARK : LIGHT);
export const onPaletteChange = (listener) => darkness.addEventListener("change", listener);

export const FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

export const text = (x, y, content, attributes = {}) => svg("text", { x, y, "font-size": 12, ...attributes }, content);

export function picture(width, height, colours, label, ...children) {
  const attributes = { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT, fill: colours.ink };
  return svg("svg", { ...attributes, ...(label ? { role: "img", "aria-label": label } : {}) }, ...children);
}

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

// Mix two colours; share 1 is the second.
export function mix(one, other, share) {
  const [a, b] = [channels(one), channels(other)];
  return `#${a.map((value, at) => Math.round(value + (b[at] - value) * share).toString(16).padStart(2, "0")).join("")}`;
}

// Return about `count` round numbers from low to high.
export function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * unit >= rough) * unit;
  const first = Math.ceil(low / step - 1e-9);
  const found = [];
  for (let at = first; at * step <= high + step * 1e-9; at += 1) found.push(Number((at * step).toPrecision(12)));
  return found;
}

// Share of the library below a value, from quantiles 0, .01, ... 1.
export function shareBelow(quantiles, value) {
  if (value <= quantiles[0]) return 0;
  if (value >= quantiles.at(-1)) return 1;
  const after = quantiles.findIndex((quantile) => quantile > value);
  const [a, b] = [quantiles[after - 1], quantiles[after]];
  return (after - 1 + (value - a) / (b - a)) / (quantiles.length - 1);
}

const BINS = 48;
const ROW = 104;

// Draw predictions of each readout, with intervals, on the distribution of measured training promoters.
// `rows`: { title, unit, quantiles, predicted, low, high, reference }.
export function drawDistributions(rows, width, colours, label) {
  const [left, right] = [8, 8];
  const several = rows.length > 1;
  const parts = rows.map((row, at) => {
    const known = [...row.quantiles, row.predicted, row.low ?? row.predicted, row.high ?? row.predicted, ...(row.reference ?? []).filter((v) => v !== null)];
    let [least, most] = [Math.min(...known), Math.max(...known)];
    const margin = (most - least || 1) * 0.04;
    [least, most] = [least - margin, most + margin];
    const x = (value) => left + ((value - least) / (most - least)) * (width - left - right);
    const top = at * (ROW + 30) + (several ? 18 : 4);
    const base = top + ROW - 28;
    const group = svg("g");
    if (several) group.append(text(left, top - 5, row.title, { "font-weight": 600 }));
    if (row.quantiles.length) {
      const edges = Array.from({ length: BINS + 1 }, (_, bin) => least + ((most - least) * bin) / BINS);
      const shares = edges.slice(1).map((edge, bin) => shareBelow(row.quantiles, edge) - shareBelow(row.quantiles, edges[bin]));
      const tallest = Math.max(...shares);
      shares.forEach((share, bin) => {
        const height = (share / tallest) * (base - top);
        const from = x(edges[bin]);
        group.append(svg("rect", { x: from, y: base - height, width: Math.max(x(edges[bin + 1]) - from - 1, 0.5), height, fill: colours.pale }));
      });
    }
    group.append(svg("line", { x1: left, x2: width - right, y1: base, y2: base, stroke: colours.soft }));
    for (const tick of ticks(least, most, Math.max(3, Math.min(9, width / 90)))) {
      group.append(svg("line", { x1: x(tick), x2: x(tick), y1: base, y2: base + 4, stroke: colours.soft }));
      group.append(text(x(tick), base + 17, number(tick, Math.abs(tick) < 10 && !Number.isInteger(tick) ? 1 : 0), { "text-anchor": "middle", fill: colours.soft }));
    }
    const middle = top + (base - top) / 2;
    const mark = (value, low, high, y, colour, filled) => {
      if (low !== null && high !== null) {
        group.append(svg("line", { x1: x(low), x2: x(high), y1: y, y2: y, stroke: colour, "stroke-width": 3, "stroke-linecap": "round", opacity: filled ? 1 : 0.7 }));
      }
      group.append(svg("circle", { cx: x(value), cy: y, r: 6.5, fill: filled ? colour : colours.paper, stroke: filled ? colours.paper : colour, "stroke-width": 2 }));
    };
    if (row.reference) mark(row.reference[0], row.reference[1], row.reference[2], middle + 15, colours.soft, false);
    mark(row.predicted, row.low, row.high, middle, colours.blue, true);
    return group;
  });
  const height = rows.length * (ROW + 30) + (several ? 0 : -26);
  return picture(width, height, colours, label, ...parts);
}
