"use strict";

// Figures: drawn by Plotly from DATA (data.js); both are loaded when the first figure is about to become visible.
const WIDE = 600;
const ON_AN_AXIS = innerWidth > WIDE ? 20 : 12;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const titled = (metric) => metric.title + (metric.unit ? ` (${metric.unit})` : "");
const isReference = (system) => system.kind === "noisy" || system.kind === "target";
const better = (metric) => `${metric.higher ? "Higher" : "Lower"} is better.`;
// Names of systems come from users, and Plotly interprets some HTML in its texts: escape them.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const short = (name) => plain(name.length > ON_AN_AXIS ? `${name.slice(0, ON_AN_AXIS - 1)}…` : name);
const label = ({ name, grave }) => short(name) + (grave ? " †" : "");
const noted = (systems) => (systems.some((system) => system.grave) ? " † Marked in the table." : "");
const SOME = 6;
const listed = (names) => names.slice(0, SOME).join(", ") + (names.length > SOME ? ` and ${names.length - SOME} more` : "");

// Systems with comparable scores; and a sentence about the others.
function comparable(data, metric, shown) {
  const scored = data.systems.filter((system) => shown.measured.has(system.name) && system.means[metric] && system.kind !== "target");
  const systems = scored.filter((system) => system.means[metric].comparable);
  const apart = scored.filter((system) => !systems.includes(system)).map((system) => system.name);
  return { systems, apart: apart.length ? ` Left out, not comparable: ${listed(apart)}.` : "" };
}

function layout(own) {
  const line = { gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true, fixedrange: true };
  return {
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
    margin: { l: 8, r: 12, t: 12, b: 8 },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
    showlegend: false,
    dragmode: false,
    ...own,
    xaxis: { ...line, ...own.xaxis },
    yaxis: { ...line, ...own.yaxis },
  };
}

// The Pareto front: points for which no other is better at the same or a lower cost.
function paretoFront(points, higher) {
  const sign = higher ? 1 : -1;
  const front = [];
  const ordered = [...points].sort((a, b) => a.cost - b.cost || sign * (b.mean - a.mean));
  for (const point of ordered) {
    if (!front.length || sign * point.mean > sign * front.at(-1).mean) front.push(point);
  }
  return front;
}

// A number with few digits, and K, M or G where it is large.
function brief(value) {
  for (const [size, letter] of [[1e9, " G"], [1e6, " M"], [1e3, " K"]]) {
    if (value >= size) return Number((value / size).toPrecision(3)) + letter;
  }
  return String(Number(value.toPrecision(3)));
}

// Ticks of a logarithmic axis from low to high: 1, 2 and 5 in each decade if there is room, else decades only.
function logTicks(low, high, most) {
  const decades = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) decades.push(Number(`1e${power}`));
  const inside = (steps) => decades.flatMap((decade) => steps.map((step) => Number((step * decade).toPrecision(1)))).filter((tick) => tick >= low && tick <= high);
  const fine = inside([1, 2, 5]);
  if (fine.length <= most) return fine;
  const plain = inside([1]);
  return plain.filter((_, place) => place % Math.ceil(plain.length / most) === 0);
}

// Positions of the labels next to their points, in the given order. A label may not cover another label, a point,
// a whisker or the front, or leave the area. Spots: {x, y, low, high, wide} in pixels, y down; front: boxes. A label
// without room gets no position.
function placeNames(spots, order, front, area) {
  const [gap, tall] = [9, 15];
  const taken = [...front, ...spots.flatMap(({ x, y, low, high }) => [[x - 6, y - 6, x + 6, y + 6], [x - 2, high, x + 2, low]])];
  const hits = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const found = new Map();
  for (const spot of order) {
    const tries = [0, -12, 12].flatMap((yshift) => ["left", "right"].map((xanchor) => ({ xanchor, xshift: xanchor === "left" ? gap : -gap, yshift })));
    for (const place of tries) {
      const [left, middle] = [spot.x + place.xshift - (place.xanchor === "left" ? 0 : spot.wide), spot.y - place.yshift];
      const box = [left, middle - tall / 2, left + spot.wide, middle + tall / 2];
      const inside = box[0] >= 0 && box[1] >= 0 && box[2] <= area.width && box[3] <= area.height;
      if (!inside || taken.some((other) => hits(box, other))) continue;
      taken.push(box);
      found.set(spot.point, place);
      break;
    }
  }
  return found;
}

