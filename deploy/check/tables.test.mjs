// The files that no compiler reads: azd's project file and parameter file, the Logic App's definition.
// Each has a closed table of keys and values.
import { parseDocument } from "yaml";
import { verify } from "./seeds.mjs";

// closed: an object has these keys and no others; those that end with "!" it must have.
function closed(findings, at, object, keys) {
  if (object === null || typeof object !== "object" || Array.isArray(object)) {
    findings.push(`${at}: want an object, got ${JSON.stringify(object)}`);
    return false;
  }
  const known = keys.map((key) => key.replace("!", ""));
  for (const key of Object.keys(object)) if (!known.includes(key)) findings.push(`${at}: there is no ${key}: want one of ${known.join(", ")}`);
  for (const key of keys) if (key.endsWith("!") && !(key.slice(0, -1) in object)) findings.push(`${at}: ${key.slice(0, -1)} is missing`);
  return true;
}

function among(findings, at, value, values) {
  if (!values.includes(value)) findings.push(`${at}: want one of ${values.join(", ")}, got ${JSON.stringify(value)}`);
}

// azure.yaml, by azd's schema (Azure/azure-dev schemas/v1.0/azure.yaml.json).
const hosts = ["appservice", "containerapp", "function", "springapp", "staticwebapp", "aks", "ai.endpoint", "azure.ai.agent"];
const languages = ["dotnet", "csharp", "fsharp", "py", "python", "js", "ts", "java", "docker", "custom"];
const pairs = (...names) => names.flatMap((name) => [`pre${name}`, `post${name}`]);
const projectHooks = pairs("provision", "infracreate", "infradelete", "down", "up", "build", "package", "deploy", "publish", "restore");
const serviceHooks = pairs("build", "package", "deploy", "publish", "restore");
// What the deployment is made of: the hook without which something would not happen, and what it runs.
const needed = {
  preup: ["go run ./deploy/environment"],
  preprovision: ["go run ./deploy/environment -preflight"],
  postprovision: ["sh deploy/scripts/wait-ready"],
  postdeploy: ["sh deploy/scripts/publish-regions", "sh deploy/scripts/verify"],
  predown: ["sh deploy/scripts/predown"],
};

function azureYaml({ texts }) {
  const file = "azure.yaml";
  const document = parseDocument(texts.get(file), { uniqueKeys: true });
  if (document.errors.length) return document.errors.map((error) => `${file}: ${error.message.split("\n")[0]}`);
  const findings = [];
  const project = document.toJS();
  closed(findings, file, project, ["name!", "metadata", "requiredVersions!", "infra!", "services!", "hooks!"]);
  if (!/^[a-z0-9][a-z0-9-]*$/.test(project.name ?? "")) findings.push(`${file}: name: want small letters, digits and -, got ${project.name}`);
  if (closed(findings, `${file}: requiredVersions`, project.requiredVersions, ["azd!"])) {
    const [, major, minor, patch] = /^>= (\d+)\.(\d+)\.(\d+)$/.exec(project.requiredVersions.azd ?? "") ?? [];
    if (!(Number(major) * 1e6 + Number(minor) * 1e3 + Number(patch) >= 1028001)) findings.push(`${file}: requiredVersions: azd: want >= 1.28.1 or newer: an older one deletes the groups of an existing service or vault`);
  }
  if (closed(findings, `${file}: infra`, project.infra, ["provider!", "path!", "module!"])) {
    among(findings, `${file}: infra: provider`, project.infra.provider, ["bicep"]);
    if (!texts.has(`${project.infra.path}/${project.infra.module}.bicep`)) findings.push(`${file}: infra: there is no ${project.infra.path}/${project.infra.module}.bicep`);
    if (!texts.has(`${project.infra.path}/${project.infra.module}.parameters.json`)) findings.push(`${file}: infra: there is no ${project.infra.path}/${project.infra.module}.parameters.json`);
  }
  hooks(findings, texts, file, project.hooks, projectHooks);
  for (const [hook, commands] of Object.entries(needed)) for (const command of commands) if (!project.hooks?.[hook]?.run?.split(" && ").includes(command)) findings.push(`${file}: hooks: ${hook} does not run ${command}`);
  for (const [name, service] of Object.entries(project.services ?? {})) {
    const at = `${file}: services: ${name}`;
    if (!closed(findings, at, service, ["project!", "host!", "language!", "dist!", "hooks!"])) continue;
    among(findings, `${at}: host`, service.host, hosts);
    among(findings, `${at}: language`, service.language, languages);
    // Of the languages only "custom" leaves a zip as it is; a function app is what main.bicep makes.
    if (service.host !== "function" || service.language !== "custom") findings.push(`${at}: want host function and language custom, got ${service.host} and ${service.language}`);
    hooks(findings, texts, at, service.hooks, serviceHooks);
    if (!service.hooks?.prepackage?.run?.includes(`-o ${service.dist}`)) findings.push(`${at}: dist: no prepackage hook makes ${service.dist}`);
  }
  return findings;
}

