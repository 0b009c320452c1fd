// The Bicep compiler: the program that BICEP names, else bicep on PATH. Most machines have none, and
// the other checks do without.
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { root } from "./bicep.mjs";
import { writeExtension } from "./graph/archive.mjs";

const program = process.env.BICEP || "bicep";
export const found = spawnSync(program, ["--version"], { encoding: "utf8" }).status === 0;
if (process.env.BICEP && !found) throw new Error(`BICEP: want a Bicep compiler, got ${program}, which does not answer to --version`);

export function bicep(...args) {
  return spawnSync(program, args, { encoding: "utf8", maxBuffer: 1 << 26 });
}

// Copies deploy/ into a folder, with the table beside this file as the Graph extension: no network.
export function copyTo(folder) {
  const deploy = join(root, "deploy");
  cpSync(deploy, folder, { recursive: true, filter: (path) => !/^(check|\.azure)(\/|$)/.test(relative(deploy, path)) });
  const config = JSON.parse(readFileSync(join(folder, "bicepconfig.json"), "utf8"));
  config.extensions.microsoftGraphV1 = "./graph.tgz";
  writeFileSync(join(folder, "bicepconfig.json"), JSON.stringify(config));
  writeExtension(join(folder, "graph.tgz"));
}
