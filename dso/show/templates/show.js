"use strict";
(() => {
  const {
    byId, centre, colour, drawInTurn, extreme, fixed, followTheme, loadingClass, naming, placeTip,
    plotInto, read,
  } = gridclear;
  const figures = read("figure-data");
  const feeder = read("feeder-data");
  let period = feeder.open;
  let bus = feeder.bus;

  const pathTo = (k) => {
    const way = [k];
    while (feeder.parent[way[0]] >= 0) way.unshift(feeder.parent[way[0]]);
    return way;
  };

  // Limits that are part of prices in this period, with their part at every bus.
  const partsNow = () =>
    feeder.elements.flatMap((element) => {
      const at = element.periods.indexOf(period);
      return at < 0 ? [] : [{ ...element, now: element.part[at], most: Math.max(...element.part[at].map(Math.abs)) }];
    }).sort((a, b) => b.most - a.most);

  // The limits with the largest parts at the chosen bus; the others together.
  const barsNow = () => {
    const found = partsNow().sort((a, b) => Math.abs(b.now[bus]) - Math.abs(a.now[bus]));
    const rest = found.slice(feeder.limitsShown);
    if (!rest.length) return found;
    const now = feeder.buses.map((_, k) => rest.reduce((sum, element) => sum + element.now[k], 0));
    return [...found.slice(0, feeder.limitsShown), { name: `${rest.length} other limits`, now, marker: feeder.restMarker }];
  };

  // ---- plots: the specification gives their looks, the data of this period goes in here ----------
  const pathPlot = () => {
    const way = pathTo(bus);
    const spec = figures.path;
    const x = way.map((_, k) => k);
    const price = spec.data[spec.data.length - 1];
    const bar = (name, values, marker) => ({ ...spec.data[0], name, x, y: way.map((k) => values[k]), marker });
    const column = (table) => table.map((row) => row[period]);
    const traces = [
      bar("Energy", column(feeder.energy), spec.data[0].marker),
      bar("Loss", column(feeder.loss), spec.data[1].marker),
      ...barsNow().map((element) => bar(element.name, element.now, element.marker)),
      { ...price, x, y: way.map((k) => feeder.price[k][period]) },
    ];
    const every = Math.ceil(way.length / Math.max(4, byId("plot-path").clientWidth / 34));
    const marked = x.filter((k) => k % every === 0 || k === way.length - 1);
    const xaxis = {
      ...spec.layout.xaxis,
      range: [-0.6, way.length - 0.4],
      tickvals: marked,
      ticktext: marked.map((k) => feeder.buses[way[k]]),
    };
    const named = naming({ x, y: traces[traces.length - 1].y }, way.map((k) => feeder.buses[k]));
    return [[named, ...traces], { ...spec.layout, xaxis }];
  };

  const profilePlot = () => {
    const spec = figures.profile;
    const [spans, tree, dots, way, ...limits] = spec.data;
    const at = (k) => feeder.voltage[k][period];
    const known = feeder.km.map((_, k) => k).filter((k) => feeder.km[k] !== null);
    const joined = known.filter((k) => feeder.parent[k] >= 0);
    const path = pathTo(bus);
    return [
      [
        spans,
        { ...tree, y: joined.flatMap((k) => [at(feeder.parent[k]), at(k), null]) },
        { ...dots, y: known.map(at) },
        { ...way, x: path.map((k) => feeder.km[k]), y: path.map(at) },
        ...limits,
      ],
      spec.layout,
    ];
  };

  // A bar over the period shown, and what there is over time.
  const timePlot = (name) => {
    const spec = figures[name];
    const here = {
      type: "rect", xref: "x", yref: "paper", x0: period, x1: period + 1, y0: 0, y1: 1,
      fillcolor: "@band", line: { width: 0 }, layer: "below",
    };
    const traces = name === "price"
      ? spec.data.map((trace, k) => {
        if (k !== 3) return trace;
        const own = feeder.price[bus];
        return { ...trace, name: feeder.buses[bus], y: [...own, own[own.length - 1]] };
      })
      : spec.data;
    const shown = traces.length ? [naming(traces[0], feeder.periods), ...traces] : [];
    return [shown, { ...spec.layout, shapes: [...(spec.layout.shapes || []), here] }];
  };

  const draw = (name) => {
    const box = byId("plot-" + name);
    const [traces, layout] = name === "path" ? pathPlot() : name === "profile" ? profilePlot() : timePlot(name);
    return plotInto(box, traces, layout);
  };
  const drawAll = () => Object.keys(figures).forEach(draw);

  // ---- the map ------------------------------------------------------------------------------
  const slider = byId("period");
  const busPick = byId("bus");
  const paint = byId("paint");
  const fit = byId("fit");
  const svg = byId("feeder");
  const rings = byId("rings");
  const tip = byId("tip");
  const dots = [...svg.querySelectorAll("[data-bus]")].sort((a, b) => a.dataset.bus - b.dataset.bus);
  const strokes = [...svg.querySelectorAll(".strokes [data-branch]")].sort((a, b) => a.dataset.branch - b.dataset.branch);

  const painted = (k) => {
    if (paint.value === "voltage") return feeder.voltage[k][period];
    const price = feeder.price[k][period];
    return paint.value === "price" ? price : price - feeder.importPrice[period];
  };

  // Over one period prices may differ little: the scale then shows at least 2 EUR/MWh.
  const scaleNow = () => {
    const scale = feeder.scales[paint.value];
    if (!fit.checked || paint.value === "voltage") return scale;
    const values = dots.map((_, k) => painted(k)).filter((value) => value !== null);
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

  const shape = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    rings.appendChild(element);
  };

  const ends = (k) => ["x1", "y1", "x2", "y2"].map((key) => Number(strokes[k].getAttribute(key)));

  const markLimits = (now, short) => {
    rings.replaceChildren();
    for (const element of now) {
      if (element.bus !== null) {
        const [cx, cy] = centre(dots[element.bus]);
        shape("circle", { cx, cy, r: 11, class: "ring" });
      } else if (element.branch !== null) {
        const [x1, y1, x2, y2] = ends(element.branch);
        shape("line", { x1, y1, x2, y2, class: "would" });
      }
    }
    for (const [, isBus, k] of short) {
      if (k === null) continue;
      const [x1, y1, x2, y2] = isBus ? [...centre(dots[k]), ...centre(dots[k])] : ends(k);
      const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
      shape("path", { d: `M${x - 9} ${y - 9} L${x + 9} ${y + 9} M${x + 9} ${y - 9} L${x - 9} ${y + 9}`, class: "cross" });
    }
  };

  const listLimits = (now, short) => {
    const item = (text, kind) => {
      const element = document.createElement("li");
      element.textContent = text;
      if (kind) element.className = kind;
      return element;
    };
    const lacking = new Map(short.map(([, , , name, mw]) => [name, mw]));
    const parts = now.map((element) => {
      const most = extreme(element.now.map(Math.abs), (a, b) => a > b);
      const lack = lacking.has(element.name) ? `could not hold, ${fixed(lacking.get(element.name), 4, "MW")} short; ` : "";
      lacking.delete(element.name);
      return item(`${element.name}: ${lack}up to ${fixed(element.now[most], 2, "EUR/MWh")} at ${feeder.buses[most]}`, lack && "short");
    });
    const others = [...lacking].map(([name, mw]) => item(`${name}: could not hold, ${fixed(mw, 4, "MW")} short`, "short"));
    const all = [...parts, ...others];
    byId("binds").replaceChildren(...(all.length ? all : [item("none: prices differ by losses only")]));
  };

  const fact = (name, text) => { document.querySelector(`[data-fact="${name}"]`).textContent = text; };

  const fillFacts = () => {
    const higher = (a, b) => a > b;
    const lower = (a, b) => a < b;
    const price = feeder.price.map((row) => row[period]);
    const voltage = feeder.voltage.map((row, k) => (feeder.atSubstation[k] ? null : row[period]));
    const loading = feeder.loading.map((row, k) => (row[period] === null ? null : (100 * row[period]) / feeder.loadingMax[k]));
    const at = (values, better, digits, unit, names) => {
      const k = extreme(values, better);
      return k < 0 ? "n/a" : `${fixed(values[k], digits, unit)} · ${names[k]}`;
    };
    fact("upstream", fixed(feeder.importPrice[period], 2, "EUR/MWh"));
    fact("lowest", at(price, lower, 2, "EUR/MWh", feeder.buses));
    fact("highest", at(price, higher, 2, "EUR/MWh", feeder.buses));
    fact("voltage-high", at(voltage, higher, 4, "pu", feeder.buses));
    fact("voltage-low", at(voltage, lower, 4, "pu", feeder.buses));
    fact("loading", at(loading, higher, 1, "% of its limit", feeder.branches));
  };

  const cell = (name, text) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (name === "th") element.scope = "row";
    return element;
  };

  const fillTable = (now) => {
    const head = [...byId("path-head").children].slice(0, 5);
    byId("path-head").replaceChildren(...head, ...now.map((element) => {
      const title = cell("th", element.name);
      title.scope = "col";
      return title;
    }));
    byId("path-rows").replaceChildren(...pathTo(bus).map((k) => {
      const row = document.createElement("tr");
      const values = [feeder.price[k][period], feeder.energy[k][period], feeder.loss[k][period], ...now.map((element) => element.now[k])];
      row.append(cell("th", feeder.buses[k]), cell("td", fixed(feeder.km[k], 2, "").trim()), ...values.map((value) => cell("td", fixed(value, 2, "").trim())));
      return row;
    }));
    byId("path-when").textContent = `${feeder.buses[bus]}, ${feeder.periods[period]}`;
  };

  const show = () => {
    const scale = scaleNow();
    const now = partsNow();
    const short = feeder.short.filter((item) => item[0] === period);
    dots.forEach((dot, k) => {
      dot.setAttribute("fill", colour(scale, painted(k)));
      dot.classList.toggle("chosen", k === bus);
    });
    strokes.forEach((stroke, k) =>
      stroke.setAttribute("class", "b " + loadingClass(feeder.inService[k], feeder.loading[k][period], feeder.loadingMax[k])));
    labelScale(scale);
    byId("when").textContent = feeder.periods[period];
    slider.setAttribute("aria-valuetext", feeder.periods[period]);
    markLimits(now, short);
    listLimits(now, short);
    fillFacts();
    fillTable(now);
  };

  // Pictures follow once per frame, however fast the slider moves.
  let waiting = false;
  const follow = () => {
    show();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; drawAll(); });
  };

  const chooseBus = (k) => {
    bus = k;
    busPick.value = String(k);
    follow();
  };

  const describe = (target) => {
    if (target.dataset.bus !== undefined) {
      const k = Number(target.dataset.bus);
      return [
        feeder.buses[k],
        "Price " + fixed(feeder.price[k][period], 2, "EUR/MWh"),
        "Voltage " + fixed(feeder.voltage[k][period], 4, "pu"),
        feeder.km[k] === null ? "" : "Distance " + fixed(feeder.km[k], 2, "km"),
      ];
    }
    const k = Number(target.dataset.branch);
    return [feeder.branches[k], feeder.inService[k] ? "Loading " + fixed(feeder.loading[k][period], 1, "%") : "Open"];
  };

  const pointAt = (event) => {
    const target = event.target.closest("[data-bus], [data-branch]");
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = describe(target).filter(Boolean).join("\n");
    placeTip(tip, svg.parentElement.getBoundingClientRect(), event);
  };

  // ---- controls -----------------------------------------------------------------------------
  busPick.replaceChildren(...feeder.busOrder.map((k) => new Option(feeder.buses[k], String(k))));
  busPick.value = String(bus);
  busPick.addEventListener("change", () => chooseBus(Number(busPick.value)));
  slider.addEventListener("input", () => { period = Number(slider.value); follow(); });
  slider.value = String(period);
  paint.addEventListener("change", show);
  fit.addEventListener("change", show);
  svg.addEventListener("pointermove", pointAt);
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  svg.addEventListener("click", (event) => {
    const target = event.target.closest("[data-bus]");
    if (target) chooseBus(Number(target.dataset.bus));
  });

  const play = byId("play");
  if (play) {
    let running = 0;
    const stop = () => { clearInterval(running); running = 0; play.textContent = "Play"; };
    play.hidden = false;
    play.addEventListener("click", () => {
      if (running) { stop(); return; }
      play.textContent = "Pause";
      running = setInterval(() => {
        period = (period + 1) % feeder.periods.length;
        slider.value = String(period);
        follow();
      }, 400);
    });
    slider.addEventListener("pointerdown", stop);
  }

  followTheme(drawAll);
  show();
  drawInTurn(Object.keys(figures), draw);
})();
