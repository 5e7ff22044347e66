// Tables of class "sortable": a click on a heading, or Enter or the space bar on it, sorts by its column: numbers from the
// largest down, labels from A to Z; then the other way, then as on the page. Rows without a value stay at the end.
(() => {
  const LABELS = ["none", "ascending", "descending"], NUMBERS = ["none", "descending", "ascending"];
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.classList.contains("absent") || ["", "\u2013"].includes(cell.textContent.trim())) return null;
    return cell.dataset.order === undefined ? cell.textContent.trim() : Number(cell.dataset.order);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], original = [...body.rows], heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const orders = column ? NUMBERS : LABELS;
        const order = orders[(orders.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const sorted = order === "none" ? original : [...original].sort((a, b) => {
          const [x, y] = [key(a, column), key(b, column)];
          return x === null || y === null ? (x === null) - (y === null) : sign * compare(x, y);
        });
        body.append(...sorted);
      });
    });
  }
})();
