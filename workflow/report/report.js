// Makes tables sortable by their headers, those of more than 20 rows searchable, and draws single promoters beside the static figures;
// without it they are as they were written.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.number ?? row.cells[column].textContent;
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        const [p, q] = [Number(x), Number(y)];
        return Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y, "en", { numeric: true }) : p - q;
      };
      const rows = [...body.rows].sort(order);
      body.append(...(down ? rows.reverse() : rows));
    });
  });
  if (body.rows.length > 20) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const found = document.createElement("span");
    label.className = "search";
    input.type = "search";
    found.setAttribute("role", "status");
    label.append("Search", input, found);
    table.parentElement.before(label);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      found.textContent = words.length ? `${shown} of ${body.rows.length} rows` : "";
    });
  }
}

const drawn = (tag, attributes = {}, ...content) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
};
const made = (tag, attributes = {}, ...content) => {
  const element = document.createElement(tag);
  Object.assign(element, attributes);
  element.append(...content);
  return element;
};
const rounded = (value) => String(Number(value.toPrecision(4))).replace("-", "\u2212");

// Ticks at multiples of 1, 2 or 5 times a power of ten.
function ticksOf(low, high) {
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => (first + at) * step);
}

// Draw the promoters of a data set. One is chosen with the pointer, or with the slider, which arrow keys move.
function drawPoints(place) {
  const data = JSON.parse(place.querySelector("script").textContent);
  const { names, measured, predicted, total } = data;
  const [low, high, reads] = ["low", "high", "reads"].map((key) => data[key] ?? []);
  const [width, height, left, bottom, top] = [640, 520, 64, 52, 12];
  const values = [...measured, ...predicted];
  const least = Math.min(...values);
  const most = Math.max(...values);
  const margin = (most - least || 1) * 0.04;
  const [from, to] = [least - margin, most + margin];
  const x = (value) => left + ((value - from) / (to - from)) * (width - left - top);
  const y = (value) => height - bottom - ((value - from) / (to - from)) * (height - bottom - top);
  const label = `Measured against predicted expression of ${names.length} promoters; the slider below the figure reads them one by one.`;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.append(drawn("rect", { class: "frame", x: left, y: top, width: width - left - top, height: height - bottom - top }));
  for (const tick of ticksOf(from, to)) {
    svg.append(
      drawn("line", { x1: x(tick), x2: x(tick), y1: height - bottom, y2: height - bottom + 5 }),
      drawn("line", { x1: left - 5, x2: left, y1: y(tick), y2: y(tick) }),
      drawn("text", { x: x(tick), y: height - bottom + 20, "text-anchor": "middle" }, rounded(tick)),
      drawn("text", { x: left - 9, y: y(tick) + 4, "text-anchor": "end" }, rounded(tick)),
    );
  }
  svg.append(
    drawn("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, "predicted"),
    drawn("text", { "text-anchor": "middle", transform: `translate(16 ${(height - bottom) / 2}) rotate(-90)` }, "measured"),
    drawn("line", { x1: x(from), y1: y(from), x2: x(to), y2: y(to), "stroke-dasharray": "5 4" }),
    ...measured.map((value, at) => drawn("circle", { class: "point", cx: x(predicted[at]), cy: y(value), r: 3 })),
  );
  const interval = drawn("line", { class: "interval", visibility: "hidden" });
  const chosen = drawn("circle", { class: "chosen", r: 6, visibility: "hidden" });
  svg.append(interval, chosen);
  const slider = made("input", { type: "range", min: 1, max: names.length, value: 1 });
  const text = made("p", { className: "value" }, "Point at a promoter, or move the slider.");
  function choose(at) {
    const range = typeof low[at] === "number" ? `, 95 % interval ${rounded(low[at])} to ${rounded(high[at])}` : "";
    const depth = typeof reads[at] === "number" ? `; ${reads[at].toLocaleString("en")} reads` : "";
    const said = `${names[at]}: measured ${rounded(measured[at])}, predicted ${rounded(predicted[at])}${range}${depth}`;
    text.textContent = said;
    slider.value = at + 1;
    slider.setAttribute("aria-valuetext", said);
    for (const [name, value] of Object.entries({ cx: x(predicted[at]), cy: y(measured[at]), visibility: "visible" })) chosen.setAttribute(name, value);
    interval.setAttribute("visibility", range ? "visible" : "hidden");
    if (!range) return;
    const ends = [low[at], high[at]].map((value) => x(Math.min(Math.max(value, from), to)));
    for (const [name, value] of Object.entries({ x1: ends[0], x2: ends[1], y1: y(measured[at]), y2: y(measured[at]) })) interval.setAttribute(name, value);
  }
  const nearest = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = width / box.width;
    const [px, py] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const distance = (at) => (x(predicted[at]) - px) ** 2 + (y(measured[at]) - py) ** 2;
    const best = measured.reduce((found, _, at) => (distance(at) < distance(found) ? at : found), 0);
    if (distance(best) < 20 ** 2) choose(best);
  };
  svg.addEventListener("pointermove", nearest);
  svg.addEventListener("pointerdown", nearest);
  slider.addEventListener("input", () => choose(Number(slider.value) - 1));
  const counts = [names.length, total].map((count) => count.toLocaleString("en"));
  place.append(
    made("p", { className: "soft" }, names.length < total ? `A random sample of ${counts[0]} of the ${counts[1]} promoters.` : `All ${counts[1]} promoters.`),
    svg, text, made("label", {}, "Promoter, in the order of predictions", slider),
  );
}
for (const place of document.querySelectorAll("details.points")) {
  place.hidden = false;
  place.addEventListener("toggle", () => place.open && drawPoints(place), { once: true });
}