function hooks(findings, texts, at, all, names) {
  for (const [name, hook] of Object.entries(all ?? {})) {
    const where = `${at}: hooks: ${name}`;
    if (!names.includes(name)) findings.push(`${where}: azd has no such hook: want one of ${names.join(", ")}`);
    if (!closed(findings, where, hook, ["shell!", "run!", "interactive"])) continue;
    among(findings, `${where}: shell`, hook.shell, ["sh", "pwsh"]);
    for (const command of String(hook.run).split(" && ")) {
      const [, script] = /^sh (\S+)$/.exec(command) ?? [];
      const [, program] = /^go run \.\/(\S+)/.exec(command) ?? [];
      if (script ? !texts.has(script) : program ? !texts.has(`${program}/main.go`) : true) findings.push(`${where}: there is no ${script ?? program ?? command}`);
    }
  }
}

// azd fills in the variables of its environment (Azure/azure-dev cli/azd/pkg/environment, azd's own names).
const azdVariables = ["AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE", "AZURE_RESOURCE_GROUP", "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID"];
const parameterValues = { environmentName: "${AZURE_ENV_NAME}", location: "${AZURE_LOCATION}", deployerId: "${AZURE_PRINCIPAL_ID}" };

function parameters({ texts }) {
  const file = "deploy/main.parameters.json";
  const findings = [];
  const content = JSON.parse(texts.get(file));
  closed(findings, file, content, ["$schema!", "contentVersion!", "parameters!"]);
  if (!/\/deploymentParameters\.json#$/.test(content.$schema)) findings.push(`${file}: $schema: want that of deployment parameters, got ${content.$schema}`);
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(content.contentVersion)) findings.push(`${file}: contentVersion: want four numbers, got ${content.contentVersion}`);
  for (const [name, parameter] of Object.entries(content.parameters)) {
    if (!closed(findings, `${file}: ${name}`, parameter, ["value!"])) continue;
    for (const [, variable] of String(parameter.value).matchAll(/\$\{([^}=]*)/g)) if (!azdVariables.includes(variable)) findings.push(`${file}: ${name}: azd has no variable ${variable}: want one of ${azdVariables.join(", ")}`);
    if (parameterValues[name] !== parameter.value) findings.push(`${file}: ${name}: want ${parameterValues[name]}, got ${parameter.value}`);
  }
  return findings;
}

// The workflow, by the language of its definitions (learn.microsoft.com "Schema reference for trigger and
// action types in Azure Logic Apps").
const actionTypes = "ApiConnection ApiManagement AppendToArrayVariable AppendToStringVariable Compose Foreach Function Http If IncrementVariable DecrementVariable InitializeVariable Join JavaScriptCode ParseJson Query Response Scope Select SetVariable Switch Table Terminate Until Wait Workflow".split(" ");
const parameterTypes = ["Array", "Bool", "Float", "Int", "Object", "SecureObject", "SecureString", "String"];
const states = ["Succeeded", "Failed", "Skipped", "TimedOut"];
const duration = /^P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?$/;

