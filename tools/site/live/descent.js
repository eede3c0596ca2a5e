// Chapter 3: the steps of gradient descent on a parabola of curvature h, at a rate that the reader
// sets. The border is at 2 / h.

import {Plot, slider} from "./plot.js";

const STEPS = 12, START = -4, WIDE = 5, BORDER = 2;

document.querySelectorAll(".live-descent").forEach((element) => {
  const height = (w) => w * w / 2;
  const plot = new Plot("Steps of gradient descent on a parabola",
    {from: -WIDE, to: WIDE, ticks: [-4, -2, 0, 2, 4], name: "w − w*"},
    {from: 0, to: height(WIDE), ticks: [0, 5, 10], name: "loss above the best, in h"});
  const curve = Array.from({length: 101}, (_, i) => -WIDE + i * 2 * WIDE / 100).map((w) => [w, height(w)]);

  const moved = (rate) => {
    const path = Array.from({length: STEPS + 1}, (_, t) => START * (1 - rate) ** t).map((w) => [w, height(w)]);
    plot.clear();
    plot.line(curve, "curve");
    plot.line(path, "path");
    plot.points(path, "path");
    const factor = 1 - rate, size = Math.abs(factor);
    const how = rate === 1 ? "the first step lands at the bottom"
      : rate < 1 ? "the steps slide down one side"
      : rate < BORDER ? "the steps hop from side to side, lower each time"
      : rate === BORDER ? "the border: the steps hop for ever, and get nowhere"
      : "past the border 2 / h: the steps hop, and climb";
    return `α = ${rate.toFixed(2)} / h: each step leaves ${factor.toFixed(2).replace("-", "−")} of the distance; ${how}` +
      (size > 0 && size < 1 ? `, and after ${STEPS} steps ${(100 * size ** STEPS).toPrecision(2)} % is left.` : ".");
  };
  element.replaceChildren(...slider("Learning rate α, from 0.05 / h to 2.3 / h; the mark is at the border, 2 / h", {from: 0.05, to: 2.3, step: 0.05, at: 1.8, mark: BORDER}, moved), plot.frame);
});