const ruler = document.createElement("canvas").getContext("2d");
const MARGIN = { l: 66, r: 16, t: 14, b: 54 };
const PADDING = 28;
const NAMED = 8;

function scatter(data, { metric, cost }, shown, width) {
  const about = data.metrics[metric];
  const all = data.systems.filter((system) => shown.measured.has(system.name) && system.means[metric]);
  const points = all
    .filter((system) => system.costs[cost] > 0)
    .map((system) => ({ ...system, cost: system.costs[cost], ...system.means[metric] }));
  const others = data.published
    .filter((row) => shown.published.has(row.name) && row[cost] > 0 && row.scores[metric] !== undefined)
    .map((row) => ({ name: row.name, cost: row[cost], mean: row.scores[metric], chips: ["published score"] }));
  const fair = points.filter((point) => point.comparable);
  const front = paretoFront(fair, about.higher);
  const noisy = all.find((system) => system.kind === "noisy")?.means[metric].mean;
  const height = width > WIDE ? 440 : 360;
  const area = { width: width - PADDING - MARGIN.l - MARGIN.r, height: height - MARGIN.t - MARGIN.b };

  const prices = [...points, ...others].map((point) => Math.log10(point.cost));
  const [least, most] = prices.length ? [Math.min(...prices), Math.max(...prices)] : [0, 1];
  const side = Math.max(0.3, 0.08 * (most - least));
  const x = [least - side, most + side];
  const scores = [...points.flatMap((point) => [point.low, point.high]), ...others.map((point) => point.mean), ...(noisy === undefined ? [] : [noisy])];
  const [worst, best] = scores.length ? [Math.min(...scores), Math.max(...scores)] : [0, 1];
  const y = [worst - 0.06 * (best - worst || 1), best + 0.06 * (best - worst || 1)];
  const ticks = logTicks(10 ** x[0], 10 ** x[1], Math.max(3, Math.floor(area.width / 60)));

  const down = (value) => (area.height * (y[1] - value)) / (y[1] - y[0]);
  const across = (price) => (area.width * (Math.log10(price) - x[0])) / (x[1] - x[0]);
  ruler.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const spots = [...points, ...others].map((point) => ({
    point,
    x: across(point.cost),
    y: down(point.mean),
    low: down(point.low ?? point.mean),
    high: down(point.high ?? point.mean),
    wide: ruler.measureText(label(point)).width,
  }));
  const line = front.slice(1).flatMap((point, place) => {
    const [from, to] = [front[place], point].map((end) => [across(end.cost), down(end.mean)]);
    return [
      [from[0], from[1] - 1, to[0], from[1] + 1],
      [to[0] - 1, Math.min(from[1], to[1]), to[0] + 1, Math.max(from[1], to[1])],
    ];
  });
  const first = spots.filter(({ point }) => front.includes(point));
  const rest = points.length > NAMED ? [] : spots.filter(({ point }) => points.includes(point) && !front.includes(point));
  const places = placeNames(spots, [...first, ...rest], line, area);

  const marks = (group, own) => ({
    type: "scatter",
    mode: "markers",
    x: group.map((point) => point.cost),
    y: group.map((point) => point.mean),
    customdata: group.map((point) => plain(point.name)),
    cliponaxis: false,
    hovertext: group.map((point) =>
      [plain(point.name), `${about.title} ${point.mean.toFixed(about.digits)}`, `${data.costs[cost]} ${brief(point.cost)}`, ...point.chips.map(plain)].join("<br>"),
    ),
    hovertemplate: "%{hovertext}<extra></extra>",
    ...own,
  });
  const intervals = (group) => ({
    type: "data",
    symmetric: false,
    array: group.map((point) => point.high - point.mean),
    arrayminus: group.map((point) => point.mean - point.low),
    color: colour("muted"),
    thickness: 1,
    width: 3,
  });
  const apart = points.filter((point) => !point.comparable);
  const traces = [
    { type: "scatter", mode: "lines", x: front.map((p) => p.cost), y: front.map((p) => p.mean), hoverinfo: "skip", line: { shape: "hv", color: colour("accent"), width: 1.5 }, name: "front" },
    marks(others, { name: "published", marker: { symbol: "diamond-open", size: 8, color: colour("muted") } }),
    marks(apart, { name: "apart", marker: { symbol: "x-thin-open", size: 9, color: colour("bad") }, error_y: intervals(apart) }),
    marks(fair, { name: "systems", marker: { size: 10, color: fair.map((p) => colour(front.includes(p) ? "accent" : "bar-plain")) }, error_y: intervals(fair) }),
  ];
  const without = all.filter((system) => !isReference(system) && !(system.costs[cost] > 0)).map((system) => system.name);
  const notes = [`${better(about)} The line is the Pareto front (${front.length} of ${fair.length}): no system measured here is as good at a lower cost.`];
  if (noisy !== undefined) notes.push("Dotted line: the noisy input.");
  if (places.size < points.length) notes.push("Point at a system to see a name that did not fit.");
  if (apart.length) notes.push("Crosses are not comparable and are not part of the front.");
  if (others.length) notes.push("Diamonds are published scores, measured with other protocols, and are not part of the front.");
  if (without.length) notes.push(`Not shown, because this cost is unknown or does not apply: ${listed(without)}.`);
  return {
    traces,
    height,
    note: notes.join(" ") + noted(points),
    words: `${titled(about)} against ${data.costs[cost]}; on the Pareto front: ${front.map((point) => point.name).join(", ")}`,
    layout: {
      margin: MARGIN,
      xaxis: { type: "log", title: { text: data.costs[cost] }, range: x, tickvals: ticks, ticktext: ticks.map(brief), automargin: false },
      yaxis: { title: { text: titled(about) }, range: y, zeroline: false, automargin: false },
      annotations: [...places].map(([point, place]) => ({ x: Math.log10(point.cost), y: point.mean, text: label(point), showarrow: false, yanchor: "middle", borderpad: 0, ...place })),
      shapes: noisy === undefined ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: noisy, y1: noisy, line: { dash: "dot", width: 1, color: colour("muted") } }],
    },
  };
}

