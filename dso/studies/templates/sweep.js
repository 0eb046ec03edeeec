"use strict";
(() => {
  const { byId, drawInTurn, fixed, followTheme, plotInto, read } = gridclear;
  const spec = read("figure-data").sweep;
  const data = read("feeder-data");
  const up = byId("up");
  const across = byId("across");
  const lines = byId("lines");

  const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const short = (value) => { const all = text(value); return all.length > 26 ? all.slice(0, 25) + "\u2026" : all; };
  const place = (row, k) => (across.value === "" ? k + 1 : row.values[across.value]);

  // Numbers keep their distances, anything else stands side by side in the table's sequence.
  const numeric = (rows) => rows.every(({ x }) => typeof x === "number");

  const groups = () => {
    const rows = data.rows.map((row, k) => ({ ...row, x: place(row, k), y: row.figures[up.value] }))
      .filter(({ x, y }) => x !== null && x !== undefined && y !== null);
    const found = new Map();
    for (const row of rows) {
      const own = lines.value === "" ? null : row.values[lines.value];
      const name = lines.value === "" ? "" : own === null || own === undefined ? "not set" : `${lines.value} = ${short(own)}`;
      if (!found.has(name)) found.set(name, []);
      found.get(name).push(row);
    }
    return [rows, found];
  };

  const draw = () => {
    const [, label, unit, digits] = data.labels.find(([name]) => name === up.value);
    const [rows, found] = groups();
    const counted = numeric(rows);
    const traces = [...found].map(([name, own], k) => {
      const sorted = counted ? [...own].sort((a, b) => a.x - b.x) : own;
      const x = sorted.map((row) => (counted ? row.x : short(row.x)));
      const single = new Set(x).size === x.length && across.value !== "";
      const colour = data.colours[k % data.colours.length];
      return {
        type: "scatter",
        mode: single && counted ? "lines+markers" : "markers",
        name: name || label,
        x,
        y: sorted.map((row) => row.y),
        text: sorted.map((row) => `<b>${row.name}</b><br>${label}: ${fixed(row.y, digits, unit)}`),
        hovertemplate: "%{text}<extra></extra>",
        line: { color: colour, width: 2 },
        marker: { color: colour, size: 8, symbol: data.symbols[Math.floor(k / data.colours.length) % data.symbols.length] },
      };
    });
    const title = across.value === "" ? data.numberAxis : across.value;
    return plotInto(byId("plot-sweep"), traces, {
      ...spec.layout,
      xaxis: { ...spec.layout.xaxis, type: counted ? "linear" : "category", title: { ...spec.layout.xaxis.title, text: title } },
      yaxis: { ...spec.layout.yaxis, title: { ...spec.layout.yaxis.title, text: `${label} [${unit}]` } },
      showlegend: found.size > 1,
    });
  };

  up.replaceChildren(...data.labels.map(([name, label, unit]) => new Option(`${label} [${unit}]`, name)));
  across.replaceChildren(...data.keys.map((key) => new Option(key, key)), new Option(data.numberAxis, ""));
  lines.replaceChildren(new Option("one for all", ""), ...data.keys.map((key) => new Option(key, key)));
  // The key with most values goes to the right, the next one makes lines; rows without any, by number.
  const counts = data.keys.map((key) => new Set(data.rows.map((row) => text(row.values[key] ?? null))).size);
  const everywhere = data.keys.map((key) => data.rows.filter((row) => row.values[key] !== null).length);
  const ranked = data.keys.map((_, k) => k).filter((k) => everywhere[k] * 2 > data.rows.length)
    .sort((a, b) => counts[b] - counts[a] || a - b);
  across.value = ranked.length ? data.keys[ranked[0]] : "";
  lines.value = ranked.length > 1 && counts[ranked[1]] <= 12 ? data.keys[ranked[1]] : "";
  for (const choice of [up, across, lines]) choice.addEventListener("change", draw);

  followTheme(draw);
  drawInTurn(["sweep"], draw);
})();
