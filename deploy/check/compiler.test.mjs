// Where there is a Bicep compiler it has the last word: every warning counts as an error. Elsewhere these tests say that they did not run.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { project } from "./bicep.mjs";
import { bicep, copyTo, found } from "./compiler.mjs";
import { writeExtension } from "./graph/archive.mjs";

const skip = found ? false : "there is no bicep on PATH";

function copy(t) {
  const folder = mkdtempSync(join(tmpdir(), "relay-bicep-"));
  t.after(() => rmSync(folder, { recursive: true }));
  copyTo(folder);
  return folder;
}

// bicep ends with status 0 on warnings: what it says on stderr decides.
function said(...args) {
  return bicep(...args).stderr.trim();
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
