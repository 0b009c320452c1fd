import { verify } from "./seeds.mjs";

function parses({ bicep, texts }) {
  const findings = [];
  for (const model of bicep.values()) for (const error of model.errors) findings.push(`${model.file}:${error}`);
  for (const [file, text] of texts) {
    if (!file.endsWith(".json") || file.endsWith("host.json")) continue; // the host takes comments in host.json
    try {
      // JSON.parse lets a key stand twice; what is written again must have as many keys as there were.
      const value = JSON.parse(text);
      const keys = [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter((match) => match[1]).length;
      if (keys !== countKeys(value)) findings.push(`${file}: a key stands twice in one object`);
    } catch (cause) {
      findings.push(`${file}: ${cause.message}`);
    }
  }
  return findings;
}

function countKeys(value) {
  if (Array.isArray(value)) return value.reduce((sum, item) => sum + countKeys(item), 0);
  if (value === null || typeof value !== "object") return 0;
  return Object.values(value).reduce((sum, item) => sum + 1 + countKeys(item), 0);
}

verify("files parse", parses, [
  { fault: "a missing brace", file: "deploy/modules/vault.bicep", from: "      family: 'A'\n      name: 'standard'\n    }", to: "      family: 'A'\n      name: 'standard'", want: /vault\.bicep:\d+/ },
  { fault: "double quotes", file: "deploy/modules/vault.bicep", from: "'standard'", to: '"standard"', want: /vault\.bicep:\d+/ },
  // The compiler lets both pass in loadJsonContent.
  { fault: "a trailing comma in the workflow", file: "deploy/workflows/relay.json", from: '"outputs": {}', to: '"outputs": {},', want: /relay\.json/ },
  { fault: "a key written twice in the workflow", file: "deploy/workflows/relay.json", from: '"outputs": {}', to: '"outputs": {}, "outputs": {}', want: /stands twice/ },
]);
