// Search for designs without a server: simulated annealing over substitutions, most of them drawn by their effect in the start.

import { Problem } from "./engine.js";
import { BASES, readPositions } from "./sequence.js";

const REST = 40; // ms of computing between which the page can react
const GUIDED = 0.7; // share of substitutions that are drawn by their effect in the start
const KEPT = 0.5; // share of the predictions that the effects in the starts may take
const HOT = 0.03; // temperature at the begin, as a share of the range of the library
const REPAIRS = 3000; // substitutions that are tried to remove forbidden sites from a start
const CODES = { A: "A", C: "C", G: "G", T: "T", R: "AG", Y: "CT", S: "CG", W: "AT", K: "GT", M: "AC", B: "CGT", D: "AGT", H: "ACT", V: "ACG", N: "ACGTN" };
const PARTNER = { A: "T", C: "G", G: "C", T: "A", R: "Y", Y: "R", S: "S", W: "W", K: "M", M: "K", B: "V", D: "H", H: "D", V: "B", N: "N" };

// Random numbers from 0 to 1 of a seed (mulberry32): the same request has the same designs.
function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z = (z + Math.imul(z ^ (z >>> 7), z | 61)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

// The forbidden sites, each as the patterns of both strands.
export function readSites(words, enzymes) {
  return words.map((word) => {
    const named = [...word].every((letter) => CODES[letter]) ? word : enzymes[word.toLowerCase()];
    if (!named) throw new Problem(`Forbidden sites: '${word}' is neither an IUPAC pattern in capitals, such as GGTCTC, nor a restriction enzyme.`);
    const strands = new Set([named, [...named].reverse().map((letter) => PARTNER[letter]).join("")]);
    return { name: word, patterns: [...strands].map((strand) => new RegExp(`(?=${[...strand].map((letter) => `[${CODES[letter]}]`).join("")})`, "g")) };
  });
}

const sitesIn = (sequence, sites) => sites.reduce((sum, { patterns }) => sum + patterns.reduce((count, pattern) => count + [...sequence.matchAll(pattern)].length, 0), 0);

function count(value, least, most, title) {
  const number = Number(value);
  if (`${value}`.trim() === "" || !Number.isInteger(number) || number < least || number > most) throw new Problem(`${title}: give a whole number from ${least} to ${most.toLocaleString("en")}.`);
  return number;
}

export class DesignSearch {
  // request: as of the panel. known: { shares (of 3-mers of inserts), tolerances (of the readouts), enzymes }.
  constructor(engine, request, { shares, tolerances, enzymes }) {
    const { model } = engine;
    this.number = count(request.number, 1, 50, "Designs");
    this.budget = count(request.budget, 1, 2000, "Predictions per design");
    this.most = request.start ? count(request.max_edits, 0, model.limits.length, "Substitutions") : 0;
    this.at = Math.max(0, model.readouts.findIndex(({ name }) => name === request.readout));
    if (request.objective === "target" && !Number.isFinite(request.target)) throw new Problem("Target: give the expression that designs should have, as a number.");
    this.sites = readSites(request.forbid_sites, enzymes);
    const of = { maximize: (value) => value, minimize: (value) => -value, target: (value) => -Math.abs(value - request.target) }[request.objective];
    Object.assign(this, { engine, model, shares, of, target: request.objective === "target" ? request.target : null, tolerance: tolerances[this.at] });
    this.start = request.start ? engine.read(request.start, "").promoters[0].sequence : "";
    const [begin, end] = this.insertOf(this.start);
    const protect = readPositions(request.protect.join(", "), end - begin);
    if (!protect) throw new Problem(`Fixed positions: give positions of the insert from 1 to ${end - begin}, such as 5-20, 31.`);
    this.fixed = new Set([...protect].map((place) => begin + place - 1));
    const { quantiles } = model.readouts[this.at];
    this.hot = HOT * ((quantiles.at(-1) - quantiles[0]) || 1);
    Object.assign(this, { state: "running", error: "", notes: [], rows: [], calls: 0, total: this.number * this.budget, cancelled: false, rested: performance.now() });
  }

  shown() {
    const { state, error, notes, total } = this;
    return { state, error, notes, total, calls: Math.min(this.calls, total), designs: this.rows };
  }

  insertOf(sequence) {
    const { five_prime: five, three_prime: three } = this.model;
    const intact = sequence.startsWith(five) && sequence.endsWith(three) && sequence.length > five.length + three.length;
    return intact ? [five.length, sequence.length - three.length] : [0, sequence.length];
  }

  async run() {
    try {
      await this.search();
      this.state = this.cancelled ? "cancelled" : "done";
    } catch (error) {
      this.state = "failed";
      this.error = error instanceof Problem ? error.message : `${error} (a bug in gpraflow)`;
    }
  }

  async rest() {
    if (performance.now() - this.rested < REST) return;
    await new Promise((resolve) => setTimeout(resolve));
    this.rested = performance.now();
  }

  predict(tokens, known = null, from = 0, to = from) {
    this.calls += 1;
    const runs = this.engine.members.map((member, at) => member.run(tokens, known?.[at], from, to));
    const members = this.engine.readout(runs.map(({ outputs }) => outputs), this.at);
    return { runs, score: this.of(members.reduce((a, b) => a + b, 0) / members.length) };
  }

  // A random insert with the 3-mers of the library's inserts, and its flanks.
  randomStart(random) {
    const draw = (weights) => {
      let left = random() * weights.reduce((a, b) => a + b, 0);
      const found = weights.findIndex((weight) => (left -= weight) < 0);
      return found < 0 ? weights.length - 1 : found;
    };
    const length = Math.round((this.model.inserts[0] + this.model.inserts[1]) / 2);
    const pairs = Array.from({ length: 16 }, (_, pair) => this.shares.slice(4 * pair, 4 * pair + 4).reduce((a, b) => a + b, 0));
    const first = draw(pairs);
    const tokens = [first >> 2, first & 3];
    while (tokens.length < length) {
      const pair = 4 * tokens.at(-2) + tokens.at(-1);
      tokens.push(draw(this.shares.slice(4 * pair, 4 * pair + 4)));
    }
    return this.model.five_prime + tokens.slice(0, length).map((token) => BASES[token]).join("") + this.model.three_prime;
  }

  // Places of a promoter that may change: of the insert, seen by the model, not fixed.
  placesOf(sequence) {
    const [begin, end] = this.insertOf(sequence);
    const shift = this.engine.begin(sequence);
    return Array.from({ length: end - begin }, (_, at) => begin + at).filter((place) => !this.fixed.has(place) && place + shift >= 0 && place + shift < this.model.window.length);
  }

  // Change a start until it holds no forbidden site.
  repaired(start, places, random) {
    let [sequence, left] = [start, sitesIn(start, this.sites)];
    for (let trial = 0; left && trial < REPAIRS; trial += 1) {
      const place = places[Math.floor(random() * places.length)];
      const base = BASES[Math.floor(random() * 4)];
      const changed = sequence.slice(0, place) + base + sequence.slice(place + 1);
      const after = sitesIn(changed, this.sites);
      if (after <= left && (!this.most || [...changed].filter((letter, at) => letter !== start[at]).length <= this.most)) [sequence, left] = [changed, after];
    }
    if (left) throw new Problem(`No construct without the forbidden sites ${this.sites.map(({ name }) => name).join(", ")} was found${this.most ? ` with at most ${this.most} substitutions` : ""}; free positions, or drop a site. Flanks cannot change.`);
    return sequence;
  }

  // Weights of substitutions by their effect on the score in a start, ascending sums; null if that takes too many predictions.
  async guide(start, places, budget) {
    if (3 * places.length > KEPT * budget) return null;
    const tokens = this.engine.tokens(start);
    const shift = this.engine.begin(start);
    const own = this.predict(tokens);
    const found = [];
    for (const place of places) {
      for (let base = 0; base < 4; base += 1) {
        if (base === tokens[place + shift]) continue;
        const mutant = tokens.slice();
        mutant[place + shift] = base;
        found.push({ place, base, gain: this.predict(mutant, own.runs, place + shift).score - own.score });
      }
      await this.rest();
      if (this.cancelled) return null;
    }
    const mean = found.reduce((sum, { gain }) => sum + gain, 0) / found.length;
    const spread = Math.sqrt(found.reduce((sum, { gain }) => sum + (gain - mean) ** 2, 0) / found.length) || 1;
    const highest = Math.max(...found.map(({ gain }) => gain));
    let total = 0;
    return found.map((each) => ({ ...each, sum: (total += Math.exp((2 * (each.gain - highest)) / spread)) }));
  }

  async search() {
    const taken = new Set();
    const shared = this.start ? this.placesOf(this.start) : null;
    if (shared && !shared.length) throw new Problem("No position may change: free some of the fixed positions.");
    const guide = shared && (await this.guide(this.start, shared, this.total));
    const found = [];
    const free = this.total - this.calls;
    for (let number = 0; number < this.number && !this.cancelled; number += 1) {
      const random = randomOf(7919 * (number + 1));
      const start = this.start || this.randomStart(random);
      const places = shared ?? this.placesOf(start);
      const budget = Math.floor((free * (number + 1)) / this.number) - Math.floor((free * number) / this.number);
      const begun = this.calls;
      const own = guide ?? (shared ? null : await this.guide(start, places, budget));
      const best = await this.anneal(start, places, own, budget - (this.calls - begun), random, taken);
      if (best) {
        taken.add(best.sequence);
        found.push({ ...best, edits: this.start ? [...best.sequence].filter((base, at) => base !== this.start[at]).length : 0 });
      }
    }
    this.rows = found.sort((a, b) => b.score - a.score).map(({ sequence, edits, score }, at) => ({
      ...this.engine.promoter({ name: `design_${`${at + 1}`.padStart(`${found.length}`.length, "0")}`, sequence }),
      insert: sequence.slice(...this.insertOf(sequence)), edits, within_tolerance: this.target === null ? null : -score <= this.tolerance,
    }));
    if (found.length < this.number && !this.cancelled) this.notes.push(`${found.length} of ${this.number} designs were found.`);
    const missed = this.rows.filter((row) => row.within_tolerance === false).length;
    if (missed) this.notes.push(`${missed} of ${found.length} designs are not within ${this.tolerance.toPrecision(3)} of the target.`);
  }

  // The best construct that a walk over substitutions finds; those that are taken do not count.
  async anneal(start, places, guide, budget, random, taken) {
    const shift = this.engine.begin(start);
    const reference = this.start || start;
    let sequence = this.repaired(start, places, random);
    let now = this.predict(this.engine.tokens(sequence));
    let best = null;
    const keep = () => {
      if (now.score > (best?.score ?? -Infinity) && !taken.has(sequence)) best = { sequence, score: now.score };
    };
    keep();
    const draw = () => {
      if (guide && random() < GUIDED) {
        const at = random() * guide.at(-1).sum;
        return guide.find(({ sum }) => sum >= at) ?? guide.at(-1);
      }
      return { place: places[Math.floor(random() * places.length)], base: Math.floor(random() * 4) };
    };
    let idle = 0; // proposals in a row that were not predicted
    for (let step = 1; step < budget && idle < 20000; ) {
      const edited = places.filter((place) => sequence[place] !== reference[place]);
      const { place, base } = draw();
      const changes = new Map([[place, BASES[base]]]);
      const more = this.most && edited.length >= this.most && sequence[place] === reference[place];
      if (more || (this.most && edited.length && random() < 0.1)) {
        const back = edited[Math.floor(random() * edited.length)];
        if (back !== place) changes.set(back, reference[back]);
      }
      const letters = [...sequence];
      for (const [at, letter] of changes) letters[at] = letter;
      const proposed = letters.join("");
      const edits = this.most ? places.filter((at) => proposed[at] !== reference[at]).length : 0;
      if (proposed === sequence || edits > this.most || sitesIn(proposed, this.sites)) {
        idle += 1;
        continue;
      }
      idle = 0;
      step += 1;
      const at = [...changes.keys()].map((each) => each + shift);
      const next = this.predict(this.engine.tokens(proposed), now.runs, Math.min(...at), Math.max(...at));
      const temperature = this.hot * (1 - step / budget) ** 2;
      if (next.score >= now.score || random() < Math.exp((next.score - now.score) / Math.max(temperature, 1e-9))) {
        [sequence, now] = [proposed, next];
        keep();
      }
      if (best && this.target !== null && -best.score < 1e-3) break;
      await this.rest();
      if (this.cancelled) return best;
    }
    return best;
  }
}
