// A check is a function from a project to findings. It must find nothing in the project as it is, and each seeded fault.
import assert from "node:assert/strict";
import { test } from "node:test";
import { project } from "./bicep.mjs";

export function verify(title, check, seeds) {
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
