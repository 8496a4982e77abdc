// Motif sites at which effects of substitutions agree with the motif, as gpraflow explain finds them.

const OCCUPIED = 0.05; // least occupancy; the best possible site has 1/2
const ALIKE = 0.5; // least absolute correlation between effects and changes of occupancy
const FEWEST = 9; // substitutions
export const REPLACED = 8; // random sequences that replace a site

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function correlation(xs, ys) {
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const [x, y] = [mean(xs), mean(ys)];
  let [xx, yy, xy] = [0, 0, 0];
  xs.forEach((value, at) => {
    xx += (value - x) ** 2;
    yy += (ys[at] - y) ** 2;
    xy += (value - x) * (ys[at] - y);
  });
  return xx && yy ? xy / Math.sqrt(xx * yy) : NaN;
}

// Sites in a window, without their effects: { factor, matrix, strand, first (in the window), width, occupancy, similarity }.
// motifs: { factor, matrix, log_odds } with rows of four. effects: a row of four for each token, or null.
export function agreeingSites(motifs, tokens, effects) {
  const found = [];
  for (const { factor, matrix, log_odds: forward } of motifs) {
    const width = forward.length;
    const best = forward.reduce((sum, row) => sum + Math.max(...row), 0);
    const reverse = [...forward].reverse().map((row) => [...row].reverse());
    for (const [strand, rows] of [["+", forward], ["-", reverse]]) {
      for (let first = 0; first + width <= tokens.length; first += 1) {
        let score = -best;
        for (let at = 0; at < width; at += 1) score += tokens[first + at] > 3 ? -1000 : rows[at][tokens[first + at]];
        const occupancy = sigmoid(score);
        if (occupancy < OCCUPIED) continue;
        const [seen, expected] = [[], []];
        for (let at = 0; at < width; at += 1) {
          const [own, row] = [tokens[first + at], effects[first + at]];
          for (let base = 0; row && base < 4; base += 1) {
            if (base === own) continue;
            seen.push(row[base]);
            expected.push(sigmoid(score - rows[at][own] + rows[at][base]) - occupancy);
          }
        }
        const similarity = seen.length < FEWEST ? NaN : correlation(seen, expected);
        if (Math.abs(similarity) >= ALIKE) found.push({ factor, matrix, strand, first, width, occupancy, similarity });
      }
    }
  }
  return found;
}
