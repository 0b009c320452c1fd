// Reads a Bicep file into a plain model: declarations with their values as trees that the checks can walk.
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { Language, Parser } from "web-tree-sitter";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const require = createRequire(import.meta.url);

await Parser.init();
const language = await Language.load(require.resolve("tree-sitter-bicep/tree-sitter-bicep.wasm"));
const parser = new Parser();
parser.setLanguage(language);

// Everything that the checks look at: text by path below the project's root, and the models of all Bicep files. A seed is
// { file, from, to }: one replacement, so that a check can be shown the fault that it has to find.
export async function project(seed) {
  const texts = new Map();
  for (const folder of ["deploy", "functions", "handler/internal/settings", "handler/internal/observe", "docs", ".github"]) await collect(join(root, folder), texts);
  for (const file of ["azure.yaml", ".gitignore", "host.json", "local.settings.json.example", "README.md"]) {
    try {
      texts.set(file, await readFile(join(root, file), "utf8"));
    } catch (cause) {
      if (cause.code !== "ENOENT") throw cause;
    }
  }
  if (seed) {
    const before = texts.get(seed.file);
    if (before === undefined) throw new Error(`seed: no file ${seed.file}`);
    if (!before.includes(seed.from)) throw new Error(`seed: ${seed.file} does not hold ${JSON.stringify(seed.from)}`);
    texts.set(seed.file, before.replace(seed.from, () => seed.to));
  }
  const bicep = new Map();
  for (const [file, text] of texts) if (file.endsWith(".bicep")) bicep.set(file, parse(file, text));
  return { texts, bicep };
}

async function collect(folder, texts) {
  let entries;
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (cause) {
    if (cause.code === "ENOENT") return;
    throw cause;
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (["node_modules", ".azure"].includes(entry.name) || path.endsWith("deploy/check")) continue;
    if (entry.isDirectory()) await collect(path, texts);
    else texts.set(relative(root, path), await readFile(path, "utf8"));
  }
}

// parse gives { file, text, errors, scope, extensions, imports, params, vars, resources, modules, outputs, types, loads }.
// Errors are texts "line:column: what"; everything else carries the line it stands on.
export function parse(file, text) {
  // The grammar does not know the extension statement.
  const extensions = [...text.matchAll(/^extension (\w+)$/gm)].map((m) => m[1]);
  // Nor does it tell "string?" at the end of a line from the start of a choice; no other line ends with that sign.
  const source = text.replace(/^extension .*$/gm, (line) => "//".padEnd(line.length, " ")).replace(/\?$/gm, " ");
  const tree = parser.parse(source);
  const model = { file, text, tree: tree.rootNode, errors: [], scope: "resourceGroup", extensions, imports: [], params: [], vars: [], resources: [], modules: [], outputs: [], types: [], loads: [] };
  walk(tree.rootNode, (node) => {
    if (node.isError || node.isMissing) {
      const { row, column } = node.startPosition;
      model.errors.push(`${row + 1}:${column + 1}: ${node.isMissing ? `missing ${node.type}` : `cannot read ${JSON.stringify(source.slice(node.startIndex, node.startIndex + 30))}`}`);
      return false;
    }
    if (node.type === "call_expression" && /^load(TextContent|JsonContent|YamlContent|FileAsBase64)$/.test(node.childForFieldName("function")?.text ?? "")) {
      const argument = node.childForFieldName("arguments").namedChildren[0];
      model.loads.push({ function: node.childForFieldName("function").text, path: literal(argument), line: line(node) });
    }
    return true;
  });
  if (model.errors.length) return model;

  const scope = /^targetScope\s*=\s*'(\w+)'/m.exec(text);
  if (scope) model.scope = scope[1];

  let decorators = [];
  for (const node of tree.rootNode.namedChildren) {
    switch (node.type) {
      case "decorators":
        decorators = node.namedChildren.map((d) => ({ name: /^@?([\w.]+)/.exec(d.text)[1], text: d.text }));
        continue;
      case "parameter_declaration": {
        const [name, type, value] = declared(node);
        model.params.push({ name, type, default: value, secure: decorators.some((d) => /secure$/.test(d.name)), decorators, line: line(node) });
        break;
      }
      case "variable_declaration": {
        const [name, , value] = declared(node);
        model.vars.push({ name, value, line: line(node) });
        break;
      }
      case "output_declaration": {
        const [name, type, value] = declared(node);
        model.outputs.push({ name, type, value, secure: decorators.some((d) => /secure$/.test(d.name)), line: line(node) });
        break;
      }
      case "type_declaration": {
        const name = node.namedChildren[0].text;
        model.types.push({ name, sealed: decorators.some((d) => d.name === "sealed"), node: node.namedChildren[1], properties: typeProperties(node.namedChildren[1], text), line: line(node) });
        break;
      }
      case "resource_declaration":
        addResource(model, node, null);
        break;
      case "module_declaration": {
        const [name, path] = [node.namedChildren[0].text, literal(node.namedChildren[1])];
        const { body, loop, condition } = unwrap(node.namedChildren[2]);
        model.modules.push({ name, path, body: object(body), loop, condition, line: line(node) });
        break;
      }
      case "import_statement":
      case "import_functionality":
        model.imports.push({ text: node.text, line: line(node) });
        break;
    }
    decorators = [];
  }
  return model;
}

