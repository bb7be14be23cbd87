"use strict";
// Small charts with a time below and a unit at the side, drawn anew at the width there is.
window.cdrPlots = (() => {
  const HEIGHT = 112, LEFT = 40, TOP = 8, BOTTOM = 20;
  const number = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // What an axis may end with: the middle of it is to be a round number as well.
  const roundUp = (value) => {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 4, 6, 10].map((each) => each * power).find((each) => each >= value);
  };

  const frame = (plot, values, least, times) => {
    const width = Math.max(plot.clientWidth, 160);
    const most = roundUp(Math.max(...values, least));
    const right = width - 8, bottom = HEIGHT - BOTTOM;
    const y = (value) => bottom - (value / most) * (bottom - TOP);
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const parts = [0, most / 2, most].flatMap((value) => [
      svg("line", {class: "cdr-grid", x1: LEFT, x2: right, y1: y(value), y2: y(value)}),
      svg("text", {x: LEFT - 5, y: y(value) + 4, "text-anchor": "end"}, number.format(value)),
    ]);
    const anchors = ["start", "middle", "end"];
    times.forEach((time, place) => {
      const x = LEFT + (right - LEFT) * place / (times.length - 1);
      parts.push(svg("text", {x, y: HEIGHT - 4, "text-anchor": anchors[place]}, time));
    });
    return {parts, y, right, bottom};
  };

  const bars = (plot, values, times, says) => {
    const {parts, y, right, bottom} = frame(plot, values, 1, times);
    const step = (right - LEFT) / values.length;
    values.forEach((value, place) => {
      if (value) parts.push(svg("rect", {x: LEFT + place * step, y: y(value), width: step * 0.85, height: bottom - y(value)}));
    });
    plot.replaceChildren(...parts);
    plot.setAttribute("aria-label", says);
  };

  // Where a value is null there is none, and the line is broken; one that stands alone is a dot.
  const line = (plot, values, times, says) => {
    const {parts, y, right} = frame(plot, values.filter((value) => value !== null), 4, times);
    const step = (right - LEFT) / Math.max(values.length - 1, 1);
    const pieces = values.reduce((found, value, place) => {
      if (value !== null) (values[place - 1] ?? null) === null ? found.push([place]) : found.at(-1).push(place);
      return found;
    }, []);
    for (const piece of pieces) {
      const places = piece.length === 1 ? [piece[0], piece[0]] : piece;
      parts.push(svg("polyline", {points: places.map((place) => `${LEFT + place * step},${y(values[place])}`).join(" ")}));
    }
    plot.replaceChildren(...parts);
    plot.setAttribute("aria-label", says);
  };

  return {bars, line};
})();
