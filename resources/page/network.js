// Answers to the page without a server: the network `compact`, intervals, the training distribution, motif sites and designs, computed here.

import { Problem } from "./engine.js";
import { DesignSearch } from "./search.js";
import { BASES } from "./sequence.js";
import { REPLACED, agreeingSites } from "./sites.js";

const SLICE = 40; // ms of computing between which the page can react

// erfc with an error below 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
const ERFC = [0, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429];
function gelu(x) {
  const z = Math.abs(x) * Math.SQRT1_2;
  const t = 1 / (1 + 0.3275911 * z);
  const tail = 0.5 * Math.exp(-z * z) * ERFC.reduceRight((sum, factor) => factor + t * sum, 0);
  return x * (x >= 0 ? 1 - tail : tail);
}

// Mean of the bins, which have these logits.
function meanBin(logits) {
  const most = Math.max(...logits);
  const shares = logits.map((logit) => Math.exp(logit - most));
  return shares.reduce((sum, share, bin) => sum + share * bin, 0) / shares.reduce((sum, share) => sum + share, 0);
}

// One network: occupancies of motifs in bins, a convolution, residual blocks, a dense layer.
class Member {
  constructor(weights, sizes) {
    Object.assign(this, sizes);
    this.weights = weights;
    this.bins = Math.ceil(this.length / this.bin_width);
    this.motifs = weights.motifs_bias.length;
    this.left = Math.floor((this.motif_width - 1) / 2);
  }

  // Bins first to last of the occupancies of both strands, normalised.
  occupancy(tokens, into, first, last) {
    const { motifs, motif_width: width, bin_width: size, left, length } = this;
    const { motifs_kernel: kernel, motifs_bias: bias, occupancy_factor: factor, occupancy_shift: shift } = this.weights;
    const [forward, reverse, sums] = [new Float64Array(motifs), new Float64Array(motifs), new Float64Array(2 * motifs)];
    for (let bin = first; bin < last; bin += 1) {
      sums.fill(0);
      for (let place = bin * size; place < Math.min((bin + 1) * size, length); place += 1) {
        forward.set(bias);
        reverse.set(bias);
        for (let offset = 0; offset < width; offset += 1) {
          const token = tokens[place - left + offset];
          if (token === undefined || token > 3) continue;
          const own = (4 * offset + token) * motifs;
          const other = (4 * width - 1 - 4 * offset - token) * motifs;
          for (let motif = 0; motif < motifs; motif += 1) {
            forward[motif] += kernel[own + motif];
            reverse[motif] += kernel[other + motif];
          }
        }
        for (let motif = 0; motif < motifs; motif += 1) {
          sums[motif] += 1 / (1 + Math.exp(-forward[motif]));
          sums[motifs + motif] += 1 / (1 + Math.exp(-reverse[motif]));
        }
      }
      for (let channel = 0; channel < 2 * motifs; channel += 1) into[bin * 2 * motifs + channel] = (sums[channel] / size) * factor[channel] + shift[channel];
    }
  }

  // Bins first to last of a convolution, normalised and activated; `skip` is added.
  convolve(x, channels, name, width, into, first, last, skip) {
    const { [`${name}_kernel`]: kernel, [`${name}_factor`]: factor, [`${name}_shift`]: shift } = this.weights;
    const units = this.channels;
    const before = Math.floor((width - 1) / 2);
    const sums = new Float64Array(units);
    for (let bin = first; bin < last; bin += 1) {
      sums.fill(0);
      for (let tap = 0; tap < width; tap += 1) {
        const from = bin - before + tap;
        if (from < 0 || from >= this.bins) continue;
        for (let channel = 0; channel < channels; channel += 1) {
          const value = x[from * channels + channel];
          const row = (tap * channels + channel) * units;
          for (let unit = 0; unit < units; unit += 1) sums[unit] += value * kernel[row + unit];
        }
      }
      for (let unit = 0; unit < units; unit += 1) {
        into[bin * units + unit] = gelu(sums[unit] * factor[unit] + shift[unit]) + (skip ? skip[bin * units + unit] : 0);
      }
    }
  }

