// Answers to the page: of the server, whose requests are JSON.

const GONE = "The server does not answer. Start it again with gpraflow serve and try once more; the page keeps your promoter.";

// A problem that the user can solve; the message is shown as it is.
export class Problem extends Error {}

export class ServerEngine {
  constructor(model) {
    this.model = model;
    this.token = new URLSearchParams(location.search).get("token") ?? "";
  }

  async ask(path, content) {
    const headers = { ...(content ? { "Content-Type": "application/json" } : {}), ...(this.token ? { "X-Gpraflow-Token": this.token } : {}) };
    let answer;
    try {
      const request = content ? { method: "POST", headers, body: JSON.stringify(content) } : { headers };
      answer = await fetch(`/api/${path}`, { ...request, signal: AbortSignal.timeout(120000) });
    } catch {
      throw new Problem(GONE);
    }
    const found = await answer.json().catch(() => ({ error: GONE }));
    if (!answer.ok) throw new Problem(found.error ?? GONE);
    return found;
  }

  predict(text, file) {
    if (new Blob([text]).size > this.model.limits.bytes) {
      const size = (new Blob([text]).size / 2 ** 20).toFixed(1);
      throw new Problem(`The text has more than 1 MB (${size} MB). Give fewer promoters, or use gpraflow predict, which reads files of any size.`);
    }
    return this.ask("predict", { text, file });
  }

  // The prediction of a promoter, which comes before its effects.
  async first(sequence) {
    return (await this.ask("predict", { text: sequence.replace(/\s/g, ""), file: "" })).promoters[0];
  }

  explain(sequence, readout) {
    return this.ask("explain", { sequence, readout });
  }

  sites(sequence, readout) {
    return this.ask("sites", { sequence, readout });
  }

  async compare(ref, alt) {
    return (await this.ask("compare", { ref, alt })).effects;
  }

  async startDesigns(request) {
    return (await this.ask("designs", request)).job;
  }

  designs(job) {
    return this.ask(`designs/${job}`);
  }

  cancelDesigns(job) {
    return this.ask(`designs/${job}/cancel`, {});
  }
}
