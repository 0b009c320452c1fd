// What the sources mean, where a compiler would take the opposite just as well: which policy, role, key,
// zone or default stands in which place, and why.
import { dirname, join, normalize } from "node:path";
import { literal, object, walk } from "./bicep.mjs";
import { verify } from "./seeds.mjs";

const flat = (text) => text.replace(/\s+/g, " ").trim();

// The value of a declaration, by the names of properties below it; "condition" is what stands in its if.
function value(model, name, path) {
  if (path === "") return flat([...model.vars, ...model.outputs].find((v) => v.name === name)?.value?.text ?? "");
  const item = [...model.resources, ...model.modules].find((d) => d.name === name);
  if (!item) return undefined;
  if (path === "condition") return flat(item.condition ?? "");
  let map = item.body;
  let node;
  for (const key of path.split(".")) {
    node = map.get(key)?.value;
    if (!node) return "";
    map = object(node);
  }
  return flat(node.text);
}

const main = "deploy/main.bicep";
const api = "deploy/modules/api.bicep";
const region = "deploy/modules/region.bicep";
const same = (text) => new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);

// [file, declaration, path below it, what its text must be, what it is for].
const meant = [
  // Policies: each where it belongs.
  [api, "apiPolicy", "", /^replace\(loadTextContent\('\.\.\/policies\/api\.xml'\), '\{\{', prefixed\)$/, "the API's policy from api.xml"],
  [api, "writePolicy", "", /^replace\(loadTextContent\('\.\.\/policies\/operation-write\.xml'\), '\{\{', prefixed\)$/, "the writer's policy from operation-write.xml"],
  [api, "productPolicy", "", same("loadTextContent('../policies/product.xml')"), "the product's policy from product.xml"],
  [api, "mockPolicy", "", same("loadTextContent('../policies/product-mock.xml')"), "the mock from product-mock.xml"],
  [api, "policy", "properties.value", same("apiPolicy"), "the API's policy"],
  [api, "writePolicies", "condition", /== 'write'\)?$/, "the writer's policy on operations whose access is write"],
  [api, "writePolicies", "properties.value", same("writePolicy"), "the writer's policy"],
  [api, "productRules", "properties.value", same("empty(backendUrl) ? mockPolicy : productPolicy"), "the mock where there is no backend"],
  [api, "api", "properties.path", same("path"), "the API's own path"],
  [api, "api", "properties.serviceUrl", same("empty(backendUrl) ? null : backendUrl"), "the backend"],
  [api, "apiOperations", "properties.method", same("item.method"), "the operation's own method"],
  [api, "apiOperations", "properties.urlTemplate", same("item.urlTemplate"), "the operation's own path"],
  [api, "product", "properties.state", same("'published'"), "a product that may be used"],
  [api, "subscription", "properties.state", same("'active'"), "a subscription that may be used"],
  [api, "audience", "properties.value", same("clientId"), "the client id"],
  // Keys: each secret and each setting its own.
  [api, "key", "params.name", same("keyName"), "the first secret"],
  [api, "key", "params.key", same("subscription.listSecrets().primaryKey"), "the primary key"],
  [api, "secondaryKey", "params.name", same("secondaryKeyName"), "the second secret"],
  [api, "secondaryKey", "params.key", same("subscription.listSecrets().secondaryKey"), "the secondary key"],
  [main, "secondaryKeyName", "", same("'${keyName}-secondary'"), "the name that rotate-key writes"],
  [main, "placeholder", "condition", /callerOnly && keyNeeded/, "a placeholder for another team's key only"],
  // Rights.
  [region, "storageRoles", "", /^flatten\(\[ \['b7e6dc6d-f1e8-4753-8033-0f276bb0955b'\]/, "Storage Blob Data Owner for the host"],
  [region, "storageRoles", "", /storageQueues \? \['974c5e8b-45b9-4653-ba55-5f855dd0fb88'\] : \[\]/, "Storage Queue Data Contributor where queues are chosen"],
  [region, "storageRoles", "", /storageTables \? \['0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'\] : \[\]/, "Storage Table Data Contributor where tables are chosen"],
  ["deploy/modules/telemetry-role.bicep", "metricsPublisher", "", /3913510d-42f4-4e42-8a64-420c390055eb/, "Monitoring Metrics Publisher"],
  ["deploy/modules/gateway.bicep", "metricsPublisher", "", /3913510d-42f4-4e42-8a64-420c390055eb/, "Monitoring Metrics Publisher"],
  ["deploy/modules/secret-reader.bicep", "secretsUser", "", /4633458b-17de-408a-b874-0445c86b69e6/, "Key Vault Secrets User"],
  ["deploy/modules/secret-reader.bicep", "readers", "scope", same("secrets[i]"), "the right on one secret, not on the vault"],
  ["deploy/modules/grants.bicep", "assignments", "resourceId", same("servicePrincipalId"), "the API's service principal"],
  ["deploy/modules/grants.bicep", "assignments", "principalId", same("principals[grant.index]"), "the identity's service principal"],
  ["deploy/modules/grants.bicep", "assignments", "appRoleId", same("guid(tenant().tenantId, uniqueName, grant.role)"), "the id that entra.bicep gives the role"],
  ...["identityGrants", "siteGrants", "workflowGrants", "developerGrants"].map((name) => [main, name, "params.servicePrincipalId", same("entra.?outputs.?servicePrincipalId ?? ''"), "the API's service principal, not its registration"]),
  ["deploy/modules/entra.bicep", "application", "appRoles", /id: guid\(tenant\(\)\.tenantId, uniqueName, role\)/, "a role's id from its value"],
  // Identity: resource id, client id and principal are three things.
  [region, "site", "properties.keyVaultReferenceIdentity", same("systemAssigned ? 'SystemAssigned' : identityIds[0]"), "the identity by its resource id"],
  [region, "site", "properties.functionAppConfig.deployment.storage.authentication.userAssignedIdentityResourceId", same("systemAssigned ? null : identityIds[0]"), "the identity by its resource id"],
  [region, "site", "properties.functionAppConfig.deployment.storage.authentication.type", same("systemAssigned ? 'SystemAssignedIdentity' : 'UserAssignedIdentity'"), "the identity that is chosen"],
  [region, "site", "identity", /^systemAssigned \? \{ type: 'SystemAssigned' \} : \{ type: 'UserAssigned'/, "the identity that is chosen"],
  ["deploy/modules/workflow.bicep", "caller", "", /^systemAssigned \? \{\} : \{ inputs: \{ authentication: \{ identity: identityId \} \} \}$/, "no identity named where the workflow has its own"],
  // Tokens.
  [main, "issuer", "", same("'${environment().authentication.loginEndpoint}${targetTenantId}/v2.0'"), "the issuer of one tenant's v2 tokens"],
  [main, "targetTenantId", "", same("choices.?external.?tenantId ?? tenant().tenantId"), "the tenant of the API"],
  [main, "targetRole", "", same("choices.?external.?role ?? identityList[0].roles[0]"), "the role that the first identity holds"],
  [main, "api", "params.openIdConfigUrl", same("'${issuer}/.well-known/openid-configuration'"), "the issuer's metadata"],
  // Networks.
  [region, "account", "properties.publicNetworkAccess", same("isolated ? 'Disabled' : 'Enabled'"), "storage closed where the app is isolated"],
  [region, "account", "properties.networkAcls.defaultAction", same("isolated ? 'Deny' : 'Allow'"), "storage closed where the app is isolated"],
  [region, "site", "properties.publicNetworkAccess", same("closedApp ? 'Disabled' : 'Enabled'"), "the app closed where that is chosen"],
  [region, "site", "properties.virtualNetworkSubnetId", same("isolated ? appSubnetId : null"), "the app inside the network where it is isolated"],
  ["deploy/modules/vault.bicep", "vault", "properties.publicNetworkAccess", same("isolated ? 'Disabled' : 'Enabled'"), "the vault closed where the app is isolated"],
  ["deploy/modules/vault.bicep", "vault", "properties.networkAcls.defaultAction", same("isolated ? 'Deny' : 'Allow'"), "the vault closed where the app is isolated"],
  ["deploy/modules/vault.bicep", "vault", "properties.enablePurgeProtection", same("purgeProtection ? true : null"), "what is chosen: the service refuses false"],
  [main, "zones", "", /blob: 'privatelink\.blob\.\$\{environment\(\)\.suffixes\.storage\}'/, "privatelink.blob.<storage domain>"],
  [main, "zones", "", /vault: 'privatelink\.vaultcore\$\{replace\(environment\(\)\.suffixes\.keyvaultDns, '\.vault\.', '\.'\)\}'/, "privatelink.vaultcore.<vault domain>"],
  [main, "zones", "", /gateway: 'privatelink\.\$\{domains\.gateway\}'/, "privatelink.<gateway domain>"],
  [main, "zones", "", /site: 'privatelink\.\$\{domains\.site\}'/, "privatelink.<app domain>"],
  [main, "domains", "", /AzureCloud: \{ gateway: 'azure-api\.net', site: 'azurewebsites\.net' \}/, "the domains of the public cloud"],
  ...[
    [main, "vaultEndpoint", "vault", "zoneIds.?vault ?? ''", "vaultId"],
    [main, "gatewayEndpoint", "Gateway", "zoneIds.?gateway ?? ''", null],
    [region, "blobEndpoint", "blob", "blobZoneId", "account.id"],
    [region, "siteEndpoint", "sites", "siteZoneId", "site.id"],
  ].flatMap(([file, name, part, zone, service]) => [
    [file, name, "params.part", same(`'${part}'`), `the part ${part} of its service`],
    [file, name, "params.zoneId", same(zone), "the zone of its service"],
    ...(service ? [[file, name, "params.serviceId", same(service), "its service"]] : []),
  ]),
  // Groups, tiers, authentication.
  [main, "group", "condition", same("(ownGroup)"), "azd's tag on a group of its own only: azd down takes away what bears it"],
  [main, "ownGroup", "", same("choices.?resourceGroup == null"), "a group of somebody else where one is named"],
  [main, "tags", "", /'azd-env-name': environmentName/, "azd's tag"],
  ["deploy/modules/gateway.bicep", "service", "sku.capacity", same("sku == 'Consumption' ? 0 : 1"), "no units in the Consumption tier"],
  ["deploy/modules/gateway.bicep", "service", "properties.customProperties", same("contains(classicTiers, sku) ? legacyOff : null"), "the switches where the tier knows them"],
  ["deploy/modules/gateway.bicep", "classicTiers", "", same("['Basic', 'Developer', 'Premium', 'Standard']"), "the classic tiers"],
  ["deploy/modules/gateway.bicep", "logger", "properties.credentials", same("{ connectionString: '{{telemetry-address}}' identityClientId: 'SystemAssigned' }"), "the service's own identity, and the named value"],
  ["deploy/modules/gateway.bicep", "address", "name", same("'telemetry-address'"), "the named value that the logger names"],
  ["deploy/modules/gateway.bicep", "logger", "name", same("'telemetry'"), "the logger that the API's diagnostics name"],
  [api, "diagnostics", "properties.loggerId", same("resourceId('Microsoft.ApiManagement/service/loggers', serviceName, 'telemetry')"), "the service's logger"],
  [region, "account", "sku.name", same("zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'"), "several zones where they are chosen"],
  [region, "site", "properties.functionAppConfig.scaleAndConcurrency.triggers", /^httpConcurrency == null \? null : /, "the platform's own where nothing is chosen"],
  [region, "site", "properties.functionAppConfig.runtime.version", same("'1.0'"), "the version of custom handlers"],
  ["deploy/modules/network.bicep", "network", "properties.subnets", /name: 'app' properties: \{ addressPrefix: cidrSubnet\(addressPrefix, 26, 0\).*name: 'endpoints' properties: \{ addressPrefix: cidrSubnet\(addressPrefix, 26, 1\)/, "two subnets, each a quarter of its own"],
  [main, "subnets", "", /app: resourceId\([^)]*, 'app'\) endpoints: resourceId\([^)]*, 'endpoints'\)/, "the subnets that network.bicep makes"],
  [api, "apiOperations", "properties.templateParameters", same("map(skip(split(item.urlTemplate, '{'), 1), part => { name: replace(split(part, '}')[0], '*', '') type: 'string' required: true })"), "each {name} of the path, {*rest} included"],
  [api, "diagnostics", "properties.sampling.percentage", /^([1-9]\d?|100)$/, "a percentage"],
  [api, "product", "properties.approvalRequired", same("false"), "no approval: the template subscribes by itself"],
  [region, "callers", "", /^map\( range\(0, length\(identities\)\), i => empty\(federatedApps\[i\]\) \? 'RunAs=App;AppId=\$\{identities\[i\]\.clientId\}' : join\( \[ 'RunAs=App' 'AppId=\$\{federatedApps\[i\]\}' 'TenantId=\$\{targetTenantId\}' 'FederatedIdentity=\$\{identities\[i\]\.clientId\}' \], ';' \) \)$/, "FunctionIdentity as the program reads it"],
  [region, "appSettings", "properties", /toObject\(disabledTimers, name => 'AzureWebJobs\.\$\{name\}\.Disabled', name => 'true'\)/, "timers switched off in further regions"],
  [region, "appSettings", "properties", /replace\(item\.value, '<client-id>', systemAssigned \? '' : identities\[0\]\.clientId\)/, "the client id where a setting asks for it"],
  ["deploy/modules/alerts.bicep", "watched", "", same("filter(timers, timer => timer.minutes > 0 && timer.minutes <= 1440)"), "timers that run at least once a day"],
  ["deploy/modules/alerts.bicep", "timerRules", "", /window: filter\(windows, window => window\.minutes >= 2 \* timer\.minutes\)\[0\]\.duration query: replace\(missed, '<function>', timer\.name\)/, "the shortest window that holds two runs of this timer"],
  ["deploy/modules/workflow.bicep", "principalId", "", same("systemAssigned ? workflow.identity.principalId : ''"), "its own principal"],
  [region, "principalId", "", same("systemAssigned ? site.identity.principalId : ''"), "its own principal"],
  [main, "identityList", "", /roles: \[choices\.\?external\.\?role \?\? 'Api\.Read'\]/, "one identity that may read, where none is chosen"],
  [main, "identityNames", "", /^systemAssigned \? \[\] : map\(/, "no identities where the app has its own"],
  [main, "functionIdentities", "", /range\(1, length\(identityList\) - 1\).*role: identityList\[i\]\.roles\[0\]/, "all identities but the first, each with its first role"],
  [main, "domains", "", /AzureUSGovernment: \{ gateway: 'azure-api\.us', site: 'azurewebsites\.us' \} AzureChinaCloud: \{ gateway: 'azure-api\.cn', site: 'chinacloudsites\.cn' \}/, "the domains of the other clouds"],
  [main, "zones", "", /newService \? \{ gateway: .* \} : \{\}, closedApp \? \{ site: .* \} : \{\} \)$/, "a zone where there is a record for it"],
  [main, "regions", "params.keyUri", same("keyNeeded ? '${keyAddress}${keyName}' : ''"), "the first secret"],
  [main, "regions", "params.secondaryKeyUri", same("callerOnly ? '' : '${keyAddress}${secondaryKeyName}'"), "the second secret, of an API of our own"],
  [main, "developerGrants", "params.grants", same("map(roles, role => { index: 0, role: role })"), "every role for the one developer"],
  [main, "alerts", "params.timers", same("map(timers, name => { name: name, minutes: timerMinutes[?name] ?? 0 })"), "no alert where the pause is not known"],
  [main, "regions", "params.disabledTimers", same("i == 0 ? [] : timers"), "timers in the first region only"],
  [main, "workflow", "params.keyHeader", same("empty(keyHeader) ? 'Ocp-Apim-Subscription-Key' : keyHeader"), "API Management's own header unless another is chosen"],
  ["deploy/modules/authentication.bicep", "settings", "properties.platform.enabled", same("true"), "authentication that is on"],
  ["deploy/modules/authentication.bicep", "settings", "properties.globalValidation.requireAuthentication", same("true"), "no call without a token"],
  ["deploy/modules/authentication.bicep", "settings", "properties.globalValidation.unauthenticatedClientAction", same("'Return401'"), "a refusal, no page to sign in"],
  ["deploy/modules/authentication.bicep", "settings", "properties.globalValidation.excludedPaths", same("[ '/api/health' '/api/doctor' ]"), "health and doctor alone without a token"],
];

function asMeant({ bicep }) {
  const findings = [];
  for (const [file, name, path, pattern, why] of meant) {
    const model = bicep.get(file);
    const text = model && value(model, name, path);
    if (text === undefined) findings.push(`${file}: ${name} is missing`);
    else if (!pattern.test(text)) findings.push(`${file}: ${[name, path].filter(Boolean).join(": ")}: want ${why}, got ${text || "nothing"}`);
  }
  const placeholder = bicep.get("deploy/modules/secret-placeholder.bicep");
  if (!/^@onlyIfNotExists\(\)\nresource secret /m.test(placeholder.text)) findings.push(`${placeholder.file}: secret: without @onlyIfNotExists() each deployment undoes the key that was stored`);
  return [...findings, ...conditions(bicep), ...logic(bicep), ...fixed(bicep), ...places(bicep), ...operations(bicep), ...settings(bicep), ...swapped(bicep), ...kinds(bicep), ...defaults(bicep), ...alerts(bicep), ...ports(bicep)];
}

// When each conditional thing is made. A new one is entered here.
const when = {
  [main]: {
    group: "(ownGroup)",
    vault: "(newVault)",
    placeholder: "(callerOnly && keyNeeded)",
    dns: "(newNetworks)",
    networks: "(newNetworks)",
    vaultEndpoint: "(isolated && (newNetworks || newVault))",
    entra: "(ownRegistration)",
    gateway: "(newService)",
    gatewayEndpoint: "(isolated && newService)",
    api: "(!callerOnly)",
    telemetryRole: "(!systemAssigned)",
    secretReader: "(!systemAssigned && keyNeeded)",
    triggerRoles: "(!systemAssigned)",
    identityGrants: "(ownRegistration && !systemAssigned)",
    workflow: "(withLogicApp)",
    siteTelemetryRoles: "(systemAssigned)",
    siteSecretReaders: "(systemAssigned && keyNeeded)",
    workflowSecretReader: "(systemWorkflow)",
    siteGrants: "(ownRegistration && systemAssigned)",
    workflowGrants: "(ownRegistration && systemWorkflow)",
    developerGrants: "(ownRegistration && !empty(developerId))",
  },
  [region]: {
    hostRoles: "(!systemAssigned)",
    blobEndpoint: "(isolated)",
    siteRoles: "(systemAssigned)",
    siteEndpoint: "(closedApp)",
    authenticationSettings: "(authentication != null)",
    siteLogs: "(!empty(logsTo))",
    blobLogs: "(!empty(logsTo))",
  },
  [api]: { writePolicies: "((item.?access ?? 'read') == 'write')", diagnostics: "(logged)" },
  "deploy/modules/gateway.bicep": { logs: "(sku != 'Consumption')" },
  "deploy/modules/workflow.bicep": { logs: "(!empty(logsTo))" },
  "deploy/modules/endpoint.bicep": { records: "(!empty(zoneId))" },
  "deploy/modules/network.bicep": { toHub: "(name != hub)", fromHub: "(name != hub)" },
  "deploy/modules/trigger-role.bicep": {
    account: "(kind == 'storage')",
    onStorage: "(kind == 'storage')",
    bus: "(kind == 'serviceBus')",
    onServiceBus: "(kind == 'serviceBus')",
    hubs: "(kind == 'eventHubs')",
    onEventHubs: "(kind == 'eventHubs')",
    database: "(kind == 'cosmosDb')",
    onCosmosDb: "(kind == 'cosmosDb')",
  },
};

function conditions(bicep) {
  const findings = [];
  for (const model of bicep.values()) {
    for (const item of [...model.resources, ...model.modules]) {
      const got = item.condition ? flat(item.condition) : undefined;
      const want = when[model.file]?.[item.name];
      if (got !== want) findings.push(`${model.file}:${item.line}: ${item.name}: want it made ${want ? `if ${want}` : "always"}, got ${got ?? "always"}`);
    }
  }
  return findings;
}

// What the choices come to, as main.bicep and its outputs say it.
const derived = {
  ownGroup: "choices.?resourceGroup == null",
  systemAssigned: "(choices.?identityKind ?? 'UserAssigned') == 'SystemAssigned'",
  callerOnly: "choices.?external != null",
  ownRegistration: "!callerOnly && choices.?registration == null",
  newService: "!callerOnly && choices.?api.?existing == null",
  newVault: "choices.?vault == null",
  closedApp: "isolated && (choices.?network.?closedApp ?? false)",
  newNetworks: "isolated && choices.?network.?subnets == null",
  developerId: "development ? deployerId : ''",
  logsTo: "(choices.?resourceLogs ?? false) ? workspaceId : ''",
  apiId: "newService ? apiName : uniqueName",
  keyName: "newVault ? 'apim-key' : 'apim-key-${suffix}'",
  keyNames: "callerOnly ? [keyName] : [keyName, secondaryKeyName]",
  keyNeeded: "keyHeader != 'none'",
  withLogicApp: "keyNeeded && (choices.?logicApp ?? true)",
  systemWorkflow: "withLogicApp && systemAssigned",
  RELAY_UNIQUE_NAME: "ownRegistration ? uniqueName : ''",
  RELAY_KEY_NAME: "keyNeeded ? keyName : ''",
  RELAY_APIM: "callerOnly ? '' : apimName",
  RELAY_APIM_GROUP: "callerOnly ? '' : apimGroup",
  RELAY_APIM_SUBSCRIPTION: "callerOnly ? '' : apimSubscription",
  RELAY_APIM_SID: "callerOnly ? '' : apiId",
  RELAY_CALLER_ONLY: "callerOnly",
  RELAY_TARGET_APP: "targetApp",
  RELAY_TARGET_TENANT_ID: "targetTenantId",
  RELAY_TARGET_ROLE: "targetRole",
  RELAY_API_URL: "apimUrl",
  RELAY_VAULT: "vaultName",
  RELAY_VAULT_ID: "vaultId",
  AZURE_RESOURCE_GROUP: "groupName",
};

function logic(bicep) {
  const findings = [];
  const model = bicep.get(main);
  for (const [name, want] of Object.entries(derived)) {
    const got = value(model, name, "");
    if (got !== want) findings.push(`${main}: ${name}: want ${want}, got ${got || "nothing"}`);
  }
  return findings;
}

// Names that Azure gives: a child or a category by another name is none.
const childNames = {
  "Microsoft.ApiManagement/service/apis/policies": ["'policy'"],
  "Microsoft.ApiManagement/service/apis/operations/policies": ["'policy'"],
  "Microsoft.ApiManagement/service/products/policies": ["'policy'"],
  "Microsoft.ApiManagement/service/apis/diagnostics": ["'applicationinsights'"],
  "Microsoft.Web/sites/config": ["'appsettings'", "'authsettingsV2'"],
  "Microsoft.Web/sites/basicPublishingCredentialsPolicies": ["'ftp'", "'scm'"],
  "Microsoft.Storage/storageAccounts/blobServices": ["'default'"],
  "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": ["'default'"],
};
const categories = { "deploy/modules/region.bicep": ["FunctionAppLogs", "StorageWrite", "StorageDelete"], "deploy/modules/workflow.bicep": ["WorkflowRuntime"], "deploy/modules/gateway.bicep": ["GatewayLogs"], "deploy/modules/vault.bicep": ["AuditEvent"] };
const idsOnly = ["Microsoft.App/environments", "Microsoft.Authorization/roleDefinitions", "Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions", "Microsoft.Network/virtualNetworks/subnets"];
const protocols = ["Protocols.Tls10", "Protocols.Tls11", "Backend.Protocols.Tls10", "Backend.Protocols.Tls11", "Ciphers.TripleDes168"].map((name) => `Microsoft.WindowsAzure.ApiManagement.Gateway.Security.${name}`);
function fixed(bicep) {
  const findings = [];
  const made = new Set([...bicep.values()].flatMap((model) => model.resources.map((r) => r.type)));
  for (const model of bicep.values()) {
    for (const resource of model.resources) {
      const name = flat(resource.body.get("name")?.value.text ?? "");
      if (childNames[resource.type] && !childNames[resource.type].includes(name)) findings.push(`${model.file}:${resource.line}: ${resource.name}: name: want ${childNames[resource.type].join(" or ")}, got ${name}`);
      if (/^Microsoft\.Network\/privateDnsZones/.test(resource.type) && !resource.existing && flat(resource.body.get("location")?.value.text ?? "") !== "'global'") findings.push(`${model.file}:${resource.line}: ${resource.name}: location: want 'global'`);
    }
    for (const [, type] of model.text.matchAll(/'(Microsoft\.\w+(?:\/\w+)+)'/g)) if (!made.has(type) && !idsOnly.includes(type)) findings.push(`${model.file}: ${type} is no type of ours: an id of it leads nowhere`);
    const logs = [...model.text.matchAll(/category: '(\w+)'\s+enabled: (\w+)/g)];
    if (categories[model.file] || logs.length) {
      const got = logs.map((m) => m[1]);
      if (got.join() !== (categories[model.file] ?? []).join()) findings.push(`${model.file}: categories of logs: want ${categories[model.file]}, got ${got}`);
      for (const [, name, on] of logs) if (on !== "true") findings.push(`${model.file}: the category ${name} is off`);
    }
  }
  const gateway = bicep.get("deploy/modules/gateway.bicep");
  const off = [...gateway.text.matchAll(/'(Microsoft\.WindowsAzure\.[^']+)': '(\w+)'/g)];
  if (off.map((m) => m[1]).join() !== protocols.join() || off.some((m) => m[2] !== "False")) findings.push(`${gateway.file}: legacyOff: want ${protocols.join(", ")}, all False`);
  return findings;
}

// The first region and the first identity stand for all; with a system-assigned one there is none to name.
function places(bicep) {
  const findings = [];
  for (const file of [main, region]) {
    for (const [index, source] of bicep.get(file).text.split("\n").entries()) {
      for (const [all, place] of source.matchAll(/\b(?:identityIds|identities|all|callers|locations|networkNames|subnets)\[\??(\d+)\]/g)) if (place !== "0") findings.push(`${file}:${index + 1}: ${all}: want the first`);
      for (const [, start] of source.matchAll(/\brange\((\d+), length\((?:locations|identityList|identities)\)\)/g)) if (start !== "0") findings.push(`${file}:${index + 1}: range(${start}, …): leaves out the first`);
      const named = /^\s*(identityId|principalId): (?!siteIds|workflowId|regions|workflow\.|site\.id)(.*)$/.exec(source);
      if (named && !/^systemAssigned \? (?:'' : (?:identityIds\[0\]|identities(?:\.outputs\.all)?\[0\]\.principalId)|site\.identity\.principalId : '')$/.test(named[2])) findings.push(`${file}:${index + 1}: ${named[1]}: want nothing with a system-assigned identity, else the first one's, got ${named[2]}`);
    }
  }
  return findings;
}

// The operations of an API that chooses none: those that change something ask for the writer's role.
function operations(bicep) {
  const text = value(bicep.get(main), "operations", "");
  const all = [...text.matchAll(/\{ name: '([\w-]+)' method: '(\w+)' urlTemplate: '([^']*)' access: '(\w+)' \}/g)];
  const findings = all.length === (text.match(/name:/g) ?? []).length && all.length > 0 ? [] : [`${main}: operations: want name, method, urlTemplate and access of each`];
  for (const [, name, method, template, access] of all) {
    const reads = ["GET", "HEAD", "OPTIONS"].includes(method);
    if (!reads && !["DELETE", "PATCH", "POST", "PUT"].includes(method)) findings.push(`${main}: operations: ${name}: there is no method ${method}`);
    if (access !== (reads ? "read" : "write")) findings.push(`${main}: operations: ${name}: ${method} with access ${access}`);
    if (template !== "/" && template !== "/*") findings.push(`${main}: operations: ${name}: want the root or all paths, got ${template}`);
    if (!name.startsWith(`${method.toLowerCase()}-`)) findings.push(`${main}: operations: ${name} is ${method}`);
  }
  return findings;
}

// App settings: each name with its own value.
const appSettings = {
  AzureWebJobsStorage__blobServiceUri: "account.properties.primaryEndpoints.blob",
  AzureWebJobsStorage__queueServiceUri: "account.properties.primaryEndpoints.queue",
  AzureWebJobsStorage__tableServiceUri: "account.properties.primaryEndpoints.table",
  AzureWebJobsStorage__credential: "'managedidentity'",
  AzureWebJobsStorage__clientId: "identities[0].clientId",
  APPLICATIONINSIGHTS_CONNECTION_STRING: "telemetryAddress",
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: "systemAssigned ? 'Authorization=AAD' : 'ClientId=${identities[0].clientId};Authorization=AAD'",
  TargetApp: "targetApp",
  TargetTenantID: "targetTenantId",
  TargetRole: "targetRole",
  FunctionIdentity: "systemAssigned ? 'RunAs=App' : callers[0]",
  ApimUrl: "apimUrl",
  ApimKey: "'@Microsoft.KeyVault(SecretUri=${keyUri})'",
  ApimKeySecondary: "'@Microsoft.KeyVault(SecretUri=${secondaryKeyUri})'",
  ApimKeyHeader: "keyHeader",
};

function settings(bicep) {
  const config = bicep.get(region).resources.find((r) => r.type === "Microsoft.Web/sites/config");
  const findings = [];
  walk(config.body.get("properties").value, (node) => {
    if (node.type !== "object_property") return true;
    const [key, given] = node.namedChildren;
    const name = key.type === "string" ? literal(key) : key.text;
    const want = appSettings[name];
    if (want && flat(given.text) !== want) findings.push(`${region}: the setting ${name}: want ${want}, got ${flat(given.text)}`);
    return true;
  });
  return findings;
}

// An argument that bears the name of another parameter of its module was most likely put in the wrong place.
function swapped(bicep) {
  const findings = [];
  for (const model of bicep.values()) {
    for (const module of model.modules) {
      const target = bicep.get(normalize(join(dirname(model.file), module.path)));
      const names = new Set(target?.params.map((p) => p.name));
      for (const [param, { value: node, line }] of object(module.body.get("params")?.value)) {
        const last = /(?:^|\.)\??(\w+)$/.exec(flat(node.text.replace(/ \?\? ''$/, "")))?.[1];
        if (last && last !== param && names.has(last)) findings.push(`${model.file}:${line}: ${module.name}: the parameter ${param} gets ${last}, the name of another parameter`);
      }
    }
  }
  return findings;
}

// A plain value that is given to a parameter fits its type: also behind ?? and in both halves of a choice.
function kinds(bicep) {
  const findings = [];
  for (const model of bicep.values()) {
    for (const module of model.modules) {
      const target = bicep.get(normalize(join(dirname(model.file), module.path)));
      for (const [name, { value: node, line }] of object(module.body.get("params")?.value)) {
        const type = target?.params.find((p) => p.name === name)?.type.replace(/\?$/, "");
        for (const leaf of leaves(node)) {
          const kind = { string: "string", number: "int", boolean: "bool", array: "array", object: "object" }[leaf.type];
          if (!kind || !type) continue;
          const fits = type.startsWith("'") ? type.split("|").map((t) => t.trim()).includes(leaf.text) : type.endsWith("[]") ? kind === "array" : ["string", "int", "bool"].includes(type) ? kind === type : !["string", "int", "bool"].includes(kind);
          if (!fits) findings.push(`${model.file}:${line}: ${module.name}: ${name}: want ${type}, got ${leaf.text}`);
        }
      }
    }
  }
  return findings;
}

function leaves(node) {
  switch (node.type) {
    case "parenthesized_expression":
      return leaves(node.namedChildren[0]);
    case "ternary_expression":
      return [...leaves(node.childForFieldName("consequence")), ...leaves(node.childForFieldName("alternative"))];
    case "binary_expression":
      return /\?\?/.test(node.children[1]?.text ?? "") ? [...leaves(node.namedChildren[0]), ...leaves(node.namedChildren[1])] : [];
    default:
      return [node];
  }
}

// The default that types.bicep speaks of is the one that stands behind ??. Where it names none, a choice
// is off, empty, or one of these.
const silent = { identityKind: "UserAssigned", retentionInDays: "30" };
function defaults(bicep) {
  const said = new Map();
  let comment = "";
  for (const source of bicep.get("deploy/types.bicep").text.split("\n")) {
    const line = source.trim();
    const property = /^(\w+): /.exec(line)?.[1];
    if (line.startsWith("//")) comment += ` ${line.slice(2).trim()}`;
    else if (property) {
      const word = /\bDefault:? (\d+|true|false|[a-zA-Z]+)[.;,]/.exec(comment)?.[1];
      if (word || !said.has(property)) said.set(property, word);
      comment = "";
    } else if (!line.startsWith("@")) comment = "";
  }
  const findings = [];
  for (const model of bicep.values()) {
    for (const [, name, given] of model.text.matchAll(/\.\?(\w+) \?\? ('[^'$]*'|\d+|true|false)/g)) {
      const got = given.replace(/'/g, "");
      const want = said.get(name) ?? silent[name] ?? "";
      if (said.has(name) && got !== want && !(want === "" && got === "false") && name !== "role") findings.push(`${model.file}: ${name}: the default is ${got}, types.bicep says ${want || "none"}`);
    }
  }
  return findings;
}

// Windows and frequencies that a log search alert takes (learn.microsoft.com "Scheduled Query Rules",
// windowSize: PT1M to P2D), and what each rule fires on.
const durations = new Set("PT1M PT5M PT10M PT15M PT30M PT45M PT1H PT2H PT3H PT4H PT5H PT6H P1D P2D".split(" "));
const operators = new Set(["Equals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual"]);
function alerts(bicep) {
  const { file, text, vars } = bicep.get("deploy/modules/alerts.bicep");
  const findings = [];
  for (const [, key, given] of text.matchAll(/^\s*(?:\{ minutes: \d+, )?(frequency|window|duration): '([^']*)'/gm)) if (!durations.has(given)) findings.push(`${file}: ${key}: ${given} is no duration that a rule takes`);
  for (const [, minutes, given] of text.matchAll(/minutes: (\d+), duration: '([^']*)'/g)) {
    if (!durations.has(given)) findings.push(`${file}: duration: ${given} is no duration that a rule takes`);
    const length = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?$/.exec(given);
    if (length && Number(length[1] ?? 0) * 1440 + Number(length[2] ?? 0) * 60 + Number(length[3] ?? 0) !== Number(minutes)) findings.push(`${file}: duration: ${given} is not ${minutes} minutes`);
  }
  for (const [, given] of text.matchAll(/operator: '([^']*)'/g)) if (!operators.has(given)) findings.push(`${file}: operator: ${given} is none`);
  const rules = flat(vars.find((v) => v.name === "rules").value.text);
  if ((rules.match(/operator: 'GreaterThan' threshold: 0/g) ?? []).length !== (rules.match(/operator:/g) ?? []).length) findings.push(`${file}: rules: want one row to be enough`);
  const missed = flat(vars.find((v) => v.name === "timerRules").value.text);
  if (!/operator: 'LessThan' threshold: 1\b/.test(missed)) findings.push(`${file}: timerRules: a missed run is fewer than 1 row`);
  if (!/window\.minutes >= 2 \* timer\.minutes/.test(missed)) findings.push(`${file}: timerRules: want two runs in a window, or the alert fires between them`);
  return findings;
}

// The host listens on port 80 in its image: ingress and probes ask there.
function ports(bicep) {
  const { file, text } = bicep.get("deploy/container/containerapp.bicep");
  const findings = [...text.matchAll(/\b(port|targetPort): (\d+)/g)].filter(([, , port]) => port !== "80").map(([, key, port]) => `${file}: ${key} ${port}: the host listens on port 80`);
  const [, path] = /httpGet: \{\s*path: '([^']*)'/.exec(text) ?? [];
  if (path !== "/api/health") findings.push(`${file}: probes: want /api/health, got ${path}`);
  if (!/allowInsecure: false/.test(text)) findings.push(`${file}: ingress: want HTTPS only`);
  for (const [, name] of text.matchAll(/name: '(AzureWebJobsStorage__\w+|APPLICATIONINSIGHTS_\w+)'/g)) if (!(name in appSettings)) findings.push(`${file}: ${name}: the host has no such setting`);
  const secrets = [...text.matchAll(/\{ name: '([\w-]+)', uri:/g)].map((m) => m[1]);
  for (const [, setting, name] of text.matchAll(/name: '(\w+)', secretRef: '([\w-]+)'/g)) if (name !== { ApimKey: "apim-key", ApimKeySecondary: "apim-key-secondary" }[setting] || !secrets.includes(name)) findings.push(`${file}: ${setting}: there is no secret ${name} for it`);
  return findings;
}

verify("sources mean what they should", asMeant, [
  { fault: "two parameters swapped", file: main, from: "suffix: suffix\n    retentionInDays", to: "suffix: tags\n    retentionInDays", want: /suffix gets tags/ },
  { fault: "an address in another setting", file: region, from: "queueServiceUri: account.properties.primaryEndpoints.queue", to: "queueServiceUri: account.properties.primaryEndpoints.blob", want: /queueServiceUri: want/ },
  { fault: "a window that is too short", file: "deploy/modules/alerts.bicep", from: ">= 2 * timer", to: ">= timer", want: /two runs/ },
]);