  // Layers and outputs for tokens. With `known`, the layers of a promoter that differs from `from` to `to` only, what it shares is taken
  // from there.
  run(tokens, known = null, from = 0, to = from) {
    let [first, last] = [0, this.bins];
    if (known) {
      first = Math.max(0, Math.floor((from - this.motif_width + 1 + this.left) / this.bin_width));
      last = Math.min(this.bins, Math.floor((to + this.left) / this.bin_width) + 1);
    }
    const layers = [];
    const next = (size) => {
      layers.push(known ? known.layers[layers.length].slice() : new Float32Array(this.bins * size));
      return layers.at(-1);
    };
    const widen = (width) => {
      first = Math.max(0, first - Math.floor(width / 2));
      last = Math.min(this.bins, last + Math.floor(width / 2));
    };
    let x = next(2 * this.motifs);
    this.occupancy(tokens, x, first, last);
    widen(this.mix_size);
    let mixed = next(this.channels);
    this.convolve(x, 2 * this.motifs, "mix", this.mix_size, mixed, first, last, null);
    for (let block = 1; block <= this.residual_blocks; block += 1) {
      widen(this.kernel_size);
      x = next(this.channels);
      this.convolve(mixed, this.channels, `residual_${block}`, this.kernel_size, x, first, last, mixed);
      mixed = x;
    }
    return { layers, outputs: this.head(mixed) };
  }

  head(x) {
    const { narrow_kernel: narrow, narrow_bias: bias, dense_kernel: dense, dense_factor: factor, dense_shift: shift, output_kernel: kernel, output_bias: ends, outputs, scale, offset } = this.weights;
    const [channels, few, units] = [this.channels, bias.length, factor.length];
    const sums = new Float64Array(units);
    for (let bin = 0; bin < this.bins; bin += 1) {
      for (let unit = 0; unit < few; unit += 1) {
        let value = bias[unit];
        for (let channel = 0; channel < channels; channel += 1) value += x[bin * channels + channel] * narrow[channel * few + unit];
        const row = (bin * few + unit) * units;
        for (let other = 0; other < units; other += 1) sums[other] += value * dense[row + other];
      }
    }
    const active = sums.map((sum, unit) => gelu(sum * factor[unit] + shift[unit]));
    const raw = Array.from(ends, (end, output) => active.reduce((sum, value, unit) => sum + value * kernel[unit * ends.length + output], end));
    let begin = 0;
    return Array.from(outputs, (number, condition) => {
      const own = raw.slice(begin, begin + number);
      begin += number;
      return rescale((number > 1 ? meanBin(own) : own[0]) * scale[condition] + offset[condition], this.scales?.[condition]);
    });
  }
}

const interpolate = (x, xs, ys) => {
  if (x <= xs[0]) return ys[0];
  if (x >= xs.at(-1)) return ys.at(-1);
  const after = xs.findIndex((knot) => knot > x);
  return ys[after - 1] + ((x - xs[after - 1]) / (xs[after] - xs[after - 1])) * (ys[after] - ys[after - 1]);
};

// The map of a model that was recalibrated: affine, or linear between knots with the same slope beyond them.
function rescale(x, scale) {
  if (!scale) return x;
  const { slope, offset, knots, values } = scale;
  if (!knots.length) return slope * x + offset;
  return interpolate(x, knots, values) + slope * (Math.min(x - knots[0], 0) + Math.max(x - knots.at(-1), 0));
}

