"use strict";

// Theme: that of the system, until the button is pressed. The event "theme" tells figures to redraw in new colours.
(function () {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const changed = () => document.dispatchEvent(new Event("theme"));
  const stored = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("rased-theme", value);
      return localStorage.getItem("rased-theme");
    } catch {
      return null;
    }
  };
  if (stored()) root.dataset.theme = stored();
  system.addEventListener("change", changed);
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
    root.dataset.theme = dark ? "light" : "dark";
    stored(root.dataset.theme);
    changed();
  });
})();