function addResource(model, node, parent) {
  const name = node.namedChildren[0].text;
  const [type, version] = literal(node.namedChildren[1]).split("@");
  const existing = node.children.some((c) => c.text === "existing");
  const { body, loop, condition } = unwrap(node.namedChildren[node.namedChildren.length - 1]);
  const resource = {
    name,
    type: parent ? `${parent.type}/${type}` : type,
    version: version ?? parent?.version,
    existing,
    parent,
    loop,
    condition,
    body: object(body),
    line: line(node),
  };
  model.resources.push(resource);
  for (const child of body.namedChildren) {
    const nested = child.type === "object_property" ? child.namedChildren[0] : child;
    if (nested?.type === "resource_declaration") addResource(model, nested, resource);
  }
}

// The object inside a loop or a condition.
function unwrap(node) {
  let loop = null;
  let condition = null;
  for (;;) {
    if (node.type === "for_statement") {
      loop = node.namedChildren.slice(0, -1).map((c) => c.text);
      node = node.childForFieldName("body");
    } else if (node.type === "if_statement") {
      condition = node.namedChildren[0].text;
      node = node.namedChildren[1];
    } else if (node.type === "parenthesized_expression" && node.namedChildren.length === 1) {
      node = node.namedChildren[0];
    } else {
      return { body: node, loop, condition };
    }
  }
}

function declared(node) {
  const [name, ...rest] = node.namedChildren;
  const type = rest.find((c) => /type$/.test(c.type) || c.type === "identifier");
  const value = rest[rest.length - 1];
  const has = rest.length > (node.type === "variable_declaration" ? 0 : 1);
  return [name.text, node.type === "variable_declaration" ? "" : (type?.text ?? ""), has ? value : null];
}

// An object as a map: key -> { key, line, value: node }. Keys that are computed stand under their own text.
export function object(node) {
  const map = new Map();
  if (node?.type !== "object") return map;
  for (const child of node.namedChildren) {
    if (child.type !== "object_property") continue;
    const [key, value] = child.namedChildren;
    if (key.type === "resource_declaration") continue;
    const name = key.type === "string" ? (literal(key) ?? key.text) : key.text;
    map.set(name, { key: name, computed: key.type === "string" && literal(key) === null, line: line(child), value });
  }
  return map;
}

function typeProperties(node, text) {
  const map = new Map();
  if (node?.type !== "object") return map;
  for (const child of node.namedChildren) {
    if (child.type !== "object_property") continue;
    const type = child.namedChildren[1].text;
    map.set(child.namedChildren[0].text, { type, optional: /^\s*\?/.test(text.slice(child.endIndex)) });
  }
  return map;
}

// The text of a string without interpolation, else null.
export function literal(node) {
  if (node?.type !== "string") return null;
  if (node.namedChildren.some((c) => c.type === "interpolation")) return null;
  return node.namedChildren.map((c) => (c.type === "escape_sequence" ? c.text.slice(1) : c.text)).join("");
}

export function line(node) {
  return node.startPosition.row + 1;
}

export function walk(node, visit) {
  if (visit(node) === false) return;
  for (const child of node.children) walk(child, visit);
}
