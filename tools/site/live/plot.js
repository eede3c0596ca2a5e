// Little plots that a slider moves: a frame with ticks, lines and points, as SVG.

import {make} from "./make.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 460, HEIGHT = 260, LEFT = 52, BOTTOM = 40, GAP = 12;

const draw = (kind, attributes, ...inside) => {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
};

export class Plot {
  // `x`, `y`: {from, to, ticks, name}. What is drawn outside the frame is cut off.
  constructor(title, x, y) {
    Object.assign(this, {x, y});
    this.inside = draw("g", {"clip-path": "inset(0)"});
    this.frame = draw("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title, class: "live-plot"});
    const right = WIDTH - GAP, floor = HEIGHT - BOTTOM;
    this.frame.append(draw("path", {d: `M${LEFT} ${GAP}V${floor}H${right}`, class: "axis"}));
    for (const tick of x.ticks) this.write(tick, this.atX(tick), floor + 16, "middle");
    for (const tick of y.ticks) this.write(tick, LEFT - 6, this.atY(tick) + 4, "end");
    this.write(x.name, (LEFT + right) / 2, HEIGHT - 4, "middle");
    this.write(y.name, 14, floor / 2, "middle", `rotate(-90 14 ${floor / 2})`);
    const window = draw("svg", {x: LEFT, y: GAP, width: right - LEFT, height: floor - GAP,
      viewBox: `${LEFT} ${GAP} ${right - LEFT} ${floor - GAP}`});
    window.append(this.inside);
    this.frame.append(window);
  }

  write(text, x, y, anchor, transform = "") {
    this.frame.append(draw("text", {x, y, "text-anchor": anchor, transform}, String(text)));
  }

  atX(value) { return LEFT + (value - this.x.from) / (this.x.to - this.x.from) * (WIDTH - GAP - LEFT); }
  atY(value) { return HEIGHT - BOTTOM - (value - this.y.from) / (this.y.to - this.y.from) * (HEIGHT - BOTTOM - GAP); }

  clear() { this.inside.replaceChildren(); }

  line(points, kind) {
    const places = points.map(([x, y]) => `${this.atX(x).toFixed(1)} ${this.atY(y).toFixed(1)}`);
    this.inside.append(draw("path", {d: `M${places.join("L")}`, class: kind}));
  }

  points(points, kind) {
    this.inside.append(...points.map(([x, y]) => draw("circle", {cx: this.atX(x).toFixed(1), cy: this.atY(y).toFixed(1), r: 4, class: kind})));
  }
}

// A slider with its name, a mark at one value, and what it means where it stands; `moved` gets its value.
export function slider(name, {from, to, step, at, mark}, moved) {
  const input = make("input", {type: "range", min: from, max: to, step, value: at});
  const marks = make("datalist", {id: `mark-at-${mark}`}, make("option", {value: mark}));
  input.setAttribute("list", marks.id);
  const said = make("output");
  const tell = () => { said.textContent = moved(Number(input.value)); };
  input.addEventListener("input", tell);
  tell();
  return [make("label", {}, name, input, marks), make("p", {}, said)];
}
