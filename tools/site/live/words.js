// The rung of words: TF-IDF and logistic regression, as chapter 7 has them. What it needs to know
// is words.json, which the module `live` of the course writes.

const ALONE = "\\u3040-\\u30ff\\u3400-\\u9fff"; // kana and Chinese characters: each is a token
const LETTER = `(?:(?![${ALONE}])[\\p{L}\\p{N}_])`;
const TOKEN = new RegExp(`[${ALONE}]|${LETTER}+(?:'${LETTER}+)*|[^\\p{L}\\p{N}_\\p{White_Space}\\x1c-\\x1f]+`, "gu");

// The tokens of a text, each with its place. In lower case a text may get longer ("İ"): then the
// places are those in the lower-case text, which is given back too.
export function tokenize(text) {
  const lower = text.toLowerCase().replaceAll("’", "'");
  const shown = lower.length === text.length ? text : lower;
  const tokens = [...lower.matchAll(TOKEN)].map((m) => ({word: m[0], start: m.index, end: m.index + m[0].length}));
  return {shown, tokens};
}

export class Words {
  constructor({terms, idf, weights, intercept}) {
    this.known = new Map(terms.map((term, i) => [term, {idf: idf[i], weight: weights[i]}]));
    this.intercept = intercept;
  }

  // How probable praise is, and what each token added to its logit: a pair adds half to either.
  // `known` says whether the text holds any term that the model knows.
  read(text) {
    const {shown, tokens} = tokenize(text);
    const places = new Map();
    const meet = (term, ...at) => {
      if (this.known.has(term)) places.set(term, [...(places.get(term) || []), at]);
    };
    tokens.forEach(({word}, i) => {
      meet(word, i);
      if (i) meet(`${tokens[i - 1].word} ${word}`, i - 1, i);
    });
    const value = (term) => (1 + Math.log(places.get(term).length)) * this.known.get(term).idf;
    const norm = Math.hypot(...[...places.keys()].map(value));
    const effects = tokens.map(() => 0);
    for (const [term, met] of places) {
      const effect = (value(term) / norm) * this.known.get(term).weight / met.length;
      for (const at of met) for (const i of at) effects[i] += effect / at.length;
    }
    const logit = this.intercept + effects.reduce((a, b) => a + b, 0);
    const parts = tokens.map(({start, end}, i) => ({start, end, effect: effects[i]}));
    return {positive: 1 / (1 + Math.exp(-logit)), known: places.size > 0, shown, parts};
  }
}
