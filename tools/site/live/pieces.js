// A text as the multilingual encoder reads it: the most probable cut into pieces, as chapter 15 has
// it. What it needs to know is pieces.json, which the module `live` of the course writes.

const UNKNOWN = 10; // what a character that no piece holds costs, beside the rarest piece

export class Pieces {
  constructor({pieces, scores, marks, characters, longest}) {
    this.ids = new Map(pieces.map((piece, i) => [piece, i]));
    this.scores = scores;
    this.marks = marks;
    this.typed = new Set(Object.values(marks));
    this.characters = new Map(Object.entries(characters));
    this.longest = longest;
    this.widest = Math.max(...pieces.map((piece) => [...piece].length));
    this.lowest = scores.reduce((a, b) => Math.min(a, b)) - UNKNOWN;
  }

  // A text with its characters mapped, and a ▁ for each run of blanks.
  normalised(text) {
    const mapped = [...text.normalize("NFC")].map((c) => this.characters.get(c) ?? c).join("");
    const trimmed = mapped.replace(/ +/g, " ").replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");
    return trimmed && `▁${trimmed.replaceAll(" ", "▁")}`;
  }

  // Each word is cut by itself: no piece holds a ▁ but at its start.
  cut(text) {
    const words = this.normalised(text).split(/(?=▁)/u);
    const ids = words.filter((word) => word).flatMap((word) => this.best([...word]));
    return ids.map((id) => this.typed.has(id) ? this.marks.unknown : id);
  }

  // The ids of the most probable cut of one word, by dynamic programming.
  best(letters) {
    const best = [0], start = [0], id = [0];
    for (let end = 1; end <= letters.length; end++) {
      best[end] = -Infinity;
      for (let begin = Math.max(0, end - this.widest); begin < end; begin++) {
        const piece = this.ids.get(letters.slice(begin, end).join(""));
        const one = end - begin === 1;
        if (piece === undefined && !one) continue;
        const score = best[begin] + (piece === undefined ? this.lowest : this.scores[piece]);
        if (score > best[end]) [best[end], start[end], id[end]] = [score, begin, piece ?? this.marks.unknown];
      }
    }
    const ids = [];
    for (let end = letters.length; end; end = start[end]) {
      // Neighbours that no piece holds are one unknown token.
      if (!(id[end] === this.marks.unknown && ids.at(-1) === id[end])) ids.push(id[end]);
    }
    return ids.reverse();
  }

  // The share of a text's tokens that no piece spells.
  unread(text) {
    const ids = this.cut(text);
    return ids.filter((id) => id === this.marks.unknown).length / Math.max(1, ids.length);
  }

  // The ids that the encoder gets, marks at both ends; of a long text, both its ends.
  tokens(text) {
    const ids = [this.marks.start, ...this.cut(text), this.marks.end];
    const half = Math.floor(this.longest / 2);
    return ids.length <= this.longest ? ids : [...ids.slice(0, half), ...ids.slice(half - this.longest)];
  }
}
