// Headings of tables become buttons that sort: numbers by value, others by name, empty cells last.
for (const table of document.querySelectorAll("table.sort")) {
  const grouped = table.tBodies.length > 1;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const read = (part) => {
        const text = (grouped ? part.rows[1] : part).cells[column].textContent.trim();
        return { part, text, number: parseFloat(text.replaceAll(",", "").replace("∞", "Infinity")) };
      };
      const order = (a, b) =>
        !a.text - !b.text || isNaN(a.number) - isNaN(b.number) ||
        sign * (a.number - b.number || a.text.localeCompare(b.text));
      const parts = [...(grouped ? table.tBodies : table.tBodies[0].rows)];
      for (const { part } of parts.map(read).sort(order)) part.parentNode.append(part);
    });
  });
}
