// Where a Bicep compiler is on PATH it has the last word: every warning counts as an error. Elsewhere these tests say that they did not run.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { project, root } from "./bicep.mjs";
import { writeExtension } from "./graph/archive.mjs";

const found = spawnSync("bicep", ["--version"], { encoding: "utf8" }).status === 0;
const skip = found ? false : "there is no bicep on PATH";

// A copy of deploy/ whose Graph extension is the table beside this file.
function copy(t) {
  const folder = mkdtempSync(join(tmpdir(), "relay-bicep-"));
  t.after(() => rmSync(folder, { recursive: true }));
  cpSync(join(root, "deploy"), folder, { recursive: true, filter: (path) => !path.includes("node_modules") && !path.includes("/.azure") });
  const config = JSON.parse(readFileSync(join(folder, "bicepconfig.json"), "utf8"));
  config.extensions.microsoftGraphV1 = "./graph.tgz";
  writeFileSync(join(folder, "bicepconfig.json"), JSON.stringify(config));
  writeExtension(join(folder, "graph.tgz"));
  return folder;
}

// bicep ends with status 0 on warnings: what it says on stderr decides.
function said(...args) {
  return spawnSync("bicep", args, { encoding: "utf8" }).stderr.trim();
}

test("the compiler and its linter have nothing to say", { skip }, async (t) => {
  const folder = copy(t);
  for (const file of (await project()).bicep.keys()) {
    const path = join(folder, file.slice("deploy/".length));
    assert.equal(said("build", path, "--stdout"), "", file);
    assert.equal(said("lint", path), "", file);
  }
});

test("the compiler finds a misspelt property", { skip }, (t) => {
  const folder = copy(t);
  const path = join(folder, "modules/region.bicep");
  writeFileSync(path, readFileSync(path, "utf8").replace("httpsOnly:", "httpOnly:"));
  assert.match(said("build", path, "--stdout"), /BCP/);
});

test("the Graph extension can be unpacked", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "relay-graph-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeExtension(join(folder, "graph.tgz"));
  execFileSync("tar", ["xzf", "graph.tgz"], { cwd: folder });
  execFileSync("tar", ["xzf", "types.tgz"], { cwd: folder });
  for (const name of ["index.json", "types.json"]) assert.deepEqual(JSON.parse(readFileSync(join(folder, name), "utf8")), JSON.parse(readFileSync(new URL(`graph/${name}`, import.meta.url), "utf8")));
});
