// A check is a function from a project to findings. It must find nothing in the project as it is, and each seeded fault.
import assert from "node:assert/strict";
import { test } from "node:test";
import { project } from "./bicep.mjs";

// Every check of the files that are loaded after this, in place of their tests: faults.test.mjs.
let collected = null;
export function collect() {
  return (collected = []);
}

export function verify(title, check, seeds) {
  if (collected) {
    collected.push({ title, check });
    return;
  }
  test(`${title}: nothing found`, async () => {
    assert.deepEqual(await check(await project()), []);
  });
  for (const seed of seeds) {
    test(`${title}: finds ${seed.fault}`, async () => {
      const findings = await check(await project(seed));
      assert.ok(
        findings.some((finding) => seed.want.test(finding)),
        `wanted a finding like ${seed.want}, got ${JSON.stringify(findings)}`,
      );
    });
  }
}