// Least number of edits between a flank and the begin of a sequence.
function editsOfFlank(sequence, flank) {
  let row = Array.from({ length: sequence.length + 1 }, (_, at) => at);
  for (let at = 1; at <= flank.length; at += 1) {
    const above = row;
    row = [at];
    for (let end = 1; end <= sequence.length; end += 1) {
      row[end] = Math.min(above[end] + 1, row[end - 1] + 1, above[end - 1] + (flank[at - 1] === sequence[end - 1] ? 0 : 1));
    }
  }
  return Math.min(...row);
}
const reversed = (sequence) => [...sequence].reverse().join("");

// Least number of edits between two sequences.
function editsBetween(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let at = 1; at <= a.length; at += 1) {
    const above = row;
    row = [at];
    for (let end = 1; end <= b.length; end += 1) row[end] = Math.min(above[end] + 1, row[end - 1] + 1, above[end - 1] + (a[at - 1] === b[end - 1] ? 0 : 1));
  }
  return row.at(-1);
}

const meanOf = (values) => values.reduce((a, b) => a + b, 0) / values.length;
function spreadOf(values) {
  const mean = meanOf(values);
  return values.length > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)) : 0;
}
const varianceAt = (known, predicted) => (known.levels.length ? interpolate(predicted, known.levels, known.level_variances) : known.model_variance);

// Half-width of the 95 % interval of the difference between two promoters, and what it rests on (Calibration.half_width_of_effect).
function effectInterval(known, ref, alt, spread, edits) {
  const quantile = known.quantiles.at(-1);
  const independent = quantile === null ? NaN : quantile * Math.sqrt(known.spread_factor * spread ** 2 + varianceAt(known, ref) + varianceAt(known, alt));
  const of = known.effects;
  if (!of) return [independent, "independent"];
  const [least, most] = of.edits;
  const counted = Math.min(Math.max(edits, least), most);
  const perRead = of.reads === null ? 0 : 2 / Math.max(of.reads, 1);
  const variance = of.spread_factor * spread ** 2 + of.variance + of.edit_variance * counted + of.effect_factor * (alt - ref) ** 2 + of.read_variance * perRead;
  const calibrated = of.quantiles.at(-1) * Math.sqrt(variance * Math.max(edits / most, 1));
  return edits > most && independent < calibrated ? [independent, "independent"] : [calibrated, "pairs"];
}

class OfflineEngine {
  constructor({ model, network, calibrations, motifs, replacements, designs }) {
    Object.assign(this, { model, calibrations, motifs, readoutWeights: network.readouts, designing: designs, jobs: new Map(), explained: null });
    const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    this.replacements = decoded(replacements);
    const values = new Float32Array(decoded(network.values).buffer);
    let begin = 0;
    this.members = network.members.map((shapes) => {
      const weights = {};
      for (const [name, size] of shapes) {
        weights[name] = values.subarray(begin, begin + size);
        begin += size;
      }
      return new Member(weights, { ...network.sizes, length: model.window.length, scales: network.scales });
    });
    this.turn = 0;
  }

