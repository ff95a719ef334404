// npm ci && npm run build: the one file that the widget loads, its style, and the licences of what is inside.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync, existsSync } from "node:fs";
import { build } from "esbuild";

const out = "../bundle";
// The test of the bundle computes the same over the same files, so that a change of the source alone does not pass.
const sources = ["package.json", "package-lock.json", ...readdirSync("src").sort().map((name) => `src/${name}`)];
const digest = createHash("sha256");
for (const name of sources) digest.update(readFileSync(name));

const { metafile } = await build({
  entryPoints: ["src/annotator.ts"],
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  metafile: true,
  banner: { js: `// source ${digest.digest("hex")}; licences: LICENSES.txt` },
});

// Annotorious comes with other packages already inside: its source maps say which.
const inside = ["openseadragon", "annotorious", "core"].flatMap((part) => {
  const folder = `node_modules/@annotorious/${part}/dist`;
  const maps = readdirSync(folder).filter((name) => name.endsWith(".es.js.map"));
  return maps.flatMap((name) => JSON.parse(readFileSync(`${folder}/${name}`)).sources);
});
const packages = new Set(["@annotorious/annotorious", "@annotorious/core"]);
for (const path of [...Object.keys(metafile.inputs), ...inside]) {
  const found = path.match(/.*node_modules\/((?:@[^/]+\/)?[^/]+)\//);
  if (found) packages.add(found[1]);
}

// A package that brings no text of its licence has it in licences/, under its own name or its scope's.
const texts = [...packages].sort().map((name) => {
  const home = `node_modules/${name}`;
  const file = existsSync(home) && readdirSync(home).find((entry) => /^licen[cs]e/i.test(entry));
  const written = [name.replace("/", "+"), name.split("/")[0]].map((stem) => `licences/${stem}.txt`);
  const places = [file && `${home}/${file}`, ...written];
  const place = places.find((path) => path && existsSync(path));
  if (!place) throw new Error(`${name}: no text of its licence; put it into licences/${name}.txt`);
  const version = existsSync(home) ? ` ${JSON.parse(readFileSync(`${home}/package.json`)).version}` : "";
  return `${name}${version}\n\n${readFileSync(place, "utf8").trim()}\n`;
});
writeFileSync(`${out}/LICENSES.txt`, texts.join(`\n${"-".repeat(80)}\n\n`));
