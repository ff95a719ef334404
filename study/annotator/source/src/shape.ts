// What is annotated: a box by two corners, an outline by its vertices, in pixels of the image.
import type { ImageAnnotation, ShapeType } from "@annotorious/openseadragon";

export type Point = [number, number];
export interface Shape {
  id: string;
  kind: "box" | "outline";
  points: Point[]; // a box: upper left and lower right corner, half-open
  class: string;
}
export interface Size {
  width: number;
  height: number;
}

export const COLOURS = ["#ffd400", "#00b4d8", "#ff6b6b", "#70e000", "#c77dff", "#ff9f1c", "#f15bb5", "#e0e0e0", "#8ac926"];

export function bounds(points: Point[]): [number, number, number, number] {
  const x = points.map((p) => p[0]);
  const y = points.map((p) => p[1]);
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}

// Clipped to the image and rounded to a tenth of a pixel; null where less than a pixel is left.
export function tidy(shape: Shape, size: Size): Shape | null {
  const clip = (value: number, most: number) => Math.round(10 * Math.min(Math.max(value, 0), most)) / 10;
  const points = shape.points.map(([x, y]): Point => [clip(x, size.width), clip(y, size.height)]);
  const [x0, y0, x1, y1] = bounds(points);
  return x1 - x0 < 1 || y1 - y0 < 1 ? null : { ...shape, points: shape.kind === "box" ? [[x0, y0], [x1, y1]] : points };
}

export function toAnnotation(shape: Shape): ImageAnnotation {
  const [minX, minY, maxX, maxY] = bounds(shape.points);
  const around = { minX, minY, maxX, maxY };
  const selector =
    shape.kind === "box"
      ? { type: "RECTANGLE" as ShapeType, geometry: { x: minX, y: minY, w: maxX - minX, h: maxY - minY, bounds: around } }
      : { type: "POLYGON" as ShapeType, geometry: { points: shape.points, bounds: around } };
  return {
    id: shape.id,
    bodies: [{ id: shape.id + "-class", annotation: shape.id, purpose: "tagging", value: shape.class }],
    target: { annotation: shape.id, selector },
  } as ImageAnnotation;
}

export function fromAnnotation(annotation: ImageAnnotation, kind: string): Shape {
  const { type, geometry } = annotation.target.selector as unknown as {
    type: string;
    geometry: { points?: Point[]; bounds: { minX: number; minY: number; maxX: number; maxY: number } };
  };
  const { minX, minY, maxX, maxY } = geometry.bounds;
  const box = type === "RECTANGLE";
  return {
    id: annotation.id,
    kind: box ? "box" : "outline",
    points: box ? [[minX, minY], [maxX, maxY]] : (geometry.points as Point[]),
    class: kind,
  };
}
