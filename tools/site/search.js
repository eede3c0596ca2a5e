// Search: what is named like the question comes first, then what speaks of it. Runs in Node too.
const ALIKE = {derivative: ["slope", "gradient", "jacobian"], slope: ["derivative", "gradient"]};

// How well one word of the question fits an entry, 0 where it is not there.
function fit(word, entry) {
  const at = entry.section.indexOf(word);
  if (at >= 0) {
    const before = entry.section[at - 1], after = entry.section[at + word.length];
    const apart = (c) => c === undefined || !/[\p{L}\p{N}]/u.test(c);
    return apart(before) && apart(after) ? 40 : apart(before) ? 25 : 12;
  }
  if (entry.title.includes(word)) return 8;
  return Math.min(entry.text.split(word).length - 1, 4);
}

// The entries of search.json that have every word of the question, the best first.
function rank(entries, question, limit = 20) {
  const asked = question.toLowerCase().trim();
  const words = asked.split(/\s+/).filter(Boolean);
  const scored = entries.map((item) => {
    const entry = {section: item.section.toLowerCase(), title: item.title.toLowerCase(),
                   text: item.text.toLowerCase()};
    const fits = words.map((word) => Math.max(
      fit(word, entry), ...(ALIKE[word] || []).map((other) => 0.8 * fit(other, entry))));
    if (fits.includes(0)) return {item, score: 0};
    const names = entry.section.split(/ · |, /);
    const named = names.includes(asked) ? 200 : entry.section.includes(asked) ? 30 : 0;
    const phrase = words.length > 1 && entry.text.includes(asked) ? 10 : 0;
    const sum = fits.reduce((a, b) => a + b, 0);
    return {item, score: named + phrase + sum - entry.section.length / 50};
  });
  return scored.filter((hit) => hit.score > 0).sort((a, b) => b.score - a.score)
    .slice(0, limit).map((hit) => hit.item);
}

// About 200 characters of a text around the first word of the question that is in it.
function excerpt(text, question) {
  const lower = text.toLowerCase();
  const places = question.toLowerCase().split(/\s+/).map((w) => lower.indexOf(w));
  const start = Math.max(0, Math.min(...places.filter((i) => i >= 0), lower.length) - 60);
  return (start ? "…" : "") + text.slice(start, start + 200);
}

if (typeof module !== "undefined") module.exports = {rank, excerpt};
