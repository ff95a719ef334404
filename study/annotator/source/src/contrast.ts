// Black and white point of each channel, applied by the browser as an SVG filter: pixels are never sent again.
const CHANNELS = ["Red", "Green", "Blue"] as const;
let filters = 0;

export function contrast(target: () => HTMLElement, label: string): HTMLElement {
  const name = `allinsam-contrast-${filters++}`;
  const functions = CHANNELS.map((c) => `<feFunc${c[0]} type="linear" slope="1" intercept="0"/>`).join("");
  const rows = CHANNELS.map(
    (c) => `<label><input type="checkbox" checked aria-label="${c} shown, ${label}">${c}</label>
      <input type="range" min="0" max="254" value="0" aria-label="${c} black point, ${label}">
      <input type="range" min="1" max="255" value="255" aria-label="${c} white point, ${label}">`,
  ).join("");
  const box = document.createElement("details");
  box.className = "ann-contrast";
  box.innerHTML = `<summary>Contrast</summary><div>${rows}</div><svg width="0" height="0" aria-hidden="true">
    <filter id="${name}" color-interpolation-filters="sRGB"><feComponentTransfer>${functions}</feComponentTransfer></filter></svg>`;
  const inputs = [...box.querySelectorAll("input")];
  const slopes = [...box.querySelectorAll("feComponentTransfer > *")];
  box.addEventListener("input", () => {
    slopes.forEach((slope, i) => {
      const [shown, black, white] = inputs.slice(3 * i, 3 * i + 3);
      const low = Number(black.value) / 255;
      const gain = shown.checked ? 1 / Math.max(Number(white.value) / 255 - low, 1 / 255) : 0;
      slope.setAttribute("slope", String(gain));
      slope.setAttribute("intercept", String(-gain * low));
    });
    target().style.filter = `url(#${name})`;
  });
  return box;
}