function workflow({ texts }) {
  const file = "deploy/workflows/relay.json";
  const findings = [];
  const definition = JSON.parse(texts.get(file));
  closed(findings, file, definition, ["$schema!", "contentVersion!", "parameters!", "triggers!", "actions!", "outputs!"]);
  if (!/\/2016-06-01\/workflowdefinition\.json#$/.test(definition.$schema)) findings.push(`${file}: $schema: want that of 2016-06-01, got ${definition.$schema}`);
  for (const [name, parameter] of Object.entries(definition.parameters)) if (closed(findings, `${file}: parameters: ${name}`, parameter, ["type!", "defaultValue"])) among(findings, `${file}: parameters: ${name}: type`, parameter.type, parameterTypes);

  for (const [name, trigger] of Object.entries(definition.triggers)) {
    const at = `${file}: triggers: ${name}`;
    if (!closed(findings, at, trigger, ["type!", "recurrence!", "runtimeConfiguration"])) continue;
    among(findings, `${at}: type`, trigger.type, ["Recurrence"]);
    const { recurrence } = trigger;
    if (closed(findings, `${at}: recurrence`, recurrence, ["frequency!", "interval!", "startTime!", "timeZone", "schedule"])) {
      among(findings, `${at}: frequency`, recurrence.frequency, ["Second", "Minute", "Hour", "Day", "Week", "Month"]);
      if (!Number.isInteger(recurrence.interval) || recurrence.interval < 1) findings.push(`${at}: interval: want a number of 1 or more, got ${JSON.stringify(recurrence.interval)}`);
      if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(recurrence.startTime)) findings.push(`${at}: startTime: want a time like 2026-01-01T06:00:00Z, got ${recurrence.startTime}`);
      else if (Date.parse(recurrence.startTime) > Date.now()) findings.push(`${at}: startTime: want one in the past: without it, or before it, no run is due`);
    }
    if (!(trigger.runtimeConfiguration?.concurrency?.runs >= 1)) findings.push(`${at}: runtimeConfiguration: want a number of runs at a time`);
  }

  const actions = definition.actions;
  // All that an action runs after, however far back.
  const before = (name, seen = new Set()) => {
    for (const earlier of Object.keys(actions[name]?.runAfter ?? {})) if (!seen.has(earlier)) before(earlier, seen.add(earlier));
    return seen;
  };
  for (const [name, action] of Object.entries(actions)) {
    const at = `${file}: actions: ${name}`;
    if (!closed(findings, at, action, ["type!", "inputs!", "runAfter!", "runtimeConfiguration!"])) continue;
    among(findings, `${at}: type`, action.type, actionTypes);
    for (const [earlier, list] of Object.entries(action.runAfter)) {
      if (!(earlier in actions)) findings.push(`${at}: runAfter: there is no action ${earlier}`);
      for (const state of list) among(findings, `${at}: runAfter: ${earlier}`, state, states);
      if (list.length === 0) findings.push(`${at}: runAfter: ${earlier}: want a state`);
    }
    if (before(name).has(name)) findings.push(`${at}: runAfter: it would run after itself`);
    for (const [, reader, source] of JSON.stringify(action).matchAll(/\b(body|outputs|actions|result)\('([^']*)'\)/g)) {
      if (!(source in actions)) findings.push(`${at}: ${reader}('${source}'): there is no action ${source}`);
      else if (!before(name).has(source)) findings.push(`${at}: ${reader}('${source}'): it does not run after ${source}`);
    }
    const secure = action.runtimeConfiguration?.secureData?.properties ?? [];
    for (const part of ["inputs", "outputs"]) if (!secure.includes(part)) findings.push(`${at}: secureData: want ${part} among the properties: keys and answers would stand in the run history`);
    for (const part of secure) among(findings, `${at}: secureData`, part, ["inputs", "outputs"]);
    if (action.type === "Http") http(findings, at, name, action.inputs);
  }
  if (!Object.values(actions).some((action) => Object.keys(action.runAfter ?? {}).length === 0)) findings.push(`${file}: actions: none of them is the first`);
  // workflow.bicep merges the identity into actions by their names; another name would be a new action.
  for (const [, name] of texts.get("deploy/modules/workflow.bicep").matchAll(/^\s*(\w+): caller$/gm)) if (!(name in actions)) findings.push(`deploy/modules/workflow.bicep: ${file} has no action ${name}`);
  return findings;
}

// The one call reads the secret, the other hands it on: each part by its own parameter.
const calls = {
  Read_key: { uri: "@{parameters('keyUri')}?api-version=7.4", audience: "@parameters('vaultAudience')", headers: undefined },
  Call_API: { uri: "@parameters('url')", audience: "@parameters('audience')", headers: { "@{parameters('keyHeader')}": "@body('Read_key')?['value']" } },
};

