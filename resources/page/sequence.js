// Promoters: substitutions, positions as text, and the state of the page in its address.

export const BASES = "ACGT";

export const substitute = (sequence, place, base) => sequence.slice(0, place) + base + sequence.slice(place + 1);

// List where two promoters of one length differ: { place, from, to }, from 0; null for different lengths.
export function substitutions(from, to) {
  if (from.length !== to.length) return null;
  return [...from].flatMap((base, place) => (base === to[place] ? [] : [{ place, from: base, to: to[place] }]));
}

// Read positions such as "5-20, 31", from 1; null if the text is something else, or a position is beyond the end.
export function readPositions(text, length) {
  const chosen = new Set();
  for (const part of text.split(/[\s,;]+/).filter(Boolean)) {
    const match = /^(\d+)(?:[-–](\d+))?$/.exec(part);
    if (!match) return null;
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    if (first < 1 || last < first || last > length) return null;
    for (let place = first; place <= last; place += 1) chosen.add(place);
  }
  return chosen;
}

// Write positions as ranges.
export function writePositions(chosen) {
  const ranges = [];
  for (const place of [...chosen].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && last[1] === place - 1) last[1] = place;
    else ranges.push([place, place]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}

// The state is in the fragment, which browsers do not send to servers.
export function readState(fragment) {
  const values = new URLSearchParams(fragment.replace(/^#/, ""));
  return { sequence: values.get("s") ?? "", name: values.get("n") ?? "", readout: values.get("r") ?? "", reference: values.get("ref") ?? "" };
}

export function writeState(state) {
  const values = { s: state.sequence, n: state.name, r: state.readout, ref: state.reference };
  return `#${new URLSearchParams(Object.entries(values).filter(([, value]) => value))}`;
}

// Contribution of each base: minus the mean effect of its three substitutions; null where none was predicted.
export const contributions = (effects) => effects.map((row) => row && -(row[0] + row[1] + row[2] + row[3]) / 3);
