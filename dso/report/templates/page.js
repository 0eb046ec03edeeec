"use strict";
// What every page of ours shares: theme, plots, numbers.
const gridclear = (() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const MINUS = "\u2212";

  const fixed = (value, digits, unit) =>
    value === null || value === undefined
      ? "n/a"
      : value.toFixed(digits).replace(/^-(?=0(\.0*)?$)/, "").replace("-", MINUS) + "\u00a0" + unit;

  // ---- theme ------------------------------------------------------------------------------
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const token = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();

  // Colours in the specifications are names of the style sheet, written @name.
  const themed = (value) => {
    if (typeof value === "string") return value.startsWith("@") ? token(value.slice(1)) : value;
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item)]));
    }
    return value;
  };

  // ---- plots ------------------------------------------------------------------------------
  const coarse = window.matchMedia("(pointer: coarse)").matches;

  // One invisible trace carries the period's name into the hover box.
  const naming = (first, labels) => {
    const shift = first.meta && first.meta.ends ? 1 : 0;
    return {
      type: "scatter", mode: "lines", x: first.x, y: first.y, yaxis: first.yaxis || "y", showlegend: false, name: "",
      line: { width: 0, color: "rgba(0,0,0,0)" },
      customdata: first.x.map((x) => labels[Math.min(Math.max(Math.floor(x) - shift, 0), labels.length - 1)]),
      hovertemplate: "<b>%{customdata}</b><extra></extra>",
    };
  };

  const plotInto = (box, traces, specified) => {
    const layout = themed(specified);
    const narrow = box.clientWidth < 520;
    const ink = token("ink");
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, Segoe UI, Roboto, Arial, sans-serif", size: narrow ? 11 : 13, color: token("muted") },
      hoverlabel: { bgcolor: token("card"), bordercolor: token("edge"), font: { color: ink, size: 13 } },
      dragmode: coarse ? false : "zoom",
      autosize: true,
      height: parseInt(box.style.height, 10),
    });
    if (layout.hovermode === "x unified") layout.xaxis.unifiedhovertitle = { text: " " };
    if (narrow) {
      layout.margin = { ...layout.margin, l: Math.min(layout.margin.l, 66), r: 16 };
      if (layout.margin.b < 60) layout.margin.b = 42;
      if (layout.xaxis.tickvals) {
        layout.xaxis.tickvals = layout.xaxis.tickvals.filter((_, k) => k % 2 === 0);
        layout.xaxis.ticktext = layout.xaxis.ticktext.filter((_, k) => k % 2 === 0);
      }
    }
    return Plotly.react(box, themed(traces), layout, { displayModeBar: false, responsive: true });
  };

  // One plot per turn, so that the page answers while it draws.
  const drawInTurn = (names, draw) => {
    const left = [...names];
    const next = () => {
      const name = left.shift();
      if (name === undefined) { root.dataset.ready = "true"; return; }
      Promise.resolve(draw(name)).then(() => setTimeout(next, 0));
    };
    next();
  };

  // ---- colours ----------------------------------------------------------------------------
  const colour = (scale, value) => {
    if (value === null) return "#8a96a3";
    const last = scale.stops.length - 1;
    const place = Math.min(Math.max((value - scale.low) / (scale.high - scale.low), 0), 1) * last;
    const first = Math.min(Math.floor(place), last - 1);
    const mix = (k) => {
      const [a, b] = [scale.stops[first], scale.stops[first + 1]].map((stop) => parseInt(stop.slice(k, k + 2), 16));
      return Math.round(a + (b - a) * (place - first));
    };
    return `rgb(${mix(1)}, ${mix(3)}, ${mix(5)})`;
  };

  const loadingClass = (inService, value, limit) => {
    if (!inService) return "open";
    if (value === null) return "unknown";
    const share = (100 * value) / limit;
    return share > 100.1 ? "over" : share >= 80 ? "high" : share >= 50 ? "middle" : "low";
  };

  const centre = (dot) =>
    dot.tagName === "rect"
      ? [Number(dot.getAttribute("x")) + 9, Number(dot.getAttribute("y")) + 9]
      : [Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy"))];

  const extreme = (values, better) => {
    let best = -1;
    values.forEach((value, k) => {
      if (value !== null && (best < 0 || better(value, values[best]))) best = k;
    });
    return best;
  };

  const placeTip = (tip, frame, event) => {
    const x = event.clientX - frame.left;
    const y = event.clientY - frame.top;
    tip.style.left = Math.max(4, Math.min(x + 14, frame.width - tip.offsetWidth - 4)) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, frame.height - tip.offsetHeight - 4)) + "px";
  };

  // ---- the theme button ---------------------------------------------------------------------
  const followTheme = (drawAll) => {
    const button = byId("theme");
    const sayTheme = () => button.setAttribute("aria-pressed", String(isDark()));
    button.hidden = false;
    sayTheme();
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      sayTheme();
      drawAll();
    });
    systemDark.addEventListener("change", () => { sayTheme(); drawAll(); });
    let before;
    addEventListener("beforeprint", () => { before = root.dataset.theme; root.dataset.theme = "light"; drawAll(); });
    addEventListener("afterprint", () => {
      if (before) root.dataset.theme = before; else delete root.dataset.theme;
      drawAll();
    });
  };

  return {
    MINUS, byId, centre, colour, drawInTurn, extreme, fixed, followTheme, loadingClass, naming,
    placeTip, plotInto, read, root,
  };
})();
