// The widget. The shapes are kept here; the kernel saves every change and answers boxes with masks.
import "@annotorious/openseadragon/annotorious-openseadragon.css";
import "./annotator.css";
import { History } from "./history";
import { Meter } from "./effort";
import { Pane, type Listener, type Mode, type Picture } from "./pane";
import { bounds, COLOURS, tidy, type Point, type Shape } from "./shape";

interface Model {
  get(name: "pictures"): Picture[];
  get(name: "classes"): string[];
  get(name: "shapes"): Shape[];
  get(name: "masks"): Record<string, string>;
  get(name: "edit"): Edit;
  get(name: "saved"): number;
  get(name: "key" | "trouble"): string;
  set(name: "edit", value: Edit): void;
  save_changes(): void;
  on(event: string, act: () => void): void;
  off(event: string, act: () => void): void;
}
interface Edit {
  revision: number;
  shapes: Shape[];
  event?: Record<string, unknown>;
}

const PATIENCE = 5000; // ms that the kernel may take to save before the user is warned
const MODES: [Mode, string, string][] = [["move", "Move", "v"], ["box", "Box", "b"], ["outline", "Outline", "o"]];
const HELP = `v move, b box, o outline, n new box in the middle · 1–9 class · arrows shift the selected box, with Alt resize it,
with Shift by 10 px · Tab next · Delete · Ctrl+Z, Ctrl+Y · + − zoom, 0 whole image · h hide masks`;

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const pictures = model.get("pictures");
  const size = pictures[0];
  const classes = model.get("classes");
  const colour = (kind: string) => COLOURS[Math.max(classes.indexOf(kind), 0) % COLOURS.length];
  const history = new History(model.get("shapes"));
  let revision = model.get("saved");
  let selected: string | null = null;
  let kind = classes[0];
  let mode: Mode = "move";
  let late: ReturnType<typeof setTimeout> | undefined;

  const root = document.createElement("div");
  root.className = "ann-root";
  root.tabIndex = 0;
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves keys in here alone
  root.setAttribute("aria-label", "Annotator");
  root.innerHTML = `<div class="ann-bar" role="toolbar" aria-label="Annotation"></div><div class="ann-panes"></div>
    <p class="ann-status" role="status"></p><p class="ann-help">${HELP}</p>`;
  const [bar, host, status] = [...root.children] as HTMLElement[];
  el.append(root);
  const meter = new Meter(root);

  const buttons = new Map<string, HTMLButtonElement>();
  const button = (name: string, text: string, act: () => void) => {
    const made = document.createElement("button");
    made.textContent = text;
    made.onclick = act;
    bar.append(made);
    buttons.set(name, made);
    return made;
  };
  for (const [name, text, key] of MODES) button(name, `${text} (${key})`, () => setMode(name));
  classes.forEach((name, i) => {
    const made = button(`class ${name}`, `${i + 1} ${name || "nucleus"}`, () => setClass(name));
    made.style.borderBottomColor = colour(name);
  });
  button("undo", "Undo", () => step("undo"));
  button("redo", "Redo", () => step("redo"));
  button("delete", "Delete", () => remove());

  const listener: Listener = {
    created: (shape) => commit("draw", [...history.now, { ...shape, class: kind }], shape.id),
    changed: (shape) => commit("change", replaced(shape), shape.id),
    selected: (id) => {
      if (id === selected || (id === null && mode !== "move")) return; // the box just drawn stays chosen for the keys
      select(id);
    },
    viewed: (from) => panes.forEach((pane) => pane !== from && pane.follow(from)),
    pointed: (from, at) => panes.forEach((pane) => pane !== from && pane.point(at)),
  };
  const figures = pictures.map((picture) => {
    const figure = document.createElement("figure");
    figure.innerHTML = "<figcaption></figcaption>";
    figure.firstElementChild!.textContent = picture.name;
    return figure;
  });
  host.append(...figures); // all, so that each pane finds the width that it will have
  const panes = pictures.map((picture, i) => new Pane(figures[i], picture, colour, listener));

  const replaced = (shape: Shape) => history.now.map((s) => (s.id === shape.id ? shape : s));
  const current = () => history.now.find((s) => s.id === selected);

  function select(id: string | null): void {
    selected = id;
    panes.forEach((pane) => pane.show(history.now, selected, mode));
  }

  function commit(action: string, next: Shape[], subject: string | null): void {
    const tidied = next.map((s) => (s.id === subject ? tidy(s, size) : s)).filter((s) => s !== null);
    selected = tidied.some((s) => s.id === subject) ? subject : null;
    history.push(tidied);
    send(action, subject);
  }

  function step(action: "undo" | "redo"): void {
    if (history[action]()) send(action, null);
  }

  function send(action: string, subject: string | null): void {
    const shape = history.now.find((s) => s.id === subject);
    revision += 1;
    const event = { action, id: subject, kind: shape?.kind, class: shape?.class, points: shape?.points.length, ...meter.take() };
    keepDraft({ revision, shapes: history.now });
    model.set("edit", { revision, shapes: history.now, event });
    model.save_changes();
    draw();
    report();
    clearTimeout(late);
    late = setTimeout(report, PATIENCE, true);
  }

  function draw(): void {
    panes.forEach((pane) => {
      pane.show(history.now, selected, mode);
      pane.fill(model.get("masks"), history.now);
    });
  }

  function report(overdue = false): void {
    const trouble = model.get("trouble");
    const saved = model.get("saved") >= revision;
    const count = `${history.now.length} ${history.now.length === 1 ? "nucleus" : "nuclei"}`;
    const state = saved ? "saved" : overdue ? "NOT SAVED: the kernel does not answer. Run the cell again; this browser keeps the changes" : "saving …";
    status.textContent = `${count} · ${trouble || state}`;
    status.classList.toggle("ann-alarm", Boolean(trouble) || (!saved && overdue));
    for (const [name] of MODES) buttons.get(name)!.setAttribute("aria-pressed", String(name === mode));
    for (const name of classes) buttons.get(`class ${name}`)!.setAttribute("aria-pressed", String(name === kind));
  }

  // What the kernel has not yet saved survives a killed kernel and a closed tab in the browser's own storage.
  function keepDraft(draft: Edit | null): void {
    try {
      if (draft) localStorage.setItem(model.get("key"), JSON.stringify(draft));
      else localStorage.removeItem(model.get("key"));
    } catch {
      // storage switched off or full: the kernel's file is the only copy
    }
  }

  function restore(): void {
    try {
      const draft = JSON.parse(localStorage.getItem(model.get("key")) ?? "null") as Edit | null;
      if (draft && draft.revision > model.get("saved")) commit("restore", draft.shapes, null);
    } catch {
      keepDraft(null);
    }
  }

  function setMode(next: Mode): void {
    mode = next;
    panes.forEach((pane) => {
      pane.mode(mode);
      pane.show(history.now, selected, mode);
    });
    report();
  }

  function setClass(name: string): void {
    kind = name;
    const shape = current();
    if (shape && shape.class !== name) commit("class", replaced({ ...shape, class: name }), shape.id);
    report();
  }

  function remove(): void {
    if (selected) commit("delete", history.now.filter((s) => s.id !== selected), selected);
  }

  function add(): void {
    const sides = history.now.filter((s) => s.kind === "box").map((s) => bounds(s.points)).map(([x0, y0, x1, y1]) => (x1 - x0 + y1 - y0) / 2);
    const half = (sides.sort((a, b) => a - b)[sides.length >> 1] ?? Math.min(24, size.width / 4)) / 2;
    const [x, y] = panes[0].centre();
    const id = crypto.randomUUID();
    commit("draw", [...history.now, { id, kind: "box", points: [[x - half, y - half], [x + half, y + half]], class: kind }], id);
  }

  function shift(dx: number, dy: number, resize: boolean): void {
    const shape = current();
    if (!shape) return;
    const last = shape.points.length - 1;
    const points = shape.points.map(([x, y], i): Point => (resize && i < last ? [x, y] : [x + dx, y + dy]));
    commit("change", replaced({ ...shape, points }), shape.id);
  }

  const arrows: Record<string, Point> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function pressed(event: KeyboardEvent): boolean {
    const key = event.key;
    if (event.ctrlKey || event.metaKey) {
      const action = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[key.toLowerCase()];
      if (action) step(action as "undo" | "redo");
      return Boolean(action);
    }
    const named = MODES.find((m) => m[2] === key);
    const view = panes[0].viewer.viewport;
    if (named) setMode(named[0]);
    else if (key in arrows && current()) {
      const by = event.shiftKey ? 10 : 1;
      shift(by * arrows[key][0], by * arrows[key][1], event.altKey);
    } else if (key in arrows) panes[0].pan(60 * arrows[key][0], 60 * arrows[key][1]);
    else if (/^[1-9]$/.test(key) && Number(key) <= classes.length) setClass(classes[Number(key) - 1]);
    else if (key === "n") add();
    else if (key === "h") root.classList.toggle("ann-bare");
    else if (key === "Delete" || key === "Backspace") remove();
    else if (key === "Escape") select(null);
    else if (key === "Tab" && selected && history.now.length > 1) {
      const at = history.now.findIndex((s) => s.id === selected);
      const next = at + (event.shiftKey ? -1 : 1);
      if (!history.now[next]) return false; // beyond the last one, Tab leaves the annotator
      select(history.now[next].id);
    } else if (key === "Enter" && !selected && history.now.length && event.target === root) select(history.now[0].id);
    else if (key === "+" || key === "-") view.zoomBy(key === "+" ? 1.4 : 1 / 1.4);
    else if (key === "0") view.goHome();
    else return false;
    return true;
  }

  root.addEventListener(
    "keydown",
    (event) => {
      if (event.target instanceof HTMLInputElement) return; // a slider has its own keys
      if (pressed(event)) {
        event.preventDefault();
        event.stopPropagation();
      }
    },
    { capture: true },
  );
  host.addEventListener("pointerdown", () => root.focus({ preventScroll: true }), { capture: true });

  const heard: Record<string, () => void> = {
    "change:masks": () => panes.forEach((pane) => pane.fill(model.get("masks"), history.now)),
    "change:trouble": () => report(),
    "change:saved": () => {
      if (model.get("saved") >= revision) keepDraft(null);
      report();
    },
    // Python put other shapes in place (an import), or another view of this widget made a change
    "change:shapes": () => {
      revision = Math.max(revision, model.get("saved"));
      history.push(model.get("shapes"));
      draw();
      report();
    },
    "change:edit": () => {
      if (model.get("edit").revision <= revision) return;
      revision = model.get("edit").revision;
      history.push(model.get("edit").shapes);
      draw();
      report();
    },
  };
  for (const [name, act] of Object.entries(heard)) model.on(name, act);
  panes[0].viewer.addOnceHandler("open", () => {
    draw();
    restore();
  });
  setMode("move");
  return () => {
    for (const [name, act] of Object.entries(heard)) model.off(name, act);
    clearTimeout(late);
    panes.forEach((pane) => pane.destroy());
  };
}

export default { render };
