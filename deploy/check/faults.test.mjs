// Faults that a hand makes while it edits the deployment, each of a kind of its own: a check must find it
// without a compiler, and say what it is about.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { project } from "./bicep.mjs";
import { collect } from "./seeds.mjs";

const checks = collect();
for (const name of ["parse", "types", "wiring", "rules", "meant", "tables", "policies", "drift", "manifests"]) await import(`./${name}.test.mjs`);

const main = "deploy/main.bicep";
const api = "deploy/modules/api.bicep";
const region = "deploy/modules/region.bicep";
const alerts = "deploy/modules/alerts.bicep";
const entra = "deploy/modules/entra.bicep";
const gateway = "deploy/modules/gateway.bicep";
const relay = "deploy/workflows/relay.json";
const policy = "deploy/policies/api.xml";
const azd = "azure.yaml";
const parameters = "deploy/main.parameters.json";
const manifest = "deploy/container/kubernetes/relay.yaml";
const events = "deploy/container/kubernetes/example-events.yaml";
const container = "deploy/container/containerapp.bicep";

const faults = [
  // Bicep: what the app and the gateway are.
  { fault: "the writer's policy on operations that read", file: api, from: "(item.?access ?? 'read') == 'write'", to: "(item.?access ?? 'read') == 'read'", want: /writePolicies/ },
  { fault: "the policies of product and mock swapped", file: api, from: "empty(backendUrl) ? mockPolicy : productPolicy", to: "empty(backendUrl) ? productPolicy : mockPolicy", want: /productRules/ },
  { fault: "the policy of the writer for every operation of the API", file: api, from: "    value: apiPolicy", to: "    value: writePolicy", want: /policy/ },
  { fault: "another storage role for the package", file: region, from: "['b7e6dc6d-f1e8-4753-8033-0f276bb0955b']", to: "['0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3']", want: /Blob Data Owner/ },
  { fault: "a role by its wrong constant in telemetry", file: "deploy/modules/telemetry-role.bicep", from: "3913510d-42f4-4e42-8a64-420c390055eb", to: "4633458b-17de-408a-b874-0445c86b69e6", want: /Metrics Publisher/ },
  { fault: "a client id for Key Vault references", file: region, from: "keyVaultReferenceIdentity: systemAssigned ? 'SystemAssigned' : identityIds[0]", to: "keyVaultReferenceIdentity: systemAssigned ? 'SystemAssigned' : identities[0].clientId", want: /keyVaultReferenceIdentity/ },
  { fault: "a client id where the package's identity is named", file: region, from: "userAssignedIdentityResourceId: systemAssigned ? null : identityIds[0]", to: "userAssignedIdentityResourceId: systemAssigned ? null : identities[0].clientId", want: /userAssignedIdentityResourceId/ },
  { fault: "one key in both secrets", file: api, from: "subscription.listSecrets().secondaryKey", to: "subscription.listSecrets().primaryKey", want: /secondary/ },
  { fault: "the keys of the two settings swapped", file: region, from: "ApimKeySecondary: '@Microsoft.KeyVault(SecretUri=${secondaryKeyUri})'", to: "ApimKeySecondary: '@Microsoft.KeyVault(SecretUri=${keyUri})'", want: /ApimKeySecondary/ },
  { fault: "capacity in the Consumption tier", file: gateway, from: "sku == 'Consumption' ? 0 : 1", to: "sku == 'Consumption' ? 1 : 1", want: /capacity/ },
  { fault: "a private zone misspelt", file: main, from: "'privatelink.blob.${", to: "'privatelink.blobs.${", want: /privatelink/ },
  { fault: "the zone of one service for another", file: main, from: "zoneId: zoneIds.?vault ?? ''", to: "zoneId: zoneIds.?blob ?? ''", want: /vaultEndpoint/ },
  { fault: "a part of a service that there is not", file: main, from: "    part: 'vault'", to: "    part: 'vaults'", want: /part/ },
  { fault: "the default of the largest number of instances", file: main, from: "choices.?maximumInstanceCount ?? 40", to: "choices.?maximumInstanceCount ?? 400", want: /maximumInstanceCount/ },
  { fault: "the default of the memory", file: main, from: "choices.?instanceMemoryMB ?? 2048", to: "choices.?instanceMemoryMB ?? 512", want: /instanceMemoryMB/ },
  { fault: "a default that opens", file: main, from: "choices.?purgeProtection ?? true", to: "choices.?purgeProtection ?? false", want: /purgeProtection/ },
  { fault: "a text where a number belongs", file: main, from: "choices.?retentionInDays ?? 30", to: "choices.?retentionInDays ?? '30'", want: /retentionInDays/ },
  { fault: "a duration that is none", file: alerts, from: "window: 'PT15M'", to: "window: '1h'", want: /duration/ },
  { fault: "a window that a rule cannot have", file: alerts, from: "'P2D'", to: "'P7D'", want: /duration|window/ },
  { fault: "an operator that there is not", file: alerts, from: "operator: 'LessThan'", to: "operator: 'Less'", want: /operator/ },
  { fault: "an alert on anything but nothing", file: alerts, from: "operator: 'LessThan'\n  threshold: 1", to: "operator: 'GreaterThan'\n  threshold: 1", want: /missed/ },
  { fault: "a role that is not made", file: main, from: "var roles = ['Api.Read', 'Api.Write']", to: "var roles = ['Api.Read']", want: /Api\.Write/ },
  { fault: "a misspelt property", file: region, from: "    httpsOnly: true", to: "    httpOnly: true", want: /httpOnly/ },
  { fault: "an API version that does not exist", file: region, from: "Microsoft.Web/sites@2025-03-01", to: "Microsoft.Web/sites@2025-13-01", want: /2025-13-01/ },
  { fault: "another kind of principal", file: "deploy/modules/storage-role.bicep", from: "principalType: 'ServicePrincipal'", to: "principalType: 'ServicePrinciple'", want: /principalType/ },
  { fault: "a kind of member that there is not", file: entra, from: "['Application', 'User']", to: "['Application']", want: /appRoles|allowedMemberTypes/ },
  { fault: "the registration in a service principal's place", file: main, from: "entra.?outputs.?servicePrincipalId", to: "entra.?outputs.?applicationId", want: /servicePrincipalId/ },
  { fault: "tokens of another tenant's metadata", file: main, from: "loginEndpoint}${targetTenantId}/v2.0'", to: "loginEndpoint}common/v2.0'", want: /issuer/ },
  { fault: "a group of somebody else with azd's tag", file: main, from: "= if (ownGroup) {", to: "= {", want: /group/ },
  { fault: "a vault that anybody reaches", file: "deploy/modules/vault.bicep", from: "defaultAction: isolated ? 'Deny' : 'Allow'", to: "defaultAction: isolated ? 'Allow' : 'Deny'", want: /defaultAction/ },
  { fault: "an app that stays open", file: region, from: "publicNetworkAccess: closedApp ? 'Disabled' : 'Enabled'", to: "publicNetworkAccess: closedApp ? 'Enabled' : 'Disabled'", want: /publicNetworkAccess/ },
  { fault: "an address that the app may not call without a token", file: "deploy/modules/authentication.bicep", from: "unauthenticatedClientAction: 'Return401'", to: "unauthenticatedClientAction: 'AllowAnonymous'", want: /unauthenticatedClientAction/ },
  { fault: "a secret that is written over", file: "deploy/modules/secret-placeholder.bicep", from: "@onlyIfNotExists()\n", to: "", want: /onlyIfNotExists/ },
  // Policies.
  { fault: "a role in small letters", file: policy, from: "<value>Api.Read</value>", to: "<value>api.read</value>", want: /Api\.Read/ },
  { fault: "clocks that may differ by hours", file: policy, from: 'clock-skew="60"', to: 'clock-skew="6000"', want: /clock-skew/ },
  { fault: "a limit that nobody can work with", file: "deploy/policies/product.xml", from: 'calls="600"', to: 'calls="6"', want: /rate-limit/ },
  { fault: "the token passed on to the backend", file: policy, from: '    <set-header name="Authorization" exists-action="delete" />\n', to: "", want: /Authorization/ },
  { fault: "tokens without a signature", file: policy, from: 'require-signed-tokens="true"', to: 'require-signed-tokens="false"', want: /require-signed-tokens/ },
  // The workflow.
  { fault: "a type of action that there is not", file: relay, from: '"type": "Http"', to: '"type": "Https"', want: /Https/ },
  { fault: "the body of an action that is not there", file: relay, from: "@body('Read_key')", to: "@body('Read_keys')", want: /Read_keys/ },
  { fault: "an action that runs after none", file: relay, from: '"runAfter": { "Read_key": ["Succeeded"] }', to: '"runAfter": { "Get_key": ["Succeeded"] }', want: /Get_key/ },
  { fault: "a state that there is not", file: relay, from: '["Succeeded"]', to: '["Success"]', want: /Success/ },
  { fault: "a frequency that there is not", file: relay, from: '"frequency": "Day"', to: '"frequency": "Daily"', want: /Daily/ },
  { fault: "an interval of nothing", file: relay, from: '"interval": 1,', to: '"interval": 0,', want: /interval/ },
  // azd.
  { fault: "a host that azd does not know", file: azd, from: "host: function", to: "host: functions", want: /functions/ },
  { fault: "a hook by another name", file: azd, from: "  postprovision:", to: "  postProvision:", want: /postProvision/ },
  { fault: "a script that is not there", file: azd, from: "deploy/scripts/wait-ready", to: "deploy/scripts/waitready", want: /waitready/ },
  { fault: "a package by another name", file: azd, from: "dist: build/relay.zip", to: "dist: build/app.zip", want: /app\.zip/ },
  { fault: "a variable that azd does not know", file: parameters, from: "${AZURE_LOCATION}", to: "${AZURE_REGION}", want: /AZURE_REGION/ },
  { fault: "two variables swapped", file: parameters, from: '"environmentName": { "value": "${AZURE_ENV_NAME}" }', to: '"environmentName": { "value": "${AZURE_LOCATION}" }', want: /environmentName/ },
  // Choices.
  { fault: "a kind of identity that there is not", file: "deploy/variants/system-assigned.json", from: '"SystemAssigned"', to: '"System"', want: /System/ },
  { fault: "a misspelt choice in a variant", file: "deploy/variants/production.json", from: '"zoneRedundant"', to: '"zoneRedundand"', want: /zoneRedundand/ },
  { fault: "a method that there is not", file: "deploy/variants/existing-apim.json", from: '"method": "POST"', to: '"method": "Post"', want: /Post/ },
  // Containers.
  { fault: "memory that Kubernetes cannot read", file: manifest, from: "memory: 1Gi", to: "memory: 1Gig", want: /memory must match format "quantity"/ },
  { fault: "a kind of probe that there is not", file: container, from: "type: 'Readiness'", to: "type: 'Ready'", want: /Ready/ },
  { fault: "a port that nobody listens on", file: manifest, from: "containerPort: 80", to: "containerPort: 8080", want: /port/ },
  { fault: "a probe of another port", file: container, from: "                path: '/api/health'\n                port: 80", to: "                path: '/api/health'\n                port: 8080", want: /port/ },
  { fault: "a scaler that there is not", file: events, from: "type: azure-servicebus # news", to: "type: azure-service-bus # news", want: /azure-service-bus/ },
  { fault: "a name that KEDA cannot resolve", file: events, from: 'queueName: "<JobsQueue>"', to: 'queueName: "%Jobs%"', want: /%Jobs%/ },
];

// The checks that find a fault, each with what it said of it.
const found = [];
for (const { fault, want, ...seed } of faults) {
  test(`found: ${fault}`, async () => {
    const seeded = await project(seed);
    const said = [];
    for (const { title, check } of checks) {
      try {
        said.push(...(await check(seeded)));
      } catch (cause) {
        said.push(`${title}: ${cause.message}`);
      }
    }
    assert.ok(said.some((finding) => want.test(finding)), `wanted a finding like ${want}, got ${JSON.stringify(said)}`);
    found.push(fault);
  });
}

after(() => console.log(`${found.length} of ${faults.length} seeded faults found without a compiler`));
