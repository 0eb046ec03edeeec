"use strict";
(() => {
  const { byId, drawInTurn, followTheme, placeTip, plotInto, read } = gridclear;
  const figures = read("figure-data");
  const { tips } = read("feeder-data");
  const names = Object.keys(figures);

  const draw = (name) => plotInto(byId("plot-" + name), figures[name].data, figures[name].layout);
  const drawAll = () => drawInTurn(names, draw);

  const svg = byId("feeder");
  if (svg) {
    const tip = byId("tip");
    svg.addEventListener("pointermove", (event) => {
      const target = event.target.closest("[data-bus], [data-branch]");
      tip.hidden = !target;
      if (!target) return;
      const { bus, branch } = target.dataset;
      tip.textContent = bus === undefined ? tips.branch[Number(branch)] : tips.bus[Number(bus)];
      placeTip(tip, svg.parentElement.getBoundingClientRect(), event);
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  followTheme(drawAll);
  drawAll();
})();
