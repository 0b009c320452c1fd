// What compiles and deploys, and is wrong all the same: rules of security and of the platform that neither the compiler nor the types know.
import { dirname, join, normalize } from "node:path";
import { line, literal, object, walk } from "./bicep.mjs";
import { verify } from "./seeds.mjs";

const roles = new Map([
  ["b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "Storage Blob Data Owner"],
  ["974c5e8b-45b9-4653-ba55-5f855dd0fb88", "Storage Queue Data Contributor"],
  ["0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor"],
  ["3913510d-42f4-4e42-8a64-420c390055eb", "Monitoring Metrics Publisher"],
  ["4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User"],
]);
const azureCli = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

// The platform of Flex Consumption sets these itself or knows them no more.
const forbidden =
  /\b(ENABLE_ORYX_BUILD|FUNCTIONS_EXTENSION_VERSION|FUNCTIONS_WORKER_RUNTIME(_VERSION)?|SCM_DO_BUILD_DURING_DEPLOYMENT|TZ|WEBSITE_CONTENTAZUREFILECONNECTIONSTRING|WEBSITE_CONTENTSHARE|WEBSITE_LOAD_CERTIFICATES|WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT|WEBSITE_MOUNT_ENABLED|WEBSITE_RUN_FROM_PACKAGE|WEBSITE_TIME_ZONE|WEBSITES_CONTAINER_START_TIME_LIMIT|linuxFxVersion|AZURE_CLIENT_ID)\b/;

function rulesHold({ bicep, texts }) {
  const findings = [];
  for (const model of bicep.values()) {
    for (const resource of model.resources) if (!resource.existing) findings.push(...resourceRules(model, resource));
    findings.push(...secrets(model, bicep), ...guids(model));
    if (model.file.startsWith("deploy/modules/")) {
      const match = forbidden.exec(model.text.replace(/^\s*\/\/.*$/gm, ""));
      if (match) findings.push(`${model.file}: ${match[0]} must not be set on Flex Consumption`);
    }
  }
  findings.push(...serviceTag(bicep, texts), ...order(bicep), ...workflow(bicep, texts));
  return findings;
}

function text(resource, ...path) {
  let map = resource.body;
  let node;
  for (const key of path) {
    node = map.get(key)?.value;
    if (!node) return undefined;
    map = object(node);
  }
  return node.text.trim();
}

// Values that a resource must have, by type: [path, pattern, why].
const wanted = {
  "Microsoft.Storage/storageAccounts": [
    ["properties.allowSharedKeyAccess", /^false$/, "no keys"],
    ["properties.allowBlobPublicAccess", /^false$/, "nothing public"],
    ["properties.defaultToOAuthAuthentication", /^true$/, "identities"],
    ["properties.allowCrossTenantReplication", /^false$/, "no copy in another tenant"],
    ["properties.isLocalUserEnabled", /^false$/, "no users of its own"],
    ["name", /^take\(.*, 24\)$/, "a name of 24 characters at most"],
    ["properties.minimumTlsVersion", /^'TLS1_2'$/, "TLS 1.2"],
    ["properties.supportsHttpsTrafficOnly", /^true$/, "HTTPS only"],
    ["name", /^[^-]*$/, "no dash in the name of a storage account"],
  ],
  "Microsoft.Web/serverfarms": [
    ["sku.name", /^'FC1'$/, "the plan of Flex Consumption"],
    ["sku.tier", /^'FlexConsumption'$/, "the plan of Flex Consumption"],
    ["properties.reserved", /^true$/, "Linux"],
  ],
  "Microsoft.Web/sites": [
    ["kind", /^'functionapp,linux'$/, "a Function App on Linux"],
    ["properties.siteConfig.http20Enabled", /^true$/, "HTTP/2"],
    ["properties.serverFarmId", /./, "a plan"],
    ["properties.httpsOnly", /^true$/, "HTTPS only"],
    ["properties.keyVaultReferenceIdentity", /./, "an identity for Key Vault references"],
    ["properties.functionAppConfig.runtime.name", /^'custom'$/, "a custom handler"],
    ["properties.functionAppConfig.deployment.storage.type", /^'blobContainer'$/, "a package container"],
    ["properties.siteConfig.minTlsVersion", /^'1\.[23]'$/, "TLS 1.2"],
    ["properties.siteConfig.ftpsState", /^'Disabled'$/, "no FTP"],
  ],
  "Microsoft.Web/sites/basicPublishingCredentialsPolicies": [["properties.allow", /^false$/, "no publishing passwords"]],
  "Microsoft.KeyVault/vaults": [["properties.enableRbacAuthorization", /^true$/, "role assignments, no access policies"]],
  "Microsoft.Insights/components": [["properties.DisableLocalAuth", /^true$/, "no instrumentation keys"]],
  "Microsoft.ApiManagement/service/apis": [
    ["properties.subscriptionRequired", /^true$/, "a subscription key"],
    ["properties.protocols", /^\[\s*'https'\s*\]$/, "HTTPS only"],
  ],
  "Microsoft.ApiManagement/service/products": [["properties.subscriptionRequired", /^true$/, "a subscription key"]],
  "Microsoft.ApiManagement/service/subscriptions": [
    ["properties.scope", /^product\.id$/, "the product, not all APIs"],
    ["properties.allowTracing", /^false$/, "no tracing"],
  ],
  "Microsoft.ApiManagement/service/apis/policies": [["properties.format", /^'xml'$/, "a policy that any XML parser reads"]],
  "Microsoft.ApiManagement/service/apis/operations/policies": [["properties.format", /^'xml'$/, "a policy that any XML parser reads"]],
  "Microsoft.ApiManagement/service/products/policies": [["properties.format", /^'xml'$/, "a policy that any XML parser reads"]],
  "Microsoft.Authorization/roleAssignments": [
    ["scope", /./, "a scope (without one it falls on the whole group)"],
    ["properties.principalType", /^'ServicePrincipal'$/, "a service principal (else the first run fails while the directory replicates)"],
    ["properties.principalId", /principalId/, "a principal id, not a client id"],
    ["name", /^guid\(.*(identityId|service\.id).*\)$/, "a GUID made of scope, identity and role"],
  ],
  "Microsoft.Graph/applications": [
    ["api.requestedAccessTokenVersion", /^2$/, "v2 tokens, as the policy's metadata address"],
    ["signInAudience", /^'AzureADMyOrg'$/, "this tenant only"],
    ["identifierUris", /^\[\s*'api:\/\/\$\{tenant\(\)\.tenantId\}\/[^/]*'\s*\]$/, "api://<tenant>/<name> without a slash at its end"],
    ["api.preAuthorizedApplications", /^development\s*\?/, "Azure CLI in development only"],
    ["api.oauth2PermissionScopes", /type: 'Admin'/, "a delegated scope that asks for an administrator's consent"],
    ["appRoles", /isEnabled: true/, "roles that are on"],
    ["api.oauth2PermissionScopes", /isEnabled: true/, "a scope that is on"],
    ["appRoles", /allowedMemberTypes: \['Application', 'User'\]/, "the same kinds of member for all choices: an enabled role cannot be changed"],
  ],
  "Microsoft.Network/virtualNetworks/virtualNetworkPeerings": [["properties.allowVirtualNetworkAccess", /^true$/, "a way that is open"]],
  "Microsoft.Network/privateDnsZones/virtualNetworkLinks": [["properties.registrationEnabled", /^false$/, "no records of virtual machines"]],
  "Microsoft.Insights/scheduledQueryRules": [
    ["properties.enabled", /^true$/, "an alert that is on"],
    ["properties.skipQueryValidation", /^true$/, "no look at tables that a new component does not have yet"],
    ["properties.autoMitigate", /^true$/, "an alert that ends by itself"],
  ],
  "Microsoft.Graph/servicePrincipals": [["appRoleAssignmentRequired", /^true$/, "no token without a role"]],
};

function resourceRules(model, resource) {
  const findings = [];
  const at = `${model.file}:${resource.line}: ${resource.name}`;
  for (const [path, pattern, why] of wanted[resource.type] ?? []) {
    const value = text(resource, ...path.split("."));
    if (value === undefined || !pattern.test(value)) findings.push(`${at}: ${path}: want ${why}, got ${value ?? "nothing"}`);
  }
  if (resource.type === "Microsoft.Web/sites" && /appSettings/.test(text(resource, "properties", "siteConfig") ?? "")) findings.push(`${at}: app settings belong into one place, config/appsettings`);
  if (resource.type === "Microsoft.Web/sites/config" && text(resource, "name") === "'appsettings'") {
    const settings = resource.body.get("properties").value;
    walk(settings, (node) => {
      if (node.type !== "object_property") return true;
      const [key, value] = node.namedChildren;
      if (["boolean", "number"].includes(value?.type)) findings.push(`${model.file}:${line(node)}: ${key.text}: an app setting is text`);
      const plain = literal(value);
      if (plain && /^(ApimKey\w*|.*(Secret|Password)\w*)$/i.test(key.text) && !plain.startsWith("@Microsoft.KeyVault(")) findings.push(`${model.file}:${line(node)}: ${key.text}: a secret in plain text`);
      return true;
    });
  }
  if (resource.type === "Microsoft.Network/virtualNetworks" && !/serviceName: 'Microsoft\.App\/environments'/.test(resource.body.get("properties")?.value.text ?? "")) findings.push(`${at}: Flex Consumption needs a subnet delegated to Microsoft.App/environments`);
  return findings;
}

// listSecrets() goes straight into a secure parameter; nothing secret into outputs; keys of accounts are never listed at all.
function secrets(model, bicep) {
  const findings = [];
  for (const module of model.modules) {
    const target = bicep.get(normalize(join(dirname(model.file), module.path)));
    for (const [name, { value, line: at }] of object(module.body.get("params")?.value)) {
      const param = target?.params.find((p) => p.name === name);
      if (/listSecrets|listKeys/.test(value.text) && param && !param.secure) findings.push(`${model.file}:${at}: a secret goes into ${name}, which is not @secure()`);
      for (const own of model.params.filter((p) => p.secure)) if (new RegExp(`\\b${own.name}\\b`).test(value.text) && param && !param.secure) findings.push(`${model.file}:${at}: the secret ${own.name} goes into ${name}, which is not @secure()`);
    }
  }
  for (const item of [...model.outputs, ...model.vars]) {
    const value = item.value?.text ?? "";
    if (/\blist\w*\(/.test(value)) findings.push(`${model.file}:${item.line}: ${item.name} holds a secret`);
    for (const own of model.params.filter((p) => p.secure)) if (new RegExp(`\\b${own.name}\\b`).test(value)) findings.push(`${model.file}:${item.line}: ${item.name} holds the secret ${own.name}`);
  }
  if (/listKeys\(/.test(model.text)) findings.push(`${model.file}: listKeys: the deployment works without account keys`);
  for (const param of model.params) if (/^(key|secret|password)$/i.test(param.name) && !param.secure) findings.push(`${model.file}:${param.line}: ${param.name} is not @secure()`);
  return findings;
}

function guids(model) {
  const findings = [];
  for (const [row, source] of model.text.split("\n").entries()) {
    for (const [quoted, value] of source.matchAll(/'([0-9a-zA-Z]{6,9}(?:-[0-9a-zA-Z]{3,5}){3}-[0-9a-zA-Z]{10,13})'/g)) {
      if (!roles.has(value) && value !== azureCli) findings.push(`${model.file}:${row + 1}: ${quoted} is no role that the deployment gives`);
    }
  }
  return findings;
}

// azd deploys to the one resource that carries the tag of the service.
function serviceTag(bicep, texts) {
  const services = [...texts.get("azure.yaml").split("\nservices:\n")[1].split("\nhooks:")[0].matchAll(/^ {2}(\w+):$/gm)].map((m) => m[1]);
  const tags = [...bicep.get("deploy/main.bicep").text.matchAll(/i == 0 \? \{ 'azd-service-name': '(\w+)' \} : \{\}/g)].map((m) => m[1]);
  const findings = services.join() === tags.join() ? [] : [`deploy/main.bicep: tags azd-service-name ${tags}, services in azure.yaml ${services}`];
  if (!bicep.get("deploy/main.bicep").text.includes("'azd-env-name': environmentName")) findings.push("deploy/main.bicep: the tag azd-env-name is missing");
  return findings;
}

// Orders that the compiler cannot know: who depends on whom, [file, declaration, what it must wait for].
const after = [
  ["deploy/modules/api.bicep", "policy", ["namedValues", "audience"]],
  ["deploy/modules/api.bicep", "writePolicies", ["policy"]],
  ["deploy/modules/api.bicep", "member", ["api"]],
  ["deploy/modules/region.bicep", "site", ["blobEndpoint", "hostRoles"]],
  ["deploy/main.bicep", "api", ["gateway", "vault"]],
  ["deploy/main.bicep", "secretReader", ["api", "placeholder"]],
  ["deploy/main.bicep", "regions", ["gatewayEndpoint", "networks", "secretReader", "telemetryRole", "vaultEndpoint"]],
  ["deploy/main.bicep", "networks", ["dns"]],
  ["deploy/main.bicep", "vaultEndpoint", ["networks", "vault"]],
  ["deploy/main.bicep", "gatewayEndpoint", ["gateway", "networks"]],
  ["deploy/main.bicep", "identityGrants", ["regions"]],
  ["deploy/main.bicep", "workflow", ["identities", "identityGrants", "secretReader"]],
];

function order(bicep) {
  return after.flatMap(([file, name, needs]) => {
    const model = bicep.get(file);
    const item = [...model.resources, ...model.modules].find((d) => d.name === name);
    const list = item?.body.get("dependsOn")?.value.text ?? "";
    return needs.filter((need) => !new RegExp(`\\b${need}\\b`).test(list)).map((need) => `${file}: ${name} must wait for ${need} (dependsOn)`);
  });
}

function workflow(bicep, texts) {
  const findings = [];
  const definition = JSON.parse(texts.get("deploy/workflows/relay.json"));
  const given = object(object(bicep.get("deploy/modules/workflow.bicep").resources[0].body.get("properties").value).get("parameters").value);
  const declared = Object.keys(definition.parameters);
  for (const name of given.keys()) if (!declared.includes(name)) findings.push(`deploy/workflows/relay.json: the parameter ${name} is not declared`);
  for (const name of declared) if (!given.has(name)) findings.push(`deploy/modules/workflow.bicep: the parameter ${name} of the workflow is not given`);
  for (const [, name] of texts.get("deploy/workflows/relay.json").matchAll(/parameters\('(\w+)'\)/g)) if (!declared.includes(name)) findings.push(`deploy/workflows/relay.json: the parameter ${name} is not declared`);
  for (const [name, action] of Object.entries(definition.actions)) {
    if (action.type !== "Http") continue;
    if (action.inputs.authentication?.type !== "ManagedServiceIdentity") findings.push(`deploy/workflows/relay.json: ${name}: want ManagedServiceIdentity`);
    if (!action.runtimeConfiguration?.secureData?.properties?.includes("inputs")) findings.push(`deploy/workflows/relay.json: ${name}: its inputs would stand in the run history`);
    if (action.inputs.retryPolicy?.type !== "exponential") findings.push(`deploy/workflows/relay.json: ${name}: want an explicit retry policy`);
    if (!["GET", "HEAD"].includes(action.inputs.method)) findings.push(`deploy/workflows/relay.json: ${name}: repeats ${action.inputs.method}, which is not idempotent`);
  }
  if (!definition.actions.Read_key.runtimeConfiguration.secureData.properties.includes("outputs")) findings.push("deploy/workflows/relay.json: Read_key: the key would stand in the run history");
  for (const [name, trigger] of Object.entries(definition.triggers)) if (trigger.type !== "Recurrence") findings.push(`deploy/workflows/relay.json: ${name}: a trigger with a callback URL has a secret in it`);
  return findings;
}

const region = "deploy/modules/region.bicep";
const reader = "deploy/modules/secret-reader.bicep";
const entra = "deploy/modules/entra.bicep";
const api = "deploy/modules/api.bicep";
verify("rules hold", rulesHold, [
  { fault: "shared keys of storage", file: region, from: "allowSharedKeyAccess: false", to: "allowSharedKeyAccess: true", want: /no keys/ },
  { fault: "a dash in the name of storage", file: region, from: "'strelay${suffix}'", to: "'st-relay${suffix}'", want: /no dash/ },
  { fault: "a role that was mistyped", file: reader, from: "4633458b-17de", to: "4633458b-17df", want: /no role that the deployment gives/ },
  { fault: "a role assignment without scope", file: reader, from: "    scope: secrets[i]\n", to: "", want: /want a scope/ },
  { fault: "a client id in a principal's place", file: "deploy/modules/telemetry-role.bicep", from: "    principalId: principalId\n", to: "    principalId: clientId\n", want: /principal id/ },
  { fault: "an assignment whose name is no GUID", file: reader, from: "name: guid(secrets[i].id, identityId, secretsUser)", to: "name: 'reader-${i}'", want: /a GUID made of/ },
  { fault: "another plan", file: region, from: "'FC1'", to: "'Y1'", want: /plan of Flex/ },
  { fault: "another kind of site", file: region, from: "'functionapp,linux'", to: "'functionapp'", want: /Function App on Linux/ },
  { fault: "no plan", file: region, from: "    serverFarmId: plan.id\n", to: "", want: /want a plan/ },
  { fault: "a setting that Flex refuses", file: region, from: "        PollSchedule:", to: "        FUNCTIONS_WORKER_RUNTIME: 'custom'\n        PollSchedule:", want: /must not be set/ },
  { fault: "a second source of the identity", file: region, from: "        PollSchedule:", to: "        AZURE_CLIENT_ID: identities[0].clientId\n        PollSchedule:", want: /AZURE_CLIENT_ID/ },
  { fault: "a bool for an app setting", file: region, from: "        PollSchedule: '0 */5 * * * *'", to: "        Switch: true", want: /is text/ },
  { fault: "a key in plain text", file: region, from: "        PollSchedule:", to: "        ApimKey: 'abc'\n        PollSchedule:", want: /plain text/ },
  { fault: "settings in two places", file: region, from: "      ftpsState:", to: "      appSettings: []\n      ftpsState:", want: /one place/ },
  { fault: "a secret that is not secure", file: "deploy/modules/secret.bicep", from: "@secure()\n", to: "", want: /not @secure/ },
  { fault: "a secret by way of a variable", file: api, from: "output gatewayUrl", to: "var copy = subscription.listSecrets().primaryKey\noutput gatewayUrl", want: /copy holds a secret/ },
  { fault: "a secret in an output", file: "deploy/modules/secret.bicep", from: "resource vault", to: "output value string = key\nresource vault", want: /value holds the secret key/ },
  { fault: "a subscription for all APIs", file: api, from: "scope: product.id", to: "scope: '/apis'", want: /the product/ },
  { fault: "an API without key", file: api, from: "    subscriptionRequired: true\n    serviceUrl", to: "    subscriptionRequired: false\n    serviceUrl", want: /subscription key/ },
  { fault: "a policy that waits for nothing", file: api, from: "  dependsOn: [\n    namedValues\n    audience\n  ]\n", to: "", want: /policy must wait for namedValues/ },
  { fault: "an app that starts before it may read its keys", file: "deploy/main.bicep", from: "      secretReader\n      telemetryRole\n      triggerRoles", to: "      telemetryRole\n      triggerRoles", want: /regions must wait for secretReader/ },
  { fault: "roles given before the app stands", file: "deploy/main.bicep", from: "    grants: grants\n  }\n  dependsOn: [\n    regions\n  ]\n", to: "    grants: grants\n  }\n", want: /identityGrants must wait for regions/ },
  { fault: "another name of the service", file: "azure.yaml", from: "  relay:\n", to: "  api:\n", want: /azd-service-name/ },
  { fault: "a subnet without delegation", file: "deploy/modules/network.bicep", from: "'Microsoft.App/environments'", to: "'Microsoft.Web/serverFarms'", want: /delegated/ },
  { fault: "v1 tokens", file: entra, from: "requestedAccessTokenVersion: 2", to: "requestedAccessTokenVersion: 1", want: /v2 tokens/ },
  { fault: "a slash behind the App ID URI", file: entra, from: "/${uniqueName}'", to: "/${uniqueName}/'", want: /without a slash/ },
  { fault: "Azure CLI pre-authorised in production", file: entra, from: "preAuthorizedApplications: development\n", to: "preAuthorizedApplications: !empty(uniqueName)\n", want: /development only/ },
  { fault: "another id for Azure CLI", file: entra, from: "04b07795-8ddb", to: "04b07795-8dda", want: /no role that/ },
  { fault: "tokens without a role", file: entra, from: "appRoleAssignmentRequired: true", to: "appRoleAssignmentRequired: false", want: /no token without a role/ },
  { fault: "a workflow parameter that nobody declares", file: "deploy/workflows/relay.json", from: '"keyUri": { "type": "String" },', to: "", want: /keyUri is not declared/ },
  { fault: "a workflow with another authentication", file: "deploy/workflows/relay.json", from: '"type": "ManagedServiceIdentity"', to: '"type": "Basic"', want: /want ManagedServiceIdentity/ },
  { fault: "the key in the run history", file: "deploy/workflows/relay.json", from: '["inputs", "outputs"]', to: '["inputs"]', want: /run history/ },
]);
