// Figures that follow the width of the page and the colours of the system, and can be saved.

import { download, html } from "./dom.js";
import { LIGHT, onPaletteChange, palette } from "./plots.js";

const SAVED_WIDTH = 1000;
const PNG_SCALE = 2;

const figures = new Set();
onPaletteChange(() => figures.forEach((figure) => figure.redraw()));

const serialized = (picture) => `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(picture)}\n`;

// Write rows of cells as tab-separated text.
export const tsv = (rows) => rows.map((row) => row.map((cell) => String(cell ?? "").replace(/[\t\r\n]+/g, " ")).join("\t")).join("\n") + "\n";

async function png(picture) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(serialized(picture))}`;
  await image.decode();
  const canvas = html("canvas", { width: picture.getAttribute("width") * PNG_SCALE, height: picture.getAttribute("height") * PNG_SCALE });
  const context = canvas.getContext("2d");
  context.fillStyle = LIGHT.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// A figure in the element `place`.
// name(): of files; draw(width, colours, interactive) -> svg; rows() -> table for TSV; caption: text.
export class Figure {
  constructor(place, { name, title, draw, rows, caption = "" }) {
    Object.assign(this, { place, name, draw });
    this.frame = html("div", { class: "picture", tabindex: 0, role: "region", "aria-label": title });
    this.caption = html("figcaption", {}, caption);
    const save = (form, action) => html("button", { type: "button", class: "plain", "aria-label": `Save as ${form}: ${title}`, onclick: action }, form);
    const saves = html(
      "div",
      { class: "saves" },
      "Save as",
      save("SVG", () => download(`${name()}.svg`, serialized(draw(SAVED_WIDTH, LIGHT, false)), "image/svg+xml")),
      save("PNG", async () => download(`${name()}.png`, await png(draw(SAVED_WIDTH, LIGHT, false)))),
      save("TSV", () => download(`${name()}.tsv`, tsv(rows()), "text/tab-separated-values")),
    );
    place.replaceChildren(this.frame, this.caption, saves);
    this.width = 0;
    new ResizeObserver(() => {
      const width = Math.floor(this.frame.clientWidth);
      if (width && width !== this.width) this.redraw();
    }).observe(this.frame);
    figures.add(this);
  }

  redraw() {
    this.width = Math.floor(this.frame.clientWidth);
    if (!this.width || !this.shown) return;
    const scrolled = this.frame.scrollLeft;
    this.frame.replaceChildren(this.draw(this.width, palette(), true));
    this.frame.scrollLeft = scrolled;
  }

  // Scroll a figure that is wider than the page to a place, as a share of its width.
  reveal(share) {
    this.frame.scrollLeft = share * this.frame.scrollWidth - 40;
  }

  show(caption) {
    this.shown = true;
    if (caption !== undefined) this.caption.replaceChildren(caption);
    this.redraw();
  }
}