function http(findings, at, name, inputs) {
  const want = calls[name];
  for (const [part, got] of Object.entries({ uri: inputs.uri, audience: inputs.authentication?.audience, headers: inputs.headers })) {
    if (want && JSON.stringify(got) !== JSON.stringify(want[part])) findings.push(`${at}: ${part}: want ${JSON.stringify(want[part])}, got ${JSON.stringify(got)}`);
  }
  if (!closed(findings, `${at}: inputs`, inputs, ["method!", "uri!", "headers", "queries", "body", "authentication!", "retryPolicy!"])) return;
  among(findings, `${at}: method`, inputs.method, ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"]);
  if (closed(findings, `${at}: authentication`, inputs.authentication, ["type!", "audience!", "identity"])) among(findings, `${at}: authentication: type`, inputs.authentication.type, ["ManagedServiceIdentity"]);
  const retry = inputs.retryPolicy;
  if (!closed(findings, `${at}: retryPolicy`, retry, ["type!", "count", "interval", "minimumInterval", "maximumInterval"])) return;
  among(findings, `${at}: retryPolicy: type`, retry.type, ["exponential", "fixed", "none"]);
  if (retry.type !== "none" && !(Number.isInteger(retry.count) && retry.count >= 1 && retry.count <= 10)) findings.push(`${at}: retryPolicy: count: want 1 to 10, got ${retry.count}`);
  for (const key of ["interval", "minimumInterval", "maximumInterval"]) if (key in retry && !duration.test(retry[key])) findings.push(`${at}: retryPolicy: ${key}: want a duration like PT7S, got ${retry[key]}`);
}

// Tools that a workflow fetches are of a version that we name: what is newest today is not what was tried,
// and a job that may sign in to Azure runs it.
function pins({ texts }) {
  const findings = [];
  const compilers = new Set();
  for (const [file, text] of texts) {
    if (!/^\.github\/workflows\/.*\.yml$/.test(file)) continue;
    const workflow = parseDocument(text).toJS();
    for (const [, version] of text.matchAll(/\bBICEP_VERSION: (\S+)/g)) compilers.add(version);
    for (const [, version] of text.matchAll(/bicep install(?: --version (\S+))?/g)) {
      if (!version) findings.push(`${file}: az bicep install: want --version`);
      else if (!version.startsWith('"$')) compilers.add(version);
    }
    for (const [name, job] of Object.entries(workflow.jobs)) {
      for (const step of job.steps) {
        if (/^Azure\/setup-azd@/i.test(step.uses ?? "") && !/^\d+\.\d+\.\d+$/.test(step.with?.version)) findings.push(`${file}: ${name}: setup-azd: want a version, got ${step.with?.version}`);
      }
      const token = (job.permissions ?? workflow.permissions)?.["id-token"] === "write";
      if (token && !job.environment) findings.push(`${file}: ${name}: id-token: write wants an environment, whose name is part of what Azure trusts`);
      if (workflow.permissions?.["id-token"]) findings.push(`${file}: id-token: write belongs to the one job that signs in`);
    }
  }
  if (compilers.size !== 1) findings.push(`.github/workflows: want one version of the Bicep compiler, got ${[...compilers].join(", ")}`);
  return findings;
}

const azd = "azure.yaml";
const deploys = ".github/workflows/deploy.yml";
const relay = "deploy/workflows/relay.json";
const seeds = [
  { fault: "the newest compiler", file: ".github/workflows/check.yml", from: "bicep install --version v0.49.2", to: "bicep install", want: /want --version/ },
  { fault: "two compilers", file: deploys, from: "BICEP_VERSION: v0.49.2", to: "BICEP_VERSION: v0.48.1", want: /one version of the Bicep compiler/ },
  { fault: "the newest azd", file: deploys, from: '          version: "1.28.1"\n', to: '          version: latest\n', want: /setup-azd: want a version/ },
  { fault: "a token for every job", file: deploys, from: "permissions:\n  contents: read\n\nconcurrency", to: "permissions:\n  contents: read\n  id-token: write\n\nconcurrency", want: /belongs to the one job/ },
  { fault: "a key that azd does not know", file: azd, from: "requiredVersions:", to: "requiredVersion:", want: /there is no requiredVersion/ },
  { fault: "an azd that deletes what is not its own", file: azd, from: ">= 1.28.1", to: ">= 1.9.0", want: /1\.28\.1/ },
  { fault: "another folder of the infrastructure", file: azd, from: "path: deploy", to: "path: infra", want: /there is no infra\/main\.bicep/ },
  { fault: "a language that rebuilds the package", file: azd, from: "language: custom", to: "language: js", want: /language custom/ },
  { fault: "a hook that was lost", file: azd, from: "  predown:\n    shell: sh\n    run: sh deploy/scripts/predown\n    interactive: true\n", to: "", want: /predown does not run/ },
  { fault: "a shell that there is not", file: azd, from: "    shell: sh\n    run: sh deploy/scripts/predown", to: "    shell: bash\n    run: sh deploy/scripts/predown", want: /shell/ },
  { fault: "an action that would wait for itself", file: relay, from: '"runAfter": {},', to: '"runAfter": { "Call_API": ["Succeeded"] },', want: /after itself/ },
  { fault: "the answer of an action that is not over yet", file: relay, from: '"runAfter": { "Read_key": ["Succeeded"] }', to: '"runAfter": {}', want: /does not run after Read_key/ },
  { fault: "answers in the run history", file: relay, from: '"runAfter": { "Read_key": ["Succeeded"] },\n      "runtimeConfiguration": { "secureData": { "properties": ["inputs", "outputs"] } }', to: '"runAfter": { "Read_key": ["Succeeded"] },\n      "runtimeConfiguration": { "secureData": { "properties": ["inputs"] } }', want: /Call_API: secureData: want outputs/ },
  { fault: "an action by another name", file: relay, from: '"Call_API": {', to: '"Call_the_API": {', want: /has no action Call_API/ },
  { fault: "a pause that is none", file: relay, from: '"PT7S"', to: '"7s"', want: /want a duration/ },
  { fault: "a start in the future", file: relay, from: "2026-01-01T06:00:00Z", to: "2126-01-01T06:00:00Z", want: /in the past/ },
];
verify("closed tables hold", (project) => [azureYaml, parameters, workflow, pins].flatMap((check) => check(project)), seeds);
