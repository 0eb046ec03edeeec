"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  const figures = read("figure-data");
  const feeder = read("feeder-data");
  const MINUS = "\u2212";
  const STATES = ["Green", "Yellow", "Orange", "Red"];
  const STATE_WORDS = ["no limit in reach", "the market keeps the limits", "a limit did not hold", "no valid clearing"];

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
  const chosen = {};
  const coarse = window.matchMedia("(pointer: coarse)").matches;

  // One invisible trace carries the period's name into the hover box.
  const naming = (first) => {
    const shift = first.meta && first.meta.ends ? 1 : 0;
    return {
      type: "scatter", mode: "lines", x: first.x, y: first.y, yaxis: first.yaxis || "y", showlegend: false, name: "",
      line: { width: 0, color: "rgba(0,0,0,0)" },
      customdata: first.x.map((x) => feeder.periods[Math.min(Math.max(Math.floor(x) - shift, 0), feeder.periods.length - 1)]),
      hovertemplate: "<b>%{customdata}</b><extra></extra>",
    };
  };

  const tracesOf = (name) => {
    const spec = figures[name];
    let traces = name in chosen ? spec.choices[chosen[name]] : spec.data;
    if (name === "bus-price") {
      const series = [...feeder.parts.map((part) => part[bus]), feeder.price[bus]];
      traces = traces.map((trace, k) => ({ ...trace, y: series[k] }));
    }
    if (traces.length && traces[0].type === "heatmap") {
      return traces.map((trace) => ({
        ...trace,
        text: trace.meta.rows.map((row) => feeder.periods.map((period) => row + " · " + period)),
      }));
    }
    return [naming(traces[0]), ...traces];
  };

  const draw = (name) => {
    const box = byId("plot-" + name);
    if (!box) return;
    const layout = themed(figures[name].layout);
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
    layout.xaxis.unifiedhovertitle = { text: " " };
    if (narrow) {
      layout.margin = { ...layout.margin, l: Math.min(layout.margin.l, 66), r: 16 };
      if (layout.margin.b < 60) layout.margin.b = 42;
      layout.xaxis.tickvals = layout.xaxis.tickvals.filter((_, k) => k % 2 === 0);
      layout.xaxis.ticktext = layout.xaxis.ticktext.filter((_, k) => k % 2 === 0);
    }
    return Plotly.react(box, themed(tracesOf(name)), layout, { displayModeBar: false, responsive: true });
  };

  // ---- the map ------------------------------------------------------------------------------
  const slider = byId("period");
  const busPick = byId("bus");
  const paint = byId("paint");
  const showBroken = byId("show-broken");
  const fit = byId("fit");
  const svg = byId("feeder");
  const rings = byId("rings");
  const tip = byId("tip");
  const dots = [...svg.querySelectorAll("[data-bus]")].sort((a, b) => a.dataset.bus - b.dataset.bus);
  const strokes = [...svg.querySelectorAll(".strokes [data-branch]")].sort((a, b) => a.dataset.branch - b.dataset.branch);
  let period = feeder.open;
  let bus = 0;

  const brokenAt = (scenario, t) => feeder.broken[scenario].filter((item) => item[0] === t);

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

  const painted = (k) => {
    if (paint.value === "voltage") return feeder.voltage[k][period];
    const price = feeder.price[k][period];
    return paint.value === "price" ? price : price - feeder.importPrice[period];
  };

  const loadingClass = (k) => {
    if (!feeder.inService[k]) return "open";
    const value = feeder.loading[k][period];
    if (value === null) return "unknown";
    const share = (100 * value) / feeder.loadingMax[k];
    return share > 100.1 ? "over" : share >= 80 ? "high" : share >= 50 ? "middle" : "low";
  };

  const centre = (dot) =>
    dot.tagName === "rect"
      ? [Number(dot.getAttribute("x")) + 9, Number(dot.getAttribute("y")) + 9]
      : [Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy"))];

  const shape = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    rings.appendChild(element);
  };

  const markBroken = () => {
    rings.replaceChildren();
    if (showBroken.checked) {
      for (const [, kind, k] of brokenAt("without_market", period)) {
        if (kind === "bus") {
          const [cx, cy] = centre(dots[k]);
          shape("circle", { cx, cy, r: 11, class: "ring" });
        } else {
          const ends = Object.fromEntries(["x1", "y1", "x2", "y2"].map((key) => [key, strokes[k].getAttribute(key)]));
          shape("line", { ...ends, class: "would" });
        }
      }
    }
    for (const [, kind, k] of brokenAt("with_market", period)) {
      const [x, y] = kind === "bus"
        ? centre(dots[k])
        : ["x", "y"].map((axis) => (Number(strokes[k].getAttribute(axis + "1")) + Number(strokes[k].getAttribute(axis + "2"))) / 2);
      shape("path", { d: `M${x - 9} ${y - 9} L${x + 9} ${y + 9} M${x + 9} ${y - 9} L${x - 9} ${y + 9}`, class: "cross" });
    }
  };

  const extreme = (values, better) => {
    let best = -1;
    values.forEach((value, k) => {
      if (value !== null && (best < 0 || better(value, values[best]))) best = k;
    });
    return best;
  };
  const higher = (a, b) => a > b;
  const lower = (a, b) => a < b;
  const column = (table) => table.map((row) => row[period]);
  const fact = (name, text) => { document.querySelector(`[data-fact="${name}"]`).textContent = text; };

  const counted = (scenario) => {
    const items = brokenAt(scenario, period);
    const buses = new Set(items.filter((item) => item[1] === "bus").map((item) => item[2])).size;
    const branches = new Set(items.filter((item) => item[1] !== "bus").map((item) => item[2])).size;
    return buses + branches;
  };

  const fillFacts = () => {
    const price = column(feeder.price);
    const voltage = column(feeder.voltage).map((value, k) => (feeder.atSubstation[k] ? null : value));
    const loading = column(feeder.loading);
    const [low, high] = [extreme(price, lower), extreme(price, higher)];
    const [down, up] = [extreme(voltage, lower), extreme(voltage, higher)];
    const full = extreme(loading, higher);
    const state = feeder.states[period];
    fact("state", `${STATES[state]}: ${STATE_WORDS[state]}`);
    fact("upstream", fixed(feeder.importPrice[period], 2, "EUR/MWh"));
    fact("lowest", `${fixed(price[low], 2, "EUR/MWh")} · ${feeder.buses[low]}`);
    fact("highest", `${fixed(price[high], 2, "EUR/MWh")} · ${feeder.buses[high]}`);
    fact("voltage-high", up < 0 ? "n/a" : `${fixed(voltage[up], 4, "pu")} · ${feeder.buses[up]}`);
    fact("voltage-low", down < 0 ? "n/a" : `${fixed(voltage[down], 4, "pu")} · ${feeder.buses[down]}`);
    fact("loading", full < 0 ? "n/a" : `${fixed(loading[full], 1, "%")} · ${feeder.branches[full]}`);
    const exchange = feeder.exchangeMw[period];
    fact("exchange", exchange === null ? "n/a" : `${exchange < 0 ? "exports" : "imports"} ${fixed(Math.abs(exchange), 2, "MW")}`);
    const stored = feeder.storageMw ? feeder.storageMw[period] : null;
    fact("storage", stored === null ? "n/a" : stored === 0 ? "idle" : `${stored < 0 ? "charges" : "discharges"} ${fixed(Math.abs(stored), 2, "MW")}`);
    fact("broken", `${counted("without_market")} without, ${counted("with_market")} with the market`);
  };

  // Over one period prices may differ little: the scale then shows at least 2 EUR/MWh.
  const scaleNow = () => {
    const scale = feeder.scales[paint.value];
    if (!fit.checked || paint.value === "voltage") return scale;
    const values = dots.map((_, k) => painted(k));
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (paint.value === "difference") {
      high = Math.max(Math.abs(low), Math.abs(high), 1);
      low = -high;
    } else if (high - low < 2) {
      [low, high] = [(low + high) / 2 - 1, (low + high) / 2 + 1];
    }
    return { ...scale, low, high };
  };

  const labelScale = (scale) => {
    document.querySelectorAll("[data-scale]").forEach((legend) => {
      legend.hidden = legend.dataset.scale !== paint.value;
      if (legend.hidden) return;
      legend.querySelectorAll(".scale-ticks span").forEach((tick, k, all) => {
        tick.textContent = fixed(scale.low + ((scale.high - scale.low) * k) / (all.length - 1), scale.digits, "").trim();
      });
    });
  };

  const show = () => {
    const scale = scaleNow();
    dots.forEach((dot, k) => {
      dot.setAttribute("fill", colour(scale, painted(k)));
      dot.classList.toggle("chosen", k === bus);
    });
    strokes.forEach((stroke, k) => stroke.setAttribute("class", "b " + loadingClass(k)));
    labelScale(scale);
    byId("when").textContent = feeder.periods[period];
    slider.setAttribute("aria-valuetext", `${feeder.periods[period]}, ${STATES[feeder.states[period]]}`);
    markBroken();
    fillFacts();
  };

  const chooseBus = (k) => {
    bus = k;
    busPick.value = String(k);
    show();
    draw("bus-price");
  };

  const describe = (target) => {
    if (target.dataset.bus !== undefined) {
      const k = Number(target.dataset.bus);
      const would = brokenAt("without_market", period).find((item) => item[1] === "bus" && item[2] === k);
      return [
        feeder.buses[k],
        "Price " + fixed(feeder.price[k][period], 2, "EUR/MWh"),
        "Voltage " + fixed(feeder.voltage[k][period], 4, "pu"),
        would ? "Without the market " + fixed(would[3], 4, "pu") : "",
      ];
    }
    const k = Number(target.dataset.branch);
    const would = brokenAt("without_market", period).find((item) => item[1] === "branch" && item[2] === k);
    return [
      feeder.branches[k],
      feeder.inService[k] ? "Loading " + fixed(feeder.loading[k][period], 1, "%") : "Open",
      would ? "Without the market " + fixed(would[3], 1, "%") : "",
    ];
  };

  const pointAt = (event) => {
    const target = event.target.closest("[data-bus], [data-branch]");
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = describe(target).filter(Boolean).join("\n");
    const frame = svg.parentElement.getBoundingClientRect();
    const x = event.clientX - frame.left;
    const y = event.clientY - frame.top;
    tip.style.left = Math.max(4, Math.min(x + 14, frame.width - tip.offsetWidth - 4)) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, frame.height - tip.offsetHeight - 4)) + "px";
  };

  // ---- controls -----------------------------------------------------------------------------
  feeder.busOrder.forEach((k) => busPick.add(new Option(feeder.buses[k], String(k))));
  const farthest = extreme(column(feeder.price).map((value) => Math.abs(value - feeder.importPrice[period])), higher);
  bus = Math.max(farthest, 0);
  busPick.value = String(bus);
  busPick.addEventListener("change", () => chooseBus(Number(busPick.value)));
  slider.value = String(period);
  slider.addEventListener("input", () => { period = Number(slider.value); show(); });
  paint.addEventListener("change", show);
  showBroken.addEventListener("change", show);
  fit.addEventListener("change", show);
  svg.addEventListener("pointermove", pointAt);
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  svg.addEventListener("click", (event) => {
    const target = event.target.closest("[data-bus]");
    if (target) chooseBus(Number(target.dataset.bus));
  });

  const play = byId("play");
  let running = 0;
  const stop = () => { clearInterval(running); running = 0; play.textContent = "Play"; };
  play.hidden = false;
  play.addEventListener("click", () => {
    if (running) { stop(); return; }
    play.textContent = "Pause";
    running = setInterval(() => {
      period = (period + 1) % feeder.periods.length;
      slider.value = String(period);
      show();
    }, 250);
  });
  slider.addEventListener("pointerdown", stop);

  document.querySelectorAll("select[data-figure]").forEach((select) => {
    select.addEventListener("change", () => {
      chosen[select.dataset.figure] = Number(select.value);
      draw(select.dataset.figure);
    });
  });

  const exact = byId("exact");
  exact.hidden = false;
  exact.addEventListener("click", () => {
    const on = byId("money-table").classList.toggle("show-exact");
    exact.setAttribute("aria-pressed", String(on));
  });

  const copy = byId("copy");
  copy.hidden = false;
  copy.addEventListener("click", () => {
    const range = document.createRange();
    range.selectNodeContents(byId("command"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    const done = () => { copy.textContent = "Copied"; };
    if (navigator.clipboard) {
      navigator.clipboard.writeText(byId("command").textContent).then(done, () => { copy.textContent = "Selected"; });
    } else {
      copy.textContent = "Selected";
    }
  });

  const drawAll = () => Object.keys(figures).forEach(draw);
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

  show();
  // One plot per turn, so that the page answers while it draws.
  const names = Object.keys(figures);
  const next = () => {
    const name = names.shift();
    if (name === undefined) { root.dataset.ready = "true"; return; }
    Promise.resolve(draw(name)).then(() => setTimeout(next, 0));
  };
  next();
})();
