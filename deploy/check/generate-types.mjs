// Makes types.json, the snapshot of resource types that types.mjs checks against, from Microsoft's own catalogue:
//
//   npm pack @azure/mcp-linux-x64@2.0.5 && tar xzf azure-mcp-linux-x64-2.0.5.tgz
//   node generate-types.mjs package/dist/azmcp > types.json
//
// It is not part of the checks: the catalogue is a download of 59 MB, and its answer changes with its version only.
import { execFileSync } from "node:child_process";
import { project } from "./bicep.mjs";

const [catalogue] = process.argv.slice(2);
if (!catalogue) {
  console.error("usage: node generate-types.mjs PATH-OF-azmcp > types.json");
  process.exit(2);
}

const wanted = new Set();
for (const model of (await project()).bicep.values()) {
  for (const resource of model.resources) wanted.add(resource.type);
}

const out = { source: "npm @azure/mcp-linux-x64 2.0.5 (MIT), command bicepschema get", types: {} };
for (const type of [...wanted].sort()) {
  if (type.startsWith("Microsoft.Graph/")) continue; // graph.json
  const found = lookUp(type);
  if (found) out.types[type] = found;
  else console.error(`${type}: not in the catalogue; types-own.json must have it`);
}
console.log(JSON.stringify(out, null, 1));

// One type with every object type that can be reached from its body. Property: [type, flags]; flags R required, O read-only.
function lookUp(type) {
  let answer;
  try {
    answer = JSON.parse(
      execFileSync(catalogue, ["bicepschema", "get", "--resource-type", type], {
        encoding: "utf8",
        maxBuffer: 1 << 28,
        stdio: ["ignore", "pipe", "ignore"],
        env: { ...process.env, AZURE_MCP_COLLECT_TELEMETRY: "false", DOTNET_SYSTEM_GLOBALIZATION_INVARIANT: "1" },
      }),
    );
  } catch {
    return null;
  }
  const all = answer.results.BicepSchemaResult;
  const objects = new Map(all.filter((o) => o.$type.endsWith("Object") || o.$type === "DiscriminatedObject").map((o) => [o.name, o]));
  const resource = all.find((o) => o.$type === "Resource" && o.name.toLowerCase().startsWith(`${type.toLowerCase()}@`));
  if (!resource) return null;
  // Some types differ by name (sites/config: appsettings, logs, ...): one body each.
  const bodies = resource.bodyType.elements ?? [resource.bodyType];
  const result = { version: resource.name.split("@")[1], bodies: bodies.map(shape), objects: {} };
  const queue = result.bodies.flatMap((body) => Object.values(body.properties));
  while (queue.length) {
    for (const name of queue.pop()[0].match(/[A-Za-z_][\w.]*/g) ?? []) {
      if (result.objects[name] || !objects.has(name)) continue;
      result.objects[name] = shape(objects.get(name));
      queue.push(...Object.values(result.objects[name].properties));
      if (result.objects[name].rest) queue.push([result.objects[name].rest]);
    }
  }
  return result;
}

function shape(object) {
  const properties = {};
  for (const p of [...(object.properties ?? []), ...(object.baseProperties ?? [])]) {
    const flags = `${/Required/.test(p.flags ?? "") ? "R" : ""}${/ReadOnly/.test(p.flags ?? "") ? "O" : ""}`;
    if (flags === "O" && p.name !== "id") {
      properties[p.name] = ["any", "O"];
      continue;
    }
    properties[p.name] = flags ? [p.type, flags] : [p.type];
  }
  const out = { properties };
  if (object.additionalPropertiesType) out.rest = typeof object.additionalPropertiesType === "string" ? object.additionalPropertiesType : "any";
  return out;
}
