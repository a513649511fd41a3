// What is done when a reader comes near: the living chart takes the place of its picture (the library
// is loaded then, once, and only on pages that have such a figure), and code too wide for the window
// can be scrolled with the keyboard.
(() => {
  const root = document.documentElement;
  const base = new URL(root.dataset.content_root, location.href);

  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`vega/${name}.min.js`, base);
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });

  let library;
  const vega = () =>
    (library ??= (async () => {
      for (const name of ["vega", "vega-lite", "vega-embed"]) await load(name);
    })());

  const isDark = () => root.dataset.theme === "dark";

  // The palette of companion.teaching.figures, and what stands for it on a dark ground.
  const lighter = {
    "#0072b2": "#4fa8e0",
    "#d55e00": "#f08c3c",
    "#00846a": "#2fb795",
    "#a6509b": "#cf7fc4",
    "#a87900": "#d9a520",
    "#4d4d4d": "#b4b8bf",
  };

  const colors = () => {
    const dark = isDark();
    const ink = dark ? "#d5d9e0" : "#333";
    const rule = dark ? "#3d4450" : "#e4e4e4";
    return {
      axis: { labelColor: ink, titleColor: ink, domainColor: ink, tickColor: ink, gridColor: rule },
      axisQuantitative: { gridColor: rule },
      legend: { labelColor: ink, titleColor: ink },
      header: { labelColor: ink, titleColor: ink },
      title: { color: ink },
      text: { color: ink },
      rule: { color: ink },
    };
  };

  // Charts side by side stand under each other where there is no room.
  const fit = (spec, room) => {
    if (spec.hconcat && room < 560) [spec.vconcat, spec.hconcat] = [spec.hconcat, undefined];
    for (const part of spec.vconcat ?? []) fit(part, room - 80);
    if (spec.width > room) spec.width = room;
    if (!spec.vconcat && !spec.hconcat) spec.autosize = { type: "fit-x", contains: "padding" };
  };

  const draw = async (chart) => {
    let text = chart.querySelector("script").textContent;
    await vega();
    if (isDark()) text = text.replace(/#[0-9a-f]{6}\b/g, (color) => lighter[color] ?? color);
    const spec = JSON.parse(text);
    const view = chart.querySelector(".chart-view");
    for (const [part, values] of Object.entries(colors()))
      spec.config[part] = { ...spec.config[part], ...values };
    fit(spec, view.clientWidth);
    chart.view?.finalize();
    // ast: expressions are interpreted, so that no page needs eval
    chart.view = await vegaEmbed(view, spec, { actions: false, renderer: "svg", ast: true });
    chart.classList.add("drawn");
  };

  const whenNear = (selector, act) => {
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          watcher.unobserve(target);
          act(target);
        }
      },
      { rootMargin: "300px" },
    );
    for (const element of document.querySelectorAll(selector)) watcher.observe(element);
  };
  whenNear("pre, .cell_output > .output, .pst-scrollable-table-container", (block) => {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  });
  whenNear(".chart", draw);

  const redraw = () => document.querySelectorAll(".chart.drawn").forEach(draw);
  new MutationObserver(redraw).observe(root, { attributeFilter: ["data-theme"] });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redraw();
    width = innerWidth;
  });
})();
