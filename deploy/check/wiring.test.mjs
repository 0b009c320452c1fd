// What holds the files together: names, module parameters and outputs, loaded files, the parameter file, env/*.json.
import { dirname, join, normalize } from "node:path";
import { line, literal, object, walk } from "./bicep.mjs";
import { verify } from "./seeds.mjs";

const functions = new Set(
  ("array base64ToJson cidrSubnet concat contains deployer empty endsWith environment filter flatten guid indexOf items join json length " +
    "loadJsonContent loadTextContent map mapValues max min range reduce replace resourceGroup resourceId skip split startsWith string subscription " +
    "subscriptionResourceId substring take tenant toLower toObject toUpper union uniqueString").split(" "),
);
const decoratorsKnown = new Set(["allowed", "description", "export", "maxLength", "maxValue", "metadata", "minLength", "minValue", "sealed", "secure"]);
const primitive = new Set(["string", "int", "bool", "object", "array"]);

function wired(project) {
  const findings = [];
  const types = new Map(project.bicep.get("deploy/types.bicep").types.map((type) => [type.name, type]));
  for (const model of project.bicep.values()) {
    findings.push(...names(model), ...modules(project, model), ...loads(project, model), ...imports(project, model));
  }
  for (const type of types.values()) {
    if (!type.sealed) findings.push(`deploy/types.bicep:${type.line}: ${type.name} is not sealed: a misspelt choice would pass`);
  }
  findings.push(...parameterFile(project), ...environments(project, types));
  return findings;
}

// Every name is declared, every declaration is used.
function names(model) {
  if (model.file.endsWith("types.bicep")) return [];
  const findings = [];
  const declared = new Map();
  for (const kind of ["params", "vars", "resources", "modules"]) {
    for (const item of model[kind]) {
      if (item.parent) continue;
      if (declared.has(item.name)) findings.push(`${model.file}:${item.line}: ${item.name} is declared twice`);
      declared.set(item.name, { kind, used: false, existing: item.existing, line: item.line });
    }
  }
  const imported = new Set(model.imports.flatMap((i) => /\{(.*)\}/s.exec(i.text)[1].split(",").map((n) => n.trim())));
  const usedImports = new Set();
  const source = model.text.replace(/^\s*\/\/.*$/gm, "");
  for (const name of imported) if ((source.match(new RegExp(`\\b${name}\\b`, "g")) ?? []).length > 1) usedImports.add(name);
  for (const name of imported) if (!usedImports.has(name)) findings.push(`${model.file}: ${name} is imported and not used`);

  for (const { node, line: at, locals } of uses(model)) {
    const name = node.text;
    if (locals.has(name)) continue;
    if (declared.has(name)) declared.get(name).used = true;
    else if (!functions.has(name) && !primitive.has(name) && !imported.has(name)) findings.push(`${model.file}:${at}: ${name} is declared nowhere`);
  }
  for (const [name, item] of declared) {
    if (!item.used && (item.kind === "params" || item.kind === "vars" || item.existing)) findings.push(`${model.file}:${item.line}: ${name} is not used`);
  }
  return findings;
}

// The variables of a lambda: all that stands before its body.
function variables(lambda) {
  const found = [];
  for (const child of lambda.namedChildren.slice(0, -1)) walk(child, (n) => (n.type === "identifier" ? found.push(n.text) : 0, true));
  return found;
}

