"use strict";

// Theme: the system's, until the button is pressed. Figures, which hold colours, hear of a change by the event "theme".
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