  // Name and sequence of each promoter of a text, with flanks; and what was changed.
  read(text, file) {
    const where = file || "text";
    const trimmed = text.trim();
    if (!trimmed) throw new Problem("There is no sequence yet: paste a promoter, or open a FASTA file or a table.");
    if (text.length > this.model.limits.bytes) throw new Problem("The text has more than 1 MB. Give fewer promoters, or use gpraflow predict, which reads files of any size.");
    const lines = trimmed.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
    let found = [];
    if (trimmed.startsWith(">")) {
      for (const line of lines) {
        if (line.startsWith(">")) found.push({ name: line.slice(1).split(/\s+/)[0] || `${found.length + 1}`, sequence: "" });
        else found.at(-1).sequence += line.replace(/\s/g, "");
      }
    } else if (/[\t,;]/.test(lines[0]) || /^"?sequence"?$/i.test(lines[0])) {
      const sign = ["\t", ";", ","].find((each) => lines[0].includes(each)) ?? "\t";
      const rows = lines.map((line) => line.split(sign).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")));
      const [at, named] = ["sequence", "name"].map((name) => rows[0].findIndex((cell) => cell.toLowerCase() === name));
      if (at < 0) throw new Problem(`${where}: no column 'sequence' (it has ${rows[0].join(", ")})`);
      found = rows.slice(1).map((row, place) => ({ name: row[named] || `${place + 1}`, sequence: row[at] ?? "" }));
    } else found = lines.map((line, at) => ({ name: lines.length > 1 ? `${at + 1}` : "promoter", sequence: line.replace(/\s/g, "") }));
    if (!found.length) throw new Problem(`${where}: the table has no rows; give at least one sequence`);
    if (found.length > this.model.limits.promoters) throw new Problem(`${where}: ${found.length} promoters, more than the ${this.model.limits.promoters} that the page shows; use gpraflow predict for more`);
    const notes = new Set();
    const promoters = found.map(({ name, sequence }, at) => {
      const upper = sequence.toUpperCase().replace(/[RYSWKMBDHV]/g, "N");
      const bad = /[^ACGTN]/.exec(upper);
      if (!upper) throw new Problem(`${where}, promoter ${at + 1}: the sequence is empty`);
      if (bad) throw new Problem(`${where}, promoter ${at + 1}: letter '${bad[0]}' at position ${bad.index + 1}; only A, C, G, T and N are accepted`);
      if (upper.length > this.model.limits.length) throw new Problem(`${where}, promoter ${at + 1}: ${upper.length} bp, more than the ${this.model.limits.length} bp that the page shows; give the promoter, not the region around it`);
      return { name, sequence: this.whole(upper, notes) };
    });
    return { promoters, notes: [...notes] };
  }

  // The rules of gpraflow predict: flanks are added if neither is recognised, and damaged ones are kept.
  whole(sequence, notes) {
    const { five_prime: five, three_prime: three, max_flank_edits: most, damaged_flanks: policy } = { ...this.model, ...this.calibrations[0] };
    if (sequence.startsWith(five) && sequence.endsWith(three)) return sequence;
    const edits = [editsOfFlank(sequence.slice(0, five.length + most), five), editsOfFlank(reversed(sequence).slice(0, three.length + most), reversed(three))];
    const evidence = [five, three].reduce((sum, flank, at) => sum + (edits[at] <= most ? Math.max(flank.length - 4 * edits[at], 0) : 0), 0);
    if (evidence < 10) {
      notes.add("Flanks were added to inserts.");
      return five + sequence + three;
    }
    if (policy === "repair" && edits.every((count) => count <= most)) throw new Problem(`A flank is damaged, and this page repairs none: the promoter should begin with ${five} and end with ${three}.`);
    notes.add("A damaged flank was kept as it is.");
    return sequence;
  }

  tokens(sequence) {
    const { length, keep, pad } = this.model.window;
    const cut = keep === "right" ? sequence.slice(-length) : sequence.slice(0, length);
    const padded = pad === "left" ? cut.padStart(length, "N") : cut.padEnd(length, "N");
    return Uint8Array.from(padded, (base) => "ACGTN".indexOf(base));
  }

  // Position of the promoter's first base in the window.
  begin(sequence) {
    const { length, keep, pad } = this.model.window;
    return (sequence.length > length ? keep === "right" : pad === "left") ? length - sequence.length : 0;
  }

  // Predictions of each member for a readout, from the outputs of each member.
  readout(outputs, at) {
    const weights = this.readoutWeights[at];
    return outputs.map((own) => own.reduce((sum, value, index) => sum + value * weights[index], 0));
  }

  describe(outputs) {
    return this.model.readouts.map((readout, at) => {
      const [known, members] = [this.calibrations[at], this.readout(outputs, at)];
      const predicted = meanOf(members);
      const spread = spreadOf(members);
      const variance = varianceAt(known, predicted);
      const quantile = known.levels.length ? interpolate(predicted, known.levels, known.level_quantiles.at(-1)) : known.quantiles.at(-1);
      const noise = known.reads === null ? 0 : known.read_variance / Math.max(known.reads, 1);
      const half = quantile === null ? null : quantile * Math.sqrt(known.spread_factor * spread ** 2 + variance + noise);
      const inverse = (value) => ({ log2: () => 2 ** value, rank_normal: () => interpolate(value, known.transform.scores, known.transform.values) }[known.transform.name] ?? (() => value))();
      const [low, high] = half === null ? [null, null] : [predicted - half, predicted + half];
      return { expression: inverse(predicted), low: low === null ? null : inverse(low), high: high === null ? null : inverse(high), predicted, predicted_low: low, predicted_high: high, sd: members.length > 1 ? spread : null };
    });
  }

  reasons(sequence, tokens) {
    const [known] = this.calibrations;
    const [least, most] = known.lengths;
    const unknown = tokens.filter((token) => token === 4).length - Math.max(tokens.length - sequence.length, 0);
    const counts = new Float64Array(64);
    for (let at = 0; at + 3 <= tokens.length; at += 1) {
      const [a, b, c] = tokens.subarray(at, at + 3);
      if (a < 4 && b < 4 && c < 4) counts[16 * a + 4 * b + c] += 1;
    }
    const number = counts.reduce((a, b) => a + b, 0);
    const distance = number ? known.kmer_shares.reduce((sum, share, kmer) => sum + (counts[kmer] - number * share) ** 2 / (number * share), 0) / known.composition : Infinity;
    return [
      sequence.length < least || sequence.length > most ? `It has ${sequence.length} bp, but training promoters had ${least === most ? least : `${least} to ${most}`} bp.` : "",
      unknown > known.unknown ? `${unknown} of its bases are unknown (N), but training promoters had ${known.unknown ? `${known.unknown} at most` : "none"}.` : "",
      distance > 1 ? (number ? `Its composition is unlike that of training promoters: its 3-mers are ${distance.toFixed(1)} times as far from theirs as the most unusual training promoter in 1,000.` : "All of its 3-mers hold unknown bases (N).") : "",
    ].filter(Boolean);
  }

  promoter({ name, sequence }) {
    const tokens = this.tokens(sequence);
    return { name, sequence, expression: this.describe(this.members.map((member) => member.run(tokens).outputs)), reasons: this.reasons(sequence, tokens) };
  }

  async predict(text, file) {
    const { promoters, notes } = this.read(text, file);
    const found = [];
    let rested = performance.now();
    for (const promoter of promoters) {
      found.push(this.promoter(promoter));
      if (performance.now() - rested > SLICE) {
        await new Promise((resolve) => setTimeout(resolve));
        rested = performance.now();
      }
    }
    return { promoters: found, notes };
  }

  // The prediction of a promoter at once; effects take longer.
  first(text) {
    const { expression, reasons } = this.promoter(this.read(text, "").promoters[0]);
    return { expression, reasons };
  }

  async explain(text, readout) {
    this.turn += 1;
    const mine = this.turn;
    const { promoters: [{ sequence }] } = this.read(text, "");
    const at = Math.max(0, this.model.readouts.findIndex(({ name }) => name === readout));
    const [tokens, begin] = [this.tokens(sequence), this.begin(sequence)];
    const known = this.members.map((member) => member.run(tokens));
    const mean = (outputs) => meanOf(this.readout(outputs, at));
    const own = mean(known.map(({ outputs }) => outputs));
    const { five_prime: five, three_prime: three } = this.model;
    const intact = sequence.startsWith(five) && sequence.endsWith(three);
    const [first, last] = intact ? [five.length, sequence.length - three.length] : [0, sequence.length];
    const effects = Array.from(sequence, () => null);
    let rested = performance.now();
    for (let place = first; place < last; place += 1) {
      const index = place + begin;
      if (index < 0 || index >= tokens.length || tokens[index] > 3) continue;
      effects[place] = Array.from(BASES, (_, base) => {
        if (base === tokens[index]) return 0;
        const mutant = tokens.slice();
        mutant[index] = base;
        return mean(this.members.map((member, number) => member.run(mutant, known[number], index).outputs)) - own;
      });
      if (performance.now() - rested > SLICE) {
        await new Promise((resolve) => setTimeout(resolve));
        rested = performance.now();
        if (mine !== this.turn) await new Promise(() => {}); // a later question has taken its place
      }
    }
    this.explained = { sequence, readout, tokens, begin, known, at, effects };
    return { name: "", sequence, expression: this.describe(known.map(({ outputs }) => outputs)), reasons: this.reasons(sequence, tokens), effects };
  }

  // Motif sites of the promoter that was explained last.
  async sites(sequence, readout) {
    const { tokens, begin, known, at, effects } = this.explained.sequence === sequence && this.explained.readout === readout ? this.explained : (await this.explain(sequence, readout), this.explained);
    let used = 0; // bases of the random sequences that replace sites, the same as in Python
    const random = () => {
      const place = used % (4 * this.replacements.length);
      used += 1;
      return (this.replacements[place >> 2] >> (6 - 2 * (place & 3))) & 3;
    };
    const predicted = (promoter, first, width) => meanOf(this.readout(this.members.map((member, number) => member.run(promoter, known[number], first, first + width - 1).outputs), at));
    const own = meanOf(this.readout(known.map(({ outputs }) => outputs), at));
    const sites = agreeingSites(this.motifs, tokens, Array.from(tokens, (_, index) => effects[index - begin] ?? null)).map(({ first, width, ...site }) => {
      const without = Array.from({ length: REPLACED }, () => {
        const changed = tokens.slice();
        for (let place = first; place < first + width; place += 1) changed[place] = random();
        return predicted(changed, first, width);
      });
      return { ...site, start: first - begin + 1, end: first - begin + width, effect: own - meanOf(without) };
    });
    sites.sort((a, b) => a.start - b.start || (a.matrix < b.matrix ? -1 : Number(a.matrix > b.matrix)));
    return { ready: true, sites };
  }

  async compare(ref, alt) {
    const [a, b] = [ref, alt].map((text) => this.read(text, "").promoters[0].sequence);
    const tokens = [a, b].map((sequence) => this.tokens(sequence));
    const [of, to] = tokens.map((promoter) => this.members.map((member) => member.run(promoter).outputs));
    const unseen = a !== b && tokens[0].every((token, at) => token === tokens[1][at]); // they differ outside the window only
    const edits = Math.min(editsBetween(a, b), this.model.window.length + 1);
    return this.model.readouts.map((_, at) => {
      const [before, after] = [of, to].map((outputs) => this.readout(outputs, at));
      const effect = unseen ? NaN : meanOf(after) - meanOf(before);
      const [half, basis] = effectInterval(this.calibrations[at], meanOf(before), meanOf(after), spreadOf(after.map((value, member) => value - before[member])), edits);
      const [low, high] = [effect - half, effect + half];
      const known = Number.isFinite(low);
      return { effect: unseen ? null : effect, low: known ? low : null, high: known ? high : null, interval: known ? basis : null };
    });
  }

  // Searches for designs, as of a server.
  async startDesigns(request) {
    if ([...this.jobs.values()].some(({ state }) => state === "running")) throw new Problem("A search for designs is running already; wait until it ends, or cancel it.");
    this.jobs.clear();
    const [name, search] = [`${performance.now()}`, new DesignSearch(this, request, this.designing)];
    this.jobs.set(name, search);
    search.run();
    return name;
  }

  async designs(job) {
    return this.jobs.get(job).shown();
  }

  async cancelDesigns(job) {
    this.jobs.get(job).cancelled = true;
  }
}
