"use strict";

// Details of a row in a dialog, opened by its name; and a table of the differences between two rows.
const factsOf = (dialog) =>
  new Map(
    [...dialog.querySelectorAll("dl")].map((list) => [
      list.dataset.section,
      new Map([...list.children].map((pair) => [pair.querySelector("dt").textContent, pair.querySelector("dd")])),
    ]),
  );

function tell(root) {
  const [a, b] = ["a", "b"].map((name) => root.querySelector(`select[name=${name}]`));
  const [left, right] = [a, b].map((select) => factsOf(document.getElementById(select.value)));
  const table = root.querySelector("table");
  const cell = (tag, text, own = {}) => Object.assign(document.createElement(tag), { textContent: text, ...own });
  const head = document.createElement("tr");
  head.append(cell("th", "", { scope: "col" }), ...[a, b].map((select) => cell("th", select.selectedOptions[0].textContent, { scope: "col" })));
  table.replaceChildren(head);
  let [equal, different] = [0, 0];
  for (const section of new Set([...left.keys(), ...right.keys()])) {
    const [ours, theirs] = [left, right].map((facts) => facts.get(section) ?? new Map());
    const rows = [];
    for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
      const values = [ours, theirs].map((facts) => facts.get(name));
      if (values[0]?.textContent === values[1]?.textContent) {
        equal += 1;
        continue;
      }
      const row = document.createElement("tr");
      row.append(cell("th", name, { scope: "row" }), ...values.map((value) => cell("td", value?.textContent ?? "–", { className: value?.className ?? "" })));
      rows.push(row);
    }
    if (!rows.length) continue;
    different += rows.length;
    const title = document.createElement("tr");
    title.append(cell("th", section, { scope: "colgroup", colSpan: 3, className: "section" }));
    table.append(title, ...rows);
  }
  table.hidden = !different;
  root.querySelector("output").value = different ? `${different} values differ, ${equal} are equal.` : "There are no differences.";
}

for (const root of document.querySelectorAll("details.compare")) {
  root.addEventListener("input", () => tell(root));
  root.addEventListener("toggle", () => tell(root));
}

for (const button of document.querySelectorAll("button.about")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.dialog).showModal());
}

for (const dialog of document.querySelectorAll("dialog.about")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  // A press outside the dialog closes it, too.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.querySelector(".with")?.addEventListener("click", () => {
    const root = dialog.closest(".board").querySelector("details.compare");
    const [a, b] = ["a", "b"].map((name) => root.querySelector(`select[name=${name}]`));
    dialog.close();
    if (b.value === dialog.id) b.value = a.value;
    a.value = dialog.id;
    root.open = true;
    tell(root);
    root.scrollIntoView({ block: "center" });
    b.focus({ preventScroll: true });
  });
}
