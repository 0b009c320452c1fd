// Makes types.json, the snapshot of resource types that types.test.mjs checks against, from the compiler's
// own catalogue:
//
//   dotnet build -o /tmp/catalogue catalogue && node generate-types.mjs /tmp/catalogue/catalogue > types.json
//
// It is not part of the checks: it wants a .NET SDK and a download of 38 MB, and its answer changes with
// the versions in the Bicep files and that of the catalogue (catalogue/catalogue.csproj) only.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { project } from "./bicep.mjs";

const [catalogue] = process.argv.slice(2);
if (!catalogue) {
  console.error("usage: node generate-types.mjs PATH-OF-catalogue > types.json");
  process.exit(2);
}

const wanted = new Set();
for (const model of (await project()).bicep.values()) {
  for (const { type, version } of model.resources) if (!type.startsWith("Microsoft.Graph/")) wanted.add(`${type}@${version}`);
}
const answers = JSON.parse(execFileSync(catalogue, [...wanted], { encoding: "utf8", maxBuffer: 1 << 28 }));
const found = new Map(Object.entries(answers).map(([id, types]) => [id.toLowerCase(), types]));

const [, packaged] = /Include="(\S+" Version="\S+)"/.exec(readFileSync(new URL("catalogue/catalogue.csproj", import.meta.url), "utf8"));
const out = { source: `NuGet ${packaged.replace('" Version="', " ")} (MIT)`, types: {} };
for (const id of [...wanted].sort()) {
  const [type] = id.split("@");
  if (out.types[type]) console.error(`${id}: another version of it is in use, too`);
  const types = found.get(id.toLowerCase());
  if (types) out.types[type] = lookUp(types);
  else console.error(`${id}: not in the catalogue`);
}
console.log(JSON.stringify(out, null, 1));

// One type with every object type that can be reached from its body. Property: [type, flags]; flags R required, O read-only.
function lookUp([resource, ...all]) {
  const objects = new Map(all.map((o) => [o.name, o]));
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
    const flags = `${/Required/.test(p.flags) ? "R" : ""}${/ReadOnly/.test(p.flags) ? "O" : ""}`;
    if (flags === "O" && p.name !== "id") {
      properties[p.name] = ["any", "O"];
      continue;
    }
    properties[p.name] = flags ? [p.type, flags] : [p.type];
  }
  const out = { properties };
  if (object.additionalPropertiesType) out.rest = object.additionalPropertiesType;
  return out;
}
