// What the compiler made of the sources, held against facts that are true of every deployment.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { findings } from "./facts.mjs";
import { changed, folder } from "./snapshots.mjs";

const variants = readdirSync(folder).filter((name) => name.startsWith("variant-"));
const read = (name) => JSON.parse(readFileSync(join(folder, name), "utf8"));

test("there is a snapshot of every variant", () => {
  const choices = readdirSync(new URL("../variants", import.meta.url)).map((name) => `variant-${name}`);
  assert.deepEqual(variants.sort(), ["variant-default.json", ...choices].sort());
});

test("every snapshot holds the facts", () => {
  assert.deepEqual(variants.flatMap((name) => [...findings(read(name))].map((finding) => `${name}: ${finding}`)), []);
});

test("a source that changed is named, and so are a new one and one that is gone", () => {
  assert.deepEqual(changed({ a: "1", b: "1", c: "1" }, { a: "1", b: "2", d: "1" }), ["b", "c", "d"]);
});

// One change to what would be deployed, and the fact that no longer holds.
const one = (all, type) => all.find((resource) => resource.type === type);
const faults = [
  ["an operation that anybody may write to", "variant-default.json", (all) => all.splice(all.findIndex((r) => r.type === "Microsoft.ApiManagement/service/apis/operations/policies"), 1), /anybody may write/],
  ["a reading operation that asks for the writer's role", "variant-default.json", (all) => { const r = one(all, "Microsoft.ApiManagement/service/apis/operations/policies"); r.name = r.name.replace("post-any", "get-any"); }, /reading operation asks/],
  ["a part of the path that is not declared", "variant-existing-apim.json", (all) => { for (const r of all) if (r.type.endsWith("apis/operations")) r.properties.templateParameters = []; }, /declares/],
  ["a role on another kind of resource", "variant-default.json", (all) => { const r = one(all, "Microsoft.Authorization/roleAssignments"); r.properties.roleDefinitionId = r.properties.roleDefinitionId.replace(/[0-9a-f-]{36}(?=[^/]*$)/, "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"); }, /is given on/],
  ["a client id in a principal's place", "variant-default.json", (all) => { const r = one(all, "Microsoft.Authorization/roleAssignments"); r.properties.principalId = r.properties.principalId.replace("principalId", "clientId"); }, /no principal id/],
  ["one key in both secrets", "variant-default.json", (all) => { const [a, b] = all.filter((r) => r.type === "Microsoft.KeyVault/vaults/secrets"); b.properties.value = a.properties.value; }, /same key/],
  ["two regions in one place", "variant-two-regions.json", (all) => { for (const r of all) if (r.type === "Microsoft.Web/sites") r.location = "westeurope"; }, /two in one region/],
  ["an endpoint for another part", "variant-isolated.json", (all) => { one(all, "Microsoft.Network/privateEndpoints").properties.privateLinkServiceConnections[0].properties.groupIds = ["table"]; }, /: table of/],
];
for (const [name, file, change, want] of faults) {
  test(`the facts find ${name}`, () => {
    const snapshot = read(file);
    change(snapshot.predictedResources);
    assert.match([...findings(snapshot)].join("\n"), want);
  });
}
