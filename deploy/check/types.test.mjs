// Every property of every resource against the snapshot of Azure's own types, enums taken as closed: the compiler lets unknown values of
// its open ones pass.
import { readFileSync } from "node:fs";
import { line, literal, object } from "./bicep.mjs";
import { verify } from "./seeds.mjs";

const load = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));
const catalogue = { ...load("types.json").types, ...graphTypes(load("graph/types.json"), load("graph/index.json")) };

function typesHold({ bicep }) {
  const findings = [];
  for (const model of bicep.values()) for (const resource of model.resources) findings.push(...checkResource(model, resource));
  return findings;
}

function checkResource(model, resource) {
  const at = `${model.file}:${resource.line}: ${resource.type}`;
  const known = catalogue[resource.type];
  if (!known) return [`${at}: unknown type`];
  if (known.version !== resource.version) return [`${at}: version ${resource.version}, checked against ${known.version}`];
  const name = literal(resource.body.get("name")?.value);
  const bodies = known.bodies.filter((body) => !name || !/^[a-z]+$/.test(body.properties.name?.[0] ?? "") || ["string", name].includes(body.properties.name[0]));
  if (bodies.length === 0) return [`${at}: no such child as ${name}`];
  const findings = [];
  const context = { model, known, findings };
  const extra = new Set(["parent", "scope", "dependsOn", "name"]);
  checkProperties(context, at, bodies[0], resource.body, extra);
  if (!resource.existing) required(context, at, bodies[0], resource.body, new Set([...(known.graph ? [] : ["properties"]), "name"]));
  if (!known.graph && !resource.body.has("name")) findings.push(`${at}: name is missing`);
  return findings;
}

function checkProperties(context, at, shape, map, extra) {
  for (const [key, property] of map) {
    if (extra?.has(key)) continue;
    const declared = shape.properties[key] ?? (shape.rest && [shape.rest]);
    const where = `${at}: ${key} (line ${property.line})`;
    if (!declared) {
      if (!property.computed) context.findings.push(`${where}: no such property`);
      continue;
    }
    if (declared[1]?.includes("O")) {
      context.findings.push(`${where}: read-only`);
      continue;
    }
    if (declared[1]?.includes("O") === false || property.value) checkValue(context, where, declared[0], property.value);
  }
}

function required(context, at, shape, map, except) {
  for (const [key, [, flags]] of Object.entries(shape.properties)) {
    if (flags === "R" && !except?.has(key) && !map.has(key)) context.findings.push(`${at}: ${key} is missing`);
  }
}

function checkValue(context, at, type, node) {
  switch (node.type) {
    case "ternary_expression":
      checkValue(context, at, type, node.childForFieldName("consequence"));
      checkValue(context, at, type, node.childForFieldName("alternative"));
      return;
    case "parenthesized_expression":
      checkValue(context, at, type, node.namedChildren[0]);
      return;
    case "for_statement":
      checkValue(context, at, type.replace(/\[\]$/, ""), node.childForFieldName("body"));
      return;
    case "array":
      if (!type.endsWith("[]") && type !== "any") context.findings.push(`${at}: is an array, wanted ${type}`);
      for (const item of node.namedChildren) if (item.type !== "comment") checkValue(context, at, type.replace(/\[\]$/, ""), item);
      return;
    case "object": {
      const shape = context.known.objects[type];
      if (shape) {
        const map = object(node);
        checkProperties(context, at, shape, map);
        required(context, at, shape, map);
      } else if (isScalar(type)) {
        context.findings.push(`${at}: is an object, wanted ${type}`);
      }
      return;
    }
    case "string": {
      const text = literal(node);
      if (context.known.objects[type] || type === "bool" || type === "int") context.findings.push(`${at}: is a string, wanted ${type}`);
      else if (type.endsWith("[]")) context.findings.push(`${at}: is a string, wanted ${type}`);
      else if (text !== null && /^[^|]+(\s\|\s[^|]+)+$/.test(type)) {
        const allowed = type.split(" | ").filter((value) => value !== "string");
        if (allowed.length && !allowed.includes(text) && !context.known.free?.includes(text)) context.findings.push(`${at}: '${text}' is none of ${allowed.join(", ")}`);
      }
      return;
    }
    case "boolean":
      if (type !== "bool" && type !== "any") context.findings.push(`${at}: is a bool, wanted ${type}`);
      return;
    case "number":
      if (type !== "int" && type !== "any" && !/^\d/.test(type) && !/int/.test(type)) context.findings.push(`${at}: is a number, wanted ${type}`);
  }
}