function distribution(data, { metric, shape }, shown) {
  const about = data.metrics[metric];
  const { systems, apart } = comparable(data, metric, shown);
  const traces = systems.map((system) => {
    const known = data.ids.map((id, place) => [id, system.values[metric][place]]).filter(([, value]) => value !== null);
    const own = colour(isReference(system) ? "bar-plain" : "bar");
    return {
      type: shape,
      orientation: "h",
      name: plain(system.name),
      x: known.map(([, value]) => value),
      y0: system.name,
      text: known.map(([id]) => plain(id)),
      line: { color: own, width: 1.5 },
      marker: { size: 4, opacity: 0.7, color: own },
      ...(shape === "box" ? { boxmean: true, boxpoints: "outliers" } : { meanline: { visible: true }, points: false, box: { visible: false }, spanmode: "hard" }),
      hoveron: shape === "box" ? "boxes+points" : "violins",
      hovertemplate: shape === "box" ? `%{text}<br>${about.title} %{x:.${about.digits}f}<extra>${plain(system.name)}</extra>` : undefined,
    };
  });
  return {
    traces,
    height: 60 + 40 * systems.length,
    note: `${better(about)} ${shape === "box" ? "Box: quartiles and median; dashed: mean; points: utterances farther than 1.5 box lengths from the box." : "Width: share of utterances; line: mean."}${apart}${noted(systems)}`,
    words: `${titled(about)} of all utterances: ${systems.map((system) => `${system.name} ${system.means[metric]?.mean.toFixed(about.digits) ?? "none"}`).join(", ")}`,
    layout: {
      xaxis: { title: { text: titled(about) } },
      yaxis: {
        autorange: "reversed",
        type: "category",
        tickvals: systems.map((system) => system.name),
        ticktext: systems.map(label),
        showgrid: false,
      },
    },
  };
}

