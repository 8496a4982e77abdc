// Elements, numbers as text, and messages.

const NAMESPACE = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-")) element.setAttribute(name, value ?? false);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Make an HTML element; an attribute such as onclick is a listener.
export const html = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);

// Make an SVG element.
export const svg = (tag, attributes = {}, ...children) => build(document.createElementNS(NAMESPACE, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

// Write a number with a minus sign that is one; digits after the point are at most two for numbers of two digits.
export function number(value, digits = 2) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const places = size >= 1000 ? 0 : size >= 100 ? Math.min(digits, 1) : digits;
  return value.toFixed(places).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

export const signed = (value, digits = 2) => (value > 0 && Number(value.toFixed(digits)) > 0 ? "+" : "") + number(value, digits);

export const counted = (value) => value.toLocaleString("en-US");

// Tell users of screen readers what has changed.
export function say(text) {
  byId("status").textContent = "";
  byId("status").textContent = text;
}

export function showError(place, text) {
  byId(place).replaceChildren(...(text ? [html("p", { class: "error" }, text)] : []));
}

// Hand a file over to the user.
export function download(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  html("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
