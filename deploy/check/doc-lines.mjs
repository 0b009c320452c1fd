// Brings the line numbers of the table in docs/deploy.md up to date: each place is found by the words beside it.
//
//   node deploy/check/doc-lines.mjs
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./bicep.mjs";

const path = join(root, "docs/deploy.md");
const text = readFileSync(path, "utf8").replace(/\[([\w./-]+):\d+\]\(\.\.\/[\w./-]+#L\d+\)(\s+)`([^`]+)`/g, (all, file, space, words) => {
  const at = readFileSync(join(root, file), "utf8").split("\n").findIndex((line) => line.includes(words)) + 1;
  if (at === 0) console.error(`${file} does not hold ${words}`);
  return at ? `[${file}:${at}](../${file}#L${at})${space}\`${words}\`` : all;
});
writeFileSync(path, text);
