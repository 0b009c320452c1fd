// Facts that each snapshot must hold, whatever the choices. A diff of snapshots shows a change; this
// says whether it is a fault. Needs no compiler.

// Which role is given on what.
const scopeOf = {
  "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Microsoft.Storage/storageAccounts", // Blob Data Owner
  "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Microsoft.Storage/storageAccounts", // Queue Data Contributor
  "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Microsoft.Storage/storageAccounts", // Table Data Contributor
  "3913510d-42f4-4e42-8a64-420c390055eb": "Microsoft.Insights/components", // Metrics Publisher
  "4633458b-17de-408a-b874-0445c86b69e6": "Microsoft.KeyVault/vaults/secrets", // Secrets User
};
const policyRoles = ["Api.Read", "Api.Write"];

export function* findings({ predictedResources: all, outputs }) {
  const of = (type) => all.filter((resource) => resource.type === type);
  const ids = all.map((resource) => resource.id).filter(Boolean);
  if (new Set(ids).size !== ids.length) yield "an id stands twice";

  // A POST asks for the writer's role, a GET does not.
  const operations = of("Microsoft.ApiManagement/service/apis/operations");
  const policies = of("Microsoft.ApiManagement/service/apis/operations/policies");
  for (const operation of operations) {
    const policy = policies.find((p) => p.name === `${operation.name}/policy`);
    const reads = ["GET", "HEAD", "OPTIONS"].includes(operation.properties.method);
    if (reads && policy) yield `${operation.name}: a reading operation asks for the writer's role`;
    if (!reads && !policy) yield `${operation.name}: anybody may write`;
    if (policy && !policy.properties.value.includes("<value>Api.Write</value>")) yield `${policy.name}: asks not for Api.Write`;
    const wanted = [...operation.properties.urlTemplate.matchAll(/\{\*?([^}]+)\}/g)].map((m) => m[1]);
    const declared = operation.properties.templateParameters.map((p) => p.name);
    if (wanted.join() !== declared.join()) yield `${operation.name}: declares ${declared}, its path has ${wanted}`;
  }
  for (const policy of of("Microsoft.ApiManagement/service/apis/policies")) {
    const named = new Set([...policy.properties.value.matchAll(/\{\{([\w-]+)\}\}/g)].map((m) => m[1]));
    const made = of("Microsoft.ApiManagement/service/namedValues").map((v) => v.name.split("/")[1]);
    for (const name of named) if (!made.includes(name)) yield `${policy.name}: the named value ${name} is not made`;
    if (!policy.properties.value.includes("<value>Api.Read</value>")) yield `${policy.name}: asks not for Api.Read`;
  }
  if (operations.length > 0 && !policyRoles.includes(outputs.RELAY_TARGET_ROLE)) yield `the app wants ${outputs.RELAY_TARGET_ROLE}, which no policy asks for`;

  for (const grant of [...of("Microsoft.Authorization/roleAssignments"), ...of("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments")]) {
    const { principalId, roleDefinitionId, principalType } = grant.properties;
    const role = roleDefinitionId.match(/[0-9a-f-]{36}(?=['")\]]*$)/)?.[0];
    const scope = grant.scope ?? grant.properties.scope ?? grant.id.split("/providers/Microsoft.Authorization/")[0];
    if (!/\.principalId(, '')?[)\]]*$/.test(principalId)) yield `${grant.id}: ${principalId} is no principal id`;
    if (grant.type.startsWith("Microsoft.Authorization") && principalType !== "ServicePrincipal") yield `${grant.id}: principalType ${principalType}`;
    const types = scope.split("/providers/").pop().split("/").filter((_, i) => i === 0 || i % 2 === 1);
    if (scopeOf[role] && types.join("/") !== scopeOf[role]) yield `${grant.id}: the role ${role} is given on ${types.join("/")}`;
  }
  for (const grant of all.filter((r) => r.type.startsWith("Microsoft.Graph/appRoleAssignedTo"))) {
    const { principalId, resourceId } = grant.properties ?? grant;
    if (!/principalId|^[0-9a-f-]{36}$/i.test(principalId)) yield `a grant to ${principalId}`;
    if (!/servicePrincipal|principal/i.test(resourceId) || /applicationId/.test(resourceId)) yield `a grant of ${resourceId}`;
  }

  // Both keys, each in its own secret.
  const secrets = of("Microsoft.KeyVault/vaults/secrets").map((s) => String(s.properties.value));
  if (new Set(secrets).size !== secrets.length) yield "two secrets hold the same key";
  if (secrets.length === 2 && !(/primaryKey/.test(secrets[0]) && /secondaryKey/.test(secrets[1]))) yield `secrets: ${secrets}`;

  // What there is once for each region differs in place and name.
  const sites = of("Microsoft.Web/sites");
  for (const type of ["Microsoft.Web/sites", "Microsoft.Web/serverfarms", "Microsoft.Network/virtualNetworks"]) {
    const places = of(type).map((r) => r.location);
    if (new Set(places).size !== places.length) yield `${type}: two in one region`;
  }
  if (sites.filter((s) => s.tags["azd-service-name"]).length !== 1) yield "not exactly one app has azd's tag";
  for (const network of of("Microsoft.Network/virtualNetworks")) {
    const ranges = network.properties.subnets.map((s) => s.properties.addressPrefix);
    if (new Set(ranges).size !== ranges.length) yield `${network.name}: two subnets of one range`;
    const delegated = network.properties.subnets.filter((s) => s.properties.delegations);
    if (delegated.length !== 1 || delegated[0].name !== "app") yield `${network.name}: the app's subnet alone is delegated`;
  }
  const prefixes = of("Microsoft.Network/virtualNetworks").flatMap((n) => n.properties.addressSpace.addressPrefixes);
  if (new Set(prefixes).size !== prefixes.length) yield "two networks of one range";
  for (const endpoint of of("Microsoft.Network/privateEndpoints")) {
    const [connection] = endpoint.properties.privateLinkServiceConnections;
    const part = { "Microsoft.KeyVault/vaults": "vault", "Microsoft.Storage/storageAccounts": "blob", "Microsoft.ApiManagement/service": "Gateway", "Microsoft.Web/sites": "sites" };
    const [namespace, type] = connection.properties.privateLinkServiceId.split("/providers/").pop().split("/");
    if (connection.properties.groupIds[0] !== part[`${namespace}/${type}`]) yield `${endpoint.name}: ${connection.properties.groupIds} of ${namespace}/${type}`;
    if (!endpoint.properties.subnet.id.includes("/subnets/")) yield `${endpoint.name}: in no subnet`;
    const network = of("Microsoft.Network/virtualNetworks").find((n) => endpoint.properties.subnet.id.startsWith(`${n.id}/`));
    if (network && network.location !== endpoint.location) yield `${endpoint.name}: in ${endpoint.location}, its network in ${network.location}`;
  }
}
