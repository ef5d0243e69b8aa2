"use strict";

// Tables: a heading sorts, a second press reverses the order; rows without a value stay at the end.
for (const table of document.querySelectorAll("table.scores")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" };
      const order = turned[heading.getAttribute("aria-sort")] || heading.dataset.first || "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [left, right] = [value(a), value(b)];
        if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);
        if (heading.dataset.sort === "text") return sign * left.localeCompare(right);
        return sign * (Number(left) - Number(right));
      };
      for (const body of table.querySelectorAll("tbody.rows")) body.append(...[...body.rows].sort(compare));
    });
  });
}

// Columns: choose which ones the table and the charts of means show.
for (const chooser of document.querySelectorAll(".chooser")) {
  const board = chooser.closest(".board");
  const boxes = [...chooser.querySelectorAll("input")];
  const choose = () => {
    for (const box of boxes) {
      for (const part of board.querySelectorAll(`[data-column="${box.value}"]`)) part.hidden = !box.checked;
    }
    chooser.querySelector("output").value = `${boxes.filter((box) => box.checked).length} of ${boxes.length}`;
    fit();
  };
  chooser.addEventListener("input", choose);
  chooser.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !chooser.open) return;
    chooser.open = false;
    chooser.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    if (!chooser.contains(event.target)) chooser.open = false;
  });
  choose();
}

// Filters: they hide rows of the table and of the figures; the noisy input and the target are always shown.
// A published row is hidden if it has no score in any visible column.
// The event "filter" of a board tells its figures to redraw.
function shownSystems(board) {
  const names = (rows) => new Set([...board.querySelectorAll(rows)].map((row) => row.dataset.name));
  return {
    measured: names("tr.system:not([hidden]), tr.reference"),
    published: names("tbody.rows:not([hidden]) > tr.other:not([hidden])"),
  };
}

for (const form of document.querySelectorAll("form.filter")) {
  const board = form.closest(".board");
  const { name, kind, causal, parameters, published } = form.elements;
  const filter = () => {
    const fits = (row) =>
      row.dataset.name.toLowerCase().includes(name.value.trim().toLowerCase()) &&
      (!kind.value || row.dataset.kind === kind.value || row.matches(".other")) &&
      (!causal.value || row.dataset.causal === causal.value) &&
      (row.matches(".system") || row.querySelector(".score[data-value]:not([hidden])")) &&
      (!parameters.value || Number(row.dataset.parameters ?? Infinity) <= Number(parameters.value));
    for (const row of board.querySelectorAll("tr.system, tr.other")) row.hidden = !fits(row);
    for (const part of board.querySelectorAll(".published")) part.hidden = !published?.checked;
    const [all, left] = ["tr.system", "tr.system:not([hidden])"].map((rows) => board.querySelectorAll(rows).length);
    form.querySelector(".count").value = left === all ? `${all} systems` : `${left} of ${all} systems`;
    board.dispatchEvent(new Event("filter"));
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

// A table that is too wide scrolls inside its box and fades at the edges with more content. A table that fits
// needs no box, so its headings can stay at the top of the window.
function fit() {
  for (const box of document.querySelectorAll(".scroll")) {
    const hides = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("whole", !hides);
    box.classList.toggle("more", hides && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  }
}
for (const box of document.querySelectorAll(".scroll")) {
  box.addEventListener("scroll", fit, { passive: true });
  new ResizeObserver(fit).observe(box);
}
