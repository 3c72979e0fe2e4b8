// The official bell for React, unmodified, in one script and one style sheet, as who uses it ships it.

import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const installed = join(here, "../sdk");
const { build } = createRequire(join(installed, "package.json"))("esbuild");

/** What `knock.jsx` comes to, in production and minified; what is `external` is left to the page. */
export async function knocksBell({ external = [] } = {}) {
  const { outputFiles } = await build({
    entryPoints: [join(here, "knock.jsx")], nodePaths: [join(installed, "node_modules")], external,
    bundle: true, write: false, outdir: ".", minify: true, format: "esm", target: "es2022", charset: "utf8", legalComments: "none",
    jsx: "automatic", define: { "process.env.NODE_ENV": '"production"' }, logLevel: "error",
  });
  const text = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).text;
  return { script: text(".js"), style: text(".css") };
}
