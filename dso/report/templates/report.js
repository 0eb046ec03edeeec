"use strict";
(() => {
  const {
    byId, centre, colour, drawInTurn, extreme, fixed, followTheme, loadingClass, naming, placeTip,
    plotInto, read,
  } = gridclear;
  const figures = read("figure-data");
  const feeder = read("feeder-data");
  const STATES = ["Green", "Yellow", "Orange", "Red"];
  const STATE_WORDS = ["no limit in reach", "the market keeps the limits", "a limit did not hold", "no valid clearing"];

  // ---- plots ------------------------------------------------------------------------------
  const chosen = {};

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
    return [naming(traces[0], feeder.periods), ...traces];
  };

  const draw = (name) => {
    const box = byId("plot-" + name);
    if (!box) return;
    return plotInto(box, tracesOf(name), figures[name].layout);
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

  const painted = (k) => {
    if (paint.value === "voltage") return feeder.voltage[k][period];
    const price = feeder.price[k][period];
    return paint.value === "price" ? price : price - feeder.importPrice[period];
  };

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
    strokes.forEach((stroke, k) => stroke.setAttribute("class", "b " + loadingClass(feeder.inService[k], feeder.loading[k][period], feeder.loadingMax[k])));
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
    placeTip(tip, svg.parentElement.getBoundingClientRect(), event);
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
  followTheme(drawAll);

  show();
  drawInTurn(Object.keys(figures), draw);
})();
