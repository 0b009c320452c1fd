// snapshots/ keeps what the compiler makes of the sources: the ARM JSON of the two templates, what each
// variant would deploy (`bicep snapshot`), and a hash of every source it was made of.
//
//   node snapshots.mjs           makes them anew; wants a compiler
//   node snapshots.mjs --check   with a compiler: status 1 and the names of those that differ. Without
//                                one: the names of the sources that changed since, status 0
//
// Needs no network: the Graph types come from graph/. Ids of tenant and subscription are fixed, so the
// same sources give the same bytes. `bicep snapshot --mode validate` cannot be used: it breaks off on
// Graph resources (Azure/bicep#18822), and the order of outputs changes from run to run, hence the
// sorted keys.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bicep, copyTo, found } from "./compiler.mjs";

const deploy = fileURLToPath(new URL("..", import.meta.url));
export const folder = fileURLToPath(new URL("snapshots", import.meta.url));
const ids = "--tenant-id 11111111-1111-1111-1111-111111111111 --subscription-id 33333333-3333-3333-3333-333333333333 --location westeurope --deployment-name test".split(" ");

// What the compiler reads, each file with its hash. Of the queries only those for alerts are part of
// the templates; a person runs the others.
function inputs() {
  const files = ["main.bicep", "types.bicep", "bicepconfig.json", "container/containerapp.bicep", "env/default.json"];
  for (const name of ["modules", "policies", "queries", "workflows", "variants"]) for (const file of readdirSync(join(deploy, name))) if (name !== "queries" || file.startsWith("alert-")) files.push(`${name}/${file}`);
  return Object.fromEntries(files.sort().map((file) => [file, createHash("sha256").update(readFileSync(join(deploy, file))).digest("hex")]));
}

// The sources that are not those of the snapshots: changed, new or gone.
export function changed(kept = JSON.parse(readFileSync(join(folder, "inputs.json"), "utf8")), now = inputs()) {
  return [...new Set([...Object.keys(kept), ...Object.keys(now)])].sort().filter((file) => kept[file] !== now[file]);
}

function compile(...args) {
  const { status, stdout, stderr } = bicep(...args);
  if (status !== 0 || stderr.trim()) throw new Error(`bicep ${args.join(" ")}: ${stderr.trim()}`); // a warning is a failure, too
  return stdout;
}

// Keys sorted; without the compiler's version and hash.
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).filter((key) => key !== "_generator").sort().map((key) => [key, sorted(value[key])]));
}

// Every snapshot by its file's name, as the sources are now.
function make() {
  const copy = mkdtempSync(join(tmpdir(), "relay-snapshots-"));
  try {
    copyTo(copy);
    const results = {
      "inputs.json": inputs(),
      "main.json": JSON.parse(compile("build", join(copy, "main.bicep"), "--stdout")),
      "containerapp.json": JSON.parse(compile("build", join(copy, "container/containerapp.bicep"), "--stdout")),
    };
    for (const file of ["env/default.json", ...readdirSync(join(copy, "variants")).map((name) => `variants/${name}`)]) {
      const name = basename(file, ".json");
      const path = join(copy, `${name}.bicepparam`);
      writeFileSync(path, `using 'main.bicep'\nparam environmentName = 'test'\nparam location = 'westeurope'\nparam deployerId = '00000000-0000-0000-0000-0000000000d0'\nparam choices = loadJsonContent('${file}')\n`);
      compile("snapshot", path, "--mode", "overwrite", ...ids);
      results[`variant-${name}.json`] = JSON.parse(readFileSync(join(copy, `${name}.snapshot.json`), "utf8"));
    }
    return Object.entries(results).map(([name, value]) => [name, `${JSON.stringify(sorted(value), null, 1)}\n`]);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--check")) {
    if (found) {
      for (const [name, text] of make()) {
        if (existsSync(join(folder, name)) && readFileSync(join(folder, name), "utf8") === text) continue;
        console.error(`deploy/check/snapshots/${name} is not what the sources give: node deploy/check/snapshots.mjs`);
        process.exitCode = 1;
      }
    } else {
      for (const file of changed()) console.log(`deploy/${file} changed since the snapshots were made; only a compiler can say what that does`);
    }
  } else {
    if (!found) throw new Error("there is no bicep on PATH, and BICEP names none");
    const made = make();
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of made) writeFileSync(join(folder, name), text);
  }
}