const isScalar = (type) => ["string", "int", "bool"].includes(type) || / \| /.test(type);

// The Graph table is written in the compiler's own format, so that the same file serves the compiler (graph.mjs).
function graphTypes(types, index) {
  const out = {};
  for (const [id, { $ref }] of Object.entries(index.resources)) {
    const [type, version] = id.split("@");
    const known = { graph: true, version, objects: {}, bodies: [] };
    known.bodies.push(shapeOf(types[at(types[at($ref)].body.$ref)], known));
    delete known.bodies[0].properties.type;
    delete known.bodies[0].properties.apiVersion;
    out[type] = known;
  }
  return out;

  function at(ref) {
    return Number(ref.split("/").pop());
  }
  function shapeOf(object, known) {
    const properties = {};
    for (const [name, { type, flags }] of Object.entries(object.properties)) {
      properties[name] = [textOf(types[at(type.$ref)], known), `${flags & 1 ? "R" : ""}${flags & 2 ? "O" : ""}`];
    }
    return { properties };
  }
  function textOf(type, known) {
    switch (type.$type) {
      case "StringType":
        return "string";
      case "BooleanType":
        return "bool";
      case "IntegerType":
        return "int";
      case "StringLiteralType":
        return type.value;
      case "UnionType":
        return type.elements.map((e) => textOf(types[at(e.$ref)], known)).join(" | ");
      case "ArrayType":
        return `${textOf(types[at(type.itemType.$ref)], known)}[]`;
      default:
        known.objects[type.name] ??= shapeOf(type, known);
        return type.name;
    }
  }
}

const region = "deploy/modules/region.bicep";
const entra = "deploy/modules/entra.bicep";
verify("types hold", typesHold, [
  { fault: "a misspelt property", file: region, from: "httpsOnly:", to: "httpOnly:", want: /httpOnly.*no such property/ },
  { fault: "a misspelt property deep inside", file: region, from: "maximumInstanceCount: maximumInstanceCount", to: "maxInstanceCount: maximumInstanceCount", want: /maxInstanceCount.*no such property/ },
  { fault: "a value outside an open enum", file: region, from: "name: 'custom'", to: "name: 'go'", want: /'go' is none of/ },
  { fault: "a missing required property", file: "deploy/modules/vault.bicep", from: "    tenantId: tenant().tenantId\n", to: "", want: /tenantId is missing/ },
  { fault: "a read-only property", file: region, from: "    httpsOnly: true", to: "    defaultHostName: 'x'", want: /defaultHostName.*read-only/ },
  { fault: "an unknown type", file: region, from: "Microsoft.Web/serverfarms@", to: "Microsoft.Web/serverFarm@", want: /unknown type/ },
  { fault: "an unchecked version", file: region, from: "serverfarms@2025-03-01", to: "serverfarms@2019-08-01", want: /version 2019-08-01/ },
  { fault: "a string for a bool", file: "deploy/modules/api.bicep", from: "approvalRequired: false", to: "approvalRequired: 'no'", want: /wanted bool/ },
  { fault: "a string for a list", file: "deploy/modules/api.bicep", from: "protocols: [\n      'https'\n    ]", to: "protocols: 'https'", want: /wanted/ },
  { fault: "a wrong audience of the registration", file: entra, from: "'AzureADMyOrg'", to: "'MyOrg'", want: /'MyOrg' is none of/ },
  { fault: "a member type that Graph does not know", file: entra, from: "['Application', 'User']", to: "['App', 'User']", want: /'App' is none of/ },
  { fault: "a scope without isEnabled", file: entra, from: "        isEnabled: true\n        adminConsent", to: "        adminConsent", want: /isEnabled is missing/ },
  { fault: "a principal passed under a wrong name", file: "deploy/modules/grants.bicep", from: "resourceId:", to: "resource:", want: /resource .*no such property/ },
]);
