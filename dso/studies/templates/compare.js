"use strict";
(() => {
  const { byId, colour, drawInTurn, fixed, followTheme, loadingClass, placeTip, plotInto, read } = gridclear;
  const figures = read("figure-data");
  const data = read("feeder-data");
  const svg = byId("feeder");

  const draw = (name) => plotInto(byId("plot-" + name), figures[name].data, figures[name].layout);
  const drawAll = () => Object.keys(figures).forEach(draw);

  const map = () => {
    const tip = byId("tip");
    const study = byId("study");
    const paint = byId("paint");
    const dots = [...svg.querySelectorAll("[data-bus]")].sort((a, b) => a.dataset.bus - b.dataset.bus);
    const strokes = [...svg.querySelectorAll(".strokes [data-branch]")].sort((a, b) => a.dataset.branch - b.dataset.branch);
    const chosen = () => data.studies[study.value];

    const row = (name, text) => {
      const line = document.createElement("div");
      const title = document.createElement("dt");
      const value = document.createElement("dd");
      title.textContent = name;
      value.textContent = text;
      line.append(title, value);
      return line;
    };

    const show = () => {
      const own = chosen();
      const scale = data.scales[paint.value];
      const values = paint.value === "difference" ? own.difference : own.mean;
      dots.forEach((dot, k) => dot.setAttribute("fill", colour(scale, values[k])));
      strokes.forEach((stroke, k) =>
        stroke.setAttribute("class", "b " + loadingClass(own.inService[k], own.loading[k], data.loadingMax[k])));
      document.querySelectorAll("[data-scale]").forEach((legend) => { legend.hidden = legend.dataset.scale !== paint.value; });
      const far = own.difference.map((value, k) => [value, k]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]) || a[1] - b[1]);
      byId("far").replaceChildren(...far.slice(0, 6).map(([value, k]) => row(data.buses[k], fixed(value, 2, "EUR/MWh"))));
    };

    const describe = (target) => {
      const own = chosen();
      if (target.dataset.bus !== undefined) {
        const k = Number(target.dataset.bus);
        return [
          data.buses[k],
          `${own.name}: mean ${fixed(own.mean[k], 2, "EUR/MWh")}, ${fixed(own.lowest[k], 2, "")}to ${fixed(own.highest[k], 2, "EUR/MWh")}`,
          `${data.studies[0].name}: mean ${fixed(data.studies[0].mean[k], 2, "EUR/MWh")}`,
          `Difference ${fixed(own.difference[k], 2, "EUR/MWh")}`,
        ];
      }
      const k = Number(target.dataset.branch);
      if (!own.inService[k]) return [data.branches[k], "Open"];
      return [data.branches[k], `${own.name}: at most ${fixed(own.loading[k], 1, "%")}`, `${data.studies[0].name}: at most ${fixed(data.studies[0].loading[k], 1, "%")}`];
    };

    svg.addEventListener("pointermove", (event) => {
      const target = event.target.closest("[data-bus], [data-branch]");
      tip.hidden = !target;
      if (!target) return;
      tip.textContent = describe(target).join("\n");
      placeTip(tip, svg.parentElement.getBoundingClientRect(), event);
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
    study.addEventListener("change", show);
    paint.addEventListener("change", show);
    show();
  };

  if (svg) map();
  followTheme(drawAll);
  drawInTurn(Object.keys(figures), draw);
})();
