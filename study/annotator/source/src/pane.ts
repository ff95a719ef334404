// One picture: OpenSeadragon shows it, Annotorious draws on it, an SVG above shows SAM's masks and the other pane's cursor.
import OpenSeadragon from "openseadragon";
import { createOSDAnnotator, type ImageAnnotation, type OpenSeadragonAnnotator } from "@annotorious/openseadragon";
import { contrast } from "./contrast";
import { fromAnnotation, toAnnotation, type Point, type Shape, type Size } from "./shape";

const SETTLED = 30; // ms

export type Mode = "move" | "box" | "outline";
export interface Picture extends Size {
  name: string;
  data: DataView;
}
export interface Listener {
  created(shape: Shape): void;
  changed(shape: Shape): void;
  selected(id: string | null): void;
  viewed(pane: Pane): void;
  pointed(pane: Pane, at: Point | null): void;
}

export class Pane {
  readonly viewer: OpenSeadragon.Viewer;
  private annotator: OpenSeadragonAnnotator;
  private svg: SVGSVGElement;
  private cursor: SVGElement;
  private masks: SVGElement;
  private url: string;
  private shown: Shape[] = [];
  private chosen: string | null = null;
  private quiet = false; // while the pane is told what to show, it does not report

  constructor(host: HTMLElement, private picture: Picture, private colour: (kind: string) => string, on: Listener) {
    this.url = URL.createObjectURL(new Blob([picture.data as unknown as BlobPart]));
    const stage = document.createElement("div");
    stage.className = "ann-stage";
    host.append(stage);
    this.viewer = OpenSeadragon({
      element: stage,
      tileSources: { type: "image", url: this.url } as unknown as string,
      drawer: "canvas",
      showNavigationControl: false,
      imageSmoothingEnabled: false,
      animationTime: 0.3,
      maxZoomPixelRatio: 40,
      visibilityRatio: 0.5,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
    });
    this.viewer.addHandler("canvas-key", (event) => { event.preventDefaultAction = true; }); // keys are the annotator's
    this.annotator = createOSDAnnotator(this.viewer, { drawingEnabled: false, drawingMode: "drag" });
    this.annotator.setStyle((annotation) => {
      const kind = String((annotation as ImageAnnotation).bodies[0]?.value ?? "");
      return { stroke: colour(kind) as `#${string}`, strokeWidth: annotation.id === this.chosen ? 4 : 2, fillOpacity: 0 };
    });
    this.annotator.on("createAnnotation", (a) => this.quiet || on.created(fromAnnotation(a, "")));
    // What was dragged or selected is asked for when the button is released and Annotorious is through with it: its own
    // events of selection come late, also for what the pane was told to show
    stage.addEventListener("pointerup", () => setTimeout(() => this.dragged(on) || on.selected(this.annotator.getSelected()[0]?.id ?? null), SETTLED), { capture: true });
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.classList.add("ann-over");
    this.svg.innerHTML = `<g class="ann-masks"></g><path class="ann-cursor" d="M-9 0H-3M3 0H9M0-9V-3M0 3V9" visibility="hidden"/>`;
    [this.masks, this.cursor] = [...this.svg.children] as SVGElement[];
    this.viewer.canvas.append(this.svg);
    this.viewer.addHandler("update-viewport", () => this.place());
    this.viewer.addHandler("viewport-change", () => this.quiet || on.viewed(this));
    stage.addEventListener("pointermove", (event) => on.pointed(this, this.pixel(event)), { capture: true });
    stage.addEventListener("pointerleave", () => on.pointed(this, null));
    host.append(contrast(() => this.viewer.drawer.canvas as HTMLElement, picture.name));
  }

  mode(mode: Mode): void {
    this.silently(() => {
      this.annotator.setDrawingEnabled(mode !== "move");
      if (mode !== "move") this.annotator.setDrawingTool(mode === "box" ? "rectangle" : "polygon");
      this.annotator.setDrawingMode(mode === "outline" ? "click" : "drag");
    });
  }

  // Handles are there in mode "move" only: while boxes are drawn, the next drag shall begin the next one.
  show(shapes: Shape[], selected: string | null, mode: Mode): void {
    this.chosen = selected;
    this.shown = shapes;
    this.silently(() => {
      this.annotator.cancelSelected();
      this.annotator.setAnnotations(shapes.map(toAnnotation), true);
      if (mode === "move" && shapes.some((s) => s.id === selected)) this.annotator.setSelected(selected!, true);
    });
  }

  // paths: an SVG path in image pixels for each id
  fill(paths: Record<string, string>, shapes: Shape[]): void {
    this.masks.replaceChildren(
      ...shapes.filter((s) => paths[s.id]).map((s) => {
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("d", paths[s.id]);
        path.setAttribute("fill", this.colour(s.class));
        path.dataset.id = s.id;
        return path;
      }),
    );
  }

  follow(other: Pane): void {
    this.silently(() => {
      this.viewer.viewport.zoomTo(other.viewer.viewport.getZoom(), undefined, true);
      this.viewer.viewport.panTo(other.viewer.viewport.getCenter(), true);
    });
  }

  point(at: Point | null): void {
    this.cursor.setAttribute("visibility", at ? "visible" : "hidden");
    if (!at) return;
    const { x, y } = this.viewer.viewport.pixelFromPoint(this.viewport(at), true);
    this.cursor.setAttribute("transform", `translate(${x} ${y})`);
  }

  pan(dx: number, dy: number): void {
    this.viewer.viewport.panBy(this.viewer.viewport.deltaPointsFromPixels(new OpenSeadragon.Point(dx, dy)));
  }

  // Middle of what is seen, in image pixels.
  centre(): Point {
    const { x, y } = this.viewer.viewport.getCenter();
    return [x * this.picture.width, y * this.picture.width];
  }

  destroy(): void {
    this.annotator.destroy();
    this.viewer.destroy();
    URL.revokeObjectURL(this.url);
  }

  private dragged(on: Listener): boolean {
    const [annotation] = this.annotator.getSelected();
    const before = this.shown.find((s) => s.id === annotation?.id);
    if (!annotation || !before) return false;
    const after = fromAnnotation(annotation, before.class);
    const same = after.points.length === before.points.length && after.points.every(([x, y], i) => Math.hypot(x - before.points[i][0], y - before.points[i][1]) < 0.05);
    if (!same) on.changed(after);
    return !same;
  }

  private silently(act: () => void): void {
    this.quiet = true;
    try {
      act();
    } finally {
      this.quiet = false;
    }
  }

  private viewport([x, y]: Point): OpenSeadragon.Point {
    return new OpenSeadragon.Point(x / this.picture.width, y / this.picture.width);
  }

  private pixel(event: PointerEvent): Point {
    const box = this.viewer.canvas.getBoundingClientRect();
    const at = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
    const { x, y } = this.viewer.viewport.pointFromPixel(at, true);
    return [x * this.picture.width, y * this.picture.width];
  }

  private place(): void {
    const { x, y } = this.viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0), true);
    const scale = (this.viewer.viewport.getContainerSize().x * this.viewer.viewport.getZoom(true)) / this.picture.width;
    this.masks.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
  }
}
