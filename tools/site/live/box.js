// The box in which a reader types a review and a trained model answers, without a server: at once by
// its words, and on a click by the fine-tuned encoder, whose files are fetched only then. Each
// `<div class="live-review">` of a page becomes one; without scripts it stays empty.

import {make} from "./make.js";
import {Words} from "./words.js";

const EXAMPLE = "I would not hesitate to buy it again.";
const MOST = 2000; // characters of a review
const COLORED = 60; // words at most that the encoder is asked about, one by one
const PAUSE = 350; // milliseconds without a key before the encoder answers

const json = async (url) => {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
};
const megabytes = (files) => Math.round(Object.values(files).reduce((sum, {bytes}) => sum + bytes, 0) / 1e6);

let words, files, encoder; // promises: one of each for all boxes of a page

// The words of a text, with their places: Chinese has no blanks between them.
function wordsOf(text) {
  if (!Intl.Segmenter) return [...text.matchAll(/\S+/g)].map((m) => ({start: m.index, end: m.index + m[0].length}));
  const parts = [...new Intl.Segmenter(undefined, {granularity: "word"}).segment(text)];
  return parts.filter((part) => part.isWordLike).map(({index, segment}) => ({start: index, end: index + segment.length}));
}

// A text with each of its parts coloured by what it says, and how loudly.
function colored(text, parts) {
  const loudest = Math.max(0.5, ...parts.map(({effect}) => Math.abs(effect))), inside = [];
  let end = 0;
  for (const {start, end: after, effect} of parts) {
    inside.push(text.slice(end, start));
    const share = Math.abs(effect) / loudest;
    const word = text.slice(start, after);
    if (share < 0.1) inside.push(word);
    else {
      const mark = make("mark", {className: effect > 0 ? "praise" : "blame"}, word);
      mark.style.setProperty("--share", share.toFixed(2));
      mark.title = `${effect > 0 ? "speaks for praise" : "speaks for blame"}: ${effect > 0 ? "+" : "−"}${Math.abs(effect).toFixed(2)} to the logit`;
      inside.push(mark);
    }
    end = after;
  }
  return [...inside, text.slice(end)];
}

// One answer: what it is, how sure, and the words that moved it.
class Answer {
  constructor(name) {
    this.verdict = make("strong", {ariaLive: "polite"});
    this.bar = make("meter", {min: 0, max: 1, hidden: true, ariaLabel: `how probable praise is, by ${name}`});
    this.text = make("p", {className: "live-text"});
    this.element = make("div", {className: "live-answer"}, make("p", {}, `${name}: `, this.verdict, " ", this.bar), this.text);
  }

  show(positive, text, parts, unread = 0) {
    const sure = Math.max(positive, 1 - positive);
    this.verdict.textContent = `${positive >= 0.5 ? "positive" : "negative"}, ${Math.min(99, Math.round(100 * sure))} % sure`;
    if (unread > 0.05) this.verdict.textContent += `, but it cannot read ${Math.round(100 * unread)} % of this`;
    [this.bar.value, this.bar.hidden] = [positive, false];
    this.text.replaceChildren(...colored(text, parts));
  }

  say(what) {
    [this.verdict.textContent, this.bar.hidden] = [what, true];
    this.text.replaceChildren();
  }
}

class Box {
  constructor(element) {
    this.input = make("textarea", {value: EXAMPLE, rows: 2, maxLength: MOST, spellcheck: false});
    this.byWords = new Answer("Counting words");
    this.byEncoder = new Answer("Fine-tuned encoder");
    this.byEncoder.element.hidden = true;
    this.asked = make("button", {type: "button", hidden: true});
    this.come = make("progress", {max: 1, hidden: true, ariaLabel: "fetching the encoder"});
    const label = make("label", {}, "Type a review, in English or Chinese", this.input);
    const legend = make("p", {className: "live-legend"}, make("mark", {className: "praise"}, "speaks for praise"), " ",
      make("mark", {className: "blame"}, "speaks for blame"), " · It is read in your browser and goes nowhere (",
      make("a", {href: "a22-live.html"}, "how"), ").");
    element.replaceChildren(label, this.byWords.element, this.byEncoder.element, make("p", {}, this.asked, this.come), legend);
    this.input.addEventListener("input", () => this.answer());
    this.asked.addEventListener("click", () => this.fetchEncoder());
    this.answer();
    this.offerEncoder();
  }

  async answer() {
    const text = this.input.value;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.answerByEncoder(text), PAUSE);
    try {
      const found = (await (words ||= json("live/words.json").then((data) => new Words(data)))).read(text);
      if (this.input.value !== text) return;
      if (!text.trim()) this.byWords.say("nothing typed yet");
      else if (!found.known) this.byWords.say("it knows none of these words");
      else this.byWords.show(found.positive, found.shown, found.parts);
    } catch {
      words = undefined; // the next key tries again
      this.byWords.say("its words cannot be fetched just now");
    }
  }

  async offerEncoder() {
    const found = await (files ||= json("live/files.json")).catch(() => ({}));
    if (!Object.keys(found).length) return; // the site was built without it
    this.asked.textContent = `Ask the fine-tuned encoder too (${megabytes(found)} MB, fetched once)`;
    this.asked.hidden = false;
  }

  async fetchEncoder() {
    [this.asked.hidden, this.come.hidden, this.come.value] = [true, false, 0];
    this.input.focus(); // not lost with the button
    try {
      encoder ||= import("./encoder.js").then(async ({Encoder}) => Encoder.load(await files, (share) => { this.come.value = share; }));
      this.encoder = await encoder;
      this.byEncoder.element.hidden = false;
      await this.answerByEncoder(this.input.value);
    } catch {
      encoder = undefined;
      this.asked.textContent = "The encoder cannot be fetched just now: try again";
      this.asked.hidden = false;
    }
    this.come.hidden = true;
  }

  async answerByEncoder(text) {
    if (!this.encoder) return;
    if (!text.trim()) return this.byEncoder.say("nothing typed yet");
    const gone = () => this.input.value !== text;
    const unread = this.encoder.pieces.unread(text);
    const [positive] = await this.encoder.positive([text]);
    if (gone()) return;
    this.byEncoder.show(positive, text, [], unread);
    const all = wordsOf(text), parts = all.slice(0, COLORED);
    const effects = await this.encoder.effects(text, parts, gone);
    const told = parts.map((part, i) => ({...part, effect: effects[i]}));
    if (gone()) return;
    this.byEncoder.show(positive, text, told, unread);
    if (all.length > COLORED) this.byEncoder.text.append(make("small", {}, ` (Of its words the first ${COLORED} are coloured.)`));
  }
}

// A box is made when it comes into view: before, its files are not needed.
const seen = new IntersectionObserver((entries) => {
  for (const {isIntersecting, target} of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    new Box(target);
  }
}, {rootMargin: "200px"});
document.querySelectorAll(".live-review").forEach((element) => seen.observe(element));