// The identifiers that stand for values, with the loop and lambda variables around them.
function uses(model) {
  const found = [];
  const visit = (node, locals) => {
    if (node.type === "for_statement") {
      const inner = new Set(locals);
      const [head, ...rest] = node.namedChildren;
      for (const part of head.type === "for_loop_parameters" ? head.namedChildren : [head]) inner.add(part.text);
      for (const child of rest) visit(child, inner);
      return;
    }
    if (node.type === "lambda_expression") {
      visit(node.namedChildren[node.namedChildren.length - 1], new Set([...locals, ...variables(node)]));
      return;
    }
    // The grammar ends a lambda too early, "x => x" in "x => x.a > x.b": its variables hold for the rest as well.
    let first = node;
    while (/^(binary|member|subscript|ternary)_expression$/.test(first.type)) first = first.namedChildren[0];
    if (first !== node && first.type === "lambda_expression") locals = new Set([...locals, ...variables(first)]);
    if (node.type === "resource_expression") {
      visit(node.namedChildren[0], locals); // account::blobs: what follows the colons is a child of the resource
      return;
    }
    if (node.type === "identifier") {
      found.push({ node, line: line(node), locals });
      return;
    }
    if (node.type === "object_property") {
      if (node.namedChildren[0].type === "resource_declaration") visit(node.namedChildren[0], locals);
      else {
        if (node.namedChildren[0].type === "string") visit(node.namedChildren[0], locals);
        visit(node.namedChildren[1], locals);
      }
      return;
    }
    if (node.type === "resource_declaration" || node.type === "module_declaration") {
      for (const child of node.namedChildren.slice(1)) visit(child, locals);
      return;
    }
    if (node.type === "nested_member" || node.type === "property_identifier" || node.type === "decorators" || node.type === "import_functionality" || node.type === "import_statement" || node.type === "type" || node.type === "type_declaration") return;
    for (const child of node.namedChildren) visit(child, locals);
  };
  for (const node of model.tree.namedChildren) {
    if (["parameter_declaration", "output_declaration", "variable_declaration"].includes(node.type)) for (const child of node.namedChildren.slice(1)) visit(child, new Set());
    else visit(node, new Set());
  }
  return found;
}

function modules({ bicep }, model) {
  const findings = [];
  const targets = new Map();
  for (const module of model.modules) {
    const at = `${model.file}:${module.line}: module ${module.name}`;
    const target = bicep.get(normalize(join(dirname(model.file), module.path)));
    if (!target) {
      findings.push(`${at}: no file ${module.path}`);
      continue;
    }
    targets.set(module.name, target);
    const given = object(module.body.get("params")?.value);
    for (const param of target.params) if (!param.default && !given.has(param.name)) findings.push(`${at}: parameter ${param.name} is missing`);
    for (const name of given.keys()) if (!target.params.some((p) => p.name === name)) findings.push(`${at}: ${module.path} has no parameter ${name}`);
    if (model.scope === "subscription" && target.scope === "resourceGroup" && !module.body.has("scope")) findings.push(`${at}: scope is missing`);
    // The compiler's own names differ from deployment to deployment.
    if (module.body.has("name")) findings.push(`${at}: has a name: two environments in one group could meet under it`);
  }
  for (const [, name, output] of model.text.matchAll(/\b(\w+)(?:\[[^\]]*\])?(?:!|\.\?|\.)?\.?outputs\.\??(\w+)/g)) {
    const target = targets.get(name);
    if (target && !target.outputs.some((o) => o.name === output)) findings.push(`${model.file}: ${name} has no output ${output}`);
    if (!target && !model.modules.some((m) => m.name === name)) findings.push(`${model.file}: ${name} is no module`);
  }
  // A conditional module may not be there: its outputs are read with ".?".
  for (const module of model.modules.filter((m) => m.condition && !m.loop)) {
    if (new RegExp(`\\b${module.name}\\.outputs`).test(model.text)) findings.push(`${model.file}: ${module.name} is conditional, read it with .?outputs`);
  }
  return findings;
}

function loads({ texts }, model) {
  const findings = [];
  for (const load of model.loads) {
    const at = `${model.file}:${load.line}`;
    if (load.path === null) findings.push(`${at}: ${load.function} needs a plain path`);
    else if (!texts.has(normalize(join(dirname(model.file), load.path)))) findings.push(`${at}: no file ${load.path}`);
  }
  return findings;
}

function imports({ bicep }, model) {
  return model.imports.flatMap((item) => {
    const [, names, path] = /\{(.*)\}\s*from\s*'(.*)'/s.exec(item.text);
    const target = bicep.get(normalize(join(dirname(model.file), path)));
    return names.split(",").map((n) => n.trim()).filter((n) => !target?.types.some((t) => t.name === n)).map((n) => `${model.file}:${item.line}: ${path} has no type ${n}`);
  });
}

// azd's own parameter file, which no Bicep tool reads.
function parameterFile({ bicep, texts }) {
  const main = bicep.get("deploy/main.bicep");
  const given = Object.keys(JSON.parse(texts.get("deploy/main.parameters.json")).parameters);
  const findings = given.filter((name) => !main.params.some((p) => p.name === name)).map((name) => `deploy/main.parameters.json: main.bicep has no parameter ${name}`);
  for (const param of main.params) {
    if (param.name === "choices") {
      // azd takes a parameter from the environment's config only if it stands in no parameter file and has no default.
      if (param.default || given.includes("choices")) findings.push("deploy/main.bicep: choices must have no default and no place in main.parameters.json");
    } else if (!given.includes(param.name)) findings.push(`deploy/main.parameters.json: ${param.name} is missing`);
  }
  return findings;
}

