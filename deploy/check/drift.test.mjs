// The same facts stand in several files, each for its own reader. Here they are held against each other.
import { literal, object, walk } from "./bicep.mjs";
import { verify } from "./seeds.mjs";

function nothingDrifts(project) {
  return [settings, roles, namedValues, executable, names, timers, choices, forbidden, queries, outputs, providers, documentation, ignored].flatMap((check) => check(project));
}

const all = (text, pattern) => [...text.matchAll(pattern)].map((match) => match[1]);
const unique = (list) => [...new Set(list)].sort();

function handlerSettings({ texts }) {
  return unique([...texts].filter(([file]) => /^handler\/internal\/settings\/(?!.*_test).*\.go$/.test(file)).flatMap(([, text]) => all(text, /`envconfig:"(\w+)"/g)));
}

function appSettings({ bicep }) {
  const keys = [];
  const config = bicep.get("deploy/modules/region.bicep").resources.find((r) => r.type === "Microsoft.Web/sites/config");
  walk(config.body.get("properties").value, (node) => {
    if (node.type === "object_property") keys.push(literal(node.namedChildren[0]) ?? node.namedChildren[0].text);
    return true;
  });
  return keys;
}

// Names of app settings: Bicep, the program, the example for local runs.
function settings(project) {
  const known = handlerSettings(project);
  if (known.length === 0) return ["handler/internal/settings: no setting was found"];
  const hosts = /^(AzureWebJobs|APPLICATIONINSIGHTS_)/;
  const percent = percentNames(project);
  const findings = [];
  for (const name of appSettings(project)) if (!hosts.test(name) && !known.includes(name) && !percent.includes(name)) findings.push(`deploy/modules/region.bicep: ${name} is no setting of the program`);
  for (const name of ["TargetApp", "TargetTenantID", "TargetRole", "FunctionIdentity", "ApimUrl", "ApimKey", "ApimKeySecondary", "ApimKeyHeader"]) if (!appSettings(project).includes(name)) findings.push(`deploy/modules/region.bicep: ${name} is not set`);
  for (const name of all(project.texts.get("deploy/modules/region.bicep"), /\}__(\w+)'/g)) if (!known.includes(name)) findings.push(`deploy/modules/region.bicep: …__${name} is no setting of the program`);
  const container = project.texts.get("deploy/container/containerapp.bicep");
  const kubernetes = project.texts.get("deploy/container/kubernetes/relay.yaml");
  for (const [file, list] of [
    ["deploy/container/containerapp.bicep", all(container, /\{ name: '(\w+)', (?:value|secretRef):/g)],
    ["deploy/container/kubernetes/relay.yaml", [...all(/\ndata:\n((?: {2}.*\n)+)/.exec(kubernetes)[1], /^ {2}(\w+):/gm), ...all(kubernetes, /- name: (Apim\w+)/g)]],
  ]) {
    for (const name of list) if (!hosts.test(name) && !known.includes(name) && !percent.includes(name)) findings.push(`${file}: ${name} is no setting of the program`);
    for (const name of ["TargetApp", "TargetTenantID", "FunctionIdentity", "ApimUrl", "ApimKey", ...percent]) if (!list.includes(name)) findings.push(`${file}: ${name} is not set`);
  }
  const example = project.texts.get("local.settings.json.example");
  if (example) for (const name of known) if (!example.includes(`"${name}"`)) findings.push(`local.settings.json.example: ${name} is missing`);
  return findings;
}

function percentNames({ texts }) {
  return unique([...texts].filter(([file]) => /^functions\/[^/]+\/function\.json$/.test(file)).flatMap(([, text]) => all(text, /%([^%\s"]+)%/g)));
}

// Each %Name% of a shipped function is among the settings.
function names(project) {
  const set = appSettings(project);
  return percentNames(project).filter((name) => !set.includes(name)).map((name) => `deploy/modules/region.bicep: ${name} is not set, and a shipped function.json uses %${name}%`);
}

function roles({ texts, bicep }) {
  const declared = all(/var roles = \[(.*?)\]/.exec(bicep.get("deploy/main.bicep").text)[1], /'([\w.]+)'/g);
  const asked = unique([...texts].filter(([file]) => /^deploy\/policies\/.*\.xml$/.test(file)).flatMap(([, text]) => all(text, /<value>(\w+\.\w+)<\/value>/g)));
  const findings = [];
  for (const role of asked) if (!declared.includes(role)) findings.push(`deploy/main.bicep: the registration lacks the role ${role}, which a policy asks for`);
  for (const role of declared) if (!asked.includes(role)) findings.push(`deploy/policies: no policy asks for ${role}`);
  for (const role of declared) if (!texts.get("deploy/scripts/registration").includes(role)) findings.push(`deploy/scripts/registration: ${role} is not among the default roles`);
  return findings;
}

// What the policies name is what api.bicep makes, under the prefix.
function namedValues({ texts, bicep }) {
  const used = unique(["api.xml", "operation-write.xml"].flatMap((file) => all(texts.get(`deploy/policies/${file}`), /\{\{([\w-]+)\}\}/g)));
  const model = bicep.get("deploy/modules/api.bicep");
  const made = [...object(model.vars.find((v) => v.name === "values").value).keys(), ...all(model.text, /name: '\$\{name\}-([\w-]+)'/g)];
  return [
    ...used.filter((name) => !made.includes(name)).map((name) => `deploy/modules/api.bicep: the named value ${name} is not made`),
    ...made.filter((name) => !used.includes(name)).map((name) => `deploy/policies: the named value ${name} is not used`),
  ];
}

function executable({ texts }) {
  const [host] = all(texts.get("host.json"), /"defaultExecutablePath":\s*"([^"]*)"/g);
  const [packed] = all(texts.get("deploy/package/archive.go"), /const executable = "(\w+)"/g);
  return host === packed ? [] : [`host.json names ${host}, the package holds ${packed}`];
}

function timers({ texts, bicep }) {
  const shipped = [...texts].filter(([file, text]) => /^functions\/[^/]+\/function\.json$/.test(file) && /"timerTrigger"/.test(text)).map(([file]) => file.split("/")[1]);
  const listed = all(/var timers = choices\.\?timers \?\? \[(.*?)\]/.exec(bicep.get("deploy/main.bicep").text)[1], /'(\w+)'/g);
  // Every five minutes, and the longest pause of it.
  const [schedule] = all(bicep.get("deploy/modules/region.bicep").text, /PollSchedule: '0 \*\/(\d+) \* \* \* \*'/g);
  const [pause] = all(bicep.get("deploy/main.bicep").text, /timerMinutes \?\? \{ poll: (\d+) \}/g);
  if (!schedule || schedule !== pause) return [`deploy/main.bicep: timerMinutes of poll ${pause}, PollSchedule every ${schedule} minutes`];
  return shipped.join() === listed.join() ? [] : [`deploy/main.bicep: timers ${listed}, shipped ${shipped}`];
}

// types.bicep and the program that checks the choices know the same properties.
function choices({ texts, bicep }) {
  const tags = unique(all(texts.get("deploy/environment/choices.go"), /`json:"(\w+)/g));
  const properties = unique(bicep.get("deploy/types.bicep").types.flatMap((type) => [...type.properties.keys()]));
  return [
    ...properties.filter((name) => !tags.includes(name)).map((name) => `deploy/environment/choices.go: ${name} is missing`),
    ...tags.filter((name) => !properties.includes(name)).map((name) => `deploy/types.bicep: ${name} is missing`),
  ];
}

function forbidden({ texts }) {
  const rules = ["FUNCTIONS_WORKER_RUNTIME", "WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_TIME_ZONE", "TZ", "WEBSITE_LOAD_CERTIFICATES"];
  return rules.filter((name) => !texts.get("deploy/environment/settings.go").includes(`"${name}"`)).map((name) => `deploy/environment/settings.go: ${name} may be set`);
}

// The queries ask for keys that the log lines have.
function queries({ texts }) {
  const keys = all(texts.get("handler/internal/observe/line.go"), /`json:"(\w+)"`/g);
  const findings = [];
  for (const [file, text] of texts) {
    if (!file.endsWith(".kql")) continue;
    for (const key of unique(all(text, /\bline\.(?:token\.)?(\w+)/g))) if (!keys.includes(key)) findings.push(`${file}: no log line has ${key}`);
    if (!text.startsWith("// ")) findings.push(`${file}: says not what it answers`);
  }
  return findings;
}

// What the scripts read is what the deployment puts out, or what deploy/environment says of the choices.
function outputs({ texts, bicep }) {
  const chosen = all(texts.get("deploy/environment/main.go"), /"(RELAY_[A-Z_]+)=/g);
  const known = [...chosen, ...bicep.get("deploy/main.bicep").outputs.map((o) => o.name), "RELAY_PAUSE", "RELAY_TRIES", "RELAY_PACKAGE", "RELAY_ROUTE_PREFIX"];
  const findings = [];
  for (const [file, text] of texts) {
    if (!file.startsWith("deploy/scripts/") || file.endsWith(".go")) continue;
    for (const name of unique(all(text, /\b(RELAY_[A-Z_]+)\b/g))) if (!known.includes(name)) findings.push(`${file}: ${name} is no output of main.bicep`);
  }
  return findings;
}

function providers({ texts, bicep }) {
  const used = unique([...bicep.values()].filter((m) => m.file.startsWith("deploy/modules/")).flatMap((m) => m.resources.filter((r) => !r.existing).map((r) => r.type.split("/")[0])));
  const always = ["Microsoft.Authorization", "Microsoft.Graph", "Microsoft.Network", "Microsoft.Resources", "Microsoft.DocumentDB"];
  const text = texts.get("deploy/scripts/preflight");
  return used.filter((name) => !always.includes(name) && !new RegExp(`${name.replace(".", "\\.")}\\b`).test(text)).map((name) => `deploy/scripts/preflight: ${name} is not registered`);
}

// The table of the documentation names files and lines; the line must hold the words beside it.
function documentation({ texts }) {
  const text = texts.get("docs/deploy.md");
  if (!text) return ["docs/deploy.md: missing"];
  const rows = [...text.matchAll(/\[([\w./-]+):(\d+)\]\(\.\.\/([\w./-]+)#L(\d+)\)\s+`([^`]+)`/g)];
  const findings = rows.length >= 15 ? [] : [`docs/deploy.md: ${rows.length} places, want 15 or more`];
  for (const [, file, row, link, linkRow, words] of rows) {
    const source = texts.get(file);
    if (file !== link || row !== linkRow) findings.push(`docs/deploy.md: ${file}:${row} links to ${link}#L${linkRow}`);
    else if (!source?.split("\n")[row - 1]?.includes(words)) {
      const at = source?.split("\n").findIndex((l) => l.includes(words)) ?? -1;
      findings.push(`docs/deploy.md: ${file}:${row} does not hold ${words}${at >= 0 ? ` (line ${at + 1} does)` : ""}`);
    }
  }
  return findings;
}

function ignored({ texts }) {
  const wanted = { "deploy/.gitignore": "/main.json", ".gitignore": "/.azure/" };
  return Object.entries(wanted).filter(([file, name]) => !texts.get(file).split("\n").includes(name)).map(([file, name]) => `${file}: ${name} is missing`);
}

const region = "deploy/modules/region.bicep";
verify("nothing drifts", nothingDrifts, [
  { fault: "a misspelt setting", file: region, from: "TargetTenantID: ", to: "TargetTentantID: ", want: /TargetTentantID is no setting/ },
  { fault: "a setting that was forgotten", file: region, from: "        TargetRole: targetRole\n", to: "", want: /TargetRole is not set/ },
  { fault: "a misspelt setting of a function", file: region, from: "__FunctionIdentity'", to: "__FunctionIdentty'", want: /FunctionIdentty is no setting/ },
  { fault: "a misspelt setting of the container", file: "deploy/container/containerapp.bicep", from: "name: 'TargetApp'", to: "name: 'TargetApplication'", want: /TargetApplication is no setting/ },
  { fault: "a setting that the cluster forgot", file: "deploy/container/kubernetes/relay.yaml", from: "  FunctionIdentity: RunAs=Workload\n", to: "", want: /FunctionIdentity is not set/ },
  { fault: "a schedule that nobody sets", file: region, from: "        PollSchedule: '0 */5 * * * *'\n", to: "", want: /PollSchedule is not set/ },
  { fault: "a role that the registration lacks", file: "deploy/policies/operation-write.xml", from: "<value>Api.Write</value>", to: "<value>Api.Change</value>", want: /lacks the role Api\.Change/ },
  { fault: "a named value that nobody makes", file: "deploy/policies/api.xml", from: "{{app-id-uri}}", to: "{{app-uri}}", want: /app-uri is not made/ },
  { fault: "another name of the executable", file: "host.json", from: '"handler"', to: '"relay"', want: /the package holds handler/ },
  { fault: "a timer that runs in every region", file: "deploy/main.bicep", from: "?? ['poll']", to: "?? ['tick']", want: /timers tick, shipped poll/ },
  { fault: "a choice that the program does not know", file: "deploy/types.bicep", from: "  actionGroups: ", to: "  alertGroups: ", want: /alertGroups is missing/ },
  { fault: "a query for a key that no line has", file: "deploy/queries/refusals.kql", from: "line.refusal", to: "line.refusalClass", want: /no log line has refusalClass/ },
  { fault: "a script that reads what nobody puts out", file: "deploy/scripts/verify", from: "$RELAY_APPS", to: "$RELAY_SITES", want: /RELAY_SITES is no output/ },
  { fault: "a provider that nobody registers", file: "deploy/scripts/preflight", from: "Microsoft.Logic ", to: "", want: /Microsoft\.Logic is not registered/ },
  { fault: "a line of the documentation that has moved", file: "deploy/modules/entra.bicep", from: "extension microsoftGraphV1\n", to: "extension microsoftGraphV1\n\n", want: /docs\/deploy\.md: deploy\/modules\/entra\.bicep/ },
]);
