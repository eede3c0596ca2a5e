// Chapter 16: the reliability diagram of a classifier of two classes, at a temperature that the reader
// sets. `data-points` holds [logit, texts, of these right]: how sure it is of its answer.

import {Plot, slider} from "./plot.js";

const BINS = 10;

document.querySelectorAll(".live-temperature").forEach((element) => {
  const points = JSON.parse(element.dataset.points), best = Number(element.dataset.best);
  const all = points.reduce((sum, [, texts]) => sum + texts, 0);
  const ticks = [0.5, 0.6, 0.7, 0.8, 0.9, 1];
  const plot = new Plot("Accuracy against confidence", {from: 0.5, to: 1.01, ticks, name: "mean confidence in the bin"},
    {from: 0.4, to: 1.01, ticks, name: "accuracy in the bin"});

  const binned = (temperature) => {
    const bins = Array.from({length: BINS}, () => ({sure: 0, texts: 0, right: 0}));
    for (const [logit, texts, right] of points) {
      const sure = 1 / (1 + Math.exp(-logit / temperature));
      const bin = bins[Math.min(BINS - 1, Math.floor(sure * BINS + 1e-9))];
      bin.sure += sure * texts;
      bin.texts += texts;
      bin.right += right;
    }
    return bins.filter((bin) => bin.texts);
  };

  const moved = (temperature) => {
    const bins = binned(temperature);
    const places = bins.map(({sure, texts, right}) => [sure / texts, right / texts]);
    const gap = bins.reduce((sum, {sure, right}) => sum + Math.abs(right - sure), 0) / all;
    plot.clear();
    plot.line([[0.5, 0.5], [1, 1]], "curve");
    plot.line(places, "path");
    plot.points(places, "path");
    const mean = bins.reduce((sum, {sure}) => sum + sure, 0) / all;
    const right = bins.reduce((sum, bin) => sum + bin.right, 0) / all;
    const how = Math.abs(mean - right) < 0.005 ? "as sure as it is right" : mean > right ? "too sure" : "not sure enough";
    return `Temperature ${temperature.toFixed(2)}: mean confidence ${(100 * mean).toFixed(1)} %, right ${(100 * right).toFixed(1)} %: ` +
      `${how}. Expected calibration error ${gap.toFixed(3)}. (Fitted on these texts: ${best.toFixed(2)}.)`;
  };
  element.replaceChildren(...slider("Temperature, from 0.3 to 4; the mark is at 1, which changes nothing", {from: 0.3, to: 4, step: 0.05, at: 1, mark: 1}, moved), plot.frame);
});
