// Tables of notebooks (study/report.py): a click on the head of a column sorts by it, and a table of more than eight rows can
// be filtered by words and by column=value. An address such as runs.html?profile=mini&method=unet opens with that filter.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".wide-table")) {
    const heads = [...box.querySelectorAll("thead th")];
    const body = box.querySelector("tbody");
    const rows = [...body.rows];
    heads.forEach((head, column) => makeSortable(head, column, heads, body, rows));
    if (rows.length > 8) addFilter(box, heads, rows, rows.length > 30);
  }
  document.querySelectorAll(".sideways .output").forEach((box) => { box.tabIndex = 0; }); // to move it by keys
  document.querySelectorAll(".wide-table, .pst-scrollable-table-container, .sideways .output").forEach(showMore);
});

// A table or a strip of pictures that goes on to the right fades there (book.css).
function showMore(box) {
  const mark = () => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  new ResizeObserver(mark).observe(box);
  box.addEventListener("scroll", mark);
}

function number(text) {
  return parseFloat(text.replace("−", "-").replaceAll(",", ""));
}

function makeSortable(head, column, heads, body, rows) {
  const button = document.createElement("button");
  button.className = "sort";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const text = (row) => row.cells[column].textContent.trim();
    const counts = rows.filter((row) => !isNaN(number(text(row)))).length;
    const compare =
      counts > rows.length / 2
        ? (a, b) => (number(text(a)) || 0) - (number(text(b)) || 0)
        : (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
    body.append(...[...rows].sort((a, b) => (down ? -1 : 1) * compare(a, b)));
  });
}

function addFilter(box, heads, rows, long) {
  const names = heads.map((head) => head.textContent.trim().toLowerCase());
  const line = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  line.className = "filter";
  line.append("Show rows with ", input, count);
  input.type = "search";
  input.placeholder = "words, or column=value";
  const apply = () => {
    const wanted = [...input.value.toLowerCase().matchAll(/(\w+)=(?:"([^"]*)"|(\S*))|(\S+)/g)];
    for (const row of rows) {
      const cell = (name) => row.cells[names.indexOf(name)]?.textContent.trim().toLowerCase();
      row.hidden = !wanted.every(([, name, quoted, plain, word]) =>
        name ? cell(name) === (quoted ?? plain) : row.textContent.toLowerCase().includes(word),
      );
    }
    count.textContent = ` ${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  input.value = [...new URLSearchParams(location.search)]
    .map(([name, value]) => `${name}=${/\s/.test(value) ? `"${value}"` : value}`)
    .join(" ");
  input.addEventListener("input", apply);
  box.classList.toggle("long", long);
  box.before(line);
  apply();
}

// What is folded is printed too, but for code.
addEventListener("beforeprint", () => document.querySelectorAll("article details:not(.hide)").forEach((each) => (each.open = true)));
