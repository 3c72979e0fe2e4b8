// Writes what the server serves: each entry in one file without the words that only people read.

import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

const HERE = fileURLToPath(new URL(".", import.meta.url));

/** The style sheet is text to a script: nobody shortens it but us. */
const styles = {
  name: "styles",
  setup(/** @type {import("esbuild").PluginBuild} */ { onLoad }) {
    onLoad({ filter: /style\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const [, css] = source.match(/const STYLE = `([^`]+)`/);
      const { code } = await transform(css, { loader: "css", minify: true });
      return { contents: source.replace(css, () => code.trim().replaceAll("\\", "\\\\")), loader: "js" };
    });
  },
};

/** By the digest in their addresses, what is imported later may be kept for ever. @type {Record<string, string>} */
const digests = {};

/** What is imported later is a file of its own here, too; and the demo loads the bell as other pages do. */
const later = {
  name: "later",
  setup(/** @type {import("esbuild").PluginBuild} */ { onResolve }) {
    onResolve({ filter: /^\./ }, ({ kind, path, importer }) => {
      const isOfDemo = importer.endsWith("demo.js") && path === "./bell.js";
      return kind === "dynamic-import" || isOfDemo ? { path: `${path}?v=${digests[basename(path)]}`, external: true } : null;
    });
  },
};

/** Every file, by its name in dist; what others import later comes before them. @returns {Promise<Map<string, string>>} */
export async function bundles() {
  const files = new Map();
  const languages = (await readdir(`${HERE}bell/lang`)).sort().map((file) => `bell/lang/${file}`);
  for (const name of [...languages, "bell/preferences.js", "bell/panel.js", "feed.js", "bell.js", "demo.js"]) {
    const { outputFiles } = await build({
      entryPoints: [`${HERE}${name}`], write: false,
      bundle: true, minify: true, format: "esm", target: "es2022", charset: "utf8", legalComments: "none", plugins: [styles, later],
    });
    const { text } = outputFiles[0];
    digests[basename(name)] = createHash("sha256").update(text).digest("hex").slice(0, 12);
    files.set(name, text);
  }
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of await bundles()) {
    await mkdir(dirname(`${HERE}dist/${name}`), { recursive: true });
    await writeFile(`${HERE}dist/${name}`, text);
  }
}