function heatmap(data, { metric, fact, show }, shown, width) {
  const about = data.metrics[metric];
  const { groups, of } = data.facts[fact];
  const change = show === "change";
  const held = data.systems.find((system) => system.name === data.baseline);
  const { systems: fair, apart } = comparable(data, metric, shown);
  const systems = fair.filter((system) => !(change && system === held));
  const counts = groups.map((_, group) => of.filter((own) => own === group).length);
  const mean = (system, group) => {
    const values = of.flatMap((own, place) => {
      const value = system.values[metric][place];
      const before = change ? held.values[metric]?.[place] : 0;
      return own === group && value !== null && typeof before === "number" ? [value - before] : [];
    });
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  };
  const z = systems.map((system) => groups.map((_, group) => mean(system, group)));
  const digits = about.digits;
  const labels = groups.map((name, group) => `${short(name)}<br>n = ${counts[group]}`);
  const columns = Math.max(width - 30, 150 + 64 * groups.length);
  return {
    traces: [
      {
        type: "heatmap",
        x: groups.map((_, group) => group),
        y: systems.map((_, number) => number),
        z,
        text: z.map((row) => row.map((value) => (value === null ? "" : (change && value > 0 ? "+" : "") + value.toFixed(digits)))),
        texttemplate: "%{text}",
        customdata: systems.map((system) => groups.map((name) => `${plain(system.name)}<br>${plain(name)}`)),
        hovertemplate: `%{customdata}<br>${about.title} %{text}<extra></extra>`,
        hoverongaps: false,
        xgap: 2,
        ygap: 2,
        showscale: false,
        ...(change
          ? { colorscale: [[0, colour("heat-bad")], [0.5, colour("card")], [1, colour("heat")]], zmid: 0, reversescale: !about.higher }
          : { colorscale: [[0, colour("accent-soft")], [1, colour("heat")]], reversescale: !about.higher }),
      },
    ],
    height: 90 + 34 * systems.length,
    width: columns,
    note: `${better(about)} ${change ? `Mean difference from ${data.baseline} over the same utterances; blue is better, red is worse.` : "A stronger colour is better."} n: number of utterances.${apart}${noted(systems)}`,
    words: `${titled(about)} by condition, ${groups.join(", ")}: ${systems.map((system, number) => `${system.name} ${z[number].map((value) => value?.toFixed(digits) ?? "none").join(", ")}`).join("; ")}`,
    layout: {
      xaxis: { tickvals: groups.map((_, group) => group), ticktext: labels, side: "top", showgrid: false, zeroline: false },
      yaxis: {
        autorange: "reversed",
        tickvals: systems.map((_, number) => number),
        ticktext: systems.map(label),
        showgrid: false,
        zeroline: false,
      },
    },
  };
}

const DRAWINGS = { scatter, distribution, heatmap };

const load = (source) =>
  new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = resolve;
    script.onerror = reject;
    document.head.append(script);
  });
let loading = null;

async function drawFigure(figure) {
  loading ??= Promise.all([load("plotly.min.js"), load("data.js")]);
  await loading;
  const board = figure.closest(".board");
  const plot = figure.querySelector(".plot");
  const choices = Object.fromEntries([...figure.querySelectorAll("select")].map((select) => [select.name, select.value]));
  const width = figure.clientWidth;
  const drawn = DRAWINGS[figure.dataset.figure](DATA[board.dataset.anchor], choices, shownSystems(board), width);
  figure.querySelector(".legend").textContent = drawn.note;
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", drawn.words);
  const size = { width: drawn.width ?? plot.clientWidth, height: drawn.height };
  await Plotly.react(plot, drawn.traces, layout({ ...drawn.layout, ...size }), { displayModeBar: false });
  figure.dataset.drawn = "true";
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      drawFigure(target);
    }
  },
  { rootMargin: "400px" },
);
const redraw = (figures) => {
  for (const figure of figures) if (figure.dataset.drawn) drawFigure(figure);
};
for (const figure of document.querySelectorAll(".figure")) {
  figure.querySelector("form").addEventListener("input", () => drawFigure(figure));
  near.observe(figure);
}
for (const board of document.querySelectorAll(".board")) {
  board.addEventListener("filter", () => redraw(board.querySelectorAll(".figure")));
}
const redrawAll = () => redraw(document.querySelectorAll(".figure"));
document.addEventListener("theme", redrawAll);
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(redrawAll, 150);
});
