// The fine-tuned encoder, in 8 bits, by ONNX Runtime in the browser. Its files are fetched when it
// is asked for, and kept: the next time they come from the browser's own store.

import {Pieces} from "./pieces.js";

const STORE = "sentiment-course-live";
const BATCH = 512; // tokens at a time: in between, the page answers to the reader

// A file of so many bytes, from the store or the network; `tell` gets the bytes of each part that came.
async function fetched({url, bytes}, tell) {
  const store = await globalThis.caches?.open(STORE).catch(() => undefined); // none without https
  const kept = await store?.match(url);
  const response = kept || await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const parts = [], reader = response.body.getReader();
  for (let part; !(part = await reader.read()).done;) {
    parts.push(part.value);
    tell(part.value.length);
  }
  const whole = new Blob(parts);
  if (whole.size !== bytes) { // such as the page of a hotel's network
    await store?.delete(url).catch(() => {});
    throw new Error(`${url}: ${whole.size} bytes`);
  }
  if (!kept) await store?.put(url, new Response(whole)).catch(() => {}); // full: then without
  return whole;
}

// Forget what an earlier version of the site has kept.
async function forgetOthers(urls) {
  const store = await globalThis.caches?.open(STORE).catch(() => undefined);
  const wanted = new Set(urls.map((url) => new URL(url, document.baseURI).href));
  for (const request of await store?.keys() ?? []) {
    if (!wanted.has(request.url)) await store.delete(request);
  }
}

export class Encoder {
  // `files`: name -> {url, bytes}, of live/files.json. `tell` gets a share of all bytes, 0 to 1.
  static async load(files, tell) {
    const total = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
    let come = 0;
    const got = {};
    for (const [name, file] of Object.entries(files)) {
      got[name] = await fetched(file, (bytes) => tell(Math.min(1, (come += bytes) / total)));
    }
    await forgetOthers(Object.values(files).map((file) => file.url)).catch(() => {});
    const module = URL.createObjectURL(new Blob([got.runtime], {type: "text/javascript"}));
    const runtime = await import(module);
    URL.revokeObjectURL(module);
    runtime.env.wasm.numThreads = 1; // more need headers that a plain server does not send
    runtime.env.wasm.wasmBinary = await got.wasm.arrayBuffer();
    const options = {graphOptimizationLevel: "basic", logSeverityLevel: 4};
    const session = await runtime.InferenceSession.create(new Uint8Array(await got.scorer.arrayBuffer()), options);
    return new Encoder(runtime, session, new Pieces(JSON.parse(await got.pieces.text())));
  }

  constructor(runtime, session, pieces) {
    Object.assign(this, {runtime, session, pieces, last: Promise.resolve()});
  }

  // How probable praise is, of each of some texts; of fewer where `stop` says that nobody waits.
  async positive(texts, stop = () => false) {
    const tokens = texts.map((text) => this.pieces.tokens(text)), answers = [];
    while (answers.length < texts.length && !stop()) {
      const left = tokens.slice(answers.length);
      const batch = left.slice(0, Math.max(1, Math.floor(BATCH / left[0].length)));
      this.last = this.last.catch(() => {}).then(() => this.batch(batch)); // one at a time
      answers.push(...await this.last);
      await new Promise((go) => setTimeout(go));
    }
    return answers;
  }

  async batch(tokens) {
    const length = Math.max(...tokens.map((ids) => ids.length));
    const ids = new Int32Array(tokens.length * length), mask = new Int32Array(ids.length);
    tokens.forEach((row, i) => {
      ids.set(row, i * length);
      mask.fill(1, i * length, i * length + row.length);
    });
    const tensor = (data) => new this.runtime.Tensor("int32", data, [tokens.length, length]);
    const {probabilities} = await this.session.run({ids: tensor(ids), mask: tensor(mask)});
    return tokens.map((_, i) => probabilities.data[2 * i + 1]);
  }

  // What each word adds to the logit of praise: what the text loses when it is left out. Fewer
  // words have an answer where `stop` says that nobody waits.
  async effects(text, words, stop) {
    const logit = (p) => Math.log(Math.max(p, 1e-6) / Math.max(1 - p, 1e-6));
    const without = words.map(({start, end}) => text.slice(0, start) + text.slice(end));
    const [whole, ...left] = (await this.positive([text, ...without], stop)).map(logit);
    return left.map((one) => whole - one);
  }
}