function environments({ texts }, types) {
  const findings = [];
  for (const [file, text] of texts) {
    if (!/^deploy\/(env|variants)\/[^/]+\.json$/.test(file)) continue;
    findings.push(...fits(file, JSON.parse(text), "configuration", types));
  }
  return findings;
}

function fits(at, value, type, types) {
  type = type.replace(/^\((.*)\)$/, "$1").trim();
  if (type.endsWith("[]")) {
    if (!Array.isArray(value)) return [`${at}: wanted a list`];
    return value.flatMap((item, i) => fits(`${at}[${i}]`, item, type.slice(0, -2), types));
  }
  if (type.startsWith("'")) return type.split(" | ").map((t) => t.trim().slice(1, -1)).includes(value) ? [] : [`${at}: ${JSON.stringify(value)} is none of ${type}`];
  if (type === "int") return Number.isInteger(value) ? [] : [`${at}: wanted a number`];
  if (type === "bool" || type === "string") return typeof value === (type === "bool" ? "boolean" : type) ? [] : [`${at}: wanted a ${type}`];
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [`${at}: wanted an object`];
  if (type.startsWith("{")) return Object.entries(value).flatMap(([key, item]) => fits(`${at}: ${key}`, item, /\*: (\w+)/.exec(type)[1], types));
  if (type === "object") return [];
  const findings = [];
  const { properties } = types.get(type);
  for (const [key, item] of Object.entries(value)) {
    if (properties.has(key)) findings.push(...fits(`${at}: ${key}`, item, properties.get(key).type, types));
    else findings.push(`${at}: there is no ${key}`);
  }
  for (const [key, property] of properties) if (!property.optional && !(key in value)) findings.push(`${at}: ${key} is missing`);
  return findings;
}

const main = "deploy/main.bicep";
verify("files fit together", wired, [
  { fault: "a missing module parameter", file: main, from: "    suffix: suffix\n    retentionInDays", to: "    retentionInDays", want: /parameter suffix is missing/ },
  { fault: "an unknown module parameter", file: main, from: "    roles: roles\n    development", to: "    role: roles\n    development", want: /no parameter role/ },
  { fault: "an unknown output", file: main, from: "monitoring.outputs.insightsId", to: "monitoring.outputs.insightId", want: /no output insightId/ },
  { fault: "an output of a conditional module read as if it were there", file: main, from: "entra.?outputs.?clientId", to: "entra.outputs.clientId", want: /entra is conditional/ },
  { fault: "a misspelt name", file: main, from: "principalId: systemAssigned ? '' : identities", to: "principalId: systemAsigned ? '' : identities", want: /systemAsigned is declared nowhere/ },
  { fault: "a parameter that nobody uses", file: "deploy/modules/dns.bicep", from: "param tags { *: string }", to: "param tags { *: string }\nparam unused string", want: /unused is not used/ },
  { fault: "a module without scope", file: main, from: "'modules/monitoring.bicep' = {\n  scope: group\n", to: "'modules/monitoring.bicep' = {\n", want: /scope is missing/ },
  { fault: "a module with a name", file: main, from: "'modules/monitoring.bicep' = {\n", to: "'modules/monitoring.bicep' = {\n  name: 'monitoring'\n", want: /monitoring: has a name/ },
  { fault: "a policy file that is not there", file: "deploy/modules/api.bicep", from: "../policies/api.xml", to: "../policies/apis.xml", want: /no file/ },
  { fault: "a parameter file with a stranger", file: "deploy/main.parameters.json", from: '"location"', to: '"region"', want: /no parameter region/ },
  { fault: "a misspelt choice", file: "deploy/env/default.json", from: '"development"', to: '"developement"', want: /there is no developement/ },
  { fault: "a choice of the wrong kind", file: "deploy/env/default.json", from: '"development": false', to: '"development": "false"', want: /wanted a bool/ },
  { fault: "an open type", file: "deploy/types.bicep", from: "@sealed()\ntype apiChoice", to: "type apiChoice", want: /apiChoice is not sealed/ },
]);
